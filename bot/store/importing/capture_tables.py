"""Whole order books as rows of a Parquet file: a snapshot and then what differs from row to row, which says the same.

One row a book: `ts_ms` (local), `exch_ts_ms`, `venue`, `market_type`, `symbol`, `seq`, `reconnect_flag`, and the lists
`bids_px`, `bids_qty`, `asks_px`, `asks_qty` of floats, the best level first.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from bot.domain.errors import DataError
from bot.store.importing.capture_gatherer import SYMBOL
from bot.store.importing.chunks import told_as_data_error
from bot.store.importing.decimals import from_floats, to_exponent
from bot.store.importing.part import Part, Rejected
from bot.store.importing.sieve import TIME_FIRST_NS, TIME_LAST_NS

_LISTS = ("bids_px", "bids_qty", "asks_px", "asks_qty")
_WHOLE = ("ts_ms", "exch_ts_ms", "seq", "reconnect_flag")
_WORDS = ("venue", "market_type", "symbol")
COLUMNS = (*_WHOLE, *_WORDS, *_LISTS)
_MARKETS = {"fut": "usdm", "spot": "spot"}
_VENUE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
_READ_ROWS = 256
_MS = 1_000_000

I64 = NDArray[np.int64]


@dataclass(kw_only=True, slots=True)
class _Before:
    """The last row of a symbol that was right, and the exponents that its mantissas are in."""

    seq: int
    exponents: tuple[int, int]
    sides: tuple[I64, I64, I64, I64]  # bids' prices and quantities, asks' prices and quantities


def read_book_table(
    path: Path, *, venue: str | None, symbol: str | None, on_read: Callable[[float], None]
) -> Iterator[Part]:
    """Yield the parts of a file of whole books.

    The file of one day is a hundred times smaller as differences. After a reconnect, and after a row that cannot be
    right, the next row is a snapshot again.

    Raises:
        DataError: the file is damaged.
    """
    with told_as_data_error(path):
        file = pq.ParquetFile(path, memory_map=True)
        rows_all = max(1, file.metadata.num_rows)
        before: dict[tuple[str, str], _Before] = {}
        done, made = 0, 0
        rejected: list[Rejected] = []
        last: Part | None = None
        for batch in file.iter_batches(_READ_ROWS, columns=list(COLUMNS)):
            for last in _parts(batch, done, before, rejected, venue, symbol):
                made += 1
                yield last
            done += batch.num_rows
            on_read(done / rows_all)
    if not made:
        why = f"; row {rejected[0].row:,}: {rejected[0].reason}" if rejected else ""
        raise DataError(f"{path}: nothing in it could be read{why}")
    if rejected and last is not None:
        empty = {name: values[:0] for name, values in last.columns.items()}
        yield Part(
            venue=last.venue,
            symbol=last.symbol,
            kind="book",
            price_exponent=0,
            qty_exponent=0,
            columns=empty,
            rejected=tuple(rejected),
            source=last.source,
        )


def _parts(
    batch: Any,
    first_row: int,
    before: dict[tuple[str, str], _Before],
    rejected: list[Rejected],
    venue: str | None,
    symbol: str | None,
) -> Iterator[Part]:
    """Yield a part for each symbol of a stretch of rows; `rejected` gives and takes what was refused so far."""
    words = {name: batch.column(name).cast(pa.string()).to_pylist() for name in _WORDS}
    keys = list(zip(*(words[name] for name in _WORDS), strict=True))
    for key in dict.fromkeys(keys):
        exchange, market, name = key
        mine = [row for row, other in enumerate(keys) if other == key]
        where = f"{exchange}-{_MARKETS.get(market, market)}".lower() if venue is None else venue
        if None in key or not SYMBOL.fullmatch(name) or not _VENUE.fullmatch(where):
            text = f"venue={exchange}, market_type={market}, symbol={name}"[:200]
            reason = "names no venue and symbol"
            rejected += [Rejected(row=first_row + row, reason=reason, text=text) for row in mine]
            continue
        if symbol is not None and name != symbol:
            continue
        table = _Stretch(batch.take(pa.array(mine)), [first_row + row for row in mine])
        columns, exponents = table.differences(before, (where, name))
        rejected += table.rejected
        if len(columns["ts_ns"]):
            yield Part(
                venue=where,
                symbol=name,
                kind="book",
                price_exponent=exponents[0],
                qty_exponent=exponents[1],
                columns=columns,
                rejected=tuple(rejected),
                source="tables",
                repeated=table.repeated,
            )
            rejected.clear()


class _Stretch:
    """Rows of one symbol as exact numbers; what cannot be right is in `rejected`, repeats are counted."""

    def __init__(self, batch: Any, numbers: list[int]) -> None:
        self.rejected: list[Rejected] = []
        self.repeated = 0
        self._numbers = numbers
        self._whole = {name: _integers(batch.column(name)) for name in _WHOLE}
        self._keep = np.ones(len(numbers), dtype=np.bool_)
        times = self._whole["exch_ts_ms"] * _MS
        self._reject((times < TIME_FIRST_NS) | (times >= TIME_LAST_NS), "exch_ts_ms is not a time from 2001 to 2100")
        self._lists = {name: _flat(batch.column(name)) for name in _LISTS}
        self._check_lengths()
        # One exponent of all prices and one of all quantities, so that rows can be compared.
        price_exponent, prices = self._mantissas(("bids_px", "asks_px"), "price", least=1)
        qty_exponent, qtys = self._mantissas(("bids_qty", "asks_qty"), "quantity", least=1)
        self._exponents = (price_exponent, qty_exponent)
        self._sides = [prices[0], qtys[0], prices[1], qtys[1]]
        self._check_order()

    def differences(
        self, before: dict[tuple[str, str], _Before], key: tuple[str, str]
    ) -> tuple[dict[str, NDArray[Any]], tuple[int, int]]:
        """Return the rows as messages: what changed against the row before, or the whole of it."""
        known = before.get(key)
        if known is not None:
            self._share_exponents(known)
        messages: list[tuple[int, int, bool, list[I64]]] = []  # row, previous, is_snapshot, levels
        for row in range(len(self._numbers)):
            if not self._keep[row]:
                known = None
                continue
            sides = self._row(row)
            seq = int(self._whole["seq"][row])
            is_snapshot = known is None or self._whole["reconnect_flag"][row] != 0 or seq < known.seq
            if known is None or is_snapshot:
                messages.append((row, -1, True, [*sides]))
            else:
                bids = _difference(*known.sides[:2], *sides[:2], -1)
                asks = _difference(*known.sides[2:], *sides[2:], 1)
                if seq > known.seq:
                    messages.append((row, known.seq, False, [*bids, *asks]))
                elif len(bids[0]) + len(asks[0]) == 0:
                    self.repeated += 1
                else:  # one number for two different books: the second cannot go on from the first
                    messages.append((row, -1, True, [*sides]))
            known = _Before(seq=seq, exponents=self._exponents, sides=sides)
        if known is None:
            before.pop(key, None)
        else:
            before[key] = known
        return self._columns(messages), self._exponents

    def _columns(self, messages: list[tuple[int, int, bool, list[I64]]]) -> dict[str, NDArray[Any]]:
        row = np.array([message[0] for message in messages], dtype=np.int64)
        bids = np.array([len(message[3][0]) for message in messages], dtype=np.int64)
        asks = np.array([len(message[3][2]) for message in messages], dtype=np.int64)
        none = bids + asks == 0  # a message without levels is one row of zeros
        sizes = bids + asks + none
        zero = np.zeros(1, dtype=np.int64)
        made: tuple[list[I64], list[I64]] = ([zero[:0]], [zero[:0]])
        for (_, _, _, levels), is_none in zip(messages, none.tolist(), strict=True):
            for place in (0, 1):
                made[place].extend([zero] if is_none else [levels[place], levels[place + 2]])
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return {
            "ts_ns": np.repeat(self._whole["exch_ts_ms"][row] * _MS, sizes),
            "recv_ns": np.repeat(self._whole["ts_ms"][row] * _MS, sizes),
            "update": np.repeat(self._whole["seq"][row], sizes),
            "previous": np.repeat(np.array([message[1] for message in messages], dtype=np.int64), sizes),
            "is_snapshot": np.repeat(np.array([message[2] for message in messages], dtype=np.bool_), sizes),
            "is_bid": within < np.repeat(bids, sizes),
            "price": np.concatenate(made[0]),
            "qty": np.concatenate(made[1]),
        }

    def _share_exponents(self, known: _Before) -> None:
        """Bring these rows and the one before to exponents that both can be said in."""
        shared = tuple(min(mine, theirs) for mine, theirs in zip(self._exponents, known.exponents, strict=True))
        for place in range(4):
            kind = place % 2
            self._sides[place] = self._sides[place] * 10 ** (self._exponents[kind] - shared[kind])
        powers = [10 ** (known.exponents[kind] - shared[kind]) for kind in range(2)]
        bids, bid_qtys, asks, ask_qtys = known.sides
        known.sides = (bids * powers[0], bid_qtys * powers[1], asks * powers[0], ask_qtys * powers[1])
        self._exponents = (shared[0], shared[1])

    def _row(self, row: int) -> tuple[I64, I64, I64, I64]:
        cut = []
        for name, values in zip(_LISTS, self._sides, strict=True):
            offsets = self._lists[name][1]
            cut.append(values[offsets[row] : offsets[row + 1]])
        return cut[0], cut[1], cut[2], cut[3]

    def _mantissas(self, names: tuple[str, str], what: str, least: int) -> tuple[int, list[I64]]:
        columns = [from_floats(self._lists[name][0]) for name in names]
        for name, column in zip(names, columns, strict=True):
            self._reject_levels(name, (column.places < 0) | (column.value < least), f"a {what} that cannot be")
        joined = type(columns[0])(
            value=np.concatenate([column.value for column in columns]),
            places=np.concatenate([column.places for column in columns]),
        )
        keep = np.concatenate([self._keep[self._row_of(name)] for name in names])
        exponent, (mantissas,), too_long = to_exponent([joined], keep)
        split = len(columns[0])
        for name, bad in zip(names, (too_long[:split], too_long[split:]), strict=True):
            self._reject_levels(name, bad, f"a {what} that does not fit beside the decimals of others")
        return exponent, [mantissas[:split], mantissas[split:]]

    def _check_lengths(self) -> None:
        for side in ("bids", "asks"):
            prices, qtys = (np.diff(self._lists[f"{side}_{what}"][1]) for what in ("px", "qty"))
            self._reject(prices != qtys, f"{side} have not as many quantities as prices")

    def _check_order(self) -> None:
        for place, sign in ((0, -1), (2, 1)):
            name = _LISTS[place]
            values, row_of = self._sides[place], self._row_of(name)
            wrong = np.zeros(len(values), dtype=np.bool_)
            wrong[1:] = (np.diff(values) * sign <= 0) & (np.diff(row_of) == 0)
            self._reject_levels(name, wrong, f"{name} out of order")

    def _row_of(self, name: str) -> I64:
        offsets = self._lists[name][1]
        return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))

    def _reject_levels(self, name: str, bad: NDArray[np.bool_], reason: str) -> None:
        rows = np.zeros(len(self._keep), dtype=np.bool_)
        rows[self._row_of(name)[bad]] = True
        self._reject(rows, f"has {reason}")

    def _reject(self, bad: NDArray[np.bool_], reason: str) -> None:
        for row in np.flatnonzero(bad & self._keep).tolist():
            text = ", ".join(f"{name}={values[row]}" for name, values in self._whole.items())
            self.rejected.append(Rejected(row=self._numbers[row], reason=reason, text=text))
        self._keep &= ~bad


def _integers(column: Any) -> I64:
    values: I64 = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return values


def _flat(column: Any) -> tuple[NDArray[np.float64], I64]:
    """Return the values of all lists, and where each list begins; a missing list is an empty one."""
    lists = column.cast(pa.large_list(pa.float64()))
    values = lists.flatten()
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    return values.to_numpy(zero_copy_only=False).astype(np.float64), offsets


def _difference(prices: I64, qtys: I64, new_prices: I64, new_qtys: I64, sign: int) -> tuple[I64, I64]:
    """Return what to set to come from one side to another; both have the best level first, `sign` 1 if that is low."""
    out = np.empty((2, len(prices) + len(new_prices)), dtype=np.int64)
    made = _merge(prices, qtys, new_prices, new_qtys, sign, out)
    return out[0, :made].copy(), out[1, :made].copy()


@njit(cache=True, nogil=True)
def _merge(prices, qtys, new_prices, new_qtys, sign, out):  # type: ignore[no-untyped-def]
    made = i = j = 0
    while i < len(prices) or j < len(new_prices):
        if j == len(new_prices) or (i < len(prices) and prices[i] * sign < new_prices[j] * sign):
            out[0, made] = prices[i]
            out[1, made] = 0
            made += 1
            i += 1
        elif i == len(prices) or new_prices[j] * sign < prices[i] * sign:
            out[0, made] = new_prices[j]
            out[1, made] = new_qtys[j]
            made += 1
            j += 1
        else:
            if qtys[i] != new_qtys[j]:
                out[0, made] = prices[i]
                out[1, made] = new_qtys[j]
                made += 1
            i += 1
            j += 1
    return made
