"""The live desk's decisions one by one: ids, what others do here, comparisons, protection, the kill switch."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from bot.core.orders import Orders, Wish
from bot.core.portfolio import Portfolio
from bot.core.reconcile import VenueSnapshot
from bot.core.risk import Denial, Mark
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds, parse_id, taken
from bot.core.submission.requests import Send, Subject, Terms
from bot.core.submission.work import DeskPolicy, Work
from bot.domain.account_events import AccountUnsure, ExternalFill, ExternalOrder, TransferBooked
from bot.domain.answers import Absent, Answer, AnswerKind, Cause, Found, Place
from bot.domain.errors import ConfigError
from bot.domain.instrument import Side
from bot.domain.ledger import AlertRaised, DoubtResolved, ExternalFillBooked, IntentDropped, RiskDenied, StopsReported
from bot.domain.ledger import TransferBooked as TransferEntry
from bot.domain.orders import (
    Action,
    CancelOpen,
    CancelOrder,
    ForeignKind,
    OrderType,
    PlaceOrder,
    SetStops,
    SubmitOrder,
    TimeInForce,
)
from bot.domain.venue_records import (
    BookingRecord,
    CoinRecord,
    ExecutionKind,
    ExecutionRecord,
    OrderRecord,
    OrderState,
    Origin,
    PositionRecord,
    WalletRecord,
)
from tests.support.desk import LIMITS, NOW_NS
from tests.support.money import BTC, NAME, SECOND_NS, accepted, canceled, filled
from tests.support.venue_side import exit_at, stops_changed

MS = 1_000_000
NOW_MS = NOW_NS // MS


class Bench:
    """A live desk on a bench: what leaves it is kept, time is moved by hand."""

    def __init__(self, terms: Terms | None = None, *, is_hedged: bool = False, **policy: Any) -> None:
        instruments = {NAME: BTC}
        orders = Orders(
            instruments=instruments,
            portfolio=Portfolio(instruments, "USDT"),
            limits=LIMITS,
            ids=ClientOrderIds(environment="l", epoch=3),
            is_restorable=True,
            is_hedged=is_hedged,
        )
        self.desk = LiveDesk(orders, terms or Terms(), environment="l", policy=DeskPolicy(**policy))
        self.now_ns = NOW_NS
        self.price = Decimal(100)
        self.desk.deposit(Decimal(100_000), NOW_NS)

    @property
    def marks(self) -> dict[str, Mark | None]:
        return {NAME: Mark(price=self.price, ts_ns=self.now_ns)}

    def wish(self, action: Action) -> Work:
        wish = Wish(
            strategy="sma",
            trigger="timer",
            action=action,
            bar_close_ns=None,
            close_price=None,
            position_qty=Decimal(0),
            forecast=None,
        )
        return self.desk.wish(wish, self.marks, self.now_ns)

    def place(self, side: Side = Side.BUY, qty: str = "1", limit: str | None = "100", **more: Any) -> Work:
        price = None if limit is None else Decimal(limit)
        return self.wish(PlaceOrder(instrument=NAME, side=side, qty=Decimal(qty), limit_price=price, **more))

    def send(self, work: Work, wait_ns: int = 0) -> list[Send]:
        """Make it durable, which takes so long; return what leaves."""
        self.now_ns += wait_ns
        going, self.more = self.desk.release(work.send, self.marks, self.now_ns)
        return going

    def hold(self, side: Side = Side.BUY, qty: str = "1") -> None:
        """Come to hold a position."""
        (send,) = self.send(self.place(side, qty, None))
        assert isinstance(send.command, SubmitOrder)
        fill = filled(send.command.client_order_id, trade=f"h{self.now_ns}", qty=qty, side=side, at_ns=self.now_ns)
        self.desk.told(fill, self.now_ns)

    def snapshot(self, **more: Any) -> VenueSnapshot:
        about: dict[str, Any] = {"at_ms": NOW_MS, "began_ns": self.now_ns, "open_orders": (), "positions": ()}
        return VenueSnapshot(**(about | more))


def later(snapshot: VenueSnapshot, seconds: int = 2) -> VenueSnapshot:
    """Return the same, asked for so much later."""
    return replace(snapshot, began_ns=snapshot.began_ns + seconds * SECOND_NS)


def alerts(work: Work) -> list[str]:
    return [entry.code for entry in work.record if isinstance(entry, AlertRaised)]


def record(name: str, **more: Any) -> OrderRecord:
    about: dict[str, Any] = {
        "market": "linear",
        "client_order_id": name,
        "venue_order_id": f"v-{name}",
        "instrument": NAME,
        "side": Side.BUY,
        "state": OrderState.OPEN,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "qty": Decimal(1),
        "limit_price": Decimal(100),
        "trigger_price": None,
        "reduce_only": False,
        "filled_qty": Decimal(0),
        "filled_value": None,
        "origin": Origin.USER,
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }
    return OrderRecord(**(about | more))


def wallet_of(cash: str) -> WalletRecord:
    coin = CoinRecord(
        currency="USDT",
        wallet_balance=Decimal(cash),
        equity=Decimal(cash),
        unrealized_pnl=Decimal(0),
        locked=Decimal(0),
        borrowed=Decimal(0),
    )
    return WalletRecord(
        market="",
        total_equity_usd=None,
        available_usd=None,
        initial_margin_usd=None,
        maintenance_margin_usd=None,
        coins=(coin,),
    )


def position(qty: str, **more: Any) -> PositionRecord:
    about: dict[str, Any] = {
        "market": "linear",
        "instrument": NAME,
        "mode_index": 0,
        "qty": Decimal(qty),
        "entry_price": None,
        "mark_price": None,
        "leverage": None,
        "liquidation_price": None,
        "take_profit": None,
        "stop_loss": None,
        "trailing_distance": None,
        "is_reduce_only": False,
        "status": "Normal",
        "seq": 1,
        "updated_ms": NOW_MS,
    }
    return PositionRecord(**(about | more))


def execution(trade_id: str = "x1", **more: Any) -> ExecutionRecord:
    about: dict[str, Any] = {
        "market": "linear",
        "trade_id": trade_id,
        "client_order_id": "",
        "venue_order_id": "v9",
        "instrument": NAME,
        "side": Side.SELL,
        "kind": ExecutionKind.TRADE,
        "price": Decimal(101),
        "qty": Decimal("0.5"),
        "fee": Decimal("0.1"),
        "fee_currency": "USDT",
        "fee_rate": None,
        "is_maker": False,
        "order_type": None,
        "order_qty": None,
        "order_price": None,
        "leaves_qty": None,
        "origin": Origin.USER,
        "executed_ms": NOW_MS,
    }
    return ExecutionRecord(**(about | more))


# --- ids --------------------------------------------------------------------------------------------------------------


def test_ids_tell_what_they_are_and_go_on_beyond_all_that_is_known() -> None:
    ids = ClientOrderIds(environment="l", epoch=7)
    first, _ = ids.next("a.strange name/of many")
    parsed = parse_id(first)
    assert parsed is not None
    assert (parsed.environment, parsed.epoch, parsed.count) == ("l", 7, 1)
    assert len(first) == 30
    ledger, venue = [first], ["l000009-sma_________-000000040", "somebody-else", "t000050-sma_________-000900000"]
    assert taken(ledger + venue, environment="l") == (9, 1_040)
    assert taken(["mine"], environment="l") == (0, 0)
    later, number = ClientOrderIds(environment="l", epoch=10, count=1_040).next("sma")
    assert number == 1_041
    assert later not in (*ledger, *venue)


@pytest.mark.parametrize("wrong", [{"environment": "L", "epoch": 1}, {"environment": "l", "epoch": 10**6}])
def test_ids_that_would_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ClientOrderIds(**wrong)


# --- sending ----------------------------------------------------------------------------------------------------------


def test_a_decision_that_a_slow_disk_held_up_is_closed_unsent() -> None:
    bench = Bench()
    assert bench.send(bench.place(), wait_ns=1_500 * MS) == []
    (dropped,) = [entry for entry in bench.more.record if isinstance(entry, IntentDropped)]
    assert "durable" in dropped.why
    assert not any(bench.desk.orders.state.live.values())


def test_a_decision_whose_price_has_gone_is_closed_unsent() -> None:
    bench = Bench()
    work = bench.place()
    bench.price = Decimal("100.6")
    assert bench.send(work) == []


def test_a_cancel_that_a_slow_disk_held_up_is_signed_again() -> None:
    bench = Bench()
    bench.send(bench.place())
    work = bench.wish(CancelOpen(instrument=NAME))
    assert bench.send(work, wait_ns=2_000 * MS) == []
    (again,) = bench.send(bench.more)
    assert again.attempt == 2
    assert isinstance(again.command, CancelOrder)
    assert again.signed_ms == bench.now_ns // MS


def test_nothing_new_while_in_doubt_but_exits() -> None:
    bench = Bench()
    bench.hold(qty="2")
    (send,) = bench.send(bench.place())
    lost = Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code="timeout", recv_ns=0)
    bench.desk.answered(send.request, 1, lost, bench.now_ns)
    (denied,) = [entry for entry in bench.place().record if isinstance(entry, RiskDenied)]
    assert denied.code == Denial.IN_DOUBT
    assert len(bench.place(Side.SELL, "2", None).send) == 1


def test_a_refused_resend_says_nothing_of_the_sending_before_it() -> None:
    """The first is still on its way: the order is not given up, and lives when it comes."""
    bench = Bench()
    (send,) = bench.send(bench.place())
    assert isinstance(send.command, SubmitOrder)
    name = send.command.client_order_id
    lost = Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code="timeout", recv_ns=0)
    bench.desk.answered(send.request, 1, lost, bench.now_ns)
    absent = Absent(places=(Place.OPEN, Place.HISTORY), server_time_ms=NOW_MS + 300, recv_ns=0)
    bench.desk.looked_up(name, absent, bench.now_ns)
    bench.now_ns += SECOND_NS
    (again,) = bench.send(bench.desk.tick(bench.marks, bench.now_ns))
    assert (again.request, again.attempt, again.command) == (send.request, 2, send.command)
    no = Answer(kind=AnswerKind.REFUSED, cause=Cause.FUNDS, code="110007", recv_ns=0)
    work = bench.desk.answered(send.request, 2, no, bench.now_ns)
    assert work.publish == []
    assert [request.key for request in bench.desk.submissions.doubtful] == [send.request]
    work = bench.desk.told(accepted(name, at_ns=bench.now_ns), bench.now_ns)
    assert [entry.outcome for entry in work.record if isinstance(entry, DoubtResolved)] == ["accepted"]
    assert bench.desk.orders.state.orders[name].is_live
    assert bench.desk.orders.state.hold(NAME) is None


def test_an_order_whose_every_sending_was_too_late_to_leave_is_over() -> None:
    """A slow disk twice in a row: nothing has left, so nothing is open, and nobody has to cancel it."""
    bench = Bench(Terms(recv_window_ms=1_000))
    work = bench.place()
    assert bench.send(work, wait_ns=800 * MS) == []  # its window had nearly passed: it is signed again
    assert [send.attempt for send in bench.more.send] == [2]
    assert bench.send(bench.more, wait_ns=1_600 * MS) == []
    name = work.send[0].command.client_order_id  # type: ignore[union-attr]
    assert [type(each.event).__name__ for each in bench.more.publish] == ["OrderRejected"]
    assert not bench.desk.orders.state.live.get(NAME)
    assert bench.desk.submissions.doubtful == []
    assert bench.wish(CancelOpen(instrument=NAME, client_order_id=name)).send == []


def test_too_late_may_be_said_of_a_copy() -> None:
    """The network repeats requests: the copy that came too late says nothing of the one that did not."""
    bench = Bench()
    (send,) = bench.send(bench.place())
    late = Answer(kind=AnswerKind.REFUSED, cause=Cause.CLOCK, code="10002", recv_ns=0)
    assert bench.desk.answered(send.request, 1, late, bench.now_ns).publish == []
    assert [request.key for request in bench.desk.submissions.doubtful] == [send.request]


def test_an_id_that_exists_is_adopted_if_it_is_ours_and_halts_the_instrument_if_not() -> None:
    for side, outcome in ((Side.BUY, "accepted"), (Side.SELL, "refused")):
        bench = Bench()
        (send,) = bench.send(bench.place())
        assert isinstance(send.command, SubmitOrder)
        name = send.command.client_order_id
        exists = Answer(kind=AnswerKind.EXISTS, code="110072", recv_ns=0)
        bench.desk.answered(send.request, 1, exists, bench.now_ns)
        found = Found(order=record(name, side=side), place=Place.OPEN, server_time_ms=NOW_MS, recv_ns=0)
        work = bench.desk.looked_up(name, found, bench.now_ns)
        (resolved,) = [entry for entry in work.record if isinstance(entry, DoubtResolved)]
        assert resolved.outcome == outcome
        assert (bench.desk.orders.state.hold(NAME) is not None) is (outcome == "refused")


def test_a_stop_in_doubt_is_read_off_the_position() -> None:
    for stop, reported in (("90", False), (None, True)):
        bench = Bench()
        bench.hold()
        (send,) = bench.send(bench.wish(SetStops(instrument=NAME, stop_loss=exit_at("90"))))
        lost = Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code="timeout", recv_ns=0)
        bench.desk.answered(send.request, 1, lost, bench.now_ns)
        works = []
        for second in (1, 6, 8):
            held = position("1", stop_loss=None if stop is None else Decimal(stop))
            at_ns = bench.now_ns + second * SECOND_NS
            works.append(bench.desk.position_looked_up(NAME, held, at_ns // MS, at_ns))
        entries = [entry for work in works for entry in work.record]
        assert any(isinstance(entry, StopsReported) for entry in entries) is reported
        assert not bench.desk.submissions.doubtful


def test_an_order_that_comes_to_life_after_all_is_canceled_and_the_instrument_halted() -> None:
    """The fence was wrong: the worst lag seen is allowed for from now on."""
    bench = Bench()
    (send,) = bench.send(bench.place())
    assert isinstance(send.command, SubmitOrder)
    name = send.command.client_order_id
    lost = Answer(kind=AnswerKind.UNKNOWN, cause=Cause.NETWORK, code="timeout", recv_ns=0)
    bench.desk.answered(send.request, 1, lost, bench.now_ns)
    for second in (5, 7):
        absent = Absent(places=(Place.OPEN, Place.HISTORY), server_time_ms=NOW_MS + second * 1_000, recv_ns=0)
        bench.desk.looked_up(name, absent, bench.now_ns + second * SECOND_NS)
    assert not any(bench.desk.orders.state.live.values())
    late_ns = bench.now_ns + 20 * SECOND_NS
    work = bench.desk.told(accepted(name, at_ns=NOW_NS + SECOND_NS), late_ns)
    assert "ORDER_RESURFACED" in alerts(work)
    assert any(isinstance(each.command, CancelOrder) for each in work.send)
    assert bench.desk.orders.state.hold(NAME) is not None
    assert bench.desk.submissions.journal.margin_ms == 9_000  # half as much again as the 6 s seen
    bench.desk.told(filled(name, trade="z", at_ns=late_ns), late_ns)
    bench.desk.told(canceled(name, at_ns=late_ns), late_ns)
    assert bench.desk.orders.position_qty(NAME) == 1


# --- others on the account --------------------------------------------------------------------------------------------


def test_what_somebody_else_trades_is_booked_once_told_and_halts_the_instrument() -> None:
    bench = Bench()
    bench.hold()
    event = ExternalFill(ts_event_ns=NOW_NS, ts_recv_ns=NOW_NS, execution=execution())
    work = bench.desk.told(event, bench.now_ns)
    (booked,) = [entry for entry in work.record if isinstance(entry, ExternalFillBooked)]
    assert (booked.fill.kind, booked.position_qty) == (ForeignKind.ORDER, Decimal("0.5"))
    assert alerts(work) == ["FOREIGN_FILL"]
    assert bench.desk.told(event, bench.now_ns).record == []
    assert len([e for e in bench.place().record if isinstance(e, RiskDenied)]) == 1


def test_a_foreign_order_is_told_once_and_never_touched() -> None:
    bench = Bench()
    event = ExternalOrder(ts_event_ns=NOW_NS, ts_recv_ns=NOW_NS, order=record("by-hand"))
    assert alerts(bench.desk.told(event, bench.now_ns)) == ["FOREIGN_ORDER"]
    assert bench.desk.told(event, bench.now_ns).is_empty


def test_cash_from_outside_is_booked_and_told() -> None:
    bench = Bench()
    booking = BookingRecord(
        market="",
        booking_id="b1",
        kind="TRANSFER_IN",
        currency="USDT",
        instrument="",
        trade_id="",
        qty=None,
        cash_flow=Decimal(50),
        funding=Decimal(0),
        fee=Decimal(0),
        change=Decimal(50),
        balance=Decimal(100_050),
        booked_ms=NOW_MS,
    )
    event = TransferBooked(ts_event_ns=NOW_NS, ts_recv_ns=NOW_NS, booking=booking)
    work = bench.desk.told(event, bench.now_ns)
    assert alerts(work) == ["TRANSFER"]
    assert any(isinstance(entry, TransferEntry) for entry in work.record)
    assert bench.desk.orders.state.portfolio.cash == 100_050
    assert bench.desk.told(event, bench.now_ns).is_empty


def test_a_fill_of_an_order_that_nobody_knows_is_money_all_the_same() -> None:
    bench = Bench()
    work = bench.desk.told(filled("l000001-sma_________-000000005", trade="q", at_ns=NOW_NS), bench.now_ns)
    assert alerts(work) == ["CONTRADICTION"]
    assert work.reconcile
    assert bench.desk.orders.position_qty(NAME) == 1


def test_an_unsure_stream_closes_the_door_until_the_next_comparison() -> None:
    bench = Bench()
    event = AccountUnsure(ts_event_ns=NOW_NS, ts_recv_ns=NOW_NS, instrument="", reason="the stream was cut")
    assert bench.desk.told(event, bench.now_ns).reconcile == "the stream was cut"
    assert bench.place().send == []
    bench.desk.reconcile(bench.snapshot(), bench.now_ns)
    assert len(bench.place().send) == 1


# --- comparisons ------------------------------------------------------------------------------------------------------


def test_a_position_that_differs_twice_halts_the_instrument() -> None:
    bench = Bench()
    bench.hold()
    bench.now_ns += 10 * SECOND_NS
    snapshot = bench.snapshot(positions=(position("3"),))
    work = bench.desk.reconcile(snapshot, bench.now_ns)
    assert [wanted.subject for wanted in work.look_up] == [Subject.FILLS]
    assert alerts(work) == []
    work = bench.desk.reconcile(later(snapshot, 1), bench.now_ns)
    assert (alerts(work), work.look_up) == ([], [])  # what is news on its way may be as old
    assert not bench.desk.tick(bench.marks, bench.now_ns + SECOND_NS).reconcile
    assert bench.desk.tick(bench.marks, bench.now_ns + 2 * SECOND_NS).reconcile
    work = bench.desk.reconcile(later(snapshot), bench.now_ns)
    assert alerts(work) == ["POSITION_DIFFERS"]
    hold = bench.desk.orders.state.hold(NAME)
    assert hold is not None
    assert hold.why.detail == f"of {NAME} we hold 1, and the venue says 3"


def test_hedge_mode_is_told_once_and_halts_the_instrument() -> None:
    """A long and a short that cancel out are no flat position."""
    bench = Bench()
    sides = (position("2", mode_index=1), position("-2", mode_index=2))
    work = bench.desk.reconcile(bench.snapshot(positions=sides), bench.now_ns)
    assert alerts(work) == ["POSITION_MODE"]
    hold = bench.desk.orders.state.hold(NAME)
    assert hold is not None
    assert hold.state == "halted"
    assert alerts(bench.desk.reconcile(bench.snapshot(positions=sides), bench.now_ns)) == []


def test_a_position_that_has_just_moved_is_not_judged() -> None:
    bench = Bench()
    bench.hold()
    for _ in range(3):
        assert bench.desk.reconcile(bench.snapshot(), bench.now_ns).look_up == []


def test_an_order_that_is_open_here_alone_is_looked_up() -> None:
    bench = Bench()
    (send,) = bench.send(bench.place())
    assert isinstance(send.command, SubmitOrder)
    bench.desk.told(accepted(send.command.client_order_id, at_ns=NOW_NS), bench.now_ns)
    work = bench.desk.reconcile(bench.snapshot(), bench.now_ns)
    assert [wanted.client_order_id for wanted in work.look_up] == [send.command.client_order_id]


def test_an_order_that_stays_open_there_alone_halts_the_instrument() -> None:
    bench = Bench()
    (send,) = bench.send(bench.place())
    assert isinstance(send.command, SubmitOrder)
    name = send.command.client_order_id
    bench.desk.told(accepted(name, at_ns=NOW_NS), bench.now_ns)
    bench.desk.told(canceled(name, at_ns=NOW_NS), bench.now_ns)
    snapshot = bench.snapshot(open_orders=(record(name),))
    assert bench.desk.reconcile(snapshot, bench.now_ns).look_up
    assert alerts(bench.desk.reconcile(later(snapshot, 1), bench.now_ns)) == []
    assert alerts(bench.desk.reconcile(later(snapshot), bench.now_ns)) == ["OPEN_THERE_ALONE"]


def test_an_order_with_our_name_that_the_ledger_does_not_know_halts_the_instrument() -> None:
    bench = Bench()
    work = bench.desk.reconcile(
        bench.snapshot(open_orders=(record("l000002-sma_________-000000001"), record("by-hand"))), bench.now_ns
    )
    assert alerts(work) == ["UNKNOWN_OF_OURS", "FOREIGN_ORDER"]
    assert bench.desk.orders.state.hold(NAME) is not None


def test_an_exit_of_nothing_is_canceled() -> None:
    bench = Bench()
    bench.hold()
    (send,) = bench.send(bench.place(Side.SELL, "1", "110", reduce_only=True))
    assert isinstance(send.command, SubmitOrder)
    name = send.command.client_order_id
    bench.desk.told(accepted(name, at_ns=NOW_NS), bench.now_ns)
    bench.desk.told(ExternalFill(ts_event_ns=1, ts_recv_ns=1, execution=execution(qty=Decimal(1))), bench.now_ns)
    bench.now_ns += 10 * SECOND_NS
    there = record(name, side=Side.SELL, limit_price=Decimal(110), reduce_only=True)
    work = bench.desk.reconcile(bench.snapshot(open_orders=(there,)), bench.now_ns)
    assert [each.command for each in work.send if isinstance(each.command, CancelOrder)]


def test_a_balance_that_nothing_explains_lets_only_exits_pass() -> None:
    bench = Bench()
    wallet = wallet_of("99999")
    assert alerts(bench.desk.reconcile(bench.snapshot(wallet=wallet), bench.now_ns)) == []
    assert alerts(bench.desk.reconcile(later(bench.snapshot(wallet=wallet)), bench.now_ns)) == ["BALANCE_DIFFERS"]
    assert bench.place().send == []


def test_cash_may_differ_by_what_the_open_position_has_cost() -> None:
    """Executions that came in another order: more profit here is a dearer rest, and nothing is wrong."""
    bench = Bench()
    bench.hold(qty="2")  # at 100; there one of them was sold dearer before the other was bought
    snapshot = bench.snapshot(positions=(position("2", entry_price=Decimal("102.5")),), wallet=wallet_of("100005"))
    for _ in range(2):
        assert alerts(bench.desk.reconcile(snapshot, bench.now_ns + 9 * SECOND_NS)) == []
    off = bench.snapshot(positions=(position("2", entry_price=Decimal("102.5")),), wallet=wallet_of("100006"))
    found = [alerts(bench.desk.reconcile(later(off, n * 2), bench.now_ns + 9 * SECOND_NS)) for n in range(3)]
    assert found == [[], ["BALANCE_DIFFERS"], []], "a person is told once"


# --- protection and the kill switch -----------------------------------------------------------------------------------


def test_a_position_without_protection_is_closed_within_a_second() -> None:
    bench = Bench(protect_within_ns=SECOND_NS)
    bench.hold()
    assert bench.desk.next_due_ns is not None
    assert bench.desk.next_due_ns <= bench.now_ns + SECOND_NS
    assert bench.desk.tick(bench.marks, bench.now_ns + SECOND_NS - 1).send == []
    bench.now_ns += SECOND_NS
    work = bench.desk.tick(bench.marks, bench.now_ns)
    assert alerts(work) == ["UNPROTECTED"]
    (send,) = work.send
    assert isinstance(send.command, SubmitOrder)
    assert (send.command.side, send.command.qty, send.command.reduce_only) == (Side.SELL, 1, True)
    assert bench.desk.tick(bench.marks, bench.now_ns + SECOND_NS).send == []  # it is under way


def test_a_position_with_a_stop_at_the_venue_is_left_alone() -> None:
    bench = Bench(protect_within_ns=SECOND_NS)
    bench.hold()
    bench.desk.told(stops_changed(loss="90", at_ns=NOW_NS), bench.now_ns)
    bench.now_ns += 10 * SECOND_NS
    assert bench.desk.tick(bench.marks, bench.now_ns).send == []


def test_the_kill_switch_stops_even_what_is_durable_and_only_the_host_opens_it() -> None:
    bench = Bench()
    (resting,) = bench.send(bench.place())
    work = bench.place()  # durable in a moment
    killed = bench.desk.kill("the red button", bench.marks, bench.now_ns)
    assert killed.cancel_all == [NAME]
    canceled_ids = {each.command.client_order_id for each in killed.send if isinstance(each.command, CancelOrder)}
    assert len(canceled_ids) == 2
    assert isinstance(resting.command, SubmitOrder)
    assert resting.command.client_order_id in canceled_ids
    assert bench.send(work) == []
    bench.desk.resume("a message from afar", bench.now_ns)
    assert bench.desk.orders.is_killed
    assert bench.place().send == []
    bench.desk.re_arm("at the host", bench.now_ns)
    assert not bench.desk.orders.is_killed
    assert len(bench.place().send) == 1


def test_a_killed_bot_starts_killed_and_cancels() -> None:
    bench = Bench()
    entries = list(bench.desk.deposit(Decimal(1), NOW_NS).record)
    entries += bench.place().record
    entries += bench.desk.kill("the red button", bench.marks, bench.now_ns).record
    again = Bench()
    again.desk.orders.state.portfolio.cash = Decimal(0)
    again.desk.restore(entries)
    work = again.desk.recover(again.now_ns)
    assert again.desk.orders.is_killed
    assert work.cancel_all == [NAME]
