"""`bot evaluate`: trained models on months that they have not seen, and refusals of those that they have."""

import json
from pathlib import Path

import pytest

from models.evaluation.trials import read_trials
from tests.support.cli import assert_refused, bot

CONFIG = """
[market.sample]
days = 20
trades_per_day = 3000
[bars]
scales = ["5m"]
[features]
use = ["log_return", "volatility(50)", "ewma_volatility", "time_of_day('sin')"]
[model]
preset = "dlinear-small"
scales = ["5m"]
lengths = [24]
horizons = ["15m", "1h"]
[labels]
unit = ["ewma_volatility_0_94", "volatility_50"]
[split]
train = "3d"
validation = "2d"
test = "2d"
calibration = "3d"
embargo = "6h"
hold_out = 2024-01-16
[train]
epochs = 1
batch = 128
evaluate_every = 5
threads = 1
resamples = 100
"""
REPLAY = """
[market.sample]
days = 20
trades_per_day = 3000
[bars]
scales = ["5m"]
[strategy]
name = "multiscale"
[strategy.params]
scale = "5m"
horizon = "1h"
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory in which two models were trained, of two seeds."""
    directory = tmp_path_factory.mktemp("evaluate")
    (directory / "train.toml").write_text(CONFIG)
    (directory / "replay.toml").write_text(REPLAY)
    for seed in (1, 2):
        done = bot("train", "--config", "train.toml", "--set", f"train.seed={seed}", cwd=directory)
        assert done.returncode == 0, done.stderr
    return directory


def models(here: Path) -> list[str]:
    return sorted(each.name for each in (here / "artifacts").glob("dlinear-*"))


@pytest.mark.slow
def test_models_are_judged_beside_baselines_on_what_they_hold_out(here: Path) -> None:
    """Tables for people, the same as JSON, charts; each look at the hold-out is counted, the leak alarm is loud."""
    command = ("evaluate", *models(here), "--config", "train.toml", "--resamples", "200", "--out", "found")
    done = bot(*command, cwd=here)
    results = json.loads((here / "found" / "results.json").read_text())
    leaks = [each for each in results["findings"] if each["verdict"] == "leak"]
    assert done.returncode == (1 if leaks else 0), done.stderr  # the sample market's trends are no market's
    assert ("treat it as a leak" in done.stderr) == bool(leaks)
    names = [each["model"] for each in results["models"]]
    assert names == [*models(here), "naive", "base", "ewma", "har", "last_sign", "ridge", "logistic", "lightgbm"]
    from_ns = min(each["from_ns"] for each in results["models"])
    assert from_ns >= 1_705_363_200_000_000_000  # 2024-01-16
    first = results["models"][0]["horizons"][1]
    assert {"pinball", "qlike", "coverage_0.9", "interval_score_0.9", "rmse_ratio"} <= first["metrics"].keys()
    assert {"pinball", "qlike", "interval_score"} <= first["against"]["ewma"].keys()
    assert set(first["regimes"]) == {"calm", "usual", "wild"}
    assert "| Coverage of 0.9 | All | calm | usual | wild |" in done.stdout
    for chart in ("coverage.svg", "coverage-over-time.svg", "skill-qlike-over-har.svg"):
        assert (here / "found" / chart).read_text().startswith("<svg")
    assert "Coverage of the 90% interval" in (here / "found" / "coverage.svg").read_text()
    looked = read_trials(here / "artifacts").count
    again = bot(*command, "--no-baselines", "--json", cwd=here)
    assert json.loads(again.stdout)["baselines"] == []
    assert json.loads(again.stdout)["trials"] == looked + 2 == 4


@pytest.mark.slow
def test_the_same_evaluation_is_the_same_bytes(here: Path, tmp_path: Path) -> None:
    command = ("evaluate", models(here)[0], "--config", "train.toml", "--resamples", "100", "--baseline", "ewma")
    said = [bot(*command, "--json", "--trials", str(tmp_path / str(n)), cwd=here).stdout for n in range(2)]
    assert said[0] == said[1] != ""


@pytest.mark.slow
def test_what_a_model_has_seen_is_refused_or_marked(here: Path) -> None:
    """Training, selection and calibration are refused by name; with --in-sample the figures carry the mark."""
    command = ("evaluate", models(here)[0], "--config", "train.toml", "--resamples", "100", "--no-baselines")
    looked = read_trials(here / "artifacts").count
    assert_refused(
        bot(*command, "--from", "2024-01-04", cwd=here), 2, "touches its training and selection and calibration"
    )
    assert_refused(bot(*command, "--from", "2024-01-15T12:00", cwd=here), 2, "touches its calibration")
    assert read_trials(here / "artifacts").count == looked  # nothing was looked at
    done = bot(*command, "--from", "2024-01-04", "--to", "2024-01-06", "--in-sample", "--json", cwd=here)
    assert json.loads(done.stdout)["models"][0]["model"].endswith("(in-sample)")


@pytest.mark.slow
def test_models_are_traded_through_the_replay(here: Path) -> None:
    """What a model earned net of costs stands in the results, beside buying and holding; or that it never traded."""
    done = bot(
        *("evaluate", models(here)[0], "--config", "train.toml", "--resamples", "100", "--no-baselines"),
        *("--trade", "replay.toml", "--out", "traded"),
        cwd=here,
    )
    assert done.returncode in (0, 1), done.stderr
    strategies = json.loads((here / "traded" / "results.json").read_text())["strategies"]
    assert "buy and hold" in strategies
    assert (models(here)[0] in strategies) != ("never held anything" in done.stdout)


@pytest.mark.slow
def test_wrong_wishes_are_refused_in_a_line(here: Path) -> None:
    command = ("evaluate", models(here)[0], "--config", "train.toml")
    assert_refused(bot(*command, "--from", "yesterday", cwd=here), 2, "--from yesterday")
    assert_refused(bot(*command, "--from", "2024-01-18", "--to", "2024-01-17", cwd=here), 2, "ends before it begins")
    assert_refused(bot(*command, "--from", "2030-01-01", cwd=here), 2, "no decision to judge")
    assert_refused(bot(*command, "--baseline", "oracle", cwd=here), 2, "'oracle': there is none here")
    assert_refused(bot("evaluate", "lstm", "--config", "train.toml", cwd=here), 2, "no such model")
    assert_refused(bot(*command, "--set", "market.sample.days=12", cwd=here), 2, "no decision to judge in that stretch")
