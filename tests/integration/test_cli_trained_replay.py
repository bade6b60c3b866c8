"""From a market to a model to a replay by it, with the commands that a user types."""

import json
from pathlib import Path

import pytest

from tests.integration.test_cli_train import CONFIG
from tests.support.cli import bot

MARKET = ("market.sample.days=16", "market.sample.trades_per_day=3000", 'bars.scales=["5m"]')
CHOSEN = ("predictor.kind=artifact", 'strategy.params={horizon="1h", scale="5m", cost_bps=0, kelly_fraction=1}')


def replayed(here: Path, *overrides: str) -> dict[str, object]:
    arguments = [part for each in (*MARKET, *CHOSEN, *overrides) for part in ("--set", each)]
    done = bot("replay", "--json", *arguments, cwd=here)
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


@pytest.mark.slow
def test_a_trained_model_is_replayed_in_sample_and_out(tmp_path: Path) -> None:
    """Trained, put to use, replayed over what it was shown, which is marked, and over the hold-out, which is not."""
    (tmp_path / "train.toml").write_text(CONFIG)
    trained = bot("train", "--config", "train.toml", "--json", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    model = json.loads(trained.stdout)["model"]
    assert bot("models", "use", model, cwd=tmp_path).returncode == 0
    assert "multiscale, portfolio" in bot("models", "list", cwd=tmp_path).stdout
    shown, held = replayed(tmp_path), replayed(tmp_path, "run.start=2024-01-15T12:00:00Z")
    for said in (shown, held):
        assert said["model_hash"] == model
        assert said["in_sample"] is (said is shown)
