"""Splits in time: nobody is tested on what he was trained on, and what is held out stays held out."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bot.domain.errors import ConfigError
from models.training.splits import (
    Development,
    Folds,
    Split,
    Timeline,
    combinatorial_purged,
    purged_k_fold,
    walk_forward,
)
from tests.support.examples import examples
from tests.support.training import DAY, HOUR, START

I64S = NDArray[np.int64]


def line(*instruments: range, horizon: int = 3, unit: int = 1) -> Timeline:
    """Return samples decided at these times, instrument after instrument, all with labels of one length."""
    start = np.concatenate([np.array(times, dtype=np.int64) for times in instruments]) * unit
    return Timeline(start_ns=start, end_ns=start + horizon * unit)


def assert_apart(split: Split, timeline: Timeline, embargo: int) -> None:
    """Check what every split promises: roles of their own, no overlap in time, the embargo kept on both sides."""
    roles = [split.train, split.validation, split.test, split.purged, split.embargoed]
    joined = np.concatenate(roles)
    assert len(np.unique(joined)) == len(joined)
    for late, early in ((split.test, split.validation), (split.test, split.train), (split.validation, split.train)):
        if len(late) and len(early):
            a, b = timeline.start_ns[early], timeline.end_ns[early]
            c, d = timeline.start_ns[late], timeline.end_ns[late]
            # Sample by sample, not by the stretch: every one of them against every other.
            is_before = b[:, None] + embargo <= c[None, :]
            is_after = d[None, :] + embargo <= a[:, None]
            assert (is_before | is_after).all()


@st.composite
def timelines(draw: st.DrawFn) -> tuple[Timeline, int]:
    """Draw samples of one to three instruments that begin and end anywhere and miss some, with labels of any length."""
    starts: list[int] = []
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, 30))
        times = range(begin, begin + draw(st.integers(30, 80)))
        missing = draw(st.sets(st.sampled_from(times), max_size=10))
        starts += [time for time in times if time not in missing]
    lengths = draw(st.lists(st.integers(0, 6), min_size=len(starts), max_size=len(starts)))
    start = np.array(starts)
    return Timeline(start_ns=start, end_ns=start + lengths), draw(st.integers(0, 5))


def split_or_refuse(make: Callable[[], Folds]) -> Folds:
    """Return folds; samples that do not allow any are another example's business."""
    try:
        return make()
    except ConfigError:
        reject()


# --- walk-forward -----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    drawn=timelines(),
    train=st.integers(5, 30),
    validation=st.integers(0, 15),
    test=st.integers(3, 15),
    expanding=st.booleans(),
)
def test_walk_forward_keeps_the_roles_apart(
    drawn: tuple[Timeline, int], train: int, validation: int, test: int, expanding: bool
) -> None:
    """Whatever the samples: apart in time, tests disjoint and in order, training never after its test."""
    timeline, embargo = drawn
    folds = split_or_refuse(
        lambda: walk_forward(
            timeline.without_hold_out(),
            train_ns=train,
            validation_ns=validation,
            test_ns=test,
            expanding=expanding,
            embargo_ns=embargo,
        )
    )
    tested_until = -1
    for split in folds:
        assert_apart(split, timeline, embargo)
        starts = timeline.start_ns[split.test]
        assert starts.min() > tested_until
        tested_until = starts.max()
        known = timeline.end_ns[np.concatenate([split.train, split.validation])]
        assert (known + embargo <= starts.min()).all()
        if not expanding:
            assert np.ptp(timeline.start_ns[split.train]) < train
    assert tested_until == timeline.start_ns.max()


def test_walk_forward_by_hand() -> None:
    """Hours 0 to 99, labels over 3 hours, embargo of 2: who is where, hour by hour."""
    timeline = line(range(100), unit=HOUR)
    folds = walk_forward(
        timeline.without_hold_out(),
        train_ns=40 * HOUR,
        validation_ns=10 * HOUR,
        test_ns=20 * HOUR,
        embargo_ns=2 * HOUR,
    )
    assert len(folds) == 2
    first, second = folds
    assert first.test.tolist() == list(range(60, 80))
    assert second.test.tolist() == list(range(80, 100))
    # Validation is decided at hours 50 to 59; the label of 57 is known at 60, when the test starts.
    assert first.validation.tolist() == [50, 51, 52, 53, 54, 55]
    assert [row for row in first.embargoed if row >= 50] == [56, 57]
    assert [row for row in first.purged if row >= 50] == [58, 59]
    # Training likewise before the first of the validation.
    assert first.train.tolist() == list(range(46))
    assert [row for row in first.embargoed if row < 50] == [46, 47]
    assert [row for row in first.purged if row < 50] == [48, 49]
    assert second.train.tolist() == list(range(66))


