"""What is measured of a running bot beside its own books: how late its loop and its bars are, who was served when.

One task looks around ten times a second; everything else is told to it in passing and costs an addition.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.actors.inbox import Inbox
from bot.core.durations import format_duration
from bot.core.latency_window import LatencyWindow
from bot.core.lived_coverage import LivedCoverage
from bot.core.run_tally import RunTally
from bot.domain.ledger import LedgerEntry
from bot.domain.market import BarBatch, ForecastBatch, MarketSlab
from bot.domain.operation import ActorHealth, Counter, DataAge, Latency
from bot.operator.metrics import Gauge
from bot.ports import Clock, Predictor
from bot.runtime.env import call_in_thread, monotonic_ns
from bot.runtime.machine import GpuMemory, current_memory_bytes, read_gpu_memory

_LOOK_S = 0.1  # between two looks
_GPU_S = 10.0  # between two questions to the driver
_BAR_GRACE_NS = 15_000_000_000  # for the venue's last word on a minute, and for the way


@dataclass(slots=True)
class _Served:
    taken: int = 0
    at_ns: int = 0  # 0: nothing yet


class Observed:
    """Figures of one run.

    Args:
        clock: the bot's.
        inboxes: of the actors that have one; more may be added.
    """

    def __init__(self, clock: Clock, inboxes: Sequence[Inbox[Any]] = ()) -> None:
        self.tally = RunTally()
        self.inboxes: list[Inbox[Any]] = list(inboxes)
        self._clock = clock
        self._served: dict[str, _Served] = {}
        self._loop_lag = LatencyWindow()
        self._inference = LatencyWindow()
        self._bar_lag: dict[tuple[str, int], LatencyWindow] = {}
        self._bar_close: dict[tuple[str, int], int] = {}
        self._lived: dict[str, LivedCoverage] = {}
        self._batch_rows = 0  # decisions in the newest question to a model
        self._gpus: tuple[GpuMemory, ...] = ()
        self._began_ns = clock.now_ns()

    # --- what it is told ----------------------------------------------------------------------------------------------

    def see_entries(self, entries: Sequence[LedgerEntry]) -> None:
        """Count what was written."""
        self.tally.see(entries)

    def see_slab(self, slab: MarketSlab) -> None:
        """Measure how late its bars are, and judge forecasts by them."""
        now_ns = self._clock.now_ns()
        for scale_ns, bars in slab.bars.items():
            if len(bars):
                self._see_bars(slab.instrument.name, scale_ns, bars, now_ns)

    def see_forecasts(self, forecasts: ForecastBatch) -> None:
        """Remember what was forecast, to compare it with what comes."""
        self._lived.setdefault(forecasts.instrument.name, LivedCoverage()).see_forecasts(forecasts)

    def see_inference(self, took_ns: int, decisions: int) -> None:
        """Note how long a model took for so many decisions."""
        self._inference.note(took_ns, self._clock.now_ns())
        self._batch_rows = decisions

    # --- what it tells ------------------------------------------------------------------------------------------------

    def actors(self, is_alive: Callable[[str], bool]) -> tuple[ActorHealth, ...]:
        """Return the actors that have an inbox."""
        return tuple(
            ActorHealth(
                name=each.name,
                is_alive=is_alive(each.name),
                queued=len(each),
                bound=each.bound,
                served=each.taken,
                last_served_ns=self._served.get(each.name, _NOBODY).at_ns,
            )
            for each in self.inboxes
        )

    def latencies(self) -> tuple[Latency, ...]:
        """Return what was measured, stage by stage; those that had nothing to do are left out."""
        now_ns = self._clock.now_ns()
        windows = {
            "decision_to_ack": self.tally.decision_to_ack,
            "inference": self._inference,
            "loop_lag": self._loop_lag,
        }
        scales: dict[int, list[LatencyWindow]] = {}
        for (_, scale_ns), window in sorted(self._bar_lag.items()):
            scales.setdefault(scale_ns, []).append(window)
        made = [_latency(stage, [window], now_ns) for stage, window in windows.items()]
        made += [_latency(f"bar_lag:{format_duration(each)}", held, now_ns) for each, held in scales.items()]
        return tuple(each for each in made if each.count)

    def bar_ages(self) -> tuple[DataAge, ...]:
        """Return how long ago the newest bar of every scale closed; two lengths of it, and a little, are too long."""
        now_ns = self._clock.now_ns()
        return tuple(
            DataAge(
                topic=f"bars:{name}:{format_duration(scale_ns)}",
                age_ns=max(0, now_ns - close_ns),
                limit_ns=2 * scale_ns + _BAR_GRACE_NS,
                is_trusted=True,
            )
            for (name, scale_ns), close_ns in sorted(self._bar_close.items())
        )

    def counters(self) -> tuple[Counter, ...]:
        """Return what was counted."""
        return self.tally.counters()

    def coverage(self, instrument: str) -> tuple[float, ...]:
        """Return how often the widest intervals have held, by horizon."""
        lived = self._lived.get(instrument)
        return () if lived is None else lived.by_horizon

    def gauges(self) -> list[Gauge]:
        """Return figures of the process and its machine, which no snapshot holds."""
        made = [Gauge(name="process_memory_bytes", help="Memory that the process holds.", value=current_memory_bytes())]
        made += [
            Gauge(
                name="queue_depth_max",
                help="The most messages that ever waited in an actor's inbox.",
                value=each.deepest,
                labels=(("actor", each.name),),
            )
            for each in self.inboxes
        ]
        if self._inference.figures(self._clock.now_ns())[0]:
            help_ = "Decisions in the newest question to the model."
            made.append(Gauge(name="inference_batch_decisions", help=help_, value=self._batch_rows))
        for each in self._gpus:
            at = (("gpu", str(each.number)),)
            made.append(Gauge(name="gpu_memory_bytes", help="Memory of a GPU in use.", value=each.used, labels=at))
            made.append(Gauge(name="gpu_memory_limit_bytes", help="Memory of a GPU.", value=each.total, labels=at))
        return made

    # --- its own look -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look around until cancelled."""
        loop = asyncio.get_running_loop()
        gpu_s, gpu = loop.time(), True
        while True:
            due_s = loop.time() + _LOOK_S
            await asyncio.sleep(_LOOK_S)
            now_s, now_ns = loop.time(), self._clock.now_ns()
            self._loop_lag.note(int((now_s - due_s) * 1e9), now_ns)
            self._look(now_ns)
            if gpu and now_s >= gpu_s:
                gpu_s = now_s + _GPU_S
                self._gpus = await call_in_thread(read_gpu_memory)
                gpu = bool(self._gpus)  # where there is none, there will be none

    def _look(self, now_ns: int) -> None:
        for inbox in self.inboxes:
            served = self._served.setdefault(inbox.name, _Served())
            if inbox.taken != served.taken:
                served.taken, served.at_ns = inbox.taken, now_ns

    def _see_bars(self, name: str, scale_ns: int, bars: BarBatch, now_ns: int) -> None:
        close_ns, key = bars.close_at(len(bars) - 1), (name, scale_ns)
        if close_ns > self._bar_close.get(key, 0):
            self._bar_close[key] = close_ns
        if close_ns >= self._began_ns:  # the past that a start begins with is old by nature
            self._bar_lag.setdefault(key, LatencyWindow()).note(now_ns - close_ns, now_ns)
        lived = self._lived.get(name)
        if lived is not None:
            lived.see_bars(bars)


