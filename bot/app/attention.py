"""`bot models attention`: one decision of an artefact on recorded market data, taken apart and drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bot.app.features import compute_features, feature_source
from bot.core.durations import format_duration
from bot.domain.errors import DataError
from bot.domain.market import F64, I64, FeatureBatch
from bot.ports import Histories
from bot.report.attention_page import DecisionLook, ScaleLook, render_attention
from bot.report.words import utc
from bot.runtime.env import utc_now
from bot.runtime.settings import Settings
from models import artifact_store
from models.artifact import load
from models.durable import write_file
from models.inspect import attention_of, input_of, integrated_gradients
from models.serving.engine import Engine
from models.training.segments import ScaleArrays

_DECISIONS = 64  # up to the chosen one, over which a streaming network's weights of scales are summed up


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Stream:
    """What is known of one scale at the decision, oldest bar first."""

    values_LF: np.ndarray  # as the feature engine gave them
    close_ns: I64
    known_ns: I64


def draw_attention(
    store: Path,
    model: str,
    settings: Settings,
    market: Histories,
    *,
    instrument: str | None,
    out: Path,
    trusted: frozenset[str] | None = None,
    on_progress: Callable[[int], None] = lambda ts_ns: None,
) -> dict[str, Any]:
    """Draw the newest decision of the data; return what was drawn.

    Raises:
        ConfigError: there is no such model or instrument, or nothing here feeds the model. DataError: the model is
            refused, or the data do not hold what the decision needs.
    """
    path = artifact_store.locate(store, model)
    loaded = load(path, trusted=trusted, now_ns=int(utc_now().timestamp()) * 1_000_000_000)
    engine = Engine(loaded)
    told = engine.told
    source = feature_source(settings, market, instrument, told.schema)
    name = source.instrument.name
    asset = told.instruments.index(name) if name in told.instruments else 0
    made: dict[str, list[FeatureBatch]] = {scale.bar: [] for scale in told.scales}
    for slab, features_of in compute_features(settings, told.schema, source):
        on_progress(slab.watermark_ns)
        for bar, batch in features_of.items():
            made[bar].append(batch)
    needs = {scale.bar: scale.need for scale in told.scales}
    streams, times = _cut(made, needs, told.schema.warmup, told.how == "banded")
    first = streams[told.scales[0].bar]
    unit_NH = engine.unit_at(first.values_LF[np.searchsorted(first.known_ns, times, side="right") - 1])
    normal = {bar: engine.normalize(bar, each.values_LF) for bar, each in streams.items()}
    arrays = {
        bar: ScaleArrays(values_BLF=normal[bar][None], close_ns_BL=each.close_ns[None], known_ns_BL=each.known_ns[None])
        for bar, each in streams.items()
    }
    answers = engine.ask_arrays(arrays, times[None], asset, unit_NH)
    given = input_of(
        {bar: (normal[bar], each.close_ns, each.known_ns) for bar, each in streams.items()}, times.tolist(), asset
    )
    looks, moved = attention_of(loaded.model, given), integrated_gradients(loaded.model, given)
    horizon_ns = told.horizons_ns[0] if told.horizons_ns else None
    unit = 1.0 if horizon_ns is None else float(unit_NH[-1, loaded.manifest.labels.horizons_ns.index(horizon_ns)])
    asked = (
        "The first answer"
        if horizon_ns is None
        else f"Median return over {format_duration(horizon_ns)}, before calibration"
    )
    page = render_attention(
        DecisionLook(
            model=told.name,
            instrument=name,
            decision_ns=int(times[-1]),
            horizons_ns=told.horizons_ns,
            levels=told.levels,
            quantiles_HQ=answers.quantiles_NHQ[-1],
            importance_DS=answers.importance_NS,
            scales=[
                ScaleLook(
                    bar=bar,
                    close_ns_L=look.close_ns_L[-needs[bar] :],  # older bars cannot reach this decision
                    own_HL=None if look.own_HL is None else look.own_HL[:, -needs[bar] :],
                    fused_N=look.fused_N,
                    fused_ns_N=look.fused_ns_N,
                    features=told.schema.names,
                    moved_LF=unit * moved.by_bar[bar][-needs[bar] :],
                )
                for bar, look in looks.items()
            ],
            asked=asked,
            answer=unit * moved.answer,
            at_zero=unit * moved.at_zero,
            lacking=unit * moved.lacking,
        )
    )
    write_file(out, page.encode())
    weights: F64 = answers.importance_NS[-1]
    return {
        "model": told.name,
        "instrument": name,
        "decision": utc(int(times[-1]), seconds=True),
        "scales": {scale.bar: round(float(weight), 4) for scale, weight in zip(told.scales, weights, strict=True)},
        "page": str(out.resolve()),
    }


def _cut(
    made: dict[str, list[FeatureBatch]], needs: dict[str, int], warm_up: int, is_banded: bool
) -> tuple[dict[str, _Stream], I64]:
    """Return what each scale knows at the newest decision, and the times of that and of decisions before it.

    Args:
        needs: by scale, the bars that a decision reads.
        warm_up: the bars that features need before them.
    Raises:
        DataError: a scale knows too little then, or a feature that is needed is no number.
    """
    whole = {}
    for bar, batches in made.items():
        if not batches:
            raise DataError(f"no {bar} bar closes in this range; choose a longer one")
        joined = FeatureBatch.join(batches)
        whole[bar] = _Stream(
            values_LF=joined.values.astype(np.float32), close_ns=joined.close_ns, known_ns=joined.known_ns
        )
    first = next(iter(whole))
    known_ns = whole[first].known_ns
    decision_ns = int(known_ns[-1])
    spans_ns = [(needs[bar] + warm_up + 1) * _step_ns(each) for bar, each in whole.items()]
    begin = f"{utc(decision_ns - max(spans_ns)).replace(' ', 'T')}"
    wanted = f"read the past from {begin} on (--from), without holes, or choose a later decision (--at)"
    for bar, each in whole.items():
        room = _room(each, needs[bar], decision_ns)
        if room < 0:
            raise DataError(
                f"{bar}: {needs[bar] + room} bars are known by then, and a decision needs {needs[bar]}; {wanted}"
            )
    times = known_ns[-_DECISIONS if is_banded else -1 :]
    while len(times) > 1 and any(_room(each, needs[bar], int(times[0])) < 0 for bar, each in whole.items()):
        times = times[1:]
    cut = {}
    for bar, each in whole.items():
        last = int(np.searchsorted(each.known_ns, decision_ns, side="right"))
        start = int(np.searchsorted(each.known_ns, int(times[0]), side="right")) - needs[bar]
        cut[bar] = _Stream(
            values_LF=each.values_LF[start:last], close_ns=each.close_ns[start:last], known_ns=each.known_ns[start:last]
        )
        if not np.isfinite(cut[bar].values_LF).all():
            raise DataError(f"{bar}: a feature is not known at each bar that the decision reads; {wanted}")
    return cut, times


def _step_ns(stream: _Stream) -> int:
    """Return how far apart bars usually close."""
    return int(np.median(np.diff(stream.close_ns))) if len(stream.close_ns) > 1 else 0


def _room(stream: _Stream, need: int, at_ns: int) -> int:
    """Return how many bars more than needed are known at a time."""
    return int(np.searchsorted(stream.known_ns, at_ns, side="right")) - need
