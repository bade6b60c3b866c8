"""Samples: for every decision the newest rows of every stream, aligned by when they were known.

A stream is one `FeatureBatch` an instrument: a time scale such as "1h", event bars, or another instrument's features
beside its own. A sample takes from each stream the last L rows with `known_ns` no later than its decision's, and its
labels start there. It needs all of that, or it is left out of every stream at once and counted by reason: inputs and
targets cannot get out of step, because there is one list of samples and no second one.

Windows are never copied until they are gathered: each stream is one array [T, F], all instruments one after another,
and a sample is the row number at which its window ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bot.core.durations import parse_duration
from bot.domain.errors import DataError
from bot.domain.market import F64, I64, FeatureBatch
from models.training.labels import Labels
from models.training.splits import Timeline

# Shape letters in this file: N sample, S stream, T row of a stream, L step in the window, F feature, K label, B sample
# in the batch.
F32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """What the samples of one instrument are made of."""

    features: Mapping[str, FeatureBatch]  # by stream, the same streams for every instrument
    labels: Labels  # their rows are the decisions


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stream:
    """All rows of one stream, the instruments one after another."""

    name: str
    length: int  # L, rows in a window
    schema_hash: str
    values: NDArray[np.floating]  # [T, F]
    close_ns: I64  # [T]
    known_ns: I64  # [T]

    @property
    def windows(self) -> NDArray[np.floating]:
        """Return every L rows that follow one another: [T - L + 1, L, F], a read-only view of `values`.

        The window that ends before row e is number e - L. Some reach across two instruments; no sample names those.
        """
        rows, features = self.values.shape
        step, across = self.values.strides
        shape = (max(0, rows - self.length + 1), self.length, features)
        view = np.lib.stride_tricks.as_strided(self.values, shape, (step, step, across), writeable=False)
        return np.asarray(view)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Some samples, gathered."""

    inputs: list[F32]  # by stream, [B, L, F], the oldest step first
    targets: F32  # [B, K]
    weights: F32  # [B]
    instrument: NDArray[np.int16]  # [B] the instrument's number in the set
    close_ns: I64  # [B] where the targets begin
    known_ns: I64  # [B] when the decision is taken
    label_end_ns: I64  # [B] when the last of the targets is known


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampleSet:
    """All samples of some instruments, in memory: sample by sample, instrument by instrument, in order of time.

    To train elsewhere than on the CPU, move every stream's `values` there and gather by `ends`.
    """

    streams: tuple[Stream, ...]
    target_names: tuple[str, ...]
    instruments: tuple[str, ...]
    ends: I64  # [N, S] the row after each window's last, in its stream
    targets: F64  # [N, K]
    weights: F64  # [N] 1 unless set
    instrument: NDArray[np.int16]  # [N]
    bar_row: I64  # [N] the decision bar's row number in its stream
    close_ns: I64  # [N]
    known_ns: I64  # [N]
    label_end_ns: I64  # [N] when the last of the targets is known
    excluded: Mapping[str, int]  # how many decisions are no sample, by the first reason found; see `build_samples`

    def gather(self, rows: Sequence[int] | NDArray[np.integer]) -> Batch:
        """Return the samples with these row numbers, copied, as float32."""
        rows = np.asarray(rows, dtype=np.int64)
        ends_BS = self.ends[rows]
        inputs = [
            stream.windows[ends_BS[:, number] - stream.length].astype(np.float32, copy=False)
            for number, stream in enumerate(self.streams)
        ]
        return Batch(
            inputs=inputs,
            targets=self.targets[rows].astype(np.float32),
            weights=self.weights[rows].astype(np.float32),
            instrument=self.instrument[rows],
            close_ns=self.close_ns[rows],
            known_ns=self.known_ns[rows],
            label_end_ns=self.label_end_ns[rows],
        )

    def with_weights(self, weights: F64) -> "SampleSet":
        """Return the same samples with these weights, one per sample.

        Raises:
            ValueError: they are not that many, or one is negative or no number.
        """
        if weights.shape != (len(self),) or not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError(f"{weights.shape} weights for {len(self)} samples; give each a number, none negative")
        return replace(self, weights=weights)

    def timeline(self) -> Timeline:
        """Return the samples' times, to be split by."""
        return Timeline(start_ns=self.known_ns, end_ns=self.label_end_ns)

    def __len__(self) -> int:
        return len(self.known_ns)


