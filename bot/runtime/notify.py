"""Tells systemd how the service is: ready, alive, what it does (the sd_notify protocol).

A datagram to the socket that systemd names in the environment; without one nothing is sent, and the program runs as
well by hand.

Source: sd_notify(3), systemd.service(5): Type=notify, WatchdogSec.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

import structlog

log = structlog.get_logger()


class ServiceNotifier:
    """The service manager's socket.

    Args:
        environment: where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID stand.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        self._address = _read_address(given.get("NOTIFY_SOCKET", ""))
        self.watchdog_ns = _read_watchdog(given)
        self._status = ""
        self._is_heard = True
        self._is_stopping = False
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @property
    def is_managed(self) -> bool:
        """Return whether anybody listens."""
        return self._socket is not None

    @property
    def feed_every_ns(self) -> int | None:
        """Return how often the watchdog wants to hear of us, a third of its patience; None where there is none."""
        return None if self.watchdog_ns is None else self.watchdog_ns // 3

    def ready(self, status: str) -> None:
        """Say that the service does what it is for."""
        self._status = status
        self._send("READY=1", f"STATUS={_line(status)}", f"MAINPID={os.getpid()}")

    def status(self, status: str) -> None:
        """Say in one line what it does; not again what was said last, and nothing once it is on its way out."""
        if status != self._status and not self._is_stopping:
            self._status = status
            self._send(f"STATUS={_line(status)}")

    def alive(self) -> None:
        """Feed the watchdog. To be called only when the service is healthy, not merely running."""
        self._send("WATCHDOG=1")

    def stopping(self, status: str = "stopping") -> None:
        """Say that it is on its way out; that stays the last status."""
        self._is_stopping = True
        self._send("STOPPING=1", f"STATUS={_line(status)}")

    def extend(self, span_ns: int) -> None:
        """Ask for more time to start or to stop in."""
        self._send(f"EXTEND_TIMEOUT_USEC={span_ns // 1_000}")

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:  # nothing of ours may depend on who listens
            if self._is_heard:
                log.warning("service.not_notified", error=error.strerror)
            self._is_heard = False
        else:
            self._is_heard = True


def _read_address(text: str) -> str | None:
    if text.startswith("@"):
        return "\0" + text[1:]  # Linux's abstract names
    return text if text.startswith("/") else None


def _read_watchdog(environment: Mapping[str, str]) -> int | None:
    with suppress(ValueError):
        span_us = int(environment.get("WATCHDOG_USEC", ""))
        is_ours = int(environment.get("WATCHDOG_PID", str(os.getpid()))) == os.getpid()
        if span_us > 0 and is_ours:
            return span_us * 1_000
    return None


def _line(text: str) -> str:
    return " ".join(text.split())
