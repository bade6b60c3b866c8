"""Coarser bars are made of the finest, and all bars are those of the plain reference."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.market import EMPTY, GAP, NO_FLOW, PARTIAL, BarBatch
from tests.support.bars_reference import ReferenceBar, ReferenceTrade, bars_of_bars, bars_of_trades
from tests.support.batches import bars_of, cut, join_bars
from tests.support.examples import examples
from tests.support.made_bars import MINUTE, SECOND, START, aggregator, plain, run, source_bars, trade, watermark

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
@settings(max_examples=examples(150), deadline=None)
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
@settings(max_examples=examples(150), deadline=None)
def test_bars_of_bars_are_those_of_the_reference(source: list[ReferenceBar], places: list[int]) -> None:
    """Holes, flags and all, however the source is cut."""
    scales_ns = (BASE, 3 * BASE, 6 * BASE)
    bars = aggregator(*scales_ns, source_scale_ns=BASE)
    made = join_bars([bars.on_bars(batch) for batch in cut(bars_of(source, scale_ns=BASE), places)])
    for scale_ns in scales_ns:
        want = bars_of_bars(source, base_ns=BASE, scale_ns=scale_ns)
        assert (plain(made[scale_ns]) if scale_ns in made else []) == want
