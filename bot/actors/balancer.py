"""Holds our bookings against the venue's own ledger, hour by hour, and has what we missed booked.

It asks the venue and reads our ledger; what it finds goes home to the order executor, which books and records it. A
difference is reported only when it is still there at a second look: a page may have been left out of an answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from bot.core.balancing import Balance, balance, told
from bot.core.submission.messages import AccountBalanced
from bot.domain.instrument import Instrument
from bot.domain.ledger import LedgerEntry
from bot.domain.venue_records import BookingRecord
from bot.ports import BookingSource

log = structlog.get_logger()

LAG_MS = 60_000  # what is younger may not have been told yet, or stand in the venue's log
MARGIN_MS = 600_000  # before the span, to match what was booked at its edge
SPAN_MS = 7 * 86_400_000  # the longest that is looked back over
_AGAIN_MS = 5_000  # between two looks, and after a question that was not answered
_WAIT_S = 1.0  # between two looks at the time

Read = Callable[[int], Awaitable[Sequence[LedgerEntry]]]


class Balancer:
    """Balances the books with the venue's, whenever an hour has passed or something does not agree.

    Args:
        source: the venue's own ledger.
        read: returns our entries from a time on, ms by our clock; off the loop.
        deliver: takes what was found home.
        instruments: what is traded, by name.
        currency: the account's.
        venue_ms: the venue's time, None while it is not known.
        from_ms: up to then everything was balanced, or nothing was ours.
        every_ms: between two balances.
        speed: how fast the venue's clock runs.
    """

    def __init__(
        self,
        source: BookingSource,
        read: Read,
        deliver: Callable[[AccountBalanced], None],
        *,
        instruments: Mapping[str, Instrument],
        currency: str,
        venue_ms: Callable[[], int | None],
        from_ms: int,
        every_ms: int,
        speed: float = 1.0,
    ) -> None:
        self._source = source
        self._read = read
        self._deliver = deliver
        self._instruments = instruments
        self._currency = currency
        self._venue_ms = venue_ms
        self._from_ms = from_ms
        self._every_ms = every_ms
        self._speed = speed
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Balance soon: something does not agree."""
        self._woken.set()

    async def run(self) -> None:
        """Balance until cancelled."""
        due_ms: int | None = None
        while True:
            now_ms = self._venue_ms()
            if now_ms is not None:
                due_ms = max(now_ms + _AGAIN_MS, self._from_ms + self._every_ms) if due_ms is None else due_ms
                if self._woken.is_set() or now_ms >= due_ms:
                    self._woken.clear()
                    is_done = await self.balance(now_ms)
                    due_ms = now_ms + (self._every_ms if is_done else _AGAIN_MS)
                    await asyncio.sleep(_AGAIN_MS / 1_000 / self._speed)
            try:
                async with asyncio.timeout(_WAIT_S / self._speed):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def balance(self, now_ms: int) -> bool:
        """Balance up to a minute ago; return whether the venue could be asked."""
        since_ms = max(self._from_ms, now_ms - SPAN_MS)
        span = since_ms, max(since_ms, now_ms - LAG_MS)
        found = await self._look(span, now_ms)
        if found is None:
            return False
        explained: list[str] = []
        if found.missing:
            missed = found.missing
            times = [each.booked_ms for each in missed]
            await self._source.tell_executions(min(times) - 1_000, max(times) + 1_000)
        if found.missing or found.differences:
            await asyncio.sleep(_AGAIN_MS / 1_000 / self._speed)
            again = await self._look(span, self._venue_ms() or now_ms)
            if again is None:
                return False
            explained = [f"{told(each)}: missed, and booked late" for each in _without(found.missing, again.missing)]
            found = again
        self._from_ms = span[1]
        log.info("ledger.balanced", lines=found.lines, matched=found.matched, differences=len(found.differences))
        self._deliver(AccountBalanced(balance=found, explained=tuple(explained)))
        return True

    async def _look(self, span: tuple[int, int], now_ms: int) -> Balance | None:
        bookings = await self._source.bookings(span[0] - MARGIN_MS, now_ms)
        if isinstance(bookings, str):
            log.warning("ledger.not_balanced", why=bookings)
            return None
        entries = await self._read(span[0] - 2 * MARGIN_MS)
        return balance(
            bookings,
            entries,
            instruments=self._instruments,
            currency=self._currency,
            from_ms=span[0],
            to_ms=span[1],
        )


def _without(before: Sequence[BookingRecord], after: Sequence[BookingRecord]) -> list[BookingRecord]:
    return [each for each in before if each not in after]
