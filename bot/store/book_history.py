"""The order book's history out of the market store: messages, and the book after each, for any range of time."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

import numpy as np

from bot.core.order_book import OrderBook
from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import BookBatch, BookDeltaBatch
from bot.store.grid import to_grid
from bot.store.importing.part import Part
from bot.store.market_dataset import Dataset
from bot.store.market_format import Columns

_FROM_NS, _TO_NS = -(2**62), 2**62
_MESSAGE = ("ts_ns", "update", "is_snapshot")  # rows that share them, side by side, are one message


class BookHistory:
    """The book of one instrument within [from_ns, to_ns), a dataset of kind "book".

    A book cannot be entered in its middle: what is read begins with the last snapshot at or before `from_ns`. If there
    is none, it begins with the range, and nothing is trusted before the first snapshot in it.

    Args:
        instrument: gives the grid that prices and quantities are brought to.
        dataset: where they are.
        from_ns, to_ns: the range; None for as far as the data go.
        round_qtys: bring quantities between two steps to the nearer one, as from a source that prints floats; else
            they are refused, as prices between two ticks always are.
    """

    def __init__(
        self,
        instrument: Instrument,
        dataset: Dataset,
        *,
        from_ns: int | None = None,
        to_ns: int | None = None,
        round_qtys: bool = False,
    ) -> None:
        self._instrument = instrument
        self._dataset = dataset
        self._from_ns = _FROM_NS if from_ns is None else from_ns
        self._to_ns = _TO_NS if to_ns is None else to_ns
        self._round_qtys = round_qtys

    def entry_ns(self) -> int:
        """Return the time from which on the book must be read.

        Raises:
            DataError: a file is damaged.
        """
        # The last in the venue's order, which times may leave a little.
        for path in reversed(self._dataset.paths(_FROM_NS, self._from_ns + 1)):
            partition = self._dataset.open(path)
            for group in reversed(partition.groups(_FROM_NS, self._from_ns + 1)):
                columns = partition.read(group, ["ts_ns", "is_snapshot"])
                found = np.flatnonzero(columns["is_snapshot"] & (columns["ts_ns"] <= self._from_ns))
                if len(found):
                    return int(columns["ts_ns"][found[-1]])
        return self._from_ns

    def deltas(self) -> Iterator[BookDeltaBatch]:
        """Yield all messages from the snapshot on at which the range is entered.

        Raises:
            DataError: a file is damaged, or a value does not lie on the instrument's grid.
        """
        to_deltas = DeltaMaker(self._instrument, round_qtys=self._round_qtys)
        held: tuple[Columns, BookDeltaBatch] | None = None
        for stretch in self._dataset.read(None, self.entry_ns(), self._to_ns):
            header = stretch.header
            batch = to_deltas.make(
                stretch.columns, header.price_exponent, header.qty_exponent, f"{stretch.path}: row", stretch.first_row
            )
            # Whether a message ends with the last row of a stretch is known from the next.
            if held is not None:
                held[1].is_last[-1] = _ends_between(held[0], stretch.columns)
                yield held[1]
            held = (stretch.columns, batch)
        if held is not None:
            yield held[1]

    def books(self, depth: int) -> Iterator[BookBatch]:
        """Yield the best levels after each message, from the snapshot on at which the range is entered.

        Rows before `from_ns` are among them: the last of them is the book that the range begins with.

        Raises:
            DataError: see `deltas`.
        """
        book = OrderBook(self._instrument, depth=depth)
        for batch in self.deltas():
            yield book.on_deltas(batch)


def deltas_of_parts(
    parts: Iterable[Part], instrument: Instrument, *, round_qtys: bool = False
) -> Iterator[BookDeltaBatch]:
    """Yield the messages of the parts of an import that are of this instrument's book; each ends with a whole message.

    Raises:
        DataError: a value does not lie on the instrument's grid.
    """
    maker = DeltaMaker(instrument, round_qtys=round_qtys)
    for part in parts:
        if part.kind == "book" and part.symbol == instrument.name:
            what = f"{part.venue} {part.symbol}: book row"
            yield maker.make(part.columns, part.price_exponent, part.qty_exponent, what, maker.rows)


class DeltaMaker:
    """Native columns of a book, stretch by stretch, to batches."""

    def __init__(self, instrument: Instrument, *, round_qtys: bool = False) -> None:
        self._instrument = instrument
        self._round_qtys = round_qtys
        self.rows = 0  # made so far
        self._known_ns = _FROM_NS
        self.rounded_count = 0  # quantities that lay between two steps

    def make(
        self, columns: Columns, price_exponent: int, qty_exponent: int, what: str, source_row: int
    ) -> BookDeltaBatch:
        """Return the next rows; their last one is taken to end a message.

        A message is known when it was received, by a clock that does not run behind the venue's: a recorder whose
        clock was late knew nothing before it happened. A snapshot that came after messages which go on from it makes
        those known no earlier than itself.

        Args:
            columns: as the store has them.
            price_exponent, qty_exponent: theirs.
            what: begins the complaint about a row.
            source_row: the first row's number there.

        Raises:
            DataError: a value does not lie on the instrument's grid.
        """
        instrument = self._instrument
        prices = to_grid(columns["price"], price_exponent, instrument.tick_size)
        if (row := _first_of(prices.first_off, prices.first_beyond)) >= 0:
            price = Decimal(int(columns["price"][row])).scaleb(price_exponent)
            raise DataError(
                f"{what} {source_row + row:,} has the price {price}, no multiple of {instrument.tick_size} within "
                f"reason; correct the tick_size of {instrument.name}"
            )
        qtys = to_grid(columns["qty"], qty_exponent, instrument.qty_step)
        if (row := _first_of(-1 if self._round_qtys else qtys.first_off, qtys.first_beyond)) >= 0:
            qty = Decimal(int(columns["qty"][row])).scaleb(qty_exponent)
            raise DataError(
                f"{what} {source_row + row:,} has the quantity {qty}, no multiple of {instrument.qty_step} within "
                f"reason; correct the qty_step of {instrument.name}, or let quantities be rounded"
            )
        self.rounded_count += qtys.off_count
        known_ns = np.maximum(np.maximum.accumulate(np.maximum(columns["ts_ns"], columns["recv_ns"])), self._known_ns)
        if len(known_ns):
            self._known_ns = int(known_ns[-1])
        first_row, self.rows = self.rows, self.rows + len(known_ns)
        is_last = np.ones(len(known_ns), dtype=np.bool_)
        if len(is_last):
            is_last[:-1] = np.any([columns[name][1:] != columns[name][:-1] for name in _MESSAGE], axis=0)
        return BookDeltaBatch(
            instrument=instrument,
            first_row=first_row,
            ts_ns=columns["ts_ns"],
            known_ns=known_ns,
            update=columns["update"],
            previous=columns["previous"],
            is_snapshot=columns["is_snapshot"],
            is_last=is_last,
            is_bid=columns["is_bid"],
            price_ticks=prices.counts,
            qty_steps=qtys.counts,
        )


def _ends_between(before: Columns, after: Columns) -> bool:
    return any(before[name][-1] != after[name][0] for name in _MESSAGE)


def _first_of(*rows: int) -> int:
    """Return the first of the rows that there are, -1 where there is none."""
    return min((row for row in rows if row >= 0), default=-1)
