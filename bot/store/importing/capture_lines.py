"""The lines of a capture: plain, packed by gzip, or alone in a zip archive."""

import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from bot.domain.errors import DataError

LINE_MAX = 1 << 24  # bytes; no message is nearly as long, and no memory is filled by one that claims to be


class Lines:
    """Iterates over (number from 0, line) of a file, without line ends.

    A packed file that is damaged or cut off, as a capture is when its recorder was killed, ends where it breaks, and
    `broken` says so. A line longer than `LINE_MAX` is cut to that length.
    """

    def __init__(self, path: Path, on_read: Callable[[float], None] = lambda done: None) -> None:
        self.broken: str | None = None
        self.count = 0
        self._path = path
        self._on_read = on_read

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        with ExitStack() as stack:
            stream, position, size = self._open(stack)
            while True:
                try:
                    line = stream.readline(LINE_MAX)
                    if len(line) == LINE_MAX and not line.endswith(b"\n"):
                        _skip_line(stream)
                except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
                    self.broken = f"the packed file is damaged or cut off here ({error})"
                    return
                except OSError as error:
                    raise DataError(f"{self._path}: cannot be read ({error.strerror or error})") from error
                if not line:
                    return
                yield self.count, line.rstrip(b"\r\n")
                self.count += 1
                if self.count % 4096 == 0:
                    self._on_read(position() / size)

    def _open(self, stack: ExitStack) -> tuple[IO[bytes] | Any, Callable[[], int], int]:
        """Return the unpacked stream, what tells how many bytes of the file have been used up, and of how many."""
        try:
            file = stack.enter_context(self._path.open("rb"))
            size = max(1, self._path.stat().st_size)
            magic = file.read(4)
            file.seek(0)
            if magic[:2] == b"\x1f\x8b":
                # Not through a buffer of our own: it would lose what comes before the place where a file breaks.
                return stack.enter_context(gzip.GzipFile(fileobj=file)), file.tell, size
            if magic == b"PK\x03\x04":
                archive = stack.enter_context(zipfile.ZipFile(file))
                names = [name for name in archive.namelist() if not name.endswith("/")]
                if len(names) != 1:
                    raise DataError(f"{self._path}: holds {len(names)} files; unpack it and import them one by one")
                return stack.enter_context(archive.open(names[0])), file.tell, size
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{self._path}: the packed file cannot be opened ({error}); download it again") from error
        except OSError as error:
            raise DataError(f"{self._path}: cannot be read ({error.strerror or error})") from error
        return file, file.tell, size


def _skip_line(stream: Any) -> None:
    while (rest := stream.readline(LINE_MAX)) and not rest.endswith(b"\n"):
        pass
