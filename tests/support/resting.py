"""Orders that were never sent, followed through what a market really did: what each queue model makes of them."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from bot.core.venue.book_tape import BookSide, BookTape
from bot.core.venue.queue import (
    UNKNOWN_AHEAD,
    Probabilistic,
    QueueModel,
    QueuePosition,
    RiskAverse,
    Through,
    Touch,
    scan_level,
)
from bot.domain.market import TradeBatch
from bot.store.grid import to_grid
from tests.support.real_books import BOOK1000, Capture, book_of, parts_of
from tests.support.real_trades import REAL

MODELS: dict[str, QueueModel] = {
    "touch": Touch(),
    "log": Probabilistic(kind="log"),
    "power 1": Probabilistic(n=1),
    "power 3": Probabilistic(n=3),
    "risk averse": RiskAverse(),
    "through": Through(),
}
NEVER = 2**62


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """When a model has an order fill, NEVER where it does not in time."""

    first_ns: int
    full_ns: int


@dataclass(frozen=True, kw_only=True)
class Resting:
    """One order that might have rested, the bounds of its fill, and what each model says."""

    side: BookSide
    ticks: int
    at_ns: int
    ahead: int  # what rested at its price when it came, steps
    touched_ns: int  # the first trade at its price or beyond, whoever took
    through_ns: int  # the first strictly beyond
    outcomes: dict[str, Outcome]


@cache
def trades_of(capture: Capture) -> TradeBatch:
    """Return the trades that were captured beside a book."""
    if capture is BOOK1000:
        return REAL["btc_perpetual"]()
    instrument = capture.instrument
    parts = [part for part in parts_of(capture.file) if part.kind == "trades"]
    prices = [to_grid(part.columns["price"], part.price_exponent, instrument.tick_size) for part in parts]
    qtys = [to_grid(part.columns["qty"], part.qty_exponent, instrument.qty_step) for part in parts]
    assert max(each.first_off for each in [*prices, *qtys]) < 0
    return TradeBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=np.concatenate([part.columns["ts_ns"] for part in parts]),
        price_ticks=np.concatenate([each.counts for each in prices]),
        qty_steps=np.concatenate([each.counts for each in qtys]),
        is_buy=np.concatenate([part.columns["is_buy"] for part in parts]),
    )


def rest_every(capture: Capture, *, every_ns: int, wait_ns: int, qty_steps: int) -> Iterator[Resting]:
    """Yield an order at the best bid and one at the best ask at each step of time, each followed for `wait_ns`."""
    trades, book = trades_of(capture), BookTape(capture.instrument)
    deltas = book_of(capture)
    book.extend(deltas, now_ns=0)
    last_ns = min(int(trades.ts_ns[-1]), int(deltas.ts_ns[-1])) - wait_ns
    for at_ns in range(-(-int(deltas.ts_ns[0]) // every_ns) * every_ns, last_ns + 1, every_ns):
        book.advance(at_ns)
        bid, ask = book.best_bid(), book.best_ask()
        if bid is not None and ask is not None:
            yield follow(book, trades, "bid", bid, at_ns=at_ns, until_ns=at_ns + wait_ns, qty_steps=qty_steps)
            yield follow(book, trades, "ask", ask, at_ns=at_ns, until_ns=at_ns + wait_ns, qty_steps=qty_steps)


def follow(
    book: BookTape, trades: TradeBatch, side: BookSide, ticks: int, *, at_ns: int, until_ns: int, qty_steps: int
) -> Resting:
    """Return what becomes of an order that comes at `at_ns` to the book of then."""
    start, stop = (int(each) for each in trades.ts_ns.searchsorted([at_ns, until_ns]))
    price, is_bid = trades.price_ticks[start:stop], side == "bid"
    reached = np.flatnonzero(price <= ticks if is_bid else price >= ticks)
    touched_ns = int(trades.ts_ns[start + reached[0]]) if len(reached) else NEVER
    columns = trades.price_ticks, trades.qty_steps, trades.is_buy
    row, _ = scan_level(*columns, start, stop, ticks, is_bid, UNKNOWN_AHEAD)
    through_ns = int(trades.ts_ns[row]) if row >= 0 else NEVER
    stop = row if row >= 0 else stop

    ahead = book.qty_at(side, ticks)
    assert ahead is not None
    positions = {name: QueuePosition(model, qty_steps=qty_steps, level_steps=ahead) for name, model in MODELS.items()}
    first = dict.fromkeys(positions, NEVER)
    full = dict.fromkeys(positions, NEVER)

    def note(name: str, filled: int, ts_ns: int) -> None:
        if filled:
            first[name] = min(first[name], ts_ns)
            if not positions[name].open_steps:
                full[name] = ts_ns

    for ts_ns, qty, is_trade in _events(book, trades, side, ticks, start, stop, min(until_ns, through_ns)):
        for name, position in positions.items():
            if not position.open_steps:
                continue
            if is_trade:
                assert qty is not None
                note(name, position.traded(qty), ts_ns)
            else:
                position.level_changed(qty)
    if through_ns != NEVER:
        for name, position in positions.items():
            note(name, position.traded_through(), through_ns)
    return Resting(
        side=side,
        ticks=ticks,
        at_ns=at_ns,
        ahead=ahead,
        touched_ns=touched_ns,
        through_ns=through_ns,
        outcomes={name: Outcome(first_ns=first[name], full_ns=full[name]) for name in positions},
    )


def _events(
    book: BookTape, trades: TradeBatch, side: BookSide, ticks: int, start: int, stop: int, until_ns: int
) -> list[tuple[int, int | None, bool]]:
    """Return (time, quantity, whether it is a trade) of what happens at a price, trades first at equal times."""
    is_ours = (trades.price_ticks[start:stop] == ticks) & (trades.is_buy[start:stop] != (side == "bid"))
    rows = start + np.flatnonzero(is_ours)
    hits = zip(trades.ts_ns[rows].tolist(), trades.qty_steps[rows].tolist(), itertools.repeat(True))
    events: list[tuple[int, int | None, bool]] = list(hits)
    row = book.row
    while (change := book.next_change(row, side, ticks)) is not None and change.ts_ns < until_ns:
        events.append((change.ts_ns, change.qty_steps, False))
        row = change.row + 1
    return sorted(events, key=lambda event: (event[0], not event[2]))
