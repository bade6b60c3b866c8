"""What networks are trained by: a loss for each head, weighted, masked, and balanced against one another.

`Objective.total(output, targets, weights)` is the one way in. Its rules:

* A target that is not known (NaN) is left out; it is never a zero, and no gradient passes where it stood.
* A loss is a weighted mean over what is known, so batches of other sizes and weights of other units say the same.
* Returns are learned in units of each horizon's own deviation, so that a day does not drown five minutes.
* Losses that cannot be negative are balanced by learned uncertainty; one that is a log likelihood or a utility already
  carries its own unit, and an uncertainty could make it as negative as it liked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bot.core.durations import parse_duration
from bot.domain.errors import ConfigError, DataError
from models.config import HeadConfig
from models.correlation import correlation_nll
from models.output import ModelOutput

# Shape letters in this file: X whatever stands in front ([B, T], or [B, T, A]), B row, T decision, A asset, H horizon,
# Q level, C class.

_UNCERTAINTY = (-8.0, 8.0)  # of learned log losses


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Targets:
    """What happened after each decision; NaN where it is not known. What no head learns may be left out."""

    returns_XH: Tensor | None = None  # log return over each horizon
    log_volatility_XH: Tensor | None = None  # log of the realised deviation over each horizon
    signal_XH: Tensor | None = None  # -1 sell, 0 hold, 1 buy: of the triple barrier, after costs
    drawdown_XH: Tensor | None = None  # deepest fall within each horizon, zero or more
    regime_XC: Tensor | None = None  # probability of each regime, by a label that knew no later than the decision
    step_returns_BTA: Tensor | None = None  # simple return from each decision to the next: what an allocation earns


@dataclass(frozen=True, kw_only=True, slots=True)
class Trading:
    """What an allocation is charged.

    Attributes:
        cost_rate: of what is traded, each way: fee, half the spread and slippage, a fraction.
        risk_aversion: of the squared return of a step; 1 is about the growth of equity.
        gross_max: the most that the absolute weights should sum to.
        unit: the size of a step's return, which utilities are divided by.
    """

    cost_rate: float = 0.0006
    risk_aversion: float = 1.0
    gross_max: float = 1.0
    unit: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("cost_rate", "risk_aversion", "gross_max", "unit"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (value == 0 and name in ("gross_max", "unit")):
                raise ConfigError(f"Trading.{name} = {value}: must be a number, 0 or more; gross_max and unit more")


def pinball(y_XH: Tensor, quantiles_XHQ: Tensor, levels: Sequence[float]) -> Tensor:
    """Return the mean pinball loss over the levels, [..., H]. Source: Koenker and Bassett 1978."""
    miss = y_XH[..., None] - quantiles_XHQ
    levels_Q = miss.new_tensor(levels)
    return torch.maximum(levels_Q * miss, (levels_Q - 1) * miss).mean(dim=-1)


def gaussian_nll(y_XH: Tensor, mean_XH: Tensor, log_var_XH: Tensor) -> Tensor:
    """Return the negative log likelihood of a normal distribution."""
    return 0.5 * (math.log(2 * math.pi) + log_var_XH + (y_XH - mean_XH).square() * torch.exp(-log_var_XH))


def student_nll(y_XH: Tensor, mean_XH: Tensor, log_var_XH: Tensor, dof_XH: Tensor) -> Tensor:
    """Return the negative log likelihood of a Student's t with squared scale `exp(log_var)`."""
    squared = (y_XH - mean_XH).square() * torch.exp(-log_var_XH)
    norm = torch.lgamma(dof_XH / 2) - torch.lgamma((dof_XH + 1) / 2) + 0.5 * torch.log(math.pi * dof_XH)
    return norm + 0.5 * log_var_XH + (dof_XH + 1) / 2 * torch.log1p(squared / dof_XH)


def qlike(log_realised_XH: Tensor, log_var_XH: Tensor) -> Tensor:
    """Return r - ln r - 1 with r realised over forecast variance, both given as logarithms. Source: Patton 2011."""
    log_ratio = log_realised_XH - log_var_XH
    return torch.exp(log_ratio) - log_ratio - 1


