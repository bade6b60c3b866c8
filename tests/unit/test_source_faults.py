"""The errors of published multi-scale pipelines, made once more on purpose, and what is done here instead.

Each test writes a faulty procedure down from its description, shows the harm on data where the truth is known, mostly
a random walk that nobody can predict, and then that samples and labels of this project do not do it.
"""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import pywt
from numpy.typing import NDArray
from vmdpy import VMD

from bot.domain.errors import DataError
from bot.domain.market import BarBatch
from models.training.labels import returns_after
from models.training.samples import SampleSet, Source, build_samples
from models.training.splits import walk_forward
from models.training.weights import average_uniqueness
from tests.support.training import DAY, HOUR, MINUTE, features_of, fold, instrument, make_bars, make_labels, random_walk

Floats = NDArray[np.float64]
SCALES = {"1min": MINUTE, "1h": HOUR, "1D": DAY}


def frame_of(bars: BarBatch) -> pd.DataFrame:
    """Return bars as such pipelines hold them: a row named by its OPEN, a closing price and its log return."""
    close = bars.closes
    index = pd.DatetimeIndex(bars.open_ns.astype("datetime64[ns]"))
    return pd.DataFrame({"close": close, "log_return": np.diff(np.log(close), prepend=np.nan)}, index=index)


