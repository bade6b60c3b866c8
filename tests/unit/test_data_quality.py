"""What the scans of market data find: each thing planted in sound data is found, named by row, and nothing else is."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.data_quality.coverage import Coverage
from bot.core.data_quality.findings import Holes, Limits, Severity, length_of_time, many, number, when
from bot.core.data_quality.outages import common_holes, find_outages
from bot.core.data_quality.scans import scan_of
from tests.support.quality import (
    CLEAN,
    HOUR,
    MINUTE,
    SECOND,
    START,
    Columns,
    bars,
    book,
    found,
    funding,
    mark,
    put,
    quotes,
    scan,
    take,
    trades,
)

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


@pytest.mark.parametrize("kind", CLEAN)
def test_sound_data_has_no_finding(kind: str) -> None:
    """The control of every test below: the very rows that things are planted in."""
    quality = scan(kind, CLEAN[kind]())
    assert not quality.findings
    assert quality.rows == len(next(iter(CLEAN[kind]().values())))
    assert quality.first_ns == START


@pytest.mark.parametrize("kind", CLEAN)
def test_no_rows_are_no_finding(kind: str) -> None:
    """The figures have the same names as ever."""
    nothing = scan(kind, take(CLEAN[kind](), slice(0, 0)))
    assert (nothing.rows, nothing.first_ns, nothing.last_ns, nothing.findings) == (0, None, None, ())
    assert nothing.facts.keys() == scan(kind, CLEAN[kind]()).facts.keys()
    assert scan_of(kind, Limits()).finish().facts.keys() == nothing.facts.keys()


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Something wrong in data that is sound else, and all that must come of it."""

    kind: str
    columns: Callable[[], Columns]
    code: str
    severity: Severity
    count: int
    row: int | None  # of the first example
    also: tuple[str, ...] = ()  # other codes that cannot but come with it
    words: tuple[str, ...] = ()  # in the message


def without(columns: Columns, *rows: int) -> Columns:
    return take(columns, np.delete(np.arange(len(next(iter(columns.values())))), rows))


def twice(columns: Columns, *rows: int) -> Columns:
    count = np.ones(len(next(iter(columns.values()))), dtype=int)
    count[list(rows)] = 2
    return take(columns, np.repeat(np.arange(len(count)), count))


def swapped(columns: Columns, row: int) -> Columns:
    order = np.arange(len(next(iter(columns.values()))))
    order[[row, row + 1]] = order[[row + 1, row]]
    return take(columns, order)


def shifted(columns: Columns, name: str, row: int, by: int) -> Columns:
    return put(columns, name, row, columns[name][row] + by)


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

