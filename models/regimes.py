"""Regimes: kinds of market that are told apart by how wild and how one-sided the past was, and by thresholds.

Two measures are known at every decision (`models.training.regimes`): volatility, the log of the recent deviation over
that of the month before, so that calm means calm for this very instrument; and trend, the recent mean return in its own
standard errors. A training fits thresholds to its own training stretch: thirds of the volatility, and the third of all
decisions with the least absolute trend is called flat. So no regime is rare by construction, and nothing of a
validation, a test or the future has a part in it.
"""

import msgspec
import numpy as np

from bot.domain.errors import ConfigError, DataError
from bot.domain.market import F64

# Shape letters in this file: N decision, C regime.

MEASURES = ("regime_volatility", "regime_trend")
_MOODS, _TRENDS = ("calm", "usual", "wild"), ("falling", "flat", "rising")
_KINDS = {
    3: _MOODS,
    7: ("calm", *(f"{mood}, {trend}" for mood in _MOODS[1:] for trend in _TRENDS)),  # what is calm has no trend to tell
    9: tuple(f"{mood}, {trend}" for mood in _MOODS for trend in _TRENDS),
}


def kinds_of(classes: int) -> tuple[str, ...]:
    """Return what each of so many regimes is called, in order.

    Raises:
        ConfigError: there is no such division.
    """
    if classes not in _KINDS:
        raise ConfigError(
            f"HeadConfig.classes = {classes} of 'regime': markets are divided into 3 (by volatility), 7 (and the two "
            "livelier thirds by trend) or 9 (all three by trend)"
        )
    return _KINDS[classes]


class Regimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A division of markets, as an artefact keeps it."""

    classes: int
    span_ns: int  # half-life of the measures
    volatility: tuple[float, float]  # below the first calm, from the second on wild
    trend: float  # absolute, below which it is flat

    def of(self, measures_N2: F64) -> F64:
        """Return [N, C], 1 for the regime of each decision and 0 for the others; NaN where it is not known."""
        classes = len(kinds_of(self.classes))
        volatility_N, trend_N = measures_N2.T
        known_N = np.isfinite(measures_N2).all(axis=1)
        mood_N = np.searchsorted(self.volatility, volatility_N, side="right")
        way_N = 1 + (trend_N >= self.trend).astype(np.int64) - (trend_N <= -self.trend)
        number_N = {3: mood_N, 7: np.where(mood_N == 0, 0, 1 + 3 * (mood_N - 1) + way_N), 9: 3 * mood_N + way_N}
        made_NC = np.full((len(measures_N2), classes), np.nan)
        made_NC[known_N] = np.eye(classes)[number_N[classes][known_N]]
        return made_NC


def fit_regimes(measures_N2: F64, *, classes: int, span_ns: int) -> Regimes:
    """Return the division that the decisions of a training stretch make.

    Raises:
        ConfigError: there is no such division.
        DataError: too few measures are known, or they never differ.
    """
    kinds_of(classes)
    known_N2 = measures_N2[np.isfinite(measures_N2).all(axis=1)]
    if len(known_N2) < 10 * classes:
        raise DataError(f"regimes: {len(known_N2)} decisions tell how the market was; train on a longer stretch")
    low, high = (float(each) for each in np.quantile(known_N2[:, 0], [1 / 3, 2 / 3]))
    trend = float(np.quantile(np.abs(known_N2[:, 1]), 1 / 3))
    if not (low < high and trend > 0):
        raise DataError("regimes: the market of the training stretch never changes; train on another one")
    return Regimes(classes=classes, span_ns=span_ns, volatility=(low, high), trend=trend)
