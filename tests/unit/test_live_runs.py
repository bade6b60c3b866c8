"""Reports of paper and live runs: a run is its stretch of an account's ledger, and no more."""

from pathlib import Path

import pytest
from alembic import command

from bot.app.ledgers import describe, owner_of
from bot.app.runs import live_ledger_of, read_run, write_report
from bot.domain.errors import DataError
from bot.store.live_ledger import LiveLedger
from bot.store.migrate import upgrade
from tests.support.live_ledgers import STARTED_NS, history, open_ledger, round_trip, write_one_by_one
from tests.support.written_ledgers import alembic_config, engine_of

HOUR_NS = 3_600_000_000_000
CONFIG = """
[ledger]
at = "{at}"
[strategy]
name = "said"
params = {{ horizon = "1h" }}
[[symbols]]
symbol = "XUSDT"
"""


def start(ledger: LiveLedger, run_id: str, now_ns: int) -> None:
    ledger.begin_epoch(
        now_ns=now_ns,
        venue_epoch=None,
        recv_window_ns=5_000_000_000,
        send_timeout_ns=3_000_000_000,
        run_id=run_id,
        host="host",
        pid=1,
        version="1",
        config_hash="of " + run_id,
        account=7,
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a directory of three runs of one account, the second of which was started twice and is not over."""
    (tmp_path / "account").mkdir()
    ledger = open_ledger(tmp_path / "account", run_id="first")
    start(ledger, "first", STARTED_NS)
    write_one_by_one(ledger, history(3), size=5)
    start(ledger, "second", STARTED_NS + HOUR_NS)
    write_one_by_one(ledger, round_trip(5), size=5)
    start(ledger, "second", STARTED_NS + 2 * HOUR_NS)
    write_one_by_one(ledger, round_trip(6), size=5)
    start(ledger, "third", STARTED_NS + 3 * HOUR_NS)
    write_one_by_one(ledger, round_trip(7), size=5)
    ledger.close(now_ns=STARTED_NS + 4 * HOUR_NS)
    for name in ("first", "second", "third", "stranger"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text(CONFIG.format(at=tmp_path / "account"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "trips", "status", "hour"),
    [("first", 3, "interrupted", 0), ("second", 2, "interrupted", 1), ("third", 1, "finished", 3)],
)
def test_a_run_is_its_own_stretch(runs: Path, name: str, trips: int, status: str, hour: int) -> None:
    """Decisions, orders and executions of others are not in it; its name, its times and its settings are its own."""
    data = read_run(runs / name)
    assert (len(data.decisions), len(data.orders), len(data.fills), len(data.funding)) == (
        trips,
        4 * trips,
        3 * trips,
        trips,
    )
    assert (data.run["run_id"], data.run["status"], data.run["config_hash"]) == (name, status, f"of {name}")
    assert data.run["from_ns"] == STARTED_NS + hour * HOUR_NS
    assert (data.run["strategy"], data.run["parameters"]) == ("said", '{"horizon":"1h"}')
    metrics = write_report(runs / name)
    assert (metrics["mode"], metrics["fills"], metrics["round_trips"]) == ("paper", 3 * trips, trips)
    assert "Paper fills come from a test venue" in (runs / name / "report.html").read_text()


def test_runs_from_before_accounts_were_noted_are_read_and_kept(runs: Path) -> None:
    """Back to that schema and up again: every start is there, and nobody's."""
    path = runs / "account" / "ledger.sqlite"
    metrics = write_report(runs / "first")
    engine = engine_of(path)
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0007")
    assert write_report(runs / "first") == metrics
    shown = describe(str(path))
    assert (shown["schema"], shown["epoch"], "account" in shown) == ("0007", 4, False)
    upgrade(engine)
    engine.dispose()
    assert write_report(runs / "first") == metrics
    assert describe(str(path))["epoch"] == 4
    assert owner_of(str(path)).account is None


def test_a_run_that_the_ledger_does_not_know_is_refused_in_one_line(runs: Path) -> None:
    with pytest.raises(DataError, match="holds no run of this name"):
        read_run(runs / "stranger")
    (runs / "third" / "config.toml").write_text(
        '[[symbols]]\nsymbol = "XUSDT"\n[venue]\nenvironment = "testnet"\nuid = 7\n'
    )
    assert live_ledger_of(runs / "third") == str(runs / "ledgers" / "testnet-7")
    with pytest.raises(DataError, match="no ledger"):
        read_run(runs / "third")
    (runs / "third" / "config.toml").write_text('[strategy]\nname = "sma_cross"\n')
    assert live_ledger_of(runs / "third") is None


def test_a_link_to_the_newest_run_is_that_run(runs: Path) -> None:
    (runs / "latest").symlink_to("third")
    assert read_run(runs / "latest").run["run_id"] == "third"
