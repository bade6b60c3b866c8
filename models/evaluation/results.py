"""The table of results: models and their baselines, every figure with its interval; as JSON and as Markdown."""

import math
from collections.abc import Sequence

import msgspec

from bot.core.durations import format_duration
from bot.domain.errors import DataError
from bot.domain.market import F64
from models.evaluation.bootstrap import Estimate, Sampling
from models.evaluation.forecast_set import ForecastSet
from models.evaluation.judge import LOSSES, ModelScores, judge, terciles
from models.evaluation.leaks import Finding, find_leaks
from models.evaluation.strategy import StrategyStatistics

FORMAT = 1
# Metric, heading, factor for the eye, digits. The widest interval follows; the others stand in the JSON.
_COLUMNS = (
    ("pinball", "Pinball, bps", 1e4, 3),
    ("crps", "CRPS, bps", 1e4, 3),
    ("rmse_ratio", "RMSE / naive", 1, 4),
    ("direction_accuracy", "Direction", 1, 3),
    ("ic", "IC", 1, 3),
    ("rank_ic", "RankIC", 1, 3),
    ("brier", "Brier", 1, 4),
    ("qlike", "QLIKE", 1, 4),
)


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation found, complete for whoever draws it."""

    models: list[ModelScores]  # baselines included
    baselines: list[str]
    findings: list[Finding]
    trials: int | None = None  # evaluations on this hold-out so far; None: not one
    strategies: dict[str, StrategyStatistics] = {}  # by model
    format: int = FORMAT


def compare(
    models: Sequence[ForecastSet],
    baselines: Sequence[ForecastSet],
    *,
    sampling: Sampling | None = None,
    dead_band: float = 0.0,
    volatility_N: F64 | None = None,
    trials: int | None = None,
) -> Results:
    """Judge models and baselines on the same decisions, each beside all baselines but itself.

    The state of the market is the same for all: terciles of `volatility_N`, as it was known at each decision, such as
    `models.training.labels.ewma_volatility`; None for what the first model forecasts for its first horizon. The borders
    between the thirds are of the whole period.

    Raises:
        DataError: there is no model, two have one name, or they are not of the same decisions.
    """
    if not models:
        raise DataError("there is no model to judge; name one at least")
    everyone = [*models, *baselines]
    names = [each.model for each in everyone]
    if len(set(names)) < len(names):
        raise DataError(f"two models have one name among {', '.join(names)}; rename one")
    regime_N = terciles(models[0].volatility_NH[:, 0] if volatility_N is None else volatility_N)
    judged = [
        judge(
            each,
            baselines=[other for other in baselines if other is not each],
            sampling=sampling,
            dead_band=dead_band,
            regime_N=regime_N,
        )
        for each in everyone
    ]
    return Results(
        models=judged,
        baselines=[each.model for each in baselines],
        findings=find_leaks(judged),
        trials=trials,
    )


def to_json(results: Results) -> bytes:
    """Return canonical JSON: keys in order, no spaces, what is undefined null; the same results are the same bytes."""
    return msgspec.json.encode(results, order="sorted")


def to_markdown(results: Results) -> str:
    """Return tables for people: findings first, then for each horizon the figures and the skill over baselines."""
    parts = ["\n".join(f"* **{finding.verdict.upper()}** {finding}" for finding in results.findings)]
    if results.trials is not None:
        parts.append(f"Evaluations on this hold-out so far, this one included: {results.trials}.")
    horizons = sorted({scores.horizon_ns for model in results.models for scores in model.horizons})
    for horizon_ns in horizons:
        parts.append(f"## {format_duration(horizon_ns)}")
        parts += [table(results, horizon_ns) for table in (_figures, _coverage, _skills)]
    if results.strategies:
        parts += ["## Strategies", _strategies(results)]
    first = results.models[0].sampling
    parts.append(
        f"In brackets: {100 * first.confidence:g} % intervals of a block bootstrap ({first.kind}, {first.resamples:,} "
        f"resamples, seed {first.seed}). A skill in bold has an interval without zero."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(results: Results, horizon_ns: int) -> str:
    rows = [(model, scores) for model in results.models for scores in model.horizons if scores.horizon_ns == horizon_ns]
    widest = next((name.removeprefix("coverage_") for name in rows[0][1].metrics if name.startswith("coverage_")), "")
    wanted = (
        *_COLUMNS,
        (f"interval_score_{widest}", f"Score of {widest}, bps", 1e4, 1),
        (f"width_{widest}", f"Width of {widest}, bps", 1e4, 1),
    )
    shown = [column for column in wanted if any(column[0] in scores.metrics for _, scores in rows)]
    lines = [
        [
            _name(results, model.model),
            f"{scores.decisions:,}",
            *(_interval(scores.metrics.get(metric), factor, digits) for metric, _, factor, digits in shown),
        ]
        for model, scores in rows
    ]
    return _table(["Model", "Decisions", *(heading for _, heading, _, _ in shown)], lines)


def _coverage(results: Results, horizon_ns: int) -> str:
    """Return the coverage of the widest interval, over all and by state of the market."""
    lines: list[list[str]] = []
    heading: list[str] = []
    for model in results.models:
        for scores in model.horizons:
            widest = next((name for name in scores.metrics if name.startswith("coverage_")), None)
            if scores.horizon_ns != horizon_ns or widest is None:
                continue
            regimes = {name: found[widest] for name, found in scores.regimes.items()}
            heading = heading or [f"Coverage of {widest.removeprefix('coverage_')}", "All", *regimes]
            cells = [scores.metrics[widest], *regimes.values()]
            lines.append([_name(results, model.model), *(_interval(cell, 1, 3) for cell in cells)])
    return _table(heading, lines) if lines else ""


def _skills(results: Results, horizon_ns: int) -> str:
    lines = []
    for model in results.models:
        for scores in model.horizons:
            # What baselines are worth beside one another stands in the JSON.
            if scores.horizon_ns != horizon_ns or model.model in results.baselines:
                continue
            for baseline, against in scores.against.items():
                cells = [
                    _skill(against[loss].skill, against[loss].test.p_value) if loss in against else ""
                    for loss in LOSSES
                ]
                lines.append([_name(results, model.model), baseline, *cells])
    heading = ["Model", "Skill over", *(loss.replace("_", " ") for loss in LOSSES)]
    return _table(heading, lines) if lines else ""


def _strategies(results: Results) -> str:
    heading = ["Model", "Return", "Sharpe", "PSR", "DSR", "Trials", "Years to tell", "Max drawdown", "Longest drawdown"]
    lines = [
        [
            name,
            f"{each.total_return:+.2%}",
            f"{each.sharpe:.2f} ± {each.sharpe_error:.2f}",
            f"{each.probabilistic_sharpe:.3f}",
            f"{each.deflated_sharpe:.3f}",
            str(each.trials),
            "never" if each.minimum_track_record_years is None else f"{each.minimum_track_record_years:.1f}",
            f"{each.max_drawdown:.2%}",
            f"{each.longest_drawdown_ns / 86_400_000_000_000:.1f} d",
        ]
        for name, each in sorted(results.strategies.items())
    ]
    return _table(heading, lines)


def _name(results: Results, model: str) -> str:
    return f"{model} (baseline)" if model in results.baselines else model


def _interval(found: Estimate | None, factor: float, digits: int) -> str:
    if found is None or math.isnan(found.value):
        return ""
    value, low, high = (f"{factor * each:.{digits}f}" for each in (found.value, found.low, found.high))
    return value if math.isnan(found.low) else f"{value} [{low}, {high}]"


def _skill(found: Estimate, p_value: float) -> str:
    if math.isnan(found.value):
        return ""
    text = f"{found.value:+.4f}"
    text = f"**{text}**" if found.is_above_zero or found.is_below_zero else text
    interval = "" if math.isnan(found.low) else f" [{found.low:+.4f}, {found.high:+.4f}]"
    p = "" if math.isnan(p_value) else f", p {p_value:.3f}" if p_value >= 0.001 else ", p < 0.001"
    return text + interval + p


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(heading), ["---"] + ["---:"] * (len(heading) - 1), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)
