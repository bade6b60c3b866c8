"""Everything that can be wrong with bars, each planted once in sound ones."""

import numpy as np

from tests.support.planted_others import stepped
from tests.support.planting import ERROR, INFO, WARNING, Planted, shifted, swapped, twice, without
from tests.support.quality import (
    HOUR,
    MINUTE,
    SECOND,
    START,
    Columns,
    bars,
    mark,
    put,
    take,
)


def flat(columns: Columns, start: int, stop: int, *, volume: int | None = None) -> Columns:
    """Let a stretch of bars stand still at the close before it."""
    close = columns["close"][start - 1]
    for name in ("open", "high", "low", "close"):
        columns = put(columns, name, slice(start, stop), close)
    columns = put(columns, "open", stop, close)
    columns = put(columns, "low", stop, min(close, columns["low"][stop]))
    columns = put(columns, "high", stop, max(close, columns["high"][stop]))
    columns = put(columns, "turnover", slice(None), np.nan)
    if volume is not None:
        columns = put(columns, "volume", slice(start, stop), volume)
        columns = put(columns, "buy_volume", slice(start, stop), 0)
    return columns


def spiked_close(row: int, price: int) -> Columns:
    columns = put(bars(), "turnover", slice(None), np.nan)
    columns = put(columns, "close", row, price)
    columns = put(columns, "open", row + 1, price)
    for at in (row, row + 1):
        columns = put(columns, "high", at, max(price, columns["high"][at]))
        columns = put(columns, "low", at, min(price, columns["low"][at]))
    return columns


BARS = [
    Planted(
        kind="bars-1m",
        columns=lambda: without(bars(), 50, 51, 52, 90),
        code="bars.missing",
        severity=WARNING,
        count=4,
        row=50,
        words=("4 of 200 1m intervals", "2 holes", "3m missing after 2024-01-01T00:49:00Z"),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: twice(bars(), 40),
        code="bars.duplicate",
        severity=ERROR,
        count=1,
        row=41,
        words=("1 equal the row before, 0 do not",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: shifted(twice(bars(), 40), "volume", 41, 1),
        code="bars.duplicate",
        severity=ERROR,
        count=1,
        row=41,
        also=("bars.turnover",),
        words=("0 equal the row before, 1 do not",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: take(bars(), [*range(100), *range(60, 200)]),
        code="bars.duplicate",
        severity=ERROR,
        count=40,
        row=100,
        also=("bars.disorder",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: twice(shifted(bars(), "open_ns", 199, 20 * SECOND), 199),
        code="bars.duplicate",
        severity=ERROR,
        count=1,
        row=200,
        also=("bars.off-grid",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: swapped(bars(), 70),
        code="bars.disorder",
        severity=ERROR,
        count=1,
        row=71,
        words=("after one of 2024-01-01T01:11:00Z",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: shifted(bars(), "open_ns", 199, 20 * SECOND),
        code="bars.off-grid",
        severity=ERROR,
        count=1,
        row=199,
        words=("20 s late",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: shifted(bars(), "open_ns", 0, -20 * SECOND),
        code="bars.off-grid",
        severity=ERROR,
        count=1,
        row=0,
        words=("40 s late",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: without(bars(), *range(4, 200, 5)),
        code="bars.missing",
        severity=WARNING,
        count=39,
        row=4,
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: shifted(bars(), "open_ns", 100, 20 * SECOND),
        code="bars.overlap",
        severity=ERROR,
        count=1,
        row=101,
        also=("bars.off-grid", "bars.missing"),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: bars(rows=40, interval_ns=5 * MINUTE),
        code="bars.interval",
        severity=ERROR,
        count=40,
        row=None,
        also=("bars.missing",),
        words=("5m bars, not 1m bars",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: shifted(bars(), "open_ns", 199, -START),
        code="bars.time",
        severity=ERROR,
        count=1,
        row=199,
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: put(bars(), "low", 30, -5),
        code="bars.price",
        severity=ERROR,
        count=1,
        row=30,
        words=("low -0.05",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: shifted(bars(), "high", 30, -9),
        code="bars.high",
        severity=ERROR,
        count=1,
        row=30,
        also=("bars.turnover",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: shifted(bars(), "low", 30, 6),
        code="bars.low",
        severity=ERROR,
        count=1,
        row=30,
        also=("bars.turnover",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: put(put(bars(), "volume", 30, -5), "buy_volume", 30, -1),
        code="bars.volume",
        severity=ERROR,
        count=1,
        row=30,
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: put(bars(), "buy_volume", 30, 5_000),
        code="bars.buy-volume",
        severity=ERROR,
        count=1,
        row=30,
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: put(bars(), "turnover", 30, 1.0),
        code="bars.turnover",
        severity=WARNING,
        count=1,
        row=30,
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: flat(bars(), 30, 36, volume=0),
        code="bars.zero-volume",
        severity=INFO,
        count=6,
        row=30,
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: put(put(bars(), "volume", 30, 0), "buy_volume", 30, 0),
        code="bars.moved-without-volume",
        severity=WARNING,
        count=1,
        row=30,
        also=("bars.zero-volume",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: flat(bars(), 30, 51),
        code="bars.frozen",
        severity=WARNING,
        count=1,
        row=30,
        words=("more than 20 bars", "21 rows"),
    ),
    Planted(
        kind="mark-1h",
        columns=lambda: {
            name: values for name, values in flat(bars(interval_ns=HOUR), 30, 52).items() if name in mark()
        },
        code="bars.frozen",
        severity=WARNING,
        count=1,
        row=30,
        words=("22 rows",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: flat(bars(), 30, 90, volume=0),
        code="bars.stuck",
        severity=WARNING,
        count=1,
        row=29,
        also=("bars.zero-volume",),
        words=("61 rows",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: put(bars(), "low", 30, 9_700),
        code="bars.suspect-price",
        severity=INFO,
        count=1,
        row=30,
        words=("low 97 under open and close",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: put(bars(), "high", 30, 100_000),
        code="bars.suspect-price",
        severity=WARNING,
        count=1,
        row=30,
        words=("high 1000",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: put(bars(), "low", 30, 1_000),
        code="bars.suspect-price",
        severity=WARNING,
        count=1,
        row=30,
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: spiked_close(120, 9_000),
        code="bars.suspect-price",
        severity=INFO,
        count=1,
        row=120,
        words=("close 90 between",),
    ),
    Planted(
        kind="bars-1m",
        columns=lambda: stepped(3),
        code="bars.price-step",
        severity=WARNING,
        count=1,
        row=120,
    ),
    Planted(
        kind="mark-1h",
        columns=lambda: without(mark(), 7, 8),
        code="bars.missing",
        severity=WARNING,
        count=2,
        row=7,
        words=("2h missing after 2024-01-01T06:00:00Z",),
    ),
]