TRADES = [
    Planted(
        kind="trades",
        columns=lambda: shifted(shifted(trades(), "ts_ns", 50, -30 * SECOND), "recv_ns", 50, -30 * SECOND),
        code="trades.disorder",
        severity=ERROR,
        count=1,
        row=50,
        words=("29 s earlier",),
    ),
    Planted(
        kind="trades",
        columns=lambda: shifted(trades(), "ts_ns", 299, -START),
        code="trades.time",
        severity=ERROR,
        count=1,
        row=299,
    ),
    Planted(
        kind="trades",
        columns=lambda: twice(trades(), 60, 61),
        code="trades.duplicate",
        severity=ERROR,
        count=2,
        row=61,
        words=("2 equal the row before, 0 do not",),
    ),
    Planted(
        kind="trades",
        columns=lambda: put(trades(), "trade_id", 60, 5_010),
        code="trades.duplicate",
        severity=ERROR,
        count=1,
        row=60,
        also=("trades.missing-ids",),
        words=("0 equal the row before, 1 do not",),
    ),
    Planted(
        kind="trades",
        columns=lambda: put(twice(trades(), 60, 61), "trade_id", slice(None), 0),
        code="trades.equal-rows",
        severity=INFO,
        count=2,
        row=61,
    ),
    Planted(
        kind="trades",
        columns=lambda: put(twice(trades(rows=1_000), *range(0, 1_000, 5)), "trade_id", slice(None), 0),
        code="trades.equal-rows",
        severity=WARNING,
        count=200,
        row=1,
        words=("(16.7%)",),
    ),
    Planted(
        kind="trades",
        columns=lambda: put(trades(), "trade_id", [80, 81], trades()["trade_id"][[81, 80]]),
        code="trades.id-disorder",
        severity=WARNING,
        count=1,
        row=81,
    ),
    Planted(
        kind="trades",
        columns=lambda: without(trades(), 100, 101, 102, 200),
        code="trades.missing-ids",
        severity=WARNING,
        count=4,
        row=100,
        words=("4 ids absent in 2 holes", "3 ids from 5100 on"),
    ),
    Planted(
        kind="trades",
        columns=lambda: put(trades(), "trade_id", slice(None), trades()["trade_id"] * 9),
        code="trades.missing-ids",
        severity=INFO,
        count=299 * 8,
        row=1,
        words=("more than this symbol's trades",),
    ),
    Planted(
        kind="trades",
        columns=lambda: {
            name: values + (np.arange(300) >= 250) * 61 * SECOND if name in ("ts_ns", "recv_ns") else values
            for name, values in trades().items()
        },
        code="trades.quiet",
        severity=INFO,
        count=1,
        row=250,
        words=("62 s after 2024-01-01T00:04:09Z",),
    ),
    Planted(
        kind="trades",
        columns=lambda: put(trades(), "price", 50, 0),
        code="trades.price",
        severity=ERROR,
        count=1,
        row=50,
    ),
    Planted(
        kind="trades",
        columns=lambda: put(trades(), "qty", 50, -7),
        code="trades.qty",
        severity=ERROR,
        count=1,
        row=50,
        words=("quantity -0.007",),
    ),
    Planted(
        kind="trades",
        columns=lambda: put(trades(), "price", slice(100, 110), 9_900),
        code="trades.suspect-price",
        severity=INFO,
        count=10,
        row=100,
    ),
    Planted(
        kind="trades",
        columns=lambda: put(trades(), "price", 100, 1_000),
        code="trades.suspect-price",
        severity=WARNING,
        count=1,
        row=100,
    ),
    Planted(
        kind="trades",
        columns=lambda: put(trades(rows=1_000), "is_buy", slice(None), True),
        code="trades.one-sided",
        severity=WARNING,
        count=1_000,
        row=None,
    ),
    Planted(
        kind="trades",
        columns=lambda: put(trades(), "recv_ns", slice(None), trades()["recv_ns"] - 1_290_000_000),
        code="clock.recorder-behind",
        severity=WARNING,
        count=300,
        row=None,
        words=("about 1.266 s behind", "100.0% of 300"),
    ),
    Planted(
        kind="trades",
        columns=lambda: put(trades(), "recv_ns", slice(0, 30), trades()["ts_ns"][:30] - 1),
        code="clock.negative",
        severity=INFO,
        count=30,
        row=None,
    ),
    Planted(
        kind="trades",
        columns=lambda: put(trades(), "recv_ns", slice(None), trades()["recv_ns"] + 2 * SECOND),
        code="clock.recorder-ahead",
        severity=WARNING,
        count=300,
        row=None,
    ),
]

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


@pytest.mark.parametrize("planted", [*BARS, *TRADES, *OTHERS], ids=lambda planted: planted.code)
def test_what_is_planted_is_found_and_nothing_else(planted: Planted) -> None:
    """By its code, as often as it is there, at its row and time."""
    columns = planted.columns()
    quality = scan(planted.kind, columns)
    finding = found(quality, planted.code)
    assert (finding.severity, finding.count) == (planted.severity, planted.count), finding.message
    assert {each.code for each in quality.findings} == {planted.code, *planted.also}
    if planted.row is None:
        assert not finding.examples
    else:
        assert finding.examples[0].row == planted.row
        if planted.code not in ("bars.missing", "funding.missing"):  # those name the time of what is not there
            time = "open_ns" if "open_ns" in columns else "ts_ns"
            assert finding.examples[0].ts_ns == columns[time][planted.row]
    for word in planted.words:
        assert word in finding.message, finding.message


