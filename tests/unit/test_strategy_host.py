"""What a strategy is told of the venue's own doings, what it can look up then, and what it may not answer."""

from collections.abc import Sequence
from typing import Any

import pytest

from bot.actors.strategy_host import StrategyHost
from bot.core.calendar import NEVER
from bot.core.effects import Notice, Wish
from bot.core.order import Order, Status
from bot.core.stops import Stops
from bot.domain.errors import ConfigError
from bot.domain.instrument import Side
from bot.domain.market import MarketSlab
from bot.domain.orders import (
    AccountEvent,
    AmendOpen,
    Exit,
    OrderFilled,
    PlaceOrder,
    PositionCut,
    SetStops,
    StopKind,
    Target,
    Trigger,
    TriggerSource,
)
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar
from tests.support.money import BTC, NAME, accepted, bars, dec, filled, submit
from tests.support.venue_side import adjusted, cut, stops_changed, stops_rejected, trigger_at


class Listener(Strategy[StrategyParams]):
    """Writes down what it is told, and answers with what it is given."""

    name = "listener"

    def on_start(self) -> None:
        """Hear nothing yet."""
        self.heard: list[tuple[str, str, Any]] = []
        self.answer: Any = None

    def on_fill(self, fill: OrderFilled) -> Any:
        """Note it and what is held."""
        self.heard.append(("fill", fill.trade_id, self.position(fill.instrument).qty))
        return self.answer

    def on_cut(self, cut: PositionCut) -> Any:
        """Note it and what is held."""
        self.heard.append(("cut", cut.cause.value, self.position(cut.instrument).qty))
        return self.answer

    def on_event(self, event: AccountEvent) -> Any:  # type: ignore[override]
        """Note it and what the venue keeps."""
        self.heard.append(("event", type(event).__name__, self.stops(NAME)))
        return self.answer


def host() -> tuple[StrategyHost, Listener]:
    """Return a host of a listener that trades BTC."""
    listener = Listener(StrategyParams())
    return StrategyHost(listener, [BTC]), listener


def tell(actor: StrategyHost, *events: AccountEvent) -> list[Wish]:
    """Return what the strategy wants of each event, in order."""
    wishes: list[Wish] = []
    for at_ns, event in enumerate(events, start=1):
        wishes += actor.notice(Notice(order=None, event=event), at_ns)
    return wishes


def test_a_cut_is_told_after_the_position_counts_it() -> None:
    """By a hook of its own, as a fill is by its."""
    actor, listener = host()
    tell(actor, filled(qty="3"), cut(qty="2", cause=StopKind.TAKE_PROFIT), cut(trade=2, cause=StopKind.LIQUIDATION))
    assert listener.heard == [("fill", "t1", 3), ("cut", "take_profit", 1), ("cut", "liquidation", 0)]


def test_stops_are_what_the_venue_last_said() -> None:
    """Later by its clock, not by ours; and the strategy is told after they are so."""
    actor, listener = host()
    assert actor.stops(NAME) == Stops()
    assert actor.stops(NAME).is_empty
    tell(actor, stops_changed(loss="90", at_ns=5), stops_changed(profit="110", at_ns=4))
    assert actor.stops(NAME) == Stops(stop_loss=dec(90), ts_event_ns=5)
    tell(actor, stops_rejected("s1"), adjusted("1"))
    assert [name for _, name, _ in listener.heard] == ["StopsChanged", "StopsChanged", "StopsRejected", "CashAdjusted"]
    assert {stops.stop_loss for _, _, stops in listener.heard} == {dec(90)}


def test_what_it_wants_of_a_cut_names_the_cut() -> None:
    actor, listener = host()
    listener.answer = listener.set_stops(NAME, stop_loss=dec(80), source=TriggerSource.MARK, reason="again")
    (wish,) = tell(actor, cut())
    assert wish.trigger == "PositionCut"
    assert wish.action == SetStops(
        instrument=NAME, stop_loss=Exit(price=dec(80), source=TriggerSource.MARK), reason="again"
    )


def test_the_shorthands_make_the_wishes() -> None:
    _, strategy = host()
    trigger, leg = trigger_at("105"), Exit(price=dec(90))
    assert strategy.market_order(NAME, Side.BUY, dec(1), trigger=trigger, stop_loss=leg, reason="r") == PlaceOrder(
        instrument=NAME, side=Side.BUY, qty=dec(1), trigger=trigger, stop_loss=leg, reason="r"
    )
    limit = strategy.limit_order(NAME, Side.SELL, dec(1), dec(110), take_profit=leg, trigger=trigger, reason="r")
    assert (limit.limit_price, limit.take_profit, limit.trigger) == (dec(110), leg, trigger)
    assert strategy.amend(NAME, "o1", price=dec(99), qty=dec(2), trigger_price=dec(98), reason="r") == AmendOpen(
        instrument=NAME, client_order_id="o1", limit_price=dec(99), qty=dec(2), trigger_price=dec(98), reason="r"
    )
    assert strategy.set_stops(NAME, take_profit=dec(0), trailing_distance=dec(5)) == SetStops(
        instrument=NAME, take_profit=Exit(price=dec(0)), trailing_distance=dec(5)
    )


