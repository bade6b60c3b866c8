"""Samples: every window ends by its decision, every target starts there, and nothing gets out of step."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, FeatureBatch
from models.training.labels import Labels, returns_after
from models.training.samples import SampleSet, Source, build_samples
from models.training.splits import walk_forward
from models.training.weights import average_uniqueness
from tests.support.batches import INSTRUMENT
from tests.support.training import (
    HOUR,
    MINUTE,
    SECOND,
    START,
    features_of,
    fold,
    instrument,
    make_bars,
    make_labels,
    random_walk,
)

SCALES = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": HOUR}
LABEL_COLUMNS = ("bar_row", "close_ns", "known_ns", "values", "label_end_ns")
LENGTHS = {"1m": 30, "5m": 12, "1h": 4}


def source(rows: int = 1200, *, seed: int = 1, name: str = "XUSDT", lateness_ns: int = 0) -> Source:
    """Return the log returns of a random walk's bars at three scales, and the next ten minutes' return as label."""
    bars = random_walk(rows, seed=seed, of=named(name), lateness_ns=lateness_ns)
    made = fold(bars, *SCALES.values())
    labels = returns_after(made[5 * MINUTE], made[MINUTE], horizons_ns=[10 * MINUTE, HOUR], hole_max_ns=0)
    return Source(features={scale: features_of(made[ns], scale) for scale, ns in SCALES.items()}, labels=labels)


def named(name: str) -> Instrument:
    return INSTRUMENT if name == INSTRUMENT.name else instrument(name)


def assert_sound(samples: SampleSet, sources: Mapping[str, Source], decisions: int) -> None:
    """Check, against the sources themselves, all that a set of samples promises."""
    count = len(samples)
    assert count + sum(samples.excluded.values()) == decisions
    batch = samples.gather(np.arange(count))
    for array in (*batch.inputs, batch.targets, batch.weights, batch.known_ns, batch.close_ns, samples.ends):
        assert len(array) == count
    for number, stream in enumerate(samples.streams):
        ends = samples.ends[:, number]
        newest = stream.known_ns[ends - 1]
        assert (newest <= samples.known_ns).all(), "an input row is from the future"
        for row in range(count):
            mine = sources[samples.instruments[samples.instrument[row]]]
            features = mine.features[stream.name]
            known = np.flatnonzero(features.known_ns <= samples.known_ns[row])[-stream.length :]
            expected = features.values[known].astype(np.float32)
            np.testing.assert_array_equal(batch.inputs[number][row], expected)
    for row in range(count):
        labels = sources[samples.instruments[samples.instrument[row]]].labels
        at = samples.bar_row[row] - labels.bar_row[0]
        np.testing.assert_array_equal(samples.targets[row], labels.values[at])
        assert samples.close_ns[row] == labels.close_ns[at]
        assert samples.known_ns[row] == labels.known_ns[at]
        assert samples.label_end_ns[row] == labels.label_end_ns[at].max() > samples.known_ns[row]


# --- alignment --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lateness_ns", [0, 2 * SECOND])
def test_every_window_ends_by_its_decision(lateness_ns: int) -> None:
    """Two instruments, three scales: the newest rows known at the decision, of the right instrument, and no others."""
    sources = {"XUSDT": source(lateness_ns=lateness_ns), "ETHUSDT": source(900, seed=2, name="ETHUSDT")}
    samples = build_samples(sources.values(), lengths=LENGTHS)
    assert samples.instruments == ("XUSDT", "ETHUSDT")
    assert samples.target_names == ("return_10m", "return_1h")
    assert_sound(samples, sources, decisions=240 + 180)


def test_the_first_sample_is_the_first_that_has_all() -> None:
    """Four hourly bars with a return each need five hours; no scale costs more than its own rows."""
    samples = build_samples([source()], lengths=LENGTHS)
    assert samples.close_ns[0] == START + 5 * HOUR
    assert samples.excluded == {
        "label": 12,  # the last hour
        "1m: history": 5,
        "1m: not finite": 1,  # the window of 30 that holds the first row
        "5m: history": 5,
        "5m: not finite": 1,
        "1h: history": 35,
        "1h: not finite": 12,
    }


def test_a_window_reaches_the_decision_bar_itself() -> None:
    """At the close of an hour, the newest row of every scale closed at that instant: nothing is skipped."""
    samples = build_samples([source()], lengths=LENGTHS)
    on_the_hour = np.flatnonzero(samples.close_ns % HOUR == 0)
    for number, stream in enumerate(samples.streams):
        np.testing.assert_array_equal(
            stream.close_ns[samples.ends[on_the_hour, number] - 1], samples.close_ns[on_the_hour]
        )
    between = np.flatnonzero(samples.close_ns % HOUR == HOUR - 5 * MINUTE)
    hours = samples.streams[2]
    ages = samples.close_ns[between] - hours.close_ns[samples.ends[between, 2] - 1]
    assert set(ages.tolist()) == {HOUR - 5 * MINUTE}


@st.composite
def irregular_sources(draw: st.DrawFn) -> tuple[dict[str, Source], dict[str, int], int]:
    """Draw streams whose rows come at any times, known with any delay, some not finite, for one or two instruments."""
    names = draw(st.sampled_from([("XUSDT",), ("XUSDT", "ETHUSDT")]))
    streams = {name: draw(st.integers(1, 4)) for name in draw(st.sampled_from([("a",), ("a", "b"), ("c", "a", "b")]))}
    sources, decisions = {}, 0
    for name in names:
        features = {}
        for stream in streams:
            steps = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=15))
            close_ns = np.cumsum([step[0] for step in steps], dtype=np.int64)
            known_ns = np.maximum.accumulate(close_ns + np.array([step[1] for step in steps], dtype=np.int64))
            values = np.arange(2.0 * len(steps)).reshape(len(steps), 2)
            values[[step[2] and draw(st.booleans()) for step in steps], 0] = draw(st.sampled_from([math.nan, math.inf]))
            features[stream] = FeatureBatch(
                instrument=named(name),
                first_row=0,
                scale=f"volume:{stream}",
                schema_hash="any",
                close_ns=close_ns,
                known_ns=known_ns,
                values=values,
            )
        rows = draw(st.integers(0, 15))
        decisions += rows
        times = np.cumsum(draw(st.lists(st.integers(0, 4), min_size=rows, max_size=rows)), dtype=np.int64)
        bars = replace(make_bars(np.ones(rows)), open_ns=times - MINUTE, known_ns=times, instrument=named(name))
        unknown = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
        labels = make_labels(bars, np.where(unknown, np.nan, 1.0), horizon_ns=3)
        sources[name] = Source(features=features, labels=labels)
    return sources, streams, decisions


@settings(deadline=None)
@given(drawn=irregular_sources())
def test_samples_are_sound_however_rows_come(drawn: tuple[dict[str, Source], dict[str, int], int]) -> None:
    """No input known after its decision, every target starts there, equal row counts, every decision accounted for."""
    sources, lengths, decisions = drawn
    try:
        samples = build_samples(sources.values(), lengths=lengths)
    except DataError as error:
        assert str(error).startswith("no sample is left")  # noqa: PT017
        return
    assert_sound(samples, sources, decisions)


@settings(deadline=None, max_examples=30)
@given(at=st.integers(0, 160), factor=st.sampled_from([0.5, 1.01]))
def test_nothing_from_the_future_reaches_an_input(at: int, factor: float) -> None:
    """Change every price after a decision: the inputs of that sample and all before are the same, bit for bit."""
    bars = random_walk(1200, seed=3)
    samples = build_samples([source_of(bars)], lengths=LENGTHS)
    later = bars.open_ns >= samples.close_ns[at]
    names = ("open_ticks", "high_ticks", "low_ticks", "close_ticks")
    columns = {name: np.where(later, getattr(bars, name) * factor, getattr(bars, name)).astype(int) for name in names}
    changed = build_samples([source_of(replace(bars, **columns))], lengths=LENGTHS)
    until = np.arange(at + 1)
    for before, after in zip(samples.gather(until).inputs, changed.gather(until).inputs, strict=True):
        assert before.tobytes() == after.tobytes()
    assert (samples.targets[at] != changed.targets[at]).all()


def source_of(bars: BarBatch) -> Source:
    made = fold(bars, *SCALES.values())
    labels = returns_after(made[5 * MINUTE], made[MINUTE], horizons_ns=[10 * MINUTE], hole_max_ns=0)
    return Source(features={scale: features_of(made[ns], scale) for scale, ns in SCALES.items()}, labels=labels)


def test_another_instruments_features_join_by_time() -> None:
    """A stream may be another market's: its rows are those known at the decision, wherever they stand in their file."""
    mine, other = source(), source(1100, seed=2, name="ETHUSDT")
    late = FeatureBatch.rows(other.features["5m"], 50, len(other.features["5m"]))
    both = Source(features={"own": mine.features["5m"], "other": late}, labels=mine.labels)
    samples = build_samples([both], lengths={"own": 6, "other": 6})
    own, foreign = samples.streams
    np.testing.assert_array_equal(own.close_ns[samples.ends[:, 0] - 1], foreign.close_ns[samples.ends[:, 1] - 1])
    assert samples.excluded["other: history"] == 55 - 6  # the first six lack rows of their own
    assert samples.excluded["other: stale"] == 20 - 12  # the last hour has no label


