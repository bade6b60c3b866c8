"""How much prices move: by returns, by ranges, by the smallest bars in a bar; and the spread that ranges suggest."""

import math

from bot.core.features.expression import Node, column, deviation, ema, exp, lag, larger, ln, mean, smaller, sqrt, total
from bot.core.features.formulas.chapter import Chapter
from bot.core.features.formulas.columns import BEFORE, CLOSE, HIGH, LOW, OPEN, RETURN

CHAPTER = Chapter()
feature = CHAPTER.feature


@feature(unit="1", source="S0 0.3c; S2 2.3; S3 3.8")
def volatility(bars: int = 20) -> Node:
    """Return the deviation (one degree of freedom off) of the last bars' log returns, per bar, not annualised.

    Unit: 1. Warm-up: bars. From klines: yes.
    """
    return deviation(RETURN, bars)


@feature(unit="1", source="RiskMetrics (1996)")
def ewma_volatility(decay: float = 0.94) -> Node:
    """Return the root of the recursive mean of squared log returns, alpha 1 - decay, per bar.

    Unit: 1. Warm-up: 1 + ema(1 - decay). From klines: yes.
    """
    return sqrt(ema(RETURN * RETURN, 1.0 - decay))


@feature(unit="1", source="Parkinson (1980)")
def parkinson_volatility(bars: int = 20) -> Node:
    """Return sqrt(mean(ln(h / l)^2) / (4 ln 2)) over the bars, per bar.

    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    spread = ln(HIGH / LOW)
    return sqrt(mean(spread * spread, bars) / (4.0 * math.log(2.0)))


@feature(unit="1", source="Garman and Klass (1980)")
def garman_klass_volatility(bars: int = 20) -> Node:
    """Return sqrt(mean(ln(h / l)^2 / 2 - (2 ln 2 - 1) ln(c / o)^2)) over the bars, per bar; 0 where that is negative.

    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    spread, body = ln(HIGH / LOW), ln(CLOSE / OPEN)
    return sqrt(larger(mean(0.5 * spread * spread - (2.0 * math.log(2.0) - 1.0) * body * body, bars), 0.0))


@feature(unit="1", source="Rogers and Satchell (1991)")
def rogers_satchell_volatility(bars: int = 20) -> Node:
    """Return sqrt(mean(ln(h / c) ln(h / o) + ln(l / c) ln(l / o))) over the bars, per bar: without bias under drift.

    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    up = ln(HIGH / CLOSE) * ln(HIGH / OPEN)
    down = ln(LOW / CLOSE) * ln(LOW / OPEN)
    return sqrt(larger(mean(up + down, bars), 0.0))


@feature(unit="1", source="Andersen and Bollerslev (1998)")
def realised_volatility(bars: int = 1) -> Node:
    """Return the root of the mean over the bars of the sum of squared log returns of the smallest bars inside each.

    Unit: 1, per bar. Warm-up: bars - 1. From klines: yes, the smallest bars' own.
    """
    return sqrt(mean(column("realised_variance"), bars))


@feature(unit="1", source="S3 3.8; Wilder (1978), here as a simple mean")
def atr(bars: int = 14) -> Node:
    """Return the mean over the bars of the true range, divided by c: max(h, c[t-1]) - min(l, c[t-1]).

    Unit: 1. Warm-up: bars. From klines: yes.
    """
    return mean(larger(HIGH, BEFORE) - smaller(LOW, BEFORE), bars) / CLOSE


@feature(unit="1", source="S3 3.8 (spread_proxy); Corwin and Schultz, Journal of Finance 67 (2012)")
def spread_proxy() -> Node:
    """Return the bid-ask spread, as a part of the price, that the highs and lows of two bars suggest; at least 0.

    beta = ln(h/l)^2 summed over two bars, gamma = ln(H/L)^2 of the two as one,
    a = (sqrt(2 beta) - sqrt(beta)) / (3 - 2 sqrt 2) - sqrt(gamma / (3 - 2 sqrt 2)), spread = 2 (e^a - 1) / (1 + e^a).
    Unit: 1. Warm-up: 1. From klines: yes.
    """
    spread = ln(HIGH / LOW)
    beta = total(spread * spread, 2)
    both = ln(larger(HIGH, lag(HIGH, 1)) / smaller(LOW, lag(LOW, 1)))
    k = 3.0 - 2.0 * math.sqrt(2.0)
    alpha = (sqrt(2.0 * beta) - sqrt(beta)) / k - sqrt(both * both / k)
    return larger(2.0 * (exp(alpha) - 1.0) / (1.0 + exp(alpha)), 0.0)
