"""How long something takes, lately: quantiles of the last minutes, in little memory and at a fixed price."""

_SUB_BITS = 4  # of a power of two: 16 parts, so a quantile is at most 1/16 above what was measured
_SUB = 1 << _SUB_BITS
_BUCKETS = (64 - _SUB_BITS) * _SUB


class LatencyWindow:
    """Durations of one stage, in ns.

    Two histograms take turns: the younger is filled for `span_ns`, the older is what was before it. So figures speak of
    the last one to two spans. A measurement costs one addition, a quantile a walk over at most 960 numbers.

    Args:
        span_ns: of one histogram.
    """

    def __init__(self, *, span_ns: int = 300_000_000_000) -> None:
        self._span_ns = span_ns
        self._began_ns = 0
        self._young, self._old = _Histogram(), _Histogram()

    def note(self, took_ns: int, now_ns: int) -> None:
        """Take a measurement; a negative one, of two clocks that differ, is 0."""
        self._turn(now_ns)
        self._young.add(max(0, took_ns))

    def figures(self, now_ns: int) -> tuple[int, int, int, int]:
        """Return how many measurements there are, their median, their 99th of 100, and the worst; 0 where none is."""
        self._turn(now_ns)
        both = self._young.joined(self._old)
        return both.count, both.quantile(0.5), both.quantile(0.99), both.worst

    def _turn(self, now_ns: int) -> None:
        past_ns = now_ns - self._began_ns
        if past_ns < self._span_ns:
            return
        # After two spans of silence what is in the younger one is old, too.
        self._old = self._young if past_ns < 2 * self._span_ns else _Histogram()
        self._young, self._began_ns = _Histogram(), now_ns


class _Histogram:
    """Counts by magnitude: exact below 32, then 16 buckets to a power of two."""

    __slots__ = ("_counts", "count", "worst")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.worst = 0

    def add(self, value: int) -> None:
        """Count one."""
        bucket = _bucket_of(value)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.worst = max(self.worst, value)

    def joined(self, other: "_Histogram") -> "_Histogram":
        """Return both in one."""
        made = _Histogram()
        made._counts = {
            bucket: self._counts.get(bucket, 0) + other._counts.get(bucket, 0)
            for bucket in self._counts.keys() | other._counts.keys()
        }
        made.count = self.count + other.count
        made.worst = max(self.worst, other.worst)
        return made

    def quantile(self, share: float) -> int:
        """Return what so many of all do not exceed, from above; never more than the worst."""
        left = share * self.count
        for bucket in sorted(self._counts):
            left -= self._counts[bucket]
            if left <= 0:
                return min(_top_of(bucket), self.worst)
        return self.worst


def _bucket_of(value: int) -> int:
    shift = max(0, value.bit_length() - _SUB_BITS - 1)
    return min(_BUCKETS, (shift << _SUB_BITS) + (value >> shift))


def _top_of(bucket: int) -> int:
    """Return the largest number that is counted there."""
    shift = max(0, (bucket >> _SUB_BITS) - 1)
    return ((bucket - (shift << _SUB_BITS) + 1) << shift) - 1
