"""Laws of what is known of liquidity: no cut changes it, and nothing in it is from the future."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.venue.impact import HOUR_NS, TradedHours
from bot.domain.market import BarBatch, TradeBatch
from tests.support.bars_reference import ReferenceBar, ReferenceTrade
from tests.support.batches import bars_of, cut, trades_of
from tests.support.examples import examples

MINUTE_NS = 60_000_000_000
Answer = tuple[int, float | None, int | None]

steps_ns = st.sampled_from([0, 1, HOUR_NS // 3, HOUR_NS - 1, HOUR_NS, 5 * HOUR_NS])
rows = st.lists(st.tuples(steps_ns, st.integers(90, 110), st.integers(0, 50), st.booleans()), max_size=30)
places = st.lists(st.integers(0, 30), max_size=6)
hours_asked = st.integers(1, 6)


def answers(hours: TradedHours, at_ns: int, count: int) -> Answer:
    return hours.volume(at_ns, count), hours.range_volatility(at_ns, count), hours.level_qty(at_ns, count)


def trades(told: list[tuple[int, int, int, bool]]) -> TradeBatch:
    ts_ns = np.cumsum([each[0] for each in told], dtype=np.int64).tolist()
    return trades_of(
        [ReferenceTrade(ts_ns=t, price=p, qty=q, is_buy=b) for t, (_, p, q, b) in zip(ts_ns, told, strict=True)]
    )


def bars(told: list[tuple[int, int, int, bool]]) -> BarBatch:
    made = []
    for n, (_, high, volume, _) in enumerate(told):
        low = high - volume % 4
        made.append(
            ReferenceBar(
                open_ns=n * 17 * MINUTE_NS, open=low, high=high, low=low, close=high, volume=volume, turnover=0,
                count=volume % 7, buy=0, flags=0,
            )
        )  # fmt: skip
    return bars_of(made, scale_ns=17 * MINUTE_NS)


def expected(told: list[tuple[int, int, int, bool]], at_ns: int, count: int) -> Answer:
    """Return the answers the slow way, from all rows at once."""
    inside, last = [], {True: 0, False: 0}
    ts_ns = 0
    for step_ns, price, qty, is_buy in told:
        ts_ns += step_ns
        if qty:
            if at_ns // HOUR_NS - count <= ts_ns // HOUR_NS < at_ns // HOUR_NS:
                inside.append((price, qty, price != last[is_buy]))
            last[is_buy] = price
    if not inside:
        return 0, None, None
    prices, volume = [price for price, _, _ in inside], sum(qty for _, qty, _ in inside)
    volatility = math.log(max(prices) / min(prices)) / math.sqrt(4 * math.log(2))
    return volume, volatility, math.ceil(volume / max(1, sum(is_new for _, _, is_new in inside)))


@given(told=rows, places=places, late=st.integers(0, 40), count=hours_asked)
@settings(max_examples=examples(150), deadline=None)
def test_trades_in_any_cut_are_the_slow_count(
    told: list[tuple[int, int, int, bool]], places: list[int], late: int, count: int
) -> None:
    """Also when old hours are forgotten on the way."""
    batch = trades(told)
    hours, at_ns = TradedHours(hours_max=6), 0
    for part in cut(batch, places):
        hours.extend(part, now_ns=at_ns)
        if len(part):
            at_ns = int(part.ts_ns[-1])
            so_far = told[: part.first_row + len(part)]
            assert answers(hours, at_ns, count) == expected(so_far, at_ns, count)
    at_ns += late * HOUR_NS // 4
    assert answers(hours, at_ns, count) == expected(told, at_ns, count)


@given(told=rows, places=places, count=hours_asked, late=st.integers(0, 12))
@settings(max_examples=examples(80), deadline=None)
def test_bars_do_not_depend_on_the_cut(
    told: list[tuple[int, int, int, bool]], places: list[int], count: int, late: int
) -> None:
    batch = bars(told)
    whole, parts = TradedHours(hours_max=6), TradedHours(hours_max=6)
    whole.extend(batch, now_ns=0)
    for part in cut(batch, places):
        parts.extend(part, now_ns=0)
    at_ns = len(told) * 17 * MINUTE_NS // 2 + late * HOUR_NS // 2
    assert answers(parts, at_ns, count) == answers(whole, at_ns, count)


@pytest.mark.parametrize("make", [trades, bars])
@given(told=rows, other=rows, at=st.integers(0, 60), count=hours_asked)
@settings(max_examples=examples(150), deadline=None)
def test_nothing_is_from_the_future(
    make: type, told: list[tuple[int, int, int, bool]], other: list[tuple[int, int, int, bool]], at: int, count: int
) -> None:
    """Another future after a time gives the same answers at it; and so does none."""
    whole = make(told)
    starts_ns, ends_ns = (
        (whole.ts_ns, whole.ts_ns + 1) if isinstance(whole, TradeBatch) else (whole.open_ns, whole.close_ns)
    )
    at_ns = min(at * HOUR_NS // 2, int(starts_ns[-1]) if told else 0)  # so that what is added lies after it
    known = int(np.count_nonzero(ends_ns <= at_ns))
    past, future = told[:known], told[known:]
    changed = [*past, *((step, high + 7, qty + 1, not side) for step, high, qty, side in future), *other]
    found = []
    for rows_told in (past, told, changed):
        hours = TradedHours(hours_max=6)
        hours.extend(make(rows_told), now_ns=0)
        found.append(answers(hours, at_ns, count))
    assert found[0] == found[1] == found[2]
