"""How long commits took: a histogram of a fixed size, for a bot that runs for months."""

from math import log2

_STEPS = 8  # per doubling: a quantile is known to about 9 %
_SIZE = 48 * _STEPS


class CommitTimes:
    """Counts durations by size."""

    def __init__(self) -> None:
        self.count = 0
        self.max_ns = 0
        self._counts = [0] * _SIZE

    def add(self, took_ns: int) -> None:
        """Count one."""
        self.count += 1
        self.max_ns = max(self.max_ns, took_ns)
        self._counts[min(int(log2(max(took_ns, 1)) * _STEPS), _SIZE - 1)] += 1

    def quantile_ns(self, share: float) -> int:
        """Return a time that `share` of them did not exceed, rounded up to its step; 0 where there are none."""
        left = share * self.count
        for step, count in enumerate(self._counts):
            left -= count
            if count and left <= 0:
                return min(int(2 ** ((step + 1) / _STEPS)), self.max_ns)
        return self.max_ns
