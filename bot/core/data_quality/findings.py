"""What a scan of market data reports: findings with a stable code, and figures.

Rows are counted from 0 over the whole stretch that was scanned, in its order; times are int64 ns, UTC.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bot.domain.market import F64, I64

Bools = NDArray[np.bool_]

# Times outside are in another unit, or nonsense: 2001-09-09 to 2100-01-01.
EARLIEST_NS = 10**18
LATEST_NS = 4_102_444_800 * 10**9


class Severity(StrEnum):
    """How bad it is: unusable, to be known about, or merely so."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Where a scan draws its lines. The defaults were chosen so that sound data of real venues stays below them."""

    examples: int = 5  # named per finding, at least one
    block_rows: int = 1024  # rows over which it is measured what an ordinary move is
    spike_ratio: float = 12.0  # a suspect move is more than so many times what nine of ten rows of its block move
    bar_spike_min: float = 0.01  # and at least this fraction of the price, of a bar
    trade_spike_min: float = 0.005  # of a trade
    spike_taken_back: float = 0.75  # a suspect close: the next bar takes back at least this fraction of the move
    step_factor: float = 2.0  # a price that changes by so much between two bars and stays may be in another unit
    frozen_bars: int = 20  # so many bars in a row may repeat all four prices though volume traded
    stuck_bars: int = 60  # so many bars in a row may have one close
    quiet_ns: int = 60 * 10**9  # a longer stretch without a trade or quote is worth a word
    clock_late_ns: int = 10**9  # when nearly all rows took longer than this, a clock is wrong
    rate_max: float = 0.02  # a funding rate beyond this is rare
    rate_possible: float = 0.1  # beyond this it is no fraction
    rate_usual: float = 0.002  # when half of all rates are beyond this, they are no fractions either
    clock_rows: int = 100  # fewer rows say nothing of a clock
    share_rows: int = 1000  # fewer trades say nothing of shares
    equal_share: float = 0.1  # trades without ids: so many may equal another of the same instant
    outage_ns: int = 600 * 10**9  # a hole that all symbols of a venue share is an outage if it is so long


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One place where something was found."""

    row: int | None  # None where it is no single row
    ts_ns: int | None  # None where its time is not known
    text: str  # what is there


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One kind of thing that was found, all its places together."""

    code: str  # stable: docs/data_check.md explains each
    severity: Severity
    message: str
    count: int
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Holes:
    """Which intervals of a grid have no bar, between the first and the last that has one.

    Numbers count intervals since the epoch: number n opens at n * interval_ns.
    """

    interval_ns: int
    first: int  # number of the first bar
    last: int
    start: I64  # number of the first missing interval of each hole, ascending
    length: I64  # how many are missing in it

    @property
    def missing(self) -> int:
        """Return how many intervals have no bar."""
        return int(self.length.sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """All that a scan has to say of one dataset."""

    rows: int
    first_ns: int | None  # the earliest time, None without rows
    last_ns: int | None
    facts: dict[str, Any] = field(default_factory=dict)  # figures by name, JSON-ready, the same keys for a kind
    findings: tuple[Finding, ...] = ()
    holes: Holes | None = None  # of bars


class Rows(Protocol):
    """A stretch of rows of one kind: columns named and typed as the market store has them."""

    @property
    def price_exponent(self) -> int:
        """Return e, where a price is mantissa * 10**e and e is not positive; of funding, of the rate."""

    @property
    def qty_exponent(self) -> int:
        """Return the same of quantities."""

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return the columns, equally long."""


class Scan(Protocol):
    """Reads the rows of one dataset, cut anywhere: the result is the same for every cut."""

    def add(self, rows: Rows) -> None:
        """Take the next rows."""

    def finish(self) -> Quality:
        """Return what was found. No row may follow."""


class Tally:
    """Counts the rows that something is wrong with, and remembers the first few, or the worst."""

    def __init__(self, keep: int) -> None:
        self.count = 0
        self.largest = 0.0  # of the sizes told
        self._keep = keep
        self._kept: list[tuple[float, Example]] = []

    @property
    def examples(self) -> tuple[Example, ...]:
        """Return those remembered: the largest first, and of equal ones the earliest row."""
        return tuple(example for _, example in self._kept)

    def add(
        self,
        bad: Bools,
        row: int | I64,
        ts_ns: I64,
        describe: Callable[[int], str],
        size: NDArray[Any] | None = None,
    ) -> None:
        """Count the bad rows of a stretch: `row` is the number of its first, or of each; `describe` tells the i-th.

        With `size` the largest are remembered, without it the first.
        """
        at = np.flatnonzero(bad)
        if not len(at):
            return
        self.count += len(at)
        if size is None:
            at = at[: max(0, self._keep - len(self._kept))]
            sizes = np.zeros(len(at))
        else:
            order = np.argsort(-size[at].astype(np.float64), kind="stable")[: self._keep]
            at = at[order]
            sizes = size[at].astype(np.float64)
        for i, worth in zip(at.tolist(), sizes.tolist(), strict=True):
            number = row + i if isinstance(row, int) else int(row[i])
            self._kept.append((worth, Example(row=number, ts_ns=int(ts_ns[i]), text=describe(i))))
        self._kept.sort(key=lambda kept: (-kept[0], kept[1].row or 0))
        del self._kept[self._keep :]
        self.largest = max([self.largest, *sizes.tolist()])

    def finding(self, code: str, severity: Severity, noun: str, what: str, advice: str) -> list[Finding]:
        """Return it as a finding, "3 bars whose ...; first at row 17, 2024-...: what it holds; ...", or nothing."""
        if not self.count:
            return []
        return [
            Finding(
                code=code,
                severity=severity,
                message=f"{many(self.count, noun)} {what}{place(self.examples)}; {advice}",
                count=self.count,
                examples=self.examples,
            )
        ]


class Span:
    """How many rows there were, and the earliest and the latest of the times that can be true."""

    def __init__(self) -> None:
        self.rows = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None

    def add(self, ts_ns: I64) -> Bools:
        """Take the next rows' times; return which of them can be true."""
        possible: Bools = (ts_ns >= EARLIEST_NS) & (ts_ns < LATEST_NS)
        self.rows += len(ts_ns)
        known = ts_ns[possible]
        if len(known):
            first_ns, last_ns = int(known.min()), int(known.max())
            self.first_ns = first_ns if self.first_ns is None else min(self.first_ns, first_ns)
            self.last_ns = last_ns if self.last_ns is None else max(self.last_ns, last_ns)
        return possible


class Previous:
    """Each column as the row before had it, also across cuts."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}

    def of(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Return the value of the row before each row; the very first row stands before itself."""
        before = np.empty_like(values)
        if len(values):
            before[0] = self._last.get(name, values[0])
            before[1:] = values[:-1]
            self._last[name] = values[-1]
        return before


def values_of(mantissas: NDArray[Any], exponent: int) -> F64:
    """Return mantissa * 10**exponent, correctly rounded: equal decimals are equal whatever their exponents."""
    values: F64 = mantissas / np.float64(10.0**-exponent)
    return values


def many(count: int, noun: str) -> str:
    """Return "1 bar" or "2,345 bars"."""
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"


def place(examples: tuple[Example, ...], word: str = "first") -> str:
    """Return where the first of the examples lies and what is there, to be put behind a sentence."""
    if not examples:
        return ""
    example = examples[0]
    row = "" if example.row is None else f" at row {example.row:,}"
    time = "" if example.ts_ns is None else f", {when(example.ts_ns)}"
    return f", {word}{row}{time}: {example.text}"


def when(ts_ns: int) -> str:
    """Return a time as text, UTC, with as many decimals as it needs."""
    text = str(np.datetime64(ts_ns, "ns"))
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "Z"


def number(value: float) -> str:
    """Return a price or quantity as the shortest text that means it."""
    return str(np.format_float_positional(value, trim="-"))


def length_of_time(duration_ns: int) -> str:
    """Return a length of time as text in the units that suit it."""
    if abs(duration_ns) < 10**9:
        return f"{duration_ns / 10**6:.4g} ms"
    if abs(duration_ns) < 120 * 10**9:
        return f"{duration_ns / 10**9:.4g} s"
    minutes = abs(duration_ns) // (60 * 10**9)
    parts = ((minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min"))
    text = " ".join(f"{count} {unit}" for count, unit in parts if count)
    return text if duration_ns > 0 else f"-{text}"
