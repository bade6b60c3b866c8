"""How long to wait before connecting again, and how often at most.

Pure: the wait is a function of a seed and the attempt's number, and the time is an argument.

Source: Bybit V5, connection limits: 500 new connections in five minutes from one address.
"""

from collections import deque

import msgspec

from bot.core.delays import uniform

_MS = 1_000_000
_S = 1_000 * _MS


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Waits that double up to a limit, each drawn evenly from nothing to it: many clients do not come back at once.

    Args:
        seed, stream: two with different ones are independent.
        first_ns: the first wait is at most this.
        base_ns: the second is at most this, the third twice as much.
        max_ns: none is longer.
    """

    seed: int
    stream: int
    first_ns: int = 250 * _MS
    base_ns: int = 500 * _MS
    max_ns: int = 30 * _S

    def wait_ns(self, attempt: int, *, salt: int = 0) -> int:
        """Return the wait before the attempt numbered from 0; `salt` tells one series of attempts from another."""
        longest = self.first_ns if attempt == 0 else min(self.max_ns, self.base_ns << min(attempt - 1, 40))
        return int(uniform(self.seed, self.stream, (salt << 16) + min(attempt, 0xFFFF)) * longest)


class ConnectBudget:
    """How many connections may still be made: one for all connections of the process to one host name.

    Args:
        count: at most so many within any window; the venue's limit less a reserve for other programs here.
        window_ns: the window.
    """

    def __init__(self, *, count: int = 400, window_ns: int = 300 * _S) -> None:
        if count < 1:
            raise ValueError("a budget of no connection lets nobody connect")
        self._window_ns = window_ns
        self._taken: deque[int] = deque(maxlen=count)

    def free_ns(self, now_ns: int) -> int:
        """Return from when on a connection may be made: `now_ns`, or later."""
        if len(self._taken) < (self._taken.maxlen or 0):
            return now_ns
        return max(now_ns, self._taken[0] + self._window_ns)

    def take(self, now_ns: int) -> None:
        """Count a connection that is being made; the oldest one counted leaves the window by then.

        Raises:
            ValueError: it comes too early.
        """
        if self.free_ns(now_ns) > now_ns:
            raise ValueError("a connection beyond the budget; wait until free_ns")
        self._taken.append(now_ns)
