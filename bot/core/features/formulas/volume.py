"""Volume, order flow and size of trades; and how much of it is missing."""

from bot.core.features.expression import Node, column, divide, lag, ln, log1p, mean, span_ema, total
from bot.core.features.formulas.chapter import Chapter
from bot.core.features.formulas.columns import BUY_VOLUME, CLOSE, COUNT, HIGH, LOW, TURNOVER, VOLUME

CHAPTER = Chapter()
feature = CHAPTER.feature

# --- volume -----------------------------------------------------------------------------------------------------------


@feature(unit="ln(base)", source="S3 3.8")
def log_volume() -> Node:
    """Return ln(1 + v), v in base currency.

    Unit: ln(base). Warm-up: 0. From klines: yes.
    """
    return log1p(VOLUME)


@feature(unit="ln(quote)", source="S3 3.8")
def dollar_volume() -> Node:
    """Return ln(1 + v (h + l + c) / 3), in quote currency: the same from any source, with a turnover or without.

    Unit: ln(quote). Warm-up: 0. From klines: yes.
    """
    return log1p(VOLUME * ((HIGH + LOW + CLOSE) / 3.0))


@feature(unit="1", source="S0 0.3e")
def volume_change(bars: int = 20) -> Node:
    """Return ln((v + e) / (v[t-1] + e)), e a thousandth of the mean volume of the bars before; 0 where all are empty.

    Unit: 1. Warm-up: bars. From klines: yes.
    """
    least = 0.001 * lag(mean(VOLUME, bars), 1)
    return ln(divide(VOLUME + least, lag(VOLUME, 1) + least, where_zero=1.0))


@feature(unit="1", source="S0 0.3d; S2 2.3 (volume_ma_ratio); S3 3.8 (relative_volume)")
def relative_volume(bars: int = 20) -> Node:
    """Return ln(1 + v / m), m the recursive mean volume, span bars, up to the bar before; ln 2 where m is 0.

    Unit: 1. Warm-up: 1 + ema(2 / (bars + 1)). From klines: yes.
    """
    return log1p(divide(VOLUME, lag(span_ema(VOLUME, bars), 1), where_zero=1.0))


@feature(unit="1", source="S3 3.8")
def volume_ma_ratio(fast: int = 5, slow: int = 24) -> Node:
    """Return SMA(v, fast) / SMA(v, slow) - 1; 0 where nothing traded in the slow window.

    Unit: 1. Warm-up: max(fast, slow) - 1. From klines: yes.
    """
    return divide(mean(VOLUME, fast), mean(VOLUME, slow), where_zero=1.0) - 1.0


@feature(unit="quote/base", source="S3 3.8")
def vwap(bars: int = 1) -> Node:
    """Return the volume-weighted average price of the bars, as it is: not stationary.

    Unit: quote/base. Warm-up: bars - 1. From klines: yes, those that carry a turnover.
    """
    return total(TURNOVER, bars) / total(VOLUME, bars)


@feature(unit="1", source="S3 3.8")
def vwap_distance(bars: int = 20) -> Node:
    """Return ln(c / vwap of the bars); 0 where nothing traded.

    Unit: 1. Warm-up: bars - 1. From klines: yes, those that carry a turnover.
    """
    return ln(divide(CLOSE * total(VOLUME, bars), total(TURNOVER, bars), where_zero=1.0))


@feature(unit="1", source="S3 3.8 (orderflow_imbalance)")
def orderflow_imbalance(bars: int = 1) -> Node:
    """Return (B - S) / (B + S) with what takers bought B and sold S in the bars; 0 where nothing traded.

    Unit: 1, within -1 and 1. Warm-up: bars - 1. From klines: no, trades tell.
    """
    return divide(2.0 * total(BUY_VOLUME, bars), total(VOLUME, bars), where_zero=1.0) - 1.0


@feature(unit="1", source="S3 3.8")
def trade_intensity(bars: int = 20) -> Node:
    """Return ln(1 + n / m), n the number of trades, m its recursive mean, span bars, up to the bar before.

    Unit: 1. Warm-up: 1 + ema(2 / (bars + 1)). From klines: no, trades tell.
    """
    return log1p(divide(COUNT, lag(span_ema(COUNT, bars), 1), where_zero=1.0))


@feature(unit="1", source="ours")
def trade_size(bars: int = 20) -> Node:
    """Return ln of the bar's mean trade over that of the last bars; 0 where nothing traded.

    Unit: 1. Warm-up: bars - 1. From klines: no, trades tell.
    """
    return ln(divide(VOLUME * total(COUNT, bars), COUNT * total(VOLUME, bars), where_zero=1.0))


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
