"""The panel: what was computed once of all instruments and is trained on many times, as files that memory maps.

A panel holds for every instrument and scale the features as float32, when each row closed and was known, and the labels
of every decision. It is kept in a directory named by what it was made of (schema, data, labels), appears whole or not
at all, and is verified byte by byte before it is used. Values are as the feature engine gave them; a fold normalises
them by its own training range.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import I64, FeatureBatch
from models.durable import sha256_of, write_directory
from models.normalizer import F32, Kind, Normalizer, Normalizers, fit
from models.training.labels import Labels
from models.training.samples import Source

# Shape letters in this file: T row, F feature, N decision, K label.
_FORMAT = 1
_LABELS = ("bar_row", "close_ns", "known_ns", "values", "label_end_ns")
_INDEX = "panel.json"
_INDEX_BYTES_MAX = 16 << 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rows:
    """One scale of one instrument."""

    close_ns: I64  # [T]
    known_ns: I64  # [T]
    values: F32  # [T, F], as computed, NaN where not known


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AssetPanel:
    """One instrument."""

    instrument: Instrument
    scales: Mapping[str, Rows]
    labels: Labels


class FileOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file and what is in it."""

    size: int
    sha256: str


class _Asset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    instrument: Instrument
    label_names: tuple[str, ...]


