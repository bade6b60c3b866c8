"""Markets drawn at random, and places to cut them at: for tests of law 1."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from bot.domain.market import (
    Columns,
    TradeBatch,
    column_names,
    is_same,
)
from tests.support.bars_reference import ReferenceTrade
from tests.support.batches import trades_of

BASE = 10  # ns: tiny base bars, so that every boundary is hit often
SCALES = (BASE, 3 * BASE, 6 * BASE)
FOREVER = 2**61
I64S = NDArray[np.int64]

places = st.lists(st.integers(0, 70), max_size=6)


def assert_same(left: Columns, right: Columns) -> None:
    """Fail with the name of the first column that differs."""
    for name in column_names(type(left)):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    assert is_same(left, right)


arrivals = st.tuples(
    st.sampled_from([0, 0, 1, 3, 9, 10, 11, 35, 170]),  # how long after the newest so far
    st.sampled_from([0, 0, 0, 0, 1, 5, 10, 30]),  # and how much before it
    st.integers(90, 110),
    st.integers(1, 5),
    st.booleans(),
)


@st.composite
def trades(draw: st.DrawFn, rows_max: int = 60) -> TradeBatch:
    """Return trades with quiet stretches, equal times, and disorder within and beyond the lateness."""
    now = draw(st.integers(100, 200))
    rows = []
    for step, late, price, qty, is_buy in draw(st.lists(arrivals, min_size=1, max_size=rows_max)):
        now += step
        rows.append(ReferenceTrade(ts_ns=now - late, price=price, qty=qty, is_buy=is_buy))
    return trades_of(rows)


def split(column: I64S, edges: Sequence[int]) -> list[I64S]:
    return np.split(column, sorted(edges))


SECOND = 1_000_000_000
