"""Queue models on real captures: between the bounds in every case, and as often filled as the documents say."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bot.core.order_book import OrderBook
from bot.core.venue.book_tape import BookSide, BookTape
from bot.core.venue.impact import HOUR_NS, SquareRootImpact, TradedHours
from bot.core.venue.queue import assumed_ahead, scan_level
from bot.domain.instrument import Side
from bot.domain.market import BookDeltaBatch
from tests.support.real_books import BOOK1000, OB500, SPOT_BTC, USDM_BTC, USDM_ETH, Capture, book_of
from tests.support.resting import MODELS, NEVER, Resting, rest_every, trades_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "queue.md"
SECOND_NS = 1_000_000_000
SIDES: tuple[BookSide, BookSide] = ("bid", "ask")
WAITS = (1, 10, 60)  # seconds
NAMES = {
    "USDT-M BTCUSDT 2024": USDM_BTC,
    "USDT-M ETHUSDT 2024": USDM_ETH,
    "spot BTCUSDT 2024": SPOT_BTC,
    "USDT-M BTCUSDT 2026": BOOK1000,
}
CAPTURES = [pytest.param(name, id=name.replace(" ", "-")) for name in NAMES]


def size_of(capture: Capture) -> int:
    """Return the mean trade in steps: what the orders of the measurement are of."""
    return int(trades_of(capture).qty_steps.mean())


@cache
def orders_of(name: str) -> list[Resting]:
    """Return an order on either side of the market each second, followed for a minute."""
    capture = NAMES[name]
    return list(rest_every(capture, every_ns=SECOND_NS, wait_ns=max(WAITS) * SECOND_NS, qty_steps=size_of(capture)))


def rate(name: str, seconds: int, filled_ns: Callable[[Resting], int]) -> float:
    """Return the share of the orders that are filled within so many seconds, in hundredths."""
    orders = orders_of(name)
    return 100 * sum(filled_ns(each) < each.at_ns + seconds * SECOND_NS for each in orders) / len(orders)


def rates(name: str, seconds: int) -> list[float]:
    """Return the shares that touched, filled whole by each model, and traded through."""
    filled = [rate(name, seconds, lambda each, model=model: each.outcomes[model].full_ns) for model in MODELS]  # type: ignore[misc]
    return [
        rate(name, seconds, lambda each: each.touched_ns),
        *filled,
        rate(name, seconds, lambda each: each.through_ns),
    ]


@pytest.mark.parametrize("name", CAPTURES)
def test_every_fill_lies_between_the_bounds(name: str) -> None:
    """Touched, then filled by any model, then traded through: in every case. The models keep their order."""
    orders = orders_of(name)
    assert len(orders) > 450
    for each in orders:
        for model, outcome in each.outcomes.items():
            assert each.touched_ns <= outcome.first_ns <= outcome.full_ns <= each.through_ns, (each, model)
        touch, *probable, averse, through = each.outcomes.values()
        for when in ("first_ns", "full_ns"):
            assert all(getattr(touch, when) <= getattr(model, when) <= getattr(averse, when) for model in probable)
            assert getattr(averse, when) <= getattr(through, when) == each.through_ns


@pytest.mark.parametrize("name", CAPTURES)
def test_models_differ(name: str) -> None:
    """The bounds are wide, and the models not all the same: a test of them would notice."""
    touched, *models, through = rates(name, 10)
    by_name = dict(zip(MODELS, models, strict=True))
    assert touched > through + 15
    assert touched >= by_name["touch"] > by_name["log"] + 10
    assert by_name["log"] > by_name["risk averse"] > by_name["through"] == through


@pytest.mark.parametrize("name", CAPTURES)
def test_the_document_tells_what_is_measured(name: str) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    capture = NAMES[name]
    ahead = capture.instrument.qty_float(int(np.median([each.ahead for each in orders_of(name)])))
    size = capture.instrument.qty_float(size_of(capture))
    assert f"| {name} | {len(orders_of(name))} | {size:.3g} | {ahead:.3g} |" in text
    for seconds in WAITS:
        row = " | ".join(f"{each:.1f}" for each in rates(name, seconds)[1:-1])
        assert f"| {name} | {seconds} s | {row} |" in text, row


@pytest.mark.parametrize("name", CAPTURES)
def test_without_a_book_orders_are_not_luckier(name: str) -> None:
    """On trades alone, behind what `assumed_ahead` says, hardly more orders fill than `RiskAverse` fills with the book.

    The captures are shorter than an hour, so what traded in them stands for the day before them.
    """
    capture, trades, traded = NAMES[name], trades_of(NAMES[name]), TradedHours()
    traded.extend(trades, now_ns=0)
    at_ns = int(trades.ts_ns[-1]) + HOUR_NS
    columns = trades.price_ticks, trades.qty_steps, trades.is_buy

    def filled_ns(each: Resting, multiple: int | None) -> int:
        ahead = assumed_ahead(traded, at_ns) if multiple is None else assumed_ahead(traded, at_ns, multiple=multiple)
        start, stop = trades.ts_ns.searchsorted([each.at_ns, each.at_ns + max(WAITS) * SECOND_NS]).tolist()
        last_of_it = ahead + size_of(capture) - 1
        row, _ = scan_level(*columns, start, stop, each.ticks, each.side == "bid", last_of_it)
        return int(trades.ts_ns[row]) if row >= 0 else NEVER

    for seconds in WAITS:
        averse = rate(name, seconds, lambda each: each.outcomes["risk averse"].full_ns)
        assert rate(name, seconds, lambda each: filled_ns(each, None)) <= averse + 0.5
    # What traded per visit is no measure of what rests: behind that alone far too many would fill.
    averse = rate(name, 1, lambda each: each.outcomes["risk averse"].full_ns)
    assert rate(name, 1, lambda each: filled_ns(each, 1)) > averse + 4


@pytest.mark.parametrize("name", CAPTURES)
def test_the_square_root_law_costs_no_less_than_the_book(name: str) -> None:
    """At every size that the books could fill, the law asks more than a walk through them costs on average."""
    capture, trades, traded = NAMES[name], trades_of(NAMES[name]), TradedHours()
    traded.extend(trades, now_ns=0)
    at_ns, deltas = int(trades.ts_ns[-1]) + HOUR_NS, book_of(NAMES[name])
    tape = BookTape(capture.instrument)
    tape.extend(deltas, now_ns=0)
    sizes = [traded.volume(at_ns) // part for part in (20_000, 2_000, 200, 20)]
    costs: dict[int, list[float]] = {size: [] for size in sizes}
    for now_ns in range(int(deltas.ts_ns[0]), int(deltas.ts_ns[-1]), SECOND_NS):
        tape.advance(now_ns)
        bid, ask = tape.best_bid(), tape.best_ask()
        if bid is None or ask is None:
            continue
        for size in sizes:
            taken = tape.walk(Side.BUY, size)
            assert sum(steps for _, steps in taken) == size
            paid = sum(ticks * steps for ticks, steps in taken) / size
            costs[size].append(paid / ((bid + ask) / 2) - 1)
    for size, found in costs.items():
        assert 0 < np.mean(found) <= SquareRootImpact().fraction(traded, size, at_ns), size


@pytest.mark.parametrize("capture", [USDM_BTC, OB500], ids=["binance", "bybit"])
def test_the_tape_holds_the_order_book(capture: Capture) -> None:
    """Slab by slab and moment by moment all levels are those of the book that was told the same messages."""
    batch = book_of(capture)
    tape, book, fed = BookTape(capture.instrument), OrderBook(capture.instrument, depth=1), 0
    slabs = [batch.rows(start, start + 997) for start in range(0, len(batch), 997)]
    for now_ns in np.linspace(batch.ts_ns[0] + 1, batch.ts_ns[-1] + 1, 40).astype(np.int64).tolist():
        until = int(batch.ts_ns.searchsorted(now_ns))
        while slabs and slabs[0].first_row < until:
            tape.extend(slabs.pop(0), now_ns=int(batch.ts_ns[fed]))
        book.on_deltas(batch.rows(fed, until))
        fed = until
        tape.advance(now_ns)
        assert tape.is_trusted == book.is_trusted
        for side in SIDES:
            for mine, theirs in zip(tape.levels(side, 10_000), book.levels(side), strict=True):
                assert np.array_equal(mine, theirs)
    assert book.is_trusted


def test_a_window_of_a_real_book_hides_only_what_it_must() -> None:
    """Of Bybit's 500 levels: what a tape of a window of 500 knows at each moment is what rests there."""
    batch: BookDeltaBatch = book_of(OB500)
    tape = BookTape(OB500.instrument, window=500)
    tape.extend(batch, now_ns=0)
    tape.advance(int(batch.ts_ns[-1]) + 1)
    ticks, steps = tape.levels("bid", 500)
    assert [tape.qty_at("bid", each) for each in ticks.tolist()] == steps.tolist()
    assert tape.qty_at("bid", int(ticks[-1]) - 1) is None
    assert len(ticks) == 500
