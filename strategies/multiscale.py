"""Turns the forecast distribution into a position: net of costs, sized by its own uncertainty, with a no-trade band.

The size is a part of the growth-optimal one, which `strategies.sizing.kelly` finds from the forecast's quantiles net of
what trading costs. It shrinks while the forecasts' intervals hold less than they promise, is capped by leverage and by
a volatility target, and a position is changed only when the wish has moved far enough to be worth a fee.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from bot.core.durations import Duration
from bot.domain.ledger import RiskDenied
from bot.domain.market import BarBatch
from bot.domain.orders import AccountEvent, OrderFilled, PositionCut
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.exits import ExitParams
from strategies.inputs import Bar, Forecast
from strategies.sizing import (
    Costs,
    Decision,
    cap,
    chain,
    exposure_of,
    kelly,
    least,
    no_trade_band,
    to_qty,
    trusted,
    volatility_limit,
)


class MultiscaleParams(StrategyParams):
    """What may be tuned."""

    horizon: Duration = Field(3_600_000_000_000, description="the forecast to act on")
    scale: Duration = Field(60_000_000_000, description="bars whose close prices a position, and that exits look at")
    capital: Decimal = Field(Decimal(100_000), gt=0, description="what sizes are a fraction of, quote currency")
    kelly_fraction: float = Field(0.25, gt=0, le=1, description="part of the growth-optimal size to take")
    volatility_target: float = Field(0.20, gt=0, le=5, description="greatest annual deviation wanted, a fraction")
    leverage_max: float = Field(1.0, gt=0, le=10, description="greatest position, a multiple of capital")
    cost_bps: float = Field(6.5, ge=0, le=1000, description="one side's fee and slippage, basis points of value")
    funding_rate: float = Field(0.0, ge=-0.01, le=0.01, description="what a long is expected to pay each eight hours")
    band: float = Field(0.5, ge=0, lt=1, description="least change, as a fraction of the greatest position")
    exits: ExitParams = Field(ExitParams(), description="when to leave before the forecast says so; none by default")


class Multiscale(Strategy[MultiscaleParams]):
    """Acts on each forecast of one horizon.

    After an exit it takes no position of that direction until the forecast has once asked for none.
    """

    name = "multiscale"
    Params = MultiscaleParams
    wants_forecasts = True
    lookback = 1

    def on_start(self) -> None:
        """Put the sizing together."""
        params = self.params
        greatest = least(params.leverage_max, volatility_limit(params.volatility_target))
        self._size = chain(
            kelly(params.kelly_fraction), trusted(), cap(greatest), no_trade_band(params.band, of=greatest)
        )
        self._costs = Costs(fee_rate=params.cost_bps * 1e-4, funding_rate=params.funding_rate)
        self._exits = params.exits.make()
        self._left: dict[str, int] = {}  # instruments whose exit struck, and the direction that was left

    @property
    def horizons_ns(self) -> tuple[int, ...]:  # type: ignore[override]
        """See `Strategy`."""
        return (self.params.horizon,)

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,)

    def next_row(self, bars: BarBatch, columns: Mapping[str, NDArray[Any]], start: int) -> int:
        """Return the next bar where exits watch a position; bars mean nothing else here."""
        is_watching = self._exits is not None and self.position(bars.instrument.name).qty
        return start if is_watching else len(bars)

    def on_fill(self, fill: OrderFilled) -> Actions:
        """Tell the exits."""
        return self._tell_exits(fill)

    def on_cut(self, cut: PositionCut) -> Actions:
        """Tell the exits, and remember what was left."""
        if not self.position(cut.instrument).qty:
            self._left[cut.instrument] = -cut.side.sign
        return self._tell_exits(cut)

    def on_event(self, event: AccountEvent | RiskDenied) -> Actions:
        """Tell the exits."""
        if self._exits is not None:
            self._exits.on_event(event)
        return None

    def on_bar(self, bar: Bar) -> Actions:
        """Leave where an exit strikes."""
        target = self._exits.on_bar(bar) if self._exits is not None else None
        if target is not None:
            self._left[bar.instrument] = 1 if self.position(bar.instrument).qty > 0 else -1
        return target

    def on_forecast(self, forecast: Forecast) -> Actions:
        """Move the position to what the forecast is worth, if that is far enough from what is held."""
        name, horizon, capital = forecast.instrument, self.params.horizon, self.params.capital
        qty, price = self.position(name).qty, self._price(name)
        decision = Decision(
            outcomes=forecast.outcomes(horizon),
            horizon_ns=horizon,
            held=exposure_of(qty, price=price, capital=capital),
            costs=self._costs,
            trust=forecast.trust(horizon),
        )
        wanted = self._size(decision)
        if self._left.get(name, 0) * wanted > 0:
            return None
        self._left.pop(name, None)
        if wanted == decision.held:
            return None
        target = to_qty(self.instrument(name), wanted, price=price, capital=capital)
        if target == qty:
            return None
        median, deviation = forecast.median(horizon), decision.outcomes.deviation
        reason = f"median {median * 1e4:+.1f} bp, deviation {deviation * 1e4:.1f} bp, size {wanted:+.2f}"
        return self.target(name, target, reason=reason)

    def _price(self, name: str) -> Decimal:
        newest = self.bars(name, self.params.scale, 1)
        return newest.instrument.price(int(newest.close_ticks[-1]))

    def _tell_exits(self, fill: OrderFilled | PositionCut) -> Actions:
        if self._exits is None:
            return None
        return self._exits.on_fill(fill, self.position(fill.instrument), self.instrument(fill.instrument))