# --- what is no sample ------------------------------------------------------------------------------------------------


def test_rows_missing_within_a_window_are_a_hole() -> None:
    """L rows that are not L bars in a row would tell of a longer time; at the end they would be old."""
    bars = random_walk(100, seed=4)
    features = features_of(bars, "1m")
    kept = np.delete(np.arange(1, 100), [39, 40])  # rows 40 and 41 are missing
    holed = replace(features, **{name: getattr(features, name)[kept] for name in ("close_ns", "known_ns", "values")})
    labels = make_labels(bars, np.ones(100), horizon_ns=MINUTE)
    samples = build_samples([Source(features={"1m": holed}, labels=labels)], lengths={"1m": 10})
    assert samples.excluded == {"1m: history": 10, "1m: stale": 2, "1m: hole": 9}
    assert set(range(100)) - set(samples.bar_row.tolist()) == set(range(10)) | set(range(40, 51))


def test_event_bars_may_come_when_they_like() -> None:
    bars = random_walk(100, seed=5)
    features = replace(features_of(bars, "volume:100"), close_ns=bars.close_ns // 3, known_ns=bars.known_ns)
    labels = make_labels(bars, np.ones(100), horizon_ns=MINUTE)
    samples = build_samples([Source(features={"v": features}, labels=labels)], lengths={"v": 10})
    assert samples.excluded == {"v: history": 9, "v: not finite": 1}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e39])
