"""Settled funding of the sample market, by the venue's rule."""

from math import sqrt
from typing import NamedTuple

import numpy as np

from bot.core.sample_market.spec import DAY_NS, SECOND_NS, SampleMarketSpec
from bot.domain.market import I64

FUNDING_INTERVAL_NS = 8 * 3600 * SECOND_NS  # settled at 00:00, 08:00 and 16:00 UTC
FUNDING_CAP_E8 = 750_000  # +- 0.75 %, in units of 1e-8

# Funding, all fractions of notional per eight hours but the two that say otherwise.
_INTEREST_RATE = 0.0001
_PREMIUM_BAND = 0.0005
_PREMIUM_MEAN = 0.00015
_PREMIUM_DEVIATION = 0.0005
_PREMIUM_MEMORY = 0.92  # of the slow premium, from one settlement to the next
_PREMIUM_PER_RETURN = 0.010  # premium for each unit of the last day's return


class SampleFunding(NamedTuple):
    """Settled funding, as columns of one length."""

    ts_ns: I64  # when it was settled, ns UTC
    rate_e8: I64  # of the position's notional, longs pay shorts, in units of 1e-8: 10,000 is 1 bp


def generate_funding(
    spec: SampleMarketSpec, rng: np.random.Generator, *, ts_ns: I64, price_ticks: I64
) -> SampleFunding:
    """Return the funding settled at 00:00, 08:00 and 16:00 UTC, from the start to before the end.

    The premium is a slow noise plus a share of the last day's return: who chases the price pays for it. The
    rate follows from it by Bybit's rule, so while the premium is within 5 bps of the interest the rate is
    exactly 1 bp.

    Args:
        ts_ns: any prices of this market in time order, for example all trades, or closes at their close time.
            Only what came strictly before a settlement moves it.
        price_ticks: those prices.
    Source:
        F = P + clamp(I - P, -0.05 %, 0.05 %), Bybit help centre, "Introduction to Funding Rate".
    """
    settled_ns = np.arange(spec.start_ns, spec.end_ns, FUNDING_INTERVAL_NS, dtype=np.int64)
    prices = np.concatenate(([spec.price_start_ticks], price_ticks)).astype(np.float64)
    price_now = prices[np.searchsorted(ts_ns, settled_ns, side="left")]
    price_day_ago = prices[np.searchsorted(ts_ns, settled_ns - DAY_NS, side="left")]
    chased = _PREMIUM_PER_RETURN * (price_now / price_day_ago - 1.0)

    slow_premium = _PREMIUM_DEVIATION * rng.standard_normal()
    kick = _PREMIUM_DEVIATION * sqrt(1.0 - _PREMIUM_MEMORY * _PREMIUM_MEMORY)
    rate_e8 = np.empty(len(settled_ns), dtype=np.int64)
    for row, noise in enumerate(rng.standard_normal(len(settled_ns)).tolist()):
        slow_premium = _PREMIUM_MEMORY * slow_premium + kick * noise
        premium = _PREMIUM_MEAN + slow_premium + float(chased[row])
        rate = premium + min(max(_INTEREST_RATE - premium, -_PREMIUM_BAND), _PREMIUM_BAND)
        rate_e8[row] = min(max(round(rate * 1e8), -FUNDING_CAP_E8), FUNDING_CAP_E8)
    return SampleFunding(settled_ns, rate_e8)
