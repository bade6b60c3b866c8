"""Reads a stretch of a live ledger's journal by time, while it is being written."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.errors import DataError
from bot.domain.ledger import LedgerEntry
from bot.store import tables
from bot.store.live_reader import ledger_name, open_snapshot, reason_of

MOVES = ("FillBooked", "PositionCutBooked", "ExternalFillBooked", "FeeBooked", "FundingBooked", "TransferBooked")
"""The entries that move money."""


def entries_since(where: str, ts_ns: int, kinds: Sequence[str] = MOVES) -> list[LedgerEntry]:
    """Return the durable entries of some kinds that were recorded from a time on; blocks: call it off the loop.

    Raises:
        DataError: there is no ledger, or it cannot be read.
    """
    journal = tables.journal
    decode = msgspec.json.Decoder(LedgerEntry).decode
    engine = open_snapshot(where)
    try:
        with engine.connect() as connection:
            first = _first_since(connection, ts_ns)
            query = select(journal.c.body).where(journal.c.seq >= first, journal.c.kind.in_(kinds))
            return [decode(body) for (body,) in connection.execute(query.order_by(journal.c.seq))]
    except (SQLAlchemyError, msgspec.DecodeError) as error:
        raise DataError(f"{ledger_name(where)}: the ledger cannot be read ({reason_of(error)})") from error
    finally:
        engine.dispose()


def _first_since(connection: Connection, ts_ns: int) -> int:
    """Return the number of the first entry from a time on, found by halves: numbers are gapless, times only rise."""
    journal = tables.journal
    low, high = 1, (connection.execute(select(func.max(journal.c.seq))).scalar() or 0) + 1
    while low < high:
        middle = (low + high) // 2
        at_ns = connection.execute(select(journal.c.ts_ns).where(journal.c.seq == middle)).scalar_one()
        if at_ns < ts_ns:
            low = middle + 1
        else:
            high = middle
    return low
