"""Features of recorded market data: which they are, their values, and the proof that none knows the future."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bot.core.bars import BarAggregator
from bot.core.book_features import LEVELS
from bot.core.durations import format_duration
from bot.core.event_rules import parse_scale
from bot.core.features.catalogue import CATALOGUE
from bot.core.features.engine import FeatureEngine
from bot.core.features.inputs import INPUTS, Origin
from bot.core.features.schema import FeatureSchema
from bot.core.lookahead import Market, Outputs, Report, probe
from bot.core.perturb import Rows, Table, known_times
from bot.domain.errors import ConfigError, DataError
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, BookBatch, FeatureBatch, MarketSlab, TradeBatch
from bot.ports import Histories, MarketHistory
from bot.runtime.env import seeded_generator
from bot.runtime.settings import Settings
from bot.store.book_history import BookHistory
from bot.store.mark_history import read_marks
from bot.store.market_dataset import Dataset

_SLAB_ROWS = 65_536
_BOOK_ROWS = 50_000  # of the order book, at most, that a check uses


def make_schema(settings: Settings) -> FeatureSchema:
    """Return the feature schema that the settings ask for.

    Raises:
        ConfigError: a feature or a scale is unknown or impossible.
    """
    chosen = settings.features
    scales = chosen.scales or (*map(format_duration, settings.bars.scales), *settings.bars.events)
    try:
        return schema_of(settings, chosen.use, scales, chosen.clips)
    except ValueError as error:
        raise ConfigError(f"features: {error}") from error


def schema_of(
    settings: Settings,
    features: Sequence[str],
    scales: Sequence[str],
    clips: Mapping[str, tuple[float, float]] | None = None,
) -> FeatureSchema:
    """Return these features at these scales, as they are under these settings.

    The smallest bars are the smallest that are made at all, whether features are asked for at their scale or not.

    Raises:
        ValueError: a feature or a scale is unknown or impossible.
    """
    lengths_ns = [scale for scale in map(parse_scale, scales) if isinstance(scale, int)]
    return FeatureSchema(
        features,
        scales,
        clips,
        funding_interval_ns=settings.features.funding_interval,
        finest_ns=min([*settings.bars.scales, *lengths_ns]),
    )


def describe_features(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the catalogue says of these features, of all of them if none is named.

    Raises:
        ConfigError: there is none of that name.
    """
    unknown = [name for name in names if name not in CATALOGUE]
    if unknown:
        raise ConfigError(f"no feature is named {', '.join(unknown)}; there are {', '.join(CATALOGUE)}")
    return [
        {
            "name": entry.name,
            "parameters": entry.defaults,
            "unit": entry.unit,
            "source": entry.source,
            "meaning": (entry.build.__doc__ or "").strip(),
        }
        for entry in CATALOGUE.values()
        if not names or entry.name in names
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSource:
    """One instrument's market, and what is joined to it."""

    instrument: Instrument
    history: MarketHistory
    reference: tuple[Instrument, MarketHistory] | None
    marks: Path | None
    book: Path | None


def feature_source(settings: Settings, market: Histories, name: str | None, schema: FeatureSchema) -> FeatureSource:
    """Return the market of the instrument of that name, of the first if none is named.

    Raises:
        ConfigError: the settings name no such instrument, or no reference although a feature needs one.
    """
    by_name = {instrument.name: (instrument, history) for instrument, history in market}
    name = name or next(iter(by_name))
    wanted = settings.features.reference
    for each, where in ((name, "--instrument"), (wanted, "features.reference")):
        if each is not None and each not in by_name:
            raise ConfigError(f"{where} {each}: no such instrument in [market]; there are {', '.join(by_name)}")
    if wanted is None and any(INPUTS[each].origin is Origin.REFERENCE for each in schema.inputs):
        raise ConfigError("features.reference: a feature compares with another instrument; name it")
    instrument, history = by_name[name]
    files = next((each for each in settings.market.instruments if each.name == name), None)
    source = FeatureSource(
        instrument=instrument,
        history=history,
        reference=by_name[wanted] if wanted is not None else None,
        marks=None if files is None else files.marks,
        book=None if files is None else files.book,
    )
    for origin, path, key in ((Origin.MARK, source.marks, "marks"), (Origin.BOOK, source.book, "book")):
        if path is None and any(INPUTS[each].origin is origin for each in schema.inputs):
            raise ConfigError(
                f"market.instruments: a feature needs {name}'s {key}; name its folder in the market store"
            )
    return source


def compute_features(
    settings: Settings, schema: FeatureSchema, source: FeatureSource
) -> Iterator[tuple[MarketSlab, dict[str, FeatureBatch]]]:
    """Yield the market in slabs, each with the features of the bars that it closes.

    Raises:
        DataError: what is recorded is damaged; ConfigError: the bars asked for cannot be made of it.
    """
    stage = _Stage(settings, schema, source)
    funding = source.history.funding()
    if funding is not None:
        stage.engine.on_funding(funding)
    if source.marks is not None:
        stage.engine.on_marks(_read_marks(settings, source))
    if source.reference is not None:
        for slab in source.reference[1].slabs(_SLAB_ROWS):
            stage.on_reference(slab)
    books = _books(settings, source)
    book_known_ns = 0
    for slab in source.history.slabs(_SLAB_ROWS):
        last_ns = int(known_times(slab)[-1]) + settings.bars.lateness
        while book_known_ns <= last_ns and (states := next(books, None)) is not None:
            stage.engine.on_book(states)
            book_known_ns = int(states.known_ns[-1]) if len(states) else book_known_ns
        yield stage.on_rows(slab)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureCheck:
    """What was checked and what came of it."""

    instrument: str
    features: int
    scales: tuple[str, ...]
    rows: int  # of market data
    bars: int
    report: Report


def check_features(
    settings: Settings,
    schema: FeatureSchema,
    source: FeatureSource,
    *,
    rows: int,
    cuts: int,
    on_trial: Callable[[int, int], None] = lambda done, trials: None,
) -> FeatureCheck:
    """Prove on recorded data that features are the same in any cut, and that no future changes them.

    Args:
        settings: of the run whose features are meant.
        schema: which they are.
        source: the market.
        rows: how many rows of market data to use, the newest of its range.
        cuts: after how many moments to change the future.
        on_trial: told how far it is.

    Raises:
        DataError: there is too little data.
    """
    market = _read_market(settings, source, rows)
    bars = 0

    def compute(changed: Market) -> Outputs:
        nonlocal bars
        stage = _Stage(settings, schema, source)
        if "funding" in changed.streams:
            stage.engine.on_funding(changed["funding"])
        if "marks" in changed.streams:
            stage.engine.on_marks(changed["marks"])
        if "book" in changed.streams:
            for states in changed.slabs("book"):
                stage.engine.on_book(states)
        if "reference" in changed.streams:
            for slab in changed.slabs("reference"):
                stage.on_reference(slab)
        made = [stage.on_rows(slab)[1] for slab in changed.slabs("market")]
        made.append(stage.on_watermark(changed.watermark_ns))
        outputs = _tables(made, schema)
        bars = max(bars, sum(map(len, outputs.values())))
        return outputs

    count = len(market["market"])
    report = probe(
        compute,
        market,
        cuts=cuts,
        kinds_per_cut=3,
        pieces=(2, 97, min(count, 2_000)),
        make_generator=lambda stream: seeded_generator(settings.run.seed, f"features check {stream}"),
        on_trial=on_trial,
    )
    return FeatureCheck(
        instrument=source.instrument.name,
        features=len(schema.names),
        scales=schema.scales,
        rows=count,
        bars=bars,
        report=report,
    )


class _Stage:
    """Rows of the market to bars to features, as the live pipeline does it."""

    def __init__(self, settings: Settings, schema: FeatureSchema, source: FeatureSource) -> None:
        self._settings = settings
        self.engine = FeatureEngine(schema, source.instrument)
        self._scales = [parse_scale(scale) for scale in schema.scales]
        self._aggregator = self._make_aggregator(source.instrument, source.history)
        self._reference = None if source.reference is None else self._make_aggregator(*source.reference)

    def on_rows(self, rows: TradeBatch | BarBatch) -> tuple[MarketSlab, dict[str, FeatureBatch]]:
        slab = _aggregate(self._aggregator, rows)
        return slab, self._features(slab)

    def on_watermark(self, watermark_ns: int) -> dict[str, FeatureBatch]:
        """Close what closes by then, where trades are recorded; bars close themselves."""
        slab = self._aggregator.on_watermark(watermark_ns)
        return self._features(slab)

    def on_reference(self, rows: TradeBatch | BarBatch) -> None:
        assert self._reference is not None
        for bars in _aggregate(self._reference, rows).bars.values():
            self.engine.on_reference(bars)

    def _features(self, slab: MarketSlab) -> dict[str, FeatureBatch]:
        return self.engine.on_bars([*slab.bars.values(), *slab.event_bars.values()])

    def _make_aggregator(self, instrument: Instrument, history: MarketHistory) -> BarAggregator:
        bars = self._settings.bars
        lengths = {scale for scale in self._scales if isinstance(scale, int)}
        rules = {scale for scale in self._scales if isinstance(scale, str)}
        try:
            return BarAggregator(
                instrument,
                scales_ns=sorted({*bars.scales, *lengths}),
                lateness_ns=bars.lateness,
                gap_max_ns=bars.gap_max,
                source_scale_ns=history.source_scale_ns,
                event_rules=sorted({*bars.events, *rules}),
            )
        except ValueError as error:
            raise ConfigError(f"bars.scales, bars.events or features.scales: {error}") from error


def _aggregate(aggregator: BarAggregator, rows: TradeBatch | BarBatch) -> MarketSlab:
    return aggregator.on_trades(rows) if isinstance(rows, TradeBatch) else aggregator.on_bars(rows)


def _read_market(settings: Settings, source: FeatureSource, rows: int) -> Market:
    """Return the newest rows, with what is joined to them."""
    newest = _newest_rows(source.history, rows)
    if len(newest) < 100:
        raise DataError(f"{source.instrument.name}: {len(newest)} rows are too few to check; choose a longer range")
    streams: dict[str, Rows] = {"market": newest}
    funding = source.history.funding()
    if funding is not None and len(funding):
        streams["funding"] = funding
    if source.marks is not None:
        streams["marks"] = _read_marks(settings, source)
    if source.reference is not None:
        streams["reference"] = _newest_rows(source.reference[1], rows)
    states = list(_books(settings, source))
    if states:
        whole = BookBatch.join(states)
        since_ns = int(known_times(newest)[0])
        first = max(0, int(np.maximum.accumulate(whole.known_ns).searchsorted(since_ns)) - 1)
        streams["book"] = whole.rows(first, min(len(whole), first + _BOOK_ROWS))
    return Market.of(**streams)


def _read_marks(settings: Settings, source: FeatureSource) -> BarBatch:
    assert source.marks is not None
    return read_marks(source.instrument, source.marks, settings.run.start, settings.run.end)


def _books(settings: Settings, source: FeatureSource) -> Iterator[BookBatch]:
    if source.book is None:
        return iter(())
    run = settings.run
    history = BookHistory(source.instrument, Dataset(source.book), from_ns=run.start, to_ns=run.end, round_qtys=True)
    return history.books(depth=LEVELS)


def _newest_rows(history: MarketHistory, rows: int) -> TradeBatch | BarBatch:
    kept: list[Any] = []
    held = 0
    for slab in history.slabs(_SLAB_ROWS):
        kept.append(slab)
        held += len(slab)
        while held - len(kept[0]) >= rows:
            held -= len(kept.pop(0))
    whole: TradeBatch | BarBatch = type(kept[0]).join(kept)
    return whole.rows(max(0, len(whole) - rows), len(whole))


def _tables(made: Sequence[Mapping[str, FeatureBatch]], schema: FeatureSchema) -> dict[str, Table]:
    tables = {}
    for scale in schema.scales:
        parts = [features[scale] for features in made if scale in features]
        if parts:
            whole = FeatureBatch.join(parts)
            columns = {name: np.ascontiguousarray(whole.values[:, i]) for i, name in enumerate(schema.names)}
            tables[scale] = Table(known_ns=whole.known_ns, columns=columns)
    return tables
