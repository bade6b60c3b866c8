"""Normalisation: of tokens inside a network, and of a network's inputs.

`make_norm` gives what stands between layers; it sees one token at a time, so it streams. Of the input norms, `RevIN`
and `GatedInstanceNorm` use the window's own mean and deviation: each new bar changes what the same past bar looks like,
so nothing behind them can stream. `CausalStandardizer` uses the past alone, and does.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.attention.masks import Padding

_EPS = 1e-6
_ROUNDING = 1e-9  # a deviation that is less than this part of the mean is float64's own error
_BLOCK = 256  # bars that are averaged with one matrix product


def make_norm(kind: Literal["rms", "layer"], width: int) -> nn.Module:
    """Return a norm of the last axis: by its root mean square, or by its mean and deviation with a shift."""
    return nn.RMSNorm(width, eps=_EPS) if kind == "rms" else nn.LayerNorm(width, eps=_EPS)


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceStats:
    """What a window was normalised by."""

    mean_B1F: Tensor
    std_B1F: Tensor


class RevIN(nn.Module):
    """Centre and scale each feature of each window by itself, and undo it later.

    Args:
        floor: the least deviation: a feature that is constant over its window becomes zeros, not noise.

    Source: Kim et al. (ICLR 2022).
    """

    def __init__(self, features: int, *, floor: float = 1e-5) -> None:
        super().__init__()
        self.floor = floor
        self.gain_F = nn.Parameter(torch.ones(features))
        self.shift_F = nn.Parameter(torch.zeros(features))

    def forward(self, x_BLF: Tensor, padding: Padding | None = None) -> tuple[Tensor, InstanceStats]:
        """Return the normalised window and what it was normalised by; padding counts for nothing."""
        if padding is None:
            mean = x_BLF.mean(dim=1, keepdim=True)
            variance = (x_BLF - mean).square().mean(dim=1, keepdim=True)
        else:
            share = padding.valid_BL.to(x_BLF.dtype)
            share = (share / share.sum(dim=1, keepdim=True))[..., None]
            x_BLF = padding.fill(x_BLF)
            mean = (x_BLF * share).sum(dim=1, keepdim=True)
            variance = ((x_BLF - mean).square() * share).sum(dim=1, keepdim=True)
        stats = InstanceStats(mean_B1F=mean, std_B1F=variance.sqrt().clamp(min=self.floor))
        return (x_BLF - mean) / stats.std_B1F * self.gain_F + self.shift_F, stats

    def inverse(self, y_BX: Tensor, stats: InstanceStats, feature: int) -> Tensor:
        """Return outputs in the units of one input feature: the target's own, whichever that is."""
        y_BX = (y_BX - self.shift_F[feature]) / self.gain_F[feature]
        return y_BX * stats.std_B1F[:, :, feature] + stats.mean_B1F[:, :, feature]


class GatedInstanceNorm(nn.Module):
    """Let each value choose between itself and its normalised form: g * x + (1 - g) * norm(x), g = sigmoid(W x).

    Half and half at first.
    """

    def __init__(self, features: int, *, floor: float = 1e-5) -> None:
        super().__init__()
        self.norm = RevIN(features, floor=floor)
        self.gate = nn.Linear(features, features)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, x_BLF: Tensor, padding: Padding | None = None) -> tuple[Tensor, InstanceStats]:
        """Return the window, more or less normalised, and the statistics of its values."""
        if padding is not None:
            x_BLF = padding.fill(x_BLF)
        normed, stats = self.norm(x_BLF, padding)
        gate = torch.sigmoid(self.gate(x_BLF))
        return gate * x_BLF + (1 - gate) * normed, stats