# --- what must not be taken for something wrong ----------------------------------------------------------------------


def test_a_lasting_move_is_no_suspect() -> None:
    """Prices that fall by a tenth from one row to the next and stay there are news, in bars and in trades."""
    columns = trades()
    assert not scan("trades", put(columns, "price", slice(150, None), columns["price"][150:] - 1_000)).findings
    columns = put(bars(), "turnover", slice(None), np.nan)
    for name in ("open", "high", "low", "close"):
        columns = put(columns, name, slice(120, None), columns[name][120:] - 1_000)
    assert not scan("bars-1m", columns).findings


def test_the_return_of_a_spike_is_no_step() -> None:
    """A close ten times too high that comes back is one suspect, not two changes of the unit."""
    columns = spiked_close(120, 100_000)
    assert {each.code for each in scan("bars-1m", columns).findings} == {"bars.suspect-price"}
    assert found(scan("bars-1m", columns), "bars.suspect-price").count == 1


def test_a_suspect_is_judged_by_what_is_ordinary_there() -> None:
    """A wick of two percent stands out in a quiet market and not in one that moves as much all the time."""
    wick = put(bars(), "low", 30, 9_800)
    assert found(scan("bars-1m", wick), "bars.suspect-price").count == 1
    close = wick["close"] + np.arange(200) % 2 * 150
    wild = put(put(wick, "close", slice(None), close), "open", slice(None), close)
    wild = put(put(wild, "high", slice(None), close + 5), "turnover", slice(None), np.nan)
    wild = put(wild, "low", slice(None), np.where(np.arange(200) == 30, close - 200, close - 5))
    assert "bars.suspect-price" not in {each.code for each in scan("bars-1m", wild).findings}


def test_limits_are_the_last_that_is_sound() -> None:
    """Exactly so many frozen or stuck bars, and a quiet stretch of exactly that length, are none."""
    assert {each.code for each in scan("bars-1m", flat(bars(), 30, 50)).findings} == set()
    still = flat(bars(), 30, 89, volume=0)
    assert {each.code for each in scan("bars-1m", still).findings} == {"bars.zero-volume"}
    assert not scan("trades", take(trades(), slice(0, 5)), limits=Limits(quiet_ns=SECOND)).findings
    assert scan("trades", take(trades(), slice(0, 5)), limits=Limits(quiet_ns=SECOND - 1)).findings


def test_unknown_is_not_wrong() -> None:
    """Bars that tell no turnover, count or buy volume, trades without receipt, and few rows with an odd clock."""
    columns = put(bars(), "turnover", slice(None), np.nan)
    columns = put(put(columns, "buy_volume", slice(None), -1), "count", slice(None), -1)
    assert not scan("bars-1m", columns).findings
    quality = scan("trades", put(trades(), "recv_ns", slice(None), 0))
    assert not quality.findings
    assert quality.facts["delay_median_s"] is None
    few = take(trades(), slice(0, 99))
    assert not scan("trades", put(few, "recv_ns", slice(None), few["ts_ns"] - SECOND)).findings


def test_two_sources_fill_each_others_holes() -> None:
    """What is out of order is no duplicate, and what it fills is not missing."""
    later, earlier = take(bars(), slice(100, 200)), take(bars(), slice(0, 100))
    both = {name: np.concatenate([later[name], earlier[name]]) for name in later}
    quality = scan("bars-1m", both)
    assert {each.code for each in quality.findings} == {"bars.disorder"}
    assert quality.facts["missing_intervals"] == 0
    assert quality.first_ns == START


