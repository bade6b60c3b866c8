"""The features there are: each a function from its parameters to a formula.

Every docstring says what the value is, its unit, how many bars it needs before its first value (`ema(a)` stands for
`expression.ema_warmup(a)`), whether the venue's klines suffice for it, and the source it goes back to. Sources S0 to S4
are named in `docs/features.md`, which also says where two of them gave one name to two things.
A test compares what the docstrings say with what the formulas do.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bot.core.features.decomposition import modwt_filters
from bot.core.features.expression import (
    Node,
    clip,
    column,
    component,
    cos_turn,
    covariance,
    deviation,
    divide,
    ema,
    exp,
    filtered,
    lag,
    larger,
    ln,
    log1p,
    mean,
    sign,
    sin_turn,
    smaller,
    span_ema,
    sqrt,
    total,
    trailing,
)
from bot.core.features.inputs import INPUTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """An entry of the catalogue."""

    name: str
    unit: str
    source: str
    build: Callable[..., Node]
    defaults: dict[str, Any]  # the formula's parameters, in order

    def unit_of(self, params: Mapping[str, Any]) -> str:
        """Return the unit under these parameters: one of the book's columns has that column's own."""
        return INPUTS[params["which"]].unit if self.build is book else self.unit


CATALOGUE: Final[dict[str, Feature]] = {}


def feature(*, unit: str, source: str) -> Callable[[Callable[..., Node]], Callable[..., Node]]:
    """Enter a function into the catalogue under its name."""

    def enter(build: Callable[..., Node]) -> Callable[..., Node]:
        defaults = {name: p.default for name, p in inspect.signature(build).parameters.items()}
        name = build.__name__
        if name in CATALOGUE:
            raise ValueError(f"two features are named {name}")
        CATALOGUE[name] = Feature(name=name, unit=unit, source=source, build=build, defaults=defaults)
        return build

    return enter


_open, _high, _low, _close = column("open"), column("high"), column("low"), column("close")
_volume, _turnover = column("volume"), column("turnover")
_count, _buy_volume = column("count"), column("buy_volume")
_before = lag(_close, 1)
_return = ln(_close / _before)


# --- prices -----------------------------------------------------------------------------------------------------------


@feature(unit="1", source="S0 0.3a, 0.3b; S2 2.3; S3 3.8")
def log_return(bars: int = 1) -> Node:
    """Return ln(c[t] / c[t-bars]).

    Unit: 1. Warm-up: bars. From klines: yes. S0's return_1, return_5 and return_10 are this over 1, 5 and 10 bars,
    as sums of log returns.
    """
    return ln(_close / lag(_close, bars))


@feature(unit="1", source="S3 3.8")
def open_return() -> Node:
    """Return ln(o[t] / c[t-1]): the open, made stationary.

    Unit: 1. Warm-up: 1. From klines: yes.
    """
    return ln(_open / _before)


@feature(unit="1", source="S3 3.8")
def high_return() -> Node:
    """Return ln(h[t] / c[t-1]): the high, made stationary.

    Unit: 1. Warm-up: 1. From klines: yes.
    """
    return ln(_high / _before)


@feature(unit="1", source="S3 3.8")
def low_return() -> Node:
    """Return ln(l[t] / c[t-1]): the low, made stationary.

    Unit: 1. Warm-up: 1. From klines: yes.
    """
    return ln(_low / _before)


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
    return (_high - _low) / _close


@feature(unit="1", source="S0 0.3g")
def close_position() -> Node:
    """Return (c - l) / (h - l): where in its range the bar closed; 0.5 for a flat bar.

    Unit: 1, within 0 and 1. Warm-up: 0. From klines: yes.
    """
    return divide(_close - _low, _high - _low, where_zero=0.5)


# --- trend ------------------------------------------------------------------------------------------------------------


@feature(unit="1", source="S0 0.3h; S2 2.3 (price_ma_ratio, there without the -1)")
def ma_ratio(bars: int = 20) -> Node:
    """Return c / SMA(c, bars) - 1.

    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    return _close / mean(_close, bars) - 1.0


@feature(unit="1", source="S3 3.8 (ema_short, ema_long)")
def ema_ratio(bars: int = 12) -> Node:
    """Return ln(c / EMA(c, span bars)).

    Unit: 1. Warm-up: ema(2 / (bars + 1)). From klines: yes.
    """
    return ln(_close / span_ema(_close, bars))


