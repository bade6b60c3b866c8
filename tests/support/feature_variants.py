"""Every feature in every form that tests try it in."""

from bot.core.book_features import BOOK_COLUMNS
from bot.core.features.catalogue import CATALOGUE
from bot.core.features.presets import PRESETS
from bot.core.features.schema import FeatureSchema, FeatureSpec

SLOW = ("wavelet_component", "vmd_mode")  # milliseconds a bar
# Every feature in every form that a preset asks for, and in these.
VARIANTS = (
    "log_return(3)",
    "price('open')",
    "price('high')",
    "price('low')",
    "ma_ratio(1)",
    "ema_ratio(1)",
    "macd(3, 5)",
    "macd_signal(5, 3, 2)",
    "rsi(1)",
    "rsi_wilder(1)",
    "bollinger('lower', 2, 0.5)",
    "volatility(2)",
    "volatility(300)",
    "ewma_volatility(0.5)",
    "realised_volatility(7)",
    "atr(1)",
    "volume_change(1)",
    "relative_volume(1)",
    "volume_ma_ratio(24, 5)",
    "vwap(9)",
    "orderflow_imbalance(30)",
    "trade_intensity(3)",
    "empty_share(1)",
    "gap_share(3)",
    "time_of_day('cos', 7)",
    "day_of_month('sin', 3)",
    "day_of_year('cos', 4)",
    "funding_clock('cos', 2)",
    "reference_return(4)",
    "relative_return(4)",
    "reference_beta(5)",
    "reference_correlation(7)",
    "reference_spread(2)",
    "wavelet_detail(6)",
    "wavelet_trend(1)",
    *(f"book('{name}')" for name in BOOK_COLUMNS),
)
SLOW_CALLS = (
    *(f"wavelet_component({index}, 3, 96)" for index in range(4)),
    *(f"wavelet_component({index}, 2, 31, 'db2')" for index in range(3)),  # an odd window
    *(f"vmd_mode({index}, 3, 24)" for index in range(3)),
    "vmd_mode(1, 2, 16, 50)",
)


def calls_of_all() -> tuple[str, ...]:
    """Return calls that give every feature but the slow ones at least once, and no column twice."""
    wanted = dict.fromkeys([*(call for preset in PRESETS.values() for call in preset), *VARIANTS])
    told = {spec.formula_id for spec in FeatureSchema(list(wanted), ["1m"]).specs}
    return (*wanted, *(name for name in CATALOGUE if name not in told and name not in SLOW))


ALL = calls_of_all()
SPECS: dict[str, FeatureSpec] = {spec.name: spec for spec in FeatureSchema((*ALL, *SLOW_CALLS), ["1m"]).specs}
