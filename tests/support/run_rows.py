"""What a run's rows must be, on whatever database they are."""

from collections.abc import Callable

import msgspec
import pytest

from bot.domain.errors import DataError
from bot.store.live_database import LedgerDatabase
from bot.store.run_journal import RunJournal
from tests.support.live_ledgers import begin, history, open_ledger, write_one_by_one

LIFE = history(4)


def check_rows_of_two_starts(open_database: Callable[[], LedgerDatabase], where: str) -> None:
    """Write two starts, and see that each has its own rows, chained, and begins with what was kept."""
    ledger = open_ledger(open_database())
    begin(ledger)
    write_one_by_one(ledger, LIFE[:30], size=4)
    ledger.checkpoint(b"state", now_ns=1)
    ledger.close(now_ns=5)
    ledger = open_ledger(open_database())
    begin(ledger)
    write_one_by_one(ledger, LIFE[30:])
    spans = {1: (0, LIFE[:30]), 2: (30, LIFE[30:])}
    for epoch, (after, entries) in spans.items():
        rows = RunJournal(where, run_id="live-1", epoch=epoch, after_seq=after)
        for number, entry in enumerate(entries, start=after + 1):
            row = rows.next()
            assert row is not None
            assert (row.seq, row.kind, row.is_chained) == (number, type(entry).__name__, True)
            assert row.body == msgspec.json.encode(entry).decode()
        assert rows.next() is None
        assert rows.kept_state() == ((0, None) if epoch == 1 else (30, b"state"))
        assert list(rows.entries_before(0)) == LIFE[:after]
        assert list(rows.entries_before(after)) == []
        rows.close()
    for wrong in ({"epoch": 3}, {"run_id": "another"}, {"after_seq": 1}):
        with pytest.raises(DataError, match="is not in this ledger"):
            RunJournal(where, **{"run_id": "live-1", "epoch": 1, "after_seq": 0} | wrong)  # type: ignore[arg-type]
    ledger.abandon()
