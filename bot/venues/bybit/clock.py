"""The venue's clock by ours: how far apart they are, with a bound that holds.

An answer carries the venue's time t. It was made after we sent the question at s and before the answer came at r, so
the venue was ahead by something between t - r and t + 1 ms - s: half the time on the way is all the error there is.
Our times come from a clock that only rises; a step of the wall clock cannot reach them.

Source: Bybit V5, `market/time`; the rule of the window: a request is admitted while
server - window <= its time < server + 1 s.
"""

from collections import deque

import msgspec

_MS = 1_000_000
_S = 1_000 * _MS

SAMPLES = 5
AGE_NS = 300 * _S  # a sample says nothing of a clock so long after
REFRESH_NS = 60 * _S
RETRY_NS = 1 * _S  # while the time is known too badly to trade on
TRIP_MAX_NS = 2 * _S  # one that was longer under way says too little
DRIFT_PPM = 200  # how fast two clocks may part: it widens the bound as a sample grows old
OFFSET_MAX_NS = 500 * _MS  # of the wall clock: beyond it, no new exposure
_GOOD_NS = OFFSET_MAX_NS // 2  # a sample this good can be traded on for as long as it counts: drift adds 60 ms


class Offset(msgspec.Struct, frozen=True, kw_only=True):
    """How far the venue's clock is ahead of ours."""

    ns: int
    error_ns: int  # the truth lies within so much of it


class VenueClock:
    """Estimates the venue's time from answers: the median of the last five, each with the bound of its own trip.

    Of those, the ones that are good enough to trade on, where there are any: a minute in which the machine had no time
    must not be believed for minutes afterwards.
    """

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)
        self.refused = 0  # samples that said too little

    def note(self, *, sent_ns: int, recv_ns: int, server_ms: int, is_midpoint: bool = True) -> None:
        """Take the time that an answer carries, in whole ms, of a question sent and answered at our times.

        Args:
            sent_ns, recv_ns: by our clock.
            server_ms: by the venue's.
            is_midpoint: the answer took as long as the question; writes may wait inside, and are no measure.
        """
        trip_ns = recv_ns - sent_ns
        if not (is_midpoint and 0 <= trip_ns <= TRIP_MAX_NS):
            self.refused += 1
            return
        # The venue's time stands for [t, t + 1 ms).
        offset_ns = server_ms * _MS + _MS // 2 - (sent_ns + trip_ns // 2)
        self._samples.append(_Sample(offset_ns, (trip_ns + _MS) // 2 + 1, recv_ns))

    def offset(self, now_ns: int) -> Offset | None:
        """Return how far the venue is ahead; None until something young enough is known."""
        young = sorted(each for each in self._samples if now_ns - each.at_ns <= AGE_NS)
        if not young:
            return None
        good = [each for each in young if each.error_ns <= _GOOD_NS] or young
        middle = good[len(good) // 2]
        error_ns = middle.error_ns + (now_ns - middle.at_ns) * DRIFT_PPM // 1_000_000
        return Offset(ns=middle.offset_ns, error_ns=error_ns)

    def is_due(self, now_ns: int) -> bool:
        """Return whether the venue should be asked for its time."""
        offset = self.offset(now_ns)
        if offset is None or len(self._samples) < SAMPLES:
            return True
        wait_ns = RETRY_NS if offset.error_ns > OFFSET_MAX_NS else REFRESH_NS
        return now_ns - self._samples[-1].at_ns >= wait_ns

    def venue_ms(self, now_ns: int) -> int | None:
        """Return the time to sign with: the venue's, by the best guess; None while it is not known.

        Raises nothing and guesses nothing: without a measure there is nothing to sign with.
        """
        offset = self.offset(now_ns)
        return None if offset is None else (now_ns + offset.ns) // _MS

    def trouble(self, now_ns: int, wall_ns: int | None = None) -> str:
        """Return why no new exposure may be taken, "" if it may.

        Args:
            now_ns: our clock.
            wall_ns: the wall clock's, if it is another one.
        """
        offset = self.offset(now_ns)
        if offset is None:
            return "the venue's time is not known"
        if offset.error_ns > OFFSET_MAX_NS:
            return f"the venue's time is known to {offset.error_ns / _S:.1f} s only"
        ahead_ns = now_ns + offset.ns - (now_ns if wall_ns is None else wall_ns)
        if abs(ahead_ns) > OFFSET_MAX_NS:
            return f"this machine's clock is {-ahead_ns / _S:+.1f} s off the venue's; let it be set by NTP"
        return ""


class _Sample(msgspec.Struct, frozen=True, order=True):
    offset_ns: int
    error_ns: int
    at_ns: int
