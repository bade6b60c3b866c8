"""Laws of the queue models: a place only gets better, nothing fills twice, and the models stand in their order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.venue.queue import (
    UNKNOWN_AHEAD,
    Probabilistic,
    QueueModel,
    QueuePosition,
    RiskAverse,
    Through,
    Touch,
    scan_level,
)
from tests.support.examples import examples

PROBABLE = (*(Probabilistic(n=n) for n in (1, 2, 3, 16)), Probabilistic(kind="log"))
MODELS: tuple[QueueModel, ...] = (Touch(), *PROBABLE, RiskAverse(), Through())
IN_TURN: tuple[QueueModel, ...] = (*PROBABLE, RiskAverse())

small = st.integers(0, 40)
large = st.integers(0, 10**12)
amounts = st.one_of(small, small, large)
levels = st.one_of(amounts, st.none())
events = st.one_of(
    st.tuples(st.just("trade"), st.one_of(st.integers(0, 15), large)),
    st.tuples(st.just("level"), levels),
    st.tuples(st.just("less"), st.integers(1, 30)),
)
lives = st.lists(events, max_size=25)


def happen(position: QueuePosition, event: tuple[str, Any]) -> int:
    """Return what fills when an event happens."""
    what, value = event
    if what == "trade":
        return position.traded(value)
    if what == "level":
        position.level_changed(value)
    elif value < position.open_steps:
        position.amended(value, level_steps=None)
    return 0


@pytest.mark.parametrize("model", MODELS, ids=repr)
@given(qty=st.integers(1, 30), level=levels, life=lives)
@settings(max_examples=examples(60), deadline=None)
def test_a_place_only_gets_better(model: QueueModel, qty: int, level: int | None, life: list[tuple[str, Any]]) -> None:
    """`ahead` never grows, is never negative, nor more than the level last showed; no more fills than is open."""
    position = QueuePosition(model, qty_steps=qty, level_steps=level)
    shown = UNKNOWN_AHEAD if level is None else level
    for event in life:
        ahead, open_steps = position.ahead, position.open_steps
        filled = happen(position, event)
        if event[0] == "level" and event[1] is not None:
            shown = event[1]
        assert 0 <= position.ahead <= min(ahead, shown)
        assert 0 <= filled <= open_steps
        if event[0] != "less":
            assert position.open_steps == open_steps - filled
    left = position.open_steps
    assert position.traded_through() == left
    assert position.open_steps == 0


@given(qty=st.integers(1, 30), level=levels, life=lives)
@settings(max_examples=examples(300), deadline=None)
def test_models_stand_in_their_order(qty: int, level: int | None, life: list[tuple[str, Any]]) -> None:
    """After any events Touch has filled at least what any Probabilistic has, that what RiskAverse has, Through least.

    Hence the first fill and the last come in this order too. Who is ahead stands in order likewise.
    """
    positions = [QueuePosition(model, qty_steps=qty, level_steps=level) for model in MODELS]
    filled = [0] * len(MODELS)
    for event in life:
        if event[0] != "less":  # what is open differs by model, so an amended order would not be one order
            for place, position in enumerate(positions):
                filled[place] += happen(position, event)
        touch, *probable, averse, through = filled
        assert all(touch >= each >= averse for each in probable)
        assert averse >= through == 0
        _, *probable_ahead, averse_ahead, _ = (position.ahead for position in positions)
        assert all(each <= averse_ahead for each in probable_ahead)


class _Watched:
    """Passes on to a model, and sees to it that what it is asked can be, and what it answers too."""

    def __init__(self, model: QueueModel) -> None:
        self._model = model

    def filled(self, open_steps: int, ahead: int, traded: int) -> int:
        assert min(open_steps, ahead, traded) >= 0
        return self._model.filled(open_steps, ahead, traded)

    def left_ahead(self, ahead: int, behind: int, gone: int) -> int:
        assert min(ahead, behind) >= 0
        assert 0 < gone <= ahead + behind
        left = self._model.left_ahead(ahead, behind, gone)
        assert 0 <= left <= min(ahead, gone)
        return left


@pytest.mark.parametrize("model", MODELS, ids=repr)
@given(qty=st.integers(1, 30), level=levels, life=lives)
@settings(max_examples=examples(60), deadline=None)
def test_models_are_asked_what_can_be(
    model: QueueModel, qty: int, level: int | None, life: list[tuple[str, Any]]
) -> None:
    """Nobody is ahead or behind in negative number, and no more leave than there were."""
    position = QueuePosition(_Watched(model), qty_steps=qty, level_steps=level)
    for event in life:
        happen(position, event)


@pytest.mark.parametrize("model", IN_TURN, ids=repr)
@given(qty=st.integers(1, 30), level=small, trades=st.lists(st.integers(0, 15), max_size=12), data=st.data())
@settings(max_examples=examples(40), deadline=None)
def test_a_trade_in_parts_is_the_same_trade(
    model: QueueModel, qty: int, level: int, trades: list[int], data: st.DataObject
) -> None:
    """Venues print one taker's order in as many trades as it met orders: how many must not matter."""
    whole = QueuePosition(model, qty_steps=qty, level_steps=level)
    parts = QueuePosition(model, qty_steps=qty, level_steps=level)
    for traded in trades:
        first = data.draw(st.integers(0, traded))
        assert whole.traded(traded) == parts.traded(first) + parts.traded(traded - first)
        assert whole.ahead == parts.ahead
    whole.level_changed(level // 2)
    parts.level_changed(level // 2)
    assert whole.ahead == parts.ahead


@given(
    rows=st.lists(st.tuples(st.integers(98, 102), st.integers(0, 9), st.booleans()), max_size=30),
    is_bid=st.booleans(),
    ahead=small,
    bounds=st.tuples(st.integers(0, 30), st.integers(0, 30)),
)
@settings(max_examples=examples(200), deadline=None)
def test_the_scan_finds_the_first_trade_that_fills(
    rows: list[tuple[int, int, bool]], is_bid: bool, ahead: int, bounds: tuple[int, int]
) -> None:
    """It says of the trades what a position says that is told them one by one."""
    start, stop = (min(each, len(rows)) for each in sorted(bounds))
    position = QueuePosition(RiskAverse(), qty_steps=1, level_steps=ahead)
    expected, traded = -1, 0
    for row, (price, qty, is_buy) in enumerate(rows[start:stop], start):
        is_beyond = price < 100 if is_bid else price > 100
        is_ours = price == 100 and is_buy != is_bid
        if (position.traded_through() if is_beyond else position.traded(qty) if is_ours else 0) > 0:
            expected = row
            break
        traded += qty if is_ours else 0
    columns = [np.array(column) for column in zip(*rows, strict=True)] or [np.array([], dtype=np.int64)] * 3
    assert scan_level(*columns[:2], columns[2].astype(np.bool_), start, stop, 100, is_bid, ahead) == (expected, traded)
