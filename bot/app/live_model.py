"""A trained model in a trading run: its process, the actor that asks it, a shadow beside it, and another in its place.

The trading process reads manifests and never a tensor: torch lives in the model's own process. What is wrong with an
artefact is said before anything is traded, in one line; what goes wrong later keeps entries out and leaves exits alone.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from bot.actors.inbox import Inbox
from bot.actors.live_inference import Form, LiveInference, Settled
from bot.app.predictors import calibration_params, check_strategy, read_artifact
from bot.core.calibration import CalibrationParams
from bot.core.durations import format_duration
from bot.core.features.engine import FeatureEngine
from bot.core.features.inputs import INPUTS, Origin
from bot.core.inference_frames import Shape
from bot.core.trust import TrustScan
from bot.domain.errors import BotError, ConfigError
from bot.domain.instrument import Instrument
from bot.domain.market import ForecastBatch, MarketSlab
from bot.domain.operation import Notice, Severity
from bot.ports import Clock
from bot.runtime.env import call_in_thread, monotonic_ns
from bot.runtime.inference_process import InferenceProcess, InferenceSettings
from bot.runtime.inference_service import History, InferenceService
from bot.runtime.supervisor import Run
from bot.runtime.trade_settings import TradeSettings
from models.serving.told import Told, find_artifact, shape_of
from strategies.base import Strategy

log = structlog.get_logger()

_BOUND = 65_536
_MINUTE_NS = 60_000_000_000
_GATHER_NS = 100_000_000  # of the market's time
_POLL_S = 0.02  # between two looks at a process that loads
_RECURSIVE_ROWS = 512  # more of the past for features that depend, ever more faintly, on all of it
_UNSERVED = (Origin.FUNDING, Origin.MARK, Origin.REFERENCE, Origin.BOOK)
_SEVERITY = {"died": Severity.WARNING, "switched_off": Severity.ERROR, "successor_failed": Severity.WARNING}

Deliver = Callable[[MarketSlab], None]


class Served:
    """One artefact that a run may be served by, as its manifest describes it."""

    def __init__(self, path: Path, told: Told, instruments: Sequence[str]) -> None:
        self.path, self.told = path, told
        self.shape: Shape = shape_of(told, tuple(instruments))

    @property
    def history_ns(self) -> int:
        """Return how much of the past warms every scale up that minutes can be folded to."""
        schema = self.told.schema
        margin = _RECURSIVE_ROWS if any(spec.is_recursive for spec in schema.specs) else 0
        spans = [
            (need + schema.warmup + margin) * scale_ns
            for need, scale_ns in zip(self.shape.needs, self.shape.scale_ns, strict=True)
            if scale_ns % _MINUTE_NS == 0
        ]
        return max(spans, default=0)


def with_scales(settings: TradeSettings, served: Sequence[Served]) -> TradeSettings:
    """Return settings that name every scale which a model reads: what a run resolves, another look at it finds."""
    read = {scale_ns for each in served for scale_ns in each.told.scales_ns}
    scales = tuple(sorted({*settings.bars.scales, *read}))
    bars = settings.bars.model_copy(update={"scales": scales})
    return settings.model_copy(update={"bars": bars})


def check_live_model(settings: TradeSettings, strategy: Strategy[Any]) -> tuple[Served, Served | None] | None:
    """Return the artefact that is to be traded by and the shadow's; None where neither is asked for. Hashes files.

    Raises:
        ConfigError, DataError: settings, strategy and artefact do not fit together, or one is refused.
    """
    chosen = settings.predictor
    if not strategy.wants_forecasts or chosen.kind != "artifact":
        return None
    found = _read(settings, find_artifact(chosen.path))
    check_strategy(strategy, found.told.horizons_ns, found.told.answer_names, found.told.name)
    half_ns = found.told.decision_ns // 2
    if settings.inference.deadline > half_ns:
        raise ConfigError(
            f"inference.deadline = {format_duration(settings.inference.deadline)}: {found.told.name} decides each "
            f"{format_duration(found.told.decision_ns)}; write {format_duration(half_ns)} at most"
        )
    shadow = None if chosen.shadow is None else _read(settings, find_artifact(chosen.shadow))
    return found, shadow


def _read(settings: TradeSettings, path: Path) -> Served:
    names = [each.symbol for each in settings.symbols]
    told = read_artifact(path, names, settings.predictor, settings.features)
    strange = sorted({INPUTS[each].origin for each in told.schema.inputs} & set(_UNSERVED))
    if strange:
        raise ConfigError(
            f"{told.name}: reads {', '.join(strange)}, which a trading run does not give its features yet; trade by a "
            "model of bars alone, or replay this one"
        )
    return Served(path, told, names)


class ModelSeat:
    """One artefact at work: its process, and the actor that asks it.

    Args:
        served: the artefact.
        name: of the actor.
        calibration: how intervals follow their own coverage; None: not at all.
        on_news: told what an operator should hear; see `InferenceService`.
        on_shadow: receives forecasts in place of `deliver`.
    """

    def __init__(
        self,
        served: Served,
        settings: TradeSettings,
        instruments: Mapping[str, Instrument],
        *,
        name: str,
        clock: Clock,
        speed: float,
        deliver: Sequence[Deliver] = (),
        calibration: CalibrationParams | None,
        on_forecasts: Callable[[ForecastBatch], None] = lambda forecasts: None,
        on_heard: Callable[[Settled], None] = lambda heard: None,
        on_news: Callable[[str, str], None] = lambda what, text: None,
        on_shadow: Callable[[ForecastBatch], None] | None = None,
    ) -> None:
        told, asked = served.told, settings.inference
        self.served = served
        self.inbox: Inbox[Any] = Inbox(name, bound=_BOUND)
        self.history = History(served.shape)
        self._deadline_ns, self._clock = asked.deadline, clock
        self._actor: LiveInference | None = None
        self.service = InferenceService(
            str(served.path),
            served.shape,
            InferenceSettings(
                deadline_ns=max(1, int(asked.deadline / speed)),
                start_ns=asked.start_within,
                hang_ns=asked.silent_max,
                resident_bytes_max=asked.memory_max_mib << 20,
                threads=settings.predictor.threads,
                device=asked.device,
                trusted=tuple(settings.predictor.trusted),
            ),
            history=self.history,
            now_ns=monotonic_ns(),
            on_process=self._watch,
            on_news=on_news,
        )

        def make_trust() -> dict[str, TrustScan]:
            if calibration is None:
                return {}
            return {
                each.name: TrustScan(
                    each,
                    scale_ns=told.decision_ns,
                    horizons_ns=told.horizons_ns,
                    levels=told.levels,
                    params=calibration,
                )
                for each in instruments.values()
            }

        self.actor = self._actor = LiveInference(
            inbox=self.inbox,
            deliver=deliver,
            service=self.service,
            form=form_of(served),
            engines={each: FeatureEngine(told.schema, instruments[each]) for each in served.shape.instruments},
            make_trust=make_trust,
            instruments=instruments,
            now_ns=clock.now_ns,
            monotonic_ns=monotonic_ns,
            gather_ns=max(1, int(_GATHER_NS / speed)),
            late_ns=asked.deadline + _GATHER_NS,
            on_forecasts=on_forecasts,
            on_heard=on_heard,
            on_shadow=on_shadow,
            passes_bars=False,
            off_loop=call_in_thread,
        )

    async def until_loaded(self) -> None:
        """Return once the artefact has passed its recorded answers in its process.

        Raises:
            ConfigError: it is refused, or its process does not live.
        """
        while not self.service.is_loaded:
            self.service.poll(monotonic_ns())
            if self.service.counts.deaths:
                raise ConfigError(
                    f"{self.served.told.name}: its process does not start: {self.service.last_reason}; "
                    "`bot models verify` looks at the artefact, `bot doctor` at this machine"
                )
            await asyncio.sleep(_POLL_S)

    def doubts(self, name: str) -> list[str]:
        """Return why no new exposure in an instrument may rest on this model now; nothing where it may."""
        trouble = self.service.trouble
        if trouble:
            return [f"model: {trouble}"]
        answered, closed = self.actor.answered.get(name), self.actor.closed.get(name)
        if answered is None:
            return [f"model: no forecast yet{self._lack(name)}"]
        is_late = closed is not None and self._clock.now_ns() - closed[1] > self._deadline_ns + _GATHER_NS
        wanted_ns = 0 if closed is None else closed[0] if is_late else closed[0] - self.served.told.decision_ns
        if answered[0] < wanted_ns:
            age = format_duration((self._clock.now_ns() - answered[0]) // 1_000_000_000 * 1_000_000_000)
            return [f"model: no forecast of the newest bar; the last is of {age} ago"]
        return []

    def close(self) -> None:
        """End its processes."""
        self.service.close()

    def _lack(self, name: str) -> str:
        number, scales = self.served.shape.instruments.index(name), self.served.told.scales
        counts = [(scale, self.history.count(number, place)) for place, scale in enumerate(scales)]
        lacking = [
            f"{scale.bar} has {count} of {scale.need} whole bars" for scale, count in counts if count < scale.need
        ]
        return f": {name}, {'; '.join(lacking)}" if lacking else f" of {name}"

    def _watch(self, process: InferenceProcess, is_there: bool) -> None:
        loop = asyncio.get_running_loop()
        if is_there:
            loop.add_reader(process.fileno(), self._poke)
        else:
            loop.remove_reader(process.fileno())

    def _poke(self) -> None:
        if self._actor is not None:
            self._actor.poke()


def form_of(served: Served) -> Form:
    """Return how forecasts are made of an artefact's answers."""
    told = served.told
    return Form(shape=served.shape, horizons_ns=told.horizons_ns, levels=told.levels, answer_names=told.answer_names)


