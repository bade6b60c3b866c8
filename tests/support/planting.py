"""What is planted in sound market data to be found by the scans, and how rows are put out of order."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bot.core.data_quality.findings import Severity
from tests.support.quality import (
    Columns,
    put,
    take,
)

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Something wrong in data that is sound else, and all that must come of it."""

    kind: str
    columns: Callable[[], Columns]
    code: str
    severity: Severity
    count: int
    row: int | None  # of the first example
    also: tuple[str, ...] = ()  # other codes that cannot but come with it
    words: tuple[str, ...] = ()  # in the message


def without(columns: Columns, *rows: int) -> Columns:
    return take(columns, np.delete(np.arange(len(next(iter(columns.values())))), rows))


def twice(columns: Columns, *rows: int) -> Columns:
    count = np.ones(len(next(iter(columns.values()))), dtype=int)
    count[list(rows)] = 2
    return take(columns, np.repeat(np.arange(len(count)), count))


def swapped(columns: Columns, row: int) -> Columns:
    order = np.arange(len(next(iter(columns.values()))))
    order[[row, row + 1]] = order[[row + 1, row]]
    return take(columns, order)


def shifted(columns: Columns, name: str, row: int | list[int], by: int) -> Columns:
    return put(columns, name, row, columns[name][row] + by)
