"""The durable ledger on a real PostgreSQL: crashes of the server, lost locks, poolers, two bots, readers, copies."""

import asyncio
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from bot.actors.ledger_watch import LedgerWatch
from bot.app import ledgers
from bot.domain.errors import BotError, ConfigError, DataError, StorageError
from bot.runtime.env import WriterThread
from bot.store import postgres_ledger
from bot.store.ledger_copies import back_up, restore
from bot.store.live_audit import audit_live
from bot.store.migrate import all_versions, upgrade, versions
from bot.store.postgres_dialect import Connection, postgres_engine
from bot.store.postgres_ledger import PostgresLedger
from tests.support.live_ledgers import RUN, begin, history, open_ledger, write_one_by_one
from tests.support.postgres import Postgres, running_postgres
from tests.support.run_rows import check_rows_of_two_starts

LIFE = history(4)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """Return a server; tests may crash it, and leave it running."""
    with running_postgres() as found:
        yield found


@pytest.fixture
def url(server: Postgres) -> str:
    """Return the address of an empty database."""
    return server.new_database()


def ask(url: str, sql: str) -> Any:
    """Return what the server answers on a connection of its own."""
    with closing(Connection(dsn=url)) as connection:
        return connection.run(connection.raw.fetchval(sql))


def test_each_start_has_its_own_rows(url: str) -> None:
    """As `bot verify` reads them."""
    check_rows_of_two_starts(lambda: PostgresLedger(url), url)


def test_the_same_ledger_as_in_sqlite(url: str, tmp_path: Path) -> None:
    """The same rows in every table, and the same hash, over several starts."""
    ledger = open_ledger(PostgresLedger(url))
    begin(ledger)
    write_one_by_one(ledger, LIFE[:30], size=4)
    ledger.checkpoint(b"state", now_ns=1)
    ledger.close(now_ns=5)
    ledger = open_ledger(PostgresLedger(url))
    assert begin(ledger) == 2
    assert not ledger.epoch.is_after_crash
    found, entries = ledger.recovery()
    assert found is not None
    assert (found.seq, found.state) == (30, b"state")
    assert list(entries) == []
    write_one_by_one(ledger, LIFE[30:])
    assert [entry for _, entry in ledger.entries(after=0)] == LIFE
    plain = open_ledger(tmp_path)
    plain.write(LIFE)
    plain.commit()
    assert ledger.head == plain.head
    for where, out in ((url, "server"), (str(tmp_path), "file")):
        audit = audit_live(where)
        assert (audit.entries, audit.problems) == (len(LIFE), [])
        ledgers.export(where, tmp_path / out)
    for path in (tmp_path / "file").iterdir():
        if path.stem not in ("epochs", "checkpoints", "runs"):
            assert sorted((tmp_path / "server" / path.name).read_text().splitlines()) == sorted(
                path.read_text().splitlines()
            ), path.stem
    plain.abandon()
    ledger.abandon()


def test_a_second_bot_is_refused(url: str) -> None:
    """By the database, wherever it runs; and by the time the first has gone, however, it may start."""
    first = open_ledger(PostgresLedger(url))
    with pytest.raises(ConfigError, match=r"in use by another bot \(database process \d+, from this host\)"):
        PostgresLedger(url)
    first.abandon()
    PostgresLedger(url).close()


