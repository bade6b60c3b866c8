"""Trades by the three signals of a model whose labels knew the costs: sell, hold, buy.

A signal is followed while its probability is at least `least`; hold keeps what there is, and a position is left when
the opposite signal is likelier than its own.
"""

from pydantic import Field

from bot.core.durations import Duration, format_duration
from bot.domain.forecast_names import answer_name
from strategies.exposure import ExposureParams, ExposureStrategy
from strategies.inputs import Forecast


class SignalParams(ExposureParams):
    """What may be tuned."""

    horizon: Duration = Field(3_600_000_000_000, description="the answer to act on")
    least: float = Field(0.5, gt=1 / 3, lt=1, description="the least probability of buy or sell to enter by")
    size: float = Field(0.5, gt=0, le=10, description="what to hold, a multiple of capital")


class Signal(ExposureStrategy[SignalParams]):
    """Holds one size to the side of the signal."""

    name = "signal"
    Params = SignalParams

    @property
    def answers(self) -> tuple[str, ...]:  # type: ignore[override]
        """See `Strategy`."""
        return tuple(answer_name(side, self._span) for side in ("sell", "hold", "buy"))

    @property
    def _span(self) -> str:
        return format_duration(self.params.horizon)

    def wanted(self, forecast: Forecast, held: float) -> float:
        """Return the size to the signal's side."""
        sell, buy = (forecast.answer(side, self._span) for side in ("sell", "buy"))
        if max(sell, buy) >= self.params.least:
            return self.params.size if buy > sell else -self.params.size
        return 0.0 if held * (buy - sell) < 0 else held

    def reason(self, forecast: Forecast, wish: float) -> str:
        """See `ExposureStrategy`."""
        sell, buy = (forecast.answer(side, self._span) for side in ("sell", "buy"))
        return f"sell {sell:.2f}, buy {buy:.2f}, size {wish:+.2f}"
