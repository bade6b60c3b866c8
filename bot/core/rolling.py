"""Rolling sums that carry on from batch to batch, exactly."""

import numpy as np

from bot.domain.market import I64


class RollingSum:
    """The sum of the last `window` values of an int64 column.

    Integers add exactly, so the result does not depend on how the column is cut.
    """

    def __init__(self, window: int) -> None:
        if window < 1:
            raise ValueError(f"a window of {window} values holds none")
        self._window = window
        self._tail = np.empty(0, dtype=np.int64)

    def update(self, values: I64) -> tuple[I64, int]:
        """Return the sum at each of the next values, and how many of the first have no full window (and sum 0)."""
        joined = np.concatenate([self._tail, values])
        sums = np.cumsum(joined)
        out = np.zeros(len(values), dtype=np.int64)
        short = max(0, min(len(values), self._window - 1 - len(self._tail)))
        ends = np.arange(len(self._tail) + short, len(joined))
        before = ends - self._window
        out[short:] = sums[ends] - np.where(before >= 0, sums[before], 0)
        self._tail = joined[max(0, len(joined) - self._window + 1) :] if self._window > 1 else joined[:0]
        return out, short
