"""Trades, or smaller bars, to closed bars of every scale: the rules of `bot/core/bars.py`, one by one."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.bars import BarAggregator
from bot.domain.errors import DataError
from bot.domain.market import EMPTY, GAP, NO_FLOW, PARTIAL, BarBatch, MarketSlab
from tests.support.bars_reference import ReferenceBar, ReferenceTrade, bars_of_bars, bars_of_trades
from tests.support.batches import INSTRUMENT, bars_of, cut, join_bars, trades_of

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
START = 1_700_000_040 * SECOND  # on a minute, 2023-11-14T22:14:00Z
FOREVER = 2**61


def trade(ts_ns: int, price: int = 100, qty: int = 1, *, is_buy: bool = False) -> ReferenceTrade:
    return ReferenceTrade(ts_ns=ts_ns, price=price, qty=qty, is_buy=is_buy)


def aggregator(*scales_ns: int, lateness_ns: int = 0, gap_max_ns: int = FOREVER, **source: int) -> BarAggregator:
    return BarAggregator(INSTRUMENT, scales_ns=scales_ns, lateness_ns=lateness_ns, gap_max_ns=gap_max_ns, **source)


def run(bars: BarAggregator, arrivals: Sequence[ReferenceTrade]) -> list[MarketSlab]:
    """Feed runs of trades as batches and watermarks between them."""
    slabs: list[MarketSlab] = []
    waiting: list[ReferenceTrade] = []
    row = 0
    for arrival in [*arrivals, None]:
        if arrival is not None and arrival.qty is not None:
            waiting.append(arrival)
            continue
        if waiting:
            slabs.append(bars.on_trades(trades_of(waiting, first_row=row)))
            row += len(waiting)
            waiting = []
        if arrival is not None:
            slabs.append(bars.on_watermark(arrival.ts_ns))
    return slabs


def watermark(ts_ns: int) -> ReferenceTrade:
    return ReferenceTrade(ts_ns=ts_ns)


def plain(bars: BarBatch) -> list[ReferenceBar]:
    """Return a batch as the reference writes bars."""
    columns = (
        bars.open_ns,
        bars.open_ticks,
        bars.high_ticks,
        bars.low_ticks,
        bars.close_ticks,
        bars.volume_steps,
        bars.turnover,
        bars.count,
        bars.buy_steps,
        bars.flags,
    )
    names = ("open_ns", "open", "high", "low", "close", "volume", "turnover", "count", "buy", "flags")
    return [
        ReferenceBar(**dict(zip(names, row, strict=True)))
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]


def one_bar(bars: BarAggregator, arrivals: Sequence[ReferenceTrade], scale_ns: int) -> ReferenceBar:
    (bar,) = plain(join_bars(run(bars, arrivals))[scale_ns])
    return bar


# --- intervals --------------------------------------------------------------------------------------------------------


def test_a_trade_exactly_on_a_minute_opens_it() -> None:
    """Intervals are [open, open + scale): the last ns belongs to the bar, the next to the one after."""
    arrivals = [
        trade(START, 100),
        trade(START + MINUTE - 1, 105),
        trade(START + MINUTE, 90),
        trade(START + 2 * MINUTE, 200),
    ]
    first, second = plain(join_bars(run(aggregator(MINUTE), arrivals))[MINUTE])
    assert (first.open_ns, first.open, first.high, first.low, first.close) == (START, 100, 105, 100, 105)
    assert (second.open_ns, second.open, second.close, second.count) == (START + MINUTE, 90, 90, 1)


@pytest.mark.parametrize("scale_ns", [7 * SECOND, 15 * MINUTE, 4 * HOUR])
def test_intervals_are_aligned_to_the_epoch(scale_ns: int) -> None:
    """Wherever the data starts, a bar opens on a whole multiple of its scale since 1970."""
    arrivals = [trade(START + 1), trade(START + 3 * scale_ns + 1)]
    bars = join_bars(run(aggregator(scale_ns), arrivals))[scale_ns]
    assert not (bars.open_ns % scale_ns).any()
    assert bars.open_ns[0] <= START + 1 < bars.open_ns[0] + scale_ns


def test_nothing_precedes_the_first_trade() -> None:
    """The first bar is the first trade's own; what is older than its interval has no bar and is counted as late."""
    bars = aggregator(SECOND, lateness_ns=10 * SECOND)
    slabs = run(bars, [trade(START + 5 * SECOND, 100), trade(START + 4 * SECOND, 1), trade(START + 17 * SECOND, 100)])
    made = plain(join_bars(slabs)[SECOND])
    assert made[0].open_ns == START + 5 * SECOND
    assert min(bar.low for bar in made) == 100
    assert bars.late_count == 1


def test_the_finest_bar_starts_with_the_first_trade_wherever_in_it() -> None:
    """Only a coarser bar needs its beginning; the base bar of the first trade is made of what there is."""
    bars = plain(join_bars(run(aggregator(MINUTE), [trade(START + 40 * SECOND), trade(START + MINUTE)]))[MINUTE])
    assert [bar.open_ns for bar in bars] == [START]


