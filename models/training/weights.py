"""How much each sample counts: labels that overlap in time tell the same story several times.

Source: López de Prado (2018), Advances in Financial Machine Learning, sections 4.3, 4.4 and 4.7; here in continuous
time, so that horizons of any length and bars of any kind need no common grid. On bars of one length both agree.
"""

import numpy as np
from numpy.typing import NDArray

from bot.domain.market import F64, I64


def average_uniqueness(start_ns: I64, end_ns: I64, group: NDArray[np.integer] | None = None) -> F64:
    """Return the mean of 1 / concurrency over each label's time: [N], in (0, 1].

    The concurrency at u is the number of labels of the same group with start < u <= end. One label alone has 1; labels
    over 24 bars taken at every bar have 1/24. It looks at the labels' times alone, not at their values, and at all the
    labels given: give it those that are trained on, no others.

    Args:
        start_ns, end_ns: [N] each label's time, such as a sample set's `known_ns` and `label_end_ns`.
        group: [N] labels of different groups do not overlap, such as the instrument's number; None for one group.

    Raises:
        ValueError: a label ends before it starts, or at once.
    """
    if (end_ns <= start_ns).any():
        raise ValueError(f"label {int(np.argmax(end_ns <= start_ns))} does not end after its start")
    out = np.empty(len(start_ns))
    groups = np.zeros(len(start_ns), dtype=np.int64) if group is None else group
    for each in np.unique(groups):
        rows = np.flatnonzero(groups == each)
        out[rows] = _uniqueness(start_ns[rows], end_ns[rows])
    return out


def _uniqueness(start_ns: I64, end_ns: I64) -> F64:
    times, place = np.unique(np.concatenate([start_ns, end_ns]), return_inverse=True)
    start, end = place[: len(start_ns)], place[len(start_ns) :]
    changes = np.bincount(start, minlength=len(times)) - np.bincount(end, minlength=len(times))
    concurrency = np.cumsum(changes)[:-1]  # from each time to the next
    share = np.diff(times) / np.maximum(concurrency, 1)
    so_far = np.concatenate([[0.0], np.cumsum(share)])
    mean: F64 = (so_far[end] - so_far[start]) / (end_ns - start_ns)
    return np.minimum(mean, 1.0)


def time_decay(uniqueness: F64, time_ns: I64, *, oldest: float) -> F64:
    """Return weights that fall linearly with age, where age counts what was learned since, not time: [N], in [0, 1].

    Age is the uniqueness that came later, so a year of overlapping labels ages a sample no more than what it taught.
    The newest sample has 1. `oldest` is the weight that a sample before all others would have: 1 for no decay, 0 for
    a fall to nothing; a negative -x leaves the oldest share x of all that was learned without any weight. Multiply
    with the uniqueness to weigh by both.

    Args:
        uniqueness: [N] from `average_uniqueness`.
        time_ns: [N] when each sample was decided; samples of one time have one age.
        oldest: within (-1, 1].

    Raises:
        ValueError: `oldest` is out of range.
    """
    if not -1 < oldest <= 1:
        raise ValueError(f"oldest = {oldest} is not within -1 (without) and 1")
    if not len(uniqueness):
        return np.empty(0)
    times, place = np.unique(time_ns, return_inverse=True)
    learned = np.cumsum(np.bincount(place, weights=uniqueness, minlength=len(times)))
    reached: F64 = learned[place] / learned[-1]  # the share of all that was learned up to each sample, 1 at the newest
    if oldest >= 0:
        return oldest + (1 - oldest) * reached
    return np.maximum(0.0, 1 - (1 - reached) / (1 + oldest))
