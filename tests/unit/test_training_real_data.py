"""Labels, samples and splits on real markets: flat and zero-volume bars, quiet minutes without a row, outages."""

import numpy as np
import pandas as pd
import pytest

from bot.domain.market import EMPTY, GAP, BarBatch
from models.training.barriers import Barrier, Costs, triple_barrier
from models.training.labels import ewma_volatility, join_labels, returns_after, volatility_after
from models.training.samples import SampleSet, Source, build_samples
from models.training.splits import Folds, combinatorial_purged, purged_k_fold, walk_forward
from models.training.weights import average_uniqueness
from tests.support.shared_data import shared_file
from tests.support.training import DAY, HOUR, MINUTE, features_of, fold, real_bars

FIVE = 5 * MINUTE
TAKER = Costs(fee_rate=0.00055, spread_bps=1)
BYBIT = {"BTCUSDT": "0.1", "ETHUSDT": "0.01"}


def bybit(name: str) -> BarBatch:
    file = f"{name.lower()}_bybit_linear_5m_2025-01_2025-08.parquet"
    return real_bars(name, file, scale_ns=FIVE, tick_size=BYBIT[name])


def bitfinex(name: str) -> BarBatch:
    """Return the last two months of 2018, when many minutes went by without a trade."""
    file = f"{name.lower()}_bitfinex_spot_1m_2018.parquet"
    bars = real_bars(name, file, scale_ns=MINUTE, tick_size="0.00001")
    since_ns = np.datetime64("2018-11-01", "ns").astype(np.int64)
    return bars.rows(int(np.searchsorted(bars.open_ns, since_ns)), len(bars))


def source_of(bars: BarBatch) -> Source:
    scales_ns = {"5m": FIVE, "1h": HOUR, "1d": DAY}
    made = fold(bars, *scales_ns.values())
    five = made[FIVE]
    width = ewma_volatility(five, half_life=288, warm_up=288) * np.sqrt(48)
    labels = join_labels(
        [
            returns_after(five, five, horizons_ns=[FIVE, HOUR, DAY], hole_max_ns=0),
            volatility_after(five, five, horizons_ns=[DAY], hole_max_ns=0),
            triple_barrier(
                five, five, horizon_ns=4 * HOUR, profit=2 * width, stop=width, costs=TAKER, hole_max_ns=0
            ).labels(),
        ]
    )
    return Source(features={scale: features_of(made[ns], scale) for scale, ns in scales_ns.items()}, labels=labels)


@pytest.fixture(scope="module")
def two_markets() -> SampleSet:
    """Return samples of BTC and ETH, eight months of five-minute decisions at three scales."""
    return build_samples((source_of(bybit(name)) for name in BYBIT), lengths={"5m": 96, "1h": 48, "1d": 14})


def test_targets_are_those_of_the_file(two_markets: SampleSet) -> None:
    """Recomputed by timestamp with pandas from the file itself, sample by sample and horizon by horizon."""
    for number, name in enumerate(two_markets.instruments):
        path = shared_file(f"data/{name.lower()}_bybit_linear_5m_2025-01_2025-08.parquet")
        frame = pd.read_parquet(path)
        close = pd.Series(np.log(frame["close"].to_numpy()), index=frame["ts"].to_numpy() * 1_000_000 + FIVE)
        mine = two_markets.instrument == number
        assert mine.sum() > 60_000
        at = two_markets.close_ns[mine]
        for column, horizon_ns in enumerate((FIVE, HOUR, DAY)):
            expected = close.loc[at + horizon_ns].to_numpy() - close.loc[at].to_numpy()
            np.testing.assert_allclose(two_markets.targets[mine, column], expected, atol=1e-12)


