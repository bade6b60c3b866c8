"""What unit tests share: a replay's ledger with entries of all kinds, made once."""

from collections.abc import Iterator

import pytest

from bot.store.run_reader import RunReader
from tests.support.written_ledgers import finished_run


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunReader]:
    """Return the reader of a run with all kinds of entries; nobody writes to it."""
    reader = finished_run(tmp_path_factory.mktemp("whole"))
    yield reader
    reader.close()
