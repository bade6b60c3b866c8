"""Attention and its relatives, slowly and without torch: one query at a time, in float64, from their definitions.

Nothing here shares a line with `models/`: what agrees with it is right, or both are wrong in the same way by chance.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Sees = Callable[[int, int, int], bool]  # (row, query, key): may it?


def attend_slowly(
    q: F64, k: F64, v: F64, *, scale: float, sees: Sees, slopes: Sequence[float] | None = None
) -> tuple[F64, F64]:
    """Return the output [B, L, H, d] and the weights [B, H, L, M] of softmax attention.

    Query l stands at key M - L + l. Heads of keys are shared by equal groups of query heads.
    """
    rows, queries, heads, _ = q.shape
    keys, group = k.shape[1], heads // k.shape[2]
    out, weights = np.zeros((*q.shape[:3], v.shape[3])), np.zeros((rows, heads, queries, keys))
    for b in range(rows):
        for h in range(heads):
            for i in range(queries):
                stand = keys - queries + i
                seen = [j for j in range(keys) if sees(b, i, j)]
                scores = []
                for j in seen:
                    score = scale * math.fsum(q[b, i, h] * k[b, j, h // group])
                    scores.append(score - (slopes[h] * abs(stand - j) if slopes is not None else 0.0))
                top = max(scores)
                shares = [math.exp(score - top) for score in scores]
                total = math.fsum(shares)
                for j, share in zip(seen, shares, strict=True):
                    weights[b, h, i, j] = share / total
                    out[b, i, h] += share / total * v[b, j, h // group]
    return out, weights


def band(queries: int, keys: int, *, causal: bool, window: int | None = None) -> Sees:
    """Return who sees whom by causality and a window."""

    def sees(row: int, query: int, key: int) -> bool:
        distance = keys - queries + query - key
        return not causal or (distance >= 0 and (window is None or distance < window))

    return sees


def linear_slowly(q: F64, k: F64, v: F64, *, causal: bool) -> F64:
    """Return linear attention with phi = elu + 1, token by token."""
    rows, length, heads, d = q.shape
    out = np.zeros_like(q)
    for b in range(rows):
        for h in range(heads):
            for i in range(length):
                top, bottom = np.zeros(d), 0.0
                for j in range(i + 1 if causal else length):
                    share = float(_phi(q[b, i, h]) @ _phi(k[b, j, h]))
                    top, bottom = top + share * v[b, j, h], bottom + share
                out[b, i, h] = top / bottom
    return out


def ewma_slowly(x: F64, halflife: float) -> tuple[F64, F64]:
    """Return the weighted mean and deviation of x[0 .. t] at every t, the newest weighing most: from the definition."""
    mean, deviation = np.zeros_like(x), np.zeros_like(x)
    for t in range(len(x)):
        weights = 0.5 ** ((t - np.arange(t + 1)) / halflife)
        weights /= weights.sum()
        mean[t] = weights @ x[: t + 1]
        deviation[t] = math.sqrt(weights @ (x[: t + 1] - mean[t]) ** 2)
    return mean, deviation


def _phi(x: F64) -> F64:
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))
