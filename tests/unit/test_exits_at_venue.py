"""Exits that the venue keeps: what it is asked for, once, and what happens here where it refuses."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from bot.core.portfolio import apply_fill
from bot.domain.account import Position
from bot.domain.errors import ConfigError
from bot.domain.instrument import Side
from bot.domain.ledger import RiskDenied
from bot.domain.orders import OrderFilled, PlaceOrder, PositionCut, SetStops
from strategies.exits import ExitParams, Exits
from strategies.inputs import Bar
from tests.support.bars_reference import ReferenceBar
from tests.support.batches import INSTRUMENT, bars_of
from tests.support.money import dec, filled
from tests.support.venue_side import cut, stops_changed, stops_rejected

NAME = INSTRUMENT.name
MINUTE_NS = 60_000_000_000
REFUSED = stops_rejected("s1", instrument=NAME)
DENIED = RiskDenied(ts_ns=1, decision_id=1, instrument=NAME, code="ORDER_RATE", detail="too many")


class Trader:
    """A position and its exits at the venue."""

    def __init__(self, **asked: object) -> None:
        exits = ExitParams.model_validate({"at": "venue", **asked}).make()
        assert exits is not None
        self.exits: Exits = exits
        self.position = Position(instrument=NAME)
        self._minute = 0

    def fill(self, qty: str, price: str) -> SetStops | None:
        """Buy, or sell where the quantity is negative; return what the venue is asked for."""
        side = Side.BUY if dec(qty) > 0 else Side.SELL
        at_ns = self._minute * MINUTE_NS + 1
        return self._tell(filled(side=side, qty=abs(dec(qty)), price=price, at_ns=at_ns, instrument=NAME))

    def cut(self, qty: str, price: str) -> SetStops | None:
        """Let the venue leave a long by itself."""
        return self._tell(cut(qty=qty, price=price, instrument=NAME))

    def bar(self, close: str) -> PlaceOrder | None:
        """Close a minute and return the order that it brings."""
        ticks = INSTRUMENT.ticks(dec(close))
        row = ReferenceBar(open_ns=self._minute * MINUTE_NS, open=ticks, high=ticks, low=ticks, close=ticks)
        self._minute += 1
        wish = self.exits.on_bar(Bar(bars_of([row], scale_ns=MINUTE_NS), {}, 0))
        assert wish is None or isinstance(wish, PlaceOrder)
        return wish

    def _tell(self, fill: OrderFilled | PositionCut) -> SetStops | None:
        self.position = apply_fill(self.position, side=fill.side, price=fill.price, qty=fill.qty, fee=fill.fee)
        return self.exits.on_fill(fill, self.position, INSTRUMENT)


def prices(wish: SetStops | None) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """Return the stop loss, the take profit and the trailing distance that are asked for."""
    assert wish is not None
    assert wish.instrument == NAME
    stop, profit = (None if leg is None else leg.price for leg in (wish.stop_loss, wish.take_profit))
    return stop, profit, wish.trailing_distance


@pytest.mark.parametrize(
    ("qty", "entry", "stop", "profit", "trail"),
    [
        ("1", "100", "98.0", "103.0", "1.0"),
        ("-1", "100", "102.0", "97.0", "1.0"),
        ("1", "99.9", "98.0", "102.8", "0.9"),  # 97.902 up, 102.897 and 0.999 down
        ("-1", "99.9", "101.8", "97.0", "0.9"),  # 101.898 down, 96.903 up
        ("1", "0.5", "0.5", "0.5", "0.1"),  # a distance is at least one tick
    ],
)
def test_prices_lie_on_the_tick_nearer_to_the_entry(qty: str, entry: str, stop: str, profit: str, trail: str) -> None:
    trader = Trader(stop_loss=0.02, take_profit=0.03, trailing_stop=0.01)
    assert prices(trader.fill(qty, entry)) == (dec(stop), dec(profit), dec(trail))


def test_a_profit_that_no_price_can_reach_is_not_asked_for() -> None:
    """A short can not win more than all of the price."""
    assert prices(Trader(stop_loss=0.5, take_profit=1.5).fill("-1", "100")) == (dec(150), None, None)


def test_nothing_is_asked_twice() -> None:
    """A smaller position has the same entry; a larger one another; a new one is asked for again."""
    trader = Trader(stop_loss=0.02)
    assert prices(trader.fill("2", "100"))[0] == 98
    assert trader.fill("-1", "105") is None
    assert prices(trader.fill("1", "110"))[0] == dec("102.9")
    assert trader.cut("2", "102.9") is None
    assert prices(trader.fill("1", "105"))[0] == dec("102.9")
    assert prices(trader.fill("-2", "105"))[0] == dec("107.1")  # turned round


def test_bars_are_left_to_the_venue() -> None:
    """What it keeps is not judged here as well, also far beyond the level: it may just be leaving."""
    trader = Trader(stop_loss=0.02, take_profit=0.02)
    trader.fill("1", "100")
    trader.exits.on_event(stops_changed(loss="98"))
    assert [trader.bar(close) for close in ("100", "50", "200")] == [None] * 3


def test_what_the_venue_does_not_know_is_judged_at_bars() -> None:
    """Time and break-even, by an order that can not open anything: the venue may have left in the meantime."""
    trader = Trader(stop_loss=0.02, break_even=0.05, time_limit="1h")
    trader.fill("-1.5", "100")
    assert trader.bar("95") is None
    wish = trader.bar("100")
    assert wish is not None
    assert (wish.side, wish.qty, wish.reduce_only, wish.limit_price) == (Side.BUY, dec("1.5"), True, None)
    assert wish.reason.startswith("break-even")


@pytest.mark.parametrize("refusal", [REFUSED, DENIED])
def test_where_the_venue_refuses_bars_are_judged_instead(refusal: object) -> None:
    """Until the position is gone; the next one is the venue's again."""
    trader = Trader(stop_loss=0.02)
    trader.fill("1", "100")
    trader.exits.on_event(refusal)  # type: ignore[arg-type]
    assert trader.bar("98.1") is None
    wish = trader.bar("98.0")
    assert wish is not None
    assert (wish.side, wish.qty, wish.reduce_only) == (Side.SELL, dec(1), True)
    trader.fill("-1", "98")
    trader.fill("1", "100")
    assert trader.bar("50") is None


def test_a_refusal_of_something_else_says_nothing() -> None:
    """Once the venue keeps them, a denial is of another wish; and one of another instrument always is."""
    trader = Trader(stop_loss=0.02)
    trader.fill("1", "100")
    trader.exits.on_event(replace(DENIED, instrument="OTHER"))
    trader.exits.on_event(replace(stops_changed(loss="98"), instrument=NAME))
    trader.exits.on_event(DENIED)
    assert trader.bar("50") is None


def test_a_missing_instrument_is_an_error_and_no_missing_stop() -> None:
    """Whoever forgets it would believe to be protected."""
    exits = ExitParams.model_validate({"stop_loss": 0.02, "at": "venue"}).make()
    assert exits is not None
    with pytest.raises(ConfigError, match="need the instrument"):
        exits.on_fill(filled(), Position(instrument=NAME, qty=dec(1), entry_value=dec(100)))


def test_without_anything_to_keep_it_is_as_ever() -> None:
    """A time limit alone leaves by a target."""
    exits = ExitParams.model_validate({"time_limit": "1h", "at": "venue"}).make()
    assert exits is not None
    position = Position(instrument=NAME, qty=dec(1), entry_value=dec(100))
    assert exits.on_fill(filled(instrument=NAME), position) is None