def direction(y_XH: Tensor, logit_XH: Tensor, dead_band: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of a rise, and where it counts: a return within the dead band is neither up nor down."""
    loss = F.binary_cross_entropy_with_logits(logit_XH, (y_XH > 0).to(logit_XH.dtype), reduction="none")
    return loss, y_XH.abs() > dead_band


def barrier(signal_XH: Tensor, logit_XH3: Tensor) -> Tensor:
    """Return the cross entropy of -1, 0, 1 as sell, hold, buy."""
    classes = (signal_XH.round() + 1).long().clamp(0, 2)
    return -torch.log_softmax(logit_XH3, dim=-1).gather(-1, classes[..., None])[..., 0]


def utility(
    weights_BTA: Tensor, step_returns_BTA: Tensor, trading: Trading, current_BA: Tensor | None = None
) -> Tensor:
    """Return what each step of an allocation is worth, [B, T], in units of a step's return.

    The step's net return, less risk aversion times half its square. It pays for what is traded to get from what was
    held, which has drifted with the market since the step before; the first step comes from `current_BA`, or from cash.
    A step earns its own return once: the returns are those until the next decision, not those of a longer horizon.
    """
    gained = weights_BTA * (1 + step_returns_BTA)
    gross_return = (weights_BTA * step_returns_BTA).sum(dim=-1)
    drifted = gained / (1 + gross_return).clamp(min=0.05)[..., None]
    first = torch.zeros_like(weights_BTA[:, 0]) if current_BA is None else current_BA.to(weights_BTA.dtype)
    held = torch.cat([first[:, None], drifted[:, :-1]], dim=1)
    net = gross_return - trading.cost_rate * (weights_BTA - held).abs().sum(dim=-1)
    over = (weights_BTA.abs().sum(dim=-1) - trading.gross_max).clamp(min=0)
    worth: Tensor = (net - trading.risk_aversion / 2 * net.square()) / trading.unit - over.square()
    return worth


class Objective(nn.Module):
    """The losses of all heads as one number.

    Args:
        heads: what the model is asked; `loss` of a head may name another loss than its kind's, see `LOSSES`.
        horizons: what the columns of the targets are of, ascending.
        scale_H: what returns of each horizon are divided by, such as their deviation over the training range: forecasts
            are in these units until `restore`.
        dead_band: log return within which a direction is neither.
        regime_balance: weight of the distance between the mean forecast of regimes and their mean frequency, without
            which a rare one may never be forecast.

    Raises:
        ConfigError: a head's horizon is not among the targets', or its loss does not exist.
    """

    def __init__(
        self,
        heads: Sequence[HeadConfig],
        *,
        horizons: Sequence[str],
        scale_H: Sequence[float] | None = None,
        trading: Trading | None = None,
        dead_band: float = 0.0,
        regime_balance: float = 0.1,
    ) -> None:
        super().__init__()
        self.heads, self.horizons = tuple(heads), tuple(horizons)
        self.trading = trading or Trading()
        self.dead_band, self.regime_balance = dead_band, regime_balance
        scale = [1.0] * len(self.horizons) if scale_H is None else list(scale_H)
        if len(scale) != len(self.horizons) or not all(math.isfinite(each) and each > 0 for each in scale):
            raise ConfigError(f"scale_H = {scale}: must be a number above 0 for each of {', '.join(self.horizons)}")
        self.register_buffer("scale_H", torch.tensor(scale, dtype=torch.float32))
        self.losses: list[str] = []
        self.columns: list[list[int]] = []
        uncertain = {}
        for number, head in enumerate(self.heads):
            loss = head.loss or _DEFAULT.get(head.kind, "")
            if loss not in LOSSES.get(head.kind, ()):
                known = ", ".join(LOSSES.get(head.kind, ())) or "none"
                raise ConfigError(f"HeadConfig.loss = {loss!r} of {head.kind!r}: choose of {known}")
            self.losses.append(loss)
            self.columns.append(self._columns(head) if head.kind not in ("regime", "allocation") else [])
            if loss not in _SIGNED:
                uncertain[str(number)] = nn.Parameter(torch.zeros(max(1, len(self.columns[-1]))))
        self.log_loss = nn.ParameterDict(uncertain)

    def total(
        self,
        output: ModelOutput,
        targets: Targets,
        weights_BT: Tensor | None = None,
        current_BA: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to descend, and what it is made of: the plain loss of each head and horizon, detached.

        Args:
            weights_BT: what each decision counts for, such as its uniqueness, [B, T] or [B, T, H]; None: all alike.
            current_BA: what is held before the first decision, for an allocation.

        Raises:
            DataError: a head has no target, or nothing at all is known.
        """
        parts: dict[str, Tensor] = {}
        sums: list[Tensor] = []
        for number, (head, loss) in enumerate(zip(self.heads, self.losses, strict=True)):
            shares = _weights(weights_BT, self.columns[number])
            means, names = self._head(number, loss, output, targets, shares, current_BA)
            known = torch.isfinite(means)
            if not bool(known.any()):
                continue
            parts |= {f"{head.kind}/{name}": mean.detach() for name, mean in zip(names, means, strict=True)}
            if str(number) in self.log_loss:
                spread = self.log_loss[str(number)].clamp(*_UNCERTAINTY)
                means = torch.where(known, means, 0.0) * torch.exp(-spread) + spread
            sums.append(head.weight * means[known].mean())
        if not sums:
            raise DataError("no target of this batch is known; leave such decisions out")
        return torch.stack(sums).sum(), {name: mean for name, mean in parts.items() if bool(torch.isfinite(mean))}

    def restore(self, output: ModelOutput) -> ModelOutput:
        """Return the forecasts as log returns: what was in units of each horizon's deviation is so no longer."""
        changed: dict[str, Tensor] = {}
        for head, columns in zip(self.heads, self.columns, strict=True):
            scale_H = self.get_buffer("scale_H")[columns]
            if output.mean is not None and head.kind in ("point", "gaussian", "student"):
                changed["mean"] = output.mean * scale_H
            if output.log_var is not None and head.kind in ("gaussian", "student"):
                changed["log_var"] = output.log_var + 2 * scale_H.log()
            if output.quantiles is not None and head.kind == "quantile":
                changed["quantiles"] = output.quantiles * scale_H[:, None]
            if output.log_volatility is not None and head.kind == "volatility":
                changed["log_volatility"] = output.log_volatility + scale_H.log()
            if output.value_at_risk is not None and head.kind == "risk":
                changed["value_at_risk"] = output.value_at_risk * scale_H[:, None]
            if output.drawdown is not None and head.kind == "drawdown":
                changed["drawdown"] = output.drawdown * scale_H[:, None]
        return replace(output, **changed)  # type: ignore[arg-type]

    def _columns(self, head: HeadConfig) -> list[int]:
        missing = [horizon for horizon in head.horizons if horizon not in self.horizons]
        if missing:
            raise ConfigError(f"head {head.kind!r}: no target is of {', '.join(missing)}; there are {self.horizons}")
        return [self.horizons.index(horizon) for horizon in head.horizons]

    def _head(
        self,
        number: int,
        loss: str,
        output: ModelOutput,
        targets: Targets,
        weights_BTH: Tensor | None,
        current_BA: Tensor | None,
    ) -> tuple[Tensor, Sequence[str]]:
        """Return the mean loss of each horizon of one head, NaN where nothing is known, and their names."""
        head, columns = self.heads[number], self.columns[number]
        if loss == "utility":
            return self._utility(output, targets, weights_BTH, current_BA)
        if loss == "regime":
            return self._regime(output, targets, weights_BTH)
        if loss == "barrier":
            target = _need(targets.signal_XH, "signal_XH", head)[..., columns]
            filled, known = _fill(target)
            return _means(barrier(filled, _need(output.signal_logit, "signal_logit", head)), known, weights_BTH), (
                head.horizons
            )
        if head.kind == "drawdown":
            fall, known = _fill(_need(targets.drawdown_XH, "drawdown_XH", head)[..., columns])
            z = fall / self.get_buffer("scale_H")[columns].to(fall.dtype)
            each = pinball(z, _need(output.drawdown, "drawdown", head), head.quantiles)
            return _means(each, known, weights_BTH), head.horizons
        if loss == "correlation":
            returns_XAH = _need(targets.returns_XH, "returns_XH", head)[..., columns]
            scale_H = self.get_buffer("scale_H")[columns].to(returns_XAH.dtype)
            correlation = _need(output.correlation, "correlation", head)
            each, known = correlation_nll(returns_XAH / scale_H, correlation)
            return _means(each, known, weights_BTH), head.horizons
        y, known = _fill(_need(targets.returns_XH, "returns_XH", head)[..., columns])
        scale_H = self.get_buffer("scale_H")[columns].to(y.dtype)
        z = y / scale_H
        if loss == "direction":
            each, moved = direction(y, _need(output.dir_logit, "dir_logit", head), self.dead_band)
            return _means(each, known & moved, weights_BTH), head.horizons
        if head.kind == "volatility":
            volatility, told = _fill(_need(targets.log_volatility_XH, "log_volatility_XH", head)[..., columns])
            ours = _need(output.log_volatility, "log_volatility", head)
            return _means(qlike(2 * (volatility - scale_H.log()), 2 * ours), told, weights_BTH), head.horizons
        if loss == "pinball" and head.kind == "risk":
            each = pinball(-z, _need(output.value_at_risk, "value_at_risk", head), head.quantiles)
        elif loss == "pinball":
            each = pinball(z, _need(output.quantiles, "quantiles", head), head.quantiles)
        else:
            mean = _need(output.mean, "mean", head)
            log_var = output.log_var
            if loss == "squared":
                each = (z - mean).square()
            elif loss == "huber":
                each = F.huber_loss(mean, z, reduction="none")
            elif loss == "student":
                each = student_nll(z, mean, _need(log_var, "log_var", head), _need(output.dof, "dof", head))
            elif loss == "gaussian":
                each = gaussian_nll(z, mean, _need(log_var, "log_var", head))
            else:
                volatility, told = _fill(_need(targets.log_volatility_XH, "log_volatility_XH", head)[..., columns])
                realised = 2 * (volatility - scale_H.log())
                each, known = qlike(realised, _need(log_var, "log_var", head)), known & told
                each = each + (z - mean).square()
        return _means(each, known, weights_BTH), head.horizons

    def _regime(
        self, output: ModelOutput, targets: Targets, weights_BTH: Tensor | None
    ) -> tuple[Tensor, Sequence[str]]:
        head = next(each for each in self.heads if each.kind == "regime")
        logit = _need(output.regime_logit, "regime_logit", head)
        share, told = _fill(_need(targets.regime_XC, "regime_XC", head))
        known = told.all(dim=-1)
        log_probability = torch.log_softmax(logit, dim=-1)
        mean = _means(-(share * log_probability).sum(dim=-1)[..., None], known[..., None], weights_BTH)
        if self.regime_balance and bool(known.any()):
            counts = known.to(logit.dtype)[..., None]
            often = (share * counts).flatten(0, -2).sum(dim=0) / counts.sum()
            said = (log_probability.exp() * counts).flatten(0, -2).sum(dim=0) / counts.sum()
            mean = mean + self.regime_balance * (torch.xlogy(often, often) - often * said.clamp(min=1e-12).log()).sum()
        return mean, ("class",)

    def _utility(
        self, output: ModelOutput, targets: Targets, weights_BTH: Tensor | None, current_BA: Tensor | None
    ) -> tuple[Tensor, Sequence[str]]:
        head = next(each for each in self.heads if each.kind == "allocation")
        weights_BTA = _need(output.weights, "weights", head)
        steps, told = _fill(_need(targets.step_returns_BTA, "step_returns_BTA", head))
        # An asset whose return is not known cannot be judged: it is as if it were not held.
        worth = utility(weights_BTA * told, steps, self.trading, current_BA)
        return _means(-worth[..., None], told.any(dim=-1, keepdim=True), weights_BTH), ("step",)


def horizons_of(heads: Sequence[HeadConfig]) -> tuple[str, ...]:
    """Return every horizon that is asked for, the nearest first."""
    return tuple(sorted({each for head in heads for each in head.horizons}, key=parse_duration))


LOSSES: Mapping[str, tuple[str, ...]] = {
    "point": ("huber", "squared"),
    "gaussian": ("gaussian", "qlike"),
    "student": ("student",),
    "quantile": ("pinball",),
    "volatility": ("qlike",),
    "direction": ("direction",),
    "signal3": ("barrier",),
    "regime": ("regime",),
    "risk": ("pinball",),
    "drawdown": ("pinball",),
    "correlation": ("correlation",),
    "allocation": ("utility",),
}
_DEFAULT = {kind: losses[0] for kind, losses in LOSSES.items()}
_SIGNED = ("gaussian", "student", "utility", "correlation")  # may be negative, so no uncertainty weighs them


def _fill(target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the target with zeros where it is not known, and where it is known."""
    known = torch.isfinite(target)
    return torch.where(known, target, 0.0), known


def _means(each_XH: Tensor, known_XH: Tensor, weights_BTH: Tensor | None) -> Tensor:
    """Return the weighted mean of what is known for each horizon, [H]; NaN where nothing is."""
    share = known_XH.to(each_XH.dtype)
    if weights_BTH is not None:
        while weights_BTH.dim() < share.dim():  # all assets of a decision count alike
            weights_BTH = weights_BTH[..., None, :]
        share = share * weights_BTH.to(share.dtype)
    share, each = share.flatten(0, -2), torch.where(known_XH, each_XH, 0.0).flatten(0, -2)
    count = share.sum(dim=0)
    # Divided by one and not by zero where nothing is known: the gradient of 0 / 0 is NaN even if nobody asks for it.
    mean = (share * each).sum(dim=0) / torch.where(count > 0, count, 1.0)
    return torch.where(count > 0, mean, torch.nan)


def _weights(weights: Tensor | None, columns: Sequence[int]) -> Tensor | None:
    """Return [B, T, H] of a head's horizons, or [B, T, 1] for all of them."""
    if weights is None:
        return None
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise DataError("a weight is negative, NaN or infinite")
    if weights.dim() == 2:
        return weights[..., None]
    return weights[..., list(columns)] if columns else weights.mean(dim=-1, keepdim=True)


def _need(found: Tensor | None, name: str, head: HeadConfig) -> Tensor:
    if found is None:
        raise DataError(f"the loss of head {head.kind!r} needs {name}, and it is not there")
    return found
