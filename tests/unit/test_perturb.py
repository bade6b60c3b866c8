"""Changed futures: the past stays bit for bit, and what follows is market data that could have been."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bot.core.bars import BarAggregator
from bot.core.perturb import KINDS, Kind, Rows, Table, known_times, perturb
from bot.domain.market import (
    EMPTY,
    NO_FLOW,
    BarBatch,
    BookBatch,
    BookDeltaBatch,
    EventBarBatch,
    FundingBatch,
    TradeBatch,
    is_same,
)
from tests.support.batches import INSTRUMENT
from tests.support.streams import (
    HOUR_NS,
    MINUTE_NS,
    generators,
    minute_bars,
    revisions,
    sample_book,
    sample_funding,
    sample_trades,
)

TRADES = sample_trades()
BARS = minute_bars(TRADES)
FUNDING = sample_funding(sample_trades(days=6, trades_per_day=200))
BOOK = sample_book(TRADES)
REVISIONS = revisions(TRADES)


def holey(bars: BarBatch) -> BarBatch:
    """Return bars as a source that leaves quiet minutes out, and tells no flow."""
    keep = (bars.flags & EMPTY) == 0
    columns: dict[str, Any] = {name: getattr(bars, name)[keep] for name in bars._columns()}
    nothing = np.zeros(int(keep.sum()), dtype=np.int64)
    columns |= {"turnover": nothing, "count": nothing, "buy_steps": nothing}
    return replace(bars, **columns | {"flags": np.full(len(nothing), NO_FLOW, dtype=np.uint8)})


def event_bars(bars: BarBatch) -> EventBarBatch:
    """Return the bars as if the market had ended them, now and then two at one time."""
    end_ns = bars.open_ns + MINUTE_NS // 2
    columns: dict[str, Any] = {name: getattr(bars, name) for name in bars._columns()}
    columns |= {"known_ns": end_ns, "flags": np.zeros(len(bars), dtype=np.uint8)}
    return EventBarBatch(instrument=bars.instrument, scale_ns=0, first_row=0, rule="volume:1", end_ns=end_ns, **columns)


STREAMS: dict[str, Rows] = {
    "trades": TRADES,
    "bars": BARS,
    "bars with holes": holey(BARS),
    "event bars": event_bars(BARS),
    "funding": FUNDING,
    "book": BOOK,
    "table": REVISIONS,
}


def same(left: Any, right: Any) -> bool:
    if isinstance(left, Table):
        columns = [(left.known_ns, right.known_ns), *((left.columns[n], right.columns[n]) for n in left.columns)]
        return left.columns.keys() == right.columns.keys() and all(a.tobytes() == b.tobytes() for a, b in columns)
    return is_same(left, right)


def cut_of(rows: Rows, part: float = 0.6) -> int:
    return int(known_times(rows)[int(len(rows) * part)])


def valid(rows: Any) -> None:
    """Fail unless it is market data that could have been."""
    known = known_times(rows)
    assert (np.diff(known) >= 0).all()
    match rows:
        case TradeBatch():
            assert rows.price_ticks.min() > 0
            assert rows.qty_steps.min() > 0
        case BarBatch():
            _valid_bars(rows)
        case BookBatch():
            _valid_book(rows)
        case FundingBatch():
            assert np.abs(rows.rate_e8).max() < 10**7
            assert (np.diff(rows.ts_ns) > 0).all()


def _valid_bars(bars: BarBatch) -> None:
    inside = [bars.open_ticks, bars.close_ticks]
    assert bars.low_ticks.min() > 0
    assert (bars.high_ticks >= np.maximum(*inside)).all()
    assert (bars.low_ticks <= np.minimum(*inside)).all()
    for column in (bars.volume_steps, bars.turnover, bars.count, bars.buy_steps):
        assert column.min() >= 0
    assert (bars.buy_steps <= bars.volume_steps).all()
    is_empty = (bars.flags & EMPTY) != 0
    assert not bars.volume_steps[is_empty].any()
    assert (bars.high_ticks[is_empty] == bars.low_ticks[is_empty]).all()
    flat_at = np.concatenate([bars.open_ticks[:1], bars.close_ticks[:-1]])
    assert (bars.close_ticks == flat_at)[is_empty].all()
    has_flow = ((bars.flags & NO_FLOW) == 0) & (bars.volume_steps > 0)
    assert (bars.turnover >= bars.low_ticks * bars.volume_steps)[has_flow].all()
    assert (bars.turnover <= bars.high_ticks * bars.volume_steps)[has_flow].all()
    assert not bars.turnover[~has_flow].any()
    if bars.scale_ns:
        assert (np.diff(bars.open_ns) >= bars.scale_ns).all()
        assert not (bars.open_ns % bars.scale_ns).any()
        assert (bars.known_ns == bars.close_ns).all()


def _valid_book(book: BookBatch) -> None:
    assert (book.ask_ticks[:, 0] > book.bid_ticks[:, 0])[book.is_trusted].all()
    assert ((np.diff(book.bid_ticks, axis=1) < 0) | (book.bid_ticks[:, 1:] == 0)).all()
    assert ((np.diff(book.ask_ticks, axis=1) > 0) | (book.ask_ticks[:, 1:] == 0)).all()
    assert ((book.bid_ticks[:, 0] > 0) == book.is_trusted).all()
    for ticks, steps in ((book.bid_ticks, book.bid_steps), (book.ask_ticks, book.ask_steps)):
        assert ((ticks > 0) == (steps > 0)).all()
        assert ticks.min() >= 0
    assert (book.known_ns >= book.ts_ns).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("part", [0.0, 0.3, 0.97])
def test_the_past_stays_and_the_future_could_have_been(name: str, kind: Kind, part: float) -> None:
    """Rows known at or before the moment are the same, also those of exactly then; the others are valid and later."""
    rows = STREAMS[name]
    valid(rows)
    after_ns = cut_of(rows, part)
    changed = perturb(rows, after_ns, kind, generators(5)("x"))
    keep = int((known_times(rows) <= after_ns).sum())
    assert keep > 0
    assert same(changed.rows(0, keep), rows.rows(0, keep))
    assert (known_times(changed)[keep:] > after_ns).all()
    assert len(changed) <= len(rows)
    valid(changed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STREAMS)
def test_the_future_is_another_and_the_same_for_the_same_seed(name: str, kind: Kind) -> None:
    """Each kind changes each stream; what is drawn depends on the generator alone."""
    rows = STREAMS[name]
    after_ns = cut_of(rows)
    one, again = (perturb(rows, after_ns, kind, generators(5)("x")) for _ in range(2))
    assert same(one, again)
    assert not same(one, rows)
    if kind in (Kind.SHUFFLE, Kind.NOISE):
        assert not same(one, perturb(rows, after_ns, kind, generators(6)("x")))


def test_kinds_do_what_their_names_say() -> None:
    """Of trades: counted on the rows after the moment."""
    after_ns = cut_of(TRADES)
    keep = int((TRADES.ts_ns <= after_ns).sum())
    future = TRADES.rows(keep, len(TRADES))

    def changed(kind: Kind) -> TradeBatch:
        batch = perturb(TRADES, after_ns, kind, generators(5)("x"))
        return batch.rows(keep, len(batch))

    shuffled = changed(Kind.SHUFFLE)
    assert sorted(zip(shuffled.price_ticks.tolist(), shuffled.qty_steps.tolist(), strict=True)) == sorted(
        zip(future.price_ticks.tolist(), future.qty_steps.tolist(), strict=True)
    )
    assert len(changed(Kind.TRUNCATE)) == 0
    assert (changed(Kind.SCALE_UP).price_ticks == 8 * future.price_ticks).all()
    assert (changed(Kind.SCALE_DOWN).price_ticks == future.price_ticks // 8).all()
    assert (changed(Kind.REVERSE).price_ticks == future.price_ticks[::-1]).all()
    assert set(changed(Kind.CONSTANT).price_ticks.tolist()) == {int(TRADES.price_ticks[keep - 1])}
    sooner = changed(Kind.RETIME)
    assert 0.2 * len(future) < len(sooner) < 0.6 * len(future)
    assert sooner.ts_ns[-1] < future.ts_ns[len(future) // 2]
    assert not (sooner.ts_ns % 1_000_000).any()
    noise = changed(Kind.NOISE)
    assert 0.02 < np.log(noise.price_ticks / future.price_ticks).std() < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_after_the_end(kind: Kind) -> None:
    """After the last row there is nothing to change; before the first one all of it changes."""
    for rows in STREAMS.values():
        assert perturb(rows, int(known_times(rows)[-1]), kind, generators(5)("x")) is rows
        changed = perturb(rows, int(known_times(rows)[0]) - 1, kind, generators(5)("x"))
        assert len(changed) == 0 if kind is Kind.TRUNCATE else not same(changed, rows)
        if len(changed):
            valid(changed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["bars", "bars with holes"])
def test_a_forming_bar_keeps_its_open(name: str, kind: Kind) -> None:
    """A venue that fills at the open of the bar an order comes in has read that price: the rest of the bar changes."""
    bars: Any = STREAMS[name]
    row = len(bars) // 2
    after_ns = int(bars.open_ns[row]) + MINUTE_NS // 3
    changed: Any = perturb(bars, after_ns, kind, generators(5)("x"), keep_forming_open=True)
    assert is_same(changed.rows(0, row), bars.rows(0, row))
    assert changed.open_ns[row] == bars.open_ns[row]
    assert changed.open_ticks[row] == bars.open_ticks[row]
    valid(changed)
    if kind is Kind.TRUNCATE:
        assert len(changed) == row + 1
        assert changed.high_ticks[row] == changed.low_ticks[row] == bars.open_ticks[row]


@pytest.mark.parametrize("kind", KINDS)
def test_bars_can_be_made_of_every_future(kind: Kind) -> None:
    """The aggregator takes them, trades and bars alike, and no hole is longer than the market has already."""
    scales_ns = [MINUTE_NS, HOUR_NS]
    limits = {"scales_ns": scales_ns, "lateness_ns": 0, "gap_max_ns": 2 * HOUR_NS}
    trades = perturb(TRADES, cut_of(TRADES), kind, generators(5)("x"))
    assert len(BarAggregator(TRADES.instrument, **limits).on_trades(trades).bars[MINUTE_NS]) > 0
    for bars in (BARS, holey(BARS)):
        changed = perturb(bars, cut_of(bars), kind, generators(5)("x"))
        made = BarAggregator(bars.instrument, source_scale_ns=MINUTE_NS, **limits).on_bars(changed)
        assert len(made.bars[MINUTE_NS]) > 0


def test_bars_without_holes_get_none() -> None:
    """A stream that is contiguous stays so: minutes become quiet instead."""
    changed = perturb(BARS, cut_of(BARS), Kind.RETIME, generators(5)("x"))
    assert (np.diff(changed.open_ns) == MINUTE_NS).all()
    assert (changed.flags & EMPTY).sum() > (BARS.flags[: len(changed)] & EMPTY).sum()
    holes = holey(BARS)
    changed = perturb(holes, cut_of(holes), Kind.RETIME, generators(5)("x"))
    assert np.diff(changed.open_ns).max() <= np.diff(holes.open_ns).max()
    assert len(changed) < 0.95 * len(holes)


def test_a_table_of_any_types() -> None:
    """Numbers, signs, truths and words move, each in its own type; times never do."""
    count = 50
    generator = np.random.default_rng(1)
    columns: dict[str, Any] = {
        "signed": generator.standard_normal(count),
        "positive": generator.random(count) + 1,
        "count": generator.integers(1, 9, count),
        "small": generator.integers(0, 9, count).astype(np.uint8),
        "is_odd": generator.random(count) < 0.5,
        "word": np.array(["a", "b"], dtype=object)[generator.integers(0, 2, count)],
        "pair": generator.standard_normal((count, 2)),
        "event_ns": np.arange(count),
        "date": np.arange(count).astype("datetime64[ns]"),
        "unknown": np.full(count, np.nan),
    }
    table = Table(known_ns=np.arange(count) * 10, columns=columns)
    moved: set[str] = set()
    for kind in KINDS:
        changed = perturb(table, 245, kind, generators(5)("x"))
        for name, column in changed.columns.items():
            assert column.dtype == columns[name].dtype
            if len(column) == count and column[25:].tolist() != columns[name][25:].tolist():
                moved.add(name)
        assert (changed.columns["positive"] > 0).all()
        assert (changed.columns["count"] > 0).all()
    assert moved == {"signed", "positive", "count", "small", "is_odd", "word", "pair", "unknown"}  # NaN is not NaN
    up = perturb(table, 245, Kind.SCALE_UP, generators(5)("x")).columns["signed"]
    assert (np.sign(up[25:]) == -np.sign(columns["signed"][25:])).all()


def test_what_is_out_of_order_is_refused() -> None:
    """The past must be the beginning."""
    table = Table(known_ns=np.array([3, 1, 2]), columns={})
    with pytest.raises(ValueError, match="order in which they become known"):
        perturb(table, 1, Kind.SHUFFLE, generators(5)("x"))


def test_what_it_cannot_change_is_refused() -> None:
    """Deltas of a book make sense only one after another: look ahead is sought in the books made of them."""
    count = np.arange(3)
    flags = count > 5
    deltas = BookDeltaBatch(
        instrument=INSTRUMENT,
        first_row=0,
        ts_ns=count,
        known_ns=count,
        update=count,
        previous=count,
        is_snapshot=flags,
        is_last=flags,
        is_bid=flags,
        price_ticks=count,
        qty_steps=count,
    )
    with pytest.raises(TypeError, match="no way to change a BookDeltaBatch"):
        perturb(deltas, 1, Kind.SHUFFLE, generators(5)("x"))  # type: ignore[type-var]


def test_a_market_near_the_end_of_an_int64_is_scaled_by_less() -> None:
    """Whatever the grid, a bar's turnover stays far from 2**63."""
    large = replace(TRADES, price_ticks=TRADES.price_ticks * 10**4, qty_steps=TRADES.qty_steps * 10)
    changed = perturb(large, cut_of(large), Kind.SCALE_UP, generators(5)("x"))
    assert changed.price_ticks.max() > large.price_ticks.max()
    assert int(changed.price_ticks.max()) * int(changed.qty_steps.sum()) < 2**62
