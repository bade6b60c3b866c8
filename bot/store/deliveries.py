"""Keeps the notes of a run (`core.deliveries`) in one file of blocks, beside trading and never in its way.

A note is packed at once, so that it says what was so at that moment, and gathered; twice a second what was gathered is
written as a block, in a thread. A process that is killed leaves whole blocks. A disk that does not follow, or has
hardly any room left, ends the record: it says so at its end if it can, and trading goes on.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bot.core.deliveries import Codec, Head, Note, Told, Verb, Word, split
from bot.domain.errors import DataError, StorageError
from bot.ports import OffLoop
from bot.store.capture_files import BLOCK_BYTES, CaptureLines, CaptureWriter

FILE = "deliveries.gz"
FLUSH_S = 0.5
WAITING_BYTES_MAX = 64 << 20  # notes that the disk has not taken
FREE_BYTES_MIN = 1 << 30  # the ledger must not run out of room because of this
BROKEN = "broken"


class DeliveryRecorder:
    """A `ports.DeliveryLog`.

    Args:
        path: the file, which must not exist.
        off_loop: where writing is done.
        words: kinds of messages besides those of the core.
        on_broken: told why the record ends before the run does, once.
        waiting_bytes_max, free_bytes_min: how much may wait for the disk, and how much room it must have.

    Raises:
        StorageError: it cannot be made.
    """

    def __init__(
        self,
        path: Path,
        off_loop: OffLoop,
        *,
        words: Iterable[Word] = (),
        on_broken: Callable[[str], None] = lambda why: None,
        waiting_bytes_max: int = WAITING_BYTES_MAX,
        free_bytes_min: int = FREE_BYTES_MIN,
    ) -> None:
        self._path = path
        self._off_loop = off_loop
        self._codec = Codec(words)
        self._words = tuple(words)
        self._on_broken = on_broken
        self._waiting_bytes_max = waiting_bytes_max
        self._free_bytes_min = free_bytes_min
        self._gathered: list[bytes] = []
        self._bytes = 0
        self._is_full = asyncio.Event()
        self._writer = CaptureWriter(path)
        self._has_head = False
        path.chmod(0o600)  # what is held and what is wanted is nobody else's business
        self.count = 0  # notes so far
        self.note_bytes = 0  # of them, unpacked
        self.broken = ""  # why no note is taken any more

    @property
    def file_bytes(self) -> int:
        """Return how much was written."""
        return self._writer.bytes_written

    def begin(self, head: Head) -> None:
        """Note what the run began with: before any other note."""
        self._codec = Codec(self._words, {each.name: each for each in head.instruments})
        self._add(self._codec.pack(self.count, "", Verb.BEGAN, head, "Head"))

    def note(self, actor: str, verb: str, value: Any, kind: str = "") -> None:
        """See `ports.DeliveryLog`."""
        if self.broken:
            return
        try:
            packed = self._codec.pack(self.count, actor, verb, value, kind)
        except (TypeError, ValueError, OverflowError, AttributeError, msgspec.MsgspecError) as error:
            self._break(f"{actor}: {error}")
            return
        if self._bytes + len(packed) > self._waiting_bytes_max:
            self._break(f"the disk has not taken {self._bytes >> 20} MiB")
            return
        self._add(packed)

    async def run(self) -> None:
        """Write what is gathered, until canceled; `close` writes the rest."""
        while True:
            try:
                async with asyncio.timeout(FLUSH_S):
                    await self._is_full.wait()
            except TimeoutError:
                pass
            await self._flush()

    async def close(self) -> None:
        """Write the rest and bring it to the disk."""
        await self._flush()
        try:
            await self._off_loop(self._writer.close)
        except StorageError as error:
            self._break(str(error))

    def _add(self, packed: bytes) -> None:
        self.count += 1
        self._gathered.append(packed)
        self._bytes += len(packed)
        self.note_bytes += len(packed)
        if self._bytes >= BLOCK_BYTES:
            self._is_full.set()

    def _break(self, why: str) -> None:
        if self.broken:
            return
        self.broken = why
        self._add(self._codec.pack(self.count, "", Verb.HEARD, why[:200], BROKEN))
        self._on_broken(why)

    async def _flush(self) -> None:
        self._is_full.clear()
        while self._gathered:
            gathered, self._gathered = self._gathered, []
            size = sum(map(len, gathered))
            try:
                await self._off_loop(lambda gathered=gathered: self._write(gathered))  # type: ignore[misc]
            except StorageError as error:
                self._gathered.clear()
                self._bytes = 0
                self._break(str(error))
                self._gathered.clear()  # it cannot be written down either
                return
            self._bytes -= size

    def _write(self, gathered: list[bytes]) -> None:
        """Write notes, in the thread: a block for each MiB of them."""
        try:
            room = os.statvfs(self._path.parent)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error
        if room.f_bavail * room.f_frsize < self._free_bytes_min:
            raise StorageError(f"{self._path.parent}: less than {self._free_bytes_min >> 20} MiB are free")
        block: list[bytes] = []
        size = 0
        for packed in gathered:
            block.append(packed)
            size += len(packed)
            if size >= BLOCK_BYTES or not self._has_head:  # the head alone: what is torn still says whose it is
                self._writer.write(b"".join(block))
                block, size = [], 0
                self._has_head = True
        if block:
            self._writer.write(b"".join(block))


class DeliveryReader:
    """Iterates over the notes of a run, in order.

    Attributes:
        torn: why the file ends before it was closed, "" if it does not.
        broken: why recording ended before the run did, "" if it did not.
        count: how many notes were read.
        done: how much of the file that is, of 1.

    Raises:
        DataError: when iterated: a note is missing, or cannot be read; the message says which.
    """

    def __init__(self, path: Path, words: Iterable[Word] = ()) -> None:
        self._path = path
        self._codec = Codec(words)
        self.torn = ""
        self.broken = ""
        self.count = 0
        self.done = 0.0

    def head(self) -> Head:
        """Return what the run began with.

        Raises:
            DataError: it cannot be read.
        """
        first = next(iter(DeliveryReader(self._path)), None)
        if first is None or not isinstance(first.value, Head):
            raise DataError(f"{self._path}: no record of a run begins here")
        return first.value

    def __iter__(self) -> Iterator[Told]:
        lines = CaptureLines(self._path)
        size = max(1, self._path.stat().st_size)
        for block in lines.blocks():
            self.done = min(1.0, lines.at / size)
            try:
                for note in split(block):
                    if note.number != self.count:
                        raise DataError(f"note {self.count} is missing: {note.number} follows {self.count - 1}")
                    told = self._codec.unpack(note)
                    self.count += 1
                    if told.kind == BROKEN:
                        self.broken = told.value
                        return
                    yield told
            except DataError as error:
                raise DataError(f"{self._path}: {error}") from error
        self.torn = lines.broken or ""


def read_blocks(path: Path) -> Iterator[list[Note]]:
    """Yield the notes of a file block by block, packed as they are.

    Raises:
        DataError: they cannot be read.
    """
    for block in CaptureLines(path).blocks():
        yield list(split(block))
