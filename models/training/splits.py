"""Who is trained on, who is chosen by, who is tested on: splits in time that leak nothing.

A sample's time is [start, end]: from its decision until its label is known. Samples of several instruments share one
calendar, so everything here goes by time and never by row. Two rules keep the roles apart:

* purge: a sample whose time overlaps that of a role it must not know is dropped. One that ends exactly when the other
  starts does not overlap.
* embargo: one that lies within `embargo_ns` of that role, before or after it, is dropped as well. The embargo should
  be at least as long as the features look back, and at least a day.

What is dropped is reported, never reassigned. The final stretch is held out first: only a `Development` can be split,
and only `Timeline` makes one, so nobody tunes on the hold-out by forgetting it.

Source: López de Prado (2018), Advances in Financial Machine Learning, chapters 7 and 12.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from bot.domain.errors import ConfigError
from bot.domain.market import I64

Mask = NDArray[np.bool_]
_NEVER_NS = 2**62
_DAY_NS = 86_400_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Split:
    """Row numbers of samples by role, ascending; a sample has one role or none.

    Raises:
        ValueError: a role's rows do not ascend, or a sample has two roles.
    """

    train: I64
    validation: I64  # to stop early and to choose by; may be empty
    test: I64
    purged: I64  # kept out of train and validation: their labels overlap another role
    embargoed: I64  # kept out as too near another role

    def __post_init__(self) -> None:
        roles = (self.train, self.validation, self.test, self.purged, self.embargoed)
        for rows in roles:
            if (np.diff(rows) <= 0).any():
                raise ValueError("the rows of a role must ascend")
        if (np.bincount(np.concatenate(roles)) > 1).any():
            raise ValueError("a sample has two roles")


class Holdout:
    """The newest stretch of samples, to be looked at once, when everything is decided."""

    __slots__ = ("_opened_for", "_rows", "from_ns")

    def __init__(self, rows: I64, from_ns: int) -> None:
        self._rows = rows
        self._opened_for: str | None = None
        self.from_ns = from_ns  # its samples are decided from here on

    def open(self, purpose: str) -> I64:
        """Return the rows held out, once.

        Raises:
            ConfigError: it was opened before: what is tuned after a look is no longer tested by it.
        """
        if self._opened_for is not None:
            raise ConfigError(
                f"the hold-out was already opened for {self._opened_for!r}; to test once more, hold out newer data"
            )
        self._opened_for = purpose
        return self._rows

    def __len__(self) -> int:
        return len(self._rows)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Timeline:
    """The times of all samples of a set.

    Raises:
        ValueError: the columns differ in length, or a label is known before its decision.
    """

    start_ns: I64  # when each sample is decided
    end_ns: I64  # when its label is known

    def __post_init__(self) -> None:
        if self.start_ns.shape != self.end_ns.shape or self.start_ns.ndim != 1:
            raise ValueError("start_ns and end_ns must be two columns of one length")
        if (self.end_ns < self.start_ns).any():
            raise ValueError(f"sample {int(np.argmax(self.end_ns < self.start_ns))} ends before it starts")

    def hold_out(self, *, from_ns: int, embargo_ns: int) -> tuple["Development", Holdout]:
        """Return the samples to work with, and those decided from `from_ns` on, locked away.

        A sample whose label is not known `embargo_ns` before `from_ns` is in neither.

        Raises:
            ConfigError: one of the two would be empty.
        """
        _check_embargo(embargo_ns)
        held = np.flatnonzero(self.start_ns >= from_ns)
        open_ = np.flatnonzero((self.start_ns < from_ns) & (self.end_ns <= from_ns - embargo_ns))
        if not len(held) or not len(open_):
            raise ConfigError(
                f"holding out from {_iso(from_ns)} leaves {len(open_):,} samples to work with and {len(held):,} held "
                f"out{self._told()}; move the start of the hold-out"
            )
        return Development(self, open_), Holdout(held, from_ns)

    def without_hold_out(self) -> "Development":
        """Return all samples to work with: nothing is left to judge the final choice by.

        Raises:
            ConfigError: there is no sample.
        """
        if not len(self):
            raise ConfigError("there is no sample to split; load a longer range of time")
        return Development(self, np.arange(len(self)))

    def _told(self) -> str:
        if not len(self):
            return ": there is no sample"
        return f"; samples are decided from {_iso(int(self.start_ns.min()))} to {_iso(int(self.start_ns.max()))}"

    def __len__(self) -> int:
        return len(self.start_ns)


class Development:
    """The samples that may be trained, chosen and tested on; made by `Timeline` alone."""

    def __init__(self, timeline: Timeline, rows: I64) -> None:
        self.rows = rows  # row numbers in the whole set
        self.start_ns = timeline.start_ns[rows]
        self.end_ns = timeline.end_ns[rows]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Stretches of decision time, half open, by role."""

    train: tuple[int, int]
    validation: tuple[int, int] | None
    tests: tuple[tuple[int, int], ...]


