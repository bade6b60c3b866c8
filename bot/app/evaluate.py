"""`bot evaluate`: artefacts beside the baselines on months that none of them has seen.

Every model answers the same decisions, and all are judged by the same outcomes. What a model was trained, chosen or
calibrated by is refused, or marked where that is asked for. Each look is written down before the months are opened.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from bot.app import training_data
from bot.app.evaluate_trades import HOLD, judge, trade
from bot.core.durations import parse_duration
from bot.domain.errors import ConfigError, DataError
from bot.domain.market import F64, I64
from bot.runtime.env import utc_now
from bot.runtime.settings import Settings
from bot.runtime.train_settings import TrainSettings
from models import artifact_store, asking
from models.artifact import Loaded, load
from models.asking import Asked
from models.evaluation.bootstrap import Sampling
from models.evaluation.forecast_set import ForecastSet
from models.evaluation.references import Known, answer, fit_references
from models.evaluation.results import Results, compare
from models.evaluation.strategy import StrategyStatistics
from models.evaluation.trials import open_trial, read_trials, score_trial
from models.manifest import Manifest
from models.training.panel import Panel, open_panel

# Shape letters in this file: N sample, F feature, H horizon, Q level.
IN_SAMPLE = " (in-sample)"
NEVER_NS = 2**62
_KEEP = 0.9  # of the decisions that any model answers, the least that all of them must
_INSTRUMENTS_MAX = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is to be judged, and by what.

    Attributes:
        models: names in the store, beginnings of names, or paths.
        settings: of a training: where the market data lies.
        from_ns, to_ns: decisions judged; None for what the models hold out, to the end of the data.
        baselines: which references; empty for all that there are. None for none.
        trials: where looks at the hold-out are counted; None counts nothing, for stretches that hold nothing out.
        trade: settings of a replay, by whose strategy each model is traded over the same stretch; None: none is.
    """

    models: Sequence[str]
    store: Path
    settings: TrainSettings
    from_ns: int | None = None
    to_ns: int | None = None
    baselines: Sequence[str] | None = ()
    is_in_sample_allowed: bool = False
    sampling: Sampling
    trials: Path | None = None
    trade: Settings | None = None
    threads: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What was found, and on what."""

    results: Results
    from_ns: int
    to_ns: int
    instruments: tuple[str, ...]
    left_out: int  # decisions that some model could answer and another could not
    in_sample: dict[str, list[str]]  # by model, which of its own stretches the judged one touches
    idle: list[str]  # models that were traded and never held anything


Tell = Callable[[str, float, str], None]
"""Stage, part done, words. What it raises ends the evaluation; it is told often, also that nothing has changed."""


def evaluate(request: Request, tell: Tell) -> Evaluation:
    """Judge models beside baselines on one stretch.

    Raises:
        ConfigError: the stretch is not out of sample, or models and data do not go together.
        DataError: an artefact is refused, or the data are damaged.
    """
    if not request.models:
        raise ConfigError("name a model at least: its name in the store, the beginning of one, or a path")
    places = [artifact_store.locate(request.store, model) for model in dict.fromkeys(request.models)]
    loaded = [load(place) for place in places]
    from_ns, to_ns = _stretch(request, [each.manifest for each in loaded])
    in_sample = {each.name: asking.seen(each.manifest, from_ns, to_ns) for each in loaded}
    _refuse_seen(in_sample, request.is_in_sample_allowed)
    instruments = loaded[0].manifest.limits.instruments
    trials = _open_trials(request, loaded, from_ns, to_ns)
    panels: dict[str, Panel] = {}
    models: list[ForecastSet] = []
    first: Asked | None = None
    for number, each in enumerate(loaded):
        panel = _panel(request, each.manifest, panels, tell)
        tell("models", number / len(loaded), each.name)
        asked = asking.ask(each, panel, check=partial(tell, "models", number / len(loaded), each.name))
        rows = asked.rows_between(from_ns, to_ns)
        if not len(rows):
            raise ConfigError(f"{each.name}: there is no decision to judge in that stretch; move --from or --to")
        name = each.name + (IN_SAMPLE if in_sample[each.name] else "")
        models.append(asked.forecasts(name, rows, threads=request.threads))
        first = first or asked
    assert first is not None
    models, left_out = _common(models)
    baselines = [] if request.baselines is None else _baselines(request, first, panels, models[0], tell)
    tell("judging", 0.0, f"{len(models[0]):,} decisions")
    results = compare(
        models,
        baselines,
        sampling=request.sampling,
        volatility_N=_volatility(first, models[0]),
        trials=None if request.trials is None else read_trials(request.trials).count,
    )
    results, idle = _trade(request, dict(zip(places, loaded, strict=True)), trials, results, from_ns, to_ns, tell)
    return Evaluation(
        results=results,
        from_ns=from_ns,
        to_ns=to_ns,
        instruments=instruments,
        left_out=left_out,
        in_sample={name: stretches for name, stretches in in_sample.items() if stretches},
        idle=idle,
    )


def _trade(
    request: Request,
    loaded: Mapping[Path, Loaded],
    trials: Sequence[int],
    results: Results,
    from_ns: int,
    to_ns: int,
    tell: Tell,
) -> tuple[Results, list[str]]:
    """Return the results with what each model earned, and who never held anything; write down what was found."""
    earned: dict[str, StrategyStatistics] = {}
    idle: list[str] = []
    for number, (place, each) in enumerate(loaded.items()):
        found = None
        if request.trade is not None:
            tell("trading", number / len(loaded), each.name)
            done = trade(
                request.trade, place, each.manifest, from_ns=from_ns, to_ns=to_ns if to_ns < NEVER_NS else None
            )
            tried = results.trials or len(loaded)
            found = judge(done.ts_ns, done.equity, trials=tried)
            held = judge(done.ts_ns, done.hold, trials=1)
            if held is not None:
                earned[HOLD] = held
            if found is None:
                idle.append(each.name)
            else:
                earned[each.name] = found
        if trials:
            score_trial(
                _trials_of(request),
                trials[number],
                ts_ns=_now_ns(),
                sharpe_per_bar=None if found is None else found.sharpe_per_bar,
                bars=None if found is None else found.bars,
            )
    return msgspec.structs.replace(results, strategies=earned), idle


def _stretch(request: Request, manifests: Sequence[Manifest]) -> tuple[int, int]:
    held = [manifest.split.hold_out_from_ns for manifest in manifests]
    from_ns = request.from_ns
    if from_ns is None:
        known = [each for each in held if each is not None]
        if len(known) < len(held):
            raise ConfigError("a model holds nothing out; say with --from from when on to judge")
        from_ns = max(known)
    to_ns = request.to_ns if request.to_ns is not None else request.settings.run.end
    if to_ns is None:
        to_ns = NEVER_NS
    if to_ns <= from_ns:
        raise ConfigError("the stretch ends before it begins; move --from or --to")
    return from_ns, to_ns


def _refuse_seen(in_sample: Mapping[str, Sequence[str]], is_allowed: bool) -> None:
    for model, stretches in in_sample.items():
        if stretches and not is_allowed:
            raise ConfigError(
                f"{model}: the stretch touches its {' and '.join(stretches)}; judge it on later decisions, or add "
                "--in-sample to see figures that prove nothing, marked as such"
            )


def _panel(request: Request, manifest: Manifest, made: dict[str, Panel], tell: Tell) -> Panel:
    """Return the features and labels that an artefact was made for; once for all that share them."""
    settings = _settings_of(request.settings, manifest)
    key = f"{manifest.features.hash} {manifest.labels.horizons_ns} {manifest.labels.unit.columns}"
    if key not in made:
        files = training_data.data_files(settings, lambda done, days: tell("sample market", done / days, "made"))
        path = training_data.make_panel(
            settings,
            manifest.features.schema(),
            asking.syllabus_of(manifest),
            files,
            progress=lambda part, text: tell("features", part, text),
        )
        made[key] = open_panel(path)
    return made[key]


def _settings_of(settings: TrainSettings, manifest: Manifest) -> TrainSettings:
    """Return the settings with the scales, features and labels that the artefact was trained with."""
    schema = manifest.features.schema()
    scales_ns = {parse_duration(scale) for scale in schema.scales}
    if schema.finest_ns is not None:
        scales_ns.add(schema.finest_ns)
    labels = settings.labels.model_copy(
        update={"unit": manifest.labels.unit.columns, "hole_max": manifest.labels.hole_max_ns}
    )
    return settings.model_copy(
        update={
            "bars": settings.bars.model_copy(update={"scales": tuple(sorted(scales_ns))}),
            "model": settings.model.model_copy(update={"scales": schema.scales}),
            "labels": labels,
        }
    )


def _common(models: Sequence[ForecastSet]) -> tuple[list[ForecastSet], int]:
    """Return the forecasts of the decisions that all models answer, and how many are left out for that.

    Raises:
        DataError: models forecast other horizons or levels, or answer too different decisions.
    """
    keys = [_keys(each) for each in models]
    shared = keys[0]
    for each in keys[1:]:
        shared = np.intersect1d(shared, each, assume_unique=True)
    most = max(len(each) for each in keys)
    if len(shared) < _KEEP * most:
        raise DataError(
            f"all models answer {len(shared):,} decisions, and one of them answers {most:,}: their histories are too "
            "different; judge them apart"
        )
    for other in models[1:]:
        if (other.horizons_ns, other.levels) != (models[0].horizons_ns, models[0].levels):
            raise DataError(f"{models[0].model} and {other.model} forecast other horizons or levels; judge them apart")
    cut = [each.rows(np.flatnonzero(np.isin(key, shared))) for each, key in zip(models, keys, strict=True)]
    return cut, most - len(shared)


def _keys(forecasts: ForecastSet) -> I64:
    instrument_N = 0 if forecasts.instrument_N is None else forecasts.instrument_N
    # Times in seconds: in ns there would be no room for an instrument beside them.
    return (forecasts.start_ns // 1_000_000_000) * _INSTRUMENTS_MAX + instrument_N


def _baselines(
    request: Request, first: Asked, panels: Mapping[str, Panel], judged: ForecastSet, tell: Tell
) -> list[ForecastSet]:
    """Return the references, fitted and calibrated on the first model's own stretches."""
    assert request.baselines is not None
    known = _known(first, panels, judged)
    template = None
    if len(known.calibration):
        template = first.outcomes(known.calibration, judged.levels, judged.horizons_ns)
    made = []
    tell("baselines", 0.0, "fitted")
    ready = fit_references(known, judged.levels, kinds=request.baselines)
    for number, each in enumerate(ready):
        tell("baselines", number / len(ready), each.name)
        made.append(answer(each, known, judged, template))
    return made


