"""Sorts out the rows that cannot be right, and says of each why."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.domain.errors import DataError
from bot.store.importing.chunks import Chunk
from bot.store.importing.decimals import Decimals, times_to_ns, to_exponent, why_none
from bot.store.importing.part import Rejected
from bot.store.importing.scan import DATED

I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

UNIT_POWERS = {"s": 9, "ms": 6, "us": 3, "ns": 0}
TIME_FIRST_NS = 10**18  # 2001-09-09: what lies before is in another unit, or nonsense
TIME_LAST_NS = 4_102_444_800 * 10**9  # 2100-01-01


class Sieve:
    """One stretch of rows on its way to a part; the first reason found against a row is the one told."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.keep: Mask = np.ones(chunk.rows, np.bool_)
        self.rounded = 0
        self._rejected: list[Rejected] = []

    def reject(self, bad: Mask, reason: str | Callable[[int], str]) -> None:
        """Take out the rows where `bad` holds."""
        fresh = bad & self.keep
        if not fresh.any():
            return
        for row in np.flatnonzero(fresh).tolist():
            why = reason if isinstance(reason, str) else reason(row)
            self._rejected.append(Rejected(row=self.chunk.first_row + row, reason=why, text=self.chunk.text(row)))
        self.keep &= ~fresh

    def rejected(self) -> tuple[Rejected, ...]:
        """Return what was taken out, in the file's order."""
        return tuple(sorted(self._rejected, key=lambda each: each.row))

    def numbers(self, name: str, *, may_lack: bool = False) -> Decimals:
        """Return a column of numbers; rows without one are taken out unless they may lack it."""
        column = self.chunk.columns[name]
        self.rounded += column.rounded
        bad = (column.places < 0) | (column.places == DATED)
        if not may_lack:
            self.reject(bad, lambda row: f"{name} {why_none(int(column.places[row]))}")
        return column

    def exact(self, *columns: Decimals) -> tuple[int, list[I64]]:
        """Return the exponent that keeps all columns exact, and their mantissas at it."""
        exponent, mantissas, too_long = to_exponent(columns, self.keep)
        self.reject(too_long, f"a number does not fit beside the {-exponent} decimals of other rows")
        return exponent, mantissas

    def cut(self, columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the columns without the rows that were taken out."""
        return columns if self.keep.all() else {name: values[self.keep] for name, values in columns.items()}


class Times:
    """Reads the times of one file: in one unit, which the first rows tell where nobody says it."""

    def __init__(self, path: Any, name: str, *, unit: str | None, option: str = "--time-unit") -> None:
        self._path = path
        self._name = name
        self._unit = unit
        self._option = option

    def read(self, sieve: Sieve, *, offset_ns: int = 0) -> I64:
        """Return ns since the epoch, UTC; take out rows without a time from 2001 to 2100.

        Raises:
            DataError: the unit cannot be told.
        """
        column = sieve.chunk.columns[self._name]
        sieve.reject(column.places < 0, lambda row: f"{self._name} {why_none(int(column.places[row]))}")
        written = column.places == DATED
        if self._unit is None and (sieve.keep & ~written).any():
            self._unit = self._find_unit(column, sieve.keep & ~written)
        power = UNIT_POWERS[self._unit or "ns"]
        ns = np.empty(len(column), np.int64)
        times_to_ns(column.value, column.places, power, offset_ns, ns)
        outside = (ns < TIME_FIRST_NS) | (ns >= TIME_LAST_NS)
        sieve.reject(outside, f"{self._name} is not a time from 2001 to 2100" + self._in_unit(written))
        return ns

    def _in_unit(self, written: Mask) -> str:
        return "" if self._unit is None or written.all() else f", in {self._unit}"

    def _find_unit(self, column: Decimals, rows: Mask) -> str:
        values = np.abs(column.value[rows] / 10.0 ** column.places[rows].astype(np.float64))
        counts = {
            unit: int(((values >= TIME_FIRST_NS / 10**power) & (values < TIME_LAST_NS / 10**power)).sum())
            for unit, power in UNIT_POWERS.items()
        }
        likely = max(counts, key=lambda unit: counts[unit])
        others = sum(counts.values()) - counts[likely]
        if counts[likely] == 0 or others * 100 > counts[likely]:
            first = _plain(values[0])
            raise DataError(
                f"{self._path}: the unit of {self._name} cannot be told (the first is {first}); "
                f"give {self._option} s, ms, us or ns"
            )
        return likely


def _plain(value: float) -> str:
    """Return a number as a person would write it."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
