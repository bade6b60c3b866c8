"""`bot ledger` and `bot db` on a live ledger, as an operator types them, while the bot writes on."""

import json
from pathlib import Path
from typing import Any

from tests.support import cli
from tests.support.live_ledgers import begin, history, open_ledger, write_one_by_one

LIFE = history(5)


def bot(*arguments: str, code: int = 0) -> str:
    """Return what a command prints; it must end with `code`, and a failure in one line."""
    done = cli.bot(*arguments, cwd=Path.cwd())
    assert done.returncode == code, done.stderr
    if code:
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stderr
    return done.stdout


def shown(*arguments: str) -> Any:
    return json.loads(bot(*arguments, "--json"))


def test_an_operator_looks_keeps_and_restores(tmp_path: Path) -> None:
    """Show, check, export and back up while it is written; restore when it has stopped."""
    where, kept = str(tmp_path / "live"), str(tmp_path / "kept.sqlite")
    (tmp_path / "live").mkdir()
    ledger = open_ledger(tmp_path / "live")
    begin(ledger)
    write_one_by_one(ledger, LIFE[:-3], size=9)
    said = shown("ledger", "show", where)
    assert (said["entries"], said["epoch"], said["mode"]) == (len(LIFE) - 3, 1, "paper")
    assert said["balance equity"] == "-100000.10 USDT"
    assert shown("ledger", "check", where)["problems"] == []
    assert "the ledger balances" in bot("ledger", "check", where)
    bot("ledger", "export", where, "--out", str(tmp_path / "csv"))
    assert len((tmp_path / "csv" / "journal.csv").read_text().splitlines()) == 1 + len(LIFE) - 3
    assert shown("db", "backup", where, "--out", kept)["entries"] == len(LIFE) - 3
    write_one_by_one(ledger, LIFE[-3:])
    ledger.abandon()
    assert shown("db", "current", where)["current"] == shown("db", "current", where)["newest"]
    assert shown("db", "upgrade", where)["backup"] is None
    assert shown("db", "restore", kept, where)["entries"] == len(LIFE) - 3
    assert shown("ledger", "show", where)["epoch"] == 101
    assert "exists" in bot("db", "backup", where, "--out", kept, code=2)
    assert "no run here" in bot("ledger", "show", str(tmp_path / "nothing"), code=1)
    assert "no ledger here" in bot("db", "backup", str(tmp_path / "nothing"), "--out", str(tmp_path / "x"), code=1)
