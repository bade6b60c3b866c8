"""Keeps what a live feed is told: lines gathered as they come, written as blocks beside the event loop.

What has been gathered for less than a flush is lost with the process; what was written is not, at whatever byte the
process dies. A file is never gone on with: each start begins its own.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.domain.errors import StorageError
from bot.ports import OffLoop
from bot.store.capture_events import Read, event_lines, head_line, last_read
from bot.store.capture_files import BLOCK_BYTES, SUFFIX, CaptureWriter

FLUSH_S = 0.5
FILE_BYTES_MAX = 256 << 20
_WAITING_BYTES_MAX = 256 << 20  # lines that the disk has not taken: beyond, it has stopped


class CaptureRecorder:
    """Writes the captures of one start into a directory.

    Args:
        directory: where; made if need be.
        off_loop: where writing is done.
        flush_s: how long lines wait at most, in seconds of the event loop.
        file_bytes_max: a file that has grown to it is followed by another.
    """

    def __init__(
        self,
        directory: Path,
        off_loop: OffLoop,
        *,
        flush_s: float = FLUSH_S,
        file_bytes_max: int = FILE_BYTES_MAX,
    ) -> None:
        self._directory = directory
        self._off_loop = off_loop
        self._flush_s = flush_s
        self._file_bytes_max = file_bytes_max
        self._last_read: Read | None = None
        self._lines: list[bytes] = []
        self._bytes = 0
        self._is_full = asyncio.Event()
        self._name = ""
        self._writer: CaptureWriter | None = None
        self.files: list[Path] = []
        self.lines_bytes = 0  # that were gathered, unpacked
        self.file_bytes = 0  # that were written

    def on_head(self, time_ns: int, head: bytes) -> None:
        """Begin: what the feed is made of."""
        self._name = datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y%m%dT%H%M%S.%f")
        self._add(head_line(time_ns, head))

    def on_event(self, event: str, values: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Gather what the feed is told.

        Raises:
            StorageError: the disk has not taken anything for long.
        """
        self._add(event_lines(event, values, named, self._last_read))
        self._last_read = last_read(event, values)

    async def run(self) -> None:
        """Write what is gathered, until canceled; `close` writes the rest.

        Raises:
            StorageError: the disk refuses it.
        """
        while True:
            try:
                async with asyncio.timeout(self._flush_s):
                    await self._is_full.wait()
            except TimeoutError:
                pass
            await self._flush()

    async def close(self) -> None:
        """Write the rest and bring it to the disk.

        Raises:
            StorageError: the disk refuses it.
        """
        await self._flush()
        await self._off_loop(self._close)  # behind whatever `run` had begun to write when it was canceled

    def _add(self, lines: bytes) -> None:
        self._lines.append(lines)
        self._bytes += len(lines)
        self.lines_bytes += len(lines)
        if self._bytes >= BLOCK_BYTES:
            self._is_full.set()
            if self._bytes > _WAITING_BYTES_MAX:
                raise StorageError(f"{self._directory}: the disk has stopped taking what is recorded")

    async def _flush(self) -> None:
        self._is_full.clear()
        while self._lines:
            gathered, self._lines, self._bytes = self._lines, [], 0
            await self._off_loop(lambda gathered=gathered: self._write(gathered))  # type: ignore[misc]

    def _write(self, gathered: list[bytes]) -> None:
        """Write lines, in the thread: a block of each MiB of them."""
        block: list[bytes] = []
        size = 0
        for lines in gathered:
            block.append(lines)
            size += len(lines)
            if size >= BLOCK_BYTES:
                self._write_block(b"".join(block))
                block, size = [], 0
        if block:
            self._write_block(b"".join(block))

    def _close(self) -> None:
        """Close the file, in the thread."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _write_block(self, data: bytes) -> None:
        if self._writer is not None and self._writer.bytes_written >= self._file_bytes_max:
            self._writer.close()
            self._writer = None
        if self._writer is None:
            self._writer = CaptureWriter(self._directory / f"{self._name}-{len(self.files):04d}{SUFFIX}")
            self.files.append(self._writer.path)
        before = self._writer.bytes_written
        self._writer.write(data)
        self.file_bytes += self._writer.bytes_written - before