class _Index(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int
    identity: dict[str, Any]
    names: tuple[str, ...]
    scales: tuple[str, ...]
    schema_hash: str
    assets: tuple[_Asset, ...]
    files: dict[str, FileOf]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """All instruments."""

    directory: Path
    names: tuple[str, ...]  # the features, in order
    scales: tuple[str, ...]
    schema_hash: str
    assets: tuple[AssetPanel, ...]

    def fit(
        self, *, from_ns: int, to_ns: int, kind: Kind, limit: float
    ) -> tuple[dict[str, Normalizer], dict[str, Any]]:
        """Return a normaliser for each scale, fitted on the rows known in [from_ns, to_ns), and the fits' records.

        Raises:
            DataError: a feature has too few values there.
        """
        made, records = {}, {}
        for scale in self.scales:
            parts = [(asset.scales[scale].values, asset.scales[scale].known_ns) for asset in self.assets]
            made[scale], records[scale] = fit(parts, self.names, from_ns=from_ns, to_ns=to_ns, kind=kind, limit=limit)
        return made, records

    def sources(self, normalizers: Normalizers) -> Iterator[Source]:
        """Yield what samples are made of, instrument by instrument, the values normalised."""
        for asset in self.assets:
            features = {
                scale: FeatureBatch(
                    instrument=asset.instrument,
                    first_row=0,
                    scale=scale,
                    schema_hash=self.schema_hash,
                    close_ns=rows.close_ns,
                    known_ns=rows.known_ns,
                    values=normalizers[scale].apply(rows.values),  # type: ignore[arg-type]  # float32 from here on
                )
                for scale, rows in asset.scales.items()
            }
            yield Source(features=features, labels=asset.labels)

    def raw(self, scale: str, at_BL: I64) -> F32:
        """Return [B, L, F], values as computed, by row number of the scale's stream in a sample set."""
        stops = np.cumsum([len(asset.scales[scale].known_ns) for asset in self.assets])
        out = np.empty((*at_BL.shape, len(self.names)), dtype=np.float32)
        for row, at_L in enumerate(at_BL):
            number = int(np.searchsorted(stops, at_L[0], side="right"))
            rows = self.assets[number].scales[scale]
            out[row] = rows.values[at_L - (int(stops[number]) - len(rows.known_ns))]
        return out

    def ranges(self, scale: str, *, from_ns: int, to_ns: int) -> tuple[F32, F32]:
        """Return the least and the greatest value of each feature among the rows known in [from_ns, to_ns)."""
        low = np.full(len(self.names), np.inf, dtype=np.float32)
        high = -low
        for asset in self.assets:
            rows = asset.scales[scale]
            first, stop = np.searchsorted(rows.known_ns, [from_ns, to_ns])
            if stop > first:
                low = np.fmin(low, np.fmin.reduce(rows.values[first:stop], axis=0))
                high = np.fmax(high, np.fmax.reduce(rows.values[first:stop], axis=0))
        return low, high


def panel_key(identity: Mapping[str, Any]) -> str:
    """Return the name of the panel that is made of this: what JSON can hold, of every input that can change it."""
    return hashlib.sha256(_encode({"format": _FORMAT, "identity": dict(identity)})).hexdigest()[:24]


def write_panel(
    root: Path,
    identity: Mapping[str, Any],
    assets: Iterable[AssetPanel],
    *,
    names: Sequence[str],
    scales: Sequence[str],
    schema_hash: str,
) -> Path:
    """Write a panel, one instrument after another, unless it is there already, and return its directory.

    Raises:
        DataError: an instrument lacks a scale, or two have one name.
        StorageError: the disk refuses.
    """
    path = root / panel_key(identity)
    if path.is_dir():
        return path  # `open_panel` verifies it

    def fill(directory: Path) -> None:
        told: list[_Asset] = []
        for asset in assets:
            if any(asset.instrument.name == other.instrument.name for other in told):
                raise DataError(f"{asset.instrument.name}: two instruments of one name; name each once")
            for name, column in _columns(asset, scales):
                np.save(directory / f"{len(told)}-{name}.npy", column, allow_pickle=False)
            told.append(_Asset(instrument=asset.instrument, label_names=asset.labels.names))
        files = {
            each.name: FileOf(size=each.stat().st_size, sha256=sha256_of(each)) for each in sorted(directory.iterdir())
        }
        index = _Index(
            format=_FORMAT,
            identity=dict(identity),
            names=tuple(names),
            scales=tuple(scales),
            schema_hash=schema_hash,
            assets=tuple(told),
            files=files,
        )
        (directory / _INDEX).write_bytes(_encode(index))

    write_directory(path, fill)
    return path


def open_panel(path: Path) -> Panel:
    """Return a panel, verified; its columns are read from the files as they are needed.

    Raises:
        DataError: it is not what was written: remove the directory, and it is computed again.
    """
    index = _read_index(path)
    for name, told in index.files.items():
        if "/" in name or not name.endswith(".npy"):
            raise DataError(f"{path}: {name!r} is no file of a panel; remove the directory to compute it again")
        file = path / name
        if not file.is_file() or file.stat().st_size != told.size or sha256_of(file) != told.sha256:
            raise DataError(f"{file}: not what was written; remove {path} to compute it again")
    return Panel(
        directory=path,
        names=index.names,
        scales=index.scales,
        schema_hash=index.schema_hash,
        assets=tuple(_open_asset(path, number, index) for number in range(len(index.assets))),
    )


def _read_index(path: Path) -> _Index:
    try:
        with (path / _INDEX).open("rb") as file:
            content = file.read(_INDEX_BYTES_MAX + 1)
        index = msgspec.json.decode(content, type=_Index)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no panel ({error}); remove the directory to compute it again") from error
    if index.format != _FORMAT or panel_key(index.identity) != path.name:
        raise DataError(f"{path}: a panel of something else; remove the directory to compute it again")
    return index


def _columns(asset: AssetPanel, scales: Sequence[str]) -> Iterator[tuple[str, NDArray[Any]]]:
    for number, scale in enumerate(scales):
        if scale not in asset.scales:
            raise DataError(f"{asset.instrument.name}: no bar of {scale} has closed; load a longer range of time")
        rows = asset.scales[scale]
        yield f"s{number}-close_ns", rows.close_ns
        yield f"s{number}-known_ns", rows.known_ns
        yield f"s{number}-values", np.ascontiguousarray(rows.values, dtype=np.float32)
    for name in _LABELS:
        yield f"l-{name}", getattr(asset.labels, name)


def _open_asset(path: Path, number: int, index: _Index) -> AssetPanel:
    def column(name: str) -> Any:
        return np.load(path / f"{number}-{name}.npy", mmap_mode="r", allow_pickle=False)

    told = index.assets[number]
    return AssetPanel(
        instrument=told.instrument,
        scales={
            scale: Rows(
                close_ns=column(f"s{at}-close_ns"), known_ns=column(f"s{at}-known_ns"), values=column(f"s{at}-values")
            )
            for at, scale in enumerate(index.scales)
        },
        labels=Labels(
            instrument=told.instrument, names=told.label_names, **{name: column(f"l-{name}") for name in _LABELS}
        ),
    )


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")
