"""Recorded market streams and books, told by what is in them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from bot.domain.errors import DataError
from bot.store.capture_files import CaptureLines, is_capture
from bot.store.importing.capture_binance import read_binance_log
from bot.store.importing.capture_bybit import read_bybit_capture, read_bybit_polls, read_bybit_v2, read_bybit_v5
from bot.store.importing.capture_lines import Lines
from bot.store.importing.capture_tables import COLUMNS, read_book_table
from bot.store.importing.part import Part

FORMATS: Final[dict[str, str]] = {
    "binance-log": "Binance's streams, each line a local time and a message: book, trades, best quotes",
    "bybit-v5": "Bybit V5 frames, one a line, also as its archive keeps them: book, trades",
    "bybit-capture": "what `bot record` keeps: book, trades",
    "bybit-v2": "cryptofeed's log of Bybit's V2 protocol: book, trades",
    "bybit-polls": "polled books of five levels as CSV: book",
    "book-table": "whole books as rows of a Parquet file: book",
}
"""What can be read here, and what comes of it."""

_SNIFFED_LINES = 20
_TEXT_FORMATS = {
    "binance-log": re.compile(rb"\d{13,19} \{"),
    "bybit-v5": re.compile(rb'\s*\{.*"topic"\s*:\s*"(orderbook|publicTrade)\.'),
    "bybit-v2": re.compile(rb"wss://\S+ (<->|<-) |\d{10}(\.\d+)?: \{"),
    "bybit-polls": re.compile(rb'(both|bid|ask),\w+,\d+(\.\d+)?,\d+,"?\[\['),
}


def sniff(path: Path) -> str | None:
    """Return which of `FORMATS` a file is in, None if it is in none.

    Raises:
        DataError: it cannot be opened.
    """
    if _begins_with(path, b"PAR1"):
        try:
            names = pq.read_schema(path).names
        except (pa.ArrowException, OSError):
            return None  # whoever reads tables says what is wrong with it
        return "book-table" if set(COLUMNS) <= set(names) else None
    if _is_capture(path):
        return "bybit-capture"
    for number, line in Lines(path):
        for name, pattern in _TEXT_FORMATS.items():
            if pattern.match(line):
                return name
        if number >= _SNIFFED_LINES:
            break
    return None


def read(
    path: Path,
    *,
    venue: str | None = None,
    symbol: str | None = None,
    depth: str | None = None,
    on_read: Callable[[float], None] = lambda done: None,
) -> Iterator[Part]:
    """Yield what a capture holds, part by part.

    What is broken is in the parts' `rejected` and nowhere else: a line, a message that holds a number that cannot be,
    the end of a packed file that was cut off.

    Args:
        path: the file.
        venue: goes before what the file says.
        symbol: the only one that is taken; None for all.
        depth: of Bybit V5 books, such as "50"; None for the one that comes first.
        on_read: told how much of the file has been read, from 0 to 1.

    Raises:
        DataError: the file cannot be opened, is in none of the formats, or nothing in it can be read.
    """
    name = sniff(path)
    if name is None:
        known = "; ".join(FORMATS.values())
        raise DataError(f"{path}: no capture that is known; known are {known}")
    if name == "book-table":
        return read_book_table(path, venue=venue, symbol=symbol, on_read=on_read)
    if name == "bybit-capture":
        return read_bybit_capture(CaptureLines(path), path, venue=venue, symbol=symbol, depth=depth)
    lines = Lines(path, on_read)
    if name == "binance-log":
        return read_binance_log(lines, path, venue=venue, symbol=symbol)
    if name == "bybit-v5":
        return read_bybit_v5(lines, path, venue=venue, symbol=symbol, depth=depth)
    read_rows = read_bybit_v2 if name == "bybit-v2" else read_bybit_polls
    return read_rows(lines, path, venue=venue, symbol=symbol)


def _is_capture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_capture(file.read(64))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
