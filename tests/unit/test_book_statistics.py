"""The statistics of a book's rows: by hand, and against exact fractions."""

import math
import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core import book_statistics
from bot.core.book_features import BOOK_COLUMNS
from bot.core.book_statistics import OrderFlow
from bot.domain.instrument import Instrument
from bot.domain.market import F64
from tests.support.book_bars_reference import Bar, book_bar
from tests.support.book_reference import (
    Row,
    books_of,
    decimal,
    flow_of,
    imbalance_of,
    is_known,
    mid_of,
    pressure_of,
    slope_of,
    spread_bps_of,
)
from tests.support.examples import examples

# Ticks of 0.5 and steps of 0.01, so that ticks are no prices and steps no quantities.
XY = Instrument(
    name="XYUSDT",
    base="XY",
    quote="USDT",
    tick_size=Decimal("0.5"),
    qty_step=Decimal("0.01"),
    qty_min=Decimal("0.01"),
    qty_max=Decimal(1000),
)


def row(bids: list[tuple[int, int]], asks: list[tuple[int, int]], *, at: int = 0, is_trusted: bool = True) -> Row:
    return Row(ts_ns=at, known_ns=at, update=at, bids=bids, asks=asks, is_trusted=is_trusted)


# Bid 99.5 with 3 on it and 99 with 1, ask 100.5 with 1 on it and 102 with 4: the mid is 100.
PLAIN = row([(199, 300), (198, 100)], [(201, 100), (204, 400)])


def test_by_hand() -> None:
    """The formulas of the docstrings, with numbers that can be followed."""
    books = books_of([PLAIN], depth=2, instrument=XY)
    assert book_statistics.mid(books)[0] == 100.0
    assert book_statistics.spread_bps(books)[0] == pytest.approx(100.0)
    # 3 of 4 at the bid: the microprice is (100.5 * 3 + 99.5 * 1) / 4 = 100.25.
    assert book_statistics.microprice(books)[0] == pytest.approx(100.25)
    assert book_statistics.microprice_bps(books)[0] == pytest.approx(25.0)
    assert book_statistics.imbalance(books, 1)[0] == 0.5
    assert book_statistics.imbalance(books, 2)[0] == pytest.approx((4 - 5) / 9)
    bids, asks = book_statistics.depth_steps(books, 2)
    assert (bids[0], asks[0]) == (400, 500)
    # Distances: 50 and 100 bps below, 50 and 200 bps above.
    bid, ask = 3 / 50 + 1 / 100, 1 / 50 + 4 / 200
    assert book_statistics.pressure(books, 2)[0] == pytest.approx((bid - ask) / (bid + ask))
    bid_slope, ask_slope = book_statistics.slopes(books, 2)
    assert bid_slope[0] == pytest.approx((50 * 3 + 100 * 4) / (50**2 + 100**2))
    assert ask_slope[0] == pytest.approx((50 * 1 + 200 * 5) / (50**2 + 200**2))


@pytest.mark.parametrize(
    ("bids", "asks", "flow"),
    [
        ([(199, 300)], [(201, 100)], 0),  # nothing changed
        ([(199, 350)], [(201, 100)], 50),  # more to buy
        ([(199, 300)], [(201, 160)], -60),  # more to sell
        ([(200, 20)], [(201, 100)], 20),  # a better bid: all of it
        ([(198, 70)], [(201, 100)], -300),  # the bid is gone: all that was
        ([(199, 300)], [(200, 30)], -30),  # a better ask
        ([(199, 300)], [(203, 30)], 100),  # the ask is gone
        ([(200, 20)], [(203, 30)], 120),
    ],
)
def test_order_flow_at_the_best_level_by_hand(
    bids: list[tuple[int, int]], asks: list[tuple[int, int]], flow: int
) -> None:
    """Every case of Cont, Kukanov and Stoikov (2014), equation 2."""
    books = books_of([row([(199, 300)], [(201, 100)]), row(bids, asks)], depth=1, instrument=XY)
    found = OrderFlow().update(books)
    assert math.isnan(found[0, 0])
    assert found[1, 0] == flow / 100


def test_what_is_not_known_is_nan() -> None:
    """An untrusted row and a row with an empty side have no statistic, and no flow comes from or to them."""
    books = books_of(
        [PLAIN, row([], [(201, 5)]), PLAIN, row([], [], is_trusted=False), PLAIN, PLAIN], depth=2, instrument=XY
    )
    unknown = [False, True, False, True, False, False]
    for values in (
        book_statistics.mid(books),
        book_statistics.spread_bps(books),
        book_statistics.microprice(books),
        book_statistics.imbalance(books, 2),
        book_statistics.pressure(books, 2),
        *book_statistics.slopes(books, 2),
    ):
        assert np.isnan(values).tolist() == unknown
    assert np.isnan(OrderFlow(2).update(books)[:, 0]).tolist() == [True, True, True, True, True, False]