# --- closing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lateness_ns", [0, 1, 250_000_000, 3 * SECOND])
def test_a_bar_closes_when_the_watermark_reaches_its_close_plus_lateness(lateness_ns: int) -> None:
    """One ns earlier it is still open; at that very ns it is there."""
    for tell in (trade, watermark):
        bars = aggregator(SECOND, lateness_ns=lateness_ns)
        closes_ns = START + SECOND + lateness_ns
        assert not run(bars, [trade(START)])[0].bars
        assert not run(bars, [tell(closes_ns - 1)])[0].bars
        assert len(run(bars, [tell(closes_ns)])[0].bars[SECOND]) == 1


@pytest.mark.parametrize("lateness_ns", [0, 250_000_000])
def test_a_bar_is_known_from_its_close_plus_lateness_on(lateness_ns: int) -> None:
    """Of every scale alike, never earlier and not later, from trades and from bars."""
    of_trades = aggregator(SECOND, MINUTE, lateness_ns=lateness_ns)
    slabs = run(of_trades, [trade(START), trade(START + 3 * MINUTE)])
    of_bars = aggregator(SECOND, MINUTE, lateness_ns=lateness_ns, source_scale_ns=SECOND)
    source = [ReferenceBar(open_ns=START + n * SECOND, open=1, high=1, low=1, close=1) for n in range(180)]
    slabs_of_bars = [of_bars.on_bars(bars_of(source, scale_ns=SECOND))]
    for joined in (join_bars(slabs), join_bars(slabs_of_bars)):
        assert set(joined) == {SECOND, MINUTE}
        for scale_ns, bars in joined.items():
            assert (bars.known_ns == bars.open_ns + scale_ns + lateness_ns).all()
            assert (bars.known_ns == bars.close_ns + lateness_ns).all()


def test_all_scales_that_close_together_travel_together() -> None:
    """The message that closes a coarser bar also closes its last smaller one."""
    bars = aggregator(SECOND, MINUTE, lateness_ns=SECOND)
    run(bars, [trade(START), watermark(START + MINUTE + SECOND - 1)])
    slab = bars.on_watermark(START + MINUTE + SECOND)
    assert {scale_ns: len(made) for scale_ns, made in slab.bars.items()} == {SECOND: 1, MINUTE: 1}


def test_a_watermark_closes_quiet_intervals() -> None:
    """Nothing has to trade for a bar to close; the ones after the last trade are flat and EMPTY."""
    bars = aggregator(SECOND)
    slabs = run(bars, [trade(START, 123), watermark(START + 3 * SECOND)])
    made = plain(join_bars(slabs)[SECOND])
    assert [bar.flags for bar in made] == [0, EMPTY, EMPTY]
    assert slabs[-1].watermark_ns == START + 3 * SECOND


def test_a_watermark_that_goes_back_changes_nothing() -> None:
    """Watermarks only ever promise more: an older one reopens nothing and closes nothing."""
    bars = aggregator(SECOND, lateness_ns=SECOND)
    run(bars, [trade(START), watermark(START + 5 * SECOND)])
    assert not bars.on_watermark(START).bars
    assert bars.on_trades(trades_of([trade(START + 3 * SECOND)])).late_trades == 1


def test_watermarks_of_slabs_never_go_back() -> None:
    """What a watermark has promised, the trades after it do not take back, even those that are late or just in time."""
    bars = aggregator(SECOND, lateness_ns=2 * SECOND)
    arrivals = [
        trade(START),
        watermark(START + 9 * SECOND),
        trade(START + 8 * SECOND),
        trade(START + SECOND),
        watermark(START + 7 * SECOND),
        trade(START + 9 * SECOND + 1),
    ]
    promised_ns = 0
    for slab in run(bars, arrivals):
        for made in slab.bars.values():
            assert (made.known_ns >= promised_ns).all()
        if slab.trades is not None:
            assert slab.watermark_ns >= promised_ns
        promised_ns = max(promised_ns, slab.watermark_ns)
    assert promised_ns == START + 9 * SECOND + 1


def test_a_watermark_before_the_first_trade_counts() -> None:
    """A trade older than an explicit watermark allows is late, also where it would be the first of all."""
    bars = aggregator(SECOND)
    first = bars.on_watermark(START + 10 * SECOND)
    second = bars.on_trades(trades_of([trade(START), trade(START + 12 * SECOND), trade(START + 14 * SECOND)]))
    assert not first.bars
    assert second.late_trades == 1
    assert second.bars[SECOND].open_ns[0] == START + 12 * SECOND