def build_samples(sources: Iterable[Source], *, lengths: Mapping[str, int], dtype: DTypeLike = np.float32) -> SampleSet:
    """Return all samples that the sources allow.

    A decision is no sample, and is counted in `excluded`, for the first of these reasons that holds, the streams taken
    in the order of `lengths`:

    * "label": one of its labels is NaN or infinite;
    * "5m: history": the stream "5m" has known fewer than L rows by then;
    * "5m: stale": its newest row was known a whole bar ago or longer: rows are missing at its end;
    * "5m: hole": rows are missing within the window, which has no L bars in a row;
    * "5m: not finite": a value is NaN or infinite, such as before a feature has warmed up.

    "stale" and "hole" are told of time scales only. Bars that are missing at the source do not make a hole where
    `core.bars` has filled them in and marked them.

    Args:
        sources: one per instrument; a generator may drop each when the next is asked for.
        lengths: L by stream, and by that the order of `Batch.inputs`.
        dtype: float32 halves the memory; float64 keeps one instrument's values without any copy.

    Raises:
        DataError: a stream contradicts itself or another instrument's, or no sample is left.
        ValueError: lengths are not positive, or there is no source.
    """
    if not lengths or min(lengths.values()) < 1:
        raise ValueError(f"lengths must be positive, and not none: {dict(lengths)}")
    stores = {name: _Store(name, length, dtype) for name, length in lengths.items()}
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
    excluded: dict[str, int] = {}
    names: list[str] = []
    targets: tuple[str, ...] = ()
    for source in sources:
        labels, name = source.labels, source.labels.instrument.name
        if name in names:
            raise DataError(f"{name}: two sources of one instrument; join their bars first")
        targets = targets or labels.names
        if labels.names != targets:
            raise DataError(f"{name}: labels {labels.names}, but {names[0]} has {targets}; label all alike")
        if set(source.features) != set(stores):
            raise DataError(f"{name}: streams {sorted(source.features)}, but lengths name {sorted(stores)}")
        _check_times(f"{name}: decisions", labels.close_ns, labels.known_ns)
        keep = _Keep(len(labels), excluded)
        keep.only(np.asarray(np.isfinite(labels.values).all(axis=1)), "label")
        ends = [stores[stream].add(source.features[stream], labels, keep) for stream in stores]
        _append(columns, labels, np.flatnonzero(keep.mask), np.column_stack(ends), len(names))
        names.append(name)
        del source, labels  # a generator need not hold two instruments at once
    if not names:
        raise ValueError("there is no source of samples")
    joined = {column: np.concatenate(parts) for column, parts in columns.items()}
    if not len(joined["known_ns"]):
        _refuse_nothing(excluded, list(stores.values()))
    streams = tuple(store.stream() for store in stores.values())
    return SampleSet(
        streams=streams,
        target_names=targets,
        instruments=tuple(names),
        weights=np.ones(len(joined["known_ns"])),
        excluded=excluded,
        **joined,
    )


def _refuse_nothing(excluded: Mapping[str, int], stores: Sequence["_Store"]) -> None:
    told = ", ".join(f"{reason} {count:,}" for reason, count in excluded.items()) or "there is no decision"
    never = [f"{store.name} {column}" for store in stores for column in store.never_finite()]
    if never:
        raise DataError(f"no sample is left ({told}); leave out the columns without any number: {', '.join(never)}")
    raise DataError(f"no sample is left ({told}); load a longer range of time or shorten the windows")


_COLUMNS = ("ends", "targets", "instrument", "bar_row", "close_ns", "known_ns", "label_end_ns")


def _append(columns: dict[str, list[NDArray[Any]]], labels: Labels, rows: I64, ends_NS: I64, number: int) -> None:
    columns["ends"].append(ends_NS[rows])
    columns["targets"].append(labels.values[rows])
    columns["instrument"].append(np.full(len(rows), number, dtype=np.int16))
    columns["bar_row"].append(labels.bar_row[rows])
    columns["close_ns"].append(labels.close_ns[rows])
    columns["known_ns"].append(labels.known_ns[rows])
    columns["label_end_ns"].append(labels.label_end_ns[rows].max(axis=1))


class _Keep:
    """Which decisions are still samples; the others are counted by their first reason."""

    def __init__(self, rows: int, excluded: dict[str, int]) -> None:
        self.mask = np.ones(rows, dtype=np.bool_)
        self._excluded = excluded

    def only(self, good: NDArray[np.bool_], reason: str) -> None:
        lost = int((self.mask & ~good).sum())
        if lost:
            self._excluded[reason] = self._excluded.get(reason, 0) + lost
        self.mask &= good