@pytest.mark.parametrize("crashes", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_a_server_that_crashes_loses_nothing_that_was_acknowledged(server: Postgres, url: str, crashes: int) -> None:
    """Stopped `immediate` while transactions run: a commit without an answer is looked up, and none is made twice."""
    entries = history(2_000)
    chance = random.Random(5)
    ledger = open_ledger(PostgresLedger(url))
    begin(ledger)
    acknowledged = 0
    for _ in range(crashes):
        crash = threading.Timer(chance.random() * 0.15, server.crash)
        crash.start()
        while crash.is_alive():
            try:
                ledger.write(entries[acknowledged : acknowledged + 2])
                ledger.commit()
                acknowledged += 2
            except StorageError:
                ledger.abandon()
                crash.join()
                ledger = open_ledger(PostgresLedger(url))
                begin(ledger)
                assert ledger.head.seq in (acknowledged, acknowledged + 2)
                acknowledged = ledger.head.seq
        crash.join()
    assert [entry for _, entry in ledger.entries(after=0)] == entries[:acknowledged]
    ledger.abandon()
    audit = audit_live(url)
    assert (audit.entries, audit.problems) == (acknowledged, [])


def test_a_lost_session_is_regained_or_trading_stops(server: Postgres, url: str) -> None:
    """When only the session went, the ledger goes on; when another start came between, it ends."""
    ledger = open_ledger(PostgresLedger(url))
    begin(ledger)
    mine = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    write_one_by_one(ledger, LIFE[:3])
    ask(url, mine)
    ledger.confirm()
    ask(url, mine)
    write_one_by_one(ledger, LIFE[3:6])
    ask(url, mine)
    other = open_ledger(PostgresLedger(url))
    begin(other)
    write_one_by_one(other, LIFE[6:7])
    other.abandon()
    ledger.write(LIFE[6:7])
    with pytest.raises(StorageError, match="another bot took the ledger over"):
        ledger.commit()
    with pytest.raises(StorageError):
        ledger.confirm()
    ledger.abandon()


def test_a_database_that_stays_away_stops_trading_in_two_seconds(server: Postgres, url: str) -> None:
    """The line says what was lost and what to see to."""
    ledger = open_ledger(PostgresLedger(url))
    loop = asyncio.new_event_loop()
    server.stop()
    try:
        started = loop.time()
        with pytest.raises(StorageError, match="not regained in"):
            ledger.confirm()
        assert loop.time() - started < postgres_ledger.RECONNECT_S + 0.5
    finally:
        loop.close()
        server.start()
        ledger.abandon()


def test_a_lock_that_is_gone_is_noticed(url: str) -> None:
    """Although the session lives: somebody let go of it there."""
    database = PostgresLedger(url)
    ledger = open_ledger(database)
    ledger.confirm()
    database._one("SELECT pg_advisory_unlock_all()")
    with pytest.raises(StorageError, match="not ours any more"):
        ledger.confirm()
    ledger.abandon()


def test_a_transaction_that_must_be_run_again_is_run_whole(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A serialization failure that the server itself reports, twice, in the middle of a commit."""
    ledger = open_ledger(PostgresLedger(url))
    begin(ledger)
    write_one_by_one(ledger, LIFE[:1])
    ask(url, "CREATE SEQUENCE tries")
    ask(
        url,
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'again' USING ERRCODE = 'serialization_failure'; END IF;
            RETURN NEW; END $$
        """,
    )
    ask(url, "CREATE TRIGGER refuse BEFORE INSERT ON order_events FOR EACH ROW EXECUTE FUNCTION refuse()")
    ledger.write(LIFE[1:])
    ledger.commit()
    ledger.abandon()
    audit = audit_live(url)
    assert (audit.entries, audit.problems) == (len(LIFE), [])


def test_another_writer_of_the_same_entry_is_refused(url: str) -> None:
    """Whatever went wrong with locks: one number in the journal has one entry."""
    ledger = open_ledger(PostgresLedger(url))
    ask(url, "INSERT INTO journal VALUES (1, 1, 'Deposited', '{}', '\\x00')")
    ledger.write(LIFE[:1])
    with pytest.raises(StorageError, match="duplicate key"):
        ledger.commit()
    ledger.abandon()


def test_readers_do_not_hold_up_the_writer(url: str) -> None:
    """A check that has begun sees its own moment, and commits go on meanwhile."""
    ledger = open_ledger(PostgresLedger(url))
    write_one_by_one(ledger, LIFE[:20], size=20)
    engine = postgres_engine(url, is_snapshot=True)
    with engine.connect() as connection:
        count = "SELECT count(*) FROM journal"
        assert connection.exec_driver_sql(count).scalar_one() == 20
        write_one_by_one(ledger, LIFE[20:], size=10)
        assert connection.exec_driver_sql(count).scalar_one() == 20
    engine.dispose()
    ledger.abandon()


def open_often(url: str) -> None:
    """Open a ledger until it is refused: a server takes new settings up when it comes to it."""
    for _ in range(500):
        PostgresLedger(url).close()


def test_a_server_that_does_not_keep_its_promises_is_refused(server: Postgres, url: str) -> None:
    database = re.search(r"ledger\d+", url)
    assert database is not None
    server.query("postgres", "ALTER SYSTEM SET full_page_writes = off")
    server.query("postgres", "SELECT pg_reload_conf()")
    try:
        with pytest.raises(StorageError, match="full_page_writes = off"):
            open_often(url)
    finally:
        server.query("postgres", "ALTER SYSTEM RESET full_page_writes")
        server.query("postgres", "SELECT pg_reload_conf()")


def test_what_is_no_ledger_of_ours_is_refused(server: Postgres) -> None:
    url = server.new_database()
    ask(url, "CREATE TABLE other (a int)")
    with pytest.raises(DataError, match="holds other tables"):
        PostgresLedger(url)
    with pytest.raises(StorageError, match="cannot be reached"):
        PostgresLedger("postgresql://postgres@/ledger?host=/nowhere")
    old = server.new_database()
    engine = postgres_engine(old)
    upgrade(engine, "0002")
    engine.dispose()
    with pytest.raises(DataError, match="bot db upgrade"):
        PostgresLedger(old)
    assert "secret" not in postgres_ledger.address("postgresql://me:secret@host/db")


class Pooler(threading.Thread):
    """Stands before the server like a connection pooler: what it says of the session is not the server's word."""

    def __init__(self, directory: Path, behind: Path) -> None:
        super().__init__(daemon=True)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(directory / ".s.PGSQL.5432"))
        self._listening.listen()
        self._behind = str(behind / ".s.PGSQL.5432")

    def run(self) -> None:
        """Serve one connection."""
        client, _ = self._listening.accept()
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._behind)
            back = threading.Thread(target=self._pass, args=(server, client, self._other_pid), daemon=True)
            back.start()
            self._pass(client, server, lambda data: data)
            back.join(2)
        self._listening.close()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes]) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(change(data))
            target.shutdown(socket.SHUT_WR)

    @staticmethod
    def _other_pid(data: bytes) -> bytes:
        key = data.find(b"K\x00\x00\x00\x0c")  # BackendKeyData: the session's process
        return data if key < 0 else data[: key + 5] + b"\x00\x00\x00\x07" + data[key + 9 :]


