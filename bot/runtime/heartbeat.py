"""The sign of life that the bot leaves for the dead-man switch: one small file, replaced about once a second.

It says "I have just looked at myself and am well", never merely "I run": it is written after a look that found the
account compared and the loop on time. A run that ends in order says so, and is missed by nobody.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import msgspec
import structlog

from bot.runtime.env import monotonic_ns

log = structlog.get_logger()

HEARTBEAT_FILE = "heartbeat"
EVERY_NS = 1_000_000_000
_BYTES_MAX = 1_024


class Life(StrEnum):
    """What a heartbeat says."""

    BEATING = "beating"
    STOPPED = "stopped"  # in order: open orders and positions are meant to stay


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """One beat."""

    run_id: str
    count: int  # of this run's beats; whoever watches looks for another one, never at a clock
    life: Life


class HeartbeatWriter:
    """Leaves a run's beats. Nothing of it ever raises or waits for the disk: it must not endanger what it tells of.

    Args:
        path: the file, beside the ledger by convention; its directory is there.
        run_id: of the run.
        monotonic: ns of a clock that only rises.
    """

    def __init__(self, path: Path, run_id: str, monotonic: Callable[[], int] = monotonic_ns) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._run_id = run_id
        self._monotonic = monotonic
        self._last_ns: int | None = None
        self._is_written = True
        self.count = 0

    def beat(self) -> None:
        """Say that all is well; more often than once a second it is not said again."""
        now_ns = self._monotonic()
        if self._last_ns is None or now_ns - self._last_ns >= EVERY_NS:
            self._last_ns = now_ns
            self._write(Life.BEATING)

    def stop(self) -> None:
        """Say that the run ends in order."""
        self._write(Life.STOPPED)

    def _write(self, life: Life) -> None:
        self.count += 1
        body = msgspec.json.encode(Heartbeat(run_id=self._run_id, count=self.count, life=life))
        try:
            # Not synced: after a crash of the machine an older beat is as silent as this one.
            descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640)
            try:
                os.write(descriptor, body)
            finally:
                os.close(descriptor)
            self._part.replace(self._path)
        except OSError as error:
            if self._is_written:
                log.error("heartbeat.not_written", path=str(self._path), error=error.strerror)
            self._is_written = False
        else:
            self._is_written = True


def read_heartbeat(path: Path) -> Heartbeat | None:
    """Return what was said last; None where nothing can be read, which is as good as silence."""
    with suppress(OSError, msgspec.DecodeError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            body = os.read(descriptor, _BYTES_MAX + 1)
        finally:
            os.close(descriptor)
        if len(body) <= _BYTES_MAX:
            return msgspec.json.decode(body, type=Heartbeat)
    return None