def test_a_rolling_walk_forward_forgets() -> None:
    timeline = line(range(100), horizon=1)
    folds = walk_forward(timeline.without_hold_out(), train_ns=30, test_ns=20, expanding=False, embargo_ns=0)
    assert [split.train.tolist() for split in folds] == [list(range(low, low + 30)) for low in (10, 30, 50)]
    assert [split.test.tolist() for split in folds] == [list(range(low, low + 20)) for low in (40, 60, 80)]
    assert all(not len(split.purged) for split in folds)  # a label known when the test starts does not overlap it


def test_instruments_share_the_calendar() -> None:
    """One instrument is listed later and its rows stand behind: both are cut at one instant, not at one row."""
    timeline = line(range(100), range(50, 100))
    first, second = walk_forward(timeline.without_hold_out(), train_ns=60, test_ns=20, embargo_ns=1)
    assert first.test.tolist() == [*range(60, 80), *range(110, 130)]
    assert second.test.tolist() == [*range(80, 100), *range(130, 150)]
    assert first.train.tolist() == [*range(57), *range(100, 107)]
    assert second.train.tolist() == [*range(77), *range(100, 127)]


# --- k-fold and CPCV --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(drawn=timelines(), count=st.integers(2, 6))
def test_k_fold_tests_everyone_once(drawn: tuple[Timeline, int], count: int) -> None:
    timeline, embargo = drawn
    folds = split_or_refuse(lambda: purged_k_fold(timeline.without_hold_out(), folds=count, embargo_ns=embargo))
    tested = [split.test for split in folds]
    assert sorted(np.concatenate(tested).tolist()) == list(range(len(timeline)))
    for earlier, later in itertools.pairwise(tested):
        assert timeline.start_ns[earlier].max() < timeline.start_ns[later].min()
    for split in folds:
        assert_apart(split, timeline, embargo)
        assert len(split.train) + len(split.test) + len(split.purged) + len(split.embargoed) == len(timeline)


def test_k_fold_by_hand() -> None:
    """The middle fold purges on both sides; the embargo is kept on both."""
    timeline = line(range(30))
    split = purged_k_fold(timeline.without_hold_out(), folds=3, embargo_ns=2)[1]
    assert split.test.tolist() == list(range(10, 20))
    assert split.purged.tolist() == [8, 9, 20, 21]  # the last test label is known at 22
    assert split.embargoed.tolist() == [6, 7, 22, 23]
    assert split.train.tolist() == [*range(6), *range(24, 30)]


@settings(deadline=None, max_examples=examples(40))
@given(drawn=timelines(), groups=st.integers(2, 6), tested=st.integers(1, 5))
def test_cpcv_paths_test_everyone_once_each(drawn: tuple[Timeline, int], groups: int, tested: int) -> None:
    """Every path is a whole history out of sample; all paths together use every test once."""
    assume(tested < groups)
    timeline, embargo = drawn
    folds = split_or_refuse(
        lambda: combinatorial_purged(timeline.without_hold_out(), groups=groups, tested=tested, embargo_ns=embargo)
    )
    assert len(folds) == math.comb(groups, tested)
    assert len(folds.paths) == math.comb(groups, tested) * tested // groups
    splits = list(folds)
    for split in splits:
        assert_apart(split, timeline, embargo)
    for path in folds.paths:
        rows = np.concatenate([folds.group_rows(group) for group in range(groups)])
        assert sorted(rows.tolist()) == list(range(len(timeline)))
        for group, split in enumerate(path):
            assert np.isin(folds.group_rows(group), splits[split].test).all()
            assert not np.isin(folds.group_rows(group), splits[split].train).any()
    used = [(split, group) for path in folds.paths for group, split in enumerate(path)]
    assert len(set(used)) == len(used) == len(folds) * tested


# --- the hold-out -----------------------------------------------------------------------------------------------------


def test_what_is_held_out_is_out_of_reach() -> None:
    """No fold of any kind has a sample whose time reaches into the hold-out, embargo included."""
    timeline = line(range(100), range(20, 120))
    development, holdout = timeline.hold_out(from_ns=90, embargo_ns=4)
    made: list[Folds] = [
        walk_forward(development, train_ns=30, validation_ns=10, test_ns=20, embargo_ns=2),
        purged_k_fold(development, folds=4, embargo_ns=2),
        combinatorial_purged(development, groups=4, tested=2, embargo_ns=2),
    ]
    assert len(holdout) == 10 + 30
    used = {int(row) for folds in made for split in folds for row in (*split.train, *split.validation, *split.test)}
    assert max(timeline.end_ns[list(used)]) <= 86
    held = holdout.open("the final evaluation")
    assert not used & set(held.tolist())
    assert (timeline.start_ns[held] >= 90).all()


