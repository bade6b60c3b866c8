"""Capture files: what came in, line by line, in packed blocks that are each whole by themselves.

A file is a row of gzip members, so any gzip tool unpacks it. Each member says in its header how long it is (a subfield
"bt" of the extra field) and ends with a checksum of what it holds, and is written by one call: a recorder that is
killed leaves whole blocks and perhaps the beginning of one, at which reading stops.

Source: RFC 1952 (gzip); the subfield follows the example of bgzip's, which tells lengths of 16 bits only.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bot.domain.errors import DataError, StorageError

SUFFIX = ".capture.gz"
BLOCK_BYTES = 1 << 20  # unpacked, about
BLOCK_BYTES_MAX = 1 << 26  # unpacked: no file may claim more of our memory than that
_LEVEL = 3
_HEADER = struct.Struct("<2sBBIBBH2sHI")  # 16 + 4 bytes: magic, method, flags, time, xfl, os, extra: id, size, length
_EXTRA = 8
_FLAG_EXTRA = 4
_MAGIC, _ID = b"\x1f\x8b", b"bt"
_TRAILER = struct.Struct("<II")


def pack(data: bytes) -> bytes:
    """Return lines as one block."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    length = _HEADER.size + len(body) + _TRAILER.size
    head = _HEADER.pack(_MAGIC, 8, _FLAG_EXTRA, 0, 0, 255, _EXTRA, _ID, 4, length)
    return head + body + _TRAILER.pack(zlib.crc32(data), len(data) & 0xFFFFFFFF)


def is_capture(head: bytes) -> bool:
    """Return whether a file that begins so is a capture file; an empty one is none."""
    if len(head) < _HEADER.size:
        return False
    magic, method, flags, _, _, _, _, name, size, _ = _HEADER.unpack(head[: _HEADER.size])
    return (magic, method, flags, name, size) == (_MAGIC, 8, _FLAG_EXTRA, _ID, 4)


class CaptureWriter:
    """Writes one capture file, which must not exist.

    Args:
        path: the file.

    Raises:
        StorageError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_written = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("xb", buffering=0)
        except OSError as error:
            raise StorageError(f"{path}: cannot be made ({error.strerror}); choose another directory") from error

    def write(self, data: bytes) -> None:
        """Append lines as a block.

        Raises:
            StorageError: the disk refuses it.
        """
        block = memoryview(pack(data))
        try:
            while block:
                written = self._file.write(block)
                self.bytes_written += written
                block = block[written:]
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}; what came since is not recorded") from error

    def close(self) -> None:
        """Bring it to the disk and close it."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}; its end may be lost") from error
        finally:
            self._file.close()


class CaptureLines:
    """Iterates over (number from 0, line) of a capture file, without line ends.

    It stops at the first block that is torn or damaged, and `broken` says so; every line before that is whole.
    """

    def __init__(self, path: Path) -> None:
        self.broken: str | None = None
        self.count = 0
        self.at = 0  # bytes that were read
        self._path = path

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for block in self.blocks():
            for line in block.splitlines():
                yield self.count, line
                self.count += 1

    def blocks(self) -> Iterator[bytes]:
        """Yield the lines of one block after another.

        Raises:
            DataError: the file cannot be read.
        """
        at = self.at = 0
        try:
            with self._path.open("rb") as file:
                while True:
                    head = file.read(_HEADER.size)
                    if not head:
                        return
                    data = self._block(file, head)
                    if data is None:
                        self.broken = f"a block is torn or damaged at byte {at:,}; what follows is not read"
                        return
                    at = self.at = file.tell()
                    yield data
        except OSError as error:
            raise DataError(f"{self._path}: cannot be read ({error.strerror or error})") from error

    def _block(self, file: BinaryIO, head: bytes) -> bytes | None:
        if not is_capture(head):
            return None
        length = _HEADER.unpack(head)[-1]
        rest = length - len(head)
        if not _TRAILER.size < rest <= BLOCK_BYTES_MAX:
            return None
        body = file.read(rest)
        if len(body) < rest:
            return None
        checksum, size = _TRAILER.unpack(body[-_TRAILER.size :])
        if size > BLOCK_BYTES_MAX:
            return None
        unpacker = zlib.decompressobj(-15)
        try:
            data = unpacker.decompress(body[: -_TRAILER.size], size + 1)
        except zlib.error:
            return None
        whole = unpacker.eof and not unpacker.unused_data and len(data) == size and zlib.crc32(data) == checksum
        return data if whole else None