def _macd(fast: int, slow: int) -> Node:
    return (span_ema(_close, fast) - span_ema(_close, slow)) / _close


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


_change = _close - _before
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
    middle = mean(_close, bars)
    if band == "middle":
        return middle / _close - 1.0
    spread = width * deviation(_close, bars)
    return (middle + spread if band == "upper" else middle - spread) / _close - 1.0


@feature(unit="1", source="S3 3.8")
def tick_rule(bars: int = 20) -> Node:
    """Return the mean over the bars of the sign of c[t] - c[t-1].

    Unit: 1, within -1 and 1. Warm-up: bars. From klines: yes.
    """
    return mean(sign(_change), bars)


# --- volatility -------------------------------------------------------------------------------------------------------


@feature(unit="1", source="S0 0.3c; S2 2.3; S3 3.8")
def volatility(bars: int = 20) -> Node:
    """Return the deviation (one degree of freedom off) of the last bars' log returns, per bar, not annualised.

    Unit: 1. Warm-up: bars. From klines: yes.
    """
    return deviation(_return, bars)


@feature(unit="1", source="RiskMetrics (1996)")
def ewma_volatility(decay: float = 0.94) -> Node:
    """Return the root of the recursive mean of squared log returns, alpha 1 - decay, per bar.

    Unit: 1. Warm-up: 1 + ema(1 - decay). From klines: yes.
    """
    return sqrt(ema(_return * _return, 1.0 - decay))


@feature(unit="1", source="Parkinson (1980)")
def parkinson_volatility(bars: int = 20) -> Node:
    """Return sqrt(mean(ln(h / l)^2) / (4 ln 2)) over the bars, per bar.

    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    spread = ln(_high / _low)
    return sqrt(mean(spread * spread, bars) / (4.0 * math.log(2.0)))


@feature(unit="1", source="Garman and Klass (1980)")
def garman_klass_volatility(bars: int = 20) -> Node:
    """Return sqrt(mean(ln(h / l)^2 / 2 - (2 ln 2 - 1) ln(c / o)^2)) over the bars, per bar; 0 where that is negative.

    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    spread, body = ln(_high / _low), ln(_close / _open)
    return sqrt(larger(mean(0.5 * spread * spread - (2.0 * math.log(2.0) - 1.0) * body * body, bars), 0.0))


