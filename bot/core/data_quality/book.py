"""What may be wrong with the changes of an order book, and with the book that they make."""

from decimal import Decimal
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.core.data_quality.clock import ClockScan
from bot.core.data_quality.findings import (
    Bools,
    Finding,
    Limits,
    Quality,
    Rows,
    Severity,
    Tally,
    many,
    number,
    values_of,
)
from bot.core.data_quality.times import TimeScan
from bot.core.order_book import OrderBook
from bot.domain.instrument import Instrument
from bot.domain.market import F64, I64, BookDeltaBatch

_COLUMNS = ("ts_ns", "update", "previous", "is_snapshot", "is_bid")
_DIGITS = 13  # of a price in ticks, about: fine enough for any grid, and hundreds of times as much still fits the book
_TICKS_MAX = 2.0**53
_FINE, _BROKEN, _REPEATED, _BACK = range(4)  # how a message follows the one before it
# The book is built to see whether it holds; on which grid does not matter.
_ANY = Instrument(
    name="any", base="", quote="", tick_size=Decimal(1), qty_step=Decimal(1), qty_min=Decimal(1), qty_max=Decimal(1)
)


class BookScan:
    """Scan the order book of one symbol; see `findings.Scan`.

    A message is the rows, one after another, that share time, number and whether they are a snapshot.
    """

    def __init__(self, limits: Limits) -> None:
        self._times = TimeScan("change", "book", limits, disorder=Severity.WARNING)
        self._clock = ClockScan(limits)
        self._tallies = {name: Tally(limits.examples) for name in _CHECKS}
        self._book = OrderBook(_ANY, depth=1)
        self._per_unit = 0.0  # ticks per unit of price, 0 before the first price
        self._waiting: dict[str, NDArray[Any]] = {}  # the rows of the last message, which may go on
        self._row = 0  # number of the first row that waits
        self._last = np.zeros(3, dtype=np.int64)  # whether there was a message, its number, its time
        self._was_trusted = False
        self._messages = self._snapshots = self._unlinked = self._unseeded = self._untrusted = 0

    def add(self, rows: Rows) -> None:
        """Take the next rows."""
        columns = rows.columns
        ts_ns: I64 = columns["ts_ns"]
        if not len(ts_ns):
            return
        first_row = self._times.span.rows
        price, qty = values_of(columns["price"], rows.price_exponent), values_of(columns["qty"], rows.qty_exponent)
        self._times.add(ts_ns)
        self._clock.add(ts_ns, columns["recv_ns"])
        bad = _is_bad(price, qty)
        self._tallies["level"].add(bad, first_row, ts_ns, lambda i: f"quantity {number(qty[i])} at {number(price[i])}")
        taken = {name: columns[name] for name in _COLUMNS} | {"price": price, "qty": np.sign(qty)}
        if self._waiting:
            taken = {name: np.concatenate([self._waiting[name], values]) for name, values in taken.items()}
        begins = _begins(taken)
        cut = int(begins[-1])
        self._waiting = {name: values[cut:].copy() for name, values in taken.items()}
        self._judge({name: values[:cut] for name, values in taken.items()}, begins[:-1])

    def finish(self) -> Quality:
        """Return what was found."""
        if self._waiting:
            self._judge(self._waiting, np.zeros(1, dtype=np.int64))
        span = self._times.span
        facts = {
            **self._times.facts(),
            "messages": self._messages,
            "snapshots": self._snapshots,
            "chain_breaks": self._tallies["gap"].count + self._tallies["backwards"].count,
            "crossed": self._tallies["crossed"].count,
            "messages_before_snapshot": self._unseeded,
            "messages_untrusted": self._untrusted,
            **self._clock.facts(),
        }
        findings = [*self._times.findings(), *self._findings(), *self._clock.findings()]
        return Quality(
            rows=span.rows,
            first_ns=span.first_ns,
            last_ns=span.last_ns,
            facts=facts,
            findings=tuple(findings),
        )

    def _judge(self, rows: dict[str, NDArray[Any]], begins: I64) -> None:
        """Judge whole messages; `begins` are their first rows."""
        if not len(begins):
            return
        ts_ns, update, previous = (rows[name][begins] for name in ("ts_ns", "update", "previous"))
        is_snapshot: Bools = rows["is_snapshot"][begins]
        how, before = _follow(ts_ns, update, previous, is_snapshot, self._last)
        numbers = self._row + begins
        tallies = self._tallies

        def after(i: int) -> str:
            return f"update {update[i]} after {before[i]}"

        def follows(i: int) -> str:
            return f"update {update[i]} follows {previous[i]}, there is {before[i]}"

        tallies["gap"].add(how == _BROKEN, numbers, ts_ns, follows)
        tallies["backwards"].add(how == _BACK, numbers, ts_ns, after)
        tallies["repeated"].add(how == _REPEATED, numbers, ts_ns, after)
        self._messages += len(begins)
        self._snapshots += int(np.count_nonzero(is_snapshot))
        self._unlinked += int(np.count_nonzero(~is_snapshot & (previous < 0)))
        is_told = how != _REPEATED
        is_trusted, is_bad = self._build(rows, begins, is_told)
        update, ts_ns, how, is_snapshot = (of[is_told] for of in (update, ts_ns, how, is_snapshot))
        was_trusted = np.append(self._was_trusted, is_trusted)[: len(is_trusted)]
        lost = ~is_trusted & (was_trusted | is_snapshot)
        is_crossed = lost & (how == _FINE) & ~is_bad
        tallies["crossed"].add(is_crossed, numbers[is_told], ts_ns, lambda i: f"after update {update[i]}")
        if len(is_trusted):
            self._was_trusted = bool(is_trusted[-1])
        counts = self._book.counts
        self._unseeded = counts.unseeded
        self._untrusted += int(np.count_nonzero(~is_trusted))
        self._row += len(rows["ts_ns"])

    def _build(self, rows: dict[str, NDArray[Any]], begins: I64, is_told: Bools) -> tuple[Bools, Bools]:
        """Build the book on; return of each message told whether the book holds after it, and whether it cannot be."""
        price: F64 = rows["price"]
        if not self._per_unit and (price > 0).any():
            self._per_unit = 10.0 ** (_DIGITS - int(np.ceil(np.log10(price[np.argmax(price > 0)]))))
        ticks = np.clip(np.rint(price * (self._per_unit or 1.0)), -1.0, 2 * _TICKS_MAX)
        ticks[price < 0] = -1.0
        is_bad = np.logical_or.reduceat(_is_bad(price, rows["qty"]) | (ticks > _TICKS_MAX), begins)
        is_last = np.zeros(len(price), dtype=np.bool_)
        is_last[np.append(begins[1:], len(price)) - 1] = True
        keep = np.repeat(is_told, np.diff(np.append(begins, len(price))))
        made = self._book.on_deltas(
            BookDeltaBatch(
                instrument=_ANY,
                first_row=0,
                ts_ns=rows["ts_ns"][keep],
                known_ns=rows["ts_ns"][keep],
                update=rows["update"][keep],
                previous=rows["previous"][keep],
                is_snapshot=rows["is_snapshot"][keep],
                is_last=is_last[keep],
                is_bid=rows["is_bid"][keep],
                price_ticks=ticks[keep].astype(np.int64),
                qty_steps=rows["qty"][keep].astype(np.int64),
            )
        )
        return made.is_trusted, is_bad[is_told]

    def _findings(self) -> list[Finding]:
        found: list[Finding] = []
        for name, (severity, what, advice) in _CHECKS.items():
            noun = "level" if name == "level" else "message"
            found += self._tallies[name].finding(f"book.{name}", severity, noun, what, advice)
        deltas = self._messages - self._snapshots
        if deltas and not self._snapshots:
            found.append(
                Finding(
                    code="book.no-snapshot",
                    severity=Severity.ERROR,
                    message=f"{many(deltas, 'message')} and no snapshot to begin with: no book can be built; record "
                    "again with one",
                    count=deltas,
                )
            )
        elif self._untrusted:
            share = self._untrusted / self._messages
            found.append(
                Finding(
                    code="book.untrusted",
                    severity=Severity.INFO,
                    message=f"after {many(self._untrusted, 'message')} of {self._messages:,} ({share:.1%}) there is "
                    f"no book to be trusted, {self._unseeded:,} of them before the first snapshot",
                    count=self._untrusted,
                )
            )
        if self._unlinked:
            found.append(
                Finding(
                    code="book.unlinked",
                    severity=Severity.INFO,
                    message=f"{many(self._unlinked, 'message')} without the number of the one before: missing ones "
                    "cannot be seen",
                    count=self._unlinked,
                )
            )
        return found


