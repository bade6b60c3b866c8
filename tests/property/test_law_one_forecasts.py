"""Law 1 of a strategy's columns, forecasts and delays: the same bits however the market is cut."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bot.actors.inbox import Inbox, Stop
from bot.actors.inference import Inference
from bot.core.bars import BarAggregator
from bot.core.delays import Delay
from bot.domain.market import (
    BarBatch,
    ForecastBatch,
    MarketSlab,
    TradeBatch,
)
from models.systems.ewma_vol import EwmaVol, EwmaVolParams
from strategies.sma_cross import SmaCross, SmaCrossParams
from tests.support.bars_reference import ReferenceBar
from tests.support.batches import INSTRUMENT, bars_of, cut, join, join_bars
from tests.support.cuts import BASE, FOREVER, SECOND, assert_same, places
from tests.support.examples import examples


def closes_of(closes: Sequence[int]) -> BarBatch:
    rows = [
        ReferenceBar(open_ns=n * BASE, open=close, high=close, low=close, close=close) for n, close in enumerate(closes)
    ]
    return bars_of(rows, scale_ns=BASE)


def sma(fast: int, slow: int, threshold: Decimal) -> SmaCross:
    strategy = SmaCross(SmaCrossParams(fast=fast, slow=slow, threshold=threshold))
    strategy.on_start()
    return strategy


def columns_of(strategy: SmaCross, parts: Sequence[BarBatch]) -> dict[str, NDArray[Any]]:
    made = [strategy.columns(part) for part in parts]
    return {name: np.concatenate([columns[name] for columns in made]) for name in ("up", "down")}


closes = st.lists(st.integers(1, 40), max_size=70)
thresholds = st.sampled_from([Decimal(0), Decimal("0.0001"), Decimal("0.1"), Decimal("0.25"), Decimal("0.333333")])


@given(closes=closes, fast=st.integers(1, 7), more=st.integers(1, 9), threshold=thresholds, places=places)
@settings(max_examples=examples(120), deadline=None)
def test_a_strategys_columns_do_not_depend_on_the_cut(
    closes: list[int], fast: int, more: int, threshold: Decimal, places: list[int]
) -> None:
    """Each bar says exactly what the fractions say of the averages' distance, with nothing rounded."""
    slow = fast + more
    batch = closes_of(closes)
    distances = [
        (Fraction(sum(closes[end - fast : end]), fast) - Fraction(sum(closes[end - slow : end]), slow))
        * Fraction(INSTRUMENT.tick_size)
        if end >= slow
        else Fraction(0)
        for end in range(1, len(closes) + 1)
    ]
    for edges in ([], places, range(1, len(closes))):
        columns = columns_of(sma(fast, slow, threshold), cut(batch, edges))
        assert columns["up"].tolist() == [distance > Fraction(threshold) for distance in distances]
        assert columns["down"].tolist() == [-distance > Fraction(threshold) for distance in distances]
        assert {column.dtype for column in columns.values()} == {np.dtype(np.bool_)}


def test_a_strategys_columns_of_two_instruments_do_not_mix() -> None:
    """What is carried over from batch to batch belongs to one instrument."""
    generator = np.random.default_rng(5)
    one, two = (closes_of(generator.integers(1, 40, 60).tolist()) for _ in range(2))
    two = replace(two, instrument=msgspec.structs.replace(INSTRUMENT, name="YUSDT"))
    both = sma(2, 5, Decimal(0))
    mixed: dict[str, list[NDArray[Any]]] = {"XUSDT": [], "YUSDT": []}
    for left, right in zip(cut(one, [7, 20]), cut(two, [3, 31]), strict=True):
        mixed["XUSDT"].append(both.columns(left)["up"])
        mixed["YUSDT"].append(both.columns(right)["up"])
    for batch in (one, two):
        alone = sma(2, 5, Decimal(0)).columns(batch)["up"]
        assert np.concatenate(mixed[batch.instrument.name]).tolist() == alone.tolist()


@given(closes=closes, other=closes, keep=st.integers(0, 70))
@settings(max_examples=examples(60), deadline=None)
def test_the_future_changes_no_column(closes: list[int], other: list[int], keep: int) -> None:
    """Bars after `keep` may say anything: the columns before it stay."""
    keep = min(keep, len(closes))
    changed = [*closes[:keep], *other]
    before, after = (columns_of(sma(3, 8, Decimal(0)), [closes_of(values)]) for values in (closes, changed))
    for name in ("up", "down"):
        assert before[name][:keep].tolist() == after[name][:keep].tolist()


