"""Heads: from the trunk's vector to an answer, one class a kind.

Each reads [..., D] and returns the fields of `ModelOutput` that it answers, whatever the shape in front; so the same
head serves a window, a pass over history, and tokens of assets. To add a kind, write a class and register it.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bot.domain.errors import ConfigError
from models.config import HeadConfig
from models.output import ModelOutput

# Shape letters in this file: X whatever stands in front, D width of the trunk, H horizon, Q level, A asset, C class.

_LOG_VAR = (-16.0, 8.0)  # standardised targets: deviations of 3e-4 to 55


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
    """Mean and variance, for each horizon."""

    answers = ("mean", "log_var")

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, 2 * len(cfg.horizons))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        mean, log_var = self.raw(h_XD).chunk(2, dim=-1)
        return {"mean": mean, "log_var": log_var.clamp(*_LOG_VAR)}


class Student(Head):
    """A Student's t, whose tails are the market's: mean, scale and degrees of freedom, for each horizon."""

    answers = ("mean", "log_var", "dof")

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, 3 * len(cfg.horizons))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        mean, log_var, dof = self.raw(h_XD).chunk(3, dim=-1)
        # Two and less have no variance.
        return {"mean": mean, "log_var": log_var.clamp(*_LOG_VAR), "dof": 2.01 + F.softplus(dof + 1)}


class Quantile(Head):
    """Quantiles that cannot cross: the median, and steps that are never negative up and down from it.

    Begins as the quantiles of a standard normal, which is what standardised targets are about.

    Raises:
        ConfigError: the levels lack the median.
    """

    answers = ("quantiles",)

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        levels = cfg.quantiles
        if 0.5 not in levels:
            raise ConfigError(f"HeadConfig.quantiles = {list(levels)}: the head starts from the median; add 0.5")
        super().__init__(cfg, width, len(cfg.horizons) * len(levels))
        self.median = levels.index(0.5)
        normal = [NormalDist().inv_cdf(level) for level in levels]
        steps = [_inverse_softplus(high - low) for low, high in itertools.pairwise(normal)]
        start = torch.tensor([*steps[: self.median], 0.0, *steps[self.median :]])
        with torch.no_grad():
            self.last.bias.copy_(start.repeat(len(cfg.horizons)))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        raw = self.per_horizon(h_XD)
        median = raw[..., self.median : self.median + 1]
        down = F.softplus(raw[..., : self.median]).flip(-1).cumsum(-1).flip(-1)
        up = F.softplus(raw[..., self.median + 1 :]).cumsum(-1)
        return {"quantiles": torch.cat([median - down, median, median + up], dim=-1)}


class Direction(Head):
    """The logit of a positive return, for each horizon; logits, because a probability saturates in a half."""

    answers = ("dir_logit",)

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, len(cfg.horizons))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        return {"dir_logit": self.raw(h_XD)}


class Signal3(Head):
    """Logits of sell, hold and buy, for each horizon; by labels that know the costs."""

    answers = ("signal_logit",)

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, 3 * len(cfg.horizons))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        return {"signal_logit": self.per_horizon(h_XD)}


class Regime(Head):
    """Logits of the regime that the market is in."""

    answers = ("regime_logit",)

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, cfg.classes)

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        return {"regime_logit": self.raw(h_XD)}


class Risk(Head):
    """Value at risk: the loss that is exceeded with probability 1 - level, for each horizon and level.

    A log return with its sign turned, zero or more, and never less at a higher level. It is of a long position; of a
    short one ask for the returns' quantiles.
    """

    answers = ("value_at_risk",)

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, len(cfg.horizons) * len(cfg.quantiles))

    def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
        steps = F.softplus(self.per_horizon(h_XD))
        return {"value_at_risk": steps.cumsum(-1)}


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


def _inverse_softplus(value: float) -> float:
    return math.log(math.expm1(value))


register_head("point", Point)
register_head("gaussian", Gaussian)
register_head("student", Student)
register_head("quantile", Quantile)
register_head("direction", Direction)
register_head("signal3", Signal3)
register_head("regime", Regime)
register_head("risk", Risk)
register_head("allocation", Allocation)
