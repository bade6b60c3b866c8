"""`bot replay --bracket`: three runs of one market, one report that compares them, and no process left behind."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from bot.runtime.env import core_count
from tests.support.cli import ROOT, assert_refused, bot
from tests.support.replays import small_market

PRESETS = ("pessimistic", "neutral", "optimistic")


def sets(cwd: Path, *more: str, days: int = 3) -> list[str]:
    overrides = [*small_market(cwd / "market", days=days), "strategy.name=sma_cross", *more]
    return [part for text in overrides for part in ("--set", text)]


@pytest.fixture(scope="module")
def bracketed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """Make a bracket; return the directory it was made in, and that of each run."""
    cwd = tmp_path_factory.mktemp("bracket")
    done = bot("replay", *sets(cwd), "--seed", "3", "--bracket", cwd=cwd)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("fills ", "verdict "))]
    assert len(lines) == 2
    assert all(preset in lines[0] for preset in PRESETS)
    made = [path for path in (cwd / "runs").iterdir() if not path.is_symlink()]
    by_preset = {str(tomllib.loads((path / "config.toml").read_text())["venue"]["fills"]): path for path in made}
    assert len(made) == 3
    assert set(by_preset) == set(PRESETS)
    return cwd, by_preset


def metrics_of(run: Path) -> dict[str, object]:
    metrics: dict[str, object] = json.loads((run / "metrics.json").read_text(), parse_constant=pytest.fail)
    return metrics


def test_the_neutral_run_is_the_run_proper(bracketed: tuple[Path, dict[str, Path]]) -> None:
    """`runs/latest` means it, and it alone carries the bracket; all three are whole and balance."""
    cwd, made = bracketed
    assert (cwd / "runs" / "latest").resolve() == made["neutral"].resolve()
    for preset, run in made.items():
        assert bot("ledger", "check", str(run), cwd=cwd).returncode == 0
        assert (metrics_of(run)["fills_bracket"] is not None) == (preset == "neutral")
        assert metrics_of(run)["fill_model"] == preset


def test_the_bracket_holds_each_runs_own_figures(bracketed: tuple[Path, dict[str, Path]]) -> None:
    _, made = bracketed
    bracket = metrics_of(made["neutral"])["fills_bracket"]
    assert isinstance(bracket, dict)
    for preset, run in made.items():
        own, told = metrics_of(run), bracket[preset]
        assert (made["neutral"] / told["run"]).resolve() == run.resolve()
        for name in ("total_return", "end_equity", "sharpe", "max_drawdown", "orders", "fills", "fees", "maker_share"):
            assert told[name] == own[name], name
    assert len({bracket[preset]["ledger_hash"] for preset in PRESETS}) == 3


def test_the_report_links_runs_that_have_one(bracketed: tuple[Path, dict[str, Path]]) -> None:
    _, made = bracketed
    page = (made["neutral"] / "report.html").read_text(encoding="utf-8")
    for preset in ("pessimistic", "optimistic"):
        link = f"../{made[preset].name}/report.html"
        assert f'href="{link}"' in page
        assert (made["neutral"] / link).is_file()


@pytest.mark.parametrize("preset", PRESETS)
def test_fills_alone_is_the_same_run(preset: str, bracketed: tuple[Path, dict[str, Path]]) -> None:
    """A process of its own changes nothing: `--fills` gives the very ledger."""
    cwd, made = bracketed
    done = bot("replay", *sets(cwd), "--seed", "3", "--fills", preset, "--no-report", "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ledger_hash"] == metrics_of(made[preset])["ledger_hash"]


def test_the_report_is_drawn_anew_with_its_bracket(bracketed: tuple[Path, dict[str, Path]]) -> None:
    cwd, made = bracketed
    before = metrics_of(made["neutral"])
    assert bot("report", str(made["neutral"]), cwd=cwd).returncode == 0
    assert metrics_of(made["neutral"]) == before


@pytest.mark.parametrize("also", [["--fills", "neutral"], ["--no-report"], ["--check-lookahead"]])
def test_what_a_bracket_does_not_go_with(also: list[str], tmp_path: Path) -> None:
    assert_refused(bot("replay", *sets(tmp_path), "--bracket", *also, cwd=tmp_path), 2, "--bracket")
    assert not (tmp_path / "runs").exists()


def test_an_unknown_kind_of_fills_is_refused(tmp_path: Path) -> None:
    assert_refused(bot("replay", "--fills", "lucky", cwd=tmp_path), 2, "lucky", "neutral")
    assert_refused(bot("replay", "--set", "venue.fills=lucky", cwd=tmp_path), 2, "venue.fills", "neutral")


FAILING = """
from strategies.base import Strategy

class Failing(Strategy):
    name = "failing"

    def on_bar(self, bar):
        print("a strategy may print")
        if bar.close_ns > 1_704_100_000_000_000_000:
            raise RuntimeError("boom")
"""


@pytest.mark.slow
def test_a_strategy_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first failure ends all three and is told once; what a strategy prints gets into nobody's way.

    The settings that count are those of the command line, also where the environment says something else.
    """
    monkeypatch.setenv("BOT_DELAYS__SEED", "5")
    (tmp_path / "failing.py").write_text(FAILING)
    override = ("--set", "strategy.name=failing.py:Failing", "--set", "delays.seed=9")
    done = bot("replay", *sets(tmp_path), *override, "--bracket", cwd=tmp_path)
    assert_refused(done, 1, "boom", "log.jsonl", "fills: ")
    made = list((tmp_path / "runs").iterdir())
    assert made
    for run in made:
        assert not (run / "ledger.sqlite").exists()
        assert tomllib.loads((run / "config.toml").read_text())["delays"]["seed"] == 9


def living(cwd: Path) -> list[int]:
    """Return the processes that work in this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "cwd").readlink() == cwd:
                    found.append(int(entry.name))
            except OSError:  # it has ended, or is not ours
                continue
    return found


@pytest.fixture
def under_way(tmp_path: Path) -> subprocess.Popen[str]:
    """Start a bracket in a process of its own; as many of its replays as run at once have begun."""
    if not Path("/proc/self/cwd").exists():
        pytest.skip("needs /proc to see which processes are left")
    command = [sys.executable, "-m", "bot", "replay", *sets(tmp_path, "run.slab_rows=50", days=20), "--bracket"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("runs/*/log.jsonl"))) < min(3, core_count()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    return process


@pytest.mark.slow
def test_ctrl_c_ends_all_three(under_way: subprocess.Popen[str], tmp_path: Path) -> None:
    """One line that says where what was done is kept; nothing is taken for whole, and no process is left."""
    under_way.send_signal(signal.SIGINT)
    _, err = under_way.communicate(timeout=60)
    assert under_way.returncode == 1
    assert "Traceback" not in err
    assert "interrupted" in err
    assert not living(tmp_path)
    for run in (tmp_path / "runs").iterdir():
        assert not (run / "ledger.sqlite").exists()
        assert (run / "ledger.sqlite.part").exists()
        assert str(run.relative_to(tmp_path)) in err


@pytest.mark.slow
def test_replays_whose_parent_was_killed_end(under_way: subprocess.Popen[str], tmp_path: Path) -> None:
    """A process that nobody listens to stops at what it next has to say."""
    under_way.kill()
    under_way.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while living(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not list(tmp_path.glob("runs/*/ledger.sqlite"))
