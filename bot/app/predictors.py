"""Which forecasting model a run uses, made for each of its instruments, or refused in one line."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from bot.app.ewma import make_ewma
from bot.core.bars import BarAggregator
from bot.core.book_features import LEVELS
from bot.core.calibration import CalibrationParams
from bot.core.durations import format_duration
from bot.core.features.engine import FeatureEngine
from bot.core.features.inputs import INPUTS, Origin
from bot.domain.errors import ConfigError
from bot.domain.market import BarBatch, BookBatch, ForecastBatch, TradeBatch
from bot.ports import Histories, MarketHistory, Predictor
from bot.runtime.market_settings import FeatureSettings, InstrumentSettings
from bot.runtime.settings import Settings
from bot.runtime.strategy_settings import PredictorSettings
from bot.store.book_history import BookHistory
from bot.store.mark_history import read_marks
from bot.store.market_dataset import Dataset
from models.serving.told import Told, find_artifact, read_told
from strategies.base import Strategy

_SLAB_ROWS = 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictors:
    """The models of a run.

    Attributes:
        by_name: one for each instrument; None where the strategy wants no forecasts.
        shadows: the same of the model that is only recorded.
        model_id: what made the forecasts.
        told: of an artefact.
    """

    by_name: dict[str, Predictor | None]
    shadows: dict[str, Predictor]
    model_id: str
    told: Told | None = None

    @property
    def scales_ns(self) -> frozenset[int]:
        """Return the lengths of the bars that any of them reads."""
        some = [*self.by_name.values(), *self.shadows.values()]
        return frozenset(scale_ns for each in some if each is not None for scale_ns in each.scales_ns)

    @property
    def shadow_id(self) -> str:
        """Return what made the recorded forecasts, "" where none are."""
        return next((each.model_id for each in self.shadows.values()), "")

    def in_sample(self, first_ns: int | None, last_ns: int | None) -> bool:
        """Return whether forecasts made from `first_ns` to `last_ns` overlap what the model has been shown."""
        if self.told is None or first_ns is None or last_ns is None:
            return False
        return self.told.in_sample(first_ns, last_ns)


def check_predictor(settings: Settings, strategy: Strategy[Any]) -> None:
    """Refuse what can be refused before any market data is read.

    Raises:
        ConfigError, DataError: the settings, the artefact and the strategy do not fit together.
    """
    if strategy.wants_forecasts and settings.predictor.kind == "artifact":
        names = [each.name for each in settings.market.instruments]
        told = _read(settings, settings.predictor.path, names)
        check_strategy(strategy, told.horizons_ns, told.answer_names, told.name)
        if settings.predictor.shadow is not None:
            _read(settings, settings.predictor.shadow, names)
    elif strategy.wants_forecasts:
        _make_ewma(settings, strategy)


def make_predictors(settings: Settings, strategy: Strategy[Any], market: Histories) -> Predictors:
    """Return the models of a run.

    Raises:
        ConfigError, DataError: the settings, the artefact and the market do not fit together.
    """
    chosen, names = settings.predictor, [instrument.name for instrument, _ in market]
    if not strategy.wants_forecasts:
        return Predictors(by_name=dict.fromkeys(names), shadows={}, model_id="none")
    shadows = {} if chosen.shadow is None else _of_artifact(settings, chosen.shadow, market)[0]
    if chosen.kind == "artifact":
        made, told = _of_artifact(settings, chosen.path, market)
        check_strategy(strategy, told.horizons_ns, told.answer_names, told.name)
        return Predictors(by_name=dict(made), shadows=shadows, model_id=told.name, told=told)
    plain: dict[str, Predictor | None] = {name: _make_ewma(settings, strategy) for name in names}
    model_id = next(each.model_id for each in plain.values() if each is not None)
    return Predictors(by_name=plain, shadows=shadows, model_id=model_id)


def _make_ewma(settings: Settings, strategy: Strategy[Any]) -> Predictor:
    chosen = settings.predictor
    check_strategy(strategy, chosen.horizons, (), "ewma_vol")
    if chosen.calibration == "online":
        raise ConfigError('predictor.calibration = "online": of an artifact alone; leave it out for ewma_vol')
    return make_ewma(chosen, settings.bars.scales)


def check_strategy(strategy: Strategy[Any], horizons_ns: Sequence[int], answers: Sequence[str], model: str) -> None:
    """Refuse a strategy that needs what the model does not say.

    Raises:
        ConfigError: it does.
    """
    missing = [format_duration(horizon) for horizon in strategy.horizons_ns if horizon not in horizons_ns]
    if missing and model == "ewma_vol":
        raise ConfigError(
            f"predictor.horizons: {strategy.name} needs a forecast over {', '.join(missing)}, and none is made; add it"
        )
    if missing:
        given = ", ".join(map(format_duration, horizons_ns)) or "no returns at all"
        raise ConfigError(
            f"{strategy.name} needs a forecast over {', '.join(missing)}, and {model} forecasts {given}; choose "
            "another horizon, or train one with it"
        )
    unsaid = [name for name in strategy.answers if name not in answers]
    if unsaid:
        raise ConfigError(
            f"{strategy.name} needs a model that says {', '.join(unsaid)}, and {model} says "
            f"{', '.join(answers) or 'nothing but returns'}; choose another strategy, or train the head that it needs"
        )


def _read(settings: Settings, path: Path, names: Sequence[str]) -> Told:
    return read_artifact(find_artifact(path), names, settings.predictor, settings.features)


def read_artifact(path: Path, names: Sequence[str], predictor: PredictorSettings, features: FeatureSettings) -> Told:
    """Return what an artefact says, if it can be used for these instruments with these settings.

    Raises:
        ConfigError, DataError: it cannot, or is refused.
    """
    told = read_told(path, trusted=trusted_keys(predictor))
    strange = [name for name in names if name not in told.instruments]
    if strange:
        raise ConfigError(
            f"{told.name}: was not trained on {', '.join(strange)}, only on {', '.join(told.instruments)}; trade "
            "those, or train on what you trade"
        )
    interval_ns = features.funding_interval
    if told.schema.funding_interval_ns != interval_ns:
        raise ConfigError(
            f"features.funding_interval = {format_duration(interval_ns)}: {told.name} was trained with "
            f"{format_duration(told.schema.funding_interval_ns)}; write that"
        )
    return told


def _of_artifact(settings: Settings, path: Path, market: Histories) -> tuple[dict[str, Predictor], Told]:
    told = _read(settings, path, [instrument.name for instrument, _ in market])
    for instrument, history in market:
        _check_source(told, instrument.name, history)
    # Torch is imported here, by whoever computes forecasts in this very process, and by nobody else.
    engine = import_module("models.serving.engine").open_engine(
        find_artifact(path), threads=settings.predictor.threads, trusted=trusted_keys(settings.predictor)
    )
    make = import_module("models.serving.predictor").ArtifactPredictor
    calibration = calibration_params(settings.predictor, told)
    return {
        instrument.name: make(
            engine,
            instrument,
            asset=told.instruments.index(instrument.name),
            calibration=calibration,
            prepare=_joined(settings, told, market, instrument.name),
        )
        for instrument, _ in market
    }, told


def calibration_params(chosen: PredictorSettings, told: Told) -> CalibrationParams | None:
    """Return how intervals follow their own coverage; None where they do not.

    Raises:
        ConfigError: this model's cannot.
    """
    if chosen.calibration == "off" or not told.horizons_ns:
        return None
    odd = [each for each in told.horizons_ns if each % told.decision_ns]
    if odd and chosen.calibration == "online":
        raise ConfigError(
            f'predictor.calibration = "online": outcomes are told by {format_duration(told.decision_ns)} bars, of '
            f'which {format_duration(odd[0])} is no multiple; write "off"'
        )
    if odd:
        return None
    return CalibrationParams(rate=chosen.calibration_rate, half_life=chosen.calibration_half_life)


def _check_source(told: Told, name: str, history: MarketHistory) -> None:
    source_ns = history.source_scale_ns
    if source_ns is None:
        return
    finer = [each for each in told.scales_ns if each % source_ns]
    if finer:
        raise ConfigError(
            f"{told.name}: reads bars of {format_duration(finer[0])}, which cannot be made of {name}'s "
            f"{format_duration(source_ns)} bars; give it trades, or finer bars"
        )


def _joined(settings: Settings, told: Told, market: Histories, name: str) -> Callable[[FeatureEngine, int], None]:
    """Return what hands a feature engine all that is joined to bars, as training did."""
    files = next((each for each in settings.market.instruments if each.name == name), None)
    instrument, history = next(each for each in market if each[0].name == name)
    origins = {INPUTS[each].origin for each in told.schema.inputs}
    _check_joined(settings, told, market, files, origins)
    is_begun = False
    states: Iterator[BookBatch] = iter(())
    known_ns = 0

    def prepare(engine: FeatureEngine, until_ns: int) -> None:
        nonlocal is_begun, states, known_ns
        if not is_begun:
            is_begun = True
            funding = history.funding()
            if funding is not None:
                engine.on_funding(funding)
            if Origin.MARK in origins and files is not None and files.marks is not None:
                engine.on_marks(read_marks(instrument, files.marks, settings.run.start, settings.run.end))
            if Origin.REFERENCE in origins:
                for bars in _reference(settings, told, market):
                    engine.on_reference(bars)
            if Origin.BOOK in origins and files is not None and files.book is not None:
                run = settings.run
                book = BookHistory(instrument, Dataset(files.book), from_ns=run.start, to_ns=run.end, round_qtys=True)
                states = book.books(depth=LEVELS)
        while known_ns <= until_ns and (batch := next(states, None)) is not None:
            engine.on_book(batch)
            known_ns = int(batch.known_ns[-1]) if len(batch) else known_ns

    return prepare


def _check_joined(
    settings: Settings, told: Told, market: Histories, files: InstrumentSettings | None, origins: set[Origin]
) -> None:
    for origin, key in ((Origin.MARK, "marks"), (Origin.BOOK, "book")):
        if origin in origins and (files is None or getattr(files, key) is None):
            raise ConfigError(f"market.instruments: {told.name} reads {key}; name their folder in the market store")
    wanted = settings.features.reference
    if Origin.REFERENCE in origins and wanted not in [instrument.name for instrument, _ in market]:
        raise ConfigError(
            f"features.reference = {wanted!r}: {told.name} compares with another instrument; name the one it was "
            "trained with, and have it in [market]"
        )


def _reference(settings: Settings, told: Told, market: Histories) -> Iterator[BarBatch]:
    """Yield the reference instrument's bars of every scale."""
    instrument, history = next(each for each in market if each[0].name == settings.features.reference)
    aggregator = BarAggregator(
        instrument,
        scales_ns=sorted({*settings.bars.scales, *told.scales_ns}),
        lateness_ns=settings.bars.lateness,
        gap_max_ns=settings.bars.gap_max,
        source_scale_ns=history.source_scale_ns,
    )
    for rows in history.slabs(_SLAB_ROWS):
        slab = aggregator.on_trades(rows) if isinstance(rows, TradeBatch) else aggregator.on_bars(rows)
        yield from slab.bars.values()


def trusted_keys(predictor: PredictorSettings) -> frozenset[str] | None:
    """Return the keys one of which must have signed an artefact; None where any artefact is taken."""
    keys = predictor.trusted
    return frozenset(key.lower() for key in keys) if keys else None


class ForecastSpan:
    """When the first and the last forecast of a run were made."""

    def __init__(self) -> None:
        self.first_ns: int | None = None
        self.last_ns: int | None = None

    def see(self, forecasts: ForecastBatch) -> None:
        """Count some."""
        if len(forecasts):
            first, last = int(np.min(forecasts.close_ns)), int(np.max(forecasts.close_ns))
            self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
            self.last_ns = last if self.last_ns is None else max(self.last_ns, last)
