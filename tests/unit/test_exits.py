"""When a position is left, bar by bar, with prices that a reader can follow."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from pydantic import ValidationError

from bot.core.portfolio import apply_fill
from bot.domain.account import Position
from bot.domain.instrument import Side
from strategies.exits import (
    ExitParams,
    Exits,
    InstrumentExits,
    Look,
    Rule,
    break_even,
    stop_loss,
    take_profit,
    time_exit,
    trailing_stop,
)
from strategies.inputs import Bar
from tests.support.bars_reference import ReferenceBar
from tests.support.batches import INSTRUMENT, bars_of
from tests.support.money import dec, filled

MINUTE_NS = 60_000_000_000
OPENED_NS = 30_000_000_000  # half a minute into minute 0


class Trader:
    """A position and its exits. Minute n closes at (n + 1) minutes."""

    def __init__(self, rules: Sequence[Rule], look: Look = "close") -> None:
        self.exits = Exits(rules, look)
        self.position = Position(instrument=INSTRUMENT.name)
        self._minute = 0

    def fill(self, qty: str, price: str, at_ns: int = OPENED_NS) -> None:
        """Buy, or sell where the quantity is negative."""
        side = Side.BUY if dec(qty) > 0 else Side.SELL
        fill = filled(instrument=INSTRUMENT.name, side=side, qty=abs(dec(qty)), price=price, at_ns=at_ns)
        self.position = apply_fill(self.position, side=side, price=fill.price, qty=fill.qty, fee=fill.fee)
        self.exits.on_fill(fill, self.position)

    def bar(self, close: str, high: str | None = None, low: str | None = None) -> str | None:
        """Close the next minute and return the reason to leave."""
        ticks = [INSTRUMENT.ticks(dec(price)) for price in (close, high or close, low or close)]
        row = ReferenceBar(open_ns=self._minute * MINUTE_NS, open=ticks[0], high=ticks[1], low=ticks[2], close=ticks[0])
        self._minute += 1
        target = self.exits.on_bar(Bar(bars_of([row], scale_ns=MINUTE_NS), {}, 0))
        if target is None:
            return None
        assert (target.instrument, target.qty) == (INSTRUMENT.name, dec(0))
        return target.reason

    def closes(self, *prices: str) -> list[bool]:
        """Return at which of these closes it wants to leave."""
        return [self.bar(price) is not None for price in prices]


@pytest.fixture
def long() -> Trader:
    """Long 1 at 100, a stop of 2 %."""
    trader = Trader([stop_loss(dec("0.02"))])
    trader.fill("1", "100")
    return trader


def test_stop_loss_is_exact(long: Trader) -> None:
    """98 is 2 % below 100, and 98.1 is not."""
    assert long.closes("98.1", "150", "98.0") == [False, False, True]


@pytest.mark.parametrize(
    ("rule", "qty", "prices", "leaves"),
    [
        (stop_loss(dec("0.02")), "-1", ["101.9", "102.0"], [False, True]),
        (take_profit(dec("0.03")), "1", ["90.0", "102.9", "103.0"], [False, False, True]),
        (take_profit(dec("0.03")), "-1", ["110.0", "97.1", "97.0"], [False, False, True]),
        # 10 % below the best, 120, is 108; before that below the entry, 90.
        (trailing_stop(dec("0.1")), "1", ["90.1", "120.0", "108.1", "108.0"], [False, False, False, True]),
        (trailing_stop(dec("0.1")), "-1", ["109.9", "80.0", "87.9", "88.0"], [False, False, False, True]),
        (break_even(dec("0.05")), "1", ["99.0", "104.9", "100.0", "105.0", "100.1", "100.0"], [False] * 5 + [True]),
        (break_even(dec("0.05")), "-1", ["101.0", "95.0", "99.9", "100.0"], [False, False, False, True]),
        (break_even(dec("0.05"), margin=dec("0.01")), "1", ["105.0", "101.1", "101.0"], [False, False, True]),
        # Entered half a minute into minute 0; minute 2 closes at 3 min, 2.5 min later.
        (time_exit(2 * MINUTE_NS), "1", ["100.0", "100.0", "100.0"], [False, False, True]),
    ],
)
def test_each_rule(rule: Rule, qty: str, prices: list[str], leaves: list[bool]) -> None:
    trader = Trader([rule])
    trader.fill(qty, "100")
    assert trader.closes(*prices) == leaves


def test_closes_alone_or_the_whole_range() -> None:
    """A low of 97 that closed at 99 is past a stop at 98 only where ranges count."""
    for look, wanted in (("close", None), ("range", "stop loss: 97.0 against an entry of 100")):
        trader = Trader([stop_loss(dec("0.02"))], look)  # type: ignore[arg-type]
        trader.fill("1", "100")
        trader.bar("100")
        assert trader.bar("99", high="100", low="97") == wanted


def test_a_range_is_taken_at_its_worst() -> None:
    """Stop and profit within one bar: the stop came first. A new best and a fall from it: in that order."""
    both = Trader([stop_loss(dec("0.02")), take_profit(dec("0.02"))], "range")
    trailing = Trader([trailing_stop(dec("0.05"))], "range")
    even = Trader([break_even(dec("0.05"))], "range")
    for trader in (both, trailing, even):
        trader.fill("1", "100")
        assert trader.bar("100") is None
    assert both.bar("100", high="103", low="97") == "stop loss: 97.0 against an entry of 100"
    assert trailing.bar("110", high="110", low="104.4") == "trailing stop: 104.4 after 110.0"  # 104.5 is 5 % below
    assert even.bar("105", high="105", low="100") == "break-even: 100.0 after 105.0, entry 100"


def test_what_was_before_the_entry_does_not_count() -> None:
    """Of the entry's own bar only the close; of a bar that had closed before, nothing."""
    trader = Trader([stop_loss(dec("0.02")), take_profit(dec("0.02"))], "range")
    trader.fill("1", "100", at_ns=MINUTE_NS)
    assert trader.bar("50") is None  # closed at the very moment of the fill
    trader = Trader([stop_loss(dec("0.02")), take_profit(dec("0.02"))], "range")
    trader.fill("1", "100")
    assert trader.bar("100", high="110", low="90") is None
    assert trader.bar("100", high="110") is not None