class TimedPredictor:
    """A `ports.Predictor` whose work is measured.

    Args:
        predictor: does it.
        note: told how long it took, in ns, and for how many decisions.
    """

    def __init__(self, predictor: Predictor, note: Callable[[int, int], None]) -> None:
        self._predictor = predictor
        self._note = note

    @property
    def model_id(self) -> str:
        """See `ports.Predictor`."""
        return self._predictor.model_id

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `ports.Predictor`."""
        return self._predictor.scales_ns

    def predict(self, bars: Mapping[int, BarBatch]) -> ForecastBatch | None:
        """See `ports.Predictor`."""
        began_ns = monotonic_ns()
        forecasts = self._predictor.predict(bars)
        if forecasts is not None and len(forecasts):
            self._note(monotonic_ns() - began_ns, len(forecasts))
        return forecasts


_NOBODY = _Served()


def _latency(stage: str, windows: Sequence[LatencyWindow], now_ns: int) -> Latency:
    """Return a stage's figures; of several windows the counts of all and the worst of each figure."""
    figures = [each.figures(now_ns) for each in windows]
    return Latency(
        stage=stage,
        count=sum(each[0] for each in figures),
        p50_ns=max(each[1] for each in figures),
        p99_ns=max(each[2] for each in figures),
        worst_ns=max(each[3] for each in figures),
    )
