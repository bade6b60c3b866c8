"""Trades, or smaller bars, to closed bars of every scale: the rules of `bot/core/bars.py`, one by one."""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest

from bot.core.bars import BarAggregator
from bot.domain.errors import DataError
from bot.domain.market import EMPTY
from tests.support.bars_reference import ReferenceBar, ReferenceTrade
from tests.support.batches import INSTRUMENT, bars_of, cut, join_bars, trades_of
from tests.support.made_bars import (
    FOREVER,
    HOUR,
    MINUTE,
    SECOND,
    START,
    aggregator,
    plain,
    run,
    source_bars,
    trade,
    watermark,
)


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
