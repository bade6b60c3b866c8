"""Live inference: features here, forecasts from a process that may be late, wrong or dead, and bars that never wait.

A slab goes on at once. Its features are handed to the forecasting service; what comes back in time and beyond reproach
follows as a slab of its own that holds nothing but forecasts. What does not come back is no forecast, which is safe.
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
from bot.ports import Cancelable, ForecastService


class Poke:
    """The service has something to say, or a time has come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """How forecasts of one model are made of answers."""

    shape: Shape
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]
    answer_names: tuple[str, ...]


class LiveInference:
    """Serves all instruments, so that those whose bars close together are asked for together.

    Args:
        inbox: slabs of all instruments.
        deliver: receives slabs, and slabs of forecasts.
        service: where forecasts come from; its shape is that of `form`.
        form: how they are put together.
        engines: computes features, by instrument; what is joined to bars is handed to them by whoever knows it.
        trust: calibrates, by instrument; none where the model forecasts no returns.
        now_ns: the time by which bars are known. monotonic_ns: for durations.
        gather_ns: how long bars that have come wait for the others of the same close.
        on_shadow: receives forecasts in place of `deliver`: then nothing is traded on them.
    """

    def __init__(
        self,
        *,
        inbox: Inbox[MarketSlab | Poke | Stop],
        deliver: Sequence[Callable[[MarketSlab], None]],
        service: ForecastService,
        form: Form,
        engines: Mapping[str, FeatureEngine],
        trust: Mapping[str, TrustScan],
        instruments: Mapping[str, Instrument],
        now_ns: Callable[[], int],
        monotonic_ns: Callable[[], int],
        gather_ns: int = 100_000_000,
        on_shadow: Callable[[ForecastBatch], None] | None = None,
    ) -> None:
        self._inbox, self._deliver, self._service, self._form = inbox, deliver, service, form
        self._engines, self._trust, self._instruments = engines, trust, instruments
        self._now_ns, self._monotonic_ns, self._gather_ns = now_ns, monotonic_ns, gather_ns
        self._on_shadow = on_shadow
        self._numbers = {name: number for number, name in enumerate(form.shape.instruments)}
        self._rows: list[NewRows] = []
        self._wanted: dict[int, tuple[Decision, int]] = {}  # by instrument: the newest, and its bar's row
        self._since_ns = 0  # monotonic, when the first of them came
        self._asked: dict[int, dict[int, int]] = {}  # by request: instrument, and its bar's row
        self._made = dict.fromkeys(form.shape.instruments, 0)
        self._timer: Cancelable | None = None

    async def run(self) -> None:
        """Serve until told to stop."""
        try:
            while True:
                for message in await self._inbox.take():
                    if isinstance(message, Stop):
                        return
                    if isinstance(message, MarketSlab):
                        self._take(message)
                self._go_on()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def poke(self) -> None:
        """Have the service looked at: its process has said something."""
        if len(self._inbox) < self._inbox.bound:
            self._inbox.deliver(Poke())

    def _take(self, slab: MarketSlab) -> None:
        for deliver in self._deliver if self._on_shadow is None else ():
            deliver(slab)
        name = slab.instrument.name
        if name not in self._numbers or not slab.bars:
            return
        for bar, batch in self._engines[name].on_bars(list(slab.bars.values())).items():
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
        self._wanted[newest.instrument] = newest, bars.first_row + len(bars) - 1

    def _go_on(self) -> None:
        now_ns = self._monotonic_ns()
        for outcome in self._service.poll(now_ns):
            self._settle(outcome)
        is_whole = len(self._wanted) == len(self._numbers) and len({d.close_ns for d, _ in self._wanted.values()}) == 1
        if self._wanted and (is_whole or now_ns - self._since_ns >= self._gather_ns):
            self._ask(now_ns)
        elif self._rows and not self._wanted:
            self._service.ask(self._rows, (), now_ns)
            self._rows = []
        self._set_timer(now_ns)

    def _ask(self, now_ns: int) -> None:
        wanted = [self._wanted[number] for number in sorted(self._wanted)]
        request_id = self._service.ask(self._rows, [decision for decision, _ in wanted], now_ns)
        if request_id is not None:
            self._asked[request_id] = {decision.instrument: row for decision, row in wanted}
        self._rows, self._wanted = [], {}

    def _settle(self, outcome: Outcome) -> None:
        rows = self._asked.pop(outcome.request_id, None)
        if rows is None:
            return
        for answer in outcome.answers:
            if answer.is_there:
                self._hand_on(answer, rows[answer.instrument])

    def _hand_on(self, answer: Answered, row: int) -> None:
        name = self._form.shape.instruments[answer.instrument]
        instrument, now_ns = self._instruments[name], self._now_ns()
        forecasts: ForecastBatch | None = self._batch(instrument, answer, row, now_ns)
        trust = self._trust.get(name)
        if trust is not None:
            forecasts = trust.follow(forecasts, None)
        if forecasts is None:
            return
        if self._on_shadow is not None:
            self._on_shadow(forecasts)
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
            model_id=self._service.model_id,
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
        if self._wanted:
            times.append(self._since_ns + self._gather_ns)
        due = min((each for each in times if each is not None), default=None)
        wait = 1.0 if due is None else min(1.0, max(0.0, (due - now_ns) / 1e9))
        self._timer = asyncio.get_running_loop().call_later(wait, self.poke)


def _rows_of(instrument: int, scale: int, batch: FeatureBatch) -> NewRows:
    with np.errstate(over="ignore"):
        values = batch.values.astype(np.float32)
    return NewRows(instrument=instrument, scale=scale, close_ns=batch.close_ns, known_ns=batch.known_ns, values=values)