def resampled(minutes: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Return coarser bars as `resample` makes them by default: named by their left edge."""
    close = minutes["close"].resample(rule).last().dropna()
    return pd.DataFrame({"close": close, "log_return": np.log(close).diff()})


def our_samples(bars: BarBatch, lengths: dict[str, int], *, horizons_ns: list[int], decisions: str = "1h") -> SampleSet:
    """Return samples as this project makes them: the log return of each bar at every scale."""
    made = fold(bars, *(SCALES[scale] for scale in lengths))
    path = fold(bars, bars.scale_ns)[bars.scale_ns]
    labels = returns_after(made[SCALES[decisions]], path, horizons_ns=horizons_ns, hole_max_ns=HOUR)
    features = {scale: features_of(made[SCALES[scale]], scale.lower().replace("min", "m")) for scale in lengths}
    return build_samples([Source(features=features, labels=labels)], lengths=lengths)


def correlation(left: Floats, right: Floats) -> float:
    return float(np.corrcoef(left, right)[0, 1])


# --- bars named by their left edge ------------------------------------------------------------------------------------


def test_a_bar_named_by_its_left_edge_holds_the_hour_to_come() -> None:
    """The row of 10:00 holds 10:00 to 10:59; joined as of 10:00 it tells the next hour: correlation 1. Ours: none."""
    bars = random_walk(60 * 24 * 60, seed=1)
    minutes = frame_of(bars)
    hours = resampled(minutes, "1h")
    joined = hours["log_return"].reindex(minutes.index, method="ffill")
    next_hour = np.log(minutes["close"].shift(-60) / minutes["close"]).shift(1)  # from the open of each minute
    on_the_hour = (minutes.index.minute == 0) & joined.notna() & next_hour.notna()
    assert correlation(joined[on_the_hour].to_numpy(), next_hour[on_the_hour].to_numpy()) > 0.9999

    samples = our_samples(bars, {"1min": 2, "1h": 1}, horizons_ns=[HOUR])
    batch = samples.gather(np.arange(len(samples)))
    assert len(samples) > 1400
    assert abs(correlation(batch.inputs[1][:, 0, 0], batch.targets[:, 0])) < 0.1
    past_hour = np.log(bars.close_ticks[119::60] / bars.close_ticks[59:-60:60])
    np.testing.assert_allclose(batch.inputs[1][:, 0, 0], past_hour[: len(samples)], rtol=1e-4, atol=1e-9)


def test_dropped_bins_and_a_cut_last_bin() -> None:
    """`dropna` leaves rows that are no longer an hour apart, and the last hour is there before it is over."""
    whole = random_walk(60 * 48, seed=2)
    keep = np.ones(len(whole), dtype=bool)
    keep[60 * 20 : 60 * 23] = False
    keep[60 * 47 + 5 :] = False
    bars = replace(whole, **{name: getattr(whole, name)[keep] for name in BarBatch.COLUMNS})
    hours = resampled(frame_of(bars), "1h")
    assert set(np.diff(hours.index) // np.timedelta64(1, "h")) == {1, 4}
    assert hours.index[-1] + pd.Timedelta(hours=1) > frame_of(bars).index[-1] + pd.Timedelta(minutes=1)

    ours = fold(bars, HOUR)[HOUR]
    assert set(np.diff(ours.open_ns).tolist()) == {HOUR}
    assert ours.close_ns[-1] <= bars.close_ns[-1]
    # Unfilled rows of a source's own hours would not pass as a window either.
    raw = replace(ours, **{name: np.delete(getattr(ours, name), [20, 21, 22]) for name in BarBatch.COLUMNS})
    labels = make_labels(raw, np.ones(len(raw)), horizon_ns=HOUR)
    samples = build_samples([Source(features={"1h": features_of(raw, "1h")}, labels=labels)], lengths={"1h": 6})
    assert samples.excluded["1h: hole"] == 5


def test_old_names_of_intervals_are_refused_by_pandas() -> None:
    with pytest.raises(ValueError, match="Invalid frequency"):
        resampled(frame_of(random_walk(120, seed=3)), "1H")


# --- sequences --------------------------------------------------------------------------------------------------------


def faulty_sequences(
    frames: dict[str, pd.DataFrame], lookbacks: dict[str, int], horizon: int = 1, target: str = "1h"
) -> tuple[dict[str, list[pd.DataFrame]], list[float], list[pd.Timestamp]]:
    """Return windows by scale, targets, and the target bars' names, as the faulty description has it."""
    windows: dict[str, list[pd.DataFrame]] = {scale: [] for scale in frames}
    targets, names = [], []
    rows = frames[target]
    for i in range(max(lookbacks.values()), len(rows) - horizon):
        for scale, frame in frames.items():
            at = frame.index.get_indexer([rows.index[i]], method="ffill")[0]
            if at < lookbacks[scale]:
                break  # the sample is rejected, but not taken back from the scales before
            windows[scale].append(frame.iloc[at - lookbacks[scale] : at])
        else:
            targets.append(float(rows["log_return"].iloc[i + horizon]))
            names.append(rows.index[i + horizon])
    return windows, targets, names


def faulty_frames(bars: BarBatch, warm_up: int = 50) -> dict[str, pd.DataFrame]:
    """Return three scales, each with its own first rows dropped until its longest average is there."""
    minutes = frame_of(bars)
    return {"1min": minutes, "1h": resampled(minutes, "1h")} | {"1D": resampled(minutes, "1D").iloc[warm_up:]}


LOOKBACKS = {"1min": 120, "1h": 24, "1D": 10}


def test_row_counts_that_diverge() -> None:
    """A sample that the daily scale rejects has been appended to the others already: X and y are of different times."""
    bars = random_walk(1440 * 70, seed=4)
    windows, targets, names = faulty_sequences(faulty_frames(bars), LOOKBACKS)
    counts = {scale: len(rows) for scale, rows in windows.items()}
    assert counts["1min"] == counts["1h"] > counts["1D"] == len(targets) > 0
    apart = names[0] - windows["1h"][0].index[-1]
    assert apart > pd.Timedelta(days=40)  # the first target and the first hourly window, paired by row

    samples = our_samples(bars, LOOKBACKS, horizons_ns=[HOUR])
    batch = samples.gather(np.arange(len(samples)))
    assert {len(part) for part in (*batch.inputs, batch.targets, batch.known_ns)} == {len(samples)}
    assert len(samples) + sum(samples.excluded.values()) == 70 * 24


def test_the_first_hour_is_skipped() -> None:
    """The window ends at T and the target bar is that of T + 1 h: an hour lies between. Ours starts where it ends."""
    bars = random_walk(1440 * 10, seed=5)
    frames = {scale: frame for scale, frame in faulty_frames(bars).items() if scale != "1D"}
    windows, targets, names = faulty_sequences(frames, {"1min": 120, "1h": 24})
    for scale, length in (("1min", pd.Timedelta(minutes=1)), ("1h", pd.Timedelta(hours=1))):
        ends = [window.index[-1] + length for window in windows[scale]]
        assert {start - end for start, end in zip(names, ends, strict=True)} == {pd.Timedelta(hours=1)}

    samples = our_samples(bars, {"1min": 120, "1h": 24}, horizons_ns=[HOUR])
    minutes, hours = samples.streams
    np.testing.assert_array_equal(minutes.close_ns[samples.ends[:, 0] - 1], samples.close_ns)
    np.testing.assert_array_equal(hours.close_ns[samples.ends[:, 1] - 1], samples.close_ns)
    closes = dict(zip(bars.close_ns.tolist(), bars.close_ticks.tolist(), strict=True))
    for row in (0, 17, len(samples) - 1):
        start_ns = int(samples.close_ns[row])
        assert samples.targets[row, 0] == pytest.approx(np.log(closes[start_ns + HOUR] / closes[start_ns]), rel=1e-12)
    assert len(targets) == len(names)


def test_a_longer_horizon_is_not_a_later_bar() -> None:
    """Three hours ahead was one bar's return, that of the third hour; ours is the sum of all three."""
    bars = random_walk(1440 * 10, seed=6)
    hours = resampled(frame_of(bars), "1h")
    _, targets, names = faulty_sequences({"1h": hours}, {"1h": 24}, horizon=3)
    np.testing.assert_array_equal(targets, hours["log_return"].loc[names])

    samples = our_samples(bars, {"1h": 24}, horizons_ns=[HOUR, 3 * HOUR])
    one = samples.targets[:, 0]
    np.testing.assert_allclose(samples.targets[:-2, 1], one[:-2] + one[1:-1] + one[2:], atol=1e-12)
    assert correlation(samples.targets[:-2, 1], one[2:]) < 0.7  # a third of it


def test_a_look_back_in_minutes_does_not_cost_as_many_hours() -> None:
    """1440 one-minute rows cost 1440 *target* rows, sixty days of hours; ours cost one day."""
    bars = random_walk(1440 * 70, seed=7)
    frames = {scale: frame for scale, frame in faulty_frames(bars).items() if scale != "1D"}
    windows, _, _ = faulty_sequences(frames, {"1min": 1440, "1h": 24})
    lost = windows["1min"][0].index[-1] - frames["1min"].index[0]
    assert lost >= pd.Timedelta(days=59)

    samples = our_samples(bars, {"1min": 1440, "1h": 24}, horizons_ns=[HOUR])
    assert samples.close_ns[0] - bars.open_ns[0] <= DAY + HOUR  # a day of rows, and a row for the first return


def test_heads_of_three_horizons_learn_three_things() -> None:
    """One target went to the heads for minutes, an hour and a day: three copies of one model. Ours are three."""
    bars = random_walk(1440 * 20, seed=8)
    _, targets, _ = faulty_sequences({"1h": resampled(frame_of(bars), "1h")}, {"1h": 24})
    heads = np.column_stack([targets, targets, targets])
    np.testing.assert_allclose(np.corrcoef(heads.T), 1.0)

    samples = our_samples(bars, {"1h": 24}, horizons_ns=[5 * MINUTE, HOUR, DAY])
    assert samples.target_names == ("return_5m", "return_1h", "return_1d")
    apart = np.corrcoef(samples.targets.T)[np.triu_indices(3, 1)]
    assert np.abs(apart).max() < 0.5


def test_a_cut_by_row_shares_labels() -> None:
    """Seven tenths of the rows to train, the rest to test: a day of labels is in both. Ours share none."""
    bars = random_walk(1440 * 40, seed=9)
    samples = our_samples(bars, {"1h": 24}, horizons_ns=[DAY])
    cut = len(samples) * 7 // 10
    shared = samples.label_end_ns[:cut] > samples.known_ns[cut:].min()
    assert shared.sum() == 23

    split = walk_forward(samples.timeline().without_hold_out(), train_ns=20 * DAY, test_ns=10 * DAY, embargo_ns=DAY)[0]
    assert samples.label_end_ns[split.train].max() + DAY <= samples.known_ns[split.test].min()
    assert len(split.purged) == 23
    assert len(split.embargoed) == 24


# --- whole-series transforms ------------------------------------------------------------------------------------------


def wavelet_trend(prices: Floats, levels: int = 4) -> Floats:
    """Return what remains along the last axis when all details of a db4 transform are zeroed."""
    coefficients = pywt.wavedec(prices, "db4", level=levels, axis=-1)
    kept = [coefficients[0], *(np.zeros_like(each) for each in coefficients[1:])]
    return np.asarray(pywt.waverec(kept, "db4", axis=-1))[..., : prices.shape[-1]]


def price_windows(prices: Floats, length: int) -> Floats:
    """Return the trailing windows of a price that samples see: [N, L], the newest last."""
    bars = make_bars(np.arange(1, len(prices) + 1))
    features = features_of(bars, "1m", [prices])
    labels = make_labels(bars, np.zeros(len(prices)), horizon_ns=MINUTE)
    samples = build_samples([Source(features={"1m": features}, labels=labels)], lengths={"1m": length}, dtype="f8")
    assert samples.bar_row[0] == length - 1
    return np.asarray(samples.streams[0].windows[samples.ends[:, 0] - length, :, 0])


def hit_rate(trend: Floats, prices: Floats, steps: Floats) -> float:
    """Return how often the side of the price that the trend lies on is where the next step goes."""
    return float((np.sign(trend - prices) == np.sign(steps)).mean())


def test_a_wavelet_over_the_whole_series_sees_the_next_step() -> None:
    """It "predicts" a random walk right in about 62 of 100 cases; over trailing windows, as often as a coin."""
    prices = np.cumsum(np.random.default_rng(10).normal(size=20_001))
    steps = np.diff(prices)
    whole = wavelet_trend(prices)
    assert 0.60 < hit_rate(whole[:-1], prices[:-1], steps) < 0.64

    windows = price_windows(prices, 256)[:-1]
    trailing = wavelet_trend(windows)[:, -1]
    assert abs(hit_rate(trailing, windows[:, -1], steps[255:]) - 0.5) < 3 * 0.5 / np.sqrt(len(windows))


def test_a_wavelets_coefficients_are_not_bars() -> None:
    """Trend and details have lengths of their own, the coarsest first; put together, an odd series grows by one."""
    prices = np.cumsum(np.random.default_rng(11).normal(size=999))
    coefficients = pywt.wavedec(prices, "db4", level=4)
    lengths = [len(each) for each in coefficients]
    assert 999 not in lengths
    assert lengths == sorted(lengths)
    assert len(pywt.waverec(coefficients, "db4")) == 1000

    assert price_windows(prices, 256).shape == (999 - 255, 256)  # a row a bar, whatever is computed from it


def vmd(prices: Floats) -> Floats:
    """Return the modes and discard what else it returns."""
    return np.asarray(VMD(prices, 2000, 0.0, 4, 0, 1, 1e-7)[0])


def test_a_prefix_tells_a_whole_series_transform() -> None:
    """What a feature was at t must not change when the series goes on: over the whole it does, in a window not."""
    prices = np.cumsum(np.random.default_rng(12).normal(size=600))
    for transform in (wavelet_trend, lambda series: vmd(series).sum(axis=0), lambda series: vmd(series)[0]):
        whole, prefix = transform(prices), transform(prices[:400])
        assert np.abs(whole[300:400] - prefix[300:400]).max() > 0.01 * prices.std()

    whole_windows, prefix_windows = price_windows(prices, 128), price_windows(prices[:400], 128)
    np.testing.assert_array_equal(whole_windows[: len(prefix_windows)], prefix_windows)
    for row in (0, 100, len(prefix_windows) - 1):
        np.testing.assert_array_equal(vmd(whole_windows[row]), vmd(prefix_windows[row]))


def test_vmd_drops_a_sample_and_returns_its_search() -> None:
    """An odd series loses its newest value, the one that matters; the frequencies are a history, the result its last.

    Over the whole series its modes see the next step even better than wavelets do.
    """
    prices = np.cumsum(np.random.default_rng(13).normal(size=129))
    modes, _, frequencies = VMD(prices, 2000, 0.0, 4, 0, 1, 1e-7)
    assert modes.shape == (4, 128)
    assert frequencies.shape[0] > 1
    assert frequencies.shape[1] == 4
    assert (frequencies[0] != frequencies[-1]).any()
    long = np.cumsum(np.random.default_rng(1).normal(size=2001))
    assert hit_rate(vmd(long).sum(axis=0), long[:2000], np.diff(long)) > 0.65

    assert price_windows(prices, 128)[-1, -1] == prices[-1]


# --- features and instruments -----------------------------------------------------------------------------------------


def test_a_zero_volume_makes_an_infinity_that_dropna_keeps() -> None:
    """v_t / v_{t-1} - 1 after a bar without volume: one such value makes a batch's loss NaN. Ours leaves it out."""
    bars = random_walk(100, seed=14)
    volume = np.ones(100)
    volume[[40, 60]] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change = pd.Series(volume).pct_change()
    assert np.isinf(change.dropna()).sum() == 2

    labels = make_labels(bars, np.ones(100), horizon_ns=MINUTE)
    samples = build_samples(
        [Source(features={"1m": features_of(bars, "1m", [change])}, labels=labels)], lengths={"1m": 5}
    )
    assert np.isfinite(samples.gather(np.arange(len(samples))).inputs[0]).all()
    assert samples.excluded["1m: not finite"] == 1 + 5 + 5


def test_instruments_aligned_by_row_from_the_end() -> None:
    """Two instruments that move together, one with a day missing: by row they are strangers, by time they are not."""
    common = np.random.default_rng(15).normal(0, 1e-3, (2, 24 * 100))
    both = [make_bars(np.rint(1e6 * np.exp(np.cumsum(common[0] + 0.3 * own))), scale_ns=HOUR) for own in (0, common[1])]
    first = replace(both[0], instrument=instrument("BTCUSDT"))
    second = replace(both[1], instrument=instrument("ETHUSDT"))
    returns = [features_of(bars, "1h").values[1:, 0] for bars in (first, second)]
    holed = np.delete(returns[1], np.arange(2000, 2024))
    by_row = returns[0][-len(holed) :]
    assert abs(correlation(by_row[:1900], holed[:1900])) < 0.1

    features = features_of(second, "1h")
    kept = np.delete(np.arange(24 * 100), np.arange(2001, 2025))
    torn = replace(features, **{name: getattr(features, name)[kept] for name in ("close_ns", "known_ns", "values")})
    labels = make_labels(first, np.ones(24 * 100), horizon_ns=HOUR)
    streams = {"BTCUSDT": features_of(first, "1h"), "ETHUSDT": torn}
    samples = build_samples([Source(features=streams, labels=labels)], lengths={"BTCUSDT": 1, "ETHUSDT": 1})
    inputs = samples.gather(np.arange(len(samples))).inputs
    assert correlation(inputs[0][:, 0, 0], inputs[1][:, 0, 0]) > 0.9
    assert samples.excluded["ETHUSDT: stale"] == 24  # the missing day has no pairs, and no other day's either


def test_a_history_shorter_than_the_window_is_an_error() -> None:
    """1000 rows came where 2172 were asked for: the list of samples was empty, and nobody said so."""
    bars = random_walk(1000, seed=16, scale_ns=HOUR)
    rows = frame_of(bars)
    assert len(range(2048, len(rows) - 24)) == 0  # the loop over samples

    labels = make_labels(bars, np.ones(1000), horizon_ns=HOUR)
    with pytest.raises(DataError, match=r"no sample is left \(1h: history 1,000\); load a longer range"):
        build_samples([Source(features={"1h": features_of(bars, "1h")}, labels=labels)], lengths={"1h": 2048})


def test_a_days_return_is_not_earned_every_hour() -> None:
    """Adding up 24-hour returns at every hour counts each hour 24 times; by uniqueness it counts once."""
    bars = random_walk(24 * 200, seed=17, scale_ns=HOUR)
    labels = returns_after(bars, bars, horizons_ns=[DAY], hole_max_ns=0)
    known = ~np.isnan(labels.values[:, 0])
    day_returns = labels.values[known, 0]
    truth = np.log(bars.close_ticks[-1] / bars.close_ticks[0])
    assert abs(day_returns.sum() / truth) > 15

    unique = average_uniqueness(labels.known_ns[known], labels.label_end_ns[known, 0])
    assert (unique * day_returns).sum() == pytest.approx(truth, abs=0.03)