WRONG: Sequence[tuple[Any, str]] = [
    (PlaceOrder(instrument=NAME, side=Side.BUY, qty=1.5), "quantity 1.5; write Decimal"),  # type: ignore[arg-type]
    (PlaceOrder(instrument=NAME, side=Side.BUY, qty=dec(1), limit_price=99.5), "limit price 99.5"),  # type: ignore[arg-type]
    (PlaceOrder(instrument=NAME, side=Side.BUY, qty=dec(1), trigger=dec(5)), "must be a Trigger"),  # type: ignore[arg-type]
    (
        PlaceOrder(instrument=NAME, side=Side.BUY, qty=dec(1), trigger=Trigger(price=5.5, is_rise=True)),  # type: ignore[arg-type]
        "price of the trigger 5.5",
    ),
    (AmendOpen(instrument=NAME, client_order_id="o1", qty=2), "quantity 2"),  # type: ignore[arg-type]
    (SetStops(instrument=NAME, stop_loss=dec(90)), "an Exit"),  # type: ignore[arg-type]
    (SetStops(instrument=NAME, take_profit=Exit(price=90.5)), "price of the take profit 90.5"),  # type: ignore[arg-type]
    (SetStops(instrument=NAME, trailing_distance=5), "trailing distance 5"),  # type: ignore[arg-type]
    ("buy", "return a target, an order, a change, a cancel, or None"),
]


@pytest.mark.parametrize(("answer", "words"), WRONG)
def test_what_cannot_be_meant_is_one_clear_line(answer: Any, words: str) -> None:
    """A float or a bare number, wherever it stands, is refused before it is recorded."""
    actor, listener = host()
    listener.answer = answer
    with pytest.raises(ConfigError) as refused:
        tell(actor, filled())
    assert "strategy listener" in str(refused.value)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_open_orders_are_those_that_may_still_fill() -> None:
    """As the executor says: sent, waiting for a trigger, or opened again by a raise that its fills overtook."""
    actor, _ = host()
    for order, is_open in (
        (Order(request=submit()), True),
        (Order(request=submit(), status=Status.WAITING), True),
        (Order(request=submit(), status=Status.FILLED), False),
        (Order(request=submit(), status=Status.OPEN), True),
        (Order(request=submit(), status=Status.CANCELED), False),
    ):
        actor.notice(Notice(order=order, event=accepted()), 1)
        assert list(actor.open_orders(NAME)) == ([order] if is_open else [])


class Noter(Strategy[StrategyParams]):
    """Writes down the closes of the bars it is told, and wants something at each."""

    name = "noter"
    scales_ns = (10,)
    lookback = 2

    def on_start(self) -> None:
        """Be told nothing yet."""
        self.told: list[int] = []

    def on_bar(self, bar: Bar) -> Target:
        """Note when it opened, and look back as far as it may."""
        self.told.append(bar.close_ns - 10)
        assert self.bars(NAME, 10, 1).close_ns[-1] == bar.close_ns
        return self.target(NAME, dec(1), reason="seen")


def test_a_slab_between_finding_the_next_bar_and_telling_it_moves_none() -> None:
    """What is passed is dropped when bars are added: the bar that is due is told, not what stands in its old place."""

    def slab(*opens: int) -> MarketSlab:
        rows = [(open_ns, 1000, 1000, 1000, 1000) for open_ns in opens]
        return MarketSlab(instrument=BTC, watermark_ns=opens[-1] + 10, bars={10: bars(rows, first_row=opens[0] // 10)})

    noter = Noter(StrategyParams())
    actor = StrategyHost(noter, [BTC])
    actor.slab(slab(*range(0, 60, 10)), 0)
    for _ in range(5):
        actor.next_key()
        actor.walk(NEVER)
    actor.next_key()  # the sixth is due
    actor.slab(slab(60, 70), 60)
    for _ in range(3):
        wishes, _ = actor.walk(NEVER)
        assert wishes[0].bar_close_ns == noter.told[-1] + 10
        actor.next_key()
    assert noter.told == list(range(0, 80, 10))


def test_two_who_wake_it_at_once_do_not_have_a_bar_told_twice() -> None:
    """A wake-up that was put off may have been delivered already: each tells the next bar, the last finds none."""
    rows = [(open_ns, 1000, 1000, 1000, 1000) for open_ns in (0, 10)]
    noter = Noter(StrategyParams())
    actor = StrategyHost(noter, [BTC])
    actor.slab(MarketSlab(instrument=BTC, watermark_ns=20, bars={10: bars(rows)}), 0)
    actor.next_key()
    assert [len(actor.walk(NEVER)[0]) for _ in range(3)] == [1, 1, 0]
    assert noter.told == [0, 10]
