"""sd_notify over a real socket: what systemd would read."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.runtime.notify import ServiceNotifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Return the service manager's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        yield end


def _heard(manager: socket.socket) -> list[str]:
    heard = []
    while True:
        try:
            heard.append(manager.recv(4_096).decode())
        except BlockingIOError:
            return heard


def test_the_whole_life_of_a_service(manager: socket.socket, tmp_path: Path) -> None:
    """Ready with a status, news of it once, the watchdog's food, the end."""
    notifier = ServiceNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"})
    assert notifier.is_managed
    assert notifier.feed_every_ns == 10_000_000_000
    notifier.ready("trading BTCUSDT\non testnet")
    notifier.status("trading BTCUSDT\non testnet")
    notifier.status("paused: a person asked")
    notifier.alive()
    notifier.extend(2_000_000_000)
    notifier.stopping()
    assert _heard(manager) == [
        f"READY=1\nSTATUS=trading BTCUSDT on testnet\nMAINPID={os.getpid()}",
        "STATUS=paused: a person asked",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=2000000",
        "STOPPING=1\nSTATUS=stopping",
    ]
    notifier.close()
    notifier.alive()  # nobody to tell
    assert _heard(manager) == []


def test_an_abstract_name_is_understood() -> None:
    """systemd names a socket with @ where it lies in no directory."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind("\0multiscale-bot-test-notify")
        end.setblocking(False)
        notifier = ServiceNotifier({"NOTIFY_SOCKET": "@multiscale-bot-test-notify"})
        notifier.alive()
        assert _heard(end) == ["WATCHDOG=1"]
        notifier.close()


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}],
)
def test_by_hand_nothing_is_sent(environment: dict[str, str]) -> None:
    """Without a manager, or one we do not understand, the program runs as well."""
    notifier = ServiceNotifier(environment)
    notifier.ready("up")
    notifier.alive()
    assert not notifier.is_managed
    assert notifier.watchdog_ns is None


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    """A child inherits the environment; it must not feed its parent's watchdog."""
    assert ServiceNotifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_ns is None


def test_a_manager_that_is_gone_or_full_harms_nothing(tmp_path: Path) -> None:
    """A vanished socket and a full one are passed over."""
    lost = ServiceNotifier({"NOTIFY_SOCKET": str(tmp_path / "nowhere")})
    lost.alive()
    lost.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "full"))
        notifier = ServiceNotifier({"NOTIFY_SOCKET": str(tmp_path / "full")})
        for _ in range(5_000):
            notifier.alive()
        notifier.close()
