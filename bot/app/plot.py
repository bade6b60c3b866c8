"""Any bar, feature or label against the price, as a page that opens anywhere."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from bot.app.features import compute_features, feature_source, schema_of
from bot.core.durations import parse_duration
from bot.core.event_rules import parse_scale
from bot.core.features.catalogue import CATALOGUE
from bot.core.features.schema import FeatureSchema
from bot.domain.errors import ConfigError, DataError
from bot.domain.market import GAP, BarBatch, FeatureBatch
from bot.ports import Histories
from bot.report.market_page import BarColumns, Panel, render_market
from bot.runtime.settings import Settings
from models.training.barriers import Costs, triple_barrier
from models.training.labels import Labels, ewma_volatility, returns_after, volatility_after

BARS_MAX = 5_000  # more make a page that nobody can read and no browser likes
_HOLE_MAX_NS = 3_600_000_000_000
_LABELS = "return(1h), volatility(1h), or barrier(2, 2, 1d): profit and stop in deviations of a bar, and the time"


def plot(
    settings: Settings,
    market: Histories,
    *,
    out: Path,
    scale: str,
    features: Sequence[str],
    labels: Sequence[str],
    bars: int,
    instrument: str | None = None,
    on_progress: Callable[[int], None] = lambda ts_ns: None,
) -> Path:
    """Draw the newest bars of the range with features and labels below them; return the page's path.

    Raises:
        ConfigError: a feature, label, scale or instrument is unknown; DataError: there are no such bars.
    """
    columns, panels = gather(
        settings,
        market,
        scale=scale,
        features=features,
        labels=labels,
        bars=bars,
        instrument=instrument,
        on_progress=on_progress,
    )
    part = out.with_suffix(out.suffix + ".part")
    try:
        part.write_text(render_market(columns, panels), encoding="utf-8")
        return part.replace(out)
    except OSError as error:
        raise ConfigError(f"--out {out}: {error.strerror}; choose a file you may write") from error


def gather(
    settings: Settings,
    market: Histories,
    *,
    scale: str,
    features: Sequence[str],
    labels: Sequence[str],
    bars: int,
    instrument: str | None = None,
    on_progress: Callable[[int], None] = lambda ts_ns: None,
) -> tuple[BarColumns, list[Panel]]:
    """Return what `plot` draws; see there."""
    try:
        parsed = parse_scale(scale)
    except ValueError as error:
        raise ConfigError(f"--bars: {error}") from error
    try:
        schema = schema_of(settings, features or ["log_return"], [scale])
    except ValueError as error:
        raise ConfigError(f"--feature: {error}") from error
    scale = schema.scales[0]
    source = feature_source(settings, market, instrument, schema)
    made: list[FeatureBatch] = []
    drawn: list[BarBatch] = []
    path: list[BarBatch] = []
    for slab, features_of in compute_features(settings, schema, source):
        on_progress(slab.watermark_ns)
        made += [features_of[scale]] if scale in features_of else []
        chosen = slab.event_bars.get(parsed) if isinstance(parsed, str) else slab.bars.get(parsed)
        drawn += [chosen] if chosen is not None else []
        path += [slab.bars[min(slab.bars)]] if slab.bars else []
    if not drawn:
        raise DataError(f"no {scale} bar closes in this range; choose a longer one")
    whole = type(drawn[0]).join(drawn)
    finest = BarBatch.join([batch for batch in path if batch.scale_ns == path[0].scale_ns])
    panels = _feature_panels(schema, FeatureBatch.join(made)) if features else []
    panels += [_label_panel(text, whole, finest, settings) for text in labels]
    return _newest(whole, panels, scale, bars)


def _feature_panels(schema: FeatureSchema, made: FeatureBatch) -> list[Panel]:
    return [
        Panel(
            title=spec.name,
            unit=spec.unit,
            meaning=_summary(spec.formula_id),
            values=made.values[:, column],
            is_label=False,
        )
        for column, spec in enumerate(schema.specs)
    ]


def _newest(whole: BarBatch, panels: Sequence[Panel], scale: str, bars: int) -> tuple[BarColumns, list[Panel]]:
    first = max(0, len(whole) - bars)
    kept = whole.rows(first, len(whole))
    prices = kept.instrument.prices
    columns = BarColumns(
        instrument=kept.instrument.name,
        quote=kept.instrument.quote,
        scale=scale,
        open_ns=kept.open_ns,
        close_ns=kept.close_ns,
        open=prices(kept.open_ticks),
        high=prices(kept.high_ticks),
        low=prices(kept.low_ticks),
        close=prices(kept.close_ticks),
        is_gap=(kept.flags & GAP) != 0,
    )
    cut = [
        Panel(title=p.title, unit=p.unit, meaning=p.meaning, values=p.values[first:], is_label=p.is_label)
        for p in panels
    ]
    return columns, cut


def _label_panel(text: str, decisions: BarBatch, path: BarBatch, settings: Settings) -> Panel:
    match = re.fullmatch(r"\s*(return|volatility|barrier)\s*\(([^()]*)\)\s*", text)
    if match is None:
        raise ConfigError(f"--label {text}: write {_LABELS}")
    kind, arguments = match[1], [part.strip() for part in match[2].split(",")]
    try:
        labels, meaning = _make_labels(kind, arguments, decisions, path, settings)
    except ValueError as error:
        raise ConfigError(f"--label {text}: {error}; write {_LABELS}") from error
    column = 1 if kind == "barrier" else 0
    return Panel(title=labels.names[column], unit="1", meaning=meaning, values=labels.values[:, column], is_label=True)


def _make_labels(
    kind: str, arguments: Sequence[str], decisions: BarBatch, path: BarBatch, settings: Settings
) -> tuple[Labels, str]:
    if kind != "barrier":
        (horizon,) = arguments
        make = returns_after if kind == "return" else volatility_after
        what = "cumulative log return" if kind == "return" else "log of the realised volatility"
        made = make(decisions, path, horizons_ns=[parse_duration(horizon)], hole_max_ns=_HOLE_MAX_NS)
        return made, f"What comes after each bar: the {what} over the next {horizon}."
    profit, stop, horizon = arguments
    deviation = ewma_volatility(decisions, half_life=20, warm_up=20)
    outcomes = triple_barrier(
        decisions,
        path,
        horizon_ns=parse_duration(horizon),
        profit=float(profit) * deviation,
        stop=float(stop) * deviation,
        costs=Costs(fee_rate=float(settings.fees.taker_rate), spread_bps=2 * float(settings.venue.slippage_bps)),
        hole_max_ns=_HOLE_MAX_NS,
    )
    meaning = (
        f"What a long entered at each bar's close would have returned after costs: {profit} deviations of a bar's "
        f"return to the profit, {stop} to the stop, at most {horizon}."
    )
    return outcomes.labels(), meaning


def _summary(name: str) -> str:
    """Return the first sentence of a feature's docstring, as a statement."""
    text = " ".join((CATALOGUE[name].build.__doc__ or "").split())
    sentence = re.split(r"(?<=[.:;])\s(?=[A-Z])", text)[0].removeprefix("Return ").rstrip(".")
    return f"{sentence[0].upper()}{sentence[1:]}."
