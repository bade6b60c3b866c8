"""A second, plain opinion on every feature of the catalogue.

The tests of `bot/core/features/` compare the engine with this file. It is written from the docstrings of the catalogue
and shares no formula, kernel or state with it: whole columns at once, every window laid out and looked at as a whole,
pandas' `ewm`, `datetime` and `calendar`, PyWavelets and vmdpy directly. Slow, and meant to be checked by eye.

A frame is a mapping from input names to columns, one value a bar, NaN where not known; `feature_inputs_reference` makes
it. What is made of an unknown value is unknown.
"""

import calendar
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pywt
from numpy.typing import NDArray
from vmdpy import VMD

from tests.support.feature_tools_reference import (
    F64,
    ago,
    average,
    by_span,
    has_moved,
    log_ratio,
    recursive_mean,
    spread_of,
    where_zero,
    windows,
)

Frame = Mapping[str, NDArray[Any]]

REFERENCE: dict[str, Callable[..., F64]] = {}


def reference(name: str, params: Mapping[str, Any], frame: Frame) -> F64:
    """Return a feature of the catalogue for every bar of a frame; what is not finite is NaN."""
    with np.errstate(all="ignore"):
        values = REFERENCE[name](frame, **params)
        return np.where(np.isfinite(values), values, np.nan)


def _feature(function: Callable[..., F64]) -> Callable[..., F64]:
    REFERENCE[function.__name__] = function
    return function


# --- prices and trend -------------------------------------------------------------------------------------------------


@_feature
def log_return(f: Frame, bars: int) -> F64:
    return log_ratio(f["close"], ago(f["close"], bars))


@_feature
def open_return(f: Frame) -> F64:
    return log_ratio(f["open"], ago(f["close"], 1))


@_feature
def high_return(f: Frame) -> F64:
    return log_ratio(f["high"], ago(f["close"], 1))


@_feature
def low_return(f: Frame) -> F64:
    return log_ratio(f["low"], ago(f["close"], 1))


@_feature
def price(f: Frame, which: str) -> F64:
    return np.asarray(f[which], dtype=np.float64)


@_feature
def high_low_ratio(f: Frame) -> F64:
    return np.asarray((f["high"] - f["low"]) / f["close"], dtype=np.float64)


@_feature
def close_position(f: Frame) -> F64:
    return np.where(f["high"] == f["low"], 0.5, (f["close"] - f["low"]) / (f["high"] - f["low"]))


@_feature
def ma_ratio(f: Frame, bars: int) -> F64:
    mean = average(f["close"], bars)
    return (f["close"] - mean) / mean


@_feature
def ema_ratio(f: Frame, bars: int) -> F64:
    return log_ratio(f["close"], by_span(f["close"], bars))


@_feature
def macd(f: Frame, fast: int, slow: int) -> F64:
    return (by_span(f["close"], fast) - by_span(f["close"], slow)) / f["close"]


@_feature
def macd_signal(f: Frame, fast: int, slow: int, signal: int) -> F64:
    return by_span(macd(f, fast, slow), signal)


def _gains_and_losses(f: Frame) -> tuple[F64, F64]:
    change = f["close"] - ago(f["close"], 1)
    return np.where(change < 0, 0.0, change), np.where(change > 0, 0.0, -change)


def _strength(gains: F64, losses: F64) -> F64:
    """Return RSI from its textbook form, 100 - 100 / (1 + G / L), brought to (RSI - 50) / 50; 0 without either."""
    index = np.where(losses == 0.0, 100.0, 100.0 - 100.0 / (1.0 + gains / losses))
    index = np.where(np.isnan(gains) | np.isnan(losses), np.nan, index)
    return np.where((gains == 0.0) & (losses == 0.0), 0.0, (index - 50.0) / 50.0)


@_feature
def rsi(f: Frame, bars: int) -> F64:
    gains, losses = _gains_and_losses(f)
    return _strength(average(gains, bars), average(losses, bars))


@_feature
def rsi_wilder(f: Frame, bars: int) -> F64:
    gains, losses = _gains_and_losses(f)
    return _strength(recursive_mean(gains, 1.0 / bars), recursive_mean(losses, 1.0 / bars))


