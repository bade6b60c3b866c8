"""`bot train` and `bot models`, from a market to an artefact in use."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from bot.app.train import Watch
from bot.runtime.env import StopFlag
from bot.runtime.train_settings import load_train
from tests.support.cli import ROOT, assert_refused, bot
from tests.support.tiny_artifacts import write_artifact

CONFIG = """
[market.sample]
days = 16
trades_per_day = 3000
[bars]
scales = ["5m"]
[features]
use = ["longctx", "ewma_volatility"]
[model]
preset = "dlinear"
scales = ["5m"]
lengths = [24]
horizons = ["15m", "1h"]
[split]
train = "3d"
validation = "2d"
test = "2d"
calibration = "3d"
embargo = "6h"
hold_out = 2024-01-16
folds = 2
[train]
epochs = 2
batch = 128
evaluate_every = 5
checkpoint_every = 3
log_every = 1
threads = 1
resamples = 100
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """Return a directory in which a model was trained, and what the command said."""
    here = tmp_path_factory.mktemp("train")
    (here / "train.toml").write_text(CONFIG)
    done = bot("train", "--config", "train.toml", "--json", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "fold 2 of 2" in done.stderr
    return here, json.loads(done.stdout)


@pytest.mark.slow
def test_a_model_is_trained_judged_and_kept(trained: tuple[Path, dict[str, object]]) -> None:
    """It is in the store, verified, with folds judged beside baselines, and the hold-out in none of its stretches."""
    here, said = trained
    shown = json.loads(bot("models", "show", str(said["model"]), "--json", cwd=here).stdout)
    split = shown["manifest"]["split"]
    assert split["train"][1] < split["validation"][0] < split["validation"][1] < split["test"][0]
    assert split["test"][1] < split["calibration"][0]
    assert split["calibration"][1] <= split["hold_out_from_ns"]
    folds = shown["manifest"]["results"]["folds"]
    assert [fold["fold"] for fold in folds] == [1, 2]
    assert set(folds[0]["pinball"]) == {"model", "naive", "naive_by_volatility"}
    assert len(shown["manifest"]["calibration"]["offsets"]["values"]) == 2
    assert not list((here / "artifacts").rglob("checkpoints"))
    assert list((here / "artifacts").rglob("metrics.jsonl"))
    verified = bot("models", "verify", cwd=here)
    assert verified.returncode == 0
    assert "computes the same function" in verified.stdout


@pytest.mark.slow
def test_interrupted_and_resumed_comes_to_the_same_weights(
    trained: tuple[Path, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within the second fold, refused without --resume, and gone on with: the same weights, bit for bit."""
    here, said = trained
    copy_of(here, tmp_path)
    stop_at_stage("fold 2 of 2", 20, monkeypatch)
    done = bot("train", "--config", "train.toml", cwd=tmp_path)
    monkeypatch.undo()
    assert_refused(done, 1, "of fold 2 of 2; its checkpoint is kept: add --resume")
    assert_refused(bot("train", "--config", "train.toml", cwd=tmp_path), 2, "half done", "--resume")
    assert_refused(
        bot("train", "--config", "train.toml", "--set", "train.seed=9", "--resume", cwd=tmp_path),
        2,
        "nothing to resume",
    )
    again = json.loads(bot("train", "--config", "train.toml", "--resume", "--json", cwd=tmp_path).stdout)
    mine = load_file(tmp_path / again["path"] / "weights.safetensors")
    theirs = load_file(here / str(said["path"]) / "weights.safetensors")
    assert mine.keys() == theirs.keys()
    assert all(mine[name].equal(theirs[name]) for name in mine)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["features", "judging"])
def test_stopped_outside_of_the_steps_and_resumed(
    trained: tuple[Path, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Before the first step nothing is lost that could be kept; after the last one all training is."""
    here, said = trained
    copy_of(here, tmp_path)
    if stage == "features":
        shutil.rmtree(tmp_path / "data/panels")
    stop_at_stage(stage, 1, monkeypatch)
    done = bot("train", "--config", "train.toml", cwd=tmp_path)
    monkeypatch.undo()
    has_trained = stage == "judging"
    assert_refused(done, 1, f"stopped at {stage}; ", "add --resume" if has_trained else "give the same command")
    assert not list(tmp_path.glob("artifacts/*/manifest.json"))
    again = bot("train", "--config", "train.toml", "--json", *["--resume"] * has_trained, cwd=tmp_path)
    mine = load_file(tmp_path / json.loads(again.stdout)["path"] / "weights.safetensors")
    theirs = load_file(here / str(said["path"]) / "weights.safetensors")
    assert all(mine[name].equal(theirs[name]) for name in mine)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_within_seconds_and_in_a_line(
    trained: tuple[Path, dict[str, object]], tmp_path: Path, number: int
) -> None:
    """Also while it judges, with a bootstrap that would go on for hours: what is trained is kept, and said to be."""
    here, _ = trained
    copy_of(here, tmp_path)
    words = ["train", "--config", "train.toml", "--set", "train.resamples=100000", "--set", "split.folds=1"]
    with subprocess.Popen(
        [sys.executable, "-m", "bot", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("judging"):
                process.send_signal(number)
    assert said[-1] == "bot: stopped at judging; its checkpoint is kept: add --resume to go on\n", said
    assert process.returncode == 1


def copy_of(here: Path, there: Path) -> None:
    for name in ("data", "train.toml"):
        (shutil.copytree if (here / name).is_dir() else shutil.copy)(here / name, there / name)  # type: ignore[operator]


def stop_at_stage(stage: str, asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let someone ask a training to stop when it looks for the so-manieth time within a stage."""
    looks, at, tell = 0, "", Watch.progress

    def progress(watch: Watch, stage: str, part: float, text: str) -> None:
        nonlocal at
        at = stage
        tell(watch, stage, part, text)

    def is_set(flag: StopFlag) -> bool:
        nonlocal looks
        looks += at == stage
        return looks >= asked

    monkeypatch.setattr(Watch, "progress", progress)
    monkeypatch.setattr(StopFlag, "is_set", property(is_set))


def test_models_list_use_and_roll_back(tmp_path: Path) -> None:
    """A refused model is listed with its reason, is never used, and leaves the one in use alone."""
    store = tmp_path / "artifacts"
    first, second, third = (write_artifact(store, seed=seed) for seed in range(3))
    spoiled = bytearray((third / "weights.safetensors").read_bytes())
    spoiled[-1] ^= 1
    (third / "weights.safetensors").write_bytes(spoiled)
    # The small models have expired; the list and the hashes do not mind, use does.
    listed = bot("models", "list", cwd=tmp_path)
    assert listed.returncode == 0
    assert f"{third.name}  REFUSED: " in listed.stdout
    assert first.name in listed.stdout
    assert_refused(bot("models", "use", third.name, cwd=tmp_path), 1, "not the bytes that were written")
    assert_refused(bot("models", "use", second.name, cwd=tmp_path), 1, "expired")
    assert not (store / "CURRENT").exists()
    result = json.loads(bot("models", "list", "--json", cwd=tmp_path).stdout)
    assert [each["model"] for each in result] == sorted([first.name, second.name, third.name])
    assert_refused(bot("models", "rollback", cwd=tmp_path), 2, "no model was in use before")
    assert_refused(bot("models", "show", "nothing", cwd=tmp_path), 2, "no such model")


@pytest.mark.slow
def test_a_trained_model_is_used(trained: tuple[Path, dict[str, object]]) -> None:
    here, said = trained
    name = str(said["model"])
    assert bot("models", "use", name, cwd=here).stdout == f"current: {name}\n"
    assert f"* {name}" in bot("models", "list", cwd=here).stdout
    assert json.loads(bot("models", "show", "current", "--json", cwd=here).stdout)["model"] == name


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=3", ("train.epoch: no such key", "epochs")),
        ("model.preset=nothing", ("preset 'nothing'", "flagship-small")),
        ("model.horizons=['7']", ("horizons", "no duration")),
        ("features.use=['nope']", ("no feature is named nope",)),
        ("labels.unit=nothing", ("labels.unit", "no columns are called so")),
        ("split.train='400d'", ("walk-forward needs",)),
        ("train.device=cuda", ("torch sees no GPU",)),
    ],
)
def test_what_a_user_can_get_wrong_is_one_line(tmp_path: Path, override: str, words: tuple[str, ...]) -> None:
    (tmp_path / "train.toml").write_text(CONFIG)
    done = bot("train", "--config", "train.toml", "--set", override, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("train-*.toml")), ids=lambda path: path.stem)
def test_the_shipped_configurations_can_be_built(path: Path) -> None:
    """Each is read, its features exist, and its network is one."""
    from bot.app.train import model_config
    from bot.app.training_data import training_schema
    from models import registry

    settings = load_train(path)
    assert registry.describe(model_config(settings, training_schema(settings))).parameters > 0
