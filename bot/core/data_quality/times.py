"""Times of rows that follow one another as they come, without a grid: order, and quiet stretches."""

from typing import Any

import numpy as np

from bot.core.data_quality.findings import (
    Finding,
    Limits,
    Previous,
    Severity,
    Span,
    Tally,
    length_of_time,
    many,
    place,
    when,
)
from bot.domain.market import I64


class TimeScan:
    """Whether times can be true, go forward, and how long nothing happened.

    Args:
        noun: what a row is, in messages: "trade".
        family: what the codes begin with: "trades".
        disorder: how bad it is that times go back.
    """

    def __init__(self, noun: str, family: str, limits: Limits, *, disorder: Severity = Severity.ERROR) -> None:
        self.span = Span()
        self._noun, self._family, self._limits = noun, family, limits
        self._disorder = disorder
        self._previous = Previous()
        self._impossible, self._back = Tally(limits.examples), Tally(limits.examples)
        self._quiet = Tally(limits.examples)
        self._longest_ns, self._longest_after_ns = 0, 0

    def add(self, ts_ns: I64) -> None:
        """Take the next rows' times."""
        if not len(ts_ns):
            return
        first_row = self.span.rows
        before = self._previous.of("ts_ns", ts_ns)
        is_possible = self.span.add(ts_ns)
        was_possible = self._previous.of("is_possible", is_possible)
        step = np.where(is_possible & was_possible, ts_ns - before, 0)
        self._impossible.add(~is_possible, first_row, ts_ns, lambda i: f"ts_ns is {ts_ns[i]}")
        self._back.add(step < 0, first_row, ts_ns, lambda i: f"{length_of_time(-int(step[i]))} earlier", -step)
        self._quiet.add(
            step > self._limits.quiet_ns,
            first_row,
            ts_ns,
            lambda i: f"{length_of_time(int(step[i]))} after {when(int(before[i]))}",
            step,
        )
        longest = int(np.argmax(step))
        if step[longest] > self._longest_ns:
            self._longest_ns, self._longest_after_ns = int(step[longest]), int(before[longest])

    def facts(self) -> dict[str, Any]:
        """Return the longest stretch without a row, in s, and when it began."""
        return {
            "disorder": self._back.count,
            "longest_quiet_s": self._longest_ns / 1e9,
            "longest_quiet_after": when(self._longest_after_ns) if self._longest_ns else None,
        }

    def findings(self) -> list[Finding]:
        """Return what was found."""
        found = self._impossible.finding(
            f"{self._family}.time",
            Severity.ERROR,
            self._noun,
            "whose time is not between 2001 and 2100",
            "find out the source's unit of time and import again",
        )
        found += self._back.finding(
            f"{self._family}.disorder", self._disorder, self._noun, "earlier than the row before", "sort by time"
        )
        if self._quiet.count:
            least = length_of_time(self._limits.quiet_ns)
            found.append(
                Finding(
                    code=f"{self._family}.quiet",
                    severity=Severity.INFO,
                    message=f"{many(self._quiet.count, 'stretch')} of more than {least} without a {self._noun}"
                    f"{place(self._quiet.examples, 'the longest ends')}; a quiet market, or a recording that stopped",
                    count=self._quiet.count,
                    examples=self._quiet.examples,
                )
            )
        return found
