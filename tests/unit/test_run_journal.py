"""The rows of one start of a ledger, as `bot verify` reads them."""

from pathlib import Path

from bot.store.live_sqlite import SqliteLedger
from tests.support.run_rows import check_rows_of_two_starts


def test_each_start_has_its_own_rows(tmp_path: Path) -> None:
    """In SQLite; `test_postgres_ledger.py` has the other."""
    path = tmp_path / "ledger.sqlite"
    check_rows_of_two_starts(lambda: SqliteLedger(path), str(tmp_path))