def test_a_hold_out_opens_once() -> None:
    _, holdout = line(range(100)).hold_out(from_ns=90, embargo_ns=0)
    assert holdout.open("the final evaluation").tolist() == list(range(90, 100))
    with pytest.raises(ConfigError, match=r"already opened for 'the final evaluation'"):
        holdout.open("one more look")


def test_without_a_hold_out_must_be_said() -> None:
    """A whole timeline cannot be split by accident: only a development set goes into a splitter."""
    timeline = line(range(100))
    assert not hasattr(timeline, "rows")
    assert isinstance(timeline.without_hold_out(), Development)
    assert timeline.without_hold_out().rows.tolist() == list(range(100))


# --- what cannot be ---------------------------------------------------------------------------------------------------


def test_impossible_requests_say_what_to_do() -> None:
    development = line(range(100), unit=DAY).without_hold_out()
    with pytest.raises(ConfigError, match=r"needs 140\.0 days for its first fold, the samples last 99\.0"):
        walk_forward(development, train_ns=100 * DAY, test_ns=40 * DAY, embargo_ns=0)
    with pytest.raises(ConfigError, match="no sample left to train on"):
        walk_forward(development, train_ns=10 * DAY, test_ns=80 * DAY, embargo_ns=90 * DAY)
    with pytest.raises(ConfigError, match="no sample left to validate on"):
        walk_forward(development, train_ns=30 * DAY, validation_ns=2 * DAY, test_ns=20 * DAY, embargo_ns=0)
    with pytest.raises(ConfigError, match="longer than nothing"):
        walk_forward(development, train_ns=0, test_ns=DAY, embargo_ns=0)
    with pytest.raises(ConfigError, match="negative"):
        walk_forward(development, train_ns=DAY, test_ns=DAY, embargo_ns=-1)
    with pytest.raises(ConfigError, match="100 decision times cannot be cut into 101"):
        purged_k_fold(development, folds=101, embargo_ns=0)
    with pytest.raises(ConfigError, match="2 or more"):
        purged_k_fold(development, folds=1, embargo_ns=0)
    with pytest.raises(ConfigError, match="no sample left to train on"):
        purged_k_fold(development, folds=2, embargo_ns=200 * DAY)
    for tested in (0, 4):
        with pytest.raises(ConfigError, match=f"{tested} of 4 groups"):
            combinatorial_purged(development, groups=4, tested=tested, embargo_ns=0)


def test_an_impossible_hold_out_says_what_there_is() -> None:
    timeline = line(range(10), unit=DAY)
    for from_ns in (0, 11 * DAY):
        with pytest.raises(ConfigError, match="samples are decided from 1970-01-01T00:00:00Z to 1970-01-10T00:00:00Z"):
            timeline.hold_out(from_ns=from_ns, embargo_ns=0)
    nothing = Timeline(start_ns=np.empty(0, dtype=np.int64), end_ns=np.empty(0, dtype=np.int64))
    with pytest.raises(ConfigError, match="there is no sample"):
        nothing.hold_out(from_ns=START, embargo_ns=0)
    with pytest.raises(ConfigError, match="no sample to split"):
        nothing.without_hold_out()


def test_a_timeline_must_make_sense() -> None:
    with pytest.raises(ValueError, match="sample 1 ends before"):
        Timeline(start_ns=np.array([1, 5]), end_ns=np.array([2, 4]))
    with pytest.raises(ValueError, match="one length"):
        Timeline(start_ns=np.array([1, 5]), end_ns=np.array([2]))


def test_a_split_has_one_role_for_a_sample() -> None:
    none = np.empty(0, dtype=np.int64)
    rows = {"validation": none, "purged": none, "embargoed": none}
    with pytest.raises(ValueError, match="two roles"):
        Split(train=np.array([1, 2]), test=np.array([2, 3]), **rows)
    with pytest.raises(ValueError, match="ascend"):
        Split(train=np.array([2, 1]), test=np.array([3]), **rows)
    assert Split(train=none, test=none, **rows)


def test_folds_are_a_sequence() -> None:
    folds = purged_k_fold(line(range(40)).without_hold_out(), folds=4, embargo_ns=0)
    assert [split.test[0] for split in folds[1:3]] == [10, 20]
    assert folds[-1].test.tolist() == list(range(30, 40))
    with pytest.raises(IndexError):
        folds[4]
