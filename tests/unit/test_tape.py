"""The venue model's view of the market: every question answered as by a search through all rows, however cut."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.tape import FAR, BarTape, Found, Tape, TradeTape, Trail, Watch
from bot.domain.market import BarBatch, TradeBatch
from tests.support.batches import cut
from tests.support.examples import examples
from tests.support.money import BTC, bars

SCALE_NS = 10
LATE = 10**15  # after everything

Trade = tuple[int, int, int, bool]  # time, price, quantity, whether the taker bought
Bar = tuple[int, int, int, int, int]  # time, open, high, low, close

PRICE = st.integers(1, 7)
TRADES = st.lists(st.tuples(st.integers(0, 40), PRICE, st.integers(1, 4), st.booleans()), min_size=1, max_size=14).map(
    lambda rows: sorted(rows, key=lambda row: row[0])
)
CUTS = st.lists(st.integers(0, 14), max_size=5)
AHEAD = st.one_of(st.just(0), st.integers(0, 12), st.just(FAR))
WATCH = st.builds(
    Watch,
    falls=st.one_of(st.just(-FAR), PRICE),
    rises=st.one_of(st.just(FAR), PRICE),
    bid=st.one_of(st.just(-FAR), PRICE),
    bid_ahead=AHEAD,
    ask=st.one_of(st.just(FAR), PRICE),
    ask_ahead=AHEAD,
)
TRAIL = st.builds(Trail, st.sampled_from([1, -1]), st.integers(1, 4), PRICE)
ROW = st.integers(0, 15)


@st.composite
def bar_rows(draw: st.DrawFn) -> list[Bar]:
    """Return bars with holes between some of them."""
    rows = []
    for k in sorted(draw(st.sets(st.integers(0, 9), min_size=1, max_size=7))):
        low, a, b, high = sorted(draw(st.lists(PRICE, min_size=4, max_size=4)))
        first, last = draw(st.permutations([a, b]))
        rows.append((k * SCALE_NS, first, high, low, last))
    return rows


def trades(rows: Sequence[Trade], *, first_row: int = 0) -> TradeBatch:
    """Return trades of rows."""
    return TradeBatch(
        instrument=BTC,
        first_row=first_row,
        ts_ns=np.array([row[0] for row in rows], dtype=np.int64),
        price_ticks=np.array([row[1] for row in rows], dtype=np.int64),
        qty_steps=np.array([row[2] for row in rows], dtype=np.int64),
        is_buy=np.array([row[3] for row in rows], dtype=np.bool_),
    )


def loaded(tape: Tape, batch: TradeBatch | BarBatch, cuts: Sequence[int] = ()) -> Any:
    """Return the tape with all of the batch on it, in pieces."""
    pieces: list[Any] = cut(batch, cuts)
    for piece in pieces:
        tape.extend(piece, now_ns=0)
    return tape


# What the questions mean, by plain search


def scan_trades(rows: Sequence[Trade], row: int, stop: int, watch: Watch) -> Found:
    """Return the first trade that reaches `falls` or `rises`, goes through bid or ask, or is more than stands ahead.

    A trade at the bid is worth what its taker sold, one at the ask what its taker bought.
    """
    sold = bought = 0
    for i in range(row, min(stop, len(rows))):
        _, price, qty, is_buy = rows[i]
        if price <= watch.falls or price >= watch.rises or price < watch.bid or price > watch.ask:
            return Found(i, True, sold, bought)
        at_bid, at_ask = price == watch.bid and not is_buy, price == watch.ask and is_buy
        if (at_bid and sold + qty > watch.bid_ahead) or (at_ask and bought + qty > watch.ask_ahead):
            return Found(i, True, sold, bought)
        sold += qty * at_bid
        bought += qty * at_ask
    return Found(max(row, min(stop, len(rows))), False, sold, bought)


def scan_bars(rows: Sequence[Bar], row: int, stop: int, watch: Watch) -> Found:
    """Return the first bar that reaches `falls` or `rises`, goes through bid or ask, or touches one where we are first.

    How much traded at a price nobody knows, so nothing is counted.
    """
    for i in range(row, min(stop, len(rows))):
        _, _, high, low, _ = rows[i]
        touches = (low == watch.bid and watch.bid_ahead <= 0) or (high == watch.ask and watch.ask_ahead <= 0)
        if low <= watch.falls or high >= watch.rises or low < watch.bid or high > watch.ask or touches:
            return Found(i, True)
    return Found(max(row, min(stop, len(rows))), False)


def follow(ranges: Sequence[tuple[int, int]], row: int, stop: int, trail: Trail, *, is_range: bool) -> Any:
    """Return the first row whose worst price reaches the stop, and the trail before it.

    A row that is a range may have had its best price first, so its own best counts.
    """
    for i in range(row, min(stop, len(ranges))):
        low, high = ranges[i]
        best, worst = (high, low) if trail.sign > 0 else (low, high)
        peak = max(trail.peak * trail.sign, best * trail.sign) * trail.sign
        reached = Trail(trail.sign, trail.distance, peak if is_range else trail.peak)
        if (worst - reached.stop) * trail.sign <= 0:
            return i, True, trail
        trail = Trail(trail.sign, trail.distance, peak)
    return max(row, min(stop, len(ranges))), False, trail


# Short tapes, whatever the question


@given(rows=TRADES, cuts=CUTS, row=ROW, stop=st.one_of(ROW, st.just(FAR)), watch=WATCH)
@settings(max_examples=examples(300), deadline=None)
def test_a_scan_of_trades(rows: list[Trade], cuts: list[int], row: int, stop: int, watch: Watch) -> None:
    """The first event, and what traded at the watched prices before it."""
    tape = loaded(TradeTape(), trades(rows), cuts)
    assert tape.scan(row, stop, watch) == scan_trades(rows, row, stop, watch)
    assert tape.end == len(rows)


@given(rows=bar_rows(), cuts=CUTS, row=ROW, stop=st.one_of(ROW, st.just(FAR)), watch=WATCH)
@settings(max_examples=examples(300), deadline=None)
def test_a_scan_of_bars(rows: list[Bar], cuts: list[int], row: int, stop: int, watch: Watch) -> None:
    """The first bar in which something that is watched may have happened."""
    tape = loaded(BarTape(), bars(rows, scale_ns=SCALE_NS), cuts)
    assert tape.scan(row, stop, watch) == scan_bars(rows, row, stop, watch)
    assert tape.end == len(rows)


@given(rows=TRADES, cuts=CUTS, row=ROW, stop=st.one_of(ROW, st.just(FAR)), trail=TRAIL)
@settings(max_examples=examples(300), deadline=None)
def test_following_trades(rows: list[Trade], cuts: list[int], row: int, stop: int, trail: Trail) -> None:
    """The trail goes with the best price and stops before the first trade that reaches it."""
    tape = loaded(TradeTape(), trades(rows), cuts)
    ranges = [(price, price) for _, price, _, _ in rows]
    assert tape.follow(row, stop, trail) == follow(ranges, row, stop, trail, is_range=False)


@given(rows=bar_rows(), cuts=CUTS, row=ROW, stop=st.one_of(ROW, st.just(FAR)), trail=TRAIL)
@settings(max_examples=examples(300), deadline=None)
def test_following_bars(rows: list[Bar], cuts: list[int], row: int, stop: int, trail: Trail) -> None:
    """A bar that may reach the trail on some way through it is one to be looked at."""
    tape = loaded(BarTape(), bars(rows, scale_ns=SCALE_NS), cuts)
    ranges = [(low, high) for _, _, high, low, _ in rows]
    assert tape.follow(row, stop, trail) == follow(ranges, row, stop, trail, is_range=True)


@given(rows=TRADES, cuts=CUTS, at=st.integers(-1, 42), start=ROW)
@settings(max_examples=examples(200), deadline=None)
def test_times_and_prices_of_trades(rows: list[Trade], cuts: list[int], at: int, start: int) -> None:
    """Times meet at `>=` for taking and resting, at `<` for the last price, at `>` for what has not happened."""
    tape = loaded(TradeTape(), trades(rows), cuts)
    count = len(rows)
    expected = next((i for i, row in enumerate(rows) if row[0] >= at), count)
    assert tape.take_row(at) == expected
    assert tape.rest_row(at) == expected
    assert tape.unseen_row(at) == next((i for i, row in enumerate(rows) if row[0] > at), count)
    assert tape.take(start, at) == (rows[start][:2] if start < count else None)
    assert tape.last_price(at) == next((row[1] for row in reversed(rows) if row[0] < at), None)
    for i, (ts_ns, price, qty, is_buy) in enumerate(rows):
        assert tape.seen_ns(i) == ts_ns
        assert tape.trade(i) == (price, qty, is_buy)


@given(rows=bar_rows(), cuts=CUTS, at=st.integers(-1, 110))
@settings(max_examples=examples(200), deadline=None)
def test_times_and_prices_of_bars(rows: list[Bar], cuts: list[int], at: int) -> None:
    """Taking meets the open of the bar that holds the moment; all of a bar has happened at its close."""
    tape = loaded(BarTape(), bars(rows, scale_ns=SCALE_NS), cuts)
    count = len(rows)
    taking = next((i for i, row in enumerate(rows) if row[0] + SCALE_NS > at), count)
    assert tape.take_row(at) == taking
    assert tape.unseen_row(at) == taking
    assert tape.take(taking, at) == ((max(at, rows[taking][0]), rows[taking][1]) if taking < count else None)
    assert tape.rest_row(at) == next((i for i, row in enumerate(rows) if row[0] >= at), count)
    begun = [row for row in rows if row[0] <= at]
    price = None
    if begun:
        price = begun[-1][1] if at < begun[-1][0] + SCALE_NS else begun[-1][4]
    assert tape.last_price(at) == price
    for i, row in enumerate(rows):
        assert tape.open_ns(i) == row[0]
        assert tape.seen_ns(i) == row[0] + SCALE_NS
        assert tape.bar(i) == row[1:]


# Long tapes: the extremes of blocks of 256 rows are known, and most are skipped

COUNT = 1_400


def long_prices(seed: int, sparse: int) -> list[int]:
    """Return prices that keep to the middle but for a few far away."""
    random = np.random.default_rng(seed)
    prices = random.integers(990, 1011, COUNT)
    spikes = random.choice(COUNT, sparse, replace=False)
    prices[spikes] = random.integers(900, 1101, sparse)
    return [int(price) for price in prices]


def long_trades(seed: int, sparse: int) -> list[Trade]:
    """Return trades at such prices, several of one time."""
    random = np.random.default_rng(seed + 1)
    times = np.sort(random.integers(0, COUNT // 2, COUNT)).tolist()
    qtys, sides = random.integers(1, 9, COUNT).tolist(), random.integers(0, 2, COUNT).tolist()
    return list(zip(times, long_prices(seed, sparse), qtys, map(bool, sides), strict=True))


def long_bars(seed: int, sparse: int) -> list[Bar]:
    """Return bars whose extremes are such prices."""
    found = []
    prices = long_prices(seed, sparse)
    for i, (first, last) in enumerate(pairwise([*prices, 1000])):
        found.append((i * SCALE_NS, first, max(first, last), min(first, last), last))
    return found


LONG = {
    "seed": st.integers(0, 10_000),
    "sparse": st.integers(0, 12),
    "cuts": st.lists(st.one_of(st.integers(0, COUNT), st.sampled_from([256, 512, 255, 257])), max_size=5),
    "row": st.one_of(st.integers(0, COUNT), st.sampled_from([0, 255, 256, 257, 768])),
    "stop": st.one_of(st.just(FAR), st.integers(0, COUNT), st.sampled_from([256, 511, 512])),
}
EDGE = st.sampled_from([895, 905, 950, 985, 989, 990, 1000])  # below the middle; mirrored above it
LONG_WATCH = st.builds(
    lambda falls, rises, bid, ask, ahead: Watch(
        falls=falls, rises=2000 - rises, bid=bid, bid_ahead=ahead, ask=2000 - ask, ask_ahead=ahead
    ),
    EDGE,
    EDGE,
    EDGE,
    EDGE,
    st.sampled_from([0, 5, 150, 1_000, FAR]),
)
LONG_TRAIL = st.builds(Trail, st.sampled_from([1, -1]), st.sampled_from([5, 20, 60, 150]), st.sampled_from([950, 1000]))


@given(**LONG, watch=LONG_WATCH)
@settings(max_examples=examples(80), deadline=None)
def test_a_long_scan_skips_nothing_that_matters(
    seed: int, sparse: int, cuts: list[int], row: int, stop: int, watch: Watch
) -> None:
    """Whole blocks are skipped by their extremes, and the answer is that of the search row by row."""
    rows, ranges = long_trades(seed, sparse), long_bars(seed, sparse)
    assert loaded(TradeTape(), trades(rows), cuts).scan(row, stop, watch) == scan_trades(rows, row, stop, watch)
    batch = bars(ranges, scale_ns=SCALE_NS)
    assert loaded(BarTape(), batch, cuts).scan(row, stop, watch) == scan_bars(ranges, row, stop, watch)


@given(**LONG, trail=LONG_TRAIL)
@settings(max_examples=examples(80), deadline=None)
def test_a_long_trail_skips_nothing_that_matters(
    seed: int, sparse: int, cuts: list[int], row: int, stop: int, trail: Trail
) -> None:
    """The same for what follows the price: the best price of a skipped block counts."""
    prices, ranges = long_trades(seed, sparse), long_bars(seed, sparse)
    points = [(price, price) for _, price, _, _ in prices]
    found = loaded(TradeTape(), trades(prices), cuts).follow(row, stop, trail)
    assert found == follow(points, row, stop, trail, is_range=False)
    spans = [(low, high) for _, _, high, low, _ in ranges]
    found = loaded(BarTape(), bars(ranges, scale_ns=SCALE_NS), cuts).follow(row, stop, trail)
    assert found == follow(spans, row, stop, trail, is_range=True)


# Read just ahead of the clock


def check_read_ahead(make: Callable[[], Any], batch: Any, times: Any, cuts: list[int], watch: Watch) -> None:
    """Walk the clock as the replay feed does, and ask both tapes the same at every moment.

    The feed reads a piece when the clock reaches the first row of the piece before it, so a row later than now is
    always there unless all have been read; what lies before is dropped meanwhile.
    """
    whole, tape = loaded(make(), batch), make()
    pieces = [piece for piece in cut(batch, cuts) if len(piece)]
    tape.extend(pieces.pop(0), now_ns=0)
    newest = 0
    for at in range(int(times[-1]) + 2 * SCALE_NS):
        while pieces and int(times[newest]) <= at:
            newest = pieces[0].first_row
            tape.extend(pieces.pop(0), now_ns=at)
        row = whole.take_row(at)
        assert tape.take_row(at) == row
        assert tape.take(row, at) == whole.take(row, at)
        assert tape.last_price(at) == whole.last_price(at)
        unseen, rests = whole.unseen_row(at), whole.rest_row(at)
        if unseen < tape.end:
            assert tape.unseen_row(at) == unseen
            assert tape.seen_ns(unseen) == whole.seen_ns(unseen)
        if rests < tape.end:
            assert tape.rest_row(at) == rests
        found, expected = tape.scan(unseen, FAR, watch), whole.scan(unseen, FAR, watch)
        if found.is_event:
            assert found == expected
        else:  # not read yet: it goes on where the pieces end, and leaves out nothing
            rest = watch._replace(
                bid_ahead=watch.bid_ahead - found.bid_traded, ask_ahead=watch.ask_ahead - found.ask_traded
            )
            later = whole.scan(found.row, FAR, rest)
            assert (later.row, later.is_event) == (expected.row, expected.is_event)


@given(rows=TRADES, cuts=CUTS, watch=WATCH)
@settings(max_examples=examples(100), deadline=None)
def test_trades_read_just_ahead_of_the_clock_are_enough(rows: list[Trade], cuts: list[int], watch: Watch) -> None:
    """No question about now or later is answered differently because rows are dropped behind and missing ahead."""
    batch = trades(rows)
    check_read_ahead(TradeTape, batch, batch.ts_ns, cuts, watch)


@given(rows=bar_rows(), cuts=CUTS, watch=WATCH)
@settings(max_examples=examples(100), deadline=None)
def test_bars_read_just_ahead_of_the_clock_are_enough(rows: list[Bar], cuts: list[int], watch: Watch) -> None:
    """The same for bars."""
    batch = bars(rows, scale_ns=SCALE_NS)
    check_read_ahead(BarTape, batch, batch.open_ns, cuts, watch)


@pytest.mark.parametrize("make", [TradeTape, BarTape])
def test_an_empty_tape_knows_nothing(make: Callable[[], Any]) -> None:
    """Before the first row there is no price, nothing to take and nothing to find."""
    tape = make()
    for _ in range(2):
        assert tape.end == 0
        assert tape.last_price(LATE) is None
        assert tape.take(tape.take_row(5), 5) is None
        assert tape.unseen_row(5) == tape.rest_row(5) == 0
        assert tape.scan(0, FAR, Watch(falls=10**9)) == Found(0, False)
        assert tape.follow(0, FAR, Trail(1, 1, 5)) == (0, False, Trail(1, 1, 5))
        tape.extend(bars([]) if make is BarTape else trades([]), now_ns=0)


@pytest.mark.parametrize("make", [TradeTape, BarTape])
def test_what_the_clock_has_left_behind_is_dropped_but_for_the_last_price(make: Callable[[], Any]) -> None:
    """A long run holds no more than a few pieces, and still knows the newest price."""
    tape = make()
    for k in range(100):
        row = (k * 10, k + 1, k + 1, k + 1, k + 1)
        batch = bars([row], first_row=k) if make is BarTape else trades([(k * 10, k + 1, 1, True)], first_row=k)
        tape.extend(batch, now_ns=max(k - 1, 0) * 10)
        assert tape.last_price(k * 10 + 9) == k + 1
    assert tape.take(0, 0) is None
    with pytest.raises(IndexError, match="row 0"):
        tape.seen_ns(0)
    assert tape.take(99, 0) is not None
    assert tape.last_price(LATE) == 100


def test_a_trail_stops_at_its_distance() -> None:
    """Below the peak of a long position, above that of a short one."""
    assert Trail(1, 3, 100).stop == 97
    assert Trail(-1, 3, 100).stop == 103
