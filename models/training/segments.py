"""In which order samples are learned, and the batches they become: windows, or stretches that stream.

A window system answers one decision a row: its batch holds B samples and their windows. A streaming system answers at
every bar in one pass, so its batch holds B *segments* of T decisions that follow one another, each with as many bars
before its first decision as the network looks back. Those bars warm it up and count for nothing.

One epoch counts every decision exactly once, unless it is thinned. Where a stretch is cut is drawn anew in every epoch;
a piece that is shorter than T is lengthened by decisions of the same stretch that count elsewhere, so that shapes stay
the same. All of it is a function of (seed, epoch): position in the order is two numbers, and training goes on from them
exactly.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bot.core.durations import parse_duration
from bot.domain.errors import ConfigError
from bot.domain.market import I64
from models.normalizer import F32
from models.training.samples import SampleSet

# Shape letters in this file: N sample, B row of the batch, T decision, L bar, F feature, K label.
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chosen:
    """Which samples a batch is made of."""

    rows_BT: I64  # sample numbers; along T they follow one another in time
    counts_BT: Mask  # which of them count here

    def shard(self, rank: int, world: int) -> "Chosen":
        """Return the part of one of several processes: equally many rows for each, some of which may count nothing."""
        missing = -len(self.rows_BT) % world
        rows = np.concatenate([self.rows_BT, np.repeat(self.rows_BT[:1], missing, axis=0)])
        counts = np.concatenate([self.counts_BT, np.zeros((missing, self.counts_BT.shape[1]), dtype=np.bool_)])
        return Chosen(rows_BT=rows[rank::world], counts_BT=counts[rank::world])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScaleArrays:
    """The bars of one scale, oldest first."""

    values_BLF: F32
    close_ns_BL: I64
    known_ns_BL: I64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Segments:
    """A batch, gathered."""

    scales: dict[str, ScaleArrays]
    close_ns_BT: I64  # where each decision's targets begin
    decision_ns_BT: I64  # when it is taken
    targets_BTK: F32
    weights_BT: F32  # 0 where a decision does not count
    asset_B: I64
    rows_BT: I64


class Order:
    """The batches of every epoch.

    Args:
        samples: all there are.
        rows: those of the role, ascending.
        batch: B, rows of a batch.
        segment: T, decisions a row; 1 for window systems.
        decision_ns: the length of the decision bars.
        seed: another seed, another order; None for the order of time, as for evaluation.
        thin: of windows, which overlap almost wholly, one of so many is in an epoch, its neighbours in the next ones;
            in the order of time always the same ones.
    """

    def __init__(
        self,
        samples: SampleSet,
        rows: I64,
        *,
        batch: int,
        segment: int,
        decision_ns: int,
        seed: int | None,
        thin: int = 1,
    ) -> None:
        if batch < 1 or segment < 1 or thin < 1:
            raise ValueError("batch, segment and thin must be positive")
        if thin > 1 and segment > 1:
            raise ConfigError(
                f"train.thin = {thin}: stretches are learned whole; thin is for systems that read windows"
            )
        self._batch, self._segment, self._seed, self._thin = batch, segment, seed, thin
        breaks = np.flatnonzero(
            (np.diff(rows) != 1)
            | (np.diff(samples.instrument[rows]) != 0)
            | (np.diff(samples.close_ns[rows]) != decision_ns)
        )
        starts = np.concatenate([[0], breaks + 1]) if len(rows) else np.empty(0, dtype=np.int64)
        lengths = np.diff(np.append(starts, len(rows)))
        self._rows = rows
        self._stretches = [(int(start), int(length)) for start, length in zip(starts, lengths, strict=True)]

    def epoch(self, number: int) -> list[Chosen]:
        """Return the batches of an epoch."""
        if self._segment == 1:
            rows = self._rows[(0 if self._seed is None else number % self._thin) :: self._thin]
            order = _shuffled(len(rows), self._seed, number)
            return [
                Chosen(rows_BT=rows[part][:, None], counts_BT=np.ones((len(part), 1), dtype=np.bool_))
                for part in _parts(order, self._batch)
            ]
        by_length: dict[int, list[tuple[int, int, int]]] = {}
        for stretch, (start, length) in enumerate(self._stretches):
            for first, size, count_from, count_to in self._pieces(stretch, length, number):
                by_length.setdefault(size, []).append((start + first, start + count_from, start + count_to))
        batches = []
        for size in sorted(by_length):
            pieces = np.array(by_length[size], dtype=np.int64)
            order = _shuffled(len(pieces), self._seed, number, size)
            batches += [self._chosen(pieces[part], size) for part in _parts(order, self._batch)]
        return [batches[at] for at in _shuffled(len(batches), self._seed, number, "batches")]

    def __len__(self) -> int:
        """Return how many decisions there are; an epoch counts all of them, or one of every `thin`."""
        return len(self._rows)

    def _pieces(self, stretch: int, length: int, epoch: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield first decision, size, and from and to where decisions count, of each piece of a stretch."""
        size = self._segment
        if length <= size:
            yield 0, length, 0, length
            return
        cut = 0 if self._seed is None else _hash(self._seed, epoch, stretch, "cut") % size
        bounds = [0, *range(cut or size, length, size), length]
        for count_from, count_to in itertools.pairwise(bounds):
            first = min(count_from, length - size)
            yield first, size, count_from, count_to

    def _chosen(self, pieces: I64, size: int) -> Chosen:
        at_BT = pieces[:, :1] + np.arange(size)
        counts_BT = (at_BT >= pieces[:, 1:2]) & (at_BT < pieces[:, 2:3])
        return Chosen(rows_BT=self._rows[at_BT], counts_BT=counts_BT)


