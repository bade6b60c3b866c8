"""Two clocks in one dataset: the venue's, which says when it happened, and the recorder's, when it was received."""

from typing import Any

import numpy as np

from bot.core.data_quality.findings import Finding, Limits, Severity, length_of_time
from bot.domain.market import I64

_BIN_NS = 10**6
_BINS_MAX = 3_600_000  # an hour: what is further off counts as an hour off


class ClockScan:
    """How long after it happened each row was received: negative where the recorder's clock is behind.

    The delays are counted by whole ms, so the memory does not grow with the rows.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bins = np.empty(0, dtype=np.int64)  # delays in ms, ascending
        self._counts = np.empty(0, dtype=np.int64)
        self._negative = 0

    def add(self, ts_ns: I64, recv_ns: I64) -> None:
        """Take the next rows; a recv_ns of 0 is unknown."""
        is_known = (recv_ns > 0) & (ts_ns > 0)
        delay_ns = recv_ns[is_known] - ts_ns[is_known]
        if not len(delay_ns):
            return
        self._negative += int(np.count_nonzero(delay_ns < 0))
        bins, counts = np.unique(np.clip(delay_ns // _BIN_NS, -_BINS_MAX, _BINS_MAX), return_counts=True)
        joined = np.concatenate([self._bins, bins])
        self._bins, at = np.unique(joined, return_inverse=True)
        before, self._counts = self._counts, np.zeros(len(self._bins), dtype=np.int64)
        np.add.at(self._counts, at, np.concatenate([before, counts]))

    def facts(self) -> dict[str, Any]:
        """Return the median delay in s, to the ms, and the share of rows received before they happened."""
        rows = int(self._counts.sum())
        return {
            "received_rows": rows,
            "delay_median_s": self._quantile_ns(0.5) / 1e9 if rows else None,
            "delay_negative_share": self._negative / rows if rows else None,
        }

    def findings(self) -> list[Finding]:
        """Return which clock is wrong, if one can be told to be."""
        rows = int(self._counts.sum())
        if rows < self._limits.clock_rows:
            return []
        median_ns, fast_ns = self._quantile_ns(0.5), self._quantile_ns(0.01)
        share = self._negative / rows
        if median_ns < 0:
            return [
                Finding(
                    code="clock.recorder-behind",
                    severity=Severity.WARNING,
                    message=f"the recorder's clock is about {length_of_time(-median_ns)} behind the venue's: rows "
                    f"seem to be received before they happened ({share:.1%} of {rows:,}, median delay "
                    f"{median_ns / 1e9:.3f} s); take the venue's time, or shift recv_ns",
                    count=self._negative,
                )
            ]
        if fast_ns > self._limits.clock_late_ns:
            return [
                Finding(
                    code="clock.recorder-ahead",
                    severity=Severity.WARNING,
                    message=f"99 of 100 rows were received more than {length_of_time(fast_ns)} after they happened "
                    f"(median delay {median_ns / 1e9:.3f} s): the recorder's clock is ahead, or its line was slow",
                    count=rows,
                )
            ]
        if self._negative:
            return [
                Finding(
                    code="clock.negative",
                    severity=Severity.INFO,
                    message=f"{self._negative:,} of {rows:,} rows ({share:.1%}) seem to be received before they "
                    f"happened, median delay {median_ns / 1e9:.3f} s: the clocks are a little apart",
                    count=self._negative,
                )
            ]
        return []

    def _quantile_ns(self, share: float) -> int:
        below = np.cumsum(self._counts)
        at = int(np.searchsorted(below, share * int(below[-1]), side="left"))
        return int(self._bins[at]) * _BIN_NS + _BIN_NS // 2