def _known(first: Asked, panels: Mapping[str, Panel], judged: ForecastSet) -> Known:
    manifest, samples, fold = first.loaded.manifest, first.fold.samples, first.fold
    panel = next(each for each in panels.values() if each.schema_hash == manifest.features.hash)
    head = judged.horizons_ns
    columns = [first.session.syllabus.horizons_ns.index(each) for each in head]
    values: list[F64] = []
    for number, stream in enumerate(samples.streams):
        rows = np.concatenate([asset.scales[stream.name].values for asset in panel.assets])
        values.append(rows[samples.ends[:, number] - 1].astype(np.float64))
    scales = [stream.name for stream in samples.streams]
    names = tuple(f"{scale}/{name}" for scale in scales for name in panel.names)
    unit = manifest.labels.unit
    place = {key: at for at, key in enumerate(_sample_keys(first).tolist())}
    split = manifest.split
    calibration = split.calibration
    return Known(
        names=names,
        x_NF=np.hstack(values),
        unit_NH=fold.unit_NH[:, columns],
        unit_columns=tuple(panel.names.index(column) for column in unit.columns),
        returns_NH=fold.returns_NH[:, columns],
        variance_NH=fold.variance_NH[:, columns],
        train=first.rows_between(*split.train),
        calibration=first.in_order(first.rows_between(*calibration)) if calibration is not None else _empty(),
        judged=np.array([place[key] for key in _keys(judged).tolist()], dtype=np.int64),
    )


