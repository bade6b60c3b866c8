"""A run's ledger on disk: nothing half-written passes for a run, and what is damaged is said to be."""

from pathlib import Path

import pytest
from sqlalchemy import select

from bot.domain.errors import DataError
from bot.store import tables
from bot.store.run_reader import RunReader
from tests.support.written_ledgers import LIFE, engine_of, finished_run, names_in, tape_rows, write_ledger


def test_nothing_has_its_final_name_before_the_end(tmp_path: Path) -> None:
    """Until `finish` returns there are only parts; after it there are none."""
    store = write_ledger(tmp_path, LIFE[:5])
    store.write_tape(tape_rows(10))
    assert all(name.endswith(".part") for name in names_in(tmp_path))
    with pytest.raises(DataError):
        RunReader(tmp_path)
    store.write(LIFE[5:])
    store.commit()
    assert all(name.endswith(".part") for name in names_in(tmp_path))
    store.finish()
    assert names_in(tmp_path) == {"ledger.sqlite", "tape.parquet"}
    reader = RunReader(tmp_path)
    assert reader.run()["status"] == "finished"
    assert list(reader.tape()["close_ns"]) == list(range(10))
    reader.close()


def test_a_run_without_bars_has_no_tape(whole_run: RunReader) -> None:
    """No tape and no forecasts is an empty table, not an error."""
    assert names_in(whole_run.directory) == {"ledger.sqlite"}
    assert len(whole_run.tape()) == 0
    assert whole_run.forecasts() == {}


def test_the_tape_comes_back_and_its_hash_ignores_the_cuts(tmp_path: Path) -> None:
    hashes = set()
    for size in (1, 3, 10):
        directory = tmp_path / str(size)
        store = write_ledger(directory, [])
        for start in range(0, 10, size):
            store.write_tape(tape_rows(min(size, 10 - start), start))
        hashes.add(store.tape_hash())
        store.finish()
        reader = RunReader(directory)
        assert list(reader.tape()["profit"]) == [n / 7.0 for n in range(10)]
        assert reader.run()["tape_hash"] in hashes
        reader.close()
    assert len(hashes) == 1
    store = write_ledger(tmp_path / "other", [])
    store.write_tape(tape_rows(10, 1))
    assert store.tape_hash() not in hashes
    store.interrupt()


def test_an_interrupted_run_keeps_its_parts_and_is_no_run(tmp_path: Path) -> None:
    """What was committed is still there, marked as cut short; a reader refuses it in one line that says what to do."""
    store = write_ledger(tmp_path, LIFE[:7])
    store.write_tape(tape_rows(10))
    store.interrupt()
    assert names_in(tmp_path) == {"ledger.sqlite.part", "tape.parquet.part"}
    engine = engine_of(tmp_path / "ledger.sqlite.part")
    with engine.connect() as connection:
        assert connection.execute(select(tables.runs.c.status)).scalar_one() == "interrupted"
        assert len(connection.execute(select(tables.journal.c.seq)).all()) == 7
    engine.dispose()
    with pytest.raises(DataError) as refused:
        RunReader(tmp_path)
    message = str(refused.value)
    assert "\n" not in message
    assert str(tmp_path) in message
    assert "cut short" in message


def test_where_there_is_no_run_the_reader_says_so(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError) as refused:
            RunReader(directory)
        assert str(directory) in str(refused.value)
        assert "\n" not in str(refused.value)


def read_all(directory: Path) -> None:
    """Read every table of a run."""
    reader = RunReader(directory)
    for table in tables.metadata.sorted_tables:
        reader.frame(table.name)


@pytest.mark.parametrize("damage", ["empty", "junk", "truncated", "header"])
def test_a_damaged_ledger_is_a_data_error(damage: str, tmp_path: Path) -> None:
    """Whatever is wrong with the file, the reader says so in one line and never gives rows that are not there."""
    finished_run(tmp_path).close()
    path = tmp_path / "ledger.sqlite"
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "junk": b"this is no database, " * 1000,
            "truncated": content[: len(content) // 3],
            "header": b"X" * 100 + content[100:],
        }[damage]
    )
    with pytest.raises(DataError) as refused:
        read_all(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_damaged_tape_is_a_data_error(tmp_path: Path) -> None:
    store = write_ledger(tmp_path, LIFE)
    store.write_tape(tape_rows(1000))
    store.finish()
    path = tmp_path / "tape.parquet"
    content = path.read_bytes()
    for junk in (b"", b"PAR1junkPAR1", content[: len(content) // 2]):
        path.write_bytes(junk)
        with pytest.raises(DataError):
            RunReader(tmp_path).tape()


def test_a_finished_run_is_read_only(whole_run: RunReader) -> None:
    """Reading leaves the file alone, byte for byte, and beside it nothing new."""
    path = whole_run.directory / "ledger.sqlite"
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    for table in tables.metadata.sorted_tables:
        whole_run.frame(table.name)
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == stamp
    assert names_in(whole_run.directory) == {"ledger.sqlite"}


@pytest.mark.parametrize("name", ["plain", "with space", "50%", "a%20b", "run#1", "what?", "ünï", "a&b=c;d"])
def test_a_run_lives_in_a_directory_of_any_name(name: str, tmp_path: Path) -> None:
    """The path is a path, not a URL: nothing is written beside the run's own directory, and it is read back."""
    directory = tmp_path / "runs" / name
    reader = finished_run(directory)
    assert names_in(tmp_path / "runs") == {name}
    assert names_in(directory) == {"ledger.sqlite"}
    assert reader.run()["status"] == "finished"
    assert len(reader.frame("journal")) == len(LIFE)
    reader.close()