def test_a_book_is_trusted_again_after_a_snapshot() -> None:
    """A hole costs the messages until then, and a snapshot may carry any number."""
    first, second = without(book(), 26, 27), book()
    for name, by in (("ts_ns", 200 * SECOND), ("recv_ns", 200 * SECOND), ("update", 7_000)):
        second = put(second, name, slice(None), second[name] + by)
    second = put(second, "previous", slice(6, None), second["previous"][6:] + 7_000)
    quality = scan("book", {name: np.concatenate([first[name], second[name]]) for name in first})
    assert quality.facts["messages"] == 99 + 100
    assert quality.facts["snapshots"] == 2
    assert quality.facts["messages_untrusted"] == 88
    assert found(quality, "book.gap").count == 1


def test_every_hole_in_the_chain_is_counted_though_the_book_is_lost_at_the_first() -> None:
    """Three holes and one snapshot: three findings, and no book after the first."""
    quality = scan("book", without(book(), 26, 27, 60, 61, 120, 121))
    assert found(quality, "book.gap").count == 3
    assert [example.row for example in found(quality, "book.gap").examples] == [26, 58, 116]
    assert quality.facts["messages_untrusted"] == 97 - 11


# --- outages ----------------------------------------------------------------------------------------------------------


def holes(first: int, last: int, *missing: tuple[int, int]) -> Holes:
    """Return the holes of one symbol: first missing interval and how many."""
    start, length = zip(*missing, strict=True) if missing else ((), ())
    return Holes(
        interval_ns=MINUTE,
        first=first,
        last=last,
        start=np.array(start, dtype=np.int64),
        length=np.array(length, dtype=np.int64),
    )


