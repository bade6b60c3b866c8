"""Rows of one kind of one symbol of a capture: numbers stay text until a stretch of them is made exact at once."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.store.importing.decimals import Decimals, from_text, to_exponent, why_none
from bot.store.importing.part import Rejected
from bot.store.importing.scan import DATED, NUMBER, scan

TEXT_MAX = 200
_UNSAFE = re.compile(r"[\r\n\t\"]")

Texts = tuple[str, ...]


class Table(ABC):
    """What has come together of one kind of one symbol."""

    names: tuple[str, ...]  # of the values that come as text
    prices: int  # so many of them are prices
    zero_from = 10**9  # values from this place on may be zero

    def __init__(self) -> None:
        self._at: list[tuple[int, bytes]] = []
        self._times: list[tuple[int, int]] = []
        self._values: list[Texts] = []
        self._others: list[tuple[Any, ...]] = []

    @abstractmethod
    def take(self) -> tuple[int, int, dict[str, NDArray[Any]], list[Rejected]]:
        """Return the exponents, the columns of what was added and the lines that were refused, and begin anew."""


class PlainTable(Table):
    """One row a message."""

    def add(self, at: tuple[int, bytes], times: tuple[int, int], values: Texts, others: tuple[Any, ...]) -> None:
        self._at.append((at[0], at[1][:TEXT_MAX]))
        self._times.append(times)
        self._values.append(values)
        self._others.append(others)

    def take(self) -> tuple[int, int, dict[str, NDArray[Any]], list[Rejected]]:
        places, texts = self._at, self._values
        times = np.array(self._times, dtype=np.int64).reshape(-1, 2)
        others = list(zip(*self._others, strict=True)) if self._others else [()] * 9
        self.__init__()  # type: ignore[misc]
        price_exponent, qty_exponent, mantissas, reasons = exact(texts, self.names, self.prices, self.zero_from)
        keep = np.array([reason is None for reason in reasons], dtype=np.bool_)
        columns = self.columns(times, dict(zip(self.names, mantissas, strict=True)), others)
        rejected = [_rejected(at, reason) for at, reason in zip(places, reasons, strict=True) if reason is not None]
        return price_exponent, qty_exponent, {name: values[keep] for name, values in columns.items()}, rejected

    @abstractmethod
    def columns(
        self, times: NDArray[np.int64], numbers: dict[str, NDArray[np.int64]], others: list[tuple[Any, ...]]
    ) -> dict[str, NDArray[Any]]:
        """Return the columns of the kind."""


class _TradeTable(PlainTable):
    names = ("price", "qty")
    prices = 1

    def columns(
        self, times: NDArray[np.int64], numbers: dict[str, NDArray[np.int64]], others: list[tuple[Any, ...]]
    ) -> dict[str, NDArray[Any]]:
        return {
            "ts_ns": times[:, 0],
            "recv_ns": times[:, 1],
            **numbers,
            "is_buy": np.array(others[0], dtype=np.bool_),
            "trade_id": np.array(others[1], dtype=np.int64),
        }


class _QuoteTable(PlainTable):
    names = ("bid", "ask", "bid_qty", "ask_qty")
    prices = 2
    zero_from = 2

    def columns(
        self, times: NDArray[np.int64], numbers: dict[str, NDArray[np.int64]], others: list[tuple[Any, ...]]
    ) -> dict[str, NDArray[Any]]:
        ordered = {name: numbers[name] for name in ("bid", "bid_qty", "ask", "ask_qty")}
        return {"ts_ns": times[:, 0], "recv_ns": times[:, 1], **ordered}


class _MarkTable(PlainTable):
    names = ("open", "high", "low", "close")
    prices = 4

    def columns(
        self, times: NDArray[np.int64], numbers: dict[str, NDArray[np.int64]], others: list[tuple[Any, ...]]
    ) -> dict[str, NDArray[Any]]:
        return {"open_ns": times[:, 0], **numbers}


class BookTable(Table):
    """Messages of one book; one that has a number that cannot be is refused as a whole.

    Where the venue tells no `previous`, the message after a missing one says its own number there, which nothing
    before it can have had: whoever builds the book sees the gap.
    """

    names = ("price", "qty")
    prices = 1
    zero_from = 1

    def __init__(self) -> None:
        super().__init__()
        self.cut = False  # the next message comes after one that is missing

    def add_message(
        self,
        at: tuple[int, bytes],
        times: tuple[int, int],
        update: int,
        previous: int,
        sides: tuple[Sequence[Texts], Sequence[Texts]],
        *,
        is_snapshot: bool,
    ) -> int:
        """Take a message; return how many rows it makes, about."""
        bids, asks = sides
        others = (update, previous, is_snapshot, self.cut, len(bids), len(asks))
        self.cut = False
        self._values += bids
        self._values += asks
        self._at.append((at[0], at[1][:TEXT_MAX]))
        self._times.append(times)
        self._others.append(others)
        return len(bids) + len(asks) + 1

    def take(self) -> tuple[int, int, dict[str, NDArray[Any]], list[Rejected]]:
        places, texts = self._at, self._values
        times = np.array(self._times, dtype=np.int64).reshape(-1, 2)
        told = np.array(self._others, dtype=np.int64).reshape(-1, 6)
        cut = self.cut
        self.__init__()  # type: ignore[misc]
        price_exponent, qty_exponent, (price, qty), reasons = exact(texts, self.names, self.prices, self.zero_from)
        update, previous, is_snapshot, is_cut, bids, asks = told.T
        message = np.repeat(np.arange(len(told)), bids + asks)  # of each level
        refused = {int(message[row]): reason for row, reason in reversed(list(_reasons(reasons)))}
        keep = np.ones(len(told), dtype=np.bool_)
        keep[list(refused)] = False
        previous = _with_cuts(update, previous, is_snapshot == 1, is_cut == 1, keep)
        self.cut = cut or bool(len(keep) and not keep[-1])

        sizes = np.where(keep, np.maximum(bids + asks, 1), 0)  # a message without levels is one row of zeros
        of = np.repeat(np.arange(len(told)), sizes)
        columns: dict[str, NDArray[Any]] = {
            "ts_ns": times[of, 0],
            "recv_ns": times[of, 1],
            "update": update[of],
            "previous": previous[of],
            "is_snapshot": is_snapshot[of] == 1,
            "is_bid": np.zeros(len(of), dtype=np.bool_),
            "price": np.zeros(len(of), dtype=np.int64),
            "qty": np.zeros(len(of), dtype=np.int64),
        }
        level = np.arange(len(message)) - np.repeat(np.cumsum(bids + asks) - (bids + asks), bids + asks)
        kept = keep[message]
        to = ((np.cumsum(sizes) - sizes)[message] + level)[kept]
        columns["is_bid"][to] = (level < bids[message])[kept]
        columns["price"][to] = price[kept]
        columns["qty"][to] = qty[kept]
        rejected = [_rejected(places[number], reason) for number, reason in sorted(refused.items())]
        return price_exponent, qty_exponent, columns, rejected


TABLES: dict[str, type[Table]] = {
    "book": BookTable,
    "trades": _TradeTable,
    "quotes": _QuoteTable,
    "mark-1m": _MarkTable,
}
"""What gathers which kind."""


def _with_cuts(
    update: NDArray[np.int64],
    previous: NDArray[np.int64],
    is_snapshot: NDArray[np.bool_],
    is_cut: NDArray[np.bool_],
    keep: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return `previous` with the gaps marked that it would not show."""
    missing = is_cut.copy()
    missing[1:] |= ~keep[:-1]
    return np.where(missing & (previous < 0) & ~is_snapshot, update, previous)


