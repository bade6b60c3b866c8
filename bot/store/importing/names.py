"""What a file's name tells: exchange and market, symbol, kind, bar length."""

import re
from dataclasses import dataclass
from pathlib import Path

from bot.core.durations import parse_duration

_EXCHANGES = (
    "binance",
    "bitfinex",
    "bitget",
    "bitmex",
    "bitstamp",
    "bybit",
    "coinbase",
    "deribit",
    "gate",
    "gemini",
    "hyperliquid",
    "kraken",
    "kucoin",
    "mexc",
    "okx",
)
_MARKETS = ("linear", "inverse", "spot", "usdm", "coinm")
_KINDS = {
    "trades": "trades",
    "aggtrades": "trades",
    "funding": "funding",
    "mark": "mark",
    "index": "index",
    "quotes": "quotes",
}
_SYMBOL = re.compile(r"[A-Z0-9]{1,15}(USDT|USDC|USD|BUSD|FDUSD|EUR|BTC|ETH|PERP)", re.IGNORECASE)
_INTERVAL = re.compile(r"(\d{1,4})(s|m|min|h|d|w|H|D|W)")
SUFFIXES = (".gz", ".csv", ".txt", ".tsv", ".parquet", ".pq", ".jsonl", ".json", ".log", ".data", ".zip")


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a name tells; None for what it does not."""

    venue: str | None = None
    symbol: str | None = None
    kind: str | None = None
    interval_ns: int | None = None


def stem(path: Path) -> str:
    """Return the name without what says how it is packed."""
    name = path.name
    while name.lower().endswith(SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def read_name(path: Path) -> Told:
    """Return what the name tells without doubt; what it tells twice in two ways counts as not told."""
    words = [word for word in re.split(r"[_\-. ]", stem(path)) if word]
    lower = [word.lower() for word in words]
    exchanges = [word for word in lower if word in _EXCHANGES]
    markets = [word for word in lower if word in _MARKETS]
    venue = f"{exchanges[0]}-{markets[0]}" if len(exchanges) == len(markets) == 1 else None
    symbols = [word.upper() for word in words if _SYMBOL.fullmatch(word) and word.lower() not in _EXCHANGES]
    kinds = [_KINDS[word] for word in lower if word in _KINDS]
    intervals = [found for word in words if (found := _INTERVAL.fullmatch(word))]
    interval_ns = None
    if len(intervals) == 1:
        count, unit = intervals[0].groups()
        interval_ns = parse_duration(count + {"min": "m"}.get(unit, unit.lower()))
    return Told(
        venue=venue,
        symbol=symbols[0] if len(set(symbols)) == 1 else None,
        kind=kinds[0] if len(kinds) == 1 else None,
        interval_ns=interval_ns or None,
    )