def test_adding_moves_the_entry_and_nothing_else() -> None:
    """1 at 100 and 1 at 110 is an entry of 105: the stop of 10 % moves from 90 to 94.5; the time runs on."""
    trader = Trader([stop_loss(dec("0.1")), time_exit(4 * MINUTE_NS)])
    trader.fill("1", "100")
    assert trader.closes("94.5") == [False]
    trader.fill("1", "110", at_ns=MINUTE_NS + 1)
    assert trader.closes("94.6", "94.5", "100.0", "100.0") == [False, True, False, True]


def test_a_smaller_position_is_the_same_one() -> None:
    """Selling a part leaves entry, best price and time."""
    trader = Trader([trailing_stop(dec("0.1"))])
    trader.fill("2", "100")
    assert trader.closes("120.0") == [False]
    trader.fill("-1", "115", at_ns=MINUTE_NS)
    assert trader.closes("108.1", "108.0") == [False, True]


def test_turning_round_and_coming_back_start_anew() -> None:
    """The best price of the long is none of the short's, nor of the next long's."""
    trader = Trader([trailing_stop(dec("0.1"))])
    trader.fill("1", "100")
    assert trader.closes("200.0") == [False]
    trader.fill("-2", "150", at_ns=MINUTE_NS)
    assert trader.closes("164.9", "165.0") == [False, True]
    trader.fill("1", "165", at_ns=3 * MINUTE_NS)
    assert trader.closes("1.0") == [False]  # flat: nothing to leave
    trader.fill("1", "100", at_ns=4 * MINUTE_NS)
    assert trader.closes("100.0", "90.1", "90.0") == [False, False, True]


def test_the_first_rule_gives_the_reason_and_asking_again_repeats_it(long: Trader) -> None:
    """An order may be denied: the exit is asked for until the position is gone."""
    assert long.bar("90") == "stop loss: 90.0 against an entry of 100"
    assert long.bar("90") == "stop loss: 90.0 against an entry of 100"
    long.fill("-1", "90", at_ns=2 * MINUTE_NS)
    assert long.bar("90") is None


def test_an_average_entry_is_told_in_short() -> None:
    """300 / 7 has more digits than anybody reads."""
    trader = Trader([stop_loss(dec("0.02"))])
    trader.fill("1", "100")
    trader.fill("6", "33.3")
    assert trader.bar("1") == "stop loss: 1.0 against an entry of 42.82857143"


def test_parameters_make_the_rules() -> None:
    """Stops before profits; none of them, no exits."""
    assert ExitParams().make() is None
    params = ExitParams.model_validate({"take_profit": 0.03, "stop_loss": 0.02, "time_limit": "1d", "look": "range"})
    assert params.stop_loss == Decimal("0.02")
    trader, exits = Trader([]), params.make()
    assert exits is not None
    trader.exits = exits
    trader.fill("1", "100")
    assert trader.bar("100") is None
    assert trader.bar("100", high="103", low="98") == "stop loss: 98.0 against an entry of 100"
    assert trader.bar("100", high="103", low="99") == "take profit: 103.0 against an entry of 100"
    for wrong in ({"stop_loss": 0}, {"stop_loss": 1}, {"take_profit": -1}, {"look": "open"}, {"time_limit": 5}):
        with pytest.raises(ValidationError):
            ExitParams.model_validate(wrong)


def test_each_instrument_has_its_own() -> None:
    """A fill of one says nothing of another."""
    trader = Trader([stop_loss(dec("0.02"))])
    other = filled(instrument="YUSDT", price="100")
    trader.exits.on_fill(other, Position(instrument="YUSDT", qty=dec(1), entry_value=dec(100)))
    assert trader.bar("1") is None
    assert InstrumentExits([]).held is None
