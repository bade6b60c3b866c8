"""Named sets of features: what each source document asks for, without its doubles, and what we make of all of them."""

from typing import Final

# S0: sixteen columns, of which return_1 repeats log_return and rsi_normalized repeats rsi.
MULTISCALE: Final = (
    "log_return",
    "log_return(5)",
    "log_return(10)",
    "volatility(5)",
    "volatility(20)",
    "relative_volume(20)",
    "volume_change",
    "high_low_ratio",
    "close_position",
    "ma_ratio(5)",
    "ma_ratio(10)",
    "ma_ratio(20)",
    "ma_ratio(50)",
    "rsi(14)",
)
# S2: five columns.
LONGCTX: Final = ("log_return", "volatility(24)", "relative_volume(24)", "ma_ratio(24)", "rsi(14)")
# S3: twenty-five columns, prices and bands as distances from the price.
QUANTILE: Final = (
    "open_return",
    "high_return",
    "low_return",
    "log_return",
    "log_volume",
    "log_return(5)",
    "rsi(14)",
    "macd",
    "macd_signal",
    "volatility(20)",
    "atr(14)",
    "bollinger('upper')",
    "bollinger('middle')",
    "bollinger('lower')",
    "ema_ratio(12)",
    "ema_ratio(26)",
    "volume_ma_ratio",
    "relative_volume(20)",
    "dollar_volume",
    "vwap_distance(1)",
    "vwap_distance(20)",
    "orderflow_imbalance",
    "trade_intensity",
    "tick_rule",
    "spread_proxy",
)
VOLATILITY: Final = (
    "ewma_volatility",
    "parkinson_volatility",
    "garman_klass_volatility",
    "rogers_satchell_volatility",
    "realised_volatility",
)
CALENDAR: Final = (
    *(f"time_of_day('{wave}', {harmonic})" for harmonic in (1, 2, 3, 4) for wave in ("sin", "cos")),
    *(f"day_of_week('{wave}', {harmonic})" for harmonic in (1, 2) for wave in ("sin", "cos")),
    *(f"day_of_month('{wave}')" for wave in ("sin", "cos")),
    *(f"day_of_year('{wave}')" for wave in ("sin", "cos")),
    *(f"funding_clock('{wave}')" for wave in ("sin", "cos")),
)
FUNDING: Final = ("funding_rate",)
REFERENCE: Final = (
    "reference_return",
    "relative_return",
    "reference_beta",
    "reference_correlation",
    "reference_spread",
)
WAVELET: Final = (*(f"wavelet_detail({level})" for level in (1, 2, 3, 4)), "wavelet_trend(4)")
MISSING: Final = ("empty_share", "gap_share")
# All that the bars, the clock and the funding history give: what the shipped models choose from.
FULL: Final = tuple(
    dict.fromkeys(
        (*MULTISCALE, *LONGCTX, *QUANTILE, "rsi_wilder", *VOLATILITY, *CALENDAR, *FUNDING, *WAVELET, *MISSING)
    )
)
# What bare candles give: neither a turnover nor takers nor funding.
OHLCV: Final = tuple(
    text
    for text in FULL
    if not text.startswith(("vwap", "orderflow_imbalance", "trade_intensity", "trade_size", "funding_rate"))
)

PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "multiscale": MULTISCALE,
    "longctx": LONGCTX,
    "quantile": QUANTILE,
    "volatility_set": VOLATILITY,
    "calendar_set": CALENDAR,
    "reference_set": REFERENCE,
    "wavelet_set": WAVELET,
    "full": FULL,
    "ohlcv": OHLCV,
}
