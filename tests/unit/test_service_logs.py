"""Logs of a run that lasts: nothing secret, nothing lost unseen, nothing in the way."""

import io
import json
import logging
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from bot.core.redaction import HIDDEN, Redactor
from bot.runtime.logs import ServiceLogs

SECRET = "Kx7pQ2vR9sTu4WyZ1aBc"


@contextmanager
def _logs(path: Path, **options: Any) -> Iterator[ServiceLogs]:
    logs = ServiceLogs(path, redact=Redactor([SECRET]), **options)
    try:
        yield logs
    finally:
        logs.close()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_ours_and_other_libraries_lines_are_json_without_secrets(tmp_path: Path) -> None:
    """Keys, messages and tracebacks, whoever logs them, pass the redactor last."""
    path, err = tmp_path / "log.jsonl", io.StringIO()
    with _logs(path, stream=err):
        structlog.get_logger().info("venue.answered", body={"key": SECRET}, took_ms=3)
        logging.getLogger("aiohttp.client").warning("asked %s", f"https://x/?k={SECRET}")
        logging.getLogger("aiohttp.client").info("not heard")
        try:
            raise ValueError(f"refused {SECRET}")
        except ValueError:
            structlog.get_logger().exception("actor.failed", actor="feed")
    lines = _lines(path)
    assert [line["event"] for line in lines] == ["venue.answered", f"asked https://x/?k={HIDDEN}", "actor.failed"]
    assert lines[0]["took_ms"] == 3
    assert f"ValueError: refused {HIDDEN}" in lines[2]["exception"]
    assert lines[1]["logger"] == "aiohttp.client"
    assert SECRET not in path.read_text() + err.getvalue()
    assert "actor.failed" in err.getvalue()
    assert "venue.answered" not in err.getvalue()  # info is for the file


def test_an_uncaught_error_is_logged_redacted(tmp_path: Path) -> None:
    """What nobody caught is a line like any other, not a traceback with a secret in it."""
    path = tmp_path / "log.jsonl"
    with _logs(path, stream=io.StringIO()):
        try:
            raise RuntimeError(SECRET)
        except RuntimeError as error:
            sys.excepthook(type(error), error, error.__traceback__)
    (line,) = _lines(path)
    assert line["event"] == "process.failed"
    assert SECRET not in json.dumps(line)


def test_the_journal_reads_the_severity(tmp_path: Path) -> None:
    """systemd takes the prefix for the priority."""
    err = io.StringIO()
    with _logs(tmp_path / "log.jsonl", stream=err, is_journal=True, stream_level="info"):
        structlog.get_logger().info("run.started")
        structlog.get_logger().error("venue.banned")
    told = err.getvalue().splitlines()
    assert told[0].startswith('<6>{"')
    assert told[1].startswith('<3>{"')


def test_the_file_turns_over_and_old_ones_go(tmp_path: Path) -> None:
    """The disk that logs take is bounded."""
    with _logs(tmp_path / "log.jsonl", stream=io.StringIO(), file_bytes_max=2_000, file_count=3):
        for number in range(200):
            structlog.get_logger().info("bar.closed", number=number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "log.jsonl.1", "log.jsonl.2"]
    assert all(path.stat().st_size <= 2_000 for path in tmp_path.iterdir())
    assert _lines(tmp_path / "log.jsonl")[-1]["number"] == 199


def test_a_full_disk_drops_lines_and_counts_them(tmp_path: Path) -> None:
    """Logging fails alone: nothing is raised, and the count says so."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    logs = ServiceLogs(tmp_path / "log.jsonl", redact=Redactor(), stream=io.StringIO())
    try:
        structlog.get_logger().info("fits")
        logs._listener.stop()
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        logs._listener.start()
        for _ in range(50):
            structlog.get_logger().info("does.not_fit", text="x" * 100)
        logs._listener.stop()
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        logs._listener.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
        logs.close()
    assert logs.dropped >= 50


def test_too_many_waiting_lines_are_dropped_and_counted(tmp_path: Path) -> None:
    """A disk that hangs costs lines, not memory."""
    logs = ServiceLogs(tmp_path / "log.jsonl", redact=Redactor(), stream=io.StringIO())
    logs._listener.stop()
    for number in range(10_010):
        structlog.get_logger().info("bar.closed", number=number)
    assert logs.dropped >= 9
    logs._listener.start()
    logs.close()
    assert len(_lines(tmp_path / "log.jsonl")) >= 9_990
