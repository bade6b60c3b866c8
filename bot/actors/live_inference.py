"""Live inference: features here, forecasts from a process that may be late, wrong or dead, and bars that never wait.

A slab goes on at once. Its features are handed to the forecasting service; what comes back in time and beyond reproach
follows as a slab of its own that holds nothing but forecasts. What does not come back is no forecast, which is safe.

While nobody can answer, the newest decision of each instrument is kept and asked as soon as somebody can: that is how a
start, and a new life of the process, learn whether the model answers at all. What is said so late is shown and counted,
and not traded on.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bot.actors.inbox import Inbox, Stop
from bot.core.features.engine import FeatureEngine
from bot.core.inference_frames import Answered, Decision, NewRows, Outcome, Shape
from bot.core.trust import TrustScan
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, FeatureBatch, ForecastBatch, MarketSlab
from bot.ports import Cancelable, ForecastService, OffLoop

_MANY_ROWS = 64  # bars in one slab, more than which are no market that goes on


class Poke:
    """The service has something to say, or a time has come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """How forecasts of one model are made of answers."""

    shape: Shape
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]
    answer_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What became of one question."""

    decisions: int  # that were asked together
    took_ns: int
    reason: str  # why there is no forecast: late, gone, what was wrong; "" where it was answered


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """A decision that is to be answered."""

    decision: Decision
    row: int  # of its bar
    came_ns: int  # when the bar came


class LiveInference:
    """Serves all instruments, so that those whose bars close together are asked for together.

    Args:
        inbox: slabs of all instruments; it leaves when every one of them has said `Stop`.
        deliver: receives slabs, and slabs of forecasts.
        service: where forecasts come from; its shape is that of `form`.
        form: how they are put together.
        engines: computes features, by instrument; what is joined to bars is handed to them by whoever knows it.
        make_trust: returns what calibrates, by instrument, anew for each model; none where one forecasts no returns.
        now_ns: the time by which bars are known. monotonic_ns: for durations.
        gather_ns: how long bars that have come wait for the others of the same close.
        late_ns: how long after its bar came, by `now_ns`, a forecast may still be traded on.
        on_forecasts: sees each batch, late ones too.
        on_heard: told what became of each question.
        on_shadow: receives forecasts in place of `deliver`: then nothing is traded on them.
        off_loop: where features of many bars are computed; None: here.
        passes_bars: whether slabs are handed on; not where bars reach `deliver` by another way.
    """

    def __init__(
        self,
        *,
        inbox: Inbox[MarketSlab | Poke | Stop],
        deliver: Sequence[Callable[[MarketSlab], None]],
        service: ForecastService,
        form: Form,
        engines: Mapping[str, FeatureEngine],
        make_trust: Callable[[], Mapping[str, TrustScan]],
        instruments: Mapping[str, Instrument],
        now_ns: Callable[[], int],
        monotonic_ns: Callable[[], int],
        gather_ns: int = 100_000_000,
        late_ns: int = 2**62,
        on_forecasts: Callable[[ForecastBatch], None] = lambda forecasts: None,
        on_heard: Callable[[Settled], None] = lambda heard: None,
        on_shadow: Callable[[ForecastBatch], None] | None = None,
        passes_bars: bool = True,
        off_loop: OffLoop | None = None,
    ) -> None:
        self.answered: dict[str, tuple[int, int]] = {}  # by instrument, the newest: its bar's close, when it was said
        self.closed: dict[str, tuple[int, int]] = {}  # by instrument, the newest decision bar: its close, when it came
        self._inbox, self._deliver, self._service, self._form = inbox, deliver, service, form
        self._engines, self._instruments = engines, instruments
        self._make_trust, self._trust = make_trust, make_trust()
        self._model_id = service.model_id  # whom `_trust` follows
        self._now_ns, self._monotonic_ns, self._gather_ns, self._late_ns = now_ns, monotonic_ns, gather_ns, late_ns
        self._on_forecasts, self._on_heard, self._on_shadow = on_forecasts, on_heard, on_shadow
        self._passes_bars, self._off_loop = passes_bars, off_loop
        self._stops = 0
        self._numbers = {name: number for number, name in enumerate(form.shape.instruments)}
        self._rows: list[NewRows] = []
        self._wanted: dict[int, _Wanted] = {}  # by instrument: the newest
        self._since_ns = 0  # monotonic, when the first of them came
        self._asked: dict[int, dict[int, _Wanted]] = {}  # by request and instrument
        self._made = dict.fromkeys(form.shape.instruments, 0)
        self._timer: Cancelable | None = None

    async def run(self) -> None:
        """Serve until every instrument's market has ended."""
        try:
            while self._stops < len(self._numbers):
                for message in await self._inbox.take():
                    if isinstance(message, Stop):
                        self._stops += 1
                    elif isinstance(message, MarketSlab):
                        await self._take(message)
                self._go_on()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def poke(self) -> None:
        """Have the service looked at: its process has said something."""
        if len(self._inbox) < self._inbox.bound:
            self._inbox.deliver(Poke())

    async def _take(self, slab: MarketSlab) -> None:
        for deliver in self._deliver if self._on_shadow is None and self._passes_bars else ():
            deliver(slab)
        name = slab.instrument.name
        if name not in self._numbers or not slab.bars:
            return
        engine, batches = self._engines[name], list(slab.bars.values())
        if self._off_loop is not None and sum(map(len, slab.bars.values())) > _MANY_ROWS:
            made = await self._off_loop(lambda: engine.on_bars(batches))  # the past: it takes its time
        else:
            made = engine.on_bars(batches)
        for bar, batch in made.items():
            if bar in self._form.shape.scales:
                rows = _rows_of(self._numbers[name], self._form.shape.scales.index(bar), batch)
                self._service.remember(rows)
                self._rows.append(rows)
        decisions = slab.bars.get(self._form.shape.scale_ns[0])
        if decisions is not None and len(decisions):
            self._hear(name, decisions)

    def _hear(self, name: str, bars: BarBatch) -> None:
        """Note the newest decision, and what became of earlier ones."""
        trust = self._trust.get(name)
        if trust is not None:
            trust.follow(None, bars)
        if not self._wanted:
            self._since_ns = self._monotonic_ns()
        newest = Decision(
            instrument=self._numbers[name], close_ns=bars.close_at(len(bars) - 1), known_ns=int(bars.known_ns[-1])
        )
        came_ns = self._now_ns()
        row = bars.first_row + len(bars) - 1
        self._wanted[newest.instrument] = _Wanted(decision=newest, row=row, came_ns=came_ns)
        self.closed[name] = newest.close_ns, came_ns

    def _go_on(self) -> None:
        now_ns = self._monotonic_ns()
        for outcome in self._service.poll(now_ns):
            self._settle(outcome)
        closes = {each.decision.close_ns for each in self._wanted.values()}
        is_whole = len(self._wanted) == len(self._numbers) and len(closes) == 1
        if self._wanted and (is_whole or now_ns - self._since_ns >= self._gather_ns):
            self._ask(now_ns)
        elif self._rows and not self._wanted:
            self._service.ask(self._rows, (), now_ns)
            self._rows = []
        self._set_timer(now_ns)

    def _ask(self, now_ns: int) -> None:
        wanted = [self._wanted[number] for number in sorted(self._wanted)]
        request_id = self._service.ask(self._rows, [each.decision for each in wanted], now_ns)
        self._rows = []
        if request_id is not None:  # else they are kept, until newer ones take their place or somebody can answer
            self._asked[request_id] = {each.decision.instrument: each for each in wanted}
            self._wanted = {}

    def _settle(self, outcome: Outcome) -> None:
        asked = self._asked.pop(outcome.request_id, None)
        if asked is None:
            return
        self._on_heard(Settled(decisions=len(asked), took_ns=outcome.took_ns, reason=outcome.reason))
        if outcome.answers and outcome.model_id != self._model_id:
            self._model_id, self._trust = outcome.model_id, self._make_trust()  # another model earns its own
        for answer in outcome.answers:
            if answer.is_there:
                self._hand_on(answer, asked[answer.instrument])

    def _hand_on(self, answer: Answered, wanted: _Wanted) -> None:
        name = self._form.shape.instruments[answer.instrument]
        instrument, now_ns = self._instruments[name], self._now_ns()
        self.answered[name] = answer.close_ns, now_ns
        forecasts: ForecastBatch | None = self._batch(instrument, answer, wanted.row, now_ns)
        trust = self._trust.get(name)
        if trust is not None:
            forecasts = trust.follow(forecasts, None)
        if forecasts is None:
            return
        if self._on_shadow is not None:
            self._on_shadow(forecasts)
            return
        self._on_forecasts(forecasts)
        if now_ns - wanted.came_ns > self._late_ns:
            return
        slab = MarketSlab(instrument=instrument, watermark_ns=now_ns, bars={}, forecasts=forecasts)
        for deliver in self._deliver:
            deliver(slab)

    def _batch(self, instrument: Instrument, answer: Answered, row: int, now_ns: int) -> ForecastBatch:
        form, shape = self._form, self._form.shape
        order = np.argsort(shape.scale_ns, kind="stable")
        first_row = self._made[instrument.name]
        self._made[instrument.name] += 1
        return ForecastBatch(
            instrument=instrument,
            first_row=first_row,
            model_id=self._model_id,
            scale_ns=shape.scale_ns[0],
            horizons_ns=form.horizons_ns,
            levels=form.levels,
            scales_ns=tuple(shape.scale_ns[at] for at in order),
            bar_row=np.array([row]),
            close_ns=np.array([answer.close_ns]),
            known_ns=np.array([now_ns]),
            quantiles=answer.quantiles_HQ[None].copy(),
            importance=answer.importance_S[None][:, order],
            answer_names=form.answer_names,
            answers=answer.answers_A[None].copy(),
        )

    def _set_timer(self, now_ns: int) -> None:
        """Have it looked again when a question becomes late, or those who have come have waited long enough."""
        if self._timer is not None:
            self._timer.cancel()
        times = [self._service.next_ns()]
        if self._wanted and now_ns < self._since_ns + self._gather_ns:
            times.append(self._since_ns + self._gather_ns)
        due = min((each for each in times if each is not None), default=None)
        wait = 1.0 if due is None else min(1.0, max(0.0, (due - now_ns) / 1e9))
        self._timer = asyncio.get_running_loop().call_later(wait, self.poke)


def _rows_of(instrument: int, scale: int, batch: FeatureBatch) -> NewRows:
    with np.errstate(over="ignore"):
        values = batch.values.astype(np.float32)
    return NewRows(instrument=instrument, scale=scale, close_ns=batch.close_ns, known_ns=batch.known_ns, values=values)
