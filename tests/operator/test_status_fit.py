"""The terminal view on terminals that are too small for all of it: lists get shorter, and nothing is cut off."""

import io
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from bot.domain.operation import DataAge, Snapshot
from bot.operator.status_view import fit
from tests.support.operated import make_snapshot

SECOND = 10**9


def busy() -> Snapshot:
    """Return a bot with more to show than any terminal has lines."""
    view = make_snapshot()
    order = view.orders[0]
    orders = tuple(
        replace(order, client_order_id=f"e000001-restless____-{n:09d}", is_in_doubt=n == 17, sent_ns=view.now_ns - n)
        for n in range(30)
    )
    data = tuple(
        DataAge(topic=f"orderbook.50.COIN{n}USDT", age_ns=n * SECOND, limit_ns=40 * SECOND, is_trusted=n != 3)
        for n in range(30)
    )
    troubles = tuple(f"COIN{n}USDT: no trade for 12 s" for n in range(20))
    return replace(view, orders=orders, data=data, troubles=troubles)


def lines_of(view: Snapshot, columns: int, rows: int, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=columns, height=rows, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(fit(console, view, **options))
    return captured.get().splitlines()


@pytest.mark.parametrize(("columns", "rows"), [(160, 60), (120, 40), (100, 30)])
def test_all_of_it_is_on_the_screen(columns: int, rows: int) -> None:
    lines = lines_of(busy(), columns, rows)
    text = "\n".join(lines)
    assert len(lines) <= rows
    for fact in ("READY", "10,150.25", "IN DOUBT", "COIN0USDT: no trade", "GAP", "alive", "more"):
        assert fact in text, fact


def test_a_tall_terminal_shows_everything() -> None:
    text = "\n".join(lines_of(busy(), 160, 200))
    assert "more" not in text
    assert text.count("e000001-restless") == 30


def test_who_has_ended_is_said_on_the_smallest_too() -> None:
    view = busy()
    dead = replace(view.actors[0], is_alive=False)
    text = "\n".join(lines_of(replace(view, actors=(dead, *view.actors[1:])), 100, 24))
    assert f"ENDED: {dead.name}" in text


def test_figures_of_forecasts_are_not_shortened() -> None:
    """A median that ends in dots tells nothing."""
    lines = lines_of(make_snapshot(), 120, 60)
    assert not [line for line in lines if "…" in line]
