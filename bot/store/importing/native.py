"""Files of another market store."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from bot.store.importing.part import Part
from bot.store.market_format import Partition, layout_of, read_header, told_damaged


def read_native(path: Path) -> Iterator[Part]:
    """Yield the rows of one file of a store.

    Raises:
        DataError: it is damaged.
    """
    with told_damaged(path):
        header = read_header(pq.ParquetFile(path), path)
    layout = layout_of(header.kind)
    yield from parts_of(Partition(path, layout), list(layout.columns))


def parts_of(partition: Partition, columns: list[str]) -> Iterator[Part]:
    """Yield the rows of a store's file that is open, group by group."""
    header = partition.header
    for group in range(partition.group_count):
        yield Part(
            venue=header.venue,
            symbol=header.symbol,
            kind=header.kind,
            price_exponent=header.exponent,
            qty_exponent=header.qty_exponent,
            columns=partition.read(group, columns),
            source=next(iter(header.sources)) if len(header.sources) == 1 else "",
        )