@pytest.mark.parametrize("lateness_ns", [0, 1, SECOND, 3 * SECOND + 5])
def test_the_first_interval_that_a_watermark_leaves_open_takes_the_first_trade(lateness_ns: int) -> None:
    """Its very first ns belongs to it; one ns earlier is late, and no bar precedes the first trade taken."""
    watermark_ns = START + 10 * SECOND + lateness_ns
    for ts_ns, late_count in ((START + 10 * SECOND - 1, 1), (START + 10 * SECOND, 0)):
        bars = aggregator(SECOND, lateness_ns=lateness_ns)
        bars.on_watermark(watermark_ns)
        bars.on_trades(trades_of([trade(ts_ns, 77)]))
        assert bars.late_count == late_count
        slab = bars.on_watermark(watermark_ns + SECOND)
        made = plain(slab.bars[SECOND]) if slab.bars else []
        assert [(bar.open_ns, bar.open) for bar in made] == ([] if late_count else [(START + 10 * SECOND, 77)])


def test_a_watermark_alone_makes_no_bar() -> None:
    """Without a single price there is nothing to say, however long it takes."""
    bars = aggregator(SECOND, MINUTE)
    assert not bars.on_watermark(START).bars
    assert not bars.on_watermark(START + HOUR).bars


def test_the_bar_that_is_forming_at_the_end_is_not_made() -> None:
    """What the source's end cuts off has no closed bar, from trades and from bars."""
    made = join_bars(run(aggregator(SECOND, MINUTE), [trade(START), trade(START + 2 * MINUTE - 1)]))
    assert made[MINUTE].open_ns.tolist() == [START]
    assert made[SECOND].open_ns[-1] == START + 2 * MINUTE - 2 * SECOND
    source = [ReferenceBar(open_ns=START + n * SECOND, open=1, high=1, low=1, close=1) for n in range(119)]
    of_bars = aggregator(SECOND, MINUTE, source_scale_ns=SECOND)
    made = join_bars([of_bars.on_bars(bars_of(source, scale_ns=SECOND)), of_bars.on_watermark(START + HOUR)])
    assert made[MINUTE].open_ns.tolist() == [START]
    assert len(made[SECOND]) == 119


# --- lateness and disorder --------------------------------------------------------------------------------------------


def test_trades_join_an_open_bar_in_any_order() -> None:
    """Open is the price of the earliest trade and close that of the latest, whenever they arrived."""
    arrivals = [
        trade(START + 500, 100, 2),
        trade(START + SECOND + 100, 300),  # the next bar: its interval is open at the same time
        trade(START + 900, 107, 3, is_buy=True),
        trade(START + 100, 95, 4),
        trade(START + 300, 120, 5, is_buy=True),
    ]
    bars = aggregator(SECOND, lateness_ns=SECOND)
    run(bars, arrivals)
    first, second = plain(join_bars([bars.on_watermark(START + 3 * SECOND)])[SECOND])
    assert (first.open, first.high, first.low, first.close) == (95, 120, 95, 107)
    assert (first.volume, first.count, first.buy) == (14, 4, 8)
    assert first.turnover == 100 * 2 + 107 * 3 + 95 * 4 + 120 * 5
    assert (second.open, second.close, second.count) == (300, 300, 1)
    assert bars.late_count == 0


def test_of_equal_times_the_first_to_arrive_opens_and_the_last_closes() -> None:
    """The venue's order settles what the clock cannot, also when both came out of order."""
    arrivals = [trade(START + 50, 7), trade(START, 1), trade(START, 2), trade(START + 50, 8), trade(START, 3)]
    bar = one_bar(aggregator(SECOND, lateness_ns=SECOND), [*arrivals, watermark(START + 2 * SECOND)], SECOND)
    assert (bar.open, bar.close) == (1, 8)


def test_late_trades_change_no_bar_and_are_counted() -> None:
    """A trade whose interval has closed is left out, whatever it says, and the slab it came in says so."""
    bars = aggregator(SECOND, lateness_ns=500)
    before = run(bars, [trade(START, 100), trade(START + SECOND + 500, 100)])
    assert [bar.low for bar in plain(join_bars(before)[SECOND])] == [100]
    late = bars.on_trades(trades_of([trade(START + SECOND - 1, 1), trade(START, 999), trade(START + SECOND, 50)]))
    assert late.late_trades == 2
    assert bars.late_count == 2
    (second,) = plain(join_bars([bars.on_watermark(START + 2 * SECOND + 500)])[SECOND])
    assert (second.open, second.high, second.low, second.close, second.count) == (50, 100, 50, 100, 2)


def test_a_late_trade_among_others_of_one_batch_is_counted_once() -> None:
    """A stretch of late trades of one closed interval, then one in time, then late ones again."""
    late = [trade(START + n) for n in range(5)]
    arrivals = [trade(START), trade(START + 5 * SECOND), *late, trade(START + 5 * SECOND + 1), *late]
    bars = aggregator(SECOND)
    slabs = run(bars, arrivals)
    assert (slabs[0].late_trades, bars.late_count) == (10, 10)


