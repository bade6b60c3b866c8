"""Holds in each regime what the user says of it, weighted by how probable each regime is.

A regime is the model's own division of the market; what it is good for is not in its number. `sizes` gives one
exposure for each, found on data that the model was not fitted to.
"""

from typing import Annotated

from pydantic import Field

from bot.domain.forecast_names import answer_name
from strategies.exposure import ExposureParams, ExposureStrategy
from strategies.inputs import Forecast

_Size = Annotated[float, Field(ge=-10, le=10)]


class RegimeParams(ExposureParams):
    """What may be tuned."""

    sizes: tuple[_Size, ...] = Field((0.5, 0.0, -0.5), min_length=2, max_length=64, description="of each regime")
    least: float = Field(0.5, ge=0, lt=1, description="the least probability of the likeliest regime to move by")


class Regime(ExposureStrategy[RegimeParams]):
    """Holds sum(p_k * size_k); what is held stays while no regime is likely enough."""

    name = "regime"
    Params = RegimeParams

    @property
    def answers(self) -> tuple[str, ...]:  # type: ignore[override]
        """See `Strategy`: one probability for each size."""
        return tuple(answer_name("regime", str(number)) for number in range(len(self.params.sizes)))

    def wanted(self, forecast: Forecast, held: float) -> float:
        """Return the mean size."""
        shares = self._shares(forecast)
        if max(shares) < self.params.least:
            return held
        return sum(share * size for share, size in zip(shares, self.params.sizes, strict=True))

    def reason(self, forecast: Forecast, wish: float) -> str:
        """See `ExposureStrategy`."""
        return f"regimes {', '.join(f'{share:.2f}' for share in self._shares(forecast))}, size {wish:+.2f}"

    def _shares(self, forecast: Forecast) -> list[float]:
        return [forecast.answer("regime", str(number)) for number in range(len(self.params.sizes))]
