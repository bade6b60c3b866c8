"""What the venue's own minutes say has traded, held against the trades that came.

A frame of trades that is lost leaves no mark in the stream. But every second or so the venue tells what has traded in
the present minute: V by a time t. Trades of that minute up to t that make up less than V, 2 s later still, are not all.

Source: Bybit V5, `kline`; fault M7 of the fault catalogue. That a minute's volume counts what `publicTrade` tells is
taken from the emulator and from the archive; where it turns out otherwise, claims are ignored for a while.
"""

from bisect import bisect_right

import numpy as np

from bot.domain.market import TradeBatch
from bot.venues.bybit.instrument_feed import Claim

_S = 1_000_000_000
MINUTE_NS = 60 * _S
CLAIM_NS = 2 * _S  # how long a claim may stay unmet
_MINUTES_KEPT = 3


class _Minute:
    """The trades of one minute: how much had traded by when."""

    __slots__ = ("sums", "times")

    def __init__(self) -> None:
        self.times: list[int] = []  # rising
        self.sums: list[int] = []

    def add(self, ts_ns: int, steps: int) -> None:
        if not self.times or ts_ns >= self.times[-1]:
            self.times.append(ts_ns)
            self.sums.append(steps + (self.sums[-1] if self.sums else 0))
            return
        at = bisect_right(self.times, ts_ns)  # it comes late, which is rare
        self.times.insert(at, ts_ns)
        self.sums.insert(at, self.sums[at - 1] if at else 0)
        self.sums[at:] = [each + steps for each in self.sums[at:]]

    def by(self, time_ns: int) -> int:
        """Return what had traded by a time."""
        at = bisect_right(self.times, time_ns)
        return self.sums[at - 1] if at else 0


class TradeClaims:
    """Of one instrument.

    Args:
        from_ns: trades from here on will all be told.
    """

    def __init__(self, from_ns: int) -> None:
        self.whole_from_ns = _ceil(from_ns)  # minutes from here on are counted whole
        self._minutes: dict[int, _Minute] = {}
        self._unmet: list[Claim] = []
        self._verified_ns = 0
        self._closed_ns = 0  # the end of the newest minute that has been told closed and was met
        self._ignored_until_ns = 0
        self.is_overdue = False  # a claim has stayed unmet for too long: trades are missing
        self.is_contradicted = False  # more traded than a closed minute tells: its volume is of something else

    @property
    def is_unmet(self) -> bool:
        """Return whether a claim waits for trades that have not come."""
        return bool(self._unmet)

    def expects_close(self, end_ns: int, now_ns: int) -> bool:
        """Return whether the venue's last word on the minute that ends then is worth waiting for, and not yet met."""
        is_whole = self.whole_from_ns < end_ns and now_ns >= self._ignored_until_ns
        return is_whole and self._closed_ns < end_ns

    def doubts_until(self, end_ns: int) -> bool:
        """Return whether a claim of before then waits for trades that have not come."""
        return any(claim.open_ns < end_ns for claim in self._unmet)

    def verified_ns(self, now_ns: int) -> int:
        """Return up to when nothing can have been missed; 2**62 where nobody says."""
        return 2**62 if now_ns < self._ignored_until_ns else self._verified_ns

    def meet(self, batch: TradeBatch) -> None:
        """Count trades."""
        for ts_ns, steps in zip(batch.ts_ns.tolist(), batch.qty_steps.tolist(), strict=True):
            open_ns = ts_ns - ts_ns % MINUTE_NS
            minute = self._minutes.get(open_ns)
            if minute is None:
                minute = self._minutes[open_ns] = _Minute()
                while len(self._minutes) > _MINUTES_KEPT:
                    del self._minutes[min(self._minutes)]
            minute.add(ts_ns, steps)
        if self._unmet:
            waiting, self._unmet = self._unmet, []
            for claim in waiting:
                self._judge(claim)

    def hear(self, claim: Claim) -> None:
        """Hold a claim against what has come."""
        if claim.open_ns < self.whole_from_ns or claim.known_ns < self._ignored_until_ns:
            return
        self._judge(claim)

    def look(self, now_ns: int) -> None:
        """Notice that a claim has stayed unmet for too long."""
        self.is_overdue = bool(self._unmet) and now_ns - self._unmet[0].known_ns > CLAIM_NS

    def begin_anew(self, from_ns: int) -> None:
        """Count only from here on: before it not all has come."""
        self._unmet, self.is_overdue = [], False
        self.whole_from_ns = _ceil(from_ns)
        self._verified_ns = max(self._verified_ns, from_ns)
        self._minutes = {}

    def ignore_until(self, time_ns: int) -> None:
        """Believe no claim before then."""
        self._unmet, self.is_overdue, self.is_contradicted = [], False, False
        self._ignored_until_ns = time_ns
        self.whole_from_ns = _ceil(time_ns)

    def _judge(self, claim: Claim) -> None:
        volume = self._volume(claim)
        if volume < claim.volume_steps:
            self._unmet.append(claim)  # the oldest first; none waits for longer than `CLAIM_NS`
            return
        self._verified_ns = max(self._verified_ns, claim.ts_ns)
        if claim.is_closed:
            self._closed_ns = max(self._closed_ns, claim.open_ns + MINUTE_NS)
            self.is_contradicted = volume > claim.volume_steps

    def _volume(self, claim: Claim) -> int:
        minute = self._minutes.get(claim.open_ns)
        if minute is None:
            return 0
        return minute.by(np.iinfo(np.int64).max if claim.is_closed else claim.ts_ns)


def _ceil(time_ns: int) -> int:
    return -(-time_ns // MINUTE_NS) * MINUTE_NS
