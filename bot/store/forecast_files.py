"""Reads forecasts that a run kept: `forecasts.parquet`, what was traded on, and `shadow.parquet`, what was not."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bot.domain.errors import DataError
from bot.domain.market import F64, I64

# Shape letters in this file: N decision, H horizon, Q level, A named answer.


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KeptForecasts:
    """All forecasts of one instrument by one model, in order of time."""

    model_id: str
    scale_ns: int  # of the decision bars
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]
    close_ns: I64  # [N] the decision bar's close
    quantiles: F64  # [N, H, Q] log return from there over the horizon
    answer_names: tuple[str, ...]
    answers: F64  # [N, A]


class _About(msgspec.Struct, frozen=True, kw_only=True):
    model_id: str
    scale_ns: int
    horizons_ns: tuple[int, ...]
    levels: tuple[float, ...]
    answer_names: tuple[str, ...] = ()


def read_forecasts(path: Path) -> dict[str, KeptForecasts]:
    """Return the forecasts of each instrument.

    Raises:
        DataError: the file is not there, damaged, or of something else.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; the run forecast nothing by that model")
    try:
        table = pq.read_table(path)
        about = msgspec.json.decode((table.schema.metadata or {})[b"forecasts"], type=_About)
        names = sorted(set(table["instrument"].to_pylist()))
        return {name: _of(table.filter(pc.equal(table["instrument"], name)), about) for name in names}
    except (OSError, KeyError, ValueError, pa.ArrowException, msgspec.MsgspecError) as error:
        raise DataError(f"{path}: damaged, or no forecasts ({error})") from error


def _of(table: pa.Table, about: _About) -> KeptForecasts:
    rows = table.num_rows
    shape = (rows, len(about.horizons_ns), len(about.levels))
    close_ns = table["close_ns"].to_numpy()
    if close_ns.dtype != np.int64 or (np.diff(close_ns) <= 0).any():
        raise ValueError("decisions repeat or go back in time")
    return KeptForecasts(
        model_id=about.model_id,
        scale_ns=about.scale_ns,
        horizons_ns=about.horizons_ns,
        levels=about.levels,
        close_ns=close_ns,
        quantiles=_numbers(table, "quantiles", shape),
        answer_names=about.answer_names,
        answers=_numbers(table, "answers", (rows, len(about.answer_names))),
    )


def _numbers(table: pa.Table, name: str, shape: tuple[int, ...]) -> F64:
    """Return a column of lists, which is left out where it would hold nothing."""
    if not np.prod(shape[1:]):
        return np.empty(shape)
    made: F64 = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    return made.reshape(shape)
