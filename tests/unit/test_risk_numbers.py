"""Numbers that are none: whatever is handed to the gate, nothing gets through by it."""

import pytest
from msgspec.structs import replace

from bot.core.risk import Mark
from bot.domain.account import Position
from bot.domain.instrument import Side
from tests.support.gate import LIMITS, MARK, NOW_NS, WIDE, book, verdict
from tests.support.money import NAME, dec, submit

NOT_NUMBERS = ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity"]
EXTREMES = ["1E+27", "1E+28", "1E+29", "1E+40", "1E+999999", "1E-29", "1E-40", "1E-999999", "-1E+40"]


@pytest.mark.parametrize("qty", NOT_NUMBERS + EXTREMES)
@pytest.mark.parametrize("limit", [None, "100"])
@pytest.mark.parametrize("reduce_only", [False, True])
def test_no_impossible_quantity_passes(qty: str, limit: str | None, reduce_only: bool) -> None:
    """A quantity that is no number, or far beyond any order, is denied; the gate itself never fails."""
    for side in Side:
        order = submit(side=side, qty=qty, limit=limit, reduce_only=reduce_only)
        assert verdict(order, book(position="1"), limits=WIDE) is not None


@pytest.mark.parametrize("price", NOT_NUMBERS + EXTREMES)
@pytest.mark.parametrize("mark", ["100", "0.5"])
def test_no_impossible_limit_price_passes(price: str, mark: str) -> None:
    """A limit price that is no number, or far beyond any market, is denied; the gate itself never fails."""
    for side in Side:
        for reduce_only in (False, True):
            order = submit(side=side, limit=price, reduce_only=reduce_only)
            last = replace(MARK, price=dec(mark))
            assert verdict(order, book(position="1"), limits=WIDE, mark=last) is not None


@pytest.mark.parametrize("price", [*NOT_NUMBERS, "0", "-0", "-100"])
@pytest.mark.parametrize("limit", [None, "100"])
@pytest.mark.parametrize(("side", "reduce_only"), [(Side.BUY, False), (Side.SELL, False), (Side.SELL, True)])
def test_no_order_passes_on_an_impossible_mark(price: str, limit: str | None, side: Side, reduce_only: bool) -> None:
    """A mark that is no positive, finite number is no mark: nothing is judged by it, an exit neither."""
    order = submit(side=side, limit=limit, reduce_only=reduce_only)
    mark = Mark(price=dec(price), ts_ns=NOW_NS)
    assert verdict(order, book(position="1"), mark=mark) is not None


@pytest.mark.parametrize("price", ["1E+40", "1E+999999", "1E-40", "1E-999999"])
@pytest.mark.parametrize("limit", [None, "100"])
def test_no_entry_passes_on_a_mark_beyond_all_reason(price: str, limit: str | None) -> None:
    """A finite mark that overflows or vanishes in arithmetic denies like any other bad one."""
    for qty in ("20", "50"):
        mark = Mark(price=dec(price), ts_ns=NOW_NS)
        assert verdict(submit(qty=qty, limit=limit), mark=mark, limits=WIDE) is not None


@pytest.mark.parametrize("equity", [*NOT_NUMBERS, "-0", "1E-40", "1E-999999"])
def test_no_entry_passes_on_an_impossible_equity(equity: str) -> None:
    """Equity that is no number is no equity; an infinite one would allow any leverage."""
    assert verdict(submit(), book(equity=equity)) is not None


@pytest.mark.parametrize("others", NOT_NUMBERS)
def test_no_entry_passes_on_an_impossible_exposure(others: str) -> None:
    """What the other instruments may reach is a finite number, else nothing is added to it."""
    assert verdict(submit(), book(others=others)) is not None


@pytest.mark.parametrize("position", NOT_NUMBERS)
@pytest.mark.parametrize("reduce_only", [False, True])
def test_no_order_passes_on_an_impossible_position(position: str, reduce_only: bool) -> None:
    """A position that is no number denies, whatever the order."""
    for side in Side:
        account = replace(book(), position=Position(instrument=NAME, qty=dec(position)))
        assert verdict(submit(side=side, reduce_only=reduce_only), account) is not None


LIMIT_NAMES = ["order_notional_max", "position_notional_max", "leverage_max", "price_collar"]


@pytest.mark.parametrize("name", LIMIT_NAMES)
@pytest.mark.parametrize("value", ["NaN", "-NaN", "sNaN", "-Infinity"])
def test_a_limit_that_is_no_number_allows_nothing(name: str, value: str) -> None:
    """A limit nobody can keep lets no entry through."""
    assert verdict(submit(limit="100"), limits=replace(LIMITS, **{name: dec(value)})) is not None


@pytest.mark.parametrize("name", LIMIT_NAMES)
def test_an_infinite_limit_allows_nothing(name: str) -> None:
    """A limit is a number: one that is infinite switches its check off, so it denies instead."""
    assert verdict(submit(limit="100"), limits=replace(LIMITS, **{name: dec("Infinity")})) is not None
