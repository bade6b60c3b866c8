"""Holds the whole ledger against itself beside a run: what was changed on the disk behind our back is found out."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from bot.domain.errors import BotError
from bot.ports import OffLoop

log = structlog.get_logger()

AGAIN_S = 86_400.0  # from one audit to the next


class LedgerAudit:
    """Audits some time after the start, and once a day; where the ledger does not hold, no entry passes any more.

    A start reads only what was written since the state was last kept, so it does not see what was changed before.

    Args:
        audit: returns what is wrong, nothing if all is well; blocks.
        stop_audit: makes `audit` return soon.
        off_loop: runs it, not where commits run: it may take minutes.
        pause: lets only exits pass, until a person resumes; takes the reason.
        tell: tells a person.
        after_s: how long after the start.
    """

    def __init__(
        self,
        *,
        audit: Callable[[], Sequence[str]],
        stop_audit: Callable[[], None],
        off_loop: OffLoop,
        pause: Callable[[str], None],
        tell: Callable[[str], None],
        after_s: float,
    ) -> None:
        self._audit, self._stop_audit, self._off_loop = audit, stop_audit, off_loop
        self._pause, self._tell = pause, tell
        self._after_s = after_s

    async def run(self) -> None:
        """Audit until cancelled."""
        await asyncio.sleep(self._after_s)
        while True:
            await self._look()
            await asyncio.sleep(AGAIN_S)

    async def _look(self) -> None:
        try:
            problems = await self._off_loop(self._audit)
        except asyncio.CancelledError:
            self._stop_audit()
            raise
        except BotError as error:  # a ledger that nobody could look at is not one that does not hold
            self._tell(f"the ledger was not audited: {error}")
            return
        if not problems:
            log.info("ledger.audited")
            return
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        what = f"the ledger does not hold: {problems[0]}{more}"
        log.error("ledger.does_not_hold", problems=list(problems[:20]))
        self._pause(what)
        self._tell(
            f"{what}; only exits pass now. Stop the bot, look with `bot ledger check`, restore a backup with "
            "`bot db restore`; `bot resume` trades on all the same"
        )