def test_what_is_not_finite_as_float32_is_no_input(bad: float) -> None:
    """One infinite value in a batch makes every weight NaN; nor may float32 make one of a large number."""
    bars = random_walk(50, seed=6)
    values = np.ones((50, 3))
    values[20, 1] = bad
    features = replace(features_of(bars, "1m"), values=values)
    labels = make_labels(bars, np.ones(50), horizon_ns=MINUTE)
    samples = build_samples([Source(features={"1m": features}, labels=labels)], lengths={"1m": 5})
    assert samples.excluded == {"1m: history": 4, "1m: not finite": 5}
    assert np.isfinite(samples.gather(np.arange(len(samples))).inputs[0]).all()


def test_a_lateness_that_varies_is_no_hole() -> None:
    """A row that is known a little later than others leaves its forerunner the newest a little longer."""
    bars = random_walk(100, seed=5)
    late = bars.known_ns + np.where(np.arange(100) % 7 == 3, SECOND, 0)
    labels = make_labels(bars, np.ones(100), horizon_ns=MINUTE)
    features = replace(features_of(bars, "1m", [np.ones(100)]), known_ns=late)
    samples = build_samples([Source(features={"1m": features}, labels=labels)], lengths={"1m": 5})
    assert samples.excluded == {"1m: history": 4}
    last = features.close_ns[samples.ends[:, 0] - 1]
    np.testing.assert_array_equal(samples.close_ns - last, np.where(samples.bar_row % 7 == 3, MINUTE, 0))


# --- memory -----------------------------------------------------------------------------------------------------------


