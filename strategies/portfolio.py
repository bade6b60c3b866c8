"""Several instruments at once, each with its share of the risk, rebalanced when they have drifted far enough.

The deviations are the forecasts', the correlations those of the newest bars. Shares of risk (equal, or by the inverse
of the volatility) make weights, and the weights are scaled so that the whole portfolio deviates as much in a year as is
wanted. With direction = "long" everything is held long; with "forecast" to the side that the forecast expects, where
that earns what trading costs, and not at all where it does not.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from functools import reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.domain.market import F64, BarBatch
from bot.domain.orders import Action, Target
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Forecast
from strategies.outcomes import Outcomes
from strategies.sizing import YEAR_NS, Costs, Decision, chain, exposure_of, fixed, net_of_cost, to_qty
from strategies.weights import correlations, inverse_volatility, risk_parity

_RETURNS_MIN = 20  # fewer say nothing of a correlation


class PortfolioParams(StrategyParams):
    """What may be tuned."""

    horizon: Duration = Field(parse_duration("1d"), description="the forecast whose deviation and direction count")
    weighting: Literal["risk_parity", "inverse_volatility"] = Field("risk_parity", description="how risk is shared")
    direction: Literal["long", "forecast"] = Field("long", description="always long, or to the forecast's side")
    rebalance: Duration = Field(parse_duration("1h"), ge=60_000_000_000, description="how often to look")
    scale: Duration = Field(parse_duration("15m"), description="bars of the correlations, and whose close is the price")
    window: int = Field(480, ge=_RETURNS_MIN, le=10_000, description="bars of the correlations")
    age_max: Duration = Field(parse_duration("1h"), description="an older forecast is none")
    capital: Decimal = Field(Decimal(100_000), gt=0, description="what sizes are a fraction of, quote currency")
    volatility_target: float = Field(0.20, gt=0, le=5, description="annual deviation of the portfolio, a fraction")
    leverage_max: float = Field(1.0, gt=0, le=10, description="greatest sum of all positions, a multiple of capital")
    cost_bps: float = Field(6.5, ge=0, le=1000, description="one side's fee and slippage, basis points of value")
    funding_rate: float = Field(0.0, ge=-0.01, le=0.01, description="what a long is expected to pay each eight hours")
    band: float = Field(0.25, ge=0, lt=1, description="least change, as a fraction of the larger of old and new size")


class Portfolio(Strategy[PortfolioParams]):
    """Looks at whole multiples of `rebalance`, at all instruments whose forecast is fresh.

    What it holds of another stays as it is, and counts against the leverage.
    """

    name = "portfolio"
    Params = PortfolioParams
    wants_forecasts = True

    def __init__(self, params: PortfolioParams) -> None:
        super().__init__(params)
        self.lookback = params.window + 1
        self.timer_ns = params.rebalance

    def on_start(self) -> None:
        """Begin without forecasts."""
        self._forecasts: dict[str, tuple[int, Outcomes]] = {}  # the newest: close of its bar, and what it says
        self._costs = Costs(fee_rate=self.params.cost_bps * 1e-4, funding_rate=self.params.funding_rate)
        self._side = chain(fixed(1.0), net_of_cost())

    @property
    def horizons_ns(self) -> tuple[int, ...]:  # type: ignore[override]
        """See `Strategy`."""
        return (self.params.horizon,)

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,)

    def next_row(self, bars: BarBatch, columns: Mapping[str, NDArray[Any]], start: int) -> int:
        """Return no bar: they are looked back on."""
        return len(bars)

    def on_forecast(self, forecast: Forecast) -> Actions:
        """Remember it."""
        self._forecasts[forecast.instrument] = forecast.close_ns, forecast.outcomes(self.params.horizon)
        return None

    def on_timer(self, now_ns: int) -> Actions:
        """Move what is too far from its share."""
        closes = {name: bars for name in sorted(self._forecasts) if (bars := self._closes(name)) is not None}
        held = {name: self._held(name, bars) for name, bars in closes.items()}
        fresh = [name for name in held if self._is_fresh(name, closes[name], now_ns)]
        if not fresh:
            return None
        left = self.params.leverage_max - math.fsum(abs(held[name]) for name in held if name not in fresh)
        wanted = self._exposures(fresh, closes, held, max(left, 0.0))
        actions: list[Action] = []
        for name in fresh:
            target = self._target(name, wanted[name], held[name], closes[name])
            if target is not None:
                actions.append(target)
        return actions

    def _exposures(
        self, names: list[str], closes: Mapping[str, BarBatch], held: Mapping[str, float], leverage: float
    ) -> dict[str, float]:
        """Return what to hold of each, as fractions of capital."""
        sides = {name: self._direction(name, held[name]) for name in names}
        chosen = [name for name in names if sides[name]]
        wanted = dict.fromkeys(names, 0.0)
        if not chosen:
            return wanted
        sign = np.array([sides[name] for name in chosen])
        year = np.sqrt(YEAR_NS / self.params.horizon)
        deviations = np.array([self._forecasts[name][1].deviation for name in chosen]) * year
        # Of what is held: a short's return is the instrument's with its sign reversed.
        covariance = self._correlations([closes[name] for name in chosen]) * np.outer(sign, sign)
        covariance *= np.outer(deviations, deviations)
        is_equal = self.params.weighting == "risk_parity"
        weights = risk_parity(covariance) if is_equal else inverse_volatility(deviations)
        variance = float((np.outer(weights, weights) * covariance).sum())
        size = leverage if variance <= 0 else min(leverage, self.params.volatility_target / float(np.sqrt(variance)))
        return wanted | dict(zip(chosen, (size * sign * weights).tolist(), strict=True))

    def _direction(self, name: str, held: float) -> float:
        """Return 1 to hold it long, -1 short, 0 not at all."""
        if self.params.direction == "long":
            return 1.0
        decision = Decision(
            outcomes=self._forecasts[name][1],
            horizon_ns=self.params.horizon,
            held=float(np.sign(held)),
            costs=self._costs,
        )
        return self._side(decision)

    def _correlations(self, closes: list[BarBatch]) -> F64:
        """Return the correlations of the log returns at the bars that all have; none while there are few."""
        common = reduce(np.intersect1d, [bars.open_ns for bars in closes])
        if len(common) <= _RETURNS_MIN:
            return np.eye(len(closes))
        prices = [bars.closes[np.isin(bars.open_ns, common)] for bars in closes]
        return correlations(np.diff(np.log(np.column_stack(prices)), axis=0))

    def _target(self, name: str, wanted: float, held: float, closes: BarBatch) -> Target | None:
        """Return the wish for a position outside its band, None for one within."""
        if wanted and abs(wanted - held) <= self.params.band * max(abs(wanted), abs(held)):
            return None
        target = to_qty(self.instrument(name), wanted, price=_price(closes), capital=self.params.capital)
        if target == self.position(name).qty:
            return None
        deviation = self._forecasts[name][1].deviation
        return self.target(name, target, reason=f"deviation {deviation * 1e4:.1f} bp, share {wanted:+.3f}")

    def _closes(self, name: str) -> BarBatch | None:
        """Return the window's bars; None before the first, which may be longer than what forecasts are made of."""
        try:
            bars = self.bars(name, self.params.scale, self.params.window + 1)
        except LookupError:
            return None
        return bars if len(bars) else None

    def _held(self, name: str, closes: BarBatch) -> float:
        return exposure_of(self.position(name).qty, price=_price(closes), capital=self.params.capital)

    def _is_fresh(self, name: str, closes: BarBatch, now_ns: int) -> bool:
        """Return whether the forecast says something of today, and so does the price."""
        close_ns, outcomes = self._forecasts[name]
        is_priced = now_ns - closes.close_at(len(closes) - 1) <= self.params.scale + self.params.age_max
        return outcomes.is_usable and is_priced and now_ns - close_ns <= self.params.age_max


def _price(closes: BarBatch) -> Decimal:
    return closes.instrument.price(int(closes.close_ticks[-1]))
