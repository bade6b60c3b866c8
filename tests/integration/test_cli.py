"""The command line end to end: replay, report, audit, export; and an audit that notices every kind of tampering."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bot.runtime.settings import load
from tests.support.cli import bot
from tests.support.replays import small_market


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished run of the command line, with its report."""
    cwd = tmp_path_factory.mktemp("cli")
    sets = [part for text in small_market(cwd / "market", days=3) for part in ("--set", text)]
    done = bot("replay", *sets, "--set", "strategy.name=sma_cross", "--seed", "3", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "report" in done.stdout
    return (cwd / "runs" / "latest").resolve()


def test_a_run_leaves_all_its_files(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names >= {"config.toml", "ledger.sqlite", "tape.parquet", "log.jsonl", "report.html", "metrics.json"}
    assert not [name for name in names if name.endswith(".part")]


def test_the_log_tells_the_run(finished: Path) -> None:
    """JSON, a line an event: what began, and how it ended."""
    events = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["run.started", "run.finished"]
    assert events[1]["run_id"] == finished.name
    assert events[1]["late_trades"] == 0


def test_metrics_hold_what_they_promise(finished: Path) -> None:
    """Every key that other tools may rely on; JSON without NaN."""
    metrics = json.loads((finished / "metrics.json").read_text(), parse_constant=pytest.fail)
    promised = (
        "run_id mode seed config_hash data_hash model_hash ledger_hash in_sample from to bars trades_in orders fills "
        "start_equity end_equity total_return sharpe sortino max_drawdown win_rate profit_factor turnover fees funding "
        "exposure wall_seconds events_per_second"
    )
    assert set(promised.split()) <= metrics.keys()
    assert metrics["seed"] == 3
    assert metrics["fills"] > 0


def test_the_resolved_config_repeats_the_run(finished: Path) -> None:
    """`config.toml` of the run directory, replayed, gives the same ledger."""
    settings = load(finished / "config.toml")
    assert load(None).config_hash() != settings.config_hash()
    done = bot("replay", "--config", str(finished / "config.toml"), "--no-report", "--json", cwd=finished.parents[1])
    before = json.loads((finished.resolve() / "metrics.json").read_text())
    assert json.loads(done.stdout)["ledger_hash"] == before["ledger_hash"]


def test_show_and_export(finished: Path, tmp_path: Path) -> None:
    shown = json.loads(bot("ledger", "show", str(finished), "--json", cwd=tmp_path).stdout)
    assert shown["status"] == "finished"
    assert "balance cash" in shown
    done = bot("ledger", "export", str(finished), "--out", "csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fills = pd.read_csv(tmp_path / "csv" / "fills.csv", dtype=str)
    assert len(fills) > 0
    assert set(fills["side"]) <= {"buy", "sell"}


def test_the_schema_is_the_newest(finished: Path, tmp_path: Path) -> None:
    versions = json.loads(bot("db", "current", str(finished), "--json", cwd=tmp_path).stdout)
    assert versions["current"] == versions["newest"]


def _sql(statement: str) -> Callable[[Path], None]:
    def tamper(run: Path) -> None:
        connection = sqlite3.connect(run / "ledger.sqlite")
        with connection:
            assert connection.execute(statement).rowcount > 0
        connection.close()

    return tamper


def _tape(run: Path) -> None:
    path = run / "tape.parquet"
    frame = pq.read_table(path).to_pandas()
    frame.loc[len(frame) // 2, "profit"] += 1e-6
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


def _tape_price(run: Path) -> None:
    path = run / "tape.parquet"
    frame = pq.read_table(path).to_pandas()
    frame.loc[3, "high"] += 0.1
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


TAMPERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a fill's price": (_sql("update fills set price = '1' where seq = (select min(seq) from fills)"), "fills"),
    "a journal body": (
        _sql("update journal set body = replace(body, 'buy', 'sell') where kind = 'FillBooked' and body like '%buy%'"),
        "hash chain",
    ),
    "an entry removed": (_sql("delete from journal where seq = 5"), "missing"),
    "a balance": (_sql("update balances set amount = '7' where account = 'fees'"), "balances"),
    "an equity": (_sql("update equity set equity = '7'"), "equity"),
    "a posting": (_sql("update postings set amount = '7' where leg = 0"), "postings"),
    "a decision": (_sql("update decisions set reason = 'because'"), "decisions"),
    "the run's hash": (_sql("update runs set ledger_hash = 'x'"), "ledger_hash"),
    "the status": (_sql("update runs set status = 'running'"), "running"),
    "the tape's profit": (_tape, "profit"),
    "the tape's price": (_tape_price, "hash"),
}


@pytest.mark.parametrize("name", TAMPERS)
def test_tampering_is_found(name: str, finished: Path, tmp_path: Path) -> None:
    """Whatever is changed afterwards, the audit fails and says where."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    assert bot("ledger", "check", str(run), cwd=tmp_path).returncode == 0
    tamper, word = TAMPERS[name]
    tamper(run)
    done = bot("ledger", "check", str(run), cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert any("WRONG" in line and word in line for line in done.stdout.splitlines()), done.stdout
