"""What may be wrong with bars, and with the bars of a mark or index price, which have no volume."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.core.data_quality.coverage import Coverage
from bot.core.data_quality.findings import (
    Bools,
    Example,
    Finding,
    Holes,
    Limits,
    Previous,
    Quality,
    Rows,
    Severity,
    Span,
    Tally,
    length_of_time,
    many,
    number,
    place,
    values_of,
    when,
)
from bot.core.data_quality.spikes import BarSpikes
from bot.core.data_quality.streaks import Streaks
from bot.core.durations import format_duration
from bot.domain.market import F64, I64

_OHLC = ("open", "high", "low", "close")
_AGREES = 1e-6  # turnover is a float: an average price this fraction outside of low and high is inside
_INFERRED_FROM = 10  # bars it takes to say that they are of another interval


class BarScan:
    """Scan bars of one symbol and one interval; see `findings.Scan`.

    Args:
        interval_ns: the bars' length.
        has_volume: whether there is a volume, which a mark or index price has not.
    """

    def __init__(self, interval_ns: int, limits: Limits, *, has_volume: bool) -> None:
        self._interval_ns = interval_ns
        self._limits = limits
        self._span = Span()
        self._previous = Previous()
        self._coverage = Coverage()
        self._spikes = BarSpikes(limits)
        self._frozen = Streaks(limits.frozen_bars, limits.examples)
        self._stuck = Streaks(limits.stuck_bars, limits.examples)
        self._tallies = {name: Tally(limits.examples) for name in _CHECKS}
        self._repeats_alike = 0
        self._has_volume = has_volume

    def add(self, rows: Rows) -> None:
        """Take the next rows."""
        columns = rows.columns
        open_ns: I64 = columns["open_ns"]
        if not len(open_ns):
            return
        first_row = self._span.rows
        prices = {name: values_of(columns[name], rows.price_exponent) for name in _OHLC}
        volume = values_of(columns["volume"], rows.qty_exponent) if self._has_volume else None
        same = self._same(prices, volume, first_row)
        self._check_times(open_ns, same["all"], first_row)
        self._check_prices(open_ns, prices, first_row)
        if volume is not None:
            self._check_volume(open_ns, prices, volume, rows, first_row)
        self._frozen.add(same["prices"] if volume is None else same["prices"] & (volume > 0), first_row, open_ns)
        self._stuck.add(same["close"], first_row, open_ns)
        body_high = np.maximum(prices["open"], prices["close"])
        body_low = np.minimum(prices["open"], prices["close"])
        self._spikes.add(open_ns, body_high, prices["high"], body_low, prices["low"], prices["close"])

    def finish(self) -> Quality:
        """Return what was found."""
        self._spikes.finish()
        self._frozen.finish()
        self._stuck.finish()
        holes = self._holes()
        findings = [
            *self._interval_finding(),
            *self._hole_findings(holes),
            *self._tally_findings(),
            *self._streak_findings(),
            *spike_findings(self._spikes.suspects, self._limits, "bar", "bars"),
            *self._spikes.steps.finding(
                "bars.price-step",
                Severity.WARNING,
                "bar",
                f"whose close is {self._limits.step_factor:g} times the one before, or less than one "
                f"{self._limits.step_factor:g}th of it, and stays there",
                "see whether two sources, units or contracts were joined there",
            ),
        ]
        return Quality(
            rows=self._span.rows,
            first_ns=self._span.first_ns,
            last_ns=self._span.last_ns,
            facts=self._facts(holes),
            findings=tuple(findings),
            holes=holes,
        )

    def _same(self, prices: dict[str, F64], volume: F64 | None, first_row: int) -> dict[str, Bools]:
        """Return which rows repeat the row before: its close, its four prices, all of it."""
        columns = prices if volume is None else prices | {"volume": volume}
        equal = {name: values == self._previous.of(name, values) for name, values in columns.items()}
        if not first_row:
            for mask in equal.values():
                mask[0] = False
        same = np.logical_and.reduce([equal[name] for name in _OHLC])
        return {"close": equal["close"], "prices": same, "all": same & equal["volume"] if "volume" in equal else same}

    def _check_times(self, open_ns: I64, is_same: Bools, first_row: int) -> None:
        tally = self._tallies
        before = self._previous.of("open_ns", open_ns)
        is_possible = self._span.add(open_ns)
        was_possible = self._previous.of("is_possible", is_possible)
        follows = is_possible & was_possible
        follows[0] &= first_row > 0
        step = np.where(follows, open_ns - before, self._interval_ns)
        off = is_possible & (open_ns % self._interval_ns != 0)
        on = is_possible & ~off
        is_repeat = np.zeros(len(open_ns), dtype=np.bool_)
        rows = first_row + np.flatnonzero(on)
        is_repeat[on] = self._coverage.add(open_ns[on] // self._interval_ns, rows, open_ns[on])
        is_repeat |= off & (step == 0)
        self._repeats_alike += int(np.count_nonzero(is_repeat & (step == 0) & is_same))

        def after(i: int) -> str:
            return f"after one of {when(int(before[i]))}"

        tally["time"].add(~is_possible, first_row, open_ns, lambda i: f"open_ns is {open_ns[i]}")
        tally["off-grid"].add(
            off, first_row, open_ns, lambda i: f"{length_of_time(int(open_ns[i]) % self._interval_ns)} late"
        )
        tally["duplicate"].add(is_repeat, first_row, open_ns, after)
        tally["disorder"].add(step < 0, first_row, open_ns, after)
        tally["overlap"].add((step > 0) & (step < self._interval_ns), first_row, open_ns, after)

    def _check_prices(self, open_ns: I64, prices: dict[str, F64], first_row: int) -> None:
        open_, high, low, close = (prices[name] for name in _OHLC)

        def all_four(i: int) -> str:
            return ", ".join(f"{name} {number(prices[name][i])}" for name in _OHLC)

        bad = np.minimum(np.minimum(open_, high), np.minimum(low, close)) <= 0
        self._tallies["price"].add(bad, first_row, open_ns, all_four)
        self._tallies["high"].add(high < np.maximum(np.maximum(open_, close), low), first_row, open_ns, all_four)
        self._tallies["low"].add(low > np.minimum(open_, close), first_row, open_ns, all_four)

    def _check_volume(self, open_ns: I64, prices: dict[str, F64], volume: F64, rows: Rows, first_row: int) -> None:
        tally = self._tallies
        high, low, close = prices["high"], prices["low"], prices["close"]
        is_empty = volume == 0

        def volume_text(i: int) -> str:
            return f"volume {number(volume[i])}"

        tally["volume"].add(volume < 0, first_row, open_ns, volume_text)
        tally["zero-volume"].add(is_empty, first_row, open_ns, lambda i: f"close {number(close[i])}")
        tally["moved-without-volume"].add(
            is_empty & (high != low), first_row, open_ns, lambda i: f"high {number(high[i])}, low {number(low[i])}"
        )
        if "buy_volume" in rows.columns:
            mantissas: NDArray[Any] = rows.columns["buy_volume"]
            buy = values_of(mantissas, rows.qty_exponent)
            is_told = mantissas != -1
            tally["buy-volume"].add(
                is_told & ((buy < 0) | (buy > volume)),
                first_row,
                open_ns,
                lambda i: f"buy volume {number(buy[i])} of {number(volume[i])}",
            )
        if "turnover" in rows.columns:
            turnover: F64 = rows.columns["turnover"]
            average = np.full(len(volume), np.nan)
            np.divide(turnover, volume, out=average, where=volume > 0)
            tally["turnover"].add(
                (average < low * (1 - _AGREES)) | (average > high * (1 + _AGREES)),
                first_row,
                open_ns,
                lambda i: f"average price {average[i]:.6g}, low {number(low[i])}, high {number(high[i])}",
            )

    def _holes(self) -> Holes | None:
        runs = self._coverage.runs()
        if not runs.shape[1]:
            return None
        start, length, _, _ = self._coverage.holes()
        return Holes(
            interval_ns=self._interval_ns, first=int(runs[0, 0]), last=int(runs[1, -1]), start=start, length=length
        )

    def _facts(self, holes: Holes | None) -> dict[str, Any]:
        longest = int(np.argmax(holes.length)) if holes is not None and len(holes.length) else None
        after_ns = None
        if holes is not None and longest is not None:
            after_ns = (int(holes.start[longest]) - 1) * self._interval_ns
        facts = {
            "interval": format_duration(self._interval_ns),
            "missing_intervals": holes.missing if holes is not None else 0,
            "holes": len(holes.length) if holes is not None else 0,
            "longest_hole_intervals": int(holes.length[longest]) if holes is not None and longest is not None else 0,
            "longest_hole_after": when(after_ns) if after_ns is not None else None,
            "duplicates": self._tallies["duplicate"].count,
            "suspect_prices": self._spikes.suspects.count,
        }
        if self._has_volume:
            facts["zero_volume_bars"] = self._tallies["zero-volume"].count
        return facts

    def _hole_findings(self, holes: Holes | None) -> list[Finding]:
        if holes is None or not len(holes.length):
            return []
        start, length, row, _ = self._coverage.holes()
        unit = format_duration(self._interval_ns)
        kept = []
        for i in np.argsort(-length, kind="stable")[: self._limits.examples].tolist():
            at_ns = int(start[i]) * self._interval_ns
            text = (
                f"{format_duration(int(length[i]) * self._interval_ns)} missing after {when(at_ns - self._interval_ns)}"
            )
            kept.append(Example(row=int(row[i]), ts_ns=at_ns, text=text))
        intervals = holes.last - holes.first + 1
        return [
            Finding(
                code="bars.missing",
                severity=Severity.WARNING,
                message=f"{holes.missing:,} of {intervals:,} {unit} intervals have no bar, in "
                f"{many(len(length), 'hole')}, the longest {kept[0].text}; replay puts flat bars there, marked as gaps",
                count=holes.missing,
                examples=tuple(kept),
            )
        ]

    def _interval_finding(self) -> list[Finding]:
        """Say so if the bars lie on a coarser grid than their interval, all of them alone."""
        runs = self._coverage.runs()
        if runs.shape[1] < _INFERRED_FROM or (runs[0] != runs[1]).any():
            return []
        step = int(np.gcd.reduce(np.diff(runs[0])))
        found, told = format_duration(step * self._interval_ns), format_duration(self._interval_ns)
        if step == 1:
            return []
        return [
            Finding(
                code="bars.interval",
                severity=Severity.ERROR,
                message=f"every bar opens on a {found} grid: these are {found} bars, not {told} bars; import them "
                "with the right interval",
                count=runs.shape[1],
            )
        ]

    def _tally_findings(self) -> list[Finding]:
        found: list[Finding] = []
        for name, (severity, what, advice) in _CHECKS.items():
            if name == "duplicate" and self._tallies[name].count:
                apart = self._tallies[name].count - self._repeats_alike
                advice = f"{self._repeats_alike:,} equal the row before, {apart:,} do not; {advice}"
            found += self._tallies[name].finding(f"bars.{name}", severity, "bar", what, advice)
        return found

    def _streak_findings(self) -> list[Finding]:
        found = []
        for code, streaks, rows_max, what in (
            ("bars.frozen", self._frozen, self._limits.frozen_bars, "repeat all four prices"),
            ("bars.stuck", self._stuck, self._limits.stuck_bars, "have one close"),
        ):
            if streaks.long.count:
                volume = " though volume traded" if code == "bars.frozen" and self._has_volume else ""
                found.append(
                    Finding(
                        code=code,
                        severity=Severity.WARNING,
                        message=f"{many(streaks.long.count, 'stretch')} of more than {rows_max} bars that {what}"
                        f"{volume}{place(streaks.long.examples, 'the longest')}; see whether the source stood still",
                        count=streaks.long.count,
                        examples=streaks.long.examples,
                    )
                )
        return found


# What a row can be wrong in: how bad, "N bars ...", what to do.
_CHECKS: dict[str, tuple[Severity, str, str]] = {
    "time": (
        Severity.ERROR,
        "whose time is not between 2001 and 2100",
        "find out the source's unit of time and import again",
    ),
    "off-grid": (
        Severity.ERROR,
        "that do not open on the grid of their interval",
        "import with the right interval, or ask the source whether it tells the close instead of the open",
    ),
    "duplicate": (Severity.ERROR, "for an interval that had one before", "keep one of each"),
    "disorder": (Severity.ERROR, "earlier than the row before", "sort by time"),
    "overlap": (
        Severity.ERROR,
        "that open before the one before has ended",
        "import with the right interval, or drop what does not belong",
    ),
    "price": (Severity.ERROR, "with a price that is not positive", "correct or drop them"),
    "high": (Severity.ERROR, "whose high lies below another of their prices", "correct or drop them"),
    "low": (Severity.ERROR, "whose low lies above their open or close", "correct or drop them"),
    "volume": (Severity.ERROR, "with a negative volume", "correct or drop them"),
    "buy-volume": (
        Severity.ERROR,
        "whose buy volume is negative or more than their volume",
        "check which column is which",
    ),
    "moved-without-volume": (
        Severity.WARNING,
        "without volume whose price moved all the same",
        "the volume, or the price, is of another source",
    ),
    "turnover": (
        Severity.WARNING,
        "whose turnover by volume is a price outside of low and high",
        "check whether turnover is in quote and volume in base currency",
    ),
    "zero-volume": (Severity.INFO, "without volume", "nothing traded, or the venue stood still"),
}


def spike_findings(suspects: Tally, limits: Limits, noun: str, family: str) -> list[Finding]:
    """Return suspect prices as a finding: to be known about only where the worst is off by a factor."""
    if not suspects.count:
        return []
    is_far = suspects.largest >= limits.step_factor - 1
    return [
        Finding(
            code=f"{family}.suspect-price",
            severity=Severity.WARNING if is_far else Severity.INFO,
            message=f"{many(suspects.count, noun)} with a price far off and at once back"
            f"{place(suspects.examples, 'the farthest')}; real flash moves look the same: compare another source",
            count=suspects.count,
            examples=suspects.examples,
        )
    ]
