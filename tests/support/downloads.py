"""A download from a local Bybit into a store, and what the store holds then."""

from pathlib import Path
from typing import Any

from bot.app.data_download import Wanted, download
from bot.app.download_datasets import Downloaded
from bot.store.market_store import MarketStore
from bot.venues.bybit.history import BybitHistory
from tests.support.bybit_history_server import DAY, HistoryServer, Market, utc_ms
from tests.support.waits import NoWaiting

MS = 1_000_000
START = utc_ms("2024-03-01")
NOW = START + 40 * DAY + 20_000
KLINE = "/v5/market/kline"
MARK = "/v5/market/mark-price-kline"
FUNDING = "/v5/market/funding/history"


def wanted_from(server: HistoryServer, store: Path, from_ms: int, to_ms: int | None, **more: Any) -> Wanted:
    """Return what to download, minutes of BTCUSDT unless told otherwise."""
    arguments: dict[str, Any] = {
        "symbols": ("BTCUSDT",),
        "kinds": ("klines",),
        "intervals_ns": (60_000 * MS,),
        "from_ns": from_ms * MS,
        "to_ns": None if to_ms is None else to_ms * MS,
        "store": store,
        "base_url": server.url,
        "archive_url": server.url,
    }
    return Wanted(**(arguments | more))


def fetch(wanted: Wanted, waiting: NoWaiting) -> list[Downloaded]:
    """Download, without sleeping."""
    with BybitHistory(
        base_url=wanted.rest_url,
        archive_url=wanted.archive_url,
        timeout_s=2.0,
        clock=waiting,
        waiting=waiting,
        dice=lambda: 0.0,
    ) as history:
        return download(wanted, history)


def stored(store: Path, kind: str, venue: str = "bybit-linear", symbol: str = "BTCUSDT") -> dict[int, list[float]]:
    """Return all that the store holds of a dataset: its values by the ms of their time, NaN left out."""
    found: dict[int, list[float]] = {}
    if not MarketStore(store).directory(venue, symbol, kind).is_dir():
        return found
    for part in MarketStore(store).read(venue, symbol, kind):
        time, *columns = part.columns.items()
        prices, qtys = 10**-part.price_exponent, 10**-part.qty_exponent
        scales = {"volume": qtys, "qty": qtys, "turnover": 1, "count": 1, "buy_volume": 1, "is_buy": 1, "trade_id": 1}
        values = [(column / scales.get(name, prices)).tolist() for name, column in columns]
        for row, at in enumerate(time[1].tolist()):
            assert at // MS not in found or kind == "trades", "a time twice"
            found[at // MS] = [column[row] for column in values]
    return found


def files(store: Path) -> dict[str, bytes]:
    """Return every file of a store, by its path."""
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def bars_of(market: Market, path: str, interval: str, from_ms: int, to_ms: int) -> dict[int, list[float]]:
    """Return the truth, in the form of `stored`."""
    truth = market.bars(path, interval, from_ms, to_ms)
    unknown = [-1.0, -1.0] if path == KLINE else []
    return {at: [float(text) for text in texts] + unknown for at, texts in truth.items()}