def test_a_trade_that_closes_its_predecessors_bar_may_be_followed_by_one_of_it() -> None:
    """The interval last written to may have closed meanwhile: a trade that falls into it again is late."""
    bars = aggregator(SECOND)
    slabs = run(
        bars, [trade(START), trade(START + 1), trade(START + SECOND), trade(START + 2), watermark(START + HOUR)]
    )
    assert bars.late_count == 1
    assert [bar.count for bar in plain(join_bars(slabs)[SECOND])][:2] == [2, 1]


# --- empty and missing ------------------------------------------------------------------------------------------------


def test_an_interval_without_trades_is_flat_at_the_previous_close() -> None:
    """All four prices repeat the last close, all sums are zero, and the flag says EMPTY and nothing else."""
    slabs = run(aggregator(SECOND), [trade(START, 100), trade(START + 1, 97), trade(START + 4 * SECOND, 200)])
    made = plain(join_bars(slabs)[SECOND])
    assert made[1:] == [
        ReferenceBar(open_ns=START + n * SECOND, open=97, high=97, low=97, close=97, flags=EMPTY) for n in (1, 2, 3)
    ]


def source_bars(*rows: tuple[int, int, int, int, int, int]) -> list[ReferenceBar]:
    """Return 1 s bars from (second, open, high, low, close, flags)."""
    return [
        ReferenceBar(
            open_ns=START + second * SECOND,
            open=o,
            high=h,
            low=low,
            close=c,
            volume=1,
            turnover=c,
            count=1,
            flags=flags,
        )
        for second, o, h, low, c, flags in rows
    ]


def test_a_hole_in_a_source_of_bars_becomes_flat_bars_marked_empty_and_gap() -> None:
    """Unknown is not quiet: the bars say both, are flat at the previous close and carry no volume."""
    bars = aggregator(SECOND, source_scale_ns=SECOND)
    slab = bars.on_bars(bars_of(source_bars((0, 10, 12, 9, 11, 0), (3, 20, 20, 20, 20, 0)), scale_ns=SECOND))
    made = plain(slab.bars[SECOND])
    assert made[1:3] == [
        ReferenceBar(open_ns=START + n * SECOND, open=11, high=11, low=11, close=11, flags=EMPTY | GAP) for n in (1, 2)
    ]
    assert (made[3].open_ns, made[3].flags) == (START + 3 * SECOND, 0)


def test_a_hole_between_two_batches_of_bars_is_filled_as_well() -> None:
    """The close that fills it is remembered from the batch before."""
    bars = aggregator(SECOND, source_scale_ns=SECOND)
    bars.on_bars(bars_of(source_bars((0, 10, 12, 9, 11, 0)), scale_ns=SECOND))
    slab = bars.on_bars(bars_of(source_bars((3, 20, 20, 20, 20, 0)), scale_ns=SECOND, first_row=1))
    assert [(bar.close, bar.flags) for bar in plain(slab.bars[SECOND])] == [(11, EMPTY | GAP)] * 2 + [(20, 0)]
    assert slab.bars[SECOND].first_row == 1


GAP_MAX = 6 * HOUR


def hole_in_trades(length_ns: int) -> MarketSlab:
    """Return the bars around a stretch of `length_ns` without a trade."""
    bars = aggregator(MINUTE, gap_max_ns=GAP_MAX)
    return bars.on_trades(trades_of([trade(START), trade(START + length_ns), trade(START + length_ns + MINUTE)]))


def hole_in_bars(length_ns: int) -> MarketSlab:
    """Return the bars around a stretch of `length_ns` that no bar of the source covers."""
    bars = aggregator(MINUTE, gap_max_ns=GAP_MAX, source_scale_ns=MINUTE)
    opens_ns = START - MINUTE, START + length_ns
    source = [ReferenceBar(open_ns=open_ns, open=5, high=5, low=5, close=5) for open_ns in opens_ns]
    return bars.on_bars(bars_of(source, scale_ns=MINUTE))


@pytest.mark.parametrize("hole", [hole_in_trades, hole_in_bars])
def test_a_hole_as_long_as_gap_max_is_filled(hole: Any) -> None:
    """The longest hole allowed is allowed."""
    assert len(hole(GAP_MAX).bars[MINUTE]) > GAP_MAX // MINUTE


@pytest.mark.parametrize("hole", [hole_in_trades, hole_in_bars])
def test_a_hole_longer_than_gap_max_is_an_error(hole: Any) -> None:
    """One interval more is refused in one line that names the setting, and two ways out."""
    with pytest.raises(DataError, match=r"bars\.gap_max") as caught:
        hole(GAP_MAX + MINUTE)
    message = str(caught.value)
    assert "\n" not in message
    assert "--from" in message
    assert "raise bars.gap_max" in message


