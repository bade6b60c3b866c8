"""`bot models` as a user types it: what a model costs, one decision drawn, a network written for another program."""

import json
from pathlib import Path

import pytest

from tests.support.cli import assert_refused, bot
from tests.support.replays import small_market
from tests.support.served import write_served


def _market(tmp_path: Path) -> list[str]:
    return [word for each in small_market(tmp_path / "market") for word in ("--set", each)]


def test_show_says_what_a_decision_costs(tmp_path: Path) -> None:
    name = write_served(tmp_path / "artifacts", "dlinear").name
    shown = bot("models", "show", name, cwd=tmp_path)
    assert "floating-point, for one decision from nothing" in shown.stdout
    told = json.loads(bot("models", "show", name, "--json", cwd=tmp_path).stdout)
    assert told["operations"] > 2 * 2 * 13 * 3 * 16
    assert f"{told['manifest']['model']['parameters']:,} parameters" in bot("models", "list", cwd=tmp_path).stdout


@pytest.mark.parametrize(("system", "bars"), [("flagship", ("5m", "15m", "1h")), ("lstm", ("5m",))])
def test_one_decision_is_drawn(system: str, bars: tuple[str, ...], tmp_path: Path) -> None:
    """The newest decision before --at, its scales, and parts that explain the answer; the page stands alone."""
    write_served(tmp_path / "artifacts", system, bars=bars)
    arguments = ["models", "attention", system, *_market(tmp_path), "--at", "2024-01-02T12:00", "--json"]
    done = bot(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["decision"].startswith("2024-01-02 11:5")
    assert list(told["scales"]) == list(bars)
    assert sum(told["scales"].values()) == pytest.approx(1, abs=1e-3)
    page = Path(told["page"]).read_text(encoding="utf-8")
    assert all(f"Attention over {bar} bars" in page for bar in bars)
    assert "these parts explain" in page
    assert "http-equiv" in page
    figures = json.loads(page.partition('id="figures">')[2].partition("</script>")[0])
    added = [sum(figures[f"moved-{number}"]["data"][0]["y"]) for number in range(len(bars))]
    assert any(added)


def test_too_little_data_is_said(tmp_path: Path) -> None:
    write_served(tmp_path / "artifacts", "flagship", bars=("5m", "15m", "1h"))
    done = bot("models", "attention", "flagship", *_market(tmp_path), "--at", "2024-01-01T03:30", cwd=tmp_path)
    assert_refused(done, 1, "1h", "a decision needs")


def test_a_network_is_written_for_another_program(tmp_path: Path) -> None:
    write_served(tmp_path / "artifacts", "dlinear")
    done = bot("models", "export", "dlinear", "--format", "torch-export", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (Path(told["directory"]) / "model.pt2").stat().st_size > 1_000
    assert_refused(bot("models", "export", "dlinear", "--format", "joblib", cwd=tmp_path), 2, "choose of torch-export")
