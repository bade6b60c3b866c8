"""What is learned: which label columns a model's heads need, and how a batch of them becomes a loss and a score.

Returns are learned in the unit of `models.normalizer.TargetUnit`, log volatilities relative to it, so that every head
speaks of numbers about 1 in size; `ModelOutput` comes in the same unit.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from bot.core.durations import format_duration, parse_duration
from bot.domain.errors import ConfigError
from bot.domain.market import F64, I64
from models.config import HeadConfig
from models.heads import Head, Lessons
from models.losses import Objective, Targets, horizons_of, pinball
from models.normalizer import TargetUnit
from models.output import ModelOutput
from models.regimes import MEASURES, Regimes, kinds_of
from models.training.samples import SampleSet

# Shape letters in this file: N sample, B row, T decision, K column, H horizon.
UNIT = "unit"  # the columns of what is known of the volatility at each decision: unit_0, unit_1, ...
STEP = "step"  # the log return to the next decision
_FORECASTS = ("quantile", "student", "gaussian", "point")


class Syllabus:
    """The columns that some heads learn.

    Args:
        heads: what the model is asked.
        decision_ns: the length of the decision bars.

    Raises:
        ConfigError: a head learns what no label tells.
    """

    def __init__(self, heads: Sequence[HeadConfig], *, decision_ns: int) -> None:
        kinds = {head.kind for head in heads}
        if "correlation" in kinds:
            raise ConfigError("a correlation is between assets, and a training gathers one at a time; leave it out")
        self.classes = next((head.classes for head in heads if head.kind == "regime"), 0)
        if self.classes:
            kinds_of(self.classes)
        self.horizons = horizons_of(heads)
        self.horizons_ns = tuple(parse_duration(each) for each in self.horizons)
        self.decision_ns = decision_ns
        self.wants_barriers = "signal3" in kinds
        self.wants_steps = "allocation" in kinds
        self.wants_drawdowns = "drawdown" in kinds
        self._spans = tuple(format_duration(each) for each in self.horizons_ns)

    def rows_of(self, samples: SampleSet, kind: str) -> F64:
        """Return [N, H], the labels of one kind."""
        columns = [samples.target_names.index(f"{kind}_{span}") for span in self._spans]
        return samples.targets[:, columns]

    def volatility_of(self, samples: SampleSet, columns: Sequence[str]) -> F64 | None:
        """Return [N, K], what the unit is made of; None for a fixed unit."""
        at = [samples.target_names.index(f"{UNIT}_{number}") for number in range(len(columns))]
        return samples.targets[:, at] if at else None

    def measures_of(self, samples: SampleSet) -> F64:
        """Return [N, 2], what regimes are told apart by."""
        return samples.targets[:, [samples.target_names.index(name) for name in MEASURES]]

    def taught(self, samples: SampleSet, unit: TargetUnit, regimes: Regimes | None = None) -> SampleSet:
        """Return the samples with targets in their unit, and regimes in place of what they are told apart by."""
        unit_NH = unit.of(self.volatility_of(samples, unit.columns), len(samples))
        targets = samples.targets.copy()
        for number, span in enumerate(self._spans):
            for kind in ("return", "log_volatility"):
                column = samples.target_names.index(f"{kind}_{span}")
                if kind == "return":
                    targets[:, column] /= unit_NH[:, number]
                else:
                    targets[:, column] -= np.log(unit_NH[:, number])
            if self.wants_drawdowns:
                targets[:, samples.target_names.index(f"drawdown_{span}")] /= unit_NH[:, number]
        names = samples.target_names
        if regimes is not None:
            kept = [at for at, name in enumerate(names) if name not in MEASURES]
            targets = np.column_stack([targets[:, kept], regimes.of(self.measures_of(samples))])
            names = (*(names[at] for at in kept), *_regime_names(regimes.classes))
        return replace(samples, targets=targets, target_names=names)


class Teacher(nn.Module):
    """A `models.losses.Objective` that reads batches of label columns.

    Args:
        heads: what the model is asked.
        syllabus: what the labels are.
        names: the label columns.
    """

    def __init__(self, heads: Sequence[HeadConfig], syllabus: Syllabus, names: Sequence[str]) -> None:
        super().__init__()
        self.objective = Objective(heads, horizons=syllabus.horizons)
        index = {name: at for at, name in enumerate(names)}
        spans = [format_duration(each) for each in syllabus.horizons_ns]
        self._returns = [index[f"return_{span}"] for span in spans]
        self._volatilities = [index[f"log_volatility_{span}"] for span in spans]
        self._signals = [index[f"barrier_{span}"] for span in spans] if syllabus.wants_barriers else None
        self._step = index[STEP] if syllabus.wants_steps else None
        self._drawdowns = [index[f"drawdown_{span}"] for span in spans] if syllabus.wants_drawdowns else None
        self._regimes = [index[name] for name in _regime_names(syllabus.classes)] or None
        forecasting = next((head for kind in _FORECASTS for head in heads if head.kind == kind), None)
        self._score_head = None if forecasting is None or forecasting.kind != "quantile" else forecasting
        self._score_columns = (
            []
            if self._score_head is None
            else [self._returns[syllabus.horizons.index(each)] for each in self._score_head.horizons]
        )

    def forward(self, output: ModelOutput, targets_BTK: Tensor, weights_BT: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts."""
        return self.objective.total(output, self._targets(targets_BTK), weights_BT)

    @torch.no_grad()
    def score(self, output: ModelOutput, targets_BTK: Tensor, weights_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum and the number of what to choose by: pinball where there are quantiles, else the plain losses.

        Learned uncertainties have no part in it: they would let a score fall that got no better.
        """
        count = weights_BT.sum()
        if self._score_head is not None and output.quantiles is not None:
            y_BTH = targets_BTK[..., self._score_columns]
            each_BT = pinball(y_BTH, output.quantiles, self._score_head.quantiles).mean(dim=-1)
            return (each_BT * weights_BT).sum(), count
        _, parts = self.objective.total(output, self._targets(targets_BTK), weights_BT)
        return torch.stack(list(parts.values())).mean() * count, count

    def _targets(self, targets_BTK: Tensor) -> Targets:
        return Targets(
            returns_XH=targets_BTK[..., self._returns],
            log_volatility_XH=targets_BTK[..., self._volatilities],
            signal_XH=None if self._signals is None else targets_BTK[..., self._signals],
            drawdown_XH=None if self._drawdowns is None else targets_BTK[..., self._drawdowns],
            regime_XC=None if self._regimes is None else targets_BTK[..., self._regimes],
            step_returns_BTA=None if self._step is None else torch.expm1(targets_BTK[..., [self._step]]),
        )


def _regime_names(classes: int) -> tuple[str, ...]:
    return tuple(f"regime_{number}" for number in range(classes))


def forecasting_head(heads: Sequence[HeadConfig]) -> HeadConfig | None:
    """Return the head whose answers become quantiles of the return; None where there is none."""
    return next((head for kind in _FORECASTS for head in heads if head.kind == kind), None)


def begin(model: nn.Module, syllabus: Syllabus, samples: SampleSet, rows: I64) -> None:
    """Make every head of a model begin at its base: what the training targets are without looking at any input.

    Args:
        samples: with targets in their unit.
        rows: those trained on.
    """
    wanted = {"barrier": syllabus.wants_barriers, "drawdown": syllabus.wants_drawdowns}
    kinds = ("return", "log_volatility", *(kind for kind, is_wanted in wanted.items() if is_wanted))
    known = {kind: syllabus.rows_of(samples, kind)[rows] for kind in kinds}
    at = [samples.target_names.index(name) for name in _regime_names(syllabus.classes)]
    regime_NC = samples.targets[rows][:, at] if at else None
    for head in model.modules():
        if isinstance(head, Head):
            columns = [syllabus.horizons.index(each) for each in head.cfg.horizons]
            head.begin(
                Lessons(
                    returns_NH=known["return"][:, columns],
                    log_volatility_NH=known["log_volatility"][:, columns],
                    signal_NH=known["barrier"][:, columns] if "barrier" in known else None,
                    drawdown_NH=known["drawdown"][:, columns] if "drawdown" in known else None,
                    regime_NC=regime_NC,
                )
            )
