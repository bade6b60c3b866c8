"""The ledger's writer in a process of its own, and on a full disk."""

import io
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bot.domain.errors import StorageError
from bot.runtime.processes import ProcessWorker
from bot.store import tables
from bot.store.ledger_process import serve
from bot.store.ledger_store import ReplayStore
from bot.store.run_reader import RunReader
from tests.support.money import submit
from tests.support.written_ledgers import (
    LIFE,
    ROOT,
    RUN,
    contents_of,
    engine_of,
    finished_run,
    names_in,
    write_ledger,
)

# --- a process of its own ---------------------------------------------------------------------------------------------


class Loopback:
    """A `ports.Worker` without a process: what was sent is served when somebody waits for it."""

    def __init__(self) -> None:
        self._requests, self._answers = io.BytesIO(), io.BytesIO()
        self._is_served = False

    def send(self, frame: bytes) -> None:
        """See `ports.Worker`."""
        self._requests.write(len(frame).to_bytes(4, "little") + frame)

    def receive(self) -> bytes | None:
        """See `ports.Worker`."""
        self._serve()
        header = self._answers.read(4)
        return self._answers.read(int.from_bytes(header, "little")) if header else None

    def close(self) -> None:
        """See `ports.Worker`."""
        self._serve()

    def _serve(self) -> None:
        if not self._is_served:
            self._is_served = True
            self._requests.seek(0)
            serve(self._requests, self._answers)
            self._answers.seek(0)