class Folds(Sequence[Split]):
    """Splits of one development set, each made when it is asked for: many splits of many samples need little memory.

    Raises:
        ConfigError: a fold has no sample to train, validate or test on.
    """

    def __init__(self, samples: Development, plans: Sequence[_Plan], embargo_ns: int) -> None:
        self._samples = samples
        self._plans = tuple(plans)
        self._embargo_ns = embargo_ns
        for number, plan in enumerate(self._plans):
            roles = zip(("train", "validate", "test"), self._roles(plan), strict=False)
            for word, rows in roles:
                if not rows.any() and not (word == "validate" and plan.validation is None):
                    raise ConfigError(
                        f"fold {number + 1} of {len(self._plans)} has no sample left to {word} on; take fewer folds, "
                        "longer stretches or a shorter embargo"
                    )

    @overload
    def __getitem__(self, index: int) -> Split: ...

    @overload
    def __getitem__(self, index: slice) -> "Sequence[Split]": ...

    def __getitem__(self, index: int | slice) -> "Split | Sequence[Split]":
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        roles = self._roles(self._plans[index])
        train, validation, test, purged, embargoed = (self._samples.rows[role] for role in roles)
        return Split(train=train, validation=validation, test=test, purged=purged, embargoed=embargoed)

    def __len__(self) -> int:
        return len(self._plans)

    def _roles(self, plan: _Plan) -> tuple[Mask, Mask, Mask, Mask, Mask]:
        """Return masks for train, validation, test, purged and embargoed."""
        start_ns = self._samples.start_ns
        parts = [_within(start_ns, *stretch) for stretch in plan.tests]
        test = np.logical_or.reduce(parts)
        validation = np.zeros(len(start_ns), dtype=np.bool_)
        if plan.validation is not None:
            validation = _within(start_ns, *plan.validation) & ~test
        train = _within(start_ns, *plan.train) & ~test & ~validation
        overlap, near = self._near(parts)
        purged, embargoed = (train | validation) & overlap, (train | validation) & near
        validation &= ~near
        overlap, near = self._near([validation])
        purged, embargoed = purged | (train & overlap), embargoed | (train & near)
        return train & ~embargoed, validation, test, purged, embargoed & ~purged

    def _near(self, parts: list[Mask]) -> tuple[Mask, Mask]:
        """Return which samples overlap the time of a part, and which do or come within the embargo of it."""
        start_ns, end_ns = self._samples.start_ns, self._samples.end_ns
        overlap, near = np.zeros((2, len(start_ns)), dtype=np.bool_)
        for part in parts:
            if part.any():
                from_ns, until_ns = int(start_ns[part].min()), int(end_ns[part].max())
                overlap |= (start_ns < until_ns) & (end_ns > from_ns)
                near |= (start_ns < until_ns + self._embargo_ns) & (end_ns > from_ns - self._embargo_ns)
        return overlap, near | overlap


def walk_forward(
    samples: Development,
    *,
    train_ns: int,
    test_ns: int,
    validation_ns: int = 0,
    expanding: bool = True,
    embargo_ns: int,
) -> Folds:
    """Return folds in which every test follows its training, the oldest first.

    The tests lie side by side and end with the newest sample. Before each lie its validation, if any, and its
    training: at least `train_ns` of it, from the beginning of the samples if `expanding`, exactly `train_ns` if not.
    Purge and embargo take from the end of the earlier stretch.

    Args:
        samples: what may be used.
        train_ns, test_ns, validation_ns: lengths of the stretches.
        expanding: train on all that came before, or on a stretch that rolls along.
        embargo_ns: the distance between the stretches beyond the labels' own.

    Raises:
        ConfigError: the samples do not last for one fold, or a fold would be empty.
    """
    _check_embargo(embargo_ns)
    if min(train_ns, test_ns) <= 0 or validation_ns < 0:
        raise ConfigError("train and test must last longer than nothing, validation no less than nothing")
    begin_ns, end_ns = int(samples.start_ns.min()), int(samples.start_ns.max()) + 1
    count = (end_ns - begin_ns - train_ns - validation_ns) // test_ns
    if count < 1:
        needed_ns = train_ns + validation_ns + test_ns
        raise ConfigError(
            f"walk-forward needs {needed_ns / _DAY_NS:.1f} days for its first fold, the samples last "
            f"{(end_ns - begin_ns) / _DAY_NS:.1f}, from the day on that all a decision reads has warmed up; "
            "shorten train, validation or test, or load a longer range of time"
        )
    plans = []
    for number in range(count):
        test_from_ns = end_ns - (count - number) * test_ns
        validation_from_ns = test_from_ns - validation_ns
        plans.append(
            _Plan(
                train=(begin_ns if expanding else validation_from_ns - train_ns, validation_from_ns),
                validation=(validation_from_ns, test_from_ns) if validation_ns else None,
                tests=((test_from_ns, test_from_ns + test_ns),),
            )
        )
    return Folds(samples, plans, embargo_ns)


