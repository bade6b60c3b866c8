"""What a window that is normalised by itself forgets: where its features stood, and how much they moved."""

import torch
from torch import Tensor, nn

from models.attention.masks import Padding

_FLOOR = 1e-5  # of a deviation, as the window norms have it


class WindowScale(nn.Module):
    """A vector made of each feature's mean and log deviation over the window.

    Without it no quantile behind a window norm can be wider in wild times than in quiet ones.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(2 * features, width)

    def forward(self, x_BLF: Tensor, padding: Padding | None = None) -> Tensor:
        """Return [B, D]; padding counts for nothing."""
        valid = torch.ones_like(x_BLF[..., :1]) if padding is None else padding.valid_BL[..., None].to(x_BLF.dtype)
        share = valid / valid.sum(dim=1, keepdim=True)
        mean = (x_BLF * share).sum(dim=1, keepdim=True)
        deviation = ((x_BLF - mean).square() * share).sum(dim=1).clamp(min=_FLOOR**2).sqrt()
        made: Tensor = self.read(torch.cat([mean[:, 0], deviation.log()], dim=-1))
        return made