@_feature
def bollinger(f: Frame, band: str, bars: int, width: float) -> F64:
    side = {"upper": width, "middle": 0.0, "lower": -width}[band]
    away = average(f["close"], bars) - f["close"]
    if band == "middle":
        return away / f["close"]
    return (away + side * spread_of(f["close"], bars)) / f["close"]


@_feature
def tick_rule(f: Frame, bars: int) -> F64:
    return average(np.sign(f["close"] - ago(f["close"], 1)), bars)


# --- volatility -------------------------------------------------------------------------------------------------------


@_feature
def volatility(f: Frame, bars: int) -> F64:
    return spread_of(log_return(f, 1), bars)


@_feature
def ewma_volatility(f: Frame, decay: float) -> F64:
    return np.sqrt(recursive_mean(log_return(f, 1) ** 2, 1.0 - decay))


@_feature
def parkinson_volatility(f: Frame, bars: int) -> F64:
    return np.sqrt(average(log_ratio(f["high"], f["low"]) ** 2, bars) / (4.0 * math.log(2.0)))


@_feature
def garman_klass_volatility(f: Frame, bars: int) -> F64:
    ranges, bodies = log_ratio(f["high"], f["low"]) ** 2, log_ratio(f["close"], f["open"]) ** 2
    variance = average(ranges / 2.0 - (2.0 * math.log(2.0) - 1.0) * bodies, bars)
    return np.where(variance < 0.0, 0.0, np.sqrt(variance))


@_feature
def rogers_satchell_volatility(f: Frame, bars: int) -> F64:
    high, low, close, start = f["high"], f["low"], f["close"], f["open"]
    up = log_ratio(high, close) * log_ratio(high, start)
    down = log_ratio(low, close) * log_ratio(low, start)
    return np.sqrt(average(up + down, bars))


@_feature
def realised_volatility(f: Frame, bars: int) -> F64:
    return np.sqrt(average(f["realised_variance"], bars))


@_feature
def atr(f: Frame, bars: int) -> F64:
    before = ago(f["close"], 1)
    true_range = np.maximum(f["high"], before) - np.minimum(f["low"], before)
    return average(true_range, bars) / f["close"]


@_feature
def spread_proxy(f: Frame) -> F64:
    high, low = windows(f["high"], 2), windows(f["low"], 2)
    beta = (log_ratio(high, low) ** 2).sum(axis=1)
    gamma = log_ratio(high.max(axis=1), low.min(axis=1)) ** 2
    k = 3.0 - 2.0 * math.sqrt(2.0)
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / k - np.sqrt(gamma / k)
    # 2 (e^a - 1) / (1 + e^a) is twice the hyperbolic tangent of a / 2.
    spread: F64 = np.maximum(2.0 * np.tanh(alpha / 2.0), 0.0)
    return spread


# --- volume -----------------------------------------------------------------------------------------------------------


@_feature
def log_volume(f: Frame) -> F64:
    return np.asarray(np.log1p(f["volume"]), dtype=np.float64)


@_feature
def dollar_volume(f: Frame) -> F64:
    typical = (f["high"] + f["low"] + f["close"]) / 3.0
    return np.asarray(np.log1p(f["volume"] * typical), dtype=np.float64)


@_feature
def volume_change(f: Frame, bars: int) -> F64:
    before = ago(f["volume"], 1)
    least = average(before, bars) / 1000.0
    return where_zero(before + least, 0.0, np.log((f["volume"] + least) / (before + least)))


@_feature
def relative_volume(f: Frame, bars: int) -> F64:
    usual = ago(by_span(f["volume"], bars), 1)
    return where_zero(usual, math.log(2.0), np.log1p(f["volume"] / usual))


@_feature
def volume_ma_ratio(f: Frame, fast: int, slow: int) -> F64:
    usual = average(f["volume"], slow)
    values = where_zero(usual, 0.0, (average(f["volume"], fast) - usual) / usual)
    return np.where(np.isnan(average(f["volume"], fast)), np.nan, values)


@_feature
def vwap(f: Frame, bars: int) -> F64:
    return average(f["turnover"], bars) / average(f["volume"], bars)