def exact(
    texts: Sequence[Texts], names: Sequence[str], prices: int, zero_from: int
) -> tuple[int, int, list[NDArray[np.int64]], list[str | None]]:
    """Make numbers of texts.

    Args:
        texts: rows of equally many.
        names: of the columns; the first `prices` share one exponent, the others the other.
        prices: how many are prices.
        zero_from: from this column on a value may be zero; none may be less.
    Returns:
        The exponent of the prices and of the others, the mantissas by column, and for each row why it cannot be right.
    """
    columns = _scanned(texts, len(names))
    reasons: list[str | None] = [None] * len(texts)
    keep = np.ones(len(texts), dtype=np.bool_)

    def refuse(bad: NDArray[np.bool_], why: Any) -> None:
        for row in np.flatnonzero(bad & keep).tolist():
            reasons[row] = why(row)
        keep[bad] = False

    for place, (name, column) in enumerate(zip(names, columns, strict=True)):
        refuse(
            (column.places < 0) | (column.places == DATED),
            lambda row, name=name, column=column: f"{name} {why_none(int(column.places[row]))}",
        )
        if place >= zero_from:
            refuse(column.value < 0, lambda row, name=name: f"{name} is negative")
        else:
            refuse(column.value <= 0, lambda row, name=name: f"{name} is not positive")
    price_exponent, made, too_long = to_exponent(columns[:prices], keep)
    refuse(too_long, lambda row: "a price does not fit beside the decimals of others")
    qty_exponent, others, too_long = to_exponent(columns[prices:], keep) if columns[prices:] else (0, [], ~keep)
    refuse(too_long & keep, lambda row: "a quantity does not fit beside the decimals of others")
    return price_exponent, qty_exponent, made + others, reasons


def _scanned(texts: Sequence[Texts], width: int) -> list[Decimals]:
    data = ("\n".join(map("\t".join, texts)) + "\n").encode("utf-8", "replace") if texts else b""
    # A tab or a line end inside a text would move what follows it.
    if data.count(b"\t") != (width - 1) * len(texts) or data.count(b"\n") != len(texts) or data.translate(_KEEP, _SAFE):
        clean = ["\t".join(_UNSAFE.sub("?", text) for text in row) for row in texts]
        data = ("\n".join(clean) + "\n").encode("utf-8", "replace") if texts else b""
    value = np.empty((width, len(texts)), dtype=np.int64)
    places = np.empty((width, len(texts)), dtype=np.int8)
    starts = np.empty(len(texts) + 1, dtype=np.int64)
    kinds = np.full(width, NUMBER, dtype=np.int8)
    rows = scan(np.frombuffer(data, np.uint8), len(data), np.uint8(9), kinds, value, places, starts)
    assert rows == len(texts)
    return [from_text(value[column], places[column]) for column in range(width)]


_KEEP = bytes(range(256))
_SAFE = bytes(byte for byte in range(256) if byte not in b'\r"')  # all others are deleted, so what is left is unsafe


def _reasons(reasons: Sequence[str | None]) -> Iterator[tuple[int, str]]:
    for row, reason in enumerate(reasons):
        if reason is not None:
            yield row, reason


def _rejected(at: tuple[int, bytes], reason: str) -> Rejected:
    return Rejected(row=at[0], reason=reason, text=at[1].decode("utf-8", "replace"))
