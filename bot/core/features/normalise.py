"""Features brought to comparable sizes: by a stated stretch of history, by the recent past, or by the window itself.

None of them looks at a value's own future. The first two keep what a streaming model needs: one value, one result,
whenever it is asked for. The third makes a value depend on the window it is seen through, so it suits models that
encode a window anew each time.
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numba import njit

from bot.core.features.expression import ema_warmup
from bot.domain.market import F64, I64


class FittedNormalizer(msgspec.Struct, frozen=True, kw_only=True):
    """Centre and scale of every feature over one stretch of time, written down with it.

    A column that is constant there has scale 1: it becomes a constant, not a division by zero.
    """

    kind: Literal["standard", "robust"]
    names: tuple[str, ...]
    from_ns: int  # fitted on the rows known in [from_ns, to_ns)
    to_ns: int
    rows: int
    center: tuple[float, ...]
    scale: tuple[float, ...]

    def apply(self, values_NF: F64) -> F64:
        """Return (x - center) / scale; NaN stays NaN."""
        scaled_NF: F64 = (values_NF - np.array(self.center)) / np.array(self.scale)
        return scaled_NF

    def invert(self, scaled_NF: F64) -> F64:
        """Return what `apply` was given."""
        values_NF: F64 = scaled_NF * np.array(self.scale) + np.array(self.center)
        return values_NF

    def has_seen(self, from_ns: int, to_ns: int) -> bool:
        """Return whether the stretch [from_ns, to_ns) has a part in the fit, and is thus in-sample."""
        return from_ns < self.to_ns and self.from_ns < to_ns


def fit_normalizer(
    values_NF: F64,
    known_ns: I64,
    names: Sequence[str],
    *,
    from_ns: int,
    to_ns: int,
    kind: Literal["standard", "robust"] = "standard",
) -> FittedNormalizer:
    """Return centre and scale over the rows known in [from_ns, to_ns).

    Args:
        values_NF: features, NaN where not known.
        known_ns: from when on each row was known.
        names: the F columns' names.
        from_ns: the first moment of the stretch.
        to_ns: the first moment after it.
        kind: mean and deviation, or median and 0.7413 times the distance between the quartiles.

    Raises:
        ValueError: the stretch holds fewer than two values of a column.
    """
    rows_NF = values_NF[(known_ns >= from_ns) & (known_ns < to_ns)]
    center, scale = [], []
    for column, name in enumerate(names):
        known = rows_NF[:, column]
        known = known[np.isfinite(known)]
        if len(known) < 2:
            raise ValueError(
                f"{name} has {len(known)} values in the stretch it is to be fitted on; choose a longer one"
            )
        if kind == "standard":
            middle, spread = float(known.mean()), float(known.std())
        else:
            low, middle, high = map(float, np.quantile(known, [0.25, 0.5, 0.75]))
            spread = (high - low) / 1.3489795003921634  # 1 for a normal distribution of deviation 1
        center.append(middle)
        scale.append(spread if spread > 0.0 else 1.0)
    return FittedNormalizer(
        kind=kind,
        names=tuple(names),
        from_ns=from_ns,
        to_ns=to_ns,
        rows=len(rows_NF),
        center=tuple(center),
        scale=tuple(scale),
    )


class CausalNormalizer:
    """Each feature by the recursive mean and deviation of its own past, the newest value not among them.

    A value that is not known gives NaN and leaves the statistics as they were; so does the warm-up, until what came
    before the first value would have weighed less than a hundredth.

    Args:
        count: F, how many features.
        halflife: after so many bars a value counts half.
        limit: the greatest result; also what a feature gives that leaves the value it never left before.
    """

    def __init__(self, count: int, *, halflife: float, limit: float = 10.0) -> None:
        if not halflife > 0 or not limit > 0:
            raise ValueError(f"halflife {halflife} and limit {limit} must be positive")
        self._decay = 0.5 ** (1.0 / halflife)
        self._limit = limit
        self.warmup = ema_warmup(1.0 - self._decay) + 1
        self._state: F64 = np.zeros((count, 4))  # sum of the weights, mean, weighted squares, values seen

    def update(self, values_NF: F64) -> F64:
        """Return the next rows, normalised; law 1 holds."""
        out = np.empty_like(values_NF)
        _normalize(values_NF, self._decay, self._limit, self.warmup, self._state, out)
        return out


@njit(cache=True, nogil=True, error_model="numpy")
def _normalize(values, decay, limit, warmup, state, out):  # type: ignore[no-untyped-def]
    for column in range(values.shape[1]):
        weight, mean, squares, seen = state[column]
        for row in range(values.shape[0]):
            value = values[row, column]
            if value != value:
                out[row, column] = math.nan
                continue
            away = value - mean
            if seen < warmup:
                out[row, column] = math.nan
            else:
                spread = math.sqrt(squares / weight)
                scaled = away / spread if spread > 0.0 else (0.0 if away == 0.0 else away * math.inf)
                out[row, column] = min(max(scaled, -limit), limit)
            # West (1979), with weights that fade.
            weight = 1.0 + decay * weight
            mean += away / weight
            squares = decay * squares + away * (value - mean)
            seen += 1.0
        state[column, 0] = weight
        state[column, 1] = mean
        state[column, 2] = squares
        state[column, 3] = seen


def instance_statistics(x_BTF: F64, *, floor: float = 1e-9) -> tuple[F64, F64, F64]:
    """Return each window's own mean and deviation, and a gate that says where they may be used.

    Args:
        x_BTF: windows, the oldest bar first.
        floor: the least deviation, as a part of the window's greatest absolute value, of a feature that is alive.

    Returns:
        mean_B1F and std_B1F along T, and gate_B1F: 1 where the feature varies, 0 where it is as good as constant and
        must pass as it is: (1 - gate) x + gate (x - mean) / std.

    Source:
        RevIN (Kim et al., ICLR 2022); the gate after S3's gated instance norm, whose learned part is the model's.
    """
    mean_B1F = x_BTF.mean(axis=1, keepdims=True)
    std_B1F = x_BTF.std(axis=1, keepdims=True)
    size_B1F = np.abs(x_BTF).max(axis=1, keepdims=True)
    gate_B1F = (std_B1F > floor * size_B1F).astype(np.float64)
    return mean_B1F, np.where(gate_B1F > 0.0, std_B1F, 1.0), gate_B1F
