"""All days of the sample market, one after another."""

from collections.abc import Iterator

import numpy as np

from bot.core.sample_market.order_flow import TRADES_PER_ORDER, Flow, trades_of_day
from bot.core.sample_market.spec import DAY_NS, DAY_S, SampleMarketSpec, SampleTrades
from bot.core.sample_market.weather import first_weather, weather_of_day


def generate_trades(spec: SampleMarketSpec, rng: np.random.Generator) -> SampleTrades:
    """Return all days of `generate_days` in one piece: 25 bytes a trade, twice that while joining."""
    days = list(generate_days(spec, rng))
    return SampleTrades(*(np.concatenate(columns) for columns in zip(*days, strict=True)))


def generate_days(spec: SampleMarketSpec, rng: np.random.Generator) -> Iterator[SampleTrades]:
    """Yield the trades of one UTC day after another, so that memory stays flat.

    The price is a martingale but for one honest thing: in the trend regimes (about 38 % of the time, up and
    down alike) it drifts by `trend_drift_ratio` daily volatilities per day, by default 1.3 % under noise of
    3.1 %. An oracle that saw the regimes would have a Sharpe ratio near 4.7 before costs. Rules that follow
    the sign of the last 3 to 96 hours had 0.6 to 1.5 before costs and -1.9 to 0.4 after a taker's fee of
    5.5 bps, measured over 16 years.
    """
    orders_per_second = spec.trades_per_day / TRADES_PER_ORDER / DAY_S
    weather = first_weather(rng, orders_per_second=orders_per_second)
    flow = Flow(float(spec.price_start_ticks), 0.0, 0.0, 0.0)
    for day in range(spec.days):
        midnight_ns = spec.start_ns + day * DAY_NS
        weather, day_weather = weather_of_day(
            spec, rng, weather, orders_per_second=orders_per_second, day_index=midnight_ns // DAY_NS
        )
        flow, trades = trades_of_day(spec, rng, flow, day_weather, midnight_ns=midnight_ns)
        yield trades
