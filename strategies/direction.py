"""Trades by the probability of a rise, for models that say which way and not how far.

The side is the likelier one, where it is likelier by more than the costs need; the size grows with how sure the model
is. A probability knows nothing of how far the price moves, so the break-even probability comes from what a move of
`move_bps` either way would have to pay: p > 1/2 + round trip / (2 move).
"""

import math

from pydantic import Field

from bot.core.durations import Duration, format_duration
from bot.domain.forecast_names import answer_name
from strategies.exposure import ExposureParams, ExposureStrategy
from strategies.inputs import Forecast


class DirectionParams(ExposureParams):
    """What may be tuned."""

    horizon: Duration = Field(3_600_000_000_000, description="the answer to act on")
    move_bps: float = Field(50.0, gt=0, le=10_000, description="how far the price typically moves over the horizon")
    cost_bps: float = Field(6.5, ge=0, le=1000, description="one side's fee and slippage, basis points of value")
    fraction: float = Field(0.5, gt=0, le=1, description="part of the growth-optimal bet to take")


class Direction(ExposureStrategy[DirectionParams]):
    """A fraction of the growth-optimal bet of an even move, flat where it does not earn its costs."""

    name = "direction"
    Params = DirectionParams

    @property
    def answers(self) -> tuple[str, ...]:  # type: ignore[override]
        """See `Strategy`."""
        return (answer_name("up", format_duration(self.params.horizon)),)

    def wanted(self, forecast: Forecast, held: float) -> float:
        """Return fraction * (edge - costs) / move^2, at most the greatest position; staying costs nothing."""
        params = self.params
        up = forecast.answer("up", format_duration(params.horizon))
        move, trip = params.move_bps * 1e-4, 2 * params.cost_bps * 1e-4
        edge = (2 * up - 1) * move
        side = math.copysign(1.0, edge)
        if abs(edge) > trip:
            return side * params.fraction * (abs(edge) - trip) / move**2
        return held if held * edge > 0 else 0.0

    def reason(self, forecast: Forecast, wish: float) -> str:
        """See `ExposureStrategy`."""
        up = forecast.answer("up", format_duration(self.params.horizon))
        return f"probability of a rise {up:.3f}, size {wish:+.2f}"