def _sample_keys(first: Asked) -> I64:
    samples = first.fold.samples
    several = len(samples.instruments) > 1
    return (samples.close_ns // 1_000_000_000) * _INSTRUMENTS_MAX + (samples.instrument if several else 0)


def _volatility(first: Asked, judged: ForecastSet) -> F64:
    """Return [N], the unit of the shortest horizon: the state of the market as it was known at each decision."""
    place = {key: at for at, key in enumerate(_sample_keys(first).tolist())}
    rows = np.array([place[key] for key in _keys(judged).tolist()], dtype=np.int64)
    return np.ascontiguousarray(first.fold.unit_NH[rows, 0])


def _empty() -> I64:
    return np.empty(0, dtype=np.int64)


def _open_trials(request: Request, loaded: Sequence[Loaded], from_ns: int, to_ns: int) -> list[int]:
    if request.trials is None:
        return []
    return [
        open_trial(
            request.trials,
            ts_ns=_now_ns(),
            model_id=each.name,
            instruments=each.manifest.limits.instruments,
            from_ns=from_ns,
            to_ns=to_ns,
            settings=each.manifest.training.settings_sha256[:12],
        )
        for each in loaded
    ]


def _trials_of(request: Request) -> Path:
    assert request.trials is not None
    return request.trials


def _now_ns() -> int:
    return int(utc_now().timestamp()) * 1_000_000_000