@pytest.mark.parametrize("hole", [hole_in_trades, hole_in_bars])
def test_the_error_of_a_hole_says_where_it_is_and_how_long(hole: Any) -> None:
    """The instrument, the time after which nothing is there, and for how long nothing is."""
    with pytest.raises(DataError) as caught:
        hole(8 * HOUR)
    message = str(caught.value)
    assert "8.0 h after 2023-11-14T22:14:00Z" in message
    assert INSTRUMENT.name in message


def test_a_watermark_far_away_is_a_hole_too() -> None:
    """No one gets a day of flat bars because the clock jumped."""
    bars = aggregator(MINUTE, gap_max_ns=GAP_MAX)
    bars.on_trades(trades_of([trade(START)]))
    with pytest.raises(DataError, match=r"bars\.gap_max"):
        bars.on_watermark(START + 2 * GAP_MAX)


def test_a_time_far_in_the_future_is_refused_and_not_filled_up_to() -> None:
    """A time stamp in the wrong unit must not ask for all the memory there is."""
    bars = aggregator(SECOND, gap_max_ns=72 * HOUR)
    bars.on_trades(trades_of([trade(START)]))
    with pytest.raises(DataError, match=r"bars\.gap_max"):
        bars.on_trades(trades_of([trade(START * 5)]))


def test_bars_that_repeat_or_leave_their_grid_are_refused() -> None:
    """The filler is told so by a DataError, also where the repetition lies between two batches."""
    once = source_bars((0, 1, 1, 1, 1, 0))
    repeated = aggregator(SECOND, source_scale_ns=SECOND)
    repeated.on_bars(bars_of(once, scale_ns=SECOND))
    with pytest.raises(DataError, match=r"XUSDT: .*repeat"):
        repeated.on_bars(bars_of(once, scale_ns=SECOND, first_row=1))
    off = [ReferenceBar(open_ns=START + 1, open=1, high=1, low=1, close=1)]
    with pytest.raises(DataError, match=r"XUSDT: .*grid"):
        aggregator(SECOND, source_scale_ns=SECOND).on_bars(bars_of(off, scale_ns=SECOND))


# --- coarser bars -----------------------------------------------------------------------------------------------------


def test_sixty_1s_bars_are_the_1m_bar() -> None:
    """From one and the same trades: folded alongside, folded from the 1 s bars alone, and folded by the reference."""
    generator = np.random.default_rng(3)
    ts_ns = START + np.sort(generator.integers(0, 20 * MINUTE, 3_000))
    arrivals = [
        trade(int(ts), int(price), int(qty), is_buy=bool(buy))
        for ts, price, qty, buy in zip(
            ts_ns, generator.integers(90, 110, 3_000), generator.integers(1, 9, 3_000), ts_ns % 2, strict=True
        )
    ]
    arrivals[0] = trade(START)
    made = join_bars(run(aggregator(SECOND, MINUTE, 5 * MINUTE), [*arrivals, watermark(START + 20 * MINUTE)]))
    assert len(made[MINUTE]) == 20
    again = aggregator(MINUTE, 5 * MINUTE, source_scale_ns=SECOND).on_bars(made[SECOND])
    for scale_ns in (MINUTE, 5 * MINUTE):
        assert plain(again.bars[scale_ns]) == plain(made[scale_ns])
        straight, _ = bars_of_trades(
            [*arrivals, watermark(START + 20 * MINUTE)], base_ns=scale_ns, scale_ns=scale_ns, lateness_ns=0
        )
        assert plain(made[scale_ns]) == [bar for bar in straight if bar.open_ns >= START]


def coarse(rows: Sequence[tuple[int, int, int, int, int, int]], seconds: int = 3) -> list[ReferenceBar]:
    scale_ns = seconds * SECOND
    slab = aggregator(scale_ns, source_scale_ns=SECOND).on_bars(bars_of(source_bars(*rows), scale_ns=SECOND))
    return plain(slab.bars[scale_ns]) if slab.bars else []


# START is a multiple of 60 s, so three 1 s bars from there make one 3 s bar.
@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([(0, 5, 5, 5, 5, EMPTY), (1, 10, 12, 8, 9, 0), (2, 9, 9, 9, 9, EMPTY)], (10, 12, 8, 9)),
        ([(0, 5, 5, 5, 5, EMPTY), (1, 5, 5, 5, 5, EMPTY), (2, 9, 11, 7, 8, 0)], (9, 11, 7, 8)),
        pytest.param(
            [(0, 5, 6, 4, 5, 0), (1, 99, 99, 99, 99, EMPTY), (2, 1, 1, 1, 1, EMPTY)], (5, 6, 4, 5), id="first"
        ),
        ([(0, 5, 6, 4, 5, 0), (1, 99, 99, 99, 99, EMPTY), (2, 7, 9, 3, 8, 0)], (5, 9, 3, 8)),
    ],
)
def test_empty_bars_count_for_nothing_in_a_coarser_one(
    rows: list[tuple[int, int, int, int, int, int]], told: tuple[int, int, int, int]
) -> None:
    """Open, high, low and close are those of the bars that traded, whatever the flat ones say."""
    (bar,) = coarse(rows)
    assert (bar.open, bar.high, bar.low, bar.close) == told
    assert not bar.flags