def test_windows_are_views() -> None:
    """All windows of a stream share its one array; float64 takes over the features' own memory."""
    given_ = source()
    samples = build_samples([given_], lengths=LENGTHS, dtype=np.float64)
    for stream in samples.streams:
        assert stream.windows.shape == (len(stream.values) - stream.length + 1, stream.length, 1)
        assert np.shares_memory(stream.windows, stream.values)
        assert np.shares_memory(stream.values, given_.features[stream.name].values)
        assert not stream.windows.flags.writeable
    assert samples.gather([0]).inputs[0].dtype == np.float32
    half = build_samples([given_], lengths=LENGTHS)
    assert {stream.values.dtype for stream in half.streams} == {np.dtype(np.float32)}
    for a, b in zip(half.gather([3, 1]).inputs, samples.gather([3, 1]).inputs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_gathered_batch_is_a_copy() -> None:
    samples = build_samples([source()], lengths=LENGTHS)
    for dtype in (np.float32, np.float64):
        samples = build_samples([source()], lengths=LENGTHS, dtype=dtype)
        batch = samples.gather([0, 0, 5])
        before = batch.inputs[0][1].copy()
        batch.inputs[0][0] = 7.0
        np.testing.assert_array_equal(batch.inputs[0][1], before)
        assert not np.shares_memory(batch.inputs[0], samples.streams[0].values)


def test_sources_are_taken_one_at_a_time() -> None:
    """A generator may compute one instrument's features after another's; nothing asks for all at once."""
    asked = []

    def one_by_one() -> Iterator[Source]:
        for number, name in enumerate(("XUSDT", "ETHUSDT", "SOLUSDT")):
            asked.append(name)
            yield source(700, seed=number, name=name)

    samples = build_samples(one_by_one(), lengths=LENGTHS)
    assert samples.instruments == tuple(asked)
    assert np.bincount(samples.instrument).tolist() == [len(samples) // 3] * 3


# --- weights and splits -----------------------------------------------------------------------------------------------


def test_samples_are_weighed_and_split_by_their_own_times() -> None:
    """The set hands its times to the weights and the splits: instruments apart in one, together in the other."""
    samples = build_samples([source(), source(900, seed=2, name="ETHUSDT")], lengths=LENGTHS)
    unique = average_uniqueness(samples.known_ns, samples.label_end_ns, samples.instrument)
    weighed = samples.with_weights(unique)
    np.testing.assert_array_equal(weighed.gather([0, 5]).weights, unique[[0, 5]].astype(np.float32))
    assert unique[20] == pytest.approx(1 / 12)  # an hour's labels every five minutes
    assert (samples.weights == 1).all()
    folds = walk_forward(samples.timeline().without_hold_out(), train_ns=6 * HOUR, test_ns=3 * HOUR, embargo_ns=HOUR)
    assert set(samples.instrument[folds[0].test].tolist()) == {0, 1}
    for wrong in (unique[1:], -unique, np.full(len(unique), np.nan)):
        with pytest.raises(ValueError, match="weights"):
            samples.with_weights(wrong)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_contradictions_are_named() -> None:
    """Each says which stream of which instrument, and what is wrong with it."""
    good, other = source(), source(seed=2, name="ETHUSDT")

    def with_stream(**changes: object) -> Source:
        return replace(other, features={**other.features, "5m": replace(other.features["5m"], **changes)})

    five = other.features["5m"]
    cases: list[tuple[list[Source], str]] = [
        ([good, good], "XUSDT: two sources"),
        ([replace(good, features={"1m": good.features["1m"]})], "lengths name"),
        ([good, replace(other, labels=renamed(other.labels))], "label all alike"),
        ([good, with_stream(schema_hash="another")], "ETHUSDT: stream 5m has features .*compute all alike"),
        ([good, with_stream(scale="10m")], "compute all alike"),
        ([with_stream(known_ns=five.close_ns - 1)], "ETHUSDT: stream 5m: row 0 is known before its bar closes"),
        ([with_stream(close_ns=five.close_ns[::-1], known_ns=five.close_ns[::-1])], "row 1 goes back in time"),
        ([with_stream(values=five.values[1:])], "239 rows of values for 240 times"),
        ([with_stream(known_ns=five.known_ns[1:])], "240 closes and 239 times known"),
    ]
    for sources, complaint in cases:
        with pytest.raises(DataError, match=complaint):
            build_samples(sources, lengths=LENGTHS)
    with pytest.raises(ValueError, match="no source"):
        build_samples([], lengths=LENGTHS)
    for lengths in ({}, {"1m": 0}):
        with pytest.raises(ValueError, match="lengths must be positive"):
            build_samples([good], lengths=lengths)


def renamed(labels: Labels) -> Labels:
    return replace(labels, names=tuple(f"other_{name}" for name in labels.names))


def test_no_sample_at_all_says_why() -> None:
    """A window longer than the history, or a feature that is never there, is an error and not an empty set."""
    with pytest.raises(DataError, match=r"no sample is left \(label 12, 1m: history .*; load a longer range"):
        build_samples([source()], lengths={"1m": 2000, "5m": 12, "1h": 4})
    given_ = source()
    hours = given_.features["1h"]
    never = replace(hours, values=np.hstack([np.ones((len(hours), 2)), np.full((len(hours), 1), np.nan)]))
    with pytest.raises(DataError, match=r"1h: not finite .*; leave out the columns without any number: 1h 2"):
        build_samples([replace(given_, features={**given_.features, "1h": never})], lengths=LENGTHS)
    nothing = replace(given_.labels, **{column: getattr(given_.labels, column)[:0] for column in LABEL_COLUMNS})
    with pytest.raises(DataError, match="there is no decision"):
        build_samples([replace(given_, labels=nothing)], lengths=LENGTHS)
