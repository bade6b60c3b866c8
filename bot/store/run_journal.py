"""The rows that one run left in an account's ledger, in order, each with what the hash chain makes of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.errors import DataError
from bot.domain.ledger import LedgerEntry
from bot.store import tables
from bot.store.live_reader import ledger_name, open_snapshot, reason_of
from bot.store.sql_ledger import GENESIS, chain

_PAGE_ROWS = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalRow:
    """One row."""

    seq: int
    kind: str
    body: str  # canonical JSON
    stored: bytes  # the hash that the ledger holds
    digest: bytes  # the hash that the rows up to this one make

    @property
    def is_chained(self) -> bool:
        """Return whether they agree."""
        return self.stored == self.digest


class RunJournal:
    """Reads the rows of one start; `close` ends it.

    Args:
        where: a directory, a file, or the address of a database.
        run_id, epoch, after_seq: what the run says of its start.

    Raises:
        DataError: there is no ledger, or the start is not in it.
    """

    def __init__(self, where: str, *, run_id: str, epoch: int, after_seq: int) -> None:
        self.name = ledger_name(where)
        self._after = after_seq
        self._engine = open_snapshot(where)
        try:
            self._until, digest = self._place(run_id, epoch, after_seq)
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise DataError(f"{self.name}: the ledger cannot be read ({reason_of(error)})") from error
        except DataError:
            self._engine.dispose()
            raise
        self._rows = self._read(self._engine, after_seq, digest)

    def next(self) -> JournalRow | None:
        """Return the next row, None after the last.

        Raises:
            DataError: it cannot be read.
        """
        try:
            return next(self._rows, None)
        except SQLAlchemyError as error:
            raise DataError(f"{self.name}: the ledger cannot be read ({reason_of(error)})") from error

    def kept_state(self) -> tuple[int, bytes | None]:
        """Return the newest state that was kept before the run began, and after which row; 0 and None for none."""
        kept = tables.checkpoints
        query = select(kept.c.seq, kept.c.state).where(kept.c.seq <= self._after, kept.c.state.is_not(None))
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(kept.c.seq.desc()).limit(1)).first()
        return (0, None) if found is None else (int(found.seq), bytes(found.state))

    def entries_before(self, after: int) -> Iterator[LedgerEntry]:
        """Yield the entries after row `after`, up to where the run began.

        Raises:
            DataError: one cannot be read.
        """
        journal, decode = tables.journal, msgspec.json.Decoder(LedgerEntry).decode
        while after < self._after:
            query = select(journal.c.seq, journal.c.body).where(journal.c.seq > after, journal.c.seq <= self._after)
            with self._engine.connect() as connection:
                rows = connection.execute(query.order_by(journal.c.seq).limit(_PAGE_ROWS)).all()
            if not rows:
                return
            for seq, body in rows:
                try:
                    yield decode(body)
                except msgspec.DecodeError as error:
                    raise DataError(f"{self.name}: entry {seq} cannot be read: {error}") from error
            after = int(rows[-1].seq)

    def close(self) -> None:
        """Let go of the ledger."""
        self._engine.dispose()

    def _place(self, run_id: str, epoch: int, after_seq: int) -> tuple[int | None, bytes]:
        """Return the last row of the run, None if it is the last start, and the digest that it began with."""
        epochs, journal = tables.epochs, tables.journal
        with self._engine.connect() as connection:
            found = connection.execute(
                select(epochs.c.run_id, epochs.c.after_seq).where(epochs.c.epoch == epoch)
            ).first()
            if found is None or (found.run_id, found.after_seq) != (run_id, after_seq):
                raise DataError(
                    f"{self.name}: start {epoch} of run {run_id} is not in this ledger; --ledger says where"
                )
            later = select(epochs.c.after_seq).where(epochs.c.epoch > epoch).order_by(epochs.c.epoch).limit(1)
            until = connection.execute(later).scalar()
            digest = GENESIS
            if after_seq:
                held = connection.execute(select(journal.c.hash).where(journal.c.seq == after_seq)).scalar()
                if held is None:
                    raise DataError(f"{self.name}: row {after_seq}, which the run began after, is missing")
                digest = bytes(held)
        return until, digest

    def _read(self, engine: Engine, after: int, digest: bytes) -> Iterator[JournalRow]:
        journal = tables.journal
        while True:
            query = select(journal.c.seq, journal.c.kind, journal.c.body, journal.c.hash).where(journal.c.seq > after)
            if self._until is not None:
                query = query.where(journal.c.seq <= self._until)
            with engine.connect() as connection:
                rows = connection.execute(query.order_by(journal.c.seq).limit(_PAGE_ROWS)).all()
            if not rows:
                return
            for seq, kind, body, stored in rows:
                digest = chain(digest, body.encode())
                yield JournalRow(seq=seq, kind=kind, body=body, stored=bytes(stored), digest=digest)
                digest = bytes(stored)  # one break is one difference, not all that follow
            after = int(rows[-1].seq)