def test_a_coarser_bar_of_empty_ones_alone_is_empty_and_flat() -> None:
    """If nothing traded, the flat price is all there is to say."""
    rows = [(0, 5, 5, 5, 5, EMPTY), (1, 5, 5, 5, 5, EMPTY), (2, 5, 5, 5, 5, EMPTY)]
    (bar,) = coarse(rows)
    assert (bar.open, bar.high, bar.low, bar.close, bar.flags) == (5, 5, 5, 5, EMPTY)


T, E, G, P = 0, EMPTY, EMPTY | GAP, PARTIAL


@pytest.mark.parametrize(
    ("flags", "want"),
    [
        ((T, T, T), 0),
        ((T, E, T), 0),
        ((E, E, E), EMPTY),
        ((G, T, T), PARTIAL),
        ((T, G, T), PARTIAL),
        ((T, T, G), PARTIAL),
        ((G, G, T), PARTIAL),
        ((G, E, E), EMPTY | PARTIAL),
        ((G, G, G), EMPTY | GAP),
        ((P, T, T), PARTIAL),
        ((T, T, P), PARTIAL),
        ((P, G, E), PARTIAL),
        ((NO_FLOW, NO_FLOW, NO_FLOW), NO_FLOW),
        ((NO_FLOW, T, T), NO_FLOW),
        ((T, T, NO_FLOW), NO_FLOW),
        ((NO_FLOW, G, NO_FLOW), NO_FLOW | PARTIAL),
        ((NO_FLOW | P, T, T), NO_FLOW | PARTIAL),
        ((NO_FLOW | E, NO_FLOW | E, NO_FLOW | E), NO_FLOW | EMPTY),
    ],
)
def test_what_a_coarser_bar_says_of_its_parts(flags: tuple[int, int, int], want: int) -> None:
    """EMPTY or GAP where all are, PARTIAL where some are missing or themselves PARTIAL, NO_FLOW where any is."""
    (bar,) = coarse([(n, 5, 5, 5, 5, flag) for n, flag in enumerate(flags)])
    assert bar.flags == want


def test_flags_do_not_leak_from_one_coarser_bar_into_the_next() -> None:
    """Each starts from nothing."""
    rows = [(0, 5, 5, 5, 5, G), (1, 5, 5, 5, 5, NO_FLOW), (2, 5, 5, 5, 5, P)]
    rows += [(n, 7, 7, 7, 7, 0) for n in (3, 4, 5)]
    assert [(bar.flags, bar.open, bar.volume) for bar in coarse(rows)] == [(NO_FLOW | PARTIAL, 5, 3), (0, 7, 3)]


def test_a_hole_makes_the_coarser_bars_around_it_partial_and_those_within_it_gaps() -> None:
    """A filled hole is told at every scale."""
    rows = [(0, 10, 10, 10, 10, 0), (10, 20, 20, 20, 20, 0), (11, 21, 21, 21, 21, 0)]
    assert [(bar.flags, bar.open, bar.close) for bar in coarse(rows)] == [
        (PARTIAL, 10, 10),
        (EMPTY | GAP, 10, 10),
        (EMPTY | GAP, 10, 10),
        (PARTIAL, 20, 21),
    ]


@pytest.mark.parametrize("first", [1, 2])
def test_a_coarser_bar_whose_beginning_is_not_covered_is_not_made(first: int) -> None:
    """From bars and from trades alike, the first coarser bar is the first whole one."""
    rows = [(n, 5, 5, 5, 5, 0) for n in range(first, 6)]
    assert [bar.open_ns for bar in coarse(rows)] == [START + 3 * SECOND]
    arrivals = [trade(START + n * SECOND) for n in range(first, 7)]
    made = join_bars(run(aggregator(SECOND, 3 * SECOND), arrivals))
    assert made[3 * SECOND].open_ns.tolist() == [START + 3 * SECOND]
    assert made[3 * SECOND].first_row == 0


def test_a_coarser_bar_is_of_base_bars_even_where_their_scale_is_not_asked_for() -> None:
    """2 m and 3 m bars meet in 1 m ones, which nobody sees."""
    arrivals = [trade(START + n * 10 * SECOND, 100 + n) for n in range(200)]
    made = join_bars(run(aggregator(2 * MINUTE, 3 * MINUTE), arrivals))
    assert set(made) == {2 * MINUTE, 3 * MINUTE}
    for scale_ns, bars in made.items():
        assert not (bars.open_ns % scale_ns).any()
        reference, _ = bars_of_trades(arrivals, base_ns=MINUTE, scale_ns=scale_ns, lateness_ns=0)
        assert plain(bars) == reference


