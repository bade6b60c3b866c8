"""Taking up where a ledger ends: the money half's state is the fold of its entries."""

from dataclasses import dataclass

import structlog

from bot.core.checkpoint import decode
from bot.core.submission.desk import LiveDesk
from bot.domain.errors import DataError
from bot.store.live_ledger import LiveLedger

log = structlog.get_logger()

_MS = 1_000_000
STATE_ENTRIES = 20_000
"""The state is kept at the latest after so many entries, so that no start has to fold more: half a second's work."""

_SEEN_BEFORE_MS = 20 * 60_000  # where no comparison is on record, executions are asked for from so long before


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovered:
    """What a start knows of the last run."""

    executed_ms: int  # by the venue's clock, up to when all executions are booked
    is_new: bool  # the ledger has no entry
    last_count: int  # the highest number in any order id
    kept_seq: int  # up to which entry the state was kept, 0 for none


def recover(store: LiveLedger, desk: LiveDesk) -> Recovered:
    """Bring an empty desk to where the ledger ends; blocks: call it off the loop.

    Raises:
        DataError: an entry cannot be read.
        InvariantBroken: the entries contradict each other.
    """
    kept, numbered = store.recovery()
    begins = None
    if kept is not None and kept.state is not None:
        try:
            begins = decode(kept.state)
        except DataError as error:
            log.warning("ledger.state_not_read", error=str(error))
            numbered = store.entries(after=0)

    restorer = desk.restore((entry for _, entry in numbered), begins)
    is_new = store.head.seq == 0
    executed_ms = desk.orders.state.compared_ms
    if not executed_ms and not is_new:
        executed_ms = max(0, store.head.ts_ns // _MS - _SEEN_BEFORE_MS)
    kept_seq = 0 if kept is None or begins is None else kept.seq
    return Recovered(executed_ms=executed_ms, is_new=is_new, last_count=restorer.last_count, kept_seq=kept_seq)
