"""The alarm for results that are too good: nobody forecasts an hour's direction with 56 %.

What honest studies find hourly and beyond is 51 to 53 % of directions and correlations of 0.01 to 0.05. Anything above
56 % or 0.10 is treated as a leak until disproved: a feature from the future, a target that overlaps its input, a split
that shares labels. So is a forecast that is that wrong, since its opposite would be that right.

The sampling rule: all decisions of a horizon of an hour or more count, overlapping ones too, and the standard error is
the block bootstrap's, which allows for the overlap. A value past its limit is a LEAK if it is also further than
`CHANCE_DEVIATIONS` standard errors from what chance gives (one-sided, 1 in 100); else it is UNCLEAR: too few decisions
to tell a leak from luck, shown and not fatal. So 60 % is a leak over a hundred independent hours or more, and 57 % over
three hundred. Below an hour the alarm is silent: market microstructure does allow more there.
"""

import enum
import math
from collections.abc import Iterable, Sequence

import msgspec

from bot.core.durations import format_duration
from models.evaluation.bootstrap import Estimate
from models.evaluation.distributions import NORMAL
from models.evaluation.judge import ModelScores

HORIZON_MIN_NS = 3_600_000_000_000
ACCURACY_MAX = 0.56
CORRELATION_MAX = 0.10
CHANCE_DEVIATIONS = NORMAL.inv_cdf(0.99)
# Metric, what chance gives, the distance from it that is too much.
_LIMITS = (
    ("direction_accuracy", 0.5, ACCURACY_MAX - 0.5),
    ("ic", 0.0, CORRELATION_MAX),
    ("rank_ic", 0.0, CORRELATION_MAX),
)
_ROUNDING = 1e-12


class Verdict(enum.StrEnum):
    """What a finding means."""

    LEAK = "leak"
    UNCLEAR = "unclear"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A result that is too good to be believed."""

    model: str
    horizon_ns: int
    metric: str
    value: float
    limit: float
    deviations: float  # standard errors from chance; NaN where the error is unknown
    verdict: Verdict

    def __str__(self) -> str:
        sure = (
            "an unknown error" if math.isnan(self.deviations) else f"{self.deviations:.1f} standard errors from chance"
        )
        what = f"{self.model}: {self.metric} of {self.value:.3f} at {format_duration(self.horizon_ns)}"
        if self.verdict is Verdict.LEAK:
            return (
                f"{what} is past {self.limit:g} ({sure}): treat it as a leak until disproved; run the look-ahead check "
                "and the splits again"
            )
        return f"{what} is past {self.limit:g}, but {sure} may be luck: judge it on more data before believing it"


def find_leaks(judged: Iterable[ModelScores]) -> list[Finding]:
    """Return what is too good, worst first; no findings is the normal case."""
    found = [
        finding
        for model in judged
        for scores in model.horizons
        if scores.horizon_ns >= HORIZON_MIN_NS
        for metric, chance, distance in _LIMITS
        if metric in scores.metrics
        and (finding := _look(model.model, scores.horizon_ns, metric, scores.metrics[metric], chance, distance))
    ]
    return sorted(found, key=lambda each: (each.verdict is not Verdict.LEAK, each.model, each.horizon_ns, each.metric))


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 if anything is a leak, else 0."""
    return int(any(finding.verdict is Verdict.LEAK for finding in findings))


def _look(model: str, horizon_ns: int, metric: str, found: Estimate, chance: float, distance: float) -> Finding | None:
    off = found.value - chance
    if not abs(off) >= distance - _ROUNDING:
        return None
    if found.error > 0:
        deviations = abs(off) / found.error
    else:
        # A sample of which every resample says the same is perfect; one without an error is too short.
        deviations = math.inf if found.error == 0 else math.nan
    return Finding(
        model=model,
        horizon_ns=horizon_ns,
        metric=metric,
        value=found.value,
        limit=round(chance + math.copysign(distance, off), 9),
        deviations=deviations,
        verdict=Verdict.LEAK if deviations > CHANCE_DEVIATIONS else Verdict.UNCLEAR,
    )