def test_no_flow_stays_and_its_sums_are_zero() -> None:
    """Turnover, count and buy volume of a source that does not tell them stay zero; volume is told."""
    source = [
        ReferenceBar(open_ns=START + n * SECOND, open=5, high=5, low=5, close=5, volume=7, flags=NO_FLOW)
        for n in range(3)
    ]
    bars = aggregator(3 * SECOND, source_scale_ns=SECOND).on_bars(bars_of(source, scale_ns=SECOND)).bars[3 * SECOND]
    assert plain(bars) == [
        ReferenceBar(open_ns=START, open=5, high=5, low=5, close=5, volume=21, flags=NO_FLOW),
    ]
    assert np.isnan(bars.vwaps).all()


# --- sums and what travels along --------------------------------------------------------------------------------------


def test_vwap_is_turnover_over_volume_exactly() -> None:
    """In quote currency per base unit, from exact integers; NaN where nothing traded."""
    arrivals = [trade(START, 1_000, 3), trade(START + 1, 1_003, 1), trade(START + 2 * SECOND, 5)]
    bars = join_bars(run(aggregator(SECOND), arrivals))[SECOND]
    assert bars.turnover.tolist() == [4_003, 0]
    assert bars.vwaps[0] == float(Decimal(4_003) / 4 * INSTRUMENT.tick_size)
    assert np.isnan(bars.vwaps[1])


def test_a_slab_carries_what_came_in_and_what_it_promises() -> None:
    """The trades themselves, the watermark, and of bars the source's own."""
    batch = trades_of([trade(START), trade(START + 9), trade(START + 5)])
    slab = aggregator(SECOND).on_trades(batch)
    assert slab.trades is batch
    assert (slab.watermark_ns, slab.base_bars) == (START + 9, None)
    source = bars_of(source_bars((0, 1, 1, 1, 1, 0)), scale_ns=SECOND)
    of_bars = aggregator(SECOND, lateness_ns=5, source_scale_ns=SECOND).on_bars(source)
    assert of_bars.base_bars is source
    assert (of_bars.watermark_ns, of_bars.trades) == (START + SECOND + 5, None)


def test_empty_batches_change_nothing() -> None:
    """Before the first row and after it, from trades and from bars."""
    bars = aggregator(SECOND)
    nothing = trades_of([])
    assert not bars.on_trades(nothing).bars
    bars.on_trades(trades_of([trade(START)]))
    slab = bars.on_trades(nothing)
    assert (slab.bars, slab.late_trades, slab.watermark_ns) == ({}, 0, START)
    of_bars = aggregator(SECOND, source_scale_ns=SECOND)
    no_bars = bars_of([], scale_ns=SECOND)
    assert not of_bars.on_bars(no_bars).bars
    of_bars.on_bars(bars_of(source_bars((0, 1, 1, 1, 1, 0)), scale_ns=SECOND))
    assert of_bars.on_bars(no_bars).watermark_ns == START + SECOND


def test_a_batch_that_is_fed_is_not_written_to() -> None:
    """Slabs share memory with the venue's tape: a stage that scribbled on them would change the market."""
    rows = source_bars(*[(n, 5 + n, 9 + n, 1, 5, 0) for n in range(6)])
    batch = bars_of(rows, scale_ns=SECOND)
    slab = aggregator(SECOND, 3 * SECOND, source_scale_ns=SECOND).on_bars(batch)
    slab.bars[SECOND].close_ticks[:] = -1
    assert plain(batch) == rows


def test_who_keeps_coarse_bars_keeps_nothing_else() -> None:
    """They lie in memory of their own, not in that of the small bars or of the source."""
    rows = source_bars(*[(n, 5 + n, 9 + n, 1, 5, 0) for n in range(30)])
    source = bars_of(rows, scale_ns=SECOND)
    made = aggregator(SECOND, 3 * SECOND, 5 * SECOND, source_scale_ns=SECOND).on_bars(source).bars
    for coarse, *others in (
        (made[3 * SECOND], made[SECOND], made[5 * SECOND], source),
        (made[5 * SECOND], made[SECOND], made[3 * SECOND], source),
    ):
        for name in BarBatch.COLUMNS:
            assert not any(np.shares_memory(getattr(coarse, name), getattr(each, name)) for each in others), name
        base = coarse.close_ticks.base
        assert base is None or base.size == len(BarBatch.COLUMNS) * len(coarse)


def test_a_turnover_that_does_not_fit_is_refused_and_never_wraps() -> None:
    """No bar ever holds a turnover that went past 63 bits, not even one that many small messages made."""
    arrivals = [trade(START + row, 2**20, 2**40) for row in range(10)]  # 2**60 ticks x steps each
    bars = aggregator(SECOND)
    with pytest.raises(DataError, match="XUSDT"):
        join_bars([bars.on_trades(batch) for batch in cut(trades_of([*arrivals, trade(START + SECOND)]), range(1, 11))])


