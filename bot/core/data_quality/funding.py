"""What may be wrong with settled funding rates."""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bot.core.data_quality.findings import (
    Example,
    Finding,
    Limits,
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
from bot.core.durations import format_duration
from bot.domain.market import F64, I64

_MINUTE_NS = 60 * 10**9
_AROUND = 3  # settlements on either side that say what the interval is there


class FundingScan:
    """Scan settlements of one symbol; see `findings.Scan`. They are few: all of them are kept until the end."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ts_ns: list[I64] = []
        self._rates: list[F64] = []

    def add(self, rows: Rows) -> None:
        """Take the next rows."""
        self._ts_ns.append(rows.columns["ts_ns"])
        self._rates.append(values_of(rows.columns["rate"], rows.price_exponent))

    def finish(self) -> Quality:
        """Return what was found."""
        ts_ns = np.concatenate([np.empty(0, dtype=np.int64), *self._ts_ns])
        rates = np.concatenate([np.empty(0), *self._rates])
        span = Span()
        is_possible = span.add(ts_ns)
        keep = self._limits.examples
        impossible, back, repeats, odd = Tally(keep), Tally(keep), Tally(keep), Tally(keep)
        impossible.add(~is_possible, 0, ts_ns, lambda i: f"ts_ns is {ts_ns[i]}")
        step = np.diff(ts_ns, prepend=ts_ns[:1])
        back.add(step < 0, 0, ts_ns, lambda i: f"{length_of_time(-int(step[i]))} earlier")
        is_repeat = np.ones(len(ts_ns), dtype=np.bool_)
        is_repeat[np.unique(ts_ns, return_index=True)[1]] = False
        repeats.add(is_repeat, 0, ts_ns, lambda i: f"rate {number(rates[i])}")
        odd.add(is_possible & (ts_ns % _MINUTE_NS != 0), 0, ts_ns, lambda i: f"rate {number(rates[i])}")
        settled_ns = np.unique(ts_ns[is_possible])
        row_of = np.argsort(ts_ns, kind="stable")[np.searchsorted(np.sort(ts_ns), settled_ns)]
        found = impossible.finding(
            "funding.time",
            Severity.ERROR,
            "settlement",
            "whose time is not between 2001 and 2100",
            "find out the source's unit of time and import again",
        )
        found += repeats.finding(
            "funding.duplicate", Severity.ERROR, "settlement", "of a time that had one before", "keep one of each"
        )
        found += back.finding(
            "funding.disorder", Severity.ERROR, "settlement", "earlier than the row before", "sort by time"
        )
        found += odd.finding(
            "funding.off-grid",
            Severity.WARNING,
            "settlement",
            "not on a whole minute",
            "venues settle on the hour: round the times to it",
        )
        facts: dict[str, Any] = {"duplicates": repeats.count, "missing_settlements": 0, "interval": None}
        found += self._intervals(settled_ns, row_of, facts)
        found += self._rate_findings(ts_ns, rates)
        return Quality(
            rows=len(ts_ns), first_ns=span.first_ns, last_ns=span.last_ns, facts=facts, findings=tuple(found)
        )

    def _intervals(self, settled_ns: I64, row_of: I64, facts: dict[str, Any]) -> list[Finding]:
        """Look for settlements that the ones around them say should be there."""
        # A step is rounded to the minute: sources that tell the time of booking are off by ms.
        step = (np.diff(settled_ns) + _MINUTE_NS // 2) // _MINUTE_NS
        if not len(step):
            return []
        padded = np.pad(step, _AROUND, mode="edge")
        usual = np.sort(sliding_window_view(padded, 2 * _AROUND + 1), axis=1)[:, _AROUND]
        facts["interval"] = format_duration(int(np.sort(usual)[len(usual) // 2]) * _MINUTE_NS)
        absent = np.where(usual > 0, step // np.maximum(usual, 1) - 1, 0)
        missing = Tally(self._limits.examples)
        missing.add(
            absent > 0,
            row_of[1:],
            settled_ns[1:],
            lambda i: f"{many(int(absent[i]), 'settlement')} absent after {when(int(settled_ns[i]))}",
            absent,
        )
        facts["missing_settlements"] = int(absent[absent > 0].sum())
        found: list[Finding] = []
        if missing.count:
            found.append(
                Finding(
                    code="funding.missing",
                    severity=Severity.WARNING,
                    message=f"{many(facts['missing_settlements'], 'settlement')} absent in "
                    f"{many(missing.count, 'hole')}{place(missing.examples, 'the longest ends')}; replay pays nothing "
                    "there: download them again",
                    count=facts["missing_settlements"],
                    examples=missing.examples,
                )
            )
        changes = np.flatnonzero(np.diff(usual))
        if len(changes):
            kept = tuple(
                Example(
                    row=int(row_of[i + 1]),
                    ts_ns=int(settled_ns[i + 1]),
                    text=f"from {format_duration(int(usual[i]) * _MINUTE_NS)} to "
                    f"{format_duration(int(usual[i + 1]) * _MINUTE_NS)}",
                )
                for i in changes[: self._limits.examples].tolist()
            )
            found.append(
                Finding(
                    code="funding.interval-changed",
                    severity=Severity.INFO,
                    message=f"the interval between settlements changes {many(len(changes), 'time')}{place(kept)}; "
                    "venues do that when rates are high",
                    count=len(changes),
                    examples=kept,
                )
            )
        return found

    def _rate_findings(self, ts_ns: I64, rates: F64) -> list[Finding]:
        limits = self._limits
        impossible, rare = Tally(limits.examples), Tally(limits.examples)
        size = np.abs(rates)

        def text(i: int) -> str:
            return f"rate {number(rates[i])}"

        is_impossible = size > limits.rate_possible
        impossible.add(is_impossible, 0, ts_ns, text, size)
        rare.add((size > limits.rate_max) & ~is_impossible, 0, ts_ns, text, size)
        found = impossible.finding(
            "funding.rate",
            Severity.ERROR,
            "rate",
            f"beyond {limits.rate_possible:g}, which no venue settles",
            "a rate is a fraction: 0.0001 is 1 bp",
        )
        found += rare.finding(
            "funding.high-rate",
            Severity.INFO,
            "rate",
            f"beyond {limits.rate_max:g}",
            "rare, and real in a squeeze: compare another source",
        )
        middle = float(np.sort(size)[len(size) // 2]) if len(size) else 0.0
        if middle > limits.rate_usual:
            found.append(
                Finding(
                    code="funding.unit",
                    severity=Severity.WARNING,
                    message=f"half of the rates are beyond {number(middle)}: they look like percent; a rate is a "
                    "fraction: 0.0001 is 1 bp",
                    count=len(size),
                )
            )
        return found
