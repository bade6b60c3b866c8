"""From what a network says to quantiles of the log return: the one form in which a forecast leaves inference.

A network that gives quantiles is taken at its word. One that gives a place and perhaps a spread (a point, a Gaussian, a
Student's t) is given the quantiles that its errors had, (y - mean) / spread, on a stretch it was not trained on: no
shape of the tails is assumed.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bot.domain.errors import ConfigError
from bot.domain.market import F64
from models.output import ModelOutput

# Shape letters in this file: X whatever stands in front, N decision, H horizon, Q level.


def can_forecast(output: ModelOutput) -> bool:
    """Return whether it says how far the price may go."""
    return output.quantiles is not None or output.mean is not None


def place_and_spread(output: ModelOutput) -> tuple[Tensor, Tensor]:
    """Return the mean and the spread [..., H] of a network that gives no quantiles; the spread of a point is 1.

    Raises:
        ConfigError: it gives neither.
    """
    if output.mean is None:
        raise ConfigError("the model has no head that forecasts returns; add one: quantile, student, gaussian or point")
    if output.log_var is None:
        return output.mean, torch.ones_like(output.mean)
    return output.mean, torch.exp(output.log_var / 2)


def fit_residual(
    mean_NH: F64, spread_NH: F64, target_NH: F64, levels: Sequence[float]
) -> tuple[tuple[float, ...], ...]:
    """Return [H][Q], the quantiles of (target - mean) / spread of each horizon."""
    z_NH = (target_NH - mean_NH) / spread_NH
    made_QH = np.quantile(z_NH, np.array(levels), axis=0)
    return tuple(tuple(float(value) for value in column) for column in made_QH.T)


def quantiles_of(output: ModelOutput, residual: Sequence[Sequence[float]] | None) -> Tensor:
    """Return the quantiles [..., H, Q] in units of the targets.

    Raises:
        ConfigError: the network gives no quantiles, and there are no residuals to make some of.
    """
    if output.quantiles is not None:
        return output.quantiles
    mean, spread = place_and_spread(output)
    if residual is None:
        raise ConfigError("the model gives no quantiles, and how wrong it was has not been measured")
    shape_HQ = torch.tensor(residual, dtype=mean.dtype, device=mean.device)
    return mean[..., None] + spread[..., None] * shape_HQ
