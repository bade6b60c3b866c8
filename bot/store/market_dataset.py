"""One dataset of the market store, read by ranges of time: only the files and row groups that a range touches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bot.domain.errors import DataError
from bot.store.market_format import Columns, Header, Layout, Partition, layout_of, partition_span_ns

_FROM_NS, _TO_NS = -(2**62), 2**62


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stretch:
    """Rows of one file, in order.

    Attributes:
        header: of the file, with its exponents.
        path, first_row: where they stand.
        columns: views of what was read; not to be written to.
    """

    header: Header
    path: Path
    first_row: int
    columns: Columns


class Dataset:
    """A folder such as `data/market/bybit-linear/BTCUSDT/trades`.

    Args:
        directory: the folder; its name is the kind of data.

    Attributes:
        layout: of the kind.
        files_opened, groups_read: what reading has cost so far.

    Raises:
        DataError: there is no such folder, or its name is no kind's.
    """

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise DataError(f"{directory}: no such folder of the market store; `bot data list` shows what there is")
        self.directory = directory
        try:
            self.layout: Layout = layout_of(directory.name)
        except DataError as error:
            raise DataError(f"{directory}: {error}") from None
        self.files_opened = 0
        self.groups_read = 0

    def paths(self, from_ns: int = _FROM_NS, to_ns: int = _TO_NS) -> list[Path]:
        """Return the files whose stretch of time touches [from_ns, to_ns), in order."""
        found = []
        for path in sorted(self.directory.glob("*.parquet")):
            span_ns = partition_span_ns(self.layout, path.stem)
            if span_ns is not None and span_ns[0] < to_ns and span_ns[1] > from_ns:
                found.append(path)
        return found

    def open(self, path: Path) -> Partition:
        """Open one of the files.

        Raises:
            DataError: it is damaged.
        """
        self.files_opened += 1
        return Partition(path, self.layout)

    def span_ns(self, from_ns: int = _FROM_NS, to_ns: int = _TO_NS) -> tuple[int, int] | None:
        """Return the first and the last time within [from_ns, to_ns), None if there is none."""
        paths = self.paths(from_ns, to_ns)
        first = next((ns for path in paths if (ns := self._edge(path, from_ns, to_ns, 0)) is not None), None)
        last = next((ns for path in reversed(paths) if (ns := self._edge(path, from_ns, to_ns, -1)) is not None), None)
        return None if first is None or last is None else (first, last)

    def header(self) -> Header | None:
        """Return the header of the first file, None if there is none."""
        paths = self.paths()
        return self.open(paths[0]).header if paths else None

    def refuse_other_symbol(self, name: str) -> None:
        """Raise DataError if it is of another symbol; punctuation does not count."""
        header = self.header()
        if header is not None and "".join(filter(str.isalnum, header.symbol)).upper() != name:
            raise DataError(f"{self.directory}: holds {header.symbol}, the instrument is {name}; name the right folder")

    def read(
        self, names: Sequence[str] | None = None, from_ns: int = _FROM_NS, to_ns: int = _TO_NS
    ) -> Iterator[Stretch]:
        """Yield columns of the rows within [from_ns, to_ns), a row group or less at a time.

        Raises:
            DataError: a file is damaged.
        """
        time = self.layout.time
        names = list(self.layout.columns) if names is None else list(names)
        for path in self.paths(from_ns, to_ns):
            partition = self.open(path)
            for group in partition.groups(from_ns, to_ns):
                self.groups_read += 1
                columns = partition.read(group, names if time in names else [time, *names])
                times = columns[time]
                if self.layout.family == "book":  # messages may go back a little; their order is the venue's
                    times = np.maximum.accumulate(times)
                start, stop = np.searchsorted(times, [from_ns, to_ns]).tolist()
                if start < stop:
                    yield Stretch(
                        header=partition.header,
                        path=path,
                        first_row=partition.first_row(group) + start,
                        columns={name: columns[name][start:stop] for name in names},
                    )

    def _edge(self, path: Path, from_ns: int, to_ns: int, end: int) -> int | None:
        """Return the first or last time of a file inside the range, reading a row group only where it must."""
        partition = self.open(path)
        groups = partition.groups(from_ns, to_ns)
        for group in groups if end == 0 else reversed(groups):
            span_ns = partition.group_span_ns(group)
            if from_ns <= span_ns[0] and span_ns[1] < to_ns:
                return span_ns[end]
            self.groups_read += 1
            times = partition.read(group, [self.layout.time])[self.layout.time]
            inside = times[(times >= from_ns) & (times < to_ns)]
            if len(inside):
                return int(inside[end])
        return None