class LiveModel:
    """The models of one run.

    Args:
        chosen: what `check_live_model` returned.
        instruments: by name, in the order of the settings.
        clock: the market's. speed: how many of its seconds pass in one of ours.
        deliver: receives forecasts as they come, in slabs that hold nothing else.
        on_forecasts: sees every forecast. on_shadow: those of the shadow.
        on_heard: told what became of each question to the model that is traded by.
        tell: told what an operator should hear.
    """

    def __init__(
        self,
        chosen: tuple[Served, Served | None],
        settings: TradeSettings,
        strategy: Strategy[Any],
        instruments: Mapping[str, Instrument],
        *,
        clock: Clock,
        speed: float,
        deliver: Sequence[Deliver],
        on_forecasts: Callable[[ForecastBatch], None] = lambda forecasts: None,
        on_shadow: Callable[[ForecastBatch], None] = lambda forecasts: None,
        on_heard: Callable[[Settled], None] = lambda heard: None,
        tell: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        served, shadow = chosen
        self._settings, self._strategy, self._clock, self._tell = settings, strategy, clock, tell
        self._pending = ""  # the artefact that is to take over
        self._refused: dict[str, str] = {}  # artefacts that were wanted and do not serve, and why
        self._shadow: ModelSeat | None = None
        if shadow is not None:
            self._shadow = ModelSeat(
                shadow,
                settings,
                instruments,
                name="inference_shadow",
                clock=clock,
                speed=speed,
                calibration=calibration_params(settings.predictor, shadow.told),
                on_news=lambda what, text: self._hear("shadow", what, text),
                on_shadow=on_shadow,
            )
        self._seat = ModelSeat(
            served,
            settings,
            instruments,
            name="inference",
            clock=clock,
            speed=speed,
            deliver=deliver,
            calibration=calibration_params(settings.predictor, served.told),
            on_forecasts=on_forecasts,
            on_heard=on_heard,
            on_news=lambda what, text: self._hear("model", what, text),
        )

    # --- what the wiring asks -----------------------------------------------------------------------------------------

    def see_slab(self, slab: MarketSlab) -> None:
        """Take what became known of an instrument."""
        for each in self._seats:
            each.inbox.deliver(slab)

    @property
    def inboxes(self) -> list[Inbox[Any]]:
        """Return those of all actors."""
        return [each.inbox for each in self._seats]

    @property
    def model_id(self) -> str:
        """Return what is traded by now."""
        return self._seat.service.model_id

    @property
    def service(self) -> InferenceService:
        """Return what answers: its counts are for metrics."""
        return self._seat.service

    @property
    def history_ns(self) -> int:
        """Return how much of the past is wanted before the first trade."""
        return max(each.served.history_ns for each in self._seats)

    def in_sample(self, now_ns: int) -> bool:
        """Return whether a decision now would be on what the model has been shown."""
        return self._seat.served.told.in_sample(now_ns, now_ns)

    def doubts(self, name: str) -> list[str]:
        """Return why no new exposure in an instrument may rest on the model now; nothing where it may."""
        return self._seat.doubts(name)

    @property
    def troubles(self) -> list[str]:
        """Return the same of all instruments, each reason once."""
        names = self._seat.served.shape.instruments
        return list(dict.fromkeys(each for name in names for each in self._seat.doubts(name)))

    async def until_loaded(self) -> None:
        """Return once the model answers; a shadow is not waited for.

        Raises:
            ConfigError: it does not.
        """
        await self._seat.until_loaded()

    def actors(self) -> dict[str, Run]:
        """Return the actors, by name."""
        actors: dict[str, Run] = {each.inbox.name: each.actor.run for each in self._seats}
        return actors | {"model_watch": self._watch}

    def close(self) -> None:
        """End all processes."""
        for each in self._seats:
            each.close()

    @property
    def _seats(self) -> list[ModelSeat]:
        return [self._seat] if self._shadow is None else [self._seat, self._shadow]

    # --- another model in its place -----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look now and then whether another model is in use, until canceled."""
        while True:
            await asyncio.sleep(self._settings.inference.look_every / 1e9)
            await self._look()

    async def _look(self) -> None:
        try:
            path = await call_in_thread(lambda: find_artifact(self._settings.predictor.path))
        except BotError as error:
            self._refuse("", str(error))
            return
        if path.name == self.model_id:
            self._refused.clear()
            return
        if path.name in self._refused or path.name == self._pending:
            return
        try:
            wanted = await call_in_thread(lambda: self._check(path))
            self._seat.service.replace_by(str(path), wanted.shape, monotonic_ns())
        except BotError as error:
            self._refuse(path.name, str(error))
            return
        self._pending = path.name
        log.info("model.wanted", model_id=path.name, serving=self.model_id)

    def _check(self, path: Path) -> Served:
        """Return another artefact that says the same things.

        Raises:
            BotError: it does not, or is refused.
        """
        found, before = _read(self._settings, path), self._seat.served.told
        check_strategy(self._strategy, found.told.horizons_ns, found.told.answer_names, found.told.name)
        for what in ("horizons_ns", "levels", "answer_names", "how"):
            if getattr(found.told, what) != getattr(before, what):
                raise ConfigError(
                    f"{found.told.name}: its {what.removesuffix('_ns').replace('_', ' ')} differ from those of "
                    f"{before.name}; stop, and start with it"
                )
        return found

    def _refuse(self, name: str, why: str) -> None:
        if self._refused.get(name) != why:
            self._refused[name] = why
            log.error("model.refused", model_id=name, reason=why)
            self._say("model.refused", Severity.WARNING, f"{why}; {self.model_id} answers on")

    def _hear(self, who: str, what: str, text: str) -> None:
        """Take news of a process."""
        if who == "model" and what in ("swapped", "successor_failed"):
            name, self._pending = self._pending, ""
            if what == "successor_failed" and name:
                self._refused[name] = text
        self._say(f"{who}.{what}", _SEVERITY.get(what, Severity.INFO), text)

    def _say(self, kind: str, severity: Severity, text: str) -> None:
        self._tell(Notice(ts_ns=self._clock.now_ns(), kind=kind, severity=severity, text=text))