def test_common_holes_are_those_that_all_who_are_there_lack() -> None:
    """A symbol that has not begun yet, or has ended, has no say; one symbol alone is no venue."""
    stretches = common_holes(
        {
            "A": holes(0, 1000, (10, 30), (100, 50), (500, 20)),
            "B": holes(0, 600, (20, 30), (120, 10), (500, 20)),
            "C": holes(110, 1000, (115, 25), (700, 5)),
        }
    )
    found_at = [(each.start_ns // MINUTE, each.intervals, each.symbols) for each in stretches]
    assert found_at == [(20, 20, 2), (120, 10, 3)]
    assert not common_holes({"A": holes(0, 1000, (10, 30))})
    assert not common_holes({"A": holes(0, 100, (10, 30)), "B": holes(200, 300, (210, 5))})
    assert not common_holes({})


@settings(deadline=None)
@given(
    symbols=st.lists(st.tuples(st.integers(0, 15), st.sets(st.integers(1, 38), max_size=30)), min_size=1, max_size=4)
)
def test_common_holes_agree_with_counting_minute_by_minute(symbols: list[tuple[int, set[int]]]) -> None:
    """Every interval by itself: who is there, and who lacks it."""
    series = {}
    lacking = {}
    for name, (first, missing) in zip("ABCD", symbols, strict=False):
        absent = sorted(minute for minute in missing if first < minute < 39)
        runs: list[tuple[int, int]] = []
        for minute in absent:
            if runs and sum(runs[-1]) == minute:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((minute, 1))
        series[name], lacking[name] = holes(first, 39, *runs), set(absent)
    want = {
        minute
        for minute in range(40)
        if len(there := [name for name, each in series.items() if each.first <= minute <= each.last]) >= 2
        and all(minute in lacking[name] for name in there)
    }
    got = {each.start_ns // MINUTE + n for each in common_holes(series) for n in range(each.intervals)}
    assert got == want


def test_an_outage_is_long_and_names_all() -> None:
    """Short holes in common are counted, not called outages."""
    series = {
        "AUSDT": holes(
            START // MINUTE, START // MINUTE + 900, *((START // MINUTE + at, n) for at, n in ((60, 30), (200, 9)))
        ),
        "BUSDT": holes(
            START // MINUTE, START // MINUTE + 900, *((START // MINUTE + at, n) for at, n in ((70, 90), (200, 9)))
        ),
    }
    (finding,) = find_outages("somewhere", series, Limits())
    assert (finding.code, finding.severity, finding.count) == ("venue.outage", WARNING, 1)
    assert "20 1m intervals that AUSDT, BUSDT lack together" in finding.message
    assert "20m missing after 2024-01-01T01:09:00Z" in finding.message
    assert "1 shorter" in finding.message
    assert not find_outages("somewhere", series, Limits(outage_ns=21 * MINUTE))


# --- parts ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    chunks=st.lists(st.lists(st.one_of(st.integers(0, 60), st.integers(2**62, 2**62 + 9)), max_size=12), max_size=12)
)
def test_coverage_agrees_with_a_set(chunks: list[list[int]]) -> None:
    """What was seen before, which runs there are, where each began, and the holes between them."""
    coverage, first_row = Coverage(), {}
    row = 0
    for chunk in chunks:
        want = []
        for offset, value in enumerate(chunk):
            want.append(value in first_row)
            first_row.setdefault(value, row + offset)
        rows = np.arange(row, row + len(chunk))
        repeats = coverage.add(np.array(chunk, dtype=np.int64), rows, rows * 10)
        assert repeats.tolist() == want
        row += len(chunk)
    values = sorted(first_row)
    starts = [value for value in values if value - 1 not in first_row]
    ends = [value for value in values if value + 1 not in first_row]
    runs = coverage.runs()
    assert runs.T.tolist() == [[a, b, first_row[a], first_row[a] * 10] for a, b in zip(starts, ends, strict=True)]
    start, length, after, _ = coverage.holes()
    assert start.tolist() == [end + 1 for end in ends[:-1]]
    assert (start + length).tolist() == starts[1:]
    assert after.tolist() == [first_row[value] for value in starts[1:]]


def test_words() -> None:
    """How figures are written in messages."""
    assert [many(1, "bar"), many(2, "bar"), many(1_200, "stretch")] == ["1 bar", "2 bars", "1,200 stretches"]
    assert when(START) == "2024-01-01T00:00:00Z"
    assert when(START + 1_500_000) == "2024-01-01T00:00:00.0015Z"
    assert [number(0.1), number(64000.0), number(1e-8), number(-0.5)] == ["0.1", "64000", "0.00000001", "-0.5"]
    lengths = (1_500_000, 88_124_000_000, 120 * SECOND, 67 * MINUTE, 26 * HOUR, -90 * MINUTE)
    assert [length_of_time(each) for each in lengths] == [
        "1.5 ms",
        "88.12 s",
        "2 min",
        "1 h 7 min",
        "1 d 2 h",
        "-1 h 30 min",
    ]


def test_an_unknown_kind_is_refused() -> None:
    """By its name."""
    with pytest.raises(ValueError, match="candles"):
        scan_of("candles", Limits())


def test_every_finding_is_documented() -> None:
    """The page names each code with its severity, and no other; each of the scans' own is planted above."""
    page = Path(__file__).resolve().parents[2] / "docs" / "data_check.md"
    told = re.findall(r"^\| `([a-z]+\.[a-z-]+)` \| ([a-z, ]+) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len({code for code, _ in told}) == len(told)
    severities: dict[str, set[str]] = {}
    for planted in (*BARS, *TRADES, *OTHERS):
        severities.setdefault(planted.code, set()).add(planted.severity.value)
    severities |= {"venue.outage": {"warning"}}
    of_files = {code for code, _ in told if code.startswith(("file.", "source.", "store."))}
    assert {code: set(text.split(", ")) for code, text in told if code not in of_files} == severities
    source = (page.parents[1] / "bot" / "app" / "data_check.py").read_text(encoding="utf-8")
    assert of_files == set(re.findall(r'code="((?:file|source|store)\.[a-z-]+)"', source))
