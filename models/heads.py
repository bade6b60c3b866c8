"""Heads: from the trunk's vector to an answer, one class a kind.

Each reads [..., D] and returns the fields of `ModelOutput` that it answers, whatever the shape in front; so the same
head serves a window, a pass over history, and tokens of assets. To add a kind, write a class and register it.

Training begins with a head that says nothing of its own (`begin`): its last layer is zero, and what it answers is its
*base*, buffers that are fitted to the training targets and kept with the weights. What is learned is a correction of
that. In units of the volatility the base of `Quantile` is the baseline of volatility-scaled quantiles, so that is where
a network starts from, and what it falls back to where it has learned nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bot.domain.errors import ConfigError
from bot.domain.market import F64
from models.config import HeadConfig
from models.output import ModelOutput

# Shape letters in this file: X whatever stands in front, D width of the trunk, H horizon, Q level, A asset, C class, N
# row of training.

_LOG_VAR = (-16.0, 8.0)  # standardised targets: deviations of 3e-4 to 55
_LOG_SCALE = 3.0  # a correction makes a spread 20 times wider or narrower at most
_STEP_LEAST = 1e-6  # between two quantiles of the base, in units


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lessons:
    """Training targets that a head's base is fitted to, in units; NaN where one is not known."""

    returns_NH: F64
    log_volatility_NH: F64
    signal_NH: F64 | None = None  # -1 sell, 0 hold, 1 buy
    drawdown_NH: F64 | None = None  # zero or more
    regime_NC: F64 | None = None  # probability of each regime


class Head(nn.Module):
    """The base: layers between the trunk and the answer.

    Attributes:
        answers: the fields of `ModelOutput` that this kind gives.
    """

    answers: tuple[str, ...] = ()

    def __init__(self, cfg: HeadConfig, width: int, outputs: int) -> None:
        super().__init__()
        self.cfg = cfg
        layers: list[nn.Module] = []
        for hidden in cfg.hidden:
            layers += [nn.Linear(width, hidden), nn.GELU()]
            width = hidden
        self.last = nn.Linear(width, outputs)
        self.trunk = nn.Sequential(*layers)

    @torch.no_grad()
    def begin(self, lessons: Lessons) -> None:
        """Fit the base to training targets of this head's horizons, and say nothing else yet."""
        self.last.weight.zero_()
        self.last.bias.zero_()
        self.fit_base(lessons)

    def fit_base(self, lessons: Lessons) -> None:
        """Fit the base; kinds that begin at zero have none."""

    def raw(self, h_XD: Tensor) -> Tensor:
        """Return the numbers the answer is made of, in float32 at least: sums and exponentials follow."""
        made: Tensor = self.last(self.trunk(h_XD))
        return made.to(torch.promote_types(made.dtype, torch.float32))

    def per_horizon(self, h_XD: Tensor) -> Tensor:
        """Return the same numbers as [..., H, Q]."""
        raw = self.raw(h_XD)
        return raw.reshape(*raw.shape[:-1], len(self.cfg.horizons), -1)

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        """Return the answers by field."""
        raise NotImplementedError


class Point(Head):
    """The expected return, for each horizon."""

    answers = ("mean",)

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, len(cfg.horizons))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        return {"mean": self.raw(h_XD)}


class Gaussian(Head):
    """Mean and variance, for each horizon; the base is no change and the targets' own variance."""

    answers = ("mean", "log_var")
    base_H: Tensor

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, 2 * len(cfg.horizons))
        self.register_buffer("base_H", torch.zeros(len(cfg.horizons)))

    def fit_base(self, lessons: Lessons) -> None:
        self.base_H.copy_(torch.from_numpy(_log_variance(lessons.returns_NH)))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        mean, log_var = self.raw(h_XD).chunk(2, dim=-1)
        return {"mean": mean, "log_var": (self.base_H.to(log_var.dtype) + log_var).clamp(*_LOG_VAR)}


class Student(Head):
    """A Student's t, whose tails are the market's: mean, scale and degrees of freedom, for each horizon.

    The base is no change, and the scale at which a t with the first degrees of freedom has the targets' variance.
    """

    answers = ("mean", "log_var", "dof")
    base_H: Tensor

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, 3 * len(cfg.horizons))
        self.register_buffer("base_H", torch.zeros(len(cfg.horizons)))

    def fit_base(self, lessons: Lessons) -> None:
        dof = 2.01 + math.log1p(math.exp(1.0))
        self.base_H.copy_(torch.from_numpy(_log_variance(lessons.returns_NH) + math.log((dof - 2) / dof)))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        mean, log_var, dof = self.raw(h_XD).chunk(3, dim=-1)
        log_var = (self.base_H.to(log_var.dtype) + log_var).clamp(*_LOG_VAR)
        # Two and less have no variance.
        return {"mean": mean, "log_var": log_var, "dof": 2.01 + F.softplus(dof + 1)}


