"""Settings of a training: a document of its own, with the sections of a replay that say where data comes from.

Read once from TOML and `--set`, checked, frozen, hashed into the artefact; an unknown key is refused.
"""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from bot.core.durations import Duration
from bot.runtime.market_settings import BarsSettings, FeatureSettings, MarketSettings
from bot.runtime.operator_settings import LogSettings
from bot.runtime.setting_files import check_settings, read_values
from bot.runtime.setting_types import Section, Time
from bot.runtime.settings import RunSettings, Settings

_DAY_NS = 86_400_000_000_000


class ModelSettings(Section):
    """Which network: a preset by name, or a whole configuration."""

    preset: str | None = Field("flagship-small", description="one of models/presets.py; empty where config is given")
    scales: tuple[str, ...] = Field(("5m", "1h", "1d"), min_length=1, description="the decisions' own scale first")
    horizons: tuple[str, ...] = Field(("5m", "1h", "1d"), min_length=1, description="what forecasts are of, ascending")
    lengths: tuple[int, ...] = Field((), description="bars of each scale, in place of the preset's")
    config: dict[str, Any] = Field(
        default_factory=dict, description="a ModelConfig; features left out are those of the schema"
    )

    @model_validator(mode="after")
    def _is_one(self) -> "ModelSettings":
        if (self.preset is None) == (not self.config):
            raise ValueError('give either a preset or a config; preset = "" leaves it out')
        return self


class LabelSettings(Section):
    """What is learned: log returns from the decision bar's close over each horizon, in a unit of their own size."""

    unit: str | tuple[str, ...] = Field(
        "ewma_volatility",
        description='the feature that tells a bar\'s deviation at the decision, by column name; "" for a fixed unit; '
        "several for a blend of their powers, fitted in training",
    )
    hole_max: Duration = Field(0, ge=0, description="longest hole in the data that a horizon may touch")
    fee_rate: float = Field(0.00055, ge=0, lt=0.01, description="each way, for labels that know costs")
    spread_bps: float = Field(1.0, ge=0, lt=1000, description="between best bid and ask, for labels that know costs")
    barrier: float = Field(2.0, gt=0, le=100, description="profit barrier of signal labels, in units; stop: half of it")
    regime_span: Duration = Field(_DAY_NS, gt=0, description="half-life of what regimes are told apart by")

    @property
    def units(self) -> tuple[str, ...]:
        """Return the columns of the unit, none for a fixed one."""
        if isinstance(self.unit, str):
            return (self.unit,) if self.unit else ()
        return self.unit


class SplitSettings(Section):
    """Who is trained on, chosen by, tested on, calibrated on; in this order of time, the hold-out last of all."""

    hold_out: Time = Field(None, description="decisions from here on are never touched; empty: nothing is held out")
    calibration: Duration = Field(14 * _DAY_NS, ge=0, description="for conformal offsets; 0s: no calibration")
    train: Duration = Field(60 * _DAY_NS, gt=0, description="least length of a training stretch")
    validation: Duration = Field(14 * _DAY_NS, gt=0, description="to stop early and to choose by")
    test: Duration = Field(14 * _DAY_NS, gt=0, description="to judge each fold by")
    expanding: bool = Field(True, description="train on all before, or on a stretch that rolls along")
    folds: int = Field(1, ge=1, le=100, description="how many of the newest folds; the newest one becomes the artefact")
    embargo: Duration = Field(_DAY_NS, ge=0, description="distance between stretches beyond the labels' own")


class NormaliserSettings(Section):
    """How features are brought to one size; fitted on the training stretch alone."""

    kind: Literal["robust", "standard"] = Field("robust", description="median and quartiles, or mean and deviation")
    limit: float = Field(8.0, gt=0, le=1000, description="the greatest absolute value that a network sees")


