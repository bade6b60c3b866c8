"""Delays as pure functions: how long a message is under way depends on what it is, never on what came before."""

import math

import msgspec
import numpy as np
from numba import njit

from bot.domain.market import I64

_MASK = (1 << 64) - 1


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """A fixed part plus an exponential tail.

    Args:
        seed: of the run's delays.
        stream: which message kind; two kinds with one seed are independent.
        base_ns: the least delay.
        jitter_ns: the mean of the tail; 0 for none.
    """

    seed: int
    stream: int
    base_ns: int
    jitter_ns: int

    def of(self, row: int) -> int:
        """Return the delay of the stream's row number `row`, in whole microseconds, in ns."""
        if not self.jitter_ns:
            return self.base_ns
        tail = -math.log1p(-uniform(self.seed, self.stream, row)) * self.jitter_ns
        return self.base_ns + int(tail) // 1000 * 1000

    def of_rows(self, rows: I64) -> I64:
        """Return the delays of many rows; each the same as `of` gives."""
        if not self.jitter_ns:
            return np.full(len(rows), self.base_ns, dtype=np.int64)
        seed, stream = np.uint64(self.seed & _MASK), np.uint64(self.stream)
        delays: I64 = _delays(seed, stream, self.base_ns, self.jitter_ns, rows)
        return delays


@njit(cache=True)
def _delays(seed, stream, base_ns, jitter_ns, rows):  # type: ignore[no-untyped-def]
    delays = np.empty(rows.size, dtype=np.int64)
    for i in range(rows.size):
        mixed = np.uint64(0)
        for word in (seed, stream, np.uint64(rows[i])):
            mixed = mixed + word + np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed = mixed ^ (mixed >> np.uint64(31))
        unit = np.float64(mixed >> np.uint64(11)) / 9007199254740992.0
        delays[i] = base_ns + np.int64(-math.log1p(-unit) * jitter_ns) // 1000 * 1000
    return delays


def uniform(seed: int, stream: int, row: int) -> float:
    """Return a number in [0, 1) that is a function of its arguments alone.

    Source: SplitMix64's finalizer (Steele, Lea, Flood, OOPSLA 2014), once per argument.
    """
    mixed = 0
    for word in (seed, stream, row):
        mixed = (mixed + word + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        mixed ^= mixed >> 31
    return (mixed >> 11) / float(1 << 53)
