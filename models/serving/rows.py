"""The bars that a model reads, kept on the grid of their clock, and cut out for a block of decisions.

A block is `block` decision bars in a row whose first one begins at a multiple of the block's own length since the
epoch. So the same decision lies at the same place of the same block, in whatever cut the market comes and wherever a
run began. What is cut out has the same shape every time: bars that are not there, or not yet, are zeros whose places
no answer that counts can see.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bot.domain.market import I64
from models.normalizer import F32
from models.serving.told import Scale, Told
from models.training.segments import ScaleArrays

# Shape letters in this file: N bar, F feature, L place in what is cut out, T decision of a block.
NEVER_NS = 2**62
Mask = NDArray[np.bool_]


@dataclass(kw_only=True, slots=True, eq=False)
class ScaleRows:
    """The newest bars of one scale, oldest first: as a network reads them, and whether it may."""

    values_NF: F32
    close_ns: I64
    known_ns: I64
    is_whole: Mask  # every feature is a number

    @classmethod
    def empty(cls, features: int) -> "ScaleRows":
        """Return none."""
        times = np.empty(0, dtype=np.int64)
        return cls(
            values_NF=np.empty((0, features), dtype=np.float32),
            close_ns=times,
            known_ns=times,
            is_whole=np.empty(0, dtype=np.bool_),
        )

    def extend(self, values_NF: F32, close_ns: I64, known_ns: I64) -> None:
        """Add bars; what is no number becomes zero and is remembered as such."""
        is_finite = np.isfinite(values_NF)
        self.values_NF = np.concatenate([self.values_NF, np.where(is_finite, values_NF, np.float32(0))])
        self.close_ns = np.concatenate([self.close_ns, close_ns])
        self.known_ns = np.concatenate([self.known_ns, known_ns])
        self.is_whole = np.concatenate([self.is_whole, is_finite.all(axis=1)])

    def forget(self, before_ns: int) -> None:
        """Drop the bars that closed before a time."""
        first = int(self.close_ns.searchsorted(before_ns))
        if first:
            self.values_NF, self.close_ns = self.values_NF[first:], self.close_ns[first:]
            self.known_ns, self.is_whole = self.known_ns[first:], self.is_whole[first:]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Block:
    """What a model is asked for one block of one instrument."""

    scales: dict[str, ScaleArrays]  # [1, L, F] and times
    decision_ns_T: I64
    is_answerable_T: Mask  # all that the decision needs is there
    ends_T: dict[str, I64]  # by scale, how many places a decision knows


def block_number(close_ns: I64, told: Told) -> I64:
    """Return which block each decision bar lies in."""
    return (close_ns // told.decision_ns - 1) // told.block


def places_of(scale: Scale, told: Told) -> int:
    """Return how many bars of a scale are cut out for a block."""
    return scale.need + -(-told.block * told.decision_ns // scale.length_ns) + 1


def context_ns(scale: Scale, number: int, told: Told) -> int:
    """Return the close of the oldest bar that a block and all later ones need of a scale."""
    end_ns = (number + 1) * told.block * told.decision_ns
    return (end_ns // scale.length_ns - places_of(scale, told) + 1) * scale.length_ns


def cut_block(number: int, rows: dict[str, ScaleRows], told: Told) -> Block:
    """Return a block as far as it is known."""
    start_ns = number * told.block * told.decision_ns
    grid_T = start_ns + told.decision_ns * np.arange(1, told.block + 1, dtype=np.int64)
    decision_ns_T, is_there_T = _decisions(grid_T, rows[told.scales[0].bar])
    scales, ends_T = {}, {}
    is_answerable_T = is_there_T
    for scale in told.scales:
        arrays, is_good_L = _cut(scale, number, rows[scale.bar], told)
        # By the clock, not by what is there: a bar that is missing is not replaced by the one before it.
        end_T = (grid_T - arrays.close_ns_BL[0, 0]) // scale.length_ns + 1
        first_T = np.zeros_like(end_T) if told.how == "anchored" else end_T - scale.need
        bad_L = np.concatenate([[0], np.cumsum(~is_good_L)])
        is_known_T = arrays.known_ns_BL[0, end_T - 1] <= decision_ns_T
        is_answerable_T = is_answerable_T & is_known_T & (bad_L[end_T] == bad_L[first_T])
        scales[scale.bar], ends_T[scale.bar] = arrays, end_T
    # A place without an answer is asked for when the next one with an answer is: a network wants history at each.
    later_T = np.minimum.accumulate(np.where(is_answerable_T, decision_ns_T, NEVER_NS)[::-1])[::-1]
    decision_ns_T = np.where(later_T == NEVER_NS, decision_ns_T, later_T)
    return Block(scales=scales, decision_ns_T=decision_ns_T, is_answerable_T=is_answerable_T, ends_T=ends_T)


def cut_windows(block: Block, told: Told) -> dict[str, ScaleArrays]:
    """Return [T, L, F], the window of each decision; those of decisions without an answer hold anything."""
    made = {}
    for scale in told.scales:
        arrays = block.scales[scale.bar]
        at_TL = block.ends_T[scale.bar][:, None] - scale.need + np.arange(scale.need)
        made[scale.bar] = ScaleArrays(
            values_BLF=arrays.values_BLF[0, at_TL],
            close_ns_BL=arrays.close_ns_BL[0, at_TL],
            known_ns_BL=np.minimum(arrays.known_ns_BL[0, at_TL], block.decision_ns_T[:, None]),
        )
    return made


def _decisions(grid_T: I64, rows: ScaleRows) -> tuple[I64, Mask]:
    """Return when each decision of a block is taken, and which there are; those that are not come at their close."""
    at = rows.close_ns.searchsorted(grid_T)
    is_there = np.zeros(len(grid_T), dtype=np.bool_)
    inside = at < len(rows.close_ns)
    is_there[inside] = rows.close_ns[at[inside]] == grid_T[inside]
    times = grid_T.copy()
    times[is_there] = rows.known_ns[at[is_there]]
    return np.maximum.accumulate(times), is_there


def _cut(scale: Scale, number: int, rows: ScaleRows, told: Told) -> tuple[ScaleArrays, Mask]:
    """Return a scale's places, and which of them hold a bar that is whole."""
    places = places_of(scale, told)
    close_ns_L = context_ns(scale, number, told) + scale.length_ns * np.arange(places, dtype=np.int64)
    first, stop = rows.close_ns.searchsorted([close_ns_L[0], close_ns_L[-1] + 1])
    at = (rows.close_ns[first:stop] - close_ns_L[0]) // scale.length_ns
    values_LF = np.zeros((places, rows.values_NF.shape[1]), dtype=np.float32)
    known_ns_L = np.full(places, NEVER_NS, dtype=np.int64)
    is_good_L = np.zeros(places, dtype=np.bool_)
    values_LF[at] = rows.values_NF[first:stop]
    known_ns_L[at] = rows.known_ns[first:stop]
    is_good_L[at] = rows.is_whole[first:stop]
    # A place without a bar is passed when the next bar is known, and before the first bar at its own time.
    known_ns_L = np.ascontiguousarray(np.minimum.accumulate(known_ns_L[::-1])[::-1])
    head = known_ns_L[: int(at[0]) if len(at) else 0]
    np.minimum(head, close_ns_L[: len(head)], out=head)
    # A network wants to know so many at least; where they are not there, nobody looks at the answer.
    head = known_ns_L[: scale.need]
    head[:] = np.maximum.accumulate(np.where(head == NEVER_NS, close_ns_L[: len(head)], head))
    arrays = ScaleArrays(values_BLF=values_LF[None], close_ns_BL=close_ns_L[None], known_ns_BL=known_ns_L[None])
    return arrays, is_good_L