def purged_k_fold(samples: Development, *, folds: int, embargo_ns: int) -> Folds:
    """Return `folds` splits that test each stretch of time once and train on the rest, before and after.

    The stretches hold equally many decision times. A model tested so has seen the future of its test: it tells whether
    there is something to learn, not what it would have earned.

    Raises:
        ConfigError: fewer than two folds, more than decision times, or a fold would be empty.
    """
    groups = _groups(samples, folds)
    return Folds(samples, [_tested(group) for group in ([each] for each in groups)], _check_embargo(embargo_ns))


class CombinatorialFolds(Folds):
    """All ways to test `tested` of `groups` stretches and train on the rest.

    Every stretch is tested as often as there are paths; a path is one whole history of tests put together from
    several splits, each with a model that did not train on what it tests.
    """

    def __init__(self, samples: Development, *, groups: int, tested: int, embargo_ns: int) -> None:
        stretches = _groups(samples, groups)
        if not 1 <= tested < groups:
            raise ConfigError(f"{tested} of {groups} groups cannot be tested; test at least 1 and leave at least 1")
        self._bounds_ns = stretches
        self.tested_groups = tuple(itertools.combinations(range(groups), tested))  # by split
        plans = [_tested([stretches[group] for group in chosen]) for chosen in self.tested_groups]
        super().__init__(samples, plans, _check_embargo(embargo_ns))

    @property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """Return for each path the split that tests group 0, the one that tests group 1 and so on.

        There are comb(groups, tested) * tested / groups paths, which together use every test of every split once.
        """
        by_group = [[s for s, chosen in enumerate(self.tested_groups) if g in chosen] for g in range(self.group_count)]
        return tuple(zip(*by_group, strict=True))

    @property
    def group_count(self) -> int:
        """Return how many stretches there are."""
        return len(self._bounds_ns)

    def group_rows(self, group: int) -> I64:
        """Return the samples of one stretch."""
        rows: I64 = self._samples.rows[_within(self._samples.start_ns, *self._bounds_ns[group])]
        return rows


def combinatorial_purged(samples: Development, *, groups: int, tested: int, embargo_ns: int) -> CombinatorialFolds:
    """Return combinatorial purged cross-validation: comb(groups, tested) splits.

    Raises:
        ConfigError: an impossible number of groups, more than decision times, or a split would be empty.
    """
    return CombinatorialFolds(samples, groups=groups, tested=tested, embargo_ns=embargo_ns)


def _tested(stretches: Sequence[tuple[int, int]]) -> _Plan:
    return _Plan(train=(-_NEVER_NS, _NEVER_NS), validation=None, tests=tuple(stretches))


def _groups(samples: Development, count: int) -> list[tuple[int, int]]:
    """Return stretches of time, each with equally many decision times, give or take one."""
    times = np.unique(samples.start_ns)
    if not 2 <= count <= len(times):
        raise ConfigError(f"{len(times):,} decision times cannot be cut into {count} stretches; ask for 2 or more")
    firsts = [int(part[0]) for part in np.array_split(times, count)]
    return list(itertools.pairwise([*firsts, int(times[-1]) + 1]))


def _within(times_ns: I64, from_ns: int, until_ns: int) -> Mask:
    return np.asarray((times_ns >= from_ns) & (times_ns < until_ns))


def _check_embargo(embargo_ns: int) -> int:
    if embargo_ns < 0:
        raise ConfigError("an embargo cannot be negative")
    return embargo_ns


def _iso(time_ns: int) -> str:
    return f"{np.datetime64(time_ns, 'ns').astype('datetime64[s]')}Z"