def test_inputs_are_those_known_at_the_decision(two_markets: SampleSet) -> None:
    """For every sample and scale: the newest bar that has closed, bars in a row, never one of the other market."""
    assert len(two_markets) + sum(two_markets.excluded.values()) == 2 * 69_984
    for number, stream in enumerate(two_markets.streams):
        scale_ns = {"5m": FIVE, "1h": HOUR, "1d": DAY}[stream.name]
        ends = two_markets.ends[:, number]
        newest, oldest = stream.close_ns[ends - 1], stream.close_ns[ends - stream.length]
        np.testing.assert_array_equal(newest, two_markets.close_ns // scale_ns * scale_ns)
        np.testing.assert_array_equal(newest - oldest, (stream.length - 1) * scale_ns)
        split = np.flatnonzero(np.diff(stream.close_ns) < 0)[0] + 1
        assert ((ends <= split) == (two_markets.instrument == 0)).all()
        assert (ends - stream.length >= np.where(two_markets.instrument == 0, 0, split)).all()


def test_splits_of_two_markets_share_no_time(two_markets: SampleSet) -> None:
    """Walk-forward, k-fold and CPCV: no label of one role overlaps another's, the embargo is kept, nobody has two."""
    development, holdout = two_markets.timeline().hold_out(
        from_ns=int(two_markets.known_ns.max()) - 30 * DAY, embargo_ns=DAY
    )
    start_ns, end_ns = two_markets.known_ns, two_markets.label_end_ns
    kinds: list[Folds] = [
        walk_forward(development, train_ns=60 * DAY, validation_ns=15 * DAY, test_ns=30 * DAY, embargo_ns=DAY),
        purged_k_fold(development, folds=5, embargo_ns=DAY),
        combinatorial_purged(development, groups=6, tested=2, embargo_ns=DAY),
    ]
    assert [len(folds) for folds in kinds] == [4, 5, 15]
    for folds in kinds:
        for split in folds:
            assert end_ns[split.test].max() + DAY <= holdout.from_ns
            tested = np.unique(start_ns[split.test])
            for stretch in np.split(tested, np.flatnonzero(np.diff(tested) > FIVE) + 1):
                mine = split.test[(start_ns[split.test] >= stretch[0]) & (start_ns[split.test] <= stretch[-1])]
                trained = np.concatenate([split.train, split.validation])
                is_before = end_ns[trained] + DAY <= stretch[0]
                assert (is_before | (start_ns[trained] >= end_ns[mine].max() + DAY)).all()
            if len(split.validation):
                assert end_ns[split.train].max() + DAY <= start_ns[split.validation].min()


def test_overlapping_labels_weigh_what_they_teach(two_markets: SampleSet) -> None:
    """A day's labels every five minutes: the weights add up to about the days there are, market by market."""
    unique = average_uniqueness(two_markets.known_ns, two_markets.label_end_ns, two_markets.instrument)
    for number in range(2):
        mine = two_markets.instrument == number
        days = np.ptp(two_markets.known_ns[mine]) / DAY
        assert unique[mine].sum() == pytest.approx(days + 1, rel=0.01)


def test_hour_long_trades_lose_their_costs_on_average() -> None:
    """Eight months of BTC: with no skill the mean trade loses about the round trip, whichever side it takes."""
    bars = bybit("BTCUSDT")
    arguments = {"horizon_ns": HOUR, "profit": 0.004, "stop": 0.004, "costs": TAKER, "hole_max_ns": 0}
    nets = []
    for side in (1, -1):
        found = triple_barrier(bars, bars, side=side, **arguments)
        assert found.is_known.sum() == len(bars) - 12
        assert {Barrier(each) for each in np.unique(found.barrier[found.is_known])} == set(Barrier) - {Barrier.UNKNOWN}
        assert (found.label_end_ns <= found.known_ns + HOUR).all()
        nets.append(found.net_return[found.is_known].mean())
    assert np.mean(nets) == pytest.approx(-TAKER.round_trip, abs=2e-4)


def test_bars_without_volume() -> None:
    """Binance has 24 in these years: labels go on across them, and what divides by their volume is no input."""
    name = "btcusdt_binance_usdm_5m_2023-01_2025-08.parquet"
    bars = real_bars("BTCUSDT", name, scale_ns=FIVE, tick_size="0.1")
    quiet = np.flatnonzero(bars.volume_steps == 0)
    assert len(quiet) == 24
    labels = join_labels(
        [
            returns_after(bars, bars, horizons_ns=[HOUR], hole_max_ns=0),
            volatility_after(bars, bars, horizons_ns=[FIVE, HOUR], hole_max_ns=0),
        ]
    )
    assert np.isfinite(labels.values[:-12]).all()
    flat = quiet[bars.close_ticks[quiet] == bars.close_ticks[quiet - 1]]
    np.testing.assert_array_equal(labels.values[flat - 1, 1], np.log(1 / bars.close_ticks[flat - 1]))

    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.diff(bars.volume_steps, prepend=bars.volume_steps[0]) / np.roll(bars.volume_steps, 1)
    bad = np.flatnonzero(~np.isfinite(change))
    assert len(bad) == 24
    samples = build_samples(
        [Source(features={"5m": features_of(bars, "5m", [change])}, labels=labels)], lengths={"5m": 12}
    )
    touched = {row + later for row in bad for later in range(12)}
    assert samples.excluded == {"label": 12, "5m: history": 11, "5m: not finite": len(touched)}
    assert not touched & set(samples.bar_row.tolist())


def test_minutes_without_a_row() -> None:
    """Bitfinex writes no row for a quiet minute and none in an outage: the last price stands for a while.

    Against pandas: the price as of the horizon's end, unknown where a stretch without a row is longer than allowed.
    """
    raw = bitfinex("LTCUSD")
    bars = fold(raw, MINUTE)[MINUTE]
    assert (bars.flags & GAP != 0).sum() == len(bars) - len(raw) > 20_000
    horizon_ns, hole_max_ns = 30 * MINUTE, 10 * MINUTE
    labels = returns_after(bars, raw, horizons_ns=[horizon_ns], hole_max_ns=hole_max_ns)
    marked = returns_after(bars, bars, horizons_ns=[horizon_ns], hole_max_ns=hole_max_ns)
    np.testing.assert_array_equal(labels.values, marked.values)  # absent or marked: the same hole

    close = pd.Series(np.log(raw.close_ticks), index=raw.close_ns)
    expected = close.asof(bars.close_ns + horizon_ns).to_numpy() - close.asof(bars.close_ns).to_numpy()
    from_ns, until_ns = raw.close_ns[:-1], raw.open_ns[1:]
    unknown = bars.close_ns + horizon_ns > raw.close_ns[-1]
    holes = np.flatnonzero(until_ns - from_ns > hole_max_ns)
    assert len(holes) > 20
    for hole in holes:
        unknown |= (bars.close_ns <= until_ns[hole]) & (bars.close_ns + horizon_ns > from_ns[hole])
    np.testing.assert_array_equal(np.isnan(labels.values[:, 0]), unknown)
    np.testing.assert_allclose(labels.values[~unknown, 0], expected[~unknown], atol=1e-12)


def test_markets_with_other_quiet_minutes_join_by_time() -> None:
    """BTC and LTC of one day by row from the end are hours apart; as two streams of a sample they are of one minute."""
    bitcoin, litecoin = bitfinex("BTCUSD"), bitfinex("LTCUSD")
    last_ns = min(bitcoin.open_ns[-1], litecoin.open_ns[-1])
    shorter = [bars.rows(0, int(np.searchsorted(bars.open_ns, last_ns, side="right"))) for bars in (bitcoin, litecoin)]
    rows = min(len(bars) for bars in shorter)
    apart_ns = np.abs(shorter[0].open_ns[-rows:] - shorter[1].open_ns[-rows:])
    assert apart_ns.max() > 12 * HOUR

    filled = [fold(bars, MINUTE)[MINUTE] for bars in shorter]
    labels = returns_after(filled[0], filled[0], horizons_ns=[5 * MINUTE], hole_max_ns=5 * MINUTE)
    streams = {"btc": features_of(filled[0], "1m"), "ltc": features_of(filled[1], "1m")}
    samples = build_samples([Source(features=streams, labels=labels)], lengths={"btc": 20, "ltc": 20})
    assert len(samples) > 0.9 * len(filled[0])
    for number, stream in enumerate(samples.streams):
        np.testing.assert_array_equal(stream.close_ns[samples.ends[:, number] - 1], samples.close_ns)
    quiet = np.isin(samples.bar_row, np.flatnonzero(filled[0].flags & EMPTY))
    assert quiet.any()  # quiet minutes are samples like others