@_feature
def vwap_distance(f: Frame, bars: int) -> F64:
    values = where_zero(average(f["volume"], bars), 0.0, log_ratio(f["close"], vwap(f, bars)))
    return np.where(np.isnan(average(f["turnover"], bars)), np.nan, values)


@_feature
def orderflow_imbalance(f: Frame, bars: int) -> F64:
    bought, sold = average(f["buy_volume"], bars), average(f["volume"] - f["buy_volume"], bars)
    return where_zero(bought + sold, 0.0, (bought - sold) / (bought + sold))


@_feature
def trade_intensity(f: Frame, bars: int) -> F64:
    usual = ago(by_span(f["count"], bars), 1)
    values = where_zero(usual, math.log(2.0), np.log1p(f["count"] / usual))
    return np.where(np.isnan(f["count"]), np.nan, values)


@_feature
def trade_size(f: Frame, bars: int) -> F64:
    usual = average(f["volume"], bars) / average(f["count"], bars)
    values = where_zero(f["volume"], 0.0, np.log(f["volume"] / f["count"] / usual))
    return np.where(np.isnan(average(f["count"], bars)), np.nan, values)


@_feature
def empty_share(f: Frame, bars: int) -> F64:
    return average(np.where(f["volume"] == 0.0, 1.0, 0.0), bars)


@_feature
def gap_share(f: Frame, bars: int) -> F64:
    return average(np.where(f["has_no_row"], 1.0, 0.0), bars)


# --- calendar and funding ---------------------------------------------------------------------------------------------


def _turns(wave: str, harmonic: int, phase: list[float]) -> F64:
    function = {"sin": math.sin, "cos": math.cos}[wave]
    return np.array([function(math.tau * math.fmod(harmonic * part, 1.0)) for part in phase], dtype=np.float64)


