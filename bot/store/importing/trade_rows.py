"""Trades and quotes out of rows and columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.store.importing.chunks import TableFile, TextFile
from bot.store.importing.options import ImportOptions
from bot.store.importing.part import Part
from bot.store.importing.scan import NUMBER, TIME, WORD, word_of
from bot.store.importing.seen import Seen
from bot.store.importing.sieve import Sieve, Times

_BUY = np.array([word_of(text) for text in ("buy", "b", "1", "1.0", "true")])
_SELL = np.array([word_of(text) for text in ("sell", "s", "0", "0.0", "-1", "-1.0", "false")])


@dataclass(frozen=True, kw_only=True, slots=True)
class TradeLayout:
    """Where a file keeps what of its trades.

    Attributes:
        ts, price, qty, side: the file's names of these columns.
        side_is_maker: `side` tells whether the buyer was the maker: then the taker sold.
        trade_id: the venue's number of the trade, None where there is none.
        identity: a text that no two trades share, by which repeats inside the file are found; not kept.
        symbol: a column that must say the same in every row.
        recv: when the recorder got it.
        time_unit: of `ts` and `recv`; None finds out.
    """

    ts: str
    price: str
    qty: str
    side: str
    side_is_maker: bool = False
    trade_id: str | None = None
    identity: str | None = None
    symbol: str | None = None
    recv: str | None = None
    time_unit: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Which dataset the rows of a file are of, and where they come from."""

    venue: str
    symbol: str
    source: str = ""


def read_trades(
    file: TextFile | TableFile,
    layout: TradeLayout,
    target: Target,
    options: ImportOptions,
) -> Iterator[Part]:
    """Yield the trades of a file.

    Raises:
        DataError: the file is damaged, or the unit of its times cannot be told.
    """
    wanted = {layout.ts: TIME, layout.price: NUMBER, layout.qty: NUMBER, layout.side: WORD}
    wanted |= {name: WORD for name in (layout.identity, layout.symbol) if name is not None}
    if layout.trade_id is not None:
        wanted[layout.trade_id] = NUMBER
    times = Times(file.path, layout.ts, unit=layout.time_unit)
    recv_times = None
    if layout.recv is not None:
        wanted[layout.recv] = TIME
        recv_times = Times(file.path, layout.recv, unit=layout.time_unit)
    seen = Seen()
    symbol = word_of(target.symbol)
    for chunk in file.chunks(wanted, options):
        sieve = Sieve(chunk)
        ts_ns = times.read(sieve)
        recv_ns = recv_times.read(sieve) if recv_times is not None else np.zeros(chunk.rows, np.int64)
        is_buy = _sides(sieve, layout)
        if layout.symbol is not None:
            sieve.reject(chunk.columns[layout.symbol].value != symbol, f"is of another symbol than {target.symbol}")
        price, qty = sieve.numbers(layout.price), sieve.numbers(layout.qty)
        sieve.reject(price.value <= 0, "price is not positive")
        sieve.reject(qty.value <= 0, "quantity is not positive")
        price_exponent, (prices,) = sieve.exact(price)
        qty_exponent, (qtys,) = sieve.exact(qty)
        columns: dict[str, NDArray[Any]] = {
            "ts_ns": ts_ns,
            "recv_ns": recv_ns,
            "price": prices,
            "qty": qtys,
            "is_buy": is_buy,
            "trade_id": _ids(sieve, layout.trade_id),
        }
        rejected = sieve.rejected()
        before = int(sieve.keep.sum())
        if layout.identity is not None:
            kept = np.flatnonzero(sieve.keep)
            known = seen.add(chunk.columns[layout.identity].value[kept], ts_ns[kept])
            sieve.keep[kept[known]] = False
        yield Part(
            venue=target.venue,
            symbol=target.symbol,
            kind="trades",
            price_exponent=price_exponent,
            qty_exponent=qty_exponent,
            columns=sieve.cut(columns),
            rejected=rejected,
            source=target.source,
            repeated=before - int(sieve.keep.sum()),
            rounded=sieve.rounded,
        )