def test_more_levels_than_there_are_shown_are_refused() -> None:
    books = books_of([PLAIN], depth=2, instrument=XY)
    for ask in (
        lambda: book_statistics.imbalance(books, 3),
        lambda: book_statistics.slopes(books, 3),
        lambda: OrderFlow(3).update(books),
    ):
        with pytest.raises(ValueError, match="ask the order book for more depth"):
            ask()


quantities = st.integers(1, 40)


@st.composite
def book_rows(draw: st.DrawFn, rows_max: int = 20) -> list[Row]:
    """Return a book's rows, some without a side or trust, some long apart, some at one time."""
    rows: list[Row] = []
    ts_ns = known_ns = draw(st.integers(0, 40))
    for _ in range(draw(st.integers(0, rows_max))):
        ts_ns += draw(st.sampled_from([0, 1, 2, 10, 35]))
        known_ns = max(known_ns, ts_ns + draw(st.sampled_from([0, 0, 0, 3, 20])))
        middle = draw(st.integers(100, 104))
        bids = draw(st.lists(st.integers(80, middle - 1), max_size=12, unique=True))
        asks = draw(st.lists(st.integers(middle, 125), max_size=12, unique=True))
        is_trusted = draw(st.sampled_from([True, True, True, False]))
        rows.append(
            Row(
                ts_ns=ts_ns,
                known_ns=known_ns,
                update=len(rows),
                bids=[(price, draw(quantities)) for price in sorted(bids, reverse=True)] if is_trusted else [],
                asks=[(price, draw(quantities)) for price in sorted(asks)] if is_trusted else [],
                is_trusted=is_trusted,
            )
        )
    return rows


def close(found: F64, expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@given(rows=book_rows(), levels=st.integers(1, 12), cut=st.integers(0, 20))
@settings(max_examples=examples(60), deadline=None)
def test_statistics_are_those_of_exact_fractions(rows: list[Row], levels: int, cut: int) -> None:
    """Whatever a row is, and bit for bit the same however the rows are cut."""
    books = books_of(rows, depth=12, instrument=XY)
    nan = math.nan
    close(book_statistics.mid(books), [decimal(mid_of(each), XY.tick_size) if is_known(each) else nan for each in rows])
    close(book_statistics.spread_bps(books), [float(spread_bps_of(each)) if is_known(each) else nan for each in rows])
    close(
        book_statistics.imbalance(books, levels),
        [float(imbalance_of(each, levels)) if is_known(each) else nan for each in rows],
    )
    pressure, slopes = book_statistics.pressure(books, levels), book_statistics.slopes(books, levels)
    close(pressure, [float(pressure_of(each, levels)) if is_known(each) else nan for each in rows])
    for found, side in zip(slopes, ("bids", "asks"), strict=True):
        expected = [
            decimal(slope_of(each, getattr(each, side), levels), XY.qty_step) if is_known(each) else nan
            for each in rows
        ]
        close(found, expected)
    flow = OrderFlow(levels).update(books)
    for level in range(levels):
        pairs = [(rows[i - 1], rows[i]) if i else None for i in range(len(rows))]
        expected = [
            decimal(flow_of(*pair, level), XY.qty_step) if pair and is_known(pair[0]) and is_known(pair[1]) else nan
            for pair in pairs
        ]
        close(flow[:, level], expected)

    parts = [books.rows(0, min(cut, len(books))), books.rows(min(cut, len(books)), len(books))]
    scan = OrderFlow(levels)
    assert np.concatenate([scan.update(part) for part in parts]).tobytes() == flow.tobytes()
    assert np.concatenate([book_statistics.pressure(part, levels) for part in parts]).tobytes() == pressure.tobytes()
    assert np.concatenate([book_statistics.slopes(part, levels)[0] for part in parts]).tobytes() == slopes[0].tobytes()


def test_the_columns_of_bars_are_those_of_the_reference() -> None:
    """No column is forgotten by either, and each has a unit."""
    made = book_bar([PLAIN], [Bar(open_ns=0, close_ns=10, known_ns=10)], 0, depth=2, instrument=XY)
    assert list(made) == list(BOOK_COLUMNS)
    assert all(name.startswith("book_") and unit for name, unit in BOOK_COLUMNS.items())


def test_every_column_is_documented_with_its_unit() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "order_book.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for names, unit in re.findall(r"^\| ((?:`book_\w+`(?:, )?)+) \| (\S+) \|", text, re.MULTILINE):
        found |= dict.fromkeys(re.findall(r"book_\w+", names), unit)
    assert found == BOOK_COLUMNS
