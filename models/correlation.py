"""How assets move together: a matrix that is a correlation whatever the weights, and what it is trained by.

Each asset has a vector c of length below 1, made of its own token. Two assets correlate by the product of their vectors
and each with itself by 1: `R = s C C' + diag(1 - s |c|^2)` is symmetric, has ones on its diagonal and no eigenvalue
below 1 - s, and a shuffled panel gives the shuffled matrix. Attention between assets is no such thing, and is never
offered as one.
"""

import torch
from torch import Tensor, nn

from models.config import HeadConfig
from models.heads import Head, Lessons, register_head

# Shape letters in this file: X whatever stands in front, A asset, D width, H horizon, K factor.
_COMMON = 0.99  # s, the most of an asset's variance that it may share with others
_FAR = 3.0  # deviations: one wild return says no more of how assets move together than that


class Correlation(Head):
    """The correlation of the assets' returns, for each horizon; reads [..., A, D].

    It begins at one common factor, at which all assets correlate alike, by `s / 2`: a matrix without any would give the
    factors nothing to be drawn towards.
    """

    answers = ("correlation",)

    def __init__(self, cfg: HeadConfig, width: int) -> None:
        super().__init__(cfg, width, len(cfg.horizons) * cfg.factors)

    def fit_base(self, lessons: Lessons) -> None:
        # One common factor in the bias. The others begin small and unlike: at zero their gradients would be zero too.
        bias_HK = self.last.bias.view(len(self.cfg.horizons), self.cfg.factors)
        bias_HK[:, 0] = 1.0
        nn.init.normal_(self.last.weight, std=0.01)

    def forward(self, h_XAD: Tensor) -> dict[str, Tensor]:
        c_XHAK = self.per_horizon(h_XAD).transpose(-2, -3)
        c_XHAK = c_XHAK * torch.rsqrt(1 + c_XHAK.square().sum(dim=-1, keepdim=True))
        shared_XHAA = _COMMON * c_XHAK @ c_XHAK.transpose(-1, -2)
        own_XHA = 1 - shared_XHAA.diagonal(dim1=-2, dim2=-1)
        return {"correlation": shared_XHAA + torch.diag_embed(own_XHA)}


def among(correlation_XHAA: Tensor, there_XA: Tensor) -> Tensor:
    """Return the matrix in which assets that are not there correlate with nothing but themselves."""
    there = there_XA.to(correlation_XHAA.dtype)[..., None, :]
    kept = correlation_XHAA * there[..., :, None] * there[..., None, :]
    return kept + torch.diag_embed(1 - there)


def correlation_nll(z_XAH: Tensor, correlation_XHAA: Tensor) -> tuple[Tensor, Tensor]:
    """Return the negative log likelihood for each asset of normal returns with these correlations, and where it counts.

    Less what independence would have: zero says that the matrix explains no more than none. An asset whose return is
    not known (NaN) is left out; one alone says nothing.

    Args:
        z_XAH: returns in units of each asset's own deviation.
    """
    z_XHA = z_XAH.transpose(-1, -2)
    told_XHA = torch.isfinite(z_XHA)
    z_XHA = torch.where(told_XHA, z_XHA, 0.0).clamp(-_FAR, _FAR).to(correlation_XHAA.dtype)
    told = told_XHA.to(correlation_XHAA.dtype)
    kept = correlation_XHAA * told[..., :, None] * told[..., None, :] + torch.diag_embed(1 - told)
    lower = torch.linalg.cholesky(kept)
    log_det = 2 * lower.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    white = torch.linalg.solve_triangular(lower, z_XHA[..., None], upper=False)[..., 0]
    count = told.sum(dim=-1)
    more = 0.5 * (log_det + white.square().sum(dim=-1) - z_XHA.square().sum(dim=-1))
    return more / count.clamp(min=1), count > 1


register_head("correlation", Correlation)