class TrainingSettings(Section):
    """How to train."""

    seed: int = Field(1, ge=0, lt=2**63, description="of first weights, order and dropout")
    epochs: int = Field(5, ge=1, le=10_000)
    batch: int = Field(16, ge=1, le=1_000_000, description="windows, or stretches, a step")
    segment: int = Field(256, ge=1, le=1_000_000, description="decisions of a stretch, for systems that read stretches")
    thin: int = Field(1, ge=1, le=100_000, description="one of so many windows is in an epoch, others in the next")
    rate: float = Field(1e-3, gt=0, le=1, description="the greatest learning rate")
    rate_floor: float = Field(0.02, ge=0, le=1, description="the last one, in parts of the greatest")
    warm_up: float = Field(0.05, ge=0, lt=1, description="the part of all steps in which the rate grows")
    decay: float = Field(0.01, ge=0, le=1, description="of weights of linear maps; norms and biases never decay")
    clip: float = Field(1.0, gt=0, description="the longest gradient")
    mean_decay: float = Field(0.99, ge=0, lt=1, description="of the mean of the weights that is evaluated and kept")
    patience: int = Field(0, ge=0, description="evaluations without improvement before it ends; 0: never")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU that has it")
    recompute: bool = Field(False, description="less memory for a third more time")
    evaluate_every: int = Field(50, ge=1, description="steps")
    checkpoint_every: int = Field(200, ge=1, description="steps")
    checkpoint_interval: Duration = Field(300 * 10**9, gt=0, description="and at least so often")
    log_every: int = Field(10, ge=1, description="steps")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one")
    threads: int = Field(2, ge=1, le=1024, description="of the CPU; another number rounds otherwise")
    cache: Path = Field(Path("data/panels"), description="where computed features are kept")
    resamples: int = Field(1000, ge=100, le=100_000, description="of the bootstrap intervals of the test")
    expires: Duration | None = Field(None, description="how long after the newest data the artefact may be used")
    signing_key: Path | None = Field(None, description="Ed25519 private key, PEM, to sign the artefact with")


class TrainSettings(Section):
    """Everything a training can be told."""

    run: RunSettings = Field(default_factory=RunSettings)
    market: MarketSettings = Field(default_factory=MarketSettings)
    bars: BarsSettings = Field(default_factory=BarsSettings)
    features: FeatureSettings = Field(default_factory=FeatureSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    labels: LabelSettings = Field(default_factory=LabelSettings)
    split: SplitSettings = Field(default_factory=SplitSettings)
    normaliser: NormaliserSettings = Field(default_factory=NormaliserSettings)
    train: TrainingSettings = Field(default_factory=TrainingSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    def replay(self) -> Settings:
        """Return the part that a replay of the same data would have."""
        return Settings(run=self.run, market=self.market, bars=self.bars, features=self.features, log=self.log)

    def hash(self, *, without: Sequence[str] = ()) -> str:
        """Return a hash of all settings that can change weights or what is said of them."""
        skipped: Any = {
            "log": True,
            "run": {"out", "slab_rows"},
            "train": {
                *("cache", "log_every", "checkpoint_every", "checkpoint_interval", "signing_key", "expires"),
                *without,
            },
        }
        values = self.model_dump(mode="json", exclude=skipped)
        return hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()


def load_train(path: Path, overrides: Sequence[str] = ()) -> TrainSettings:
    """Read settings from a file and overrides such as `train.epochs=3`, the last winning.

    Raises:
        ConfigError: something is unknown or impossible; the message has a line for each problem.
    """
    values = read_values(path, overrides, example="train.seed=7", parse_float=float)
    model = values.get("model")
    if isinstance(model, dict) and model.get("preset") == "":
        model["preset"] = None
    return check_settings(TrainSettings, _exact(values), path)


def _exact(values: dict[str, Any]) -> dict[str, Any]:
    """Return the same with the market's numbers as the decimals that were written; floats would not be."""
    market = values.get("market")
    if isinstance(market, dict):
        values = values | {"market": _decimals(market)}
    return values


def _decimals(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict):
        return {key: _decimals(each) for key, each in value.items()}
    return [_decimals(each) for each in value] if isinstance(value, list) else value
