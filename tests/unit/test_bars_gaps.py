"""Bars where nothing traded and where the source has a hole."""

from typing import Any

import pytest

from bot.domain.errors import DataError
from bot.domain.market import EMPTY, GAP, MarketSlab
from tests.support.bars_reference import ReferenceBar
from tests.support.batches import INSTRUMENT, bars_of, join_bars, trades_of
from tests.support.made_bars import HOUR, MINUTE, SECOND, START, aggregator, plain, run, source_bars, trade


def test_an_interval_without_trades_is_flat_at_the_previous_close() -> None:
    """All four prices repeat the last close, all sums are zero, and the flag says EMPTY and nothing else."""
    slabs = run(aggregator(SECOND), [trade(START, 100), trade(START + 1, 97), trade(START + 4 * SECOND, 200)])
    made = plain(join_bars(slabs)[SECOND])
    assert made[1:] == [
        ReferenceBar(open_ns=START + n * SECOND, open=97, high=97, low=97, close=97, flags=EMPTY) for n in (1, 2, 3)
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