@feature(unit="1", source="Rogers and Satchell (1991)")
def rogers_satchell_volatility(bars: int = 20) -> Node:
    """Return sqrt(mean(ln(h / c) ln(h / o) + ln(l / c) ln(l / o))) over the bars, per bar: without bias under drift.

    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    up = ln(_high / _close) * ln(_high / _open)
    down = ln(_low / _close) * ln(_low / _open)
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
    return mean(larger(_high, _before) - smaller(_low, _before), bars) / _close


@feature(unit="1", source="S3 3.8 (spread_proxy); Corwin and Schultz, Journal of Finance 67 (2012)")
def spread_proxy() -> Node:
    """Return the bid-ask spread, as a part of the price, that the highs and lows of two bars suggest; at least 0.

    beta = ln(h/l)^2 summed over two bars, gamma = ln(H/L)^2 of the two as one,
    a = (sqrt(2 beta) - sqrt(beta)) / (3 - 2 sqrt 2) - sqrt(gamma / (3 - 2 sqrt 2)), spread = 2 (e^a - 1) / (1 + e^a).
    Unit: 1. Warm-up: 1. From klines: yes.
    """
    spread = ln(_high / _low)
    beta = total(spread * spread, 2)
    both = ln(larger(_high, lag(_high, 1)) / smaller(_low, lag(_low, 1)))
    k = 3.0 - 2.0 * math.sqrt(2.0)
    alpha = (sqrt(2.0 * beta) - sqrt(beta)) / k - sqrt(both * both / k)
    return larger(2.0 * (exp(alpha) - 1.0) / (1.0 + exp(alpha)), 0.0)


# --- volume -----------------------------------------------------------------------------------------------------------


@feature(unit="ln(base)", source="S3 3.8")
def log_volume() -> Node:
    """Return ln(1 + v), v in base currency.

    Unit: ln(base). Warm-up: 0. From klines: yes.
    """
    return log1p(_volume)


@feature(unit="ln(quote)", source="S3 3.8")
def dollar_volume() -> Node:
    """Return ln(1 + v (h + l + c) / 3), in quote currency: the same from any source, with a turnover or without.

    Unit: ln(quote). Warm-up: 0. From klines: yes.
    """
    return log1p(_volume * ((_high + _low + _close) / 3.0))


@feature(unit="1", source="S0 0.3e")
def volume_change(bars: int = 20) -> Node:
    """Return ln((v + e) / (v[t-1] + e)), e a thousandth of the mean volume of the bars before; 0 where all are empty.

    Unit: 1. Warm-up: bars. From klines: yes.
    """
    least = 0.001 * lag(mean(_volume, bars), 1)
    return ln(divide(_volume + least, lag(_volume, 1) + least, where_zero=1.0))


@feature(unit="1", source="S0 0.3d; S2 2.3 (volume_ma_ratio); S3 3.8 (relative_volume)")
def relative_volume(bars: int = 20) -> Node:
    """Return ln(1 + v / m), m the recursive mean volume, span bars, up to the bar before; ln 2 where m is 0.

    Unit: 1. Warm-up: 1 + ema(2 / (bars + 1)). From klines: yes.
    """
    return log1p(divide(_volume, lag(span_ema(_volume, bars), 1), where_zero=1.0))


@feature(unit="1", source="S3 3.8")
def volume_ma_ratio(fast: int = 5, slow: int = 24) -> Node:
    """Return SMA(v, fast) / SMA(v, slow) - 1; 0 where nothing traded in the slow window.

    Unit: 1. Warm-up: max(fast, slow) - 1. From klines: yes.
    """
    return divide(mean(_volume, fast), mean(_volume, slow), where_zero=1.0) - 1.0


@feature(unit="quote/base", source="S3 3.8")
def vwap(bars: int = 1) -> Node:
    """Return the volume-weighted average price of the bars, as it is: not stationary.

    Unit: quote/base. Warm-up: bars - 1. From klines: yes, those that carry a turnover.
    """
    return total(_turnover, bars) / total(_volume, bars)


@feature(unit="1", source="S3 3.8")
def vwap_distance(bars: int = 20) -> Node:
    """Return ln(c / vwap of the bars); 0 where nothing traded.

    Unit: 1. Warm-up: bars - 1. From klines: yes, those that carry a turnover.
    """
    return ln(divide(_close * total(_volume, bars), total(_turnover, bars), where_zero=1.0))


@feature(unit="1", source="S3 3.8 (orderflow_imbalance)")
def orderflow_imbalance(bars: int = 1) -> Node:
    """Return (B - S) / (B + S) with what takers bought B and sold S in the bars; 0 where nothing traded.

    Unit: 1, within -1 and 1. Warm-up: bars - 1. From klines: no, trades tell.
    """
    return divide(2.0 * total(_buy_volume, bars), total(_volume, bars), where_zero=1.0) - 1.0


@feature(unit="1", source="S3 3.8")
def trade_intensity(bars: int = 20) -> Node:
    """Return ln(1 + n / m), n the number of trades, m its recursive mean, span bars, up to the bar before.

    Unit: 1. Warm-up: 1 + ema(2 / (bars + 1)). From klines: no, trades tell.
    """
    return log1p(divide(_count, lag(span_ema(_count, bars), 1), where_zero=1.0))


@feature(unit="1", source="ours")
def trade_size(bars: int = 20) -> Node:
    """Return ln of the bar's mean trade over that of the last bars; 0 where nothing traded.

    Unit: 1. Warm-up: bars - 1. From klines: no, trades tell.
    """
    return ln(divide(_volume * total(_count, bars), _count * total(_volume, bars), where_zero=1.0))


# --- what is missing --------------------------------------------------------------------------------------------------


@feature(unit="1", source="ours")
def empty_share(bars: int = 20) -> Node:
    """Return the share of the bars in which nothing traded.

    Unit: 1, within 0 and 1. Warm-up: bars - 1. From klines: yes.
    """
    return mean(column("is_empty"), bars)


@feature(unit="1", source="ours")
def gap_share(bars: int = 20) -> Node:
    """Return the share of the bars for which the source has no row: what their other features say is made up.

    Unit: 1, within 0 and 1. Warm-up: bars - 1. From klines: yes.
    """
    return mean(column("is_gap"), bars)


# --- calendar and funding ---------------------------------------------------------------------------------------------

_WAVES: Final = {"sin": sin_turn, "cos": cos_turn}


def _harmonic(wave: str, phase: str, harmonic: int) -> Node:
    if wave not in _WAVES or harmonic < 1:
        raise ValueError(f"{wave!r} number {harmonic}: use sin or cos, and whole numbers from 1")
    return _WAVES[wave](float(harmonic) * column(phase))


@feature(unit="1", source="S1 1.7, 1.12; S3 3.1")
def time_of_day(wave: str = "sin", harmonic: int = 1) -> Node:
    """Return the sine or cosine of so many turns a day, at the close, UTC.

    Unit: 1. Warm-up: 0. From klines: yes.
    """
    return _harmonic(wave, "day_phase", harmonic)


@feature(unit="1", source="S1 1.12; S3 3.1")
def day_of_week(wave: str = "sin", harmonic: int = 1) -> Node:
    """Return the sine or cosine of so many turns a week, from Monday, UTC.

    Unit: 1. Warm-up: 0. From klines: yes.
    """
    return _harmonic(wave, "week_phase", harmonic)


@feature(unit="1", source="S3 3.1, with the month's true length, so that its last day meets its first")
def day_of_month(wave: str = "sin", harmonic: int = 1) -> Node:
    """Return the sine or cosine of so many turns a calendar month.

    Unit: 1. Warm-up: 0. From klines: yes.
    """
    return _harmonic(wave, "month_phase", harmonic)


@feature(unit="1", source="S3 3.1, with the year's true length")
def day_of_year(wave: str = "sin", harmonic: int = 1) -> Node:
    """Return the sine or cosine of so many turns a calendar year.

    Unit: 1. Warm-up: 0. From klines: yes.
    """
    return _harmonic(wave, "year_phase", harmonic)


@feature(unit="1", source="S1 1.7, 1.12")
def funding_clock(wave: str = "sin", harmonic: int = 1) -> Node:
    """Return the sine or cosine of so many turns from one funding settlement to the next.

    Unit: 1. Warm-up: 0. From klines: yes.
    """
    return _harmonic(wave, "funding_phase", harmonic)


@feature(unit="bps", source="S1 1.12")
def funding_rate() -> Node:
    """Return the newest settled funding rate; positive is paid by longs to shorts. Never the one still forming.

    Unit: bps per funding interval. Warm-up: 0. From klines: yes, with the venue's funding history.
    """
    return 10_000.0 * column("funding_rate")


@feature(unit="bps", source="ours")
def mark_basis() -> Node:
    """Return ln(c / mark price).

    Unit: bps. Warm-up: 0. From klines: yes, with mark-price klines.
    """
    return 10_000.0 * ln(_close / column("mark_close"))


# --- another instrument -----------------------------------------------------------------------------------------------

_ref = column("ref_close")
_ref_return = ln(_ref / lag(_ref, 1))


@feature(unit="1", source="S1 1.5")
def reference_return(bars: int = 1) -> Node:
    """Return the reference instrument's log return over the same bars.

    Unit: 1. Warm-up: bars. From klines: yes, of both.
    """
    return ln(_ref / lag(_ref, bars))


@feature(unit="1", source="S1 1.5")
def relative_return(bars: int = 1) -> Node:
    """Return our log return less the reference instrument's.

    Unit: 1. Warm-up: bars. From klines: yes, of both.
    """
    return ln(_close / lag(_close, bars)) - ln(_ref / lag(_ref, bars))


@feature(unit="1", source="S1 1.5")
def reference_beta(bars: int = 60) -> Node:
    """Return cov(our returns, its returns) / var(its returns) over the bars; 0 where it has not moved.

    Unit: 1. Warm-up: bars. From klines: yes, of both.
    """
    return divide(covariance(_return, _ref_return, bars), covariance(_ref_return, _ref_return, bars), where_zero=0.0)


@feature(unit="1", source="S1 1.5")
def reference_correlation(bars: int = 60) -> Node:
    """Return the correlation of our returns with its returns over the bars; 0 where either has not moved.

    Unit: 1, within -1 and 1. Warm-up: bars. From klines: yes, of both.
    """
    return clip(
        divide(
            covariance(_return, _ref_return, bars),
            deviation(_return, bars) * deviation(_ref_return, bars),
            where_zero=0.0,
        ),
        -1.0,
        1.0,
    )


@feature(unit="1", source="ours")
def reference_spread(bars: int = 60) -> Node:
    """Return how many deviations ln(c / its c) lies from its mean over the bars; 0 where it has not moved.

    Unit: 1. Warm-up: bars - 1. From klines: yes, of both.
    """
    ratio = ln(_close / _ref)
    return divide(ratio - mean(ratio, bars), deviation(ratio, bars), where_zero=0.0)


# --- order book -------------------------------------------------------------------------------------------------------


@feature(unit="as the column's", source="core.book_features")
def book(which: str = "book_imbalance_1") -> Node:
    """Return one of the order book's columns at the bar's close: spread, imbalance, microprice, slope, order flow...

    Unit: as the column's. Warm-up: 0. From klines: no, the book tells.
    """
    if which not in INPUTS or not which.startswith("book_"):
        known = ", ".join(name for name in INPUTS if name.startswith("book_"))
        raise ValueError(f"no book column is named {which!r}; there are {known}")
    return column(which)


# --- decompositions ---------------------------------------------------------------------------------------------------

_SMOOTH, _DETAIL = modwt_filters()
_log_close = ln(_close)


def _smooth(level: int) -> Node:
    """Return the db4 smooth of the log price after so many levels, each with its taps twice as far apart."""
    smooth = _log_close
    for done in range(level):
        smooth = filtered(smooth, _SMOOTH, stride=2**done)
    return smooth


@feature(unit="1", source="S0 0.5, as a causal bank; Percival and Walden (2000)")
def wavelet_detail(level: int = 1) -> Node:
    """Return the newest detail of the log price at a level of the db4 a trous filter bank; level 1 is the finest.

    Unit: 1. Warm-up: 7 * (2**level - 1). From klines: yes.
    """
    if not 1 <= level <= 12:
        raise ValueError(f"wavelet level {level}: use 1 to 12")
    return filtered(_smooth(level - 1), _DETAIL, stride=2 ** (level - 1))


@feature(unit="1", source="S0 0.5, as a causal bank; Percival and Walden (2000)")
def wavelet_trend(level: int = 4) -> Node:
    """Return the smooth of the log price at a level of the db4 a trous filter bank, less the log price.

    Unit: 1. Warm-up: 7 * (2**level - 1). From klines: yes.
    """
    if not 1 <= level <= 12:
        raise ValueError(f"wavelet level {level}: use 1 to 12")
    return _smooth(level) - _log_close


@feature(unit="1", source="S0 0.5, on the trailing window; PyWavelets")
def wavelet_component(index: int = 0, levels: int = 4, bars: int = 128, wavelet: str = "db4") -> Node:
    """Return the newest value of one component of the trailing window's discrete wavelet transform of the log price.

    Index 0 is the trend (less the log price), 1 to `levels` the details from the coarsest to the finest. Slow: needs
    PyWavelets, and a transform per bar.
    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    if not 0 <= index <= levels:
        raise ValueError(f"wavelet component {index} of {levels} levels: use 0 to {levels}")
    part = component(trailing(_log_close, "wavelet", bars, wavelet, levels), index)
    return part - _log_close if index == 0 else part


@feature(unit="1", source="S0 0.7, on the trailing window; vmdpy; Dragomiretskiy and Zosso (2014)")
def vmd_mode(index: int = 0, modes: int = 4, bars: int = 128, alpha: float = 2000.0) -> Node:
    """Return the newest value of one mode of the trailing window's variational mode decomposition of the log price.

    The modes are ordered by frequency, the slowest first and taken less the log price. Research only: needs vmdpy, and
    milliseconds per bar. The window is brought to mean 0 and deviation 1 first, and its modes back.
    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    if not 0 <= index < modes:
        raise ValueError(f"VMD mode {index} of {modes}: use 0 to {modes - 1}")
    part = component(trailing(_log_close, "vmd", bars, modes, alpha), index)
    return part - _log_close if index == 0 else part