class _Store:
    """The rows of one stream, gathered instrument by instrument."""

    def __init__(self, name: str, length: int, dtype: DTypeLike) -> None:
        self.name = name
        self._length = length
        self._dtype = dtype
        self._columns: tuple[list[Any], list[Any], list[Any]] = ([], [], [])  # values, close_ns, known_ns
        self._like: tuple[str, str, int] | None = None  # schema hash, scale, features
        self._rows = 0
        self._is_ever_finite: NDArray[np.bool_] = np.zeros(1, dtype=np.bool_)  # [F] once there is a row

    def never_finite(self) -> list[int]:
        """Return the columns that hold no finite number at all."""
        return [int(column) for column in np.flatnonzero(~self._is_ever_finite)] if self._rows else []

    def add(self, batch: FeatureBatch, labels: Labels, keep: _Keep) -> I64:
        """Take the rows in; return where each decision's window ends, and drop from `keep` those without one."""
        source = f"{labels.instrument.name}: stream {self.name}"
        like = (batch.schema_hash, batch.scale, batch.values.shape[1])
        self._like = self._like or like
        if like != self._like:
            raise DataError(f"{source} has features {like}, the first instrument's {self._like}; compute all alike")
        _check_times(source, batch.close_ns, batch.known_ns)
        if batch.values.shape[0] != len(batch.known_ns):
            raise DataError(f"{source} has {batch.values.shape[0]} rows of values for {len(batch.known_ns)} times")
        ends = np.searchsorted(batch.known_ns, labels.known_ns, side="right")
        keep.only(ends >= self._length, f"{self.name}: history")
        last = np.maximum(ends - 1, 0)
        first = np.maximum(ends - self._length, 0)
        scale_ns = _scale_ns(batch.scale)
        if scale_ns is not None and len(batch):
            lateness_ns = batch.known_ns - batch.close_ns
            age_ns = labels.known_ns - batch.known_ns[last]
            keep.only(age_ns < scale_ns + int(np.ptp(lateness_ns)), f"{self.name}: stale")
            span_ns = batch.close_ns[last] - batch.close_ns[first]
            keep.only(span_ns == (self._length - 1) * scale_ns, f"{self.name}: hole")
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is found as such
            values = np.asarray(batch.values, dtype=self._dtype)
        is_finite = np.isfinite(values)
        self._is_ever_finite = self._is_ever_finite | is_finite.any(axis=0)
        bad_so_far = np.concatenate([[0], np.cumsum(~is_finite.all(axis=1))])
        keep.only(bad_so_far[ends] == bad_so_far[first], f"{self.name}: not finite")
        for column, part in zip(self._columns, (values, batch.close_ns, batch.known_ns), strict=True):
            column.append(part)
        ends_here: I64 = ends + self._rows
        self._rows += len(batch)
        return ends_here

    def stream(self) -> Stream:
        """Return all rows as one array, and let go of the parts."""
        assert self._like is not None
        values, close_ns, known_ns = (_joined(parts) for parts in self._columns)
        return Stream(
            name=self.name,
            length=self._length,
            schema_hash=self._like[0],
            values=values,
            close_ns=close_ns,
            known_ns=known_ns,
        )


def _joined(parts: list[Any]) -> Any:
    """Return the parts as one array and empty the list, each part let go of as soon as it is copied."""
    if len(parts) == 1:
        return parts.pop()
    joined = np.empty((sum(len(part) for part in parts), *parts[0].shape[1:]), dtype=parts[0].dtype)
    filled = len(joined)
    while parts:
        part = parts.pop()
        joined[filled - len(part) : filled] = part
        filled -= len(part)
    return joined


def _check_times(what: str, close_ns: I64, known_ns: I64) -> None:
    if len(close_ns) != len(known_ns):
        raise DataError(f"{what} has {len(close_ns)} closes and {len(known_ns)} times known")
    if (known_ns < close_ns).any():
        raise DataError(f"{what}: row {int(np.argmax(known_ns < close_ns))} is known before its bar closes")
    back = (np.diff(known_ns) < 0) | (np.diff(close_ns) < 0)
    if back.any():
        raise DataError(f"{what}: row {int(np.argmax(back)) + 1} goes back in time")


def _scale_ns(scale: str) -> int | None:
    """Return the length of a stream's bars, None where the market decides it."""
    try:
        return parse_duration(scale)
    except ValueError:
        return None
