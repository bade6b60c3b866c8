"""What a user may say about a file that its name and content do not."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """What is given goes before what a file's name or content says.

    Attributes:
        venue: such as "bybit-linear".
        symbol: as the venue spells it.
        kind: "trades", "bars", "mark", "index", "funding" or "quotes".
        interval_ns: the bars' length.
        columns: our name of a column to the file's: {"ts": "time", "open": "o"}; numbers from 0 where it names none.
        time_unit: "s", "ms", "us" or "ns"; None finds out.
        decimals: numbers with more decimals are rounded to so many; None refuses their rows.
        depth: of captures that hold books of several, such as "50"; None takes the one that comes first.
        on_read: told how much of the file has been read, from 0 to 1.
        ahead: yields what an iterator yields, and may have it make the next ones meanwhile: unpacking a file takes as
            long as understanding it.
    """

    venue: str | None = None
    symbol: str | None = None
    kind: str | None = None
    interval_ns: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    time_unit: str | None = None
    decimals: int | None = None
    depth: str | None = None
    on_read: Callable[[float], None] = lambda done: None
    ahead: Callable[[Iterator[Any]], Iterator[Any]] = lambda blocks: blocks
