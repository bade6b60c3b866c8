"""`bot verify` of a replay, and of what cannot be verified."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.support.cli import bot
from tests.support.replays import run, settings_with, small_market


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished replay that traded."""
    out = tmp_path_factory.mktemp("replayed")
    return run(settings_with(out, [*small_market(out / "market", days=3), "strategy.name=sma_cross"])).directory


def test_a_replay_comes_out_the_same(replayed: Path) -> None:
    """It is replayed again, elsewhere, and leaves nothing behind."""
    before = sorted(replayed.parent.iterdir())
    done = bot("verify", str(replayed), "--json", cwd=replayed)
    shown = json.loads(done.stdout)
    assert (done.returncode, shown["identical"], shown["difference"]) == (0, True, "")
    assert shown["then"] == shown["now"]
    assert sorted(replayed.parent.iterdir()) == before


def test_a_replay_of_other_settings_names_its_first_other_entry(replayed: Path, tmp_path: Path) -> None:
    """The settings that it left are those that it is replayed with."""
    copy = tmp_path / replayed.name
    shutil.copytree(replayed, copy)
    text = (copy / "config.toml").read_text(encoding="utf-8")
    assert 'taker_rate = "0.00055"' in text
    changed = text.replace('taker_rate = "0.00055"', 'taker_rate = "0.00155"')
    (copy / "config.toml").write_text(changed, encoding="utf-8")
    done = bot("verify", str(copy), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "DIFFERENT: " in done.stdout


def test_a_ledger_that_was_changed_is_not_what_a_replay_makes(replayed: Path, tmp_path: Path) -> None:
    """Both sides are named."""
    copy = tmp_path / replayed.name
    shutil.copytree(replayed, copy)
    with sqlite3.connect(copy / "ledger.sqlite") as connection:
        connection.execute('UPDATE journal SET body = replace(body, \'"side":"buy"\', \'"side":"sell"\')')
    connection.close()
    done = bot("verify", str(copy), cwd=tmp_path)
    assert done.returncode == 1
    assert "side sell became buy" in done.stdout


def test_what_has_no_record_is_refused_in_one_line(tmp_path: Path) -> None:
    """No run; and a paper run that recorded nothing."""
    done = bot("verify", str(tmp_path / "none"), cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "no run here" in done.stderr
    (tmp_path / "config.toml").write_text('[[symbols]]\nsymbol = "BTCUSDT"\n', encoding="utf-8")
    done = bot("verify", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "no deliveries were recorded" in done.stderr