FORECAST_SCALES = (SECOND, 3 * SECOND, 12 * SECOND)


def predictor(decision_scale_ns: int) -> EwmaVol:
    return EwmaVol(
        EwmaVolParams(
            decision_scale_ns=decision_scale_ns,
            scales_ns=FORECAST_SCALES,
            horizons_ns=(5 * SECOND, 60 * SECOND),
            levels=(0.05, 0.5, 0.95),
            volatility_half_life=4.0,
            trend_half_life=6.0,
            warm_up_bars=3,
        )
    )


def walk(seed: int, rows: int = 300, first_ns: int = 1_700_000_000 * SECOND) -> TradeBatch:
    """Return a random walk of trades, about one a third of a second, with quiet stretches and some disorder."""
    generator = np.random.default_rng(seed)
    steps_ns = generator.exponential(SECOND / 3, rows) * np.where(generator.random(rows) < 0.02, 30, 1)
    ts_ns = first_ns + np.cumsum(steps_ns).astype(np.int64) - (generator.random(rows) * SECOND / 4).astype(np.int64)
    return TradeBatch(
        instrument=INSTRUMENT,
        first_row=0,
        ts_ns=ts_ns,
        price_ticks=10_000 + np.cumsum(generator.integers(-9, 10, rows)),
        qty_steps=generator.integers(1, 9, rows),
        is_buy=generator.random(rows) < 0.5,
    )


