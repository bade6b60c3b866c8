"""An incident's bundle: the last hour, whole, and no secret in any spelling."""

import base64
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from bot.app.incident import bundle
from bot.app.switches import Switches
from bot.domain.errors import ConfigError
from tests.support.cli import bot_process

ROOT = Path(__file__).parents[2]
KEY, SECRET = "CANARYKEY0001", "CanarySecretThatNobodyMaySee0001"


@pytest.fixture(scope="module")
def paper_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trade a minute of an emulated market."""
    here = tmp_path_factory.mktemp("incident")
    shutil.copytree(ROOT / "config", here / "config")
    sets = ["run.stop_after=1m", "log.level=error"]
    done = bot_process(
        "paper",
        "--config",
        "config/paper-offline.toml",
        *(word for each in sets for word in ("--set", each)),
        cwd=here,
    )
    assert done.returncode == 0, done.stderr
    return (here / "runs" / "latest").resolve()


@pytest.fixture
def run(paper_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(paper_run, tmp_path / "runs" / paper_run.name))


def read(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as kept:
        return {name: kept.read(name).decode() for name in kept.namelist()}


@pytest.mark.slow
def test_what_is_in_it(run: Path, tmp_path: Path) -> None:
    Switches(run).kill("a drill")
    told = bundle(run, tmp_path / "incident.zip")
    kept = read(tmp_path / "incident.zip")
    entries = [json.loads(line) for line in kept["journal.jsonl"].splitlines()]
    assert told["journal"] == len(entries) > 0
    assert [each["seq"] for each in entries] == list(range(1, len(entries) + 1))
    assert told["log"] == len(kept["log.jsonl"].splitlines()) > 0
    about = json.loads(kept["about.json"])
    assert about["is_killed"] is True
    assert about["why_killed"] == "a drill"
    assert about["strategy"] == "sma_cross"
    assert "notes.txt" not in kept
    assert (tmp_path / "incident.zip").stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match="there already"):
        bundle(run, tmp_path / "incident.zip")


@pytest.mark.slow
def test_no_secret_leaves(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was logged by mistake, in whatever wrapping."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("BYBIT_API_KEY", KEY)
    monkeypatch.setenv("BYBIT_API_SECRET", SECRET)
    monkeypatch.setenv("BOT_TELEGRAM_TOKEN", "123456789:AAcanaryAAcanaryAAcanaryAAcanary00")
    spellings = [SECRET, base64.b64encode(SECRET.encode()).decode(), SECRET.encode().hex(), KEY]
    with (run / "log.jsonl").open("a", encoding="utf-8") as file:
        for each in (*spellings, "bot123456789:AAcanaryAAcanaryAAcanaryAAcanary00"):
            file.write(json.dumps({"event": "test.leaked", "text": f"x{each}y", "timestamp": "2099-01-01T00:00:00Z"}))
            file.write("\n")
    bundle(run, tmp_path / "incident.zip", minutes=10_080)
    whole = "\n".join(read(tmp_path / "incident.zip").values())
    assert "test.leaked" in whole
    for each in (*spellings, "AAcanary", "EMULATORSECRET0001"):
        assert each not in whole


@pytest.mark.slow
def test_only_the_last_minutes(run: Path, tmp_path: Path) -> None:
    """Of all files that the log has turned over to, counted from its newest line."""
    lines = [
        {"event": f"at.{minute:03}", "timestamp": f"2099-01-01T{minute // 60:02}:{minute % 60:02}:00Z"}
        for minute in range(180)
    ]
    (run / "log.jsonl.1").write_text("".join(json.dumps(each) + "\n" for each in lines[:150]), encoding="utf-8")
    (run / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines[150:]), encoding="utf-8")
    assert bundle(run, tmp_path / "incident.zip", minutes=60)["log"] == 61
    first = read(tmp_path / "incident.zip")["log.jsonl"].splitlines()[0]
    assert json.loads(first)["event"] == "at.119"


@pytest.mark.slow
def test_a_ruined_ledger_is_noted_and_the_rest_is_kept(run: Path, tmp_path: Path) -> None:
    """It is for days when something is broken."""
    (run / "ledger.sqlite").write_bytes(b"ruined" * 1_000)
    told = bundle(run, tmp_path / "incident.zip")
    assert told["log"] > 0
    assert "ledger" in read(tmp_path / "incident.zip")["notes.txt"]


def test_there_is_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="runs/latest"):
        bundle(tmp_path, tmp_path / "incident.zip")
