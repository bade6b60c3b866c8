"""The clock that a market feed lives by: it only rises, and runs as the venue's does.

Books are held against the venue's time, so ours must agree with it to a fraction of a second; and durations are of it,
so no step of the wall clock may reach it.
"""

from bot.ports import Clock
from bot.venues.bybit.clock import VenueClock

SAMPLES_FIRST = 5  # before the start


class FeedClock:
    """A clock that rises, moved to the venue's.

    Args:
        base: one that only rises, near enough to the time of day.
    """

    def __init__(self, base: Clock) -> None:
        self._base = base
        self._venue = VenueClock()
        self._offset_ns = 0
        self._last_ns = 0

    def now_ns(self) -> int:
        """See `ports.Clock`: the venue's time by our best guess."""
        self._last_ns = max(self._last_ns, self._base.now_ns() + self._offset_ns)
        return self._last_ns

    def learn(self, *, sent_ns: int, recv_ns: int, server_ms: int) -> None:
        """Take a measure; the times are the base clock's."""
        self._venue.note(sent_ns=sent_ns, recv_ns=recv_ns, server_ms=server_ms)
        offset = self._venue.offset(recv_ns)
        if offset is not None:
            self._offset_ns = offset.ns

    @property
    def is_due(self) -> bool:
        """Return whether the venue should be asked for its time."""
        return self._venue.is_due(self._base.now_ns())

    @property
    def offset_ns(self) -> int:
        """Return how far it is ahead of the base."""
        return self._offset_ns