def _closes(f: Frame) -> list[tuple[datetime, timedelta]]:
    """Return each close as a UTC date and time to the microsecond, with the time since midnight."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    closes = [epoch + timedelta(microseconds=ns // 1000) for ns in f["close_ns"].tolist()]
    return [(close, close - close.replace(hour=0, minute=0, second=0, microsecond=0)) for close in closes]


@_feature
def time_of_day(f: Frame, wave: str, harmonic: int) -> F64:
    return _turns(wave, harmonic, [since / timedelta(days=1) for _, since in _closes(f)])


@_feature
def day_of_week(f: Frame, wave: str, harmonic: int) -> F64:
    phase = [(timedelta(days=close.weekday()) + since) / timedelta(days=7) for close, since in _closes(f)]
    return _turns(wave, harmonic, phase)


@_feature
def day_of_month(f: Frame, wave: str, harmonic: int) -> F64:
    phase = []
    for close, since in _closes(f):
        days = calendar.monthrange(close.year, close.month)[1]
        phase.append((timedelta(days=close.day - 1) + since) / timedelta(days=days))
    return _turns(wave, harmonic, phase)


@_feature
def day_of_year(f: Frame, wave: str, harmonic: int) -> F64:
    phase = []
    for close, since in _closes(f):
        days = 366 if calendar.isleap(close.year) else 365
        phase.append((timedelta(days=close.timetuple().tm_yday - 1) + since) / timedelta(days=days))
    return _turns(wave, harmonic, phase)


@_feature
def funding_clock(f: Frame, wave: str, harmonic: int) -> F64:
    hours = int(f["funding_hours"][0])
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    phase = [((close - epoch) % timedelta(hours=hours)) / timedelta(hours=hours) for close, _ in _closes(f)]
    return _turns(wave, harmonic, phase)


@_feature
def funding_rate(f: Frame) -> F64:
    return np.asarray(f["funding_rate"] * 10_000.0, dtype=np.float64)


@_feature
def mark_basis(f: Frame) -> F64:
    return 10_000.0 * log_ratio(f["close"], f["mark_close"])


# --- another instrument -----------------------------------------------------------------------------------------------


def _both_returns(f: Frame) -> tuple[F64, F64]:
    return log_return(f, 1), reference_return(f, 1)


@_feature
def reference_return(f: Frame, bars: int) -> F64:
    return log_ratio(f["ref_close"], ago(f["ref_close"], bars))


@_feature
def relative_return(f: Frame, bars: int) -> F64:
    return log_return(f, bars) - reference_return(f, bars)


@_feature
def reference_beta(f: Frame, bars: int) -> F64:
    ours, its = (windows(each, bars) for each in _both_returns(f))
    ours, its = ours - ours.mean(axis=1, keepdims=True), its - its.mean(axis=1, keepdims=True)
    values = (ours * its).sum(axis=1) / (its * its).sum(axis=1)
    is_still = ~has_moved(reference_return(f, 1), bars) & ~np.isnan(ours[:, 0])
    return np.where(is_still, 0.0, values)


@_feature
def reference_correlation(f: Frame, bars: int) -> F64:
    ours, its = _both_returns(f)
    values = np.full(len(ours), np.nan)
    for row, (a, b) in enumerate(zip(windows(ours, bars), windows(its, bars), strict=True)):
        if not (np.isnan(a).any() or np.isnan(b).any()):
            values[row] = np.corrcoef(a, b)[0, 1] if a.any() and b.any() else 0.0
    return values


@_feature
def reference_spread(f: Frame, bars: int) -> F64:
    ratio = np.log(f["close"] / f["ref_close"])
    values = (ratio - average(ratio, bars)) / spread_of(ratio, bars)
    is_still = windows(ratio, bars).max(axis=1) == windows(ratio, bars).min(axis=1)
    return np.where(is_still, 0.0, values)


@_feature
def book(f: Frame, which: str) -> F64:
    return np.asarray(f[which], dtype=np.float64)


# --- decompositions ---------------------------------------------------------------------------------------------------


def _bank(f: Frame, level: int) -> tuple[F64, F64]:
    """Return the smooth and the detail of a level, by the pyramid of Percival and Walden (2000), section 5.5."""
    scaling = np.array(pywt.Wavelet("db4").rec_lo) / math.sqrt(2.0)
    taps = len(scaling)
    smooth, detail = np.log(f["close"]), np.empty(0)
    for done in range(level):
        before, smooth, detail = smooth, np.zeros(len(smooth)), np.zeros(len(smooth))
        for tap in range(taps):
            past = ago(before, tap * 2**done)
            smooth = smooth + scaling[tap] * past
            detail = detail + (-1) ** tap * scaling[taps - 1 - tap] * past
    return smooth, detail


@_feature
def wavelet_detail(f: Frame, level: int) -> F64:
    return _bank(f, level)[1]


@_feature
def wavelet_trend(f: Frame, level: int) -> F64:
    return _bank(f, level)[0] - np.log(f["close"])


@_feature
def wavelet_component(f: Frame, index: int, levels: int, bars: int, wavelet: str) -> F64:
    log_close = np.log(f["close"])
    values = np.full(len(log_close), np.nan)
    for row, window in enumerate(windows(log_close, bars).copy()):
        if np.isnan(window).any():
            continue
        trend, *details = pywt.wavedec(window, wavelet, level=levels)
        part: Any = trend if index == 0 else None
        for at, detail in enumerate(details, 1):  # one level of synthesis after another, all but one part left out
            part = part[: len(detail)] if part is not None else None
            kept = detail if at == index else None
            if part is not None or kept is not None:
                part = pywt.idwt(part, kept, wavelet)
        values[row] = part[bars - 1]
    return values - log_close if index == 0 else values


@_feature
def vmd_mode(f: Frame, index: int, modes: int, bars: int, alpha: float) -> F64:
    """Return the mode of each window; the docstring does not say that a window is first brought to unit deviation."""
    log_close = np.log(f["close"])
    values = np.full(len(log_close), np.nan)
    for row, window in enumerate(windows(log_close, bars).copy()):
        if np.isnan(window).any():
            continue
        level, spread = window.mean(), window.std()
        if window.max() == window.min():
            values[row] = level if index == 0 else 0.0  # a constant: the slowest mode has all of it
            continue
        parts, _, frequencies = VMD((window - level) / spread, alpha, 0.0, modes, 0, 1, 1e-7)
        ranked = sorted(range(modes), key=lambda mode: frequencies[-1][mode])
        values[row] = parts[ranked[index]][-1].real * spread + (level if index == 0 else 0.0)
    return values - log_close if index == 0 else values