def _sides(sieve: Sieve, layout: TradeLayout) -> NDArray[np.bool_]:
    word = sieve.chunk.columns[layout.side]
    is_first = np.isin(word.value, _BUY)
    known = is_first | np.isin(word.value, _SELL)
    words = "true nor false" if layout.side_is_maker else "buy nor sell"
    sieve.reject(~known | (word.places < 0), f"{layout.side} is neither {words}")
    return ~is_first if layout.side_is_maker else is_first


def _ids(sieve: Sieve, name: str | None) -> NDArray[np.int64]:
    if name is None:
        return np.zeros(sieve.chunk.rows, np.int64)
    column = sieve.numbers(name)
    sieve.reject((column.places != 0) | (column.value <= 0), f"{name} is not a whole number above 0")
    return column.value.copy()  # not a view: it would keep all that was read alive


@dataclass(frozen=True, kw_only=True, slots=True)
class QuoteLayout:
    """Where a file keeps what of its quotes.

    Attributes:
        ts, bid, bid_qty, ask, ask_qty: the file's names of these columns.
        offset_ns: added to `ts`.
        time_unit: of `ts`; None finds out.
    """

    ts: str
    bid: str
    bid_qty: str
    ask: str
    ask_qty: str
    offset_ns: int = 0
    time_unit: str | None = None


def read_quotes(
    file: TextFile | TableFile,
    layout: QuoteLayout,
    target: Target,
    options: ImportOptions,
) -> Iterator[Part]:
    """Yield the best bids and asks of a file. Rows that hold no quote at all say nothing and are passed over.

    Raises:
        DataError: the file is damaged, or the unit of its times cannot be told.
    """
    fields = (layout.bid, layout.bid_qty, layout.ask, layout.ask_qty)
    times = Times(file.path, layout.ts, unit=layout.time_unit)
    for chunk in file.chunks({layout.ts: TIME} | dict.fromkeys(fields, NUMBER), options):
        sieve = Sieve(chunk)
        sieve.keep &= ~np.all([chunk.columns[name].places < 0 for name in fields], axis=0)
        ts_ns = times.read(sieve, offset_ns=layout.offset_ns)
        bid, bid_qty, ask, ask_qty = (sieve.numbers(name) for name in fields)
        sieve.reject((bid.value <= 0) | (ask.value <= 0), "a price is not positive")
        sieve.reject((bid_qty.value < 0) | (ask_qty.value < 0), "a quantity is negative")
        price_exponent, (bids, asks) = sieve.exact(bid, ask)
        sieve.reject(bids >= asks, "the bid is not below the ask")
        qty_exponent, (bid_qtys, ask_qtys) = sieve.exact(bid_qty, ask_qty)
        columns: dict[str, NDArray[Any]] = {
            "ts_ns": ts_ns,
            "recv_ns": np.zeros(chunk.rows, np.int64),
            "bid": bids,
            "bid_qty": bid_qtys,
            "ask": asks,
            "ask_qty": ask_qtys,
        }
        yield Part(
            venue=target.venue,
            symbol=target.symbol,
            kind="quotes",
            price_exponent=price_exponent,
            qty_exponent=qty_exponent,
            columns=sieve.cut(columns),
            rejected=sieve.rejected(),
            source=target.source,
            rounded=sieve.rounded,
        )


def is_linear(first: dict[str, str]) -> bool | None:
    """Return whether an archive trade's notional is price times size, None where it is neither that nor their ratio.

    Args:
        first: the fields of a row by name: price, size, foreignNotional.
    """
    price, size, notional = (Decimal(first[name]) for name in ("price", "size", "foreignNotional"))
    if abs(notional - price * size) <= abs(notional) * Decimal("1e-4"):
        return True
    if abs(notional * price - size) <= abs(size) * Decimal("1e-4"):
        return False
    return None