def market_slabs(parts: Sequence[TradeBatch]) -> list[MarketSlab]:
    aggregator = BarAggregator(INSTRUMENT, scales_ns=FORECAST_SCALES, lateness_ns=SECOND // 4, gap_max_ns=FOREVER)
    return [aggregator.on_trades(part) for part in parts]


def forecasts_of(slabs: Sequence[MarketSlab], decision_scale_ns: int) -> ForecastBatch:
    model = predictor(decision_scale_ns)
    made = [forecasts for slab in slabs if (forecasts := model.predict(slab.bars)) is not None]
    return join(made)


wide_places = st.lists(st.integers(0, 300), max_size=12)


@given(seed=st.integers(0, 2**32), places=wide_places, decision_scale_ns=st.sampled_from(FORECAST_SCALES))
@settings(max_examples=examples(40), deadline=None)
@example(seed=1, places=list(range(1, 300)), decision_scale_ns=SECOND)
@example(seed=2, places=list(range(1, 300)), decision_scale_ns=12 * SECOND)
def test_forecasts_do_not_depend_on_the_cut(seed: int, places: list[int], decision_scale_ns: int) -> None:
    """Bit for bit, whatever scales a message holds bars of: quantiles, importance, row numbers and times."""
    batch = walk(seed)
    whole = forecasts_of(market_slabs([batch]), decision_scale_ns)
    assert len(whole) > 3
    assert_same(forecasts_of(market_slabs(cut(batch, places)), decision_scale_ns), whole)


@pytest.mark.parametrize("decision_scale_ns", FORECAST_SCALES)
def test_forecasts_name_their_bar_and_are_known_with_it(decision_scale_ns: int) -> None:
    """Each forecast belongs to one decision bar, in order, from the first that can have one to the last."""
    slabs = market_slabs(cut(walk(7), [50, 51, 120]))
    bars = join_bars(slabs)[decision_scale_ns]
    forecasts = forecasts_of(slabs, decision_scale_ns)
    assert forecasts.first_row == 0
    assert forecasts.bar_row.tolist() == list(range(len(bars) - len(forecasts), len(bars)))
    assert forecasts.known_ns.tolist() == bars.known_ns[forecasts.bar_row].tolist()
    assert forecasts.close_ns.tolist() == bars.close_ns[forecasts.bar_row].tolist()
    assert (np.diff(forecasts.quantiles, axis=2) >= 0).all()
    np.testing.assert_allclose(forecasts.importance.sum(axis=1), 1.0, rtol=1e-12)


@given(seed=st.integers(0, 2**32), keep=st.integers(0, 300), decision_scale_ns=st.sampled_from(FORECAST_SCALES))
@settings(max_examples=30, deadline=None)
def test_the_future_changes_no_forecast_that_was_known(seed: int, keep: int, decision_scale_ns: int) -> None:
    """Trades after `keep` trade elsewhere: what was forecast by then stays, though one slab holds it all."""
    batch = walk(seed)
    prices = batch.price_ticks.copy()
    prices[keep:] = prices[keep:][::-1] * 3
    qtys = batch.qty_steps.copy()
    qtys[keep:] += 5
    changed = replace(batch, price_ticks=prices, qty_steps=qtys)
    # A bar that is known before the first changed trade came, the one that closes it included.
    now_ns = int(batch.ts_ns[: keep + 1].max())
    known = []
    for trades_ in (batch, changed):
        forecasts = forecasts_of(market_slabs([trades_]), decision_scale_ns)
        known.append(forecasts.rows(0, int((forecasts.known_ns <= now_ns).sum())))
    assert_same(known[0], known[1])


@pytest.mark.parametrize("decision_scale_ns", FORECAST_SCALES)
def test_a_forecast_has_seen_every_bar_that_is_known_with_it(decision_scale_ns: int) -> None:
    """Nothing from the future, but nothing held back either: the closing price of each scale's newest bar counts."""
    slabs = market_slabs([walk(3)])
    before = forecasts_of(slabs, decision_scale_ns)
    for scale_ns in FORECAST_SCALES:
        bars = slabs[0].bars[scale_ns]
        newest = int((bars.known_ns <= before.known_ns[-1]).sum()) - 1
        close_ticks = bars.close_ticks.copy()
        close_ticks[newest] *= 2
        changed = replace(slabs[0], bars={**slabs[0].bars, scale_ns: replace(bars, close_ticks=close_ticks)})
        after = forecasts_of([changed], decision_scale_ns)
        earlier = int((before.known_ns < bars.known_ns[newest]).sum())
        assert_same(after.rows(0, earlier), before.rows(0, earlier))
        assert (after.quantiles[earlier:, :, 0] != before.quantiles[earlier:, :, 0]).all()


def inferred(slabs: Sequence[MarketSlab], delay: Delay) -> ForecastBatch:
    """Return the forecasts as the inference actor hands them on."""
    got: list[MarketSlab] = []
    inbox: Inbox[Any] = Inbox("inference", bound=len(slabs) + 1)
    for message in [*slabs, Stop()]:
        inbox.deliver(message)
    asyncio.run(Inference(inbox=inbox, deliver=[got.append], predictor=predictor(SECOND), delay=delay).run())
    assert len(got) == len(slabs)
    return join([slab.forecasts for slab in got if slab.forecasts is not None])


@given(seed=st.integers(0, 2**32), places=wide_places, jitter_ns=st.sampled_from([0, SECOND // 2, 10 * SECOND]))
@settings(max_examples=20, deadline=None)
def test_when_a_forecast_is_known_does_not_depend_on_the_cut(seed: int, places: list[int], jitter_ns: int) -> None:
    """One worker answers in order: a forecast is known after its delay, and not before the one before it."""
    batch = walk(seed)
    delay = Delay(seed=seed, stream=3, base_ns=SECOND // 100, jitter_ns=jitter_ns)
    whole = inferred(market_slabs([batch]), delay)
    assert_same(inferred(market_slabs(cut(batch, places)), delay), whole)
    raw = forecasts_of(market_slabs([batch]), SECOND)
    newest = 0
    for row, known_ns, bar_row in zip(
        whole.known_ns.tolist(), raw.known_ns.tolist(), raw.bar_row.tolist(), strict=True
    ):
        newest = max(newest, known_ns + delay.of(bar_row))
        assert row == newest


@given(
    seed=st.integers(-(2**70), 2**70),
    stream=st.integers(0, 2**40),
    base_ns=st.integers(0, 10**12),
    jitter_ns=st.integers(0, 10**15),
    rows=st.lists(st.integers(0, 2**62), max_size=50),
)
@settings(max_examples=examples(150), deadline=None)
def test_delays_of_many_rows_are_those_of_each(
    seed: int, stream: int, base_ns: int, jitter_ns: int, rows: list[int]
) -> None:
    """The compiled loop and the plain function are one function, to the last ns."""
    delay = Delay(seed=seed, stream=stream, base_ns=base_ns, jitter_ns=jitter_ns)
    made = delay.of_rows(np.array(rows, dtype=np.int64))
    assert made.tolist() == [delay.of(row) for row in rows]
    assert made.dtype == np.int64