class Volatility(Head):
    """The log of the deviation over each horizon: base plus correction.

    The base is the one number that forecasts the realised variance best by QLIKE: half the log of its mean.
    """

    answers = ("log_volatility",)
    base_H: Tensor

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, len(cfg.horizons))
        self.register_buffer("base_H", torch.zeros(len(cfg.horizons)))

    def fit_base(self, lessons: Lessons) -> None:
        variance_H = np.nanmean(np.exp(2 * lessons.log_volatility_NH), axis=0)
        self.base_H.copy_(torch.from_numpy(0.5 * np.log(variance_H)))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        return {"log_volatility": self.base_H + self.raw(h_XD).clamp(-_LOG_SCALE, _LOG_SCALE)}


class Quantile(Head):
    """Quantiles that cannot cross: the median, and steps up and down from it that are above zero.

    The base is the quantiles of the training targets, at first those of a standard normal. Learned are a shift of the
    median, one log scale of all steps, and a log scale of each: quiet and wild times differ in the one, tails in the
    other. A correction of zero is the base.

    Raises:
        ConfigError: the levels lack the median.
    """

    answers = ("quantiles",)
    base_HQ: Tensor  # the steps between neighbours, and the median in its place

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        levels = cfg.quantiles
        if 0.5 not in levels:
            raise ConfigError(f"HeadConfig.quantiles = {list(levels)}: the head starts from the median; add 0.5")
        super().__init__(cfg, width, len(cfg.horizons) * (1 + len(levels)))
        self.median = levels.index(0.5)
        normal = np.array([NormalDist().inv_cdf(level) for level in levels])
        self.register_buffer("base_HQ", torch.zeros(len(cfg.horizons), len(levels)))
        self._set(np.broadcast_to(normal, (len(cfg.horizons), len(levels))))

    def fit_base(self, lessons: Lessons) -> None:
        self._set(np.nanquantile(lessons.returns_NH, np.array(self.cfg.quantiles), axis=0).T)

    def _set(self, quantiles_HQ: F64) -> None:
        steps_HQ = np.maximum(np.diff(quantiles_HQ, axis=1), _STEP_LEAST)
        made_HQ = np.insert(steps_HQ, self.median, quantiles_HQ[:, self.median], axis=1)
        self.base_HQ.copy_(torch.from_numpy(made_HQ))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        raw = self.per_horizon(h_XD)
        base_HQ = self.base_HQ.to(raw.dtype)
        scale, each = raw[..., :1], raw[..., 1:]
        steps = base_HQ * torch.exp((scale + each).clamp(-_LOG_SCALE, _LOG_SCALE))
        at = self.median
        median = base_HQ[:, at : at + 1] + each[..., at : at + 1]
        down = steps[..., :at].flip(-1).cumsum(-1).flip(-1)
        up = steps[..., at + 1 :].cumsum(-1)
        return {"quantiles": torch.cat([median - down, median, median + up], dim=-1)}


class Direction(Head):
    """The logit of a positive return, for each horizon; logits, because a probability saturates in a half."""

    answers = ("dir_logit",)

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, len(cfg.horizons))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        return {"dir_logit": self.raw(h_XD)}


class Signal3(Head):
    """Logits of sell, hold and buy, for each horizon; by labels that know the costs. The base is how often each was."""

    answers = ("signal_logit",)
    base_HC: Tensor

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, 3 * len(cfg.horizons))
        self.register_buffer("base_HC", torch.zeros(len(cfg.horizons), 3))

    def fit_base(self, lessons: Lessons) -> None:
        if lessons.signal_NH is None:
            return
        counts_CH = np.stack([(lessons.signal_NH == signal).sum(axis=0) for signal in (-1, 0, 1)])
        share_HC = ((counts_CH + 1) / (counts_CH + 1).sum(axis=0)).T  # none is impossible because it never was
        self.base_HC.copy_(torch.from_numpy(np.log(share_HC)))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        raw = self.per_horizon(h_XD)
        return {"signal_logit": self.base_HC.to(raw.dtype) + raw}


class Regime(Head):
    """Logits of the regime that the market is in; begins at how often each was."""

    answers = ("regime_logit",)

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, cfg.classes)

    def fit_base(self, lessons: Lessons) -> None:
        if lessons.regime_NC is not None:
            # In the bias and not beside it: how often a regime is in training is no scale that must stay.
            share_C = np.maximum(np.nanmean(lessons.regime_NC, axis=0), 1e-6)
            self.last.bias.copy_(torch.from_numpy(np.log(share_C)))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        return {"regime_logit": self.raw(h_XD)}


