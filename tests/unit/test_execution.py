"""Reaching targets, step by step: passive orders that follow the market, slices, what is told, and restarts."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from bot.core.checkpoint import capture, decode, encode
from bot.core.effects import Effects, Wish
from bot.core.execution.policy import AtEnd, ExecutionPolicy, Passive, Slices, Style
from bot.core.execution.schedule import spread
from bot.core.orders import Orders
from bot.core.portfolio import Portfolio
from bot.core.restoring import Restorer
from bot.core.risk import Denial, Mark
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds
from bot.core.submission.requests import Terms
from bot.domain.instrument import Side
from bot.domain.ledger import DecisionMade, LedgerEntry, RiskDenied
from bot.domain.orders import (
    AmendOrder,
    CancelOrder,
    OrderAmended,
    PositionCut,
    StopKind,
    SubmitOrder,
    Target,
    TimeInForce,
)
from bot.runtime.execution_settings import ExecutionSettings
from tests.support.desk import LIMITS, NOW_NS, Desk
from tests.support.money import BTC, NAME, SECOND_NS, accepted, canceled, dec, filled

PASSIVE = ExecutionPolicy(
    style=Style.PASSIVE,
    passive=Passive(reprice_ticks=2, reprice_after_ns=15 * SECOND_NS, reprices_max=2),
)


@dataclass
class Quotes:
    """A desk in a market with a bid and an ask."""

    desk: Desk
    bid: Decimal | None = None
    ask: Decimal | None = None

    def work(self, after_s: float = 1.0) -> Effects:
        """Return what is done when so many seconds have passed."""
        self.desk.now_ns += int(after_s * SECOND_NS)
        mark = Mark(price=dec(100), ts_ns=self.desk.now_ns, bid=self.bid, ask=self.ask)
        return self.desk.orders.targets.work({NAME: mark}, self.desk.now_ns)


def order_of(effects: Effects) -> SubmitOrder:
    (command,) = effects.send
    assert isinstance(command, SubmitOrder)
    return command


def amend_of(effects: Effects) -> AmendOrder:
    (command,) = effects.send
    assert isinstance(command, AmendOrder)
    return command


def amended(order: SubmitOrder, price: Decimal, at_ns: int, qty: Decimal | None = None) -> OrderAmended:
    return OrderAmended(
        ts_event_ns=at_ns,
        ts_recv_ns=at_ns,
        client_order_id=order.client_order_id,
        instrument=NAME,
        qty=order.qty if qty is None else qty,
        limit_price=price,
    )


def test_the_last_fill_ends_a_target_at_the_market_and_an_earlier_one_or_another_target_does_not() -> None:
    desk = Desk()
    order = order_of(desk.target("2"))
    desk.fill(order, qty="1", trade=1)
    assert desk.orders.targets.is_working(NAME)
    desk.orders.event(filled(order.client_order_id, qty="1", trade=2), desk.now_ns)
    assert not desk.orders.targets.is_working(NAME)
    assert not desk.orders.targets.is_due(desk.now_ns)
    first, second = order_of(desk.target("3")), order_of(desk.target("4"))
    desk.orders.event(filled(first.client_order_id, qty="1", trade=3), desk.now_ns)
    assert desk.orders.targets.is_working(NAME)
    desk.orders.event(filled(second.client_order_id, qty="1", trade=4), desk.now_ns)
    assert desk.work().send == []  # of two orders it is for a look to say that both are done
    assert not desk.orders.targets.is_working(NAME)


def test_a_passive_order_rests_a_tick_from_the_last_price_where_no_quotes_are_known() -> None:
    order = order_of(Desk(execution=PASSIVE).target("2"))
    assert (order.side, order.qty, order.limit_price) == (Side.BUY, dec(2), dec("99.9"))
    assert (order.time_in_force, order.reduce_only) == (TimeInForce.POST_ONLY, False)


@pytest.mark.parametrize(
    ("improve", "bid", "ask", "asked"),
    [
        (0, "99.0", "101.0", "99.0"),
        (3, "99.0", "101.0", "99.3"),
        (3, "99.9", "100.1", "100.0"),
        (9, "99.9", "100.0", "99.9"),
    ],
)
def test_a_passive_order_joins_or_improves_and_never_takes(improve: int, bid: str, ask: str, asked: str) -> None:
    desk = Desk(execution=replace(PASSIVE, passive=Passive(improve_ticks=improve)))
    desk.prices[NAME] = None
    assert desk.target("2").send == []  # no price to go by
    market = Quotes(desk, dec(bid), dec(ask))
    assert order_of(market.work()).limit_price == dec(asked)


def test_a_passive_order_follows_the_market_so_often_and_then_crosses() -> None:
    """It moves once the market is two ticks away, stays where it is itself the best, and crosses after two moves."""
    desk = Desk(execution=PASSIVE)
    market = Quotes(desk, dec("99.0"), dec("101.0"))
    desk.prices[NAME] = None
    desk.target("2")
    order = order_of(market.work())
    desk.event(accepted(order.client_order_id))
    market.bid = dec("99.1")
    assert market.work().send == []
    market.bid = dec("99.2")
    moved = amend_of(market.work())
    assert (moved.limit_price, moved.qty) == (dec("99.2"), None)
    assert market.work().send == []  # its answer is awaited
    desk.event(amended(order, dec("99.2"), desk.now_ns))
    assert market.work(5).send == []  # the best bid is its own
    market.bid = dec("99.5")
    assert amend_of(market.work()).limit_price == dec("99.5")
    desk.event(amended(order, dec("99.5"), desk.now_ns))
    market.bid = dec("99.8")
    (cancel,) = market.work().send
    assert isinstance(cancel, CancelOrder)
    desk.fill(order, qty="0.5")
    assert market.work(0.1).send == []  # before the cancel is known it may still fill
    desk.event(canceled(order.client_order_id))
    rest = order_of(market.work(1))  # the desk itself had no price, and waits a second after the denial
    assert (rest.side, rest.qty, rest.limit_price) == (Side.BUY, dec("1.5"), None)


def test_a_passive_entry_may_be_given_up_and_that_is_told() -> None:
    policy = replace(PASSIVE, passive=replace(PASSIVE.passive, at_end=AtEnd.GIVE_UP, reprices_max=0))
    desk = Desk(execution=policy)
    order = order_of(desk.target("2"))
    desk.event(accepted(order.client_order_id))
    market = Quotes(desk)
    (cancel,) = market.work(15).send
    assert isinstance(cancel, CancelOrder)
    desk.orders.event(canceled(order.client_order_id), desk.now_ns)
    effects = market.work(0)
    (denied,) = [entry for entry in effects.record if isinstance(entry, RiskDenied)]
    assert denied.code == Denial.TARGET_DROPPED
    assert effects.publish[-1].event is denied
    assert not desk.orders.targets.is_working(NAME)


def test_turning_over_goes_by_way_of_flat_and_the_exit_can_only_reduce() -> None:
    desk = Desk(execution=PASSIVE)
    desk.fill(desk.place(qty="3"))
    leaving = order_of(desk.target("-1"))
    assert (leaving.side, leaving.qty, leaving.reduce_only) == (Side.SELL, dec(3), True)
    effects = desk.fill(leaving, trade=2)
    entering = order_of(effects)
    assert (entering.side, entering.qty, entering.reduce_only) == (Side.SELL, dec(1), False)
    decision = next(entry for entry in effects.record if isinstance(entry, DecisionMade))
    assert (decision.trigger, decision.strategy) == ("execution", "sma")


def test_a_larger_target_raises_the_order_that_rests() -> None:
    desk = Desk(execution=PASSIVE)
    order = order_of(desk.target("2"))
    desk.event(accepted(order.client_order_id))
    desk.fill(order, qty="0.5")
    assert amend_of(desk.target("3")).qty == dec(3)  # what has filled included


def test_an_exit_that_the_venue_made_ends_the_work() -> None:
    """A stop closed the position: what was wanted before it is not wanted any more."""
    desk = Desk(execution=PASSIVE)
    desk.fill(desk.place(qty="3"))
    order = order_of(desk.target("5"))
    desk.event(accepted(order.client_order_id))
    cut = PositionCut(
        ts_event_ns=desk.now_ns,
        ts_recv_ns=desk.now_ns,
        instrument=NAME,
        trade_id="x",
        cause=StopKind.STOP_LOSS,
        side=Side.SELL,
        price=dec(90),
        qty=dec(3),
        fee=dec(0),
    )
    (cancel,) = desk.event(cut).send
    assert isinstance(cancel, CancelOrder)


def test_slices_add_up_have_their_turns_in_time_and_are_no_smaller_than_the_venue_takes() -> None:
    slices = Slices(count=7, total_ns=600 * SECOND_NS, jitter=1.0, seed=5)
    about: dict[str, Any] = {"instrument": BTC, "price": dec(100), "begin_ns": 1_000, "number": 3}
    way = spread(slices, **about, start_qty=dec(1), end_qty=dec(-2), within_ns=None)
    assert len(way.turns_ns) == 7
    assert list(way.turns_ns) == sorted(way.turns_ns)
    assert way.turns_ns[0] == 1_000
    assert way.turns_ns[-1] <= 1_000 + 600 * SECOND_NS
    goals = [way.goal(BTC, turn_ns) for turn_ns in way.turns_ns]
    assert goals == sorted(goals, reverse=True)
    assert goals[-1] == dec(-2)
    assert all(goal % BTC.qty_step == 0 for goal in goals)
    other = spread(replace(slices, seed=6), **about, start_qty=dec(1), end_qty=dec(-2), within_ns=None)
    assert other.turns_ns != way.turns_ns
    small = spread(slices, **about, start_qty=dec(0), end_qty=dec("0.12"), within_ns=None)
    assert len(small.turns_ns) == 2  # 0.05 is worth the venue's least order
    quick = spread(slices, **about, start_qty=dec(0), end_qty=dec(1), within_ns=10 * SECOND_NS)
    assert quick.turns_ns[-1] <= 1_000 + 10 * SECOND_NS


def test_settings_refuse_slices_that_would_have_no_turn() -> None:
    with pytest.raises(ValueError, match="entry_within"):
        ExecutionSettings(policy="sliced", entry_within="1m", sliced={"total": "5m"})


# --- live -------------------------------------------------------------------------------------------------------------


def live_desk(epoch: int) -> LiveDesk:
    orders = Orders(
        instruments={NAME: BTC},
        portfolio=Portfolio({NAME: BTC}, "USDT"),
        limits=LIMITS,
        ids=ClientOrderIds(environment="l", epoch=epoch),
        execution=PASSIVE,
        is_restorable=True,
    )
    return LiveDesk(orders, Terms(), environment="l")


def test_after_a_restart_what_rested_for_a_target_is_canceled() -> None:
    """The decision is old, and nobody minds the order any more; the fold of the entries and a checkpoint know which."""
    desk = live_desk(1)
    entries: list[LedgerEntry] = [*desk.deposit(dec(100_000), NOW_NS).record]
    marks = {NAME: Mark(price=dec(100), ts_ns=NOW_NS)}
    wish = Wish(
        strategy="sma",
        trigger="timer",
        action=Target(instrument=NAME, qty=dec(2)),
        bar_close_ns=None,
        close_price=None,
        position_qty=dec(0),
        forecast=None,
    )
    work = desk.wish(wish, marks, NOW_NS)
    entries += work.record
    going, _ = desk.release(work.send, marks, NOW_NS)
    (send,) = going
    entries += desk.told(accepted(send.command.client_order_id), NOW_NS).record  # type: ignore[union-attr]
    kept = encode(capture(desk.orders.state, desk.submissions.journal))
    folded = Restorer(live_desk(1).orders.state)
    folded.add_all(entries)
    assert folded.state.worked == desk.orders.state.worked != set()
    for begin, rest in ((None, entries), (decode(kept), [])):
        again = live_desk(2)
        again.restore(rest, begin)
        work = again.recover(NOW_NS + SECOND_NS)
        (cancel,) = [each.command for each in work.send if isinstance(each.command, CancelOrder)]
        assert cancel.client_order_id == send.command.client_order_id  # type: ignore[union-attr]


def test_live_a_target_is_worked_at_by_the_desks_own_timer() -> None:
    """`next_due_ns` asks for the look, and `tick` takes it."""
    desk = live_desk(1)
    desk.deposit(dec(100_000), NOW_NS)
    wish = Wish(
        strategy="sma",
        trigger="timer",
        action=Target(instrument=NAME, qty=dec(2)),
        bar_close_ns=None,
        close_price=None,
        position_qty=dec(0),
        forecast=None,
    )
    marks = {NAME: Mark(price=dec(100), ts_ns=NOW_NS)}
    (send,) = desk.wish(wish, marks, NOW_NS).send
    name = send.command.client_order_id  # type: ignore[union-attr]
    desk.release([send], marks, NOW_NS)
    desk.told(accepted(name), NOW_NS)
    desk.work(marks, NOW_NS)
    due_ns = desk.next_due_ns
    assert due_ns is not None
    assert due_ns <= NOW_NS + SECOND_NS
    later_ns = NOW_NS + SECOND_NS
    work = desk.tick({NAME: Mark(price=dec(101), ts_ns=later_ns)}, later_ns)
    assert [type(each.command) for each in work.send] == [AmendOrder]