@dataclass(frozen=True, kw_only=True, slots=True)
class StandardState:
    """What has been seen of each row's features, in float64."""

    weight_R1: Tensor  # sum of the weights of all that was seen: 1 - decay ** count
    mean_RF: Tensor
    spread_RF: Tensor  # weighted sum of squared deviations

    def pick(self, rows_B: Tensor) -> "StandardState":
        """Return the state of some rows."""
        return StandardState(
            weight_R1=self.weight_R1[rows_B], mean_RF=self.mean_RF[rows_B], spread_RF=self.spread_RF[rows_B]
        )

    def put(self, rows_B: Tensor, new: "StandardState") -> None:
        """Replace the state of some rows."""
        self.weight_R1[rows_B], self.mean_RF[rows_B] = new.weight_R1, new.mean_RF
        self.spread_RF[rows_B] = new.spread_RF

    def clear(self, rows_B: Tensor) -> None:
        """Make some rows as if nothing had been seen."""
        for tensor in (self.weight_R1, self.mean_RF, self.spread_RF):
            tensor[rows_B] = 0


class CausalStandardizer(nn.Module):
    """Centre and scale each value by the exponentially weighted mean and deviation of its feature until then.

    The weights are those of what was seen, so the first bars are not drawn to zero. The first bar, and a feature that
    never moves, give zeros (to 1e-6: a value is never divided by less than a billionth of its mean).

    Args:
        halflife: bars until an observation weighs half.
        floor: the least deviation.
    """

    def __init__(self, features: int, *, halflife: float, floor: float = 1e-8) -> None:
        super().__init__()
        self.features, self.halflife, self.floor = features, halflife, floor
        self._log_decay = -math.log(2) / halflife

    @property
    def warm_up(self) -> int:
        """Return after how many bars what was before them weighs less than a thousandth."""
        return math.ceil(10 * self.halflife)

    def empty(self, rows: int, device: torch.device) -> StandardState:
        """Return the state of having seen nothing."""
        nothing = torch.zeros(rows, self.features, dtype=torch.float64, device=device)
        return StandardState(weight_R1=nothing[:, :1].clone(), mean_RF=nothing, spread_RF=nothing.clone())

    def forward(self, x_BLF: Tensor, state: StandardState | None = None) -> tuple[Tensor, StandardState]:
        """Return the standardised values, and the state after them.

        The mean is a running sum of values, and the spread one of (x - mean before)(x - mean after), which is never
        negative; a block of each is one product with a triangle of decays.
        """
        if state is None:
            state = self.empty(x_BLF.shape[0], x_BLF.device)
        outs = []
        for start in range(0, x_BLF.shape[1], _BLOCK):
            x = x_BLF[:, start : start + _BLOCK].double()
            made, state = self._block(x, state)
            outs.append(made.to(x_BLF.dtype))
        return torch.cat(outs, dim=1) if len(outs) > 1 else outs[0], state

    def _block(self, x: Tensor, state: StandardState) -> tuple[Tensor, StandardState]:
        length, alpha = x.shape[1], -math.expm1(self._log_decay)
        step = torch.arange(length, dtype=torch.float64, device=x.device)
        decays = torch.exp(self._log_decay * (step[:, None] - step)).tril()
        carry_L1 = torch.exp(self._log_decay * (step + 1))[:, None]
        weight_BL1 = state.weight_R1[:, None] * carry_L1 - torch.expm1(self._log_decay * (step + 1))[:, None]
        sums = decays @ (alpha * x) + (state.weight_R1 * state.mean_RF)[:, None] * carry_L1
        mean = sums / weight_BL1
        # Before the very first value there is no mean; that value is its own.
        first = torch.where(state.weight_R1 > 0, state.mean_RF, mean[:, 0])
        before = torch.cat([first[:, None], mean[:, :-1]], dim=1)
        spread = decays @ (alpha * (x - before) * (x - mean)) + state.spread_RF[:, None] * carry_L1
        deviation = (spread / weight_BL1).clamp(min=0).sqrt().clamp(min=self.floor)
        deviation = torch.maximum(deviation, _ROUNDING * mean.abs())
        after = StandardState(weight_R1=weight_BL1[:, -1], mean_RF=mean[:, -1], spread_RF=spread[:, -1])
        return (x - mean) / deviation, after
