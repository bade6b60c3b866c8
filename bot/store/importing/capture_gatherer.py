"""Messages of a capture on their way to parts, sorted by symbol and kind; what cannot be right is kept apart."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bot.domain.errors import DataError
from bot.store.importing.capture_rows import TABLES, TEXT_MAX, BookTable, PlainTable, Table, Texts
from bot.store.importing.part import Part, Rejected

SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,39}")  # it becomes the name of a folder
_PART_ROWS = 1 << 17  # rows of a part, about


class Gatherer:
    """Rows of one file, sorted by symbol and kind; what cannot be right is kept apart, with its line and the reason.

    Args:
        path: the file, for what is said of it.
        venue: of all its rows.
        source: see `Part.source`.
        symbol: the only one that is taken; None for all.
    """

    def __init__(self, path: Path, *, venue: str, source: str = "", symbol: str | None = None) -> None:
        self.venue = venue
        self._path = path
        self._source = source
        self._symbol = symbol
        self._tables: dict[tuple[str, str, str], Table] = {}
        self._rejected: list[Rejected] = []
        self._noted: set[str] = set()
        self._rows = 0
        self._last: Part | None = None

    def book(
        self,
        symbol: str,
        at: tuple[int, bytes],
        times: tuple[int, int],
        update: int,
        previous: int,
        sides: tuple[Sequence[Texts], Sequence[Texts]],
        *,
        is_snapshot: bool,
        source: str | None = None,
    ) -> None:
        """Take one message of a book.

        Args:
            symbol: the book's.
            at: line number and text.
            times: ts_ns and recv_ns.
            update, previous: see `BookDeltaBatch`.
            sides: bids and asks, as texts (price, quantity).
            is_snapshot: whether it replaces the book.
            source: where it is another than the file's.
        """
        if self._takes(symbol, at):
            table = self._table(symbol, "book", source)
            assert isinstance(table, BookTable)
            self._rows += table.add_message(at, times, update, previous, sides, is_snapshot=is_snapshot)

    def cut_books(self) -> None:
        """Let no book be trusted past this place: a message is missing here, and nobody can say of which."""
        for table in self._tables.values():
            if isinstance(table, BookTable):
                table.cut = True

    def trade(
        self, symbol: str, at: tuple[int, bytes], times: tuple[int, int], values: Texts, *, is_buy: bool, trade_id: int
    ) -> None:
        """Take one trade: `values` are price and quantity."""
        if self._takes(symbol, at):
            self._plain(symbol, "trades").add(at, times, values, (is_buy, trade_id))
            self._rows += 1

    def quote(self, symbol: str, at: tuple[int, bytes], times: tuple[int, int], values: Texts) -> None:
        """Take one best bid and ask: `values` are bid, its quantity, ask, its quantity."""
        if self._takes(symbol, at):
            self._plain(symbol, "quotes").add(at, times, values, ())
            self._rows += 1

    def mark(self, symbol: str, at: tuple[int, bytes], open_ns: int, values: Texts) -> None:
        """Take one minute of mark prices: `values` are open, high, low, close."""
        if self._takes(symbol, at):
            self._plain(symbol, "mark-1m").add(at, (open_ns, 0), values, ())
            self._rows += 1

    def reject(self, at: tuple[int, bytes], reason: str) -> None:
        """Take note of a line that cannot be right."""
        text = at[1][:TEXT_MAX].decode("utf-8", "replace")
        self._rejected.append(Rejected(row=at[0], reason=reason, text=text))
        self._rows += 1

    def reject_first(self, at: tuple[int, bytes], what: str) -> None:
        """Take note of the first of many lines that are not read."""
        if what not in self._noted:
            self._noted.add(what)
            self.reject(at, f"{what} are not read (this is the first)")

    def full(self) -> Iterator[Part]:
        """Yield parts if enough has come together."""
        if self._rows >= _PART_ROWS:
            yield from self._flush()

    def rest(self) -> Iterator[Part]:
        """Yield the rest.

        Raises:
            DataError: nothing of the file could be read.
        """
        yield from self._flush()
        if self._rejected:
            if self._last is None:
                first = self._rejected[0]
                raise DataError(f"{self._path}: nothing in it could be read; line {first.row:,}: {first.reason}")
            columns = {name: values[:0] for name, values in self._last.columns.items()}
            yield replace(self._last, columns=columns, rejected=self._take_rejected())

    def _flush(self) -> Iterator[Part]:
        self._rows = 0
        for (symbol, kind, source), table in self._tables.items():
            price_exponent, qty_exponent, columns, rejected = table.take()
            self._rejected += rejected
            if not len(columns[next(iter(columns))]):
                continue
            self._last = Part(
                venue=self.venue,
                symbol=symbol,
                kind=kind,
                price_exponent=price_exponent,
                qty_exponent=qty_exponent,
                columns=columns,
                rejected=self._take_rejected(),
                source=source,
            )
            yield self._last

    def _take_rejected(self) -> tuple[Rejected, ...]:
        taken, self._rejected = tuple(sorted(self._rejected, key=lambda each: each.row)), []
        return taken

    def _takes(self, symbol: str, at: tuple[int, bytes]) -> bool:
        if self._symbol is not None:
            return symbol == self._symbol
        if not SYMBOL.fullmatch(symbol):
            self.reject(at, "names no symbol")
            return False
        return True

    def _table(self, symbol: str, kind: str, source: str | None = None) -> Table:
        key = (symbol, kind, self._source if source is None else source)
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = TABLES[kind]()
        return table

    def _plain(self, symbol: str, kind: str) -> PlainTable:
        table = self._table(symbol, kind)
        assert isinstance(table, PlainTable)
        return table
