"""Stays long by as much as a loss budget allows: the size at which the value at risk is `budget` of capital.

Or the size at which the deepest fall within the horizon is, where the model forecasts that.

It bets on nothing but the market itself; what the model adds is when to hold less of it.
"""

from typing import Literal

from pydantic import Field

from bot.core.durations import Duration, format_duration
from bot.domain.forecast_names import answer_name
from strategies.exposure import ExposureParams, ExposureStrategy
from strategies.inputs import Forecast


class RiskBudgetParams(ExposureParams):
    """What may be tuned."""

    horizon: Duration = Field(3_600_000_000_000, description="over which the loss is counted")
    by: Literal["loss", "drawdown"] = Field("loss", description="what is budgeted: the loss at the end, or on the way")
    level: float = Field(0.95, gt=0, lt=1, description="a greater loss has the probability 1 - level")
    budget: float = Field(0.005, gt=0, le=1, description="what may be lost at that level, a fraction of capital")


class RiskBudget(ExposureStrategy[RiskBudgetParams]):
    """Holds budget / value at risk."""

    name = "risk_budget"
    Params = RiskBudgetParams

    @property
    def answers(self) -> tuple[str, ...]:  # type: ignore[override]
        """See `Strategy`."""
        return (answer_name(self.params.by, format_duration(self.params.horizon), self.params.level),)

    def wanted(self, forecast: Forecast, held: float) -> float:
        """Return the size; none where the model says that nothing can be lost, for that is no answer."""
        loss = self._loss(forecast)
        return self.params.budget / loss if loss > 0 else 0.0

    def reason(self, forecast: Forecast, wish: float) -> str:
        """See `ExposureStrategy`."""
        what = "value at risk" if self.params.by == "loss" else "drawdown"
        return f"{what} {self._loss(forecast) * 1e4:.1f} bp, size {wish:+.2f}"

    def _loss(self, forecast: Forecast) -> float:
        return forecast.answer(self.params.by, format_duration(self.params.horizon), self.params.level)
