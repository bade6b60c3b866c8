"""structlog: people's lines on a terminal, JSON elsewhere, and JSON in the run's own file.

A replay writes its few lines itself. What runs for months (`ServiceLogs`) writes them from a thread, into a file that
turns over, through a redactor that sees everything last: other libraries' lines and tracebacks too.
"""

import logging
import logging.handlers
import queue
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import structlog

from bot.core.redaction import Redactor

_QUIET = ("aiogram", "aiohttp", "aiosqlite", "alembic", "asyncio", "pybit", "sqlalchemy", "urllib3", "websockets")
_JOURNAL_PREFIX = {logging.CRITICAL: "<2>", logging.ERROR: "<3>", logging.WARNING: "<4>", logging.INFO: "<6>"}
_WAITING_MAX = 10_000  # lines: a disk that hangs must not fill the memory


def configure(level: str = "warning", *, stream: TextIO | None = None) -> None:
    """Write logs of `level` and above to `stream`, standard error by default."""
    out = stream or sys.stderr
    structlog.configure(
        processors=[*_shared(), structlog.processors.format_exc_info, _renderer(out)],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def configure_file(path: Path, level: str = "info") -> TextIO:
    """Write logs of `level` and above as JSON to the run's file; return it, to be closed at the end."""
    file = path.open("a", encoding="utf-8", buffering=1)
    configure(level, stream=file)
    return file


class ServiceLogs:
    """The logs of a run that lasts: standard error and a file, redacted, bounded, never in the way.

    A line that cannot be written (full disk, too many waiting) is dropped and counted; trading goes on.

    Args:
        path: the run's file; older ones beside it end in .1, .2...
        redact: sees every line last, whoever wrote it.
        level: of the file. Other libraries are heard from `warning` on.
        stream_level: of standard error.
        is_journal: standard error goes to systemd's journal, which reads the severity off a prefix.
        file_bytes_max, file_count: when the file turns over, and how many of them there are.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        redact: Redactor,
        level: str = "info",
        stream_level: str = "warning",
        is_journal: bool = False,
        file_bytes_max: int = 50_000_000,
        file_count: int = 10,
        stream: TextIO | None = None,
    ) -> None:
        self.dropped = 0
        out = stream or sys.stderr
        file = _File(path, file_bytes_max, file_count, self._drop)
        file.setFormatter(_Formatter(redact, structlog.processors.JSONRenderer()))
        file.setLevel(level.upper())
        console = _Stream(out, self._drop)
        console.setFormatter(_Formatter(redact, _renderer(out), is_journal=is_journal))
        console.setLevel(stream_level.upper())
        waiting: queue.Queue[logging.LogRecord] = queue.Queue(_WAITING_MAX)
        self._door = _Door(waiting, self._drop)
        self._listener = logging.handlers.QueueListener(waiting, file, console, respect_handler_level=True)
        self._file = file
        root = logging.getLogger()
        root.handlers = [self._door]
        root.setLevel(logging.WARNING)
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._console = console
        self._let_through()
        self._hook, sys.excepthook = sys.excepthook, _log_uncaught
        logging.captureWarnings(True)
        self._listener.start()

    def set_stream_level(self, level: str) -> None:
        """Say on standard error what is of this level and above, from now on; the file keeps its own."""
        self._console.setLevel(level.upper())
        self._let_through()

    def _let_through(self) -> None:
        own = logging.getLogger("bot")
        own.setLevel(min(self._file.level, self._console.level))
        structlog.configure(
            processors=[*_shared(), _hold_error, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            wrapper_class=structlog.make_filtering_bound_logger(own.level),
            logger_factory=lambda *_: own,
            cache_logger_on_first_use=False,
        )

    def close(self) -> None:
        """Write what waits, and leave logging as it is before anything is configured."""
        self._listener.stop()
        self._file.close()
        logging.captureWarnings(False)
        sys.excepthook = self._hook
        logging.getLogger().handlers = []
        configure()

    def _drop(self) -> None:
        self.dropped += 1


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders a line, ours or another library's, and shows it to the redactor last."""

    def __init__(self, redact: Redactor, renderer: Any, *, is_journal: bool = False) -> None:
        is_json = isinstance(renderer, structlog.processors.JSONRenderer)
        trace = [structlog.processors.format_exc_info] if is_json else []
        super().__init__(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *trace, renderer],
            foreign_pre_chain=[*_shared(), structlog.stdlib.add_logger_name],
        )
        self._redact = redact
        self._is_journal = is_journal

    def format(self, record: logging.LogRecord) -> str:
        line = self._redact(super().format(record))
        return _JOURNAL_PREFIX.get(record.levelno, "<7>") + line if self._is_journal else line


class _Door(logging.handlers.QueueHandler):
    """Takes a line and returns at once."""

    def __init__(self, waiting: queue.Queue[logging.LogRecord], drop: Callable[[], None]) -> None:
        super().__init__(waiting)
        self._drop = drop

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # it stays within the process, and its traceback is rendered where it is redacted

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        self._drop()


class _File(logging.handlers.RotatingFileHandler):
    def __init__(self, path: Path, bytes_max: int, count: int, drop: Callable[[], None]) -> None:
        super().__init__(path, maxBytes=bytes_max, backupCount=count - 1, encoding="utf-8")
        self._drop = drop

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        self._drop()


class _Stream(logging.StreamHandler[TextIO]):
    def __init__(self, out: TextIO, drop: Callable[[], None]) -> None:
        super().__init__(out)
        self._drop = drop

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        self._drop()


def _shared() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),  # when it was logged: the wall's time, also in a replay
    ]


def _hold_error(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Name the error that is being handled: the thread that writes the line handles none."""
    if line.get("exc_info") is True:
        line["exc_info"] = sys.exc_info()
    return line


def _renderer(out: TextIO) -> Any:
    return structlog.dev.ConsoleRenderer(pad_event_to=0) if out.isatty() else structlog.processors.JSONRenderer()


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    structlog.get_logger().critical("process.failed", exc_info=(kind, error, trace))
