"""Everything that can be wrong with quotes, books, funding and mark prices, each planted once."""

import numpy as np

from tests.support.planting import ERROR, INFO, WARNING, Planted, shifted, swapped, twice, without
from tests.support.quality import (
    HOUR,
    SECOND,
    START,
    Columns,
    bars,
    book,
    funding,
    put,
    quotes,
    take,
)


def begun_before_its_snapshot() -> Columns:
    first = take(book(), [6, 7])
    for name, by in (("ts_ns", -2 * SECOND), ("recv_ns", -2 * SECOND), ("update", -2), ("previous", -2)):
        first = put(first, name, slice(None), first[name] + by)
    return {name: np.concatenate([first[name], values]) for name, values in book().items()}


def stepped(factor: int) -> Columns:
    columns = bars()
    for name in ("open", "high", "low", "close"):
        columns = put(columns, name, slice(120, None), columns[name][120:] * factor)
    return put(columns, "turnover", slice(120, None), columns["turnover"][120:] * factor)


OTHERS = [
    Planted(
        kind="quotes",
        columns=lambda: put(quotes(), "bid", 40, 10_009),
        code="quotes.crossed",
        severity=WARNING,
        count=1,
        row=40,
        words=("bid 100.09",),
    ),
    Planted(
        kind="quotes",
        columns=lambda: put(quotes(), "bid_qty", 40, 0),
        code="quotes.empty-side",
        severity=INFO,
        count=1,
        row=40,
    ),
    Planted(
        kind="quotes",
        columns=lambda: put(quotes(), "bid", 40, -1),
        code="quotes.price",
        severity=ERROR,
        count=1,
        row=40,
    ),
    Planted(
        kind="quotes",
        columns=lambda: put(quotes(), "ask_qty", 40, -1),
        code="quotes.qty",
        severity=ERROR,
        count=1,
        row=40,
    ),
    Planted(
        kind="quotes",
        columns=lambda: swapped(quotes(), 40),
        code="quotes.disorder",
        severity=ERROR,
        count=1,
        row=41,
    ),
    Planted(
        kind="quotes",
        columns=lambda: shifted(quotes(), "ts_ns", 299, -START),
        code="quotes.time",
        severity=ERROR,
        count=1,
        row=299,
    ),
    Planted(
        kind="quotes",
        columns=lambda: without(quotes(), *range(100, 160)),
        code="quotes.quiet",
        severity=INFO,
        count=1,
        row=100,
    ),
    Planted(
        kind="book",
        columns=lambda: shifted(book(), "ts_ns", [202, 203], -START),
        code="book.time",
        severity=ERROR,
        count=2,
        row=202,
    ),
    Planted(
        kind="book",
        columns=lambda: {
            name: values + (np.arange(204) >= 26) * 60 * SECOND if name in ("ts_ns", "recv_ns") else values
            for name, values in book().items()
        },
        code="book.quiet",
        severity=INFO,
        count=1,
        row=26,
    ),
    Planted(
        kind="funding",
        columns=lambda: without(funding(), 20, 21),
        code="funding.missing",
        severity=WARNING,
        count=2,
        row=20,
        words=("2 settlements absent in 1 hole", "after 2024-01-07T08:00:00Z"),
    ),
    Planted(
        kind="funding",
        columns=lambda: shifted(without(funding(), 20, 21, 40, 41), "ts_ns", 50, -4 * HOUR),
        code="funding.missing",
        severity=WARNING,
        count=4,
        row=20,
        words=("4 settlements absent in 2 holes",),
    ),
    Planted(
        kind="funding",
        columns=lambda: twice(funding(), 20),
        code="funding.duplicate",
        severity=ERROR,
        count=1,
        row=21,
    ),
    Planted(
        kind="funding",
        columns=lambda: swapped(funding(), 20),
        code="funding.disorder",
        severity=ERROR,
        count=1,
        row=21,
    ),
    Planted(
        kind="funding",
        columns=lambda: shifted(funding(), "ts_ns", 20, SECOND),
        code="funding.off-grid",
        severity=WARNING,
        count=1,
        row=20,
    ),
    Planted(
        kind="funding",
        columns=lambda: shifted(funding(), "ts_ns", 0, -START),
        code="funding.time",
        severity=ERROR,
        count=1,
        row=0,
    ),
    Planted(
        kind="funding",
        columns=lambda: put(funding(), "ts_ns", slice(30, None), funding()["ts_ns"][29] + np.arange(1, 31) * 4 * HOUR),
        code="funding.interval-changed",
        severity=INFO,
        count=1,
        row=29,
        words=("from 8h to 4h",),
    ),
    Planted(
        kind="funding",
        columns=lambda: put(funding(), "rate", 20, -200_000),
        code="funding.rate",
        severity=ERROR,
        count=1,
        row=20,
        words=("rate -0.2",),
    ),
    Planted(
        kind="funding",
        columns=lambda: put(funding(), "rate", 20, 30_000),
        code="funding.high-rate",
        severity=INFO,
        count=1,
        row=20,
    ),
    Planted(
        kind="funding",
        columns=lambda: put(funding(), "rate", slice(None), funding()["rate"] * 100),
        code="funding.unit",
        severity=WARNING,
        count=60,
        row=None,
    ),
    Planted(
        kind="book",
        columns=lambda: without(book(), 26, 27),  # message 11
        code="book.gap",
        severity=WARNING,
        count=1,
        row=26,
        also=("book.untrusted",),
        words=("update 1012 follows 1011, there is 1010",),
    ),
    Planted(
        kind="book",
        columns=lambda: put(put(book(), "update", slice(26, None), book()["update"][26:] - 900), "previous", 26, 1010),
        code="book.backwards",
        severity=WARNING,
        count=1,
        row=26,
        also=("book.gap", "book.untrusted"),
    ),
    Planted(
        kind="book",
        columns=lambda: take(book(), [*range(30), 26, 27, *range(30, 204)]),
        code="book.repeated",
        severity=WARNING,
        count=1,
        row=30,
        also=("book.disorder",),
    ),
    Planted(
        kind="book",
        columns=lambda: put(book(), "price", 26, 10_002),
        code="book.crossed",
        severity=WARNING,
        count=1,
        row=26,
        also=("book.untrusted",),
        words=("1 message", "update 1011"),
    ),
    Planted(
        kind="book",
        columns=lambda: put(book(), "qty", 26, -4),
        code="book.level",
        severity=ERROR,
        count=1,
        row=26,
        also=("book.untrusted",),
    ),
    Planted(
        kind="book",
        columns=begun_before_its_snapshot,
        code="book.untrusted",
        severity=INFO,
        count=1,
        row=None,
        words=("after 1 message of 101", "1 of them before the first snapshot"),
    ),
    Planted(
        kind="book",
        columns=lambda: take(book(), slice(6, None)),
        code="book.no-snapshot",
        severity=ERROR,
        count=99,
        row=None,
    ),
    Planted(
        kind="book",
        columns=lambda: put(book(), "previous", slice(None), -1),
        code="book.unlinked",
        severity=INFO,
        count=99,
        row=None,
    ),
    Planted(
        kind="book",
        columns=lambda: shifted(shifted(book(), "ts_ns", [26, 27], -5 * SECOND), "recv_ns", [26, 27], -5 * SECOND),
        code="book.disorder",
        severity=WARNING,
        count=1,
        row=26,
    ),
]
