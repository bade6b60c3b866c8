"""Adds forecasts to the market's slabs on their way to the money half."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from bot.actors.inbox import Inbox, Stop
from bot.core.delays import Delay
from bot.domain.errors import InvariantBroken
from bot.domain.market import ForecastBatch, MarketSlab
from bot.ports import Predictor


class Inference:
    """Runs a predictor inline and models how long it would have taken as a delay.

    Args:
        inbox: slabs with bars, of one instrument.
        deliver: receives them with forecasts; several, because strategy and executor both watch the market.
        predictor: None where no strategy of the run wants forecasts.
        delay: from a bar's being known to its forecast's being known, a function of the bar's row.
        on_forecasts: sees each batch that is traded on.
        shadow: another predictor; what it says goes to `on_shadow` and nowhere else.
    """

    def __init__(
        self,
        *,
        inbox: Inbox[MarketSlab | Stop],
        deliver: Sequence[Callable[[MarketSlab], None]],
        predictor: Predictor | None,
        delay: Delay,
        on_forecasts: Callable[[ForecastBatch], None] = lambda forecasts: None,
        shadow: Predictor | None = None,
        on_shadow: Callable[[ForecastBatch], None] = lambda forecasts: None,
    ) -> None:
        self._inbox = inbox
        self._deliver = deliver
        self._predictor = predictor
        self._delay = delay
        self._on_forecasts = on_forecasts
        self._shadow = shadow
        self._on_shadow = on_shadow
        self._known_ns = 0  # when the newest forecast so far is known

    async def run(self) -> None:
        """Serve until told to stop."""
        while True:
            for message in await self._inbox.take():
                if isinstance(message, Stop):
                    return
                slab = self._with_forecasts(message)
                for deliver in self._deliver:
                    deliver(slab)

    def _with_forecasts(self, slab: MarketSlab) -> MarketSlab:
        if self._shadow is not None:
            shadowed = self._shadow.predict(slab.bars)
            if shadowed is not None:
                self._on_shadow(self._checked(shadowed))
        forecasts = self._predictor.predict(slab.bars) if self._predictor is not None else None
        if forecasts is None:
            return slab
        self._on_forecasts(forecasts)
        return replace(slab, forecasts=self._checked(self._delayed(forecasts)))

    def _delayed(self, forecasts: ForecastBatch) -> ForecastBatch:
        # One worker answers in order: a late answer holds up those behind it.
        known_ns = np.maximum.accumulate(forecasts.known_ns + self._delay.of_rows(forecasts.bar_row))
        known_ns = np.maximum(known_ns, self._known_ns)
        self._known_ns = int(known_ns[-1])
        return replace(forecasts, known_ns=known_ns)

    def _checked(self, forecasts: ForecastBatch) -> ForecastBatch:
        if not (np.isfinite(forecasts.quantiles).all() and np.isfinite(forecasts.answers).all()):
            raise InvariantBroken(f"{forecasts.model_id} forecast something that is not a number")
        if (np.diff(forecasts.quantiles, axis=2) < 0).any():
            raise InvariantBroken(f"{forecasts.model_id} forecast quantiles that cross")
        return forecasts
