"""Bars over a hole: right where the venue's own minutes tell, marked where nobody does, and the past before a start."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.core.bars import BarAggregator
from bot.domain.instrument import Instrument
from bot.domain.market import EMPTY, GAP, NO_FLOW, PARTIAL, BarBatch, MarketSlab, TradeBatch, TradeHole
from tests.support.examples import examples

S = 10**9
MINUTE = 60 * S
START = 1_760_000_040 * S
SCALES = (S, 15 * S, MINUTE, 5 * MINUTE)
BTC = Instrument(
    name="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(100),
)
NAMES = ("open_ticks", "high_ticks", "low_ticks", "close_ticks", "volume_steps", "turnover")


def trades(seed: int, minutes: int = 12, rate: float = 0.5) -> TradeBatch:
    dice = np.random.default_rng(seed)
    count = int(minutes * 60 * rate)
    ts_ns = START + np.sort(dice.integers(0, minutes * 60_000, count)) * 1_000_000
    return TradeBatch(
        instrument=BTC,
        first_row=0,
        ts_ns=ts_ns,
        price_ticks=600_000 + np.cumsum(dice.integers(-5, 6, count)),
        qty_steps=dice.integers(1, 500, count),
        is_buy=dice.random(count) < 0.5,
    )


def aggregator(scales_ns: tuple[int, ...] = SCALES) -> BarAggregator:
    return BarAggregator(
        BTC, scales_ns=scales_ns, lateness_ns=0, gap_max_ns=10**15, event_rules=["tick:20"], repair_ns=MINUTE
    )


def joined(slabs: list[MarketSlab], scale_ns: int) -> BarBatch:
    return BarBatch.join([slab.bars[scale_ns] for slab in slabs if scale_ns in slab.bars])


def true_bars(batch: TradeBatch) -> dict[int, BarBatch]:
    return dict(aggregator().on_trades(batch).bars)


def klines(batch: TradeBatch, from_ns: int, to_ns: int) -> BarBatch:
    minutes = true_bars(batch)[MINUTE]
    first, last = np.searchsorted(minutes.open_ns, [from_ns // MINUTE * MINUTE, to_ns])
    return minutes.rows(int(first), int(last))


def lossy(batch: TradeBatch, from_ns: int, to_ns: int, lost: float, seed: int) -> list[MarketSlab]:
    """Return what comes of trades of which some within a hole were lost, and the minutes of which are told."""
    until_ns = -(-to_ns // MINUTE) * MINUTE
    dice = np.random.default_rng(seed)
    first, after, end = np.searchsorted(batch.ts_ns, [from_ns, to_ns, until_ns]).tolist()
    keep = np.flatnonzero((dice.random(end - first) >= lost) | (np.arange(first, end) >= after)) + first
    kept = {name: getattr(batch, name)[keep] for name in TradeBatch.COLUMNS}
    hole = TradeHole(
        instrument=BTC,
        from_ns=from_ns,
        to_ns=to_ns,
        until_ns=until_ns,
        trades=TradeBatch(instrument=BTC, first_row=first, **kept),  # type: ignore[arg-type]
        klines=klines(batch, from_ns, until_ns),
    )
    bars = aggregator()
    return [
        bars.on_trades(batch.rows(0, first)),
        bars.on_hole(hole),
        bars.on_trades(batch.rows(end, len(batch))),
    ]


@given(
    seed=st.integers(0, 10**6),
    start=st.integers(60_000, 6 * 60_000),
    length=st.integers(1, 3 * 60_000),
    lost=st.sampled_from([0.0, 0.3, 1.0]),
)
@example(seed=42851, start=122_000, length=474, lost=1.0)  # the minute's first trade, after two bars without any
@settings(max_examples=examples(60), deadline=None)
def test_minutes_over_a_hole_are_those_of_all_trades(seed: int, start: int, length: int, lost: float) -> None:
    """Open, high, low, close, volume and turnover of a minute and longer; what differs elsewhere is marked."""
    batch = trades(seed)
    from_ns = START + start * 1_000_000
    slabs = lossy(batch, from_ns, from_ns + length * 1_000_000, lost, seed)
    true = true_bars(batch)
    for scale_ns in SCALES:
        made, whole = joined(slabs, scale_ns), true[scale_ns]
        assert len(made) == len(whole)
        assert (made.open_ns == whole.open_ns).all()
        is_marked = (made.flags & (PARTIAL | GAP)) != 0
        for name in (*NAMES, "count", "buy_steps"):
            differs = getattr(made, name) != getattr(whole, name)
            assert not (differs & ~is_marked).any(), (scale_ns, name)
            if scale_ns >= MINUTE and name in NAMES:
                assert not differs.any(), (scale_ns, name)
        if not lost:
            assert not is_marked.any()


def test_without_the_minutes_what_is_lost_is_marked() -> None:
    batch = trades(3)
    from_ns, to_ns = START + 90 * S, START + 140 * S
    first, after = np.searchsorted(batch.ts_ns, [from_ns, to_ns]).tolist()
    bars = aggregator()
    hole = TradeHole(
        instrument=BTC, from_ns=from_ns, to_ns=to_ns, until_ns=to_ns, trades=batch.rows(after, after), klines=None
    )
    slabs = [bars.on_trades(batch.rows(0, first)), bars.on_hole(hole), bars.on_trades(batch.rows(after, len(batch)))]
    seconds, minutes = joined(slabs, S), joined(slabs, MINUTE)
    within = (seconds.open_ns >= from_ns) & (seconds.open_ns < to_ns)
    assert (seconds.flags[within] == EMPTY | GAP).all()
    assert not (seconds.flags[~within] & (GAP | PARTIAL)).any()
    marked = minutes.open_ns[(minutes.flags & PARTIAL) != 0]
    assert marked.tolist() == [START + MINUTE, START + 2 * MINUTE]


def test_information_bars_over_a_hole_are_partial() -> None:
    batch = trades(5)
    from_ns = START + 100 * S
    slabs = lossy(batch, from_ns, from_ns + 50 * S, 1.0, 1)
    flags = [int(f) for slab in slabs for bars in slab.event_bars.values() for f in bars.flags]
    assert flags.count(PARTIAL) >= 1
    assert flags[0] == 0
    assert flags[-1] == 0


@pytest.mark.parametrize("scales_ns", [SCALES, (MINUTE, 5 * MINUTE), (5 * MINUTE,)])
def test_the_past_and_the_present_are_one_row_of_bars(scales_ns: tuple[int, ...]) -> None:
    """Warmed up by the venue's minutes and going on with trades: every bar that is made is that of all trades."""
    batch = trades(9, minutes=17)
    handover = START + 7 * MINUTE
    past = klines(batch, START, handover)
    nothing = np.zeros(len(past), dtype=np.int64)
    past = replace(past, turnover=nothing, count=nothing, buy_steps=nothing, flags=past.flags | np.uint8(NO_FLOW))
    bars = (
        aggregator(scales_ns)
        if scales_ns[0] % (5 * MINUTE)
        else BarAggregator(BTC, scales_ns=(*scales_ns, MINUTE), lateness_ns=0, gap_max_ns=10**15, repair_ns=MINUTE)
    )
    at = int(np.searchsorted(batch.ts_ns, handover))
    slabs = [bars.warm_up(past), bars.on_trades(batch.rows(at, len(batch)))]
    true = true_bars(batch)
    for scale_ns in scales_ns:
        made = joined(slabs, scale_ns)
        whole = true[scale_ns]
        whole = whole.rows(int(np.searchsorted(whole.open_ns, made.open_ns[0])), len(whole))
        assert made.first_row == 0
        assert (made.open_ns == whole.open_ns).all()
        for name in NAMES[:5]:
            assert (getattr(made, name) == getattr(whole, name)).all(), (scale_ns, name)
        has_flow = (made.flags & NO_FLOW) == 0
        assert (made.count[has_flow] == whole.count[has_flow]).all()
        if scale_ns < MINUTE:
            assert made.open_ns[0] == handover
        else:
            assert made.open_ns[0] < handover


def test_warming_up_comes_first() -> None:
    batch = trades(1)
    bars = aggregator()
    bars.on_trades(batch)
    with pytest.raises(ValueError, match="before the first trade"):
        bars.warm_up(klines(batch, START, START + MINUTE))