class Gatherer:
    """Makes batches of a sample set.

    Args:
        samples: with windows of `lengths`, and `slack` more rows where segments stream; see `lengths_needed`.
        lengths: bars that must lie before and at a decision, by scale.
        decision_ns: the length of the decision bars.

    Raises:
        ConfigError: segments over bars that the market closes: how many lie in a segment cannot be told beforehand.
    """

    def __init__(self, samples: SampleSet, lengths: dict[str, int], *, segment: int, decision_ns: int) -> None:
        self._samples, self._lengths = samples, lengths
        self._decision_ns = decision_ns
        self._scale_ns = {scale: _length_ns(scale) for scale in lengths}
        if segment > 1 and None in self._scale_ns.values():
            raise ConfigError(
                "a streaming system is trained on time scales; event bars need a window system (train.segment = 1)"
            )

    def gather(self, chosen: Chosen) -> Segments:
        """Return a batch: copies, float32."""
        samples = self._samples
        first_B, last_B = chosen.rows_BT[:, 0], chosen.rows_BT[:, -1]
        decisions = chosen.rows_BT.shape[1]
        scales = {}
        for number, stream in enumerate(samples.streams):
            at_BL = self._bars(number, last_B, decisions)
            scales[stream.name] = ScaleArrays(
                values_BLF=stream.values[at_BL].astype(np.float32, copy=False),
                close_ns_BL=stream.close_ns[at_BL],
                known_ns_BL=stream.known_ns[at_BL],
            )
        rows_BT = chosen.rows_BT
        return Segments(
            scales=scales,
            close_ns_BT=samples.close_ns[rows_BT],
            decision_ns_BT=samples.known_ns[rows_BT],
            targets_BTK=samples.targets[rows_BT].astype(np.float32),
            weights_BT=(samples.weights[rows_BT] * chosen.counts_BT).astype(np.float32),
            asset_B=samples.instrument[first_B].astype(np.int64),
            rows_BT=rows_BT,
        )

    def bars_of(self, chosen: Chosen) -> dict[str, I64]:
        """Return [B, L], which rows of each stream a batch holds."""
        last_B, decisions = chosen.rows_BT[:, -1], chosen.rows_BT.shape[1]
        return {stream.name: self._bars(n, last_B, decisions) for n, stream in enumerate(self._samples.streams)}

    def _bars(self, number: int, last_B: I64, decisions: int) -> I64:
        scale = self._samples.streams[number].name
        length = self._lengths[scale] + self._reach(scale, decisions)
        at_BL: I64 = (self._samples.ends[last_B, number] - length)[:, None] + np.arange(length)
        return at_BL

    def _reach(self, scale: str, decisions: int) -> int:
        """Return how many bars of a scale close, at most, from the first decision of a segment to its last."""
        scale_ns = self._scale_ns[scale]
        return 0 if scale_ns is None or decisions == 1 else -(-(decisions - 1) * self._decision_ns // scale_ns)


def lengths_needed(lengths: dict[str, int], *, segment: int) -> dict[str, int]:
    """Return the window lengths to build samples with.

    From one decision to another a fixed distance away, one bar more or less of a coarser scale may close. All rows of a
    batch are given the greater number, so one more row must lie before each window.
    """
    return {scale: length + (segment > 1) for scale, length in lengths.items()}


def _parts(order: I64, size: int) -> Iterator[I64]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _length_ns(scale: str) -> int | None:
    try:
        return parse_duration(scale)
    except ValueError:
        return None


def _hash(*words: int | str | None) -> int:
    return int.from_bytes(hashlib.sha256(repr(words).encode()).digest()[:8], "little")


def _shuffled(count: int, seed: int | None, *words: int | str) -> I64:
    """Return the numbers below `count` in an order that depends on the arguments alone; ascending without a seed."""
    if seed is None:
        return np.arange(count)
    # SplitMix64 (Steele, Lea, Flood 2014) at consecutive states: a sort key for each number.
    with np.errstate(over="ignore"):
        z = np.uint64(_hash(seed, *words)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return np.argsort(z, kind="stable")


def role_weights(samples: SampleSet, rows: I64, weights: Sequence[float] | NDArray[np.floating]) -> SampleSet:
    """Return the samples with these weights for `rows`, scaled to the mean 1, and 1 for all others."""
    given = np.asarray(weights, dtype=np.float64)
    everyone = np.ones(len(samples))
    everyone[rows] = given / given.mean()
    return samples.with_weights(everyone)
