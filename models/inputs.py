"""What a network is told: of every stream the rows up to some time, and when the decisions are taken.

Every system is `forward(inputs) -> ModelOutput`, with answers for T decision times of each of B rows. A window system
answers once (T = 1) for windows that end at its decision. A streaming system answers at every decision time of a long
stretch in one pass; a row counts for a decision only if it was known by then.

Nothing here takes a row's number for a time: rows carry when they closed and from when on they may be seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bot.domain.errors import DataError
from models.attention.masks import Padding
from models.config import ScaleConfig

# Shape letters in this file: B row of the batch (an instrument, a window), L bar, V asset or level of the book, F
# feature, T decision, A asset.

NEVER_NS = 2**62  # from when on padding may be seen


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaleInput:
    """The rows of one stream, the oldest first.

    Attributes:
        x_BLF: the features; [B, L, V, F] where every bar holds several assets or levels of the book.
        close_ns_BL: when each bar closes, int64, ascending.
        known_ns_BL: from when on it may be seen, int64, ascending, never before the close.
        valid_BL: which rows are real; padding comes after them. None: all are.
        present_BLV: which assets or levels there are at each bar; None: all.

    Raises:
        ValueError: shapes or types disagree.
        DataError: times go back, a row is known before it closes, or a real value is not finite.
    """

    x_BLF: Tensor
    close_ns_BL: Tensor
    known_ns_BL: Tensor
    valid_BL: Tensor | None = None
    present_BLV: Tensor | None = None

    def __post_init__(self) -> None:
        shape = self.x_BLF.shape
        if len(shape) not in (3, 4) or 0 in shape:
            raise ValueError(f"bars are [B, L, F] or [B, L, V, F], none of them 0; got {list(shape)}")
        for name in ("close_ns_BL", "known_ns_BL"):
            times = getattr(self, name)
            if times.shape != shape[:2] or times.dtype != torch.int64:
                raise ValueError(f"{name} is int64 [B, L] beside {list(shape)}; got {times.dtype} {list(times.shape)}")
        for name, size in (("valid_BL", 2), ("present_BLV", 3)):
            mask = getattr(self, name)
            if mask is not None and (mask.shape != shape[:size] or len(shape) <= size or mask.dtype != torch.bool):
                raise ValueError(f"{name} is bool beside {list(shape)}; got {mask.dtype} {list(mask.shape)}")
        if not torch.compiler.is_compiling():
            self._check()

    def _check(self) -> None:
        known, close = self.known_ns_BL, self.close_ns_BL
        real = torch.ones_like(known, dtype=torch.bool) if self.valid_BL is None else self.valid_BL
        if not bool(real[:, 0].all()) or bool((real[:, 1:] & ~real[:, :-1]).any()):
            raise DataError("padding comes after the bars, and a row has one bar at least")
        for name, times in (("close", close), ("known", known)):
            if bool(((times[:, 1:] < times[:, :-1]) & real[:, 1:]).any()):
                raise DataError(f"the times of {name} go back; give the oldest bar first")
        if bool(((known < close) & real).any()):
            raise DataError("a bar is known before it closes")
        there = real.view(*real.shape, *(1,) * (self.x_BLF.dim() - 2))
        if self.present_BLV is not None:
            there = there & self.present_BLV[..., None]
        if not bool((torch.isfinite(self.x_BLF) | ~there).all()):
            raise DataError("a value is NaN or infinite; leave that bar out, or mark it as padding or absent")

    @cached_property
    def padding(self) -> Padding | None:
        """Return which rows are real, as attention takes it; None where all are."""
        return None if self.valid_BL is None or bool(self.valid_BL.all()) else Padding(self.valid_BL)

    @cached_property
    def seen_ns_BL(self) -> Tensor:
        """Return from when on each row may be seen: padding never."""
        if self.valid_BL is None:
            return self.known_ns_BL
        return torch.where(self.valid_BL, self.known_ns_BL, NEVER_NS)

    @cached_property
    def there_BLV(self) -> Tensor | None:
        """Return which assets or levels there are, all of them at a padding bar, which nobody sees; None: all."""
        if self.present_BLV is None or self.valid_BL is None:
            return self.present_BLV
        return self.present_BLV | ~self.valid_BL[..., None]

    def known_by(self, decision_ns_BT: Tensor) -> Tensor:
        """Return [B, T], how many rows are known at each time."""
        return torch.searchsorted(self.seen_ns_BL.contiguous(), decision_ns_BT.contiguous(), right=True)

    def whole(self, name: str) -> "ScaleInput":
        """Return itself.

        Raises:
            DataError: there is padding, for which a system that numbers its bars has no place.
        """
        if self.padding is not None:
            raise DataError(f"{name}: the system takes whole windows; leave out the rows that have padding")
        return self

    def grid(self, name: str, features: int) -> "ScaleInput":
        """Return itself.

        Raises:
            ValueError: its bars are not [V, F] with that many features.
        """
        if self.x_BLF.dim() != 4 or self.x_BLF.shape[-1] != features:
            raise ValueError(f"{name}: bars are [B, L, V, {features}] here; got {list(self.x_BLF.shape)}")
        return self

    def filled(self) -> Tensor:
        """Return the features with zeros in place of whatever padding and what is absent held, NaN included."""
        x = self.x_BLF if self.padding is None else self.padding.fill(self.x_BLF)
        return x if self.present_BLV is None else torch.where(self.present_BLV[..., None], x, x.new_zeros(()))


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelInput:
    """All that a system is told.

    Attributes:
        scales: the streams by name, as `ScaleConfig.bar` calls them.
        decision_ns_BT: when the decisions are taken, int64, ascending.
        asset_B: which instrument each row is of, int64; for systems that serve several with one set of weights.
        current_weights_BTA: what is held when each decision is taken, shares of equity; for allocations.

    Raises:
        ValueError: shapes or types disagree.
        DataError: decisions go back in time, or one is taken before any row of a stream is known.
    """

    scales: Mapping[str, ScaleInput]
    decision_ns_BT: Tensor
    asset_B: Tensor | None = None
    current_weights_BTA: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.scales:
            raise ValueError("a model input needs one stream at least")
        times = self.decision_ns_BT
        if times.dim() != 2 or 0 in times.shape or times.dtype != torch.int64:
            raise ValueError(f"decisions are int64 [B, T], one at least; got {times.dtype} {list(times.shape)}")
        rows = len(times)
        for name, scale in self.scales.items():
            if len(scale.x_BLF) != rows:
                raise ValueError(f"{name}: {len(scale.x_BLF)} rows beside {rows} rows of decisions")
        if self.asset_B is not None and (self.asset_B.shape != (rows,) or self.asset_B.dtype != torch.int64):
            raise ValueError(f"assets are int64 [{rows}]; got {self.asset_B.dtype} {list(self.asset_B.shape)}")
        held = self.current_weights_BTA
        if held is not None and (held.dim() != 3 or held.shape[:2] != times.shape):
            raise ValueError(f"current weights are [B, T, A] beside {list(times.shape)}; got {list(held.shape)}")
        if torch.compiler.is_compiling():
            return
        if held is not None and not bool(torch.isfinite(held).all()):
            raise DataError("a current weight is NaN or infinite; say 0 for what is not held")
        if bool((times[:, 1:] < times[:, :-1]).any()):
            raise DataError("the times of decisions go back; give the oldest first")

    def need(self, bar: str, count: int) -> ScaleInput:
        """Return a stream of which at least `count` rows are known at every decision.

        Raises:
            DataError: it is not there, or too few are known; the message names it.
        """
        scale = self.scales.get(bar)
        if scale is None:
            raise DataError(f"the model reads {bar!r}, and the input has {', '.join(map(repr, self.scales))}")
        if not torch.compiler.is_compiling():
            fewest = int(scale.known_by(self.decision_ns_BT).min())
            if fewest < count:
                raise DataError(f"{bar}: a decision knows {fewest} bars of it and needs {count}; begin later")
        return scale

    def window(self, scale_cfg: ScaleConfig) -> ScaleInput:
        """Return a stream of exactly as many rows as configured, all known at the one decision of each row.

        Raises:
            DataError: it is not there, or a row of it is not known by then.
            ValueError: it is longer or shorter, has other features, or there are several decisions.
        """
        bar, shape = scale_cfg.bar, (scale_cfg.length, len(scale_cfg.encoder.features))
        if self.decision_ns_BT.shape[1] != 1:
            raise ValueError(f"a window system answers once for each row; got {self.decision_ns_BT.shape[1]} decisions")
        scale = self.need(bar, 1)
        if scale.x_BLF.shape[1:] != shape:
            raise ValueError(f"{bar}: windows of {list(shape)} are configured; got {list(scale.x_BLF.shape[1:])}")
        real = torch.ones_like(scale.known_ns_BL, dtype=torch.bool) if scale.valid_BL is None else scale.valid_BL
        if not torch.compiler.is_compiling() and bool(((scale.known_ns_BL > self.decision_ns_BT) & real).any()):
            raise DataError(f"{bar}: the window holds a bar that is not known when the decision is taken")
        return scale
