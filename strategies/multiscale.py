"""Turns the forecast distribution into a position: net of costs, sized by its own uncertainty, with a no-trade band.

The fraction of capital that maximises growth for a small edge is edge / variance (Kelly 1956; Thorp 2006, "The Kelly
criterion in blackjack, sports betting, and the stock market"). We take a part of it, because the edge is an estimate,
and cap it by a volatility target. Trading costs are counted against the edge before anything is sized, and a position
is changed only when the wish has moved far enough to be worth a fee.
"""

import math
from decimal import Decimal

from pydantic import Field

from bot.core.durations import Duration
from bot.ports import Actions
from strategies.base import Forecast, Strategy, StrategyParams

_YEAR_NS = 365 * 86_400_000_000_000


class MultiscaleParams(StrategyParams):
    """What may be tuned."""

    horizon: Duration = Field(3_600_000_000_000, description="the forecast to act on")
    capital: Decimal = Field(Decimal(100_000), gt=0, description="what sizes are a fraction of, quote currency")
    kelly_fraction: float = Field(0.25, gt=0, le=1, description="part of the growth-optimal size to take")
    volatility_target: float = Field(0.20, gt=0, le=5, description="greatest annual deviation wanted, a fraction")
    leverage_max: float = Field(1.0, gt=0, le=10, description="greatest position, a multiple of capital")
    cost_bps: float = Field(6.5, ge=0, le=1000, description="one side's fee and slippage, basis points of value")
    band: float = Field(0.5, ge=0, lt=1, description="least change, as a fraction of the greatest position")


class Multiscale(Strategy[MultiscaleParams]):
    """Acts on each forecast of one horizon."""

    name = "multiscale"
    Params = MultiscaleParams
    wants_forecasts = True
    lookback = 1

    @property
    def horizons_ns(self) -> tuple[int, ...]:  # type: ignore[override]
        """See `Strategy`."""
        return (self.params.horizon,)

    def on_forecast(self, forecast: Forecast) -> Actions:
        """Move the position to what the forecast is worth, if that is far enough from what is held."""
        params = self.params
        median = forecast.median(params.horizon)
        deviation = forecast.deviation(params.horizon)
        if not deviation > 0:
            return None
        annual = deviation * math.sqrt(_YEAR_NS / params.horizon)
        cap = min(params.leverage_max, params.volatility_target / annual)
        held = self._held(forecast.instrument)
        # Staying costs nothing, so an edge that is held need not earn its cost again to be kept.
        cost = 0.0 if held * median > 0 else 2 * params.cost_bps * 1e-4
        edge = math.copysign(max(abs(median) - cost, 0.0), median)
        wanted = max(-cap, min(cap, params.kelly_fraction * edge / deviation**2))
        if abs(wanted - held) <= params.band * cap and (wanted or not held):
            return None
        if wanted == 0 and held and median * held > 0:
            return None
        qty = self._qty(forecast.instrument, wanted)
        if qty == self.position(forecast.instrument).qty:
            return None
        reason = f"median {median * 1e4:+.1f} bp, deviation {deviation * 1e4:.1f} bp, size {wanted:+.2f}"
        return self.target(forecast.instrument, qty, reason=reason)

    def _held(self, name: str) -> float:
        """Return the position as a multiple of capital, at the newest price."""
        qty = self.position(name).qty
        return float(qty * self._price(name) / self.params.capital) if qty else 0.0

    def _qty(self, name: str, wanted: float) -> Decimal:
        value = Decimal(repr(wanted)) * self.params.capital
        return self.instrument(name).round_qty(value / self._price(name))

    def _price(self, name: str) -> Decimal:
        newest = self.bars(name, self.scales_ns[0], 1)
        return newest.instrument.price(int(newest.close_ticks[-1]))
