"""The scan that suits a kind of data."""

from bot.core.data_quality.bars import BarScan
from bot.core.data_quality.book import BookScan
from bot.core.data_quality.findings import Limits, Scan
from bot.core.data_quality.funding import FundingScan
from bot.core.data_quality.quotes import QuoteScan
from bot.core.data_quality.trades import TradeScan
from bot.core.durations import parse_duration

_BARS = ("bars", "mark", "index")


def scan_of(kind: str, limits: Limits) -> Scan:
    """Return a scan for a kind as the market store names it: "trades", "bars-1m", "funding"...

    Raises:
        ValueError: there is no such kind.
    """
    family, _, interval = kind.partition("-")
    if family in _BARS and interval:
        return BarScan(parse_duration(interval), limits, has_volume=family == "bars")
    match kind:
        case "trades":
            return TradeScan(limits)
        case "quotes":
            return QuoteScan(limits)
        case "book":
            return BookScan(limits)
        case "funding":
            return FundingScan(limits)
    raise ValueError(f"{kind!r} is no kind of market data")
