"""How much of a run's result depends on what the data cannot tell: the same run under each of the fill models."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from bot.report import words
from bot.report.equity import equity_curve
from bot.report.run_data import PRESETS, PresetFigures, RunData

_POINTS_MAX = 600  # of a curve
_CURVE = ("ts_ns", "equity")
_HARDLY, _PARTLY = 0.1, 0.5  # spread over the neutral result


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a bracket says, in words.

    Attributes:
        spread: from the worst total return of the three to the best.
        share: the spread over the size of the neutral return; None where that is zero.
        is_sign_open: whether one of the three earns and another loses.
        is_ordered: whether pessimistic is the worst and optimistic the best.
        measure: how far the three lie apart.
        conclusion: what follows for whoever reads the result.
    """

    spread: float
    share: float | None
    is_sign_open: bool
    is_ordered: bool
    measure: str
    conclusion: str


def preset_figures(data: RunData, metrics: dict[str, Any], run: str) -> PresetFigures:
    """Return what a bracket shows of a run and of its `compute_metrics`; `run` is its directory there."""
    curve = equity_curve(data)
    row = np.unique(np.linspace(0, len(curve.ts_ns) - 1, _POINTS_MAX).astype(np.int64))  # the same of all three
    return PresetFigures(
        run=run,
        ts_ns=curve.ts_ns[row].tolist(),
        equity=curve.equity[row].tolist(),
        **{name: metrics[name] for name in PresetFigures.__struct_fields__ if name not in ("run", *_CURVE)},
    )


def bracket_metrics(bracket: dict[str, PresetFigures] | None) -> dict[str, Any] | None:
    """Return the figures of a bracket without the curves, with the verdict, ready for JSON."""
    if bracket is None:
        return None
    figures = {
        preset: {key: value for key, value in msgspec.to_builtins(bracket[preset]).items() if key not in _CURVE}
        for preset in PRESETS
    }
    found = judge(bracket)
    return figures | {"spread": found.spread, "is_sign_open": found.is_sign_open, "verdict": found.conclusion}


def judge(bracket: dict[str, PresetFigures]) -> Verdict:
    """Return what the spread between the three says of the neutral result."""
    worst, neutral, best = (bracket[preset].total_return or 0.0 for preset in PRESETS)
    low, high = min(worst, neutral, best), max(worst, neutral, best)
    spread = high - low
    share = spread / abs(neutral) if neutral else None
    is_sign_open, is_ordered = low < 0 < high, worst <= neutral <= best
    return Verdict(
        spread=spread,
        share=share,
        is_sign_open=is_sign_open,
        is_ordered=is_ordered,
        measure=_measure(spread, share),
        conclusion=_conclusion(bracket, share, is_sign_open=is_sign_open, is_ordered=is_ordered),
    )


def _measure(spread: float, share: float | None) -> str:
    apart = f"The three results lie {words.share(spread, 2)} of the start equity apart"
    if share is None or not spread:
        return f"{apart}."
    if share < 1:
        return f"{apart}, {words.share(share, 0)} of the neutral result itself."
    return f"{apart}, {words.number(share, 1)} times the neutral result itself."


def _conclusion(bracket: dict[str, PresetFigures], share: float | None, *, is_sign_open: bool, is_ordered: bool) -> str:
    if not any(bracket[preset].fills for preset in PRESETS):
        return "Nothing was filled under any of the three, so there is nothing to depend on."
    if is_sign_open:
        text = "Whether this run earns or loses depends on what the data cannot tell. Believe neither sign."
    elif share is None or share >= _PARTLY:
        text = "Much of the result depends on what the data cannot tell, its sign does not. Reckon with the worst."
    elif share >= _HARDLY:
        text = "A part of the result depends on what the data cannot tell; its sign does not."
    else:
        text = "Hardly any of the result depends on what the data cannot tell about fills."
    if not is_ordered:
        text += (
            " The three are out of order: one fill more or less changes all that follows it, so take the spread for "
            "what it is worth, and the two ends for no bounds."
        )
    return text