class Risk(Head):
    """Value at risk: the loss that is exceeded with probability 1 - level, for each horizon and level.

    A log return with its sign turned, zero or more, and never less at a higher level. It is of a long position; of a
    short one ask for the returns' quantiles. The base is the quantiles of the losses in training.
    """

    answers = ("value_at_risk",)
    base_HQ: Tensor  # steps from zero up

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, len(cfg.horizons) * len(cfg.quantiles))
        normal = np.array([NormalDist().inv_cdf(level) for level in cfg.quantiles])
        self.register_buffer("base_HQ", torch.zeros(len(cfg.horizons), len(cfg.quantiles)))
        self._set(np.broadcast_to(normal, (len(cfg.horizons), len(cfg.quantiles))))

    def losses(self, lessons: Lessons) -> F64 | None:
        """Return what the base is the quantiles of, [N, H]; None where it is not known."""
        return -lessons.returns_NH

    def fit_base(self, lessons: Lessons) -> None:
        losses_NH = self.losses(lessons)
        if losses_NH is not None:
            self._set(np.nanquantile(losses_NH, np.array(self.cfg.quantiles), axis=0).T)

    def _set(self, losses_HQ: F64) -> None:
        steps_HQ = np.maximum(np.diff(np.maximum(losses_HQ, 0.0), axis=1, prepend=0.0), _STEP_LEAST)
        self.base_HQ.copy_(torch.from_numpy(steps_HQ))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        raw = self.per_horizon(h_XD)
        steps = self.base_HQ.to(raw.dtype) * torch.exp(raw.clamp(-_LOG_SCALE, _LOG_SCALE))
        return {self.answers[0]: steps.cumsum(-1)}


class Drawdown(Risk):
    """The deepest fall within the horizon that is exceeded with probability 1 - level, for each horizon and level."""

    answers = ("drawdown",)

    def losses(self, lessons: Lessons) -> F64 | None:
        return lessons.drawdown_NH


class Allocation(Head):
    """Shares of equity over the assets of [..., A, D].

    "long_only": a softmax over the assets and cash, times the gross limit, so holding nothing is a choice.
    "signed": any side; where the absolute shares sum to more than the limit, all are scaled down to it.
    """

    answers = ("weights",)

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, 1)
        self.cash = nn.Parameter(torch.zeros(1))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        scores_XA, gross = self.raw(h_XD)[..., 0], self.cfg.gross
        if self.cfg.side == "long_only":
            cash = self.cash.to(scores_XA.dtype).expand(*scores_XA.shape[:-1], 1)
            return {"weights": gross * torch.softmax(torch.cat([scores_XA, cash], dim=-1), dim=-1)[..., :-1]}
        total = scores_XA.abs().sum(dim=-1, keepdim=True)
        return {"weights": scores_XA * (gross / total.clamp(min=gross))}


class Heads(nn.Module):
    """All that a model is asked, on one trunk.

    Raises:
        ConfigError: a kind does not exist, or two heads give the same answer.
    """

    def __init__(self, cfgs: Sequence[HeadConfig], width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(build_head(cfg, width) for cfg in cfgs)
        given: dict[str, str] = {}
        for head, cfg in zip(self.heads, cfgs, strict=True):
            for answer in head.answers if isinstance(head, Head) else ():
                if answer in given:
                    raise ConfigError(
                        f"heads {given[answer]!r} and {cfg.kind!r} both give {answer}; ask for one of them"
                    )
                given[answer] = cfg.kind

    def forward(
        self, h_XD: Tensor, *, importance: Tensor | None = None, aux: Mapping[str, Tensor] | None = None
    ) -> ModelOutput:
        """Return the answers to all that was asked."""
        answers: dict[str, Tensor] = {}
        for head in self.heads:
            answers |= head(h_XD)
        return ModelOutput(**answers, importance=importance, aux=aux or {})


_KINDS: dict[str, Callable[[HeadConfig, int], Head]] = {}


def register_head(name: str, make: Callable[[HeadConfig, int], Head]) -> None:
    """Make a kind known by its name.

    Raises:
        ValueError: the name is taken.
    """
    if name in _KINDS:
        raise ValueError(f"two kinds of head are called {name!r}")
    _KINDS[name] = make


def build_head(cfg: HeadConfig, width: int) -> Head:
    """Return the head that a configuration describes.

    Raises:
        ConfigError: there is no such kind, or it cannot be so.
    """
    if cfg.kind not in _KINDS:
        raise ConfigError(f"HeadConfig.kind: there is no {cfg.kind!r}; choose of {', '.join(sorted(_KINDS))}")
    return _KINDS[cfg.kind](cfg, width)


def _log_variance(returns_NH: F64) -> F64:
    made: F64 = np.log(np.nanmean(returns_NH**2, axis=0))
    return made


register_head("point", Point)
register_head("gaussian", Gaussian)
register_head("student", Student)
register_head("quantile", Quantile)
register_head("volatility", Volatility)
register_head("direction", Direction)
register_head("signal3", Signal3)
register_head("regime", Regime)
register_head("risk", Risk)
register_head("drawdown", Drawdown)
register_head("allocation", Allocation)
