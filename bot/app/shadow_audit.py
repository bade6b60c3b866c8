"""`bot evaluate --shadow RUN`: a shadow's forecasts against what came, beside those of the model that was traded.

Both are judged by the run's own tape, on the decisions that both answered, at the horizons and levels that both have.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import select

from bot.core.durations import format_duration
from bot.domain.errors import DataError
from bot.domain.market import F64, I64
from bot.store import tables
from bot.store.forecast_files import KeptForecasts, read_forecasts
from bot.store.run_reader import RunReader, open_ledger
from bot.store.tape_files import forecast_hash
from models.evaluation.audit import LiveCoverage, kept_set, live_coverage, outcomes_on
from models.evaluation.bootstrap import Sampling
from models.evaluation.forecast_set import ForecastSet
from models.evaluation.results import Results, compare, to_json

SERVING, SHADOW = "serving", "shadow"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowAudit:
    """What was found."""

    serving: str  # the models' names
    shadow: str
    results: Results
    kept: list[LiveCoverage]
    instruments: tuple[str, ...]
    decisions: int
    left_out: int  # decisions that only one of the two answered
    is_vouched: bool  # the ledger has the hash of the shadow's file
    is_in_sample: bool  # the run overlaps what the serving model has seen


class _Closed(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger's last entry says of the shadow."""

    shadow_id: str = ""
    shadow_hash: str = ""


def audit_shadow(directory: Path, *, sampling: Sampling) -> ShadowAudit:
    """Judge a finished run's shadow.

    Raises:
        DataError: there is no finished run or it had no shadow, a file is damaged or not what the run wrote, or the two
            models have nothing in common to be judged by.
    """
    reader = RunReader(directory)
    try:
        run, tape = reader.run(), reader.tape()
    finally:
        reader.close()
    closed = _closed(directory)
    if not closed.shadow_id and not (directory / "shadow.parquet").is_file():
        raise DataError(f'{directory}: the run had no shadow; name one with predictor.shadow = "..." and run again')
    shadow = read_forecasts(directory / "shadow.parquet")
    serving = read_forecasts(directory / "forecasts.parquet")
    # A live run's ledger does not end with an entry that names it; then the file stands for itself.
    if closed.shadow_id and forecast_hash(directory, "shadow.parquet") != closed.shadow_hash:
        raise DataError(f"{directory / 'shadow.parquet'}: not what the run wrote; its ledger has another hash")
    instruments = tuple(name for name in serving if name in shadow)
    if not instruments:
        raise DataError(f"{directory}: model and shadow forecast no instrument both")
    first, other = serving[instruments[0]], shadow[instruments[0]]
    horizons_ns = [each for each in first.horizons_ns if each in other.horizons_ns]
    levels = [each for each in first.levels if each in other.levels]
    if not horizons_ns or len(levels) < 2:
        raise DataError(
            f"{directory}: {first.model_id} and {other.model_id} share no horizon or too few levels; a shadow must "
            "forecast something that the serving model does"
        )
    pairs: list[tuple[list[Any], list[Any]]] = []
    left_out = 0
    for name in instruments:
        ours, theirs = serving[name], shadow[name]
        bars = tape[tape["instrument"] == name]
        decided_ns = np.intersect1d(ours.close_ns, theirs.close_ns, assume_unique=True)
        left_out += len(ours.close_ns) + len(theirs.close_ns) - 2 * len(decided_ns)
        target, variance = outcomes_on(
            bars["close_ns"].to_numpy(), bars["close"].to_numpy(dtype=np.float64), decided_ns, horizons_ns
        )
        pairs.append(
            tuple(
                [decided_ns, _cut(each, decided_ns, horizons_ns, levels), target, variance] for each in (ours, theirs)
            )  # type: ignore[arg-type]
        )
    sets = [
        _set(label, [pair[at] for pair in pairs], horizons_ns, levels) for at, label in enumerate((SERVING, SHADOW))
    ]
    results = compare([sets[1]], [sets[0]], sampling=sampling, volatility_N=sets[0].volatility_NH[:, 0])
    return ShadowAudit(
        serving=first.model_id,
        shadow=other.model_id,
        results=results,
        kept=[
            found
            for label, kept in ((SERVING, serving), (SHADOW, shadow))
            for name, each in kept.items()
            for found in live_coverage(label, name, each.answer_names, each.answers, each.horizons_ns)
        ],
        instruments=instruments,
        decisions=len(sets[0]),
        left_out=left_out,
        is_vouched=bool(closed.shadow_id),
        is_in_sample=bool(run["in_sample"]),
    )


def as_json(found: ShadowAudit) -> bytes:
    """Return everything, canonical."""
    return msgspec.json.encode(
        {
            "serving": found.serving,
            "shadow": found.shadow,
            "instruments": found.instruments,
            "decisions": found.decisions,
            "left_out": found.left_out,
            "vouched": found.is_vouched,
            "in_sample": found.is_in_sample,
            "live_coverage": found.kept,
            "results": msgspec.Raw(to_json(found.results)),
        },
        order="sorted",
    )


def heading(found: ShadowAudit) -> str:
    """Return what is judged, and how the run's own bookkeeping of intervals went."""
    names = ", ".join(found.instruments)
    lines = [f"serving is {found.serving}, shadow {found.shadow}: {found.decisions:,} decisions of {names}."]
    if found.left_out:
        lines.append(f"{found.left_out:,} decisions that only one of them answered are left out.")
    if not found.is_vouched:
        lines.append("The run's ledger has no hash of the shadow's file, as a replay's has: it stands for itself.")
    if found.is_in_sample:
        lines.append("IN SAMPLE: the run overlaps what the serving model has seen; its figures prove nothing.")
    if not found.kept:
        return "\n".join([*lines, "The run kept no coverage: predictor.calibration was not online."])
    rows = [
        f"| {each.model} | {each.instrument} | {format_duration(each.horizon_ns)} | {each.decisions:,} | "
        f"{each.last:.3f} | {each.least:.3f} to {each.greatest:.3f} | {each.drifting:.1%} | {each.shrink_least:.2f} |"
        for each in found.kept
    ]
    table = [
        "| Live coverage | Instrument | Horizon | Decisions | Last | Least to greatest | Drifting | Least shrink |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join([*lines, "", *table, *rows])


def _closed(directory: Path) -> _Closed:
    engine = open_ledger(directory)
    try:
        with engine.connect() as connection:
            body = connection.execute(select(tables.journal.c.body).order_by(tables.journal.c.seq.desc()).limit(1))
            return msgspec.json.decode(body.scalar_one(), type=_Closed)
    finally:
        engine.dispose()


def _cut(kept: KeptForecasts, decided_ns: I64, horizons_ns: list[int], levels: list[float]) -> F64:
    """Return [N, H, Q] of some decisions, horizons and levels."""
    if any(each not in kept.horizons_ns for each in horizons_ns) or any(each not in kept.levels for each in levels):
        raise DataError(f"{kept.model_id}: instruments are forecast at different horizons or levels")
    rows = np.searchsorted(kept.close_ns, decided_ns)
    columns = [kept.horizons_ns.index(each) for each in horizons_ns]
    return kept.quantiles[rows][:, columns][:, :, [kept.levels.index(each) for each in levels]]


def _set(label: str, parts: list[Any], horizons_ns: list[int], levels: list[float]) -> ForecastSet:
    return kept_set(label, parts, horizons_ns=horizons_ns, levels=levels)
