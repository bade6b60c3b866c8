"""Law 1 and law 3 on event bars of every rule, and a second opinion on each of them."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.bars import BarAggregator
from bot.core.event_rules import parse_event_rule
from bot.domain.market import EventBarBatch, TradeBatch, is_same
from tests.support.bars_reference import ReferenceTrade
from tests.support.batches import INSTRUMENT, cut, join, trades_of
from tests.support.event_batches import (
    KINDS,
    event_bars,
    plain,
    reference_arrivals,
    reference_bars,
    scan_arrivals,
    scan_of,
)
from tests.support.examples import examples

# Sizes that small random markets reach often: trades of 1 to 9 steps of 0.001 at 90 to 110 ticks of 0.1.
SIZES = {"tick": ["1", "2", "5", "8"], "volume": ["0.001", "0.01", "0.0205", "0.05"], "dollar": ["0.01", "0.1", "0.35"]}

places = st.lists(st.integers(0, 130), max_size=6)

arrivals = st.tuples(
    st.sampled_from([0, 0, 0, 1, 3, 40]),  # how long after the newest so far
    st.sampled_from([0, 0, 0, 0, 2, 30]),  # and how much before it
    st.integers(90, 110),
    st.integers(1, 9),
    st.booleans(),
)


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Return a rule of any kind."""
    kind = draw(st.sampled_from(KINDS))
    text = f"{kind}:{draw(st.sampled_from(SIZES[kind.partition('_')[0]]))}"
    if "_" in kind:
        text += draw(st.sampled_from(["", ",span=1", ",span=3,min=0.1,max=9", ",min=1,max=1", ",span=7,max=1.5"]))
    return text


@st.composite
def trades(draw: st.DrawFn, rows_max: int = 120) -> TradeBatch:
    """Return trades with equal times and disorder, sometimes all of one side."""
    one_side = draw(st.sampled_from([None, None, None, True, False]))
    now = 1_000
    rows = []
    for step, late, price, qty, is_buy in draw(st.lists(arrivals, min_size=1, max_size=rows_max)):
        now += step
        side = is_buy if one_side is None else one_side
        rows.append(ReferenceTrade(ts_ns=now - late, price=price, qty=qty, is_buy=side))
    return trades_of(rows)


@given(batch=trades(), rule=rules(), places=places, lateness_ns=st.sampled_from([0, 1, 25]))
@settings(max_examples=examples(300), deadline=None)
def test_event_bars_do_not_depend_on_the_cut(batch: TradeBatch, rule: str, places: list[int], lateness_ns: int) -> None:
    """In one piece, one row at a time as live, and cut anywhere, also into empty pieces."""
    whole = event_bars(batch, rule, lateness_ns=lateness_ns)
    for edges in (places, range(1, len(batch))):
        assert is_same(event_bars(batch, rule, places=edges, lateness_ns=lateness_ns), whole)


@given(batch=trades(), rule=rules(), lateness_ns=st.sampled_from([0, 25]))
@settings(max_examples=examples(300), deadline=None)
def test_event_bars_are_those_of_the_reference(batch: TradeBatch, rule: str, lateness_ns: int) -> None:
    """Every bar, every column, of every rule."""
    made = event_bars(batch, rule, lateness_ns=lateness_ns)
    assert plain(made) == reference_bars(batch, rule, lateness_ns=lateness_ns)


@given(batch=trades(rows_max=40), rule=rules(), data=st.data())
@settings(max_examples=examples(80), deadline=None)
def test_watermarks_between_trades_only_ever_make_bars_known_later(
    batch: TradeBatch, rule: str, data: st.DataObject
) -> None:
    """As the reference has it, and the bars themselves stay what they are."""
    told: list[ReferenceTrade] = []
    newest_ns = 0
    for part in cut(batch, range(1, len(batch))):
        newest_ns = max(newest_ns, int(part.ts_ns[0]))
        told.append(
            ReferenceTrade(
                ts_ns=int(part.ts_ns[0]),
                price=int(part.price_ticks[0]),
                qty=int(part.qty_steps[0]),
                is_buy=bool(part.is_buy[0]),
            )
        )
        if data.draw(st.booleans(), label="told"):
            told.append(ReferenceTrade(ts_ns=newest_ns + data.draw(st.integers(-9, 9), label="ahead")))
    made = scan_arrivals(scan_of(rule, lateness_ns=3), told)
    assert plain(made) == reference_arrivals(told, rule, lateness_ns=3)
    alone = event_bars(batch, rule, lateness_ns=3)
    assert (made.known_ns >= alone.known_ns).all()
    assert is_same(replace(made, known_ns=alone.known_ns), alone)


@given(batch=trades(), rule=rules())
@settings(max_examples=examples(100), deadline=None)
def test_every_trade_up_to_the_last_closed_bar_is_in_exactly_one(batch: TradeBatch, rule: str) -> None:
    """Bars take the trades in turn, and their sums are those of the trades."""
    bars = event_bars(batch, rule)
    end = int(bars.count.sum())
    assert end <= len(batch)
    taken = batch.rows(0, end)
    assert int(bars.volume_steps.sum()) == int(taken.qty_steps.sum())
    assert int(bars.turnover.sum()) == int((taken.qty_steps * taken.price_ticks).sum())
    assert int(bars.buy_steps.sum()) == int((taken.qty_steps * taken.is_buy).sum())
    assert (np.diff(bars.known_ns) >= 0).all()
    assert (bars.count >= 1).all()


@given(batch=trades(), other=trades(), keep=st.integers(1, 120), rule=rules())
@settings(max_examples=examples(150), deadline=None)
def test_the_future_changes_no_event_bar_that_was_known(
    batch: TradeBatch, other: TradeBatch, keep: int, rule: str
) -> None:
    """Keep the first trades and replace all later ones: bars that these had closed stay, though one batch holds all."""
    keep = min(keep, len(batch))
    past = batch.rows(0, keep)
    now_ns = int(past.ts_ns.max())
    later = replace(other, ts_ns=other.ts_ns - other.ts_ns.min() + now_ns, first_row=keep)
    changed = event_bars(TradeBatch.join([past, later]), rule)
    closed = len(event_bars(past, rule))
    assert is_same(changed.rows(0, closed), event_bars(batch, rule).rows(0, closed))


@given(batch=trades(), rule=rules(), places=places, lateness_ns=st.sampled_from([0, 5]))
@settings(max_examples=examples(100), deadline=None)
def test_the_slabs_of_an_aggregator_hold_the_same_bars_and_keep_their_promise(
    batch: TradeBatch, rule: str, places: list[int], lateness_ns: int
) -> None:
    """Beside time bars, in any cut; none is known before the watermark of a slab before it."""
    bars = BarAggregator(INSTRUMENT, scales_ns=(10,), lateness_ns=lateness_ns, gap_max_ns=2**61, event_rules=[rule])
    made: list[EventBarBatch] = []
    promised_ns = 0
    for part in cut(batch, places):
        slab = bars.on_trades(part)
        for event in slab.event_bars.values():
            assert len(event)
            assert (event.known_ns >= promised_ns).all()
            made.append(event)
        promised_ns = slab.watermark_ns
    whole = event_bars(batch, rule, lateness_ns=lateness_ns)
    assert is_same(join(made), whole) if made else not len(whole)


@given(rule=rules())
@settings(max_examples=examples(100), deadline=None)
def test_a_rule_reads_back_from_its_text(rule: str) -> None:
    assert parse_event_rule(str(parse_event_rule(rule))) == parse_event_rule(rule)
