"""structlog: people's lines on a terminal, JSON elsewhere, and JSON in the run's own file."""

import logging
import sys
from pathlib import Path
from typing import Any, TextIO

import structlog


def configure(level: str = "warning", *, stream: TextIO | None = None) -> None:
    """Write logs of `level` and above to `stream`, standard error by default."""
    out = stream or sys.stderr
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),  # when it was logged: the wall's time, also in a replay
        structlog.processors.format_exc_info,
    ]
    if out.isatty():
        processors.append(structlog.dev.ConsoleRenderer(pad_event_to=0))
    else:
        processors.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def configure_file(path: Path, level: str = "info") -> TextIO:
    """Write logs of `level` and above as JSON to the run's file; return it, to be closed at the end."""
    file = path.open("a", encoding="utf-8", buffering=1)
    configure(level, stream=file)
    return file
