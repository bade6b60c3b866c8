"""Which rows of a file were there before, by an identity that is too long to keep."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Seen:
    """A growing set of pairs of int64: about 40 bytes each, no matter how long what they stand for was."""

    def __init__(self) -> None:
        self._table = np.zeros((1 << 12, 2), np.int64)
        self._count = 0

    def add(self, keys: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Add pairs; return which of them were there before. A time must not be zero."""
        while (self._count + len(keys)) * 2 > len(self._table):
            bigger = np.zeros((len(self._table) * 4, 2), np.int64)
            full = self._table[self._table[:, 1] != 0]
            _insert(bigger, full[:, 0], full[:, 1], np.zeros(len(full), np.bool_))
            self._table = bigger
        known = np.zeros(len(keys), np.bool_)
        self._count += _insert(self._table, keys, times, known)
        return known


@njit(cache=True, nogil=True)
def _insert(table, keys, times, known):  # type: ignore[no-untyped-def]
    mask = len(table) - 1
    added = 0
    for i in range(len(keys)):
        slot = (keys[i] ^ (keys[i] >> 29) ^ times[i]) & mask
        while table[slot, 1] != 0:
            if table[slot, 0] == keys[i] and table[slot, 1] == times[i]:
                known[i] = True
                break
            slot = (slot + 1) & mask
        else:
            table[slot, 0] = keys[i]
            table[slot, 1] = times[i]
            added += 1
    return added
