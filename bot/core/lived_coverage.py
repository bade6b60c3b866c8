"""How often the intervals that were forecast have held, as lived so far: the plainest check of a model that trades."""

import math
from collections import deque

from bot.domain.market import GAP, BarBatch, ForecastBatch

KEPT = 1_000  # outcomes of a horizon that count: the newest
LEAST = 30  # fewer say nothing
_PENDING_MAX = 20_000  # decisions that wait for their outcome; a horizon beyond that is not followed


class LivedCoverage:
    """One instrument's forecasts against what came, each as it was forecast.

    An outcome counts when both bars are there and no bar of unknown price lies between them; so a hole costs what it
    hides and nothing else. Order between the two calls matters only for bars of the same close: forecasts may come
    before or after the bar that they were made at.
    """

    def __init__(self) -> None:
        self._form: tuple[str, int, tuple[int, ...]] = "", 0, ()
        self._begin()

    def _begin(self) -> None:
        self._waiting: dict[int, list[tuple[float, float]]] = {}  # by the decision bar's close: low, high by horizon
        self._bars: dict[int, tuple[int, int]] = {}  # by close: its price in ticks, and the holes met so far
        self._holes = 0
        self._last_ns: int | None = None
        self._held: list[deque[bool]] = [deque(maxlen=KEPT) for _ in self._form[2]]

    @property
    def by_horizon(self) -> tuple[float, ...]:
        """Return the share of intervals that held, by horizon; NaN while fewer than 30 are known."""
        return tuple(sum(each) / len(each) if len(each) >= LEAST else math.nan for each in self._held)

    def see_forecasts(self, forecasts: ForecastBatch) -> None:
        """Remember the widest intervals; another model's begin anew."""
        form = forecasts.model_id, forecasts.scale_ns, forecasts.horizons_ns
        if form != self._form:
            self._form = form
            self._begin()
        for close_ns, lows, highs in zip(
            forecasts.close_ns.tolist(),
            forecasts.quantiles[:, :, 0].tolist(),
            forecasts.quantiles[:, :, -1].tolist(),
            strict=True,
        ):
            self._waiting[close_ns] = list(zip(lows, highs, strict=True))
        while len(self._waiting) > _PENDING_MAX:
            self._waiting.pop(next(iter(self._waiting)))

    def see_bars(self, bars: BarBatch) -> None:
        """Take closed bars of the decision scale; those of others tell nothing."""
        _, scale_ns, horizons_ns = self._form
        if bars.scale_ns != scale_ns:
            return
        for close_ns, ticks, flags in zip(
            bars.close_ns.tolist(), bars.close_ticks.tolist(), bars.flags.tolist(), strict=True
        ):
            if self._last_ns is not None and close_ns <= self._last_ns:
                continue  # the past told again, as after a reconnect
            is_next = self._last_ns is None or close_ns == self._last_ns + scale_ns
            is_unknown = bool(flags & GAP)
            self._holes += is_unknown or not is_next
            self._last_ns = close_ns
            if is_unknown:
                continue  # nothing can be measured from it, to it, or across it
            self._bars[close_ns] = ticks, self._holes
            for number, horizon_ns in enumerate(horizons_ns):
                self._judge(number, close_ns - horizon_ns, ticks)
        if self._last_ns is not None:
            self._forget(self._last_ns - max(horizons_ns, default=0))

    def _judge(self, number: int, decided_ns: int, ticks: int) -> None:
        forecast, start = self._waiting.get(decided_ns), self._bars.get(decided_ns)
        if forecast is None or start is None or start[1] != self._holes or min(ticks, start[0]) <= 0:
            return
        low, high = forecast[number]
        self._held[number].append(low <= math.log(ticks / start[0]) <= high)

    def _forget(self, oldest_ns: int) -> None:
        """Let go of what no outcome can follow any more."""
        for held in (self._bars, self._waiting):
            while held and next(iter(held)) < oldest_ns:
                held.pop(next(iter(held)))
