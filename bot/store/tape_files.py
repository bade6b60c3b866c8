"""What the charts of a run need, as Parquet: the tape, one row per bar, and the forecasts, one per decision bar."""

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from bot.core.digest import ColumnDigest
from bot.domain.errors import DataError
from bot.domain.market import ForecastBatch
from bot.ports import TapeRows

_GROUP_ROWS = 1 << 17
TAPE_FIELDS = ("close_ns", "open", "high", "low", "close", "volume", "position", "profit")


def combine_tape_hashes(tape: str, forecasts: str) -> str:
    """Return the one hash that the ledger's last entry holds of tape and forecasts."""
    return xxhash.xxh3_128_hexdigest((tape + forecasts).encode())


def forecast_hash(directory: Path, name: str = "forecasts.parquet") -> str:
    """Return the hash of the forecasts that a run's directory holds in the file of that name.

    Raises:
        DataError: the file is damaged.
    """
    digest = ColumnDigest("forecasts")
    path = directory / name
    if path.is_file():
        try:
            for group in range((file := pq.ParquetFile(path)).num_row_groups):
                table = file.read_row_group(group)
                for instrument in sorted(set(table["instrument"].to_pylist())):
                    mine = table.filter(pc.equal(table["instrument"], instrument))
                    fields = [field for field in _FORECAST_FIELDS if field in table.column_names]
                    digest.update({f"{instrument}.{field}": _column(mine, field) for field in fields})
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: damaged ({error})") from error
    return digest.hexdigest()


def _column(table: pa.Table, name: str) -> Any:
    values = table[name].combine_chunks()
    return (values.flatten() if isinstance(values, pa.FixedSizeListArray) else values).to_numpy()


class _GroupWriter:
    """Tables as Parquet, gathered into large row groups."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        if self._waiting:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _flush(self) -> None:
        table = pa.concat_tables(self._waiting)
        self._waiting, self._rows = [], 0
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path, table.schema, compression="none", use_dictionary=["instrument"], write_statistics=False
            )
        self._writer.write_table(table)


class TapeWriter(_GroupWriter):
    """The tape: one row per bar."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._digests: dict[str, ColumnDigest] = {}

    def write(self, rows: TapeRows) -> None:
        columns = {name: getattr(rows, name) for name in TAPE_FIELDS}
        self._digests.setdefault(rows.instrument, ColumnDigest(rows.instrument)).update(columns)
        self.add(tape_table(rows))

    def hash(self) -> str:
        return "".join(self._digests[name].hexdigest() for name in sorted(self._digests))


class ForecastWriter(_GroupWriter):
    """All forecasts: one row per decision bar; quantiles, importance and named answers as fixed-size lists."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._digest = ColumnDigest("forecasts")

    def write(self, forecasts: ForecastBatch) -> None:
        fields = {"close_ns": forecasts.close_ns, "known_ns": forecasts.known_ns} | _lists(forecasts)
        name = forecasts.instrument.name
        self._digest.update({f"{name}.{field}": values.ravel() for field, values in fields.items()})
        self.add(forecast_table(forecasts))

    def hash(self) -> str:
        return self._digest.hexdigest()


def tape_table(rows: TapeRows) -> pa.Table:
    """Return a stretch of the tape as the file has it."""
    columns = {name: getattr(rows, name) for name in TAPE_FIELDS}
    return pa.table({"instrument": _repeat(rows.instrument, len(rows.close_ns))} | columns)


def forecast_table(forecasts: ForecastBatch) -> pa.Table:
    """Return forecasts as the file has them; what they are of is in the schema's metadata."""
    columns = {
        "instrument": _repeat(forecasts.instrument.name, len(forecasts)),
        "close_ns": forecasts.close_ns,
        "known_ns": forecasts.known_ns,
    } | {field: _fixed_list(values) for field, values in _lists(forecasts).items()}
    description = {
        "model_id": forecasts.model_id,
        "scale_ns": forecasts.scale_ns,
        "horizons_ns": forecasts.horizons_ns,
        "levels": forecasts.levels,
        "scales_ns": forecasts.scales_ns,
    } | ({"answer_names": forecasts.answer_names} if forecasts.answer_names else {})
    return pa.table(columns, metadata={"forecasts": msgspec.json.encode(description)})


def _lists(forecasts: ForecastBatch) -> dict[str, Any]:
    wide = {"quantiles": forecasts.quantiles, "importance": forecasts.importance, "answers": forecasts.answers}
    return {field: values.reshape(len(forecasts), -1) for field, values in wide.items() if values.size}


def _repeat(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), count)


_FORECAST_FIELDS = ("close_ns", "known_ns", "quantiles", "importance", "answers")  # those that are there


def _fixed_list(rows_by_items: Any) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows_by_items.ravel()), rows_by_items.shape[1])