@pytest.mark.parametrize(
    ("scales_ns", "source_scale_ns", "words"),
    [
        ((), None, "positive"),
        ((0,), None, "positive"),
        ((MINUTE, -MINUTE), None, "positive"),
        ((90 * SECOND,), MINUTE, "cannot be made"),
        ((SECOND,), MINUTE, "cannot be made"),
    ],
)
def test_scales_that_cannot_be_made_are_refused(
    scales_ns: tuple[int, ...], source_scale_ns: int | None, words: str
) -> None:
    """When it is built, not when the first bar is due."""
    with pytest.raises(ValueError, match=words):
        BarAggregator(
            INSTRUMENT, scales_ns=scales_ns, lateness_ns=0, gap_max_ns=FOREVER, source_scale_ns=source_scale_ns
        )


def test_a_scale_named_twice_is_made_once() -> None:
    """A strategy and the config may ask for the same."""
    made = join_bars(run(aggregator(SECOND, SECOND), [trade(START), trade(START + SECOND)]))
    assert len(made[SECOND]) == 1


# --- all of it, against the plain reference ---------------------------------------------------------------------------

BASE = 10  # a tiny base bar, so that every boundary is hit often


@st.composite
def markets(draw: st.DrawFn) -> list[ReferenceTrade]:
    """Return trades and watermarks: quiet stretches, equal times, disorder within and beyond the lateness."""
    now = draw(st.integers(100, 200))
    arrivals = []
    for _ in range(draw(st.integers(1, 60))):
        now += draw(st.sampled_from([0, 0, 1, 3, 9, 10, 11, 35, 170]))
        late = draw(st.sampled_from([0, 0, 0, 0, 1, 5, 10, 30]))
        if draw(st.integers(0, 7)) == 0:
            arrivals.append(ReferenceTrade(ts_ns=now))
        else:
            price, qty = draw(st.integers(90, 110)), draw(st.integers(1, 5))
            arrivals.append(trade(now - late, price, qty, is_buy=draw(st.booleans())))
    return arrivals


@given(arrivals=markets(), lateness_ns=st.sampled_from([0, 1, 5, 9, 10, 11, 25, 40]))
@settings(max_examples=150, deadline=None)
def test_bars_of_trades_are_those_of_the_reference(arrivals: list[ReferenceTrade], lateness_ns: int) -> None:
    """Every column of every bar of every scale is exact, and so is the number of late trades."""
    scales_ns = (BASE, 3 * BASE, 6 * BASE)
    bars = aggregator(*scales_ns, lateness_ns=lateness_ns)
    made = join_bars(run(bars, arrivals))
    for scale_ns in scales_ns:
        want, late_count = bars_of_trades(arrivals, base_ns=BASE, scale_ns=scale_ns, lateness_ns=lateness_ns)
        assert (plain(made[scale_ns]) if scale_ns in made else []) == want
        assert bars.late_count == late_count


@st.composite
def sources(draw: st.DrawFn) -> list[ReferenceBar]:
    """Return a source's bars, with holes and flags."""
    open_ns = BASE * draw(st.integers(10, 20))
    rows = []
    for _ in range(draw(st.integers(1, 40))):
        low = draw(st.integers(50, 60))
        open_, close = draw(st.integers(low, 65)), draw(st.integers(low, 65))
        flags = draw(st.sampled_from([0, 0, 0, EMPTY, PARTIAL, NO_FLOW, EMPTY | GAP, NO_FLOW | PARTIAL]))
        if flags & EMPTY:
            row = ReferenceBar(open_ns=open_ns, open=low, high=low, low=low, close=low, flags=flags)
        else:
            high, volume = draw(st.integers(max(open_, close), 70)), draw(st.integers(1, 9))
            row = ReferenceBar(
                open_ns=open_ns,
                open=open_,
                high=high,
                low=low,
                close=close,
                volume=volume,
                turnover=volume * close,
                count=draw(st.integers(1, 4)),
                buy=draw(st.integers(0, volume)),
                flags=flags,
            )
        rows.append(row)
        open_ns += BASE * draw(st.sampled_from([1, 1, 1, 1, 2, 3, 14]))
    return rows


@given(source=sources(), places=st.lists(st.integers(0, 40), max_size=4))
@settings(max_examples=150, deadline=None)
def test_bars_of_bars_are_those_of_the_reference(source: list[ReferenceBar], places: list[int]) -> None:
    """Holes, flags and all, however the source is cut."""
    scales_ns = (BASE, 3 * BASE, 6 * BASE)
    bars = aggregator(*scales_ns, source_scale_ns=BASE)
    made = join_bars([bars.on_bars(batch) for batch in cut(bars_of(source, scale_ns=BASE), places)])
    for scale_ns in scales_ns:
        want = bars_of_bars(source, base_ns=BASE, scale_ns=scale_ns)
        assert (plain(made[scale_ns]) if scale_ns in made else []) == want