# What a message, or a level, can be wrong in: how bad, "N messages ...", what to do.
_CHECKS: dict[str, tuple[Severity, str, str]] = {
    "level": (Severity.ERROR, "with a price that is not positive or a negative quantity", "correct or drop them"),
    "gap": (
        Severity.WARNING,
        "after a hole in the chain of updates",
        "the book cannot be trusted from there until the next snapshot",
    ),
    "backwards": (
        Severity.WARNING,
        "whose number does not rise",
        "the venue began to count anew; the book cannot be trusted until the next snapshot",
    ),
    "repeated": (Severity.WARNING, "told before", "they are left out"),
    "crossed": (
        Severity.WARNING,
        "that leave the best bid at or above the best ask",
        "something before was lost; the book cannot be trusted until the next snapshot",
    ),
}


def _is_bad(price: F64, qty: F64) -> Bools:
    """Return the levels that cannot be; a message without levels is one row of zeros."""
    bad: Bools = ((price != 0) | (qty != 0)) & ((price <= 0) | (qty < 0))
    return bad


def _begins(rows: dict[str, NDArray[Any]]) -> I64:
    """Return the first row of each message."""
    changes = np.zeros(len(rows["ts_ns"]) - 1, dtype=np.bool_)
    for name in ("ts_ns", "update", "is_snapshot"):
        changes |= rows[name][1:] != rows[name][:-1]
    return np.append(0, np.flatnonzero(changes) + 1)


def _follow(ts_ns: I64, update: I64, previous: I64, is_snapshot: Bools, last: I64) -> tuple[I64, I64]:
    """Return how each message follows the one before, and that one's number; carry `last` on."""
    how, before = np.empty(len(ts_ns), dtype=np.int64), np.empty(len(ts_ns), dtype=np.int64)
    _follow_all(ts_ns, update, previous, is_snapshot, last, how, before)
    return how, before


@njit(cache=True, nogil=True)
def _follow_all(ts_ns, update, previous, is_snapshot, last, how, before):  # type: ignore[no-untyped-def]
    # The rules are those of the book itself, but hold also while it is not trusted.
    for i in range(ts_ns.size):
        before[i] = last[1]
        if is_snapshot[i] or last[0] == 0:
            how[i] = _FINE
        elif update[i] <= last[1] and ts_ns[i] <= last[2]:
            how[i] = _REPEATED
            continue
        elif previous[i] >= 0 and previous[i] != last[1]:
            how[i] = _BROKEN
        elif update[i] <= last[1]:
            how[i] = _BACK
        else:
            how[i] = _FINE
        last[0], last[1], last[2] = 1, update[i], ts_ns[i]
