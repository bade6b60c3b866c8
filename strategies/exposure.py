"""What strategies share that make one number of each forecast: the exposure it is worth."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

from numpy.typing import NDArray
from pydantic import Field

from bot.core.durations import Duration
from bot.domain.market import BarBatch
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Forecast
from strategies.sizing import exposure_of, to_qty


class ExposureParams(StrategyParams):
    """What may be tuned of all of them."""

    scale: Duration = Field(60_000_000_000, description="bars whose close prices a position")
    capital: Decimal = Field(Decimal(100_000), gt=0, description="what sizes are a fraction of, quote currency")
    leverage_max: float = Field(1.0, gt=0, le=10, description="greatest position, a multiple of capital")
    band: float = Field(0.1, ge=0, lt=1, description="least change, as a fraction of the greatest position")


P = TypeVar("P", bound=ExposureParams)


class ExposureStrategy(Strategy[P]):
    """Holds what `wanted` says, and moves when that lies outside a band around what is held."""

    wants_forecasts = True
    lookback = 1

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,)

    def next_row(self, bars: BarBatch, columns: Mapping[str, NDArray[Any]], start: int) -> int:
        """Return no bar: they price positions and mean nothing else."""
        return len(bars)

    def wanted(self, forecast: Forecast, held: float) -> float:
        """Return the exposure that a forecast is worth, a multiple of capital; what is held where it says nothing."""
        raise NotImplementedError

    def on_forecast(self, forecast: Forecast) -> Actions:
        """Move the position there, if that is far enough from what is held."""
        name, params = forecast.instrument, self.params
        newest = self.bars(name, params.scale, 1)
        if not len(newest):
            return None
        qty, price = self.position(name).qty, newest.instrument.price(int(newest.close_ticks[-1]))
        held = exposure_of(qty, price=price, capital=params.capital)
        wish = self.wanted(forecast, held)
        if wish == held or wish - wish != 0:
            return None
        wish = max(-params.leverage_max, min(params.leverage_max, wish))
        if wish and abs(wish - held) <= params.band * params.leverage_max:
            return None
        target = to_qty(self.instrument(name), wish, price=price, capital=params.capital)
        return None if target == qty else self.target(name, target, reason=self.reason(forecast, wish))

    def reason(self, forecast: Forecast, wish: float) -> str:
        """Return why, for the ledger."""
        return f"size {wish:+.2f}"