class Gone:
    """A `ports.Worker` that has died; it may have left an answer behind."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self._is_born = False

    def send(self, frame: bytes) -> None:
        """See `ports.Worker`."""
        if self._is_born:
            raise BrokenPipeError
        self._is_born = True

    def receive(self) -> bytes | None:
        """See `ports.Worker`."""
        return self._answer

    def close(self) -> None:
        """See `ports.Worker`."""


@pytest.mark.parametrize("size", [1, 100])
def test_a_process_of_its_own_writes_the_same_ledger(size: int, whole_run: RunReader, tmp_path: Path) -> None:
    """Whoever writes it, from the entries or from their JSON: the same rows, the same run, the same hash."""
    reader = finished_run(tmp_path, size=size, worker=Loopback())
    assert contents_of(tmp_path) == contents_of(whole_run.directory)
    assert reader.run() == whole_run.run()
    reader.close()


def test_a_real_process_writes_the_same_ledger(whole_run: RunReader, tmp_path: Path) -> None:
    """Over pipes, too; and an interrupted one keeps what it was sent, under names that nobody takes for a run."""
    reader = finished_run(tmp_path / "run", worker=ProcessWorker("bot.store.ledger_process"))
    assert contents_of(tmp_path / "run") == contents_of(whole_run.directory)
    assert reader.run() == whole_run.run()
    reader.close()
    store = write_ledger(tmp_path / "cut", LIFE[:7], worker=ProcessWorker("bot.store.ledger_process"))
    store.interrupt()
    assert names_in(tmp_path / "cut") == {"ledger.sqlite.part"}
    engine = engine_of(tmp_path / "cut" / "ledger.sqlite.part")
    with engine.connect() as connection:
        assert connection.execute(select(tables.runs.c.status)).scalar_one() == "interrupted"
        assert len(connection.execute(select(tables.journal.c.seq)).all()) == 7
    engine.dispose()


@pytest.mark.parametrize("answer", [None, b"-no space left"])
def test_a_process_that_died_is_a_storage_error(answer: bytes | None, tmp_path: Path) -> None:
    """With its own words if it had time for some, in one line; and abandoning the run does not fail a second time."""
    store = ReplayStore(tmp_path, RUN, lambda: Gone(answer), worker_after=0)
    with pytest.raises(StorageError) as refused:
        store.write(LIFE)
    assert "\n" not in str(refused.value)
    assert ("no space left" if answer else str(tmp_path)) in str(refused.value)
    with pytest.raises(StorageError):
        store.finish()
    store.interrupt()
    assert not any(name.startswith("ledger") for name in names_in(tmp_path))


# --- a full disk ------------------------------------------------------------------------------------------------------

FULL_DISK = textwrap.dedent(
    """
    import json, resource, sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from bot.domain.errors import StorageError
    from msgspec.structs import replace
    from bot.runtime.processes import ProcessWorker
    from bot.store.ledger_store import ReplayStore
    from tests.support.written_ledgers import LIFE, RUN, tape_rows

    def limit(size):  # Python ignores SIGXFSZ: the write fails with EFBIG, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def many(n):
        return [replace(LIFE[0], ts_ns=k) for k in range(n)]

    def scenario(name, directory):
        if name == "create":
            limit(8192)
            ReplayStore(directory, RUN)
            return
        if name.startswith("process"):  # the limit is inherited: too little to open the ledger, or for all of it
            limit(8192 if name == "process create" else 2 << 20)
            store = ReplayStore(directory, RUN, lambda: ProcessWorker("bot.store.ledger_process"), worker_after=0)
            store.write(many(20000))
            store.finish()
            return
        store = ReplayStore(directory, RUN)
        store.write(LIFE)
        store.commit()
        size = max(path.stat().st_size for path in directory.iterdir())
        if name == "commit":
            limit(size + 65536)
            store.write(many(5000))
            store.commit()
        elif name == "finish":
            store.write(many(5000))
            limit(size + 65536)
            store.finish()
        elif name == "tape":
            limit(size + 65536)
            store.write_tape(tape_rows(100000))
            store.finish()
        elif name == "tape group":
            limit(size + 65536)
            for k in range(4):
                store.write_tape(tape_rows(100000, k * 100000))

    for name in sys.argv[2:]:
        directory = Path(sys.argv[1]) / name
        directory.mkdir()
        try:
            scenario(name, directory)
            result = "nothing was noticed"
        except StorageError as error:
            result = "StorageError: " + str(error)
        except BaseException as error:
            result = type(error).__name__ + ": " + str(error)
        limit(resource.RLIM_INFINITY)
        print(json.dumps([name, result, sorted(path.name for path in directory.iterdir())]))
    """
)
SCENARIOS = ["create", "commit", "finish", "tape", "tape group", "process create", "process finish"]


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[str]]]:
    """Return what each scenario ended in, and what files it left; in a process of its own, whose files are limited."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK.format(root=str(ROOT)), str(tmp_path_factory.mktemp("full")), *SCENARIOS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (result, files) for name, result, files in rows}


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX")
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_full_disk_is_a_storage_error(name: str, full_disk: dict[str, tuple[str, list[str]]]) -> None:
    """Whenever the disk refuses, the run ends with one line that names the directory, and leaves parts only."""
    result, files = full_disk[name]
    assert result.startswith("StorageError: "), result
    assert "\n" not in result
    assert f"/{name}" in result
    assert all(file.endswith(".part") for file in files)


@pytest.mark.parametrize("entry", [submit(), None, 7])
def test_what_is_no_entry_is_not_written(entry: Any, tmp_path: Path) -> None:
    """A slip of ours never becomes a row: it fails before anything of it is stored."""
    store = write_ledger(tmp_path, LIFE[:2])
    with pytest.raises((AttributeError, KeyError, TypeError)):
        store.write([entry])
    store.interrupt()
    engine = engine_of(tmp_path / "ledger.sqlite.part")
    with engine.connect() as connection:
        assert len(connection.execute(select(tables.journal.c.seq)).all()) == 2
    engine.dispose()


def test_a_store_whose_directory_is_gone_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        ReplayStore(tmp_path / "gone", RUN)


@pytest.mark.parametrize("after", [1, 3, 1_000])
def test_a_worker_that_starts_late_or_never_writes_the_same_ledger(tmp_path: Path, after: int) -> None:
    """Entries that waited for it come first, and where it never starts they are written here."""
    hashes = set()
    for name, make_worker in (("here", None), ("there", lambda: ProcessWorker("bot.store.ledger_process"))):
        directory = tmp_path / name
        directory.mkdir()
        store = ReplayStore(directory, RUN, make_worker, worker_after=after)
        for entry in LIFE:
            store.write([entry])
        hashes.add(store.finish(rows_in=1))
        assert (directory / "ledger.sqlite").exists()
    assert len(hashes) == 1
