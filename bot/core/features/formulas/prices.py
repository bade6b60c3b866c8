"""Prices and trend: returns, where the bar closed, averages, momentum."""

from bot.core.features.expression import (
    Node,
    column,
    deviation,
    divide,
    ema,
    lag,
    larger,
    ln,
    mean,
    sign,
    span_ema,
    total,
)
from bot.core.features.formulas.chapter import Chapter
from bot.core.features.formulas.columns import BEFORE, CLOSE, HIGH, LOW, OPEN

CHAPTER = Chapter()
feature = CHAPTER.feature

# --- prices -----------------------------------------------------------------------------------------------------------


@feature(unit="1", source="S0 0.3a, 0.3b; S2 2.3; S3 3.8")
def log_return(bars: int = 1) -> Node:
    """Return ln(c[t] / c[t-bars]).

    Unit: 1. Warm-up: bars. From klines: yes. S0's return_1, return_5 and return_10 are this over 1, 5 and 10 bars,
    as sums of log returns.
    """
    return ln(CLOSE / lag(CLOSE, bars))


@feature(unit="1", source="S3 3.8")
def open_return() -> Node:
    """Return ln(o[t] / c[t-1]): the open, made stationary.

    Unit: 1. Warm-up: 1. From klines: yes.
    """
    return ln(OPEN / BEFORE)


@feature(unit="1", source="S3 3.8")
def high_return() -> Node:
    """Return ln(h[t] / c[t-1]): the high, made stationary.

    Unit: 1. Warm-up: 1. From klines: yes.
    """
    return ln(HIGH / BEFORE)


@feature(unit="1", source="S3 3.8")
def low_return() -> Node:
    """Return ln(l[t] / c[t-1]): the low, made stationary.

    Unit: 1. Warm-up: 1. From klines: yes.
    """
    return ln(LOW / BEFORE)


@feature(unit="quote/base", source="S3 3.8")
def price(which: str = "close") -> Node:
    """Return the bar's open, high, low or close as it is: not stationary, for models that normalise by instance.

    Unit: quote/base. Warm-up: 0. From klines: yes.
    """
    if which not in ("open", "high", "low", "close"):
        raise ValueError(f"price of {which!r}: use open, high, low or close")
    return column(which)


@feature(unit="1", source="S0 0.3f")
def high_low_ratio() -> Node:
    """Return (h - l) / c.

    Unit: 1. Warm-up: 0. From klines: yes.
    """
    return (HIGH - LOW) / CLOSE


@feature(unit="1", source="S0 0.3g")
def close_position() -> Node:
    """Return (c - l) / (h - l): where in its range the bar closed; 0.5 for a flat bar.

    Unit: 1, within 0 and 1. Warm-up: 0. From klines: yes.
    """
    return divide(CLOSE - LOW, HIGH - LOW, where_zero=0.5)


# --- trend ------------------------------------------------------------------------------------------------------------


@feature(unit="1", source="S0 0.3h; S2 2.3 (price_ma_ratio, there without the -1)")
def ma_ratio(bars: int = 20) -> Node:
    """Return c / SMA(c, bars) - 1.

    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    return CLOSE / mean(CLOSE, bars) - 1.0


@feature(unit="1", source="S3 3.8 (ema_short, ema_long)")
def ema_ratio(bars: int = 12) -> Node:
    """Return ln(c / EMA(c, span bars)).

    Unit: 1. Warm-up: ema(2 / (bars + 1)). From klines: yes.
    """
    return ln(CLOSE / span_ema(CLOSE, bars))


def _macd(fast: int, slow: int) -> Node:
    return (span_ema(CLOSE, fast) - span_ema(CLOSE, slow)) / CLOSE


@feature(unit="1", source="S3 3.8; Appel (1979)")
def macd(fast: int = 12, slow: int = 26) -> Node:
    """Return (EMA(c, span fast) - EMA(c, span slow)) / c.

    Unit: 1. Warm-up: max(ema(2 / (fast + 1)), ema(2 / (slow + 1))). From klines: yes.
    """
    return _macd(fast, slow)


@feature(unit="1", source="S3 3.8; Appel (1979)")
def macd_signal(fast: int = 12, slow: int = 26, signal: int = 9) -> Node:
    """Return EMA(macd, span signal).

    Unit: 1. Warm-up: max(ema(2 / (fast + 1)), ema(2 / (slow + 1))) + ema(2 / (signal + 1)). From klines: yes.
    """
    return span_ema(_macd(fast, slow), signal)


def _balance(gains: Node, losses: Node) -> Node:
    """Return (gains - losses) / (gains + losses), 0 where there are neither."""
    return divide(gains - losses, gains + losses, where_zero=0.0)


_change = CLOSE - BEFORE
_gain, _loss = larger(_change, 0.0), larger(0.0 - _change, 0.0)


@feature(unit="1", source="S0 0.3i, 0.3j; S2 2.3; S3 3.8; Cutler's form")
def rsi(bars: int = 14) -> Node:
    """Return (G - L) / (G + L) with the sums of gains G and losses L of the last bars: (RSI - 50) / 50 by Cutler.

    0 where the price has not moved. Wilder's RSI is another number: see `rsi_wilder`.
    Unit: 1, within -1 and 1. Warm-up: bars. From klines: yes.
    """
    return _balance(total(_gain, bars), total(_loss, bars))


@feature(unit="1", source="Wilder, New Concepts in Technical Trading Systems (1978)")
def rsi_wilder(bars: int = 14) -> Node:
    """Return (G - L) / (G + L) with recursive means of gains G and losses L, alpha 1 / bars: (RSI - 50) / 50.

    Unit: 1, within -1 and 1. Warm-up: 1 + ema(1 / bars). From klines: yes.
    """
    return _balance(ema(_gain, 1.0 / bars), ema(_loss, 1.0 / bars))


@feature(unit="1", source="S3 3.8 (bbands_upper, bbands_middle, bbands_lower); Bollinger (1992)")
def bollinger(band: str = "upper", bars: int = 20, width: float = 2.0) -> Node:
    """Return band / c - 1, where the band is SMA(c) + width, 0 or -width deviations of c over the bars.

    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    if band not in ("upper", "middle", "lower"):
        raise ValueError(f"bollinger band {band!r}: use upper, middle or lower")
    middle = mean(CLOSE, bars)
    if band == "middle":
        return middle / CLOSE - 1.0
    spread = width * deviation(CLOSE, bars)
    return (middle + spread if band == "upper" else middle - spread) / CLOSE - 1.0


@feature(unit="1", source="S3 3.8")
def tick_rule(bars: int = 20) -> Node:
    """Return the mean over the bars of the sign of c[t] - c[t-1].

    Unit: 1, within -1 and 1. Warm-up: bars. From klines: yes.
    """
    return mean(sign(_change), bars)