def test_a_pooler_before_the_server_is_refused(
    server: Postgres, url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Behind one, a session's lock and a commit may be on different connections."""
    directory = tmp_path_factory.mktemp("p")
    pooler = Pooler(directory, server.data.parent)
    pooler.start()
    with pytest.raises(ConfigError, match="a connection pooler stands before the database"):
        PostgresLedger(re.sub("host=.*", f"host={directory}", url))
    pooler.join(5)


def test_a_backup_of_a_server_is_a_file_and_goes_back(server: Postgres, url: str, tmp_path: Path) -> None:
    """Taken while the bot writes; restored into an empty database it goes on, in an epoch far above."""
    ledger = open_ledger(PostgresLedger(url))
    begin(ledger)
    write_one_by_one(ledger, LIFE[:40], size=7)
    assert back_up(url, tmp_path / "backup.sqlite") == 40
    write_one_by_one(ledger, LIFE[40:])
    ledger.abandon()
    assert not audit_live(str(tmp_path / "backup.sqlite")).problems
    with pytest.raises(ConfigError, match="empty"):
        restore(tmp_path / "backup.sqlite", url, now_ns=1)
    other = server.new_database()
    assert restore(tmp_path / "backup.sqlite", other, now_ns=1) == 40
    again = open_ledger(PostgresLedger(other))
    assert begin(again) == 102
    assert again.epoch.is_after_crash
    write_one_by_one(again, LIFE[40:])
    again.abandon()
    assert not audit_live(other).problems


@pytest.mark.parametrize("old", all_versions()[:-1])
def test_an_old_schema_is_upgraded_with_its_rows(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str
) -> None:
    """In place, with a backup of the old schema as a file; while a bot uses it, not."""
    monkeypatch.chdir(tmp_path)
    url = server.new_database()
    engine = postgres_engine(url)
    upgrade(engine, old)
    engine.dispose()
    ask(url, "INSERT INTO balances VALUES ('cash', 'USDT', 1.50)")
    holder = Connection(dsn=url)
    holder.run(holder.raw.fetchval(f"SELECT pg_advisory_lock({postgres_ledger.LOCK_KEY})"))
    with pytest.raises(ConfigError, match="stop it first"):
        ledgers.upgrade(url, lock_directory=tmp_path)
    holder.close()
    done = ledgers.upgrade(url, lock_directory=tmp_path)
    assert done["from"] == old
    assert Path(done["backup"]).is_file()
    engine = postgres_engine(url)
    current, newest = versions(engine)
    engine.dispose()
    assert current == newest == done["to"]
    assert str(ask(url, "SELECT amount FROM balances")) == "1.50"
    open_ledger(PostgresLedger(url), **RUN).abandon()


async def test_the_live_app_opens_it_and_watches(server: Postgres, url: str, tmp_path: Path) -> None:
    """Through the door that the app uses: host lock, thread, watch; the watch ends when the server goes."""
    thread = WriterThread("ledger")
    opened = await thread(lambda: ledgers.open_live(url, RUN, lock_directory=tmp_path))
    with pytest.raises(ConfigError, match="is in use by process"):
        ledgers.open_live(url, RUN, lock_directory=tmp_path)
    watch = asyncio.create_task(
        LedgerWatch(confirm=opened.store.confirm, off_loop=thread, every_s=0.05, within_s=opened.confirm_within_s).run()
    )
    await asyncio.sleep(0)
    server.stop()
    try:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(BotError):
            await watch
        assert loop.time() - started < 2.5
    finally:
        server.start()
        await thread(opened.abandon)
        thread.close()
