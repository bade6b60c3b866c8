"""sd_notify over a real socket: what systemd would read."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.app.patience import ask_patiently
from bot.domain.errors import VenueError
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
    notifier.status("reconnecting: what nobody waits for any more")
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


class Venue:
    """A venue that is away at first."""

    def __init__(self, *errors: VenueError) -> None:
        self._errors = list(errors)
        self.asked = 0

    async def ask(self) -> str:
        """Answer, when there is nothing to complain of any more."""
        self.asked += 1
        if self._errors:
            raise self._errors.pop(0)
        return "instruments"


AWAY = VenueError("no filters", "https://venue does not describe BTCUSDT: nobody there")


async def test_a_start_waits_for_a_venue_that_is_away_and_says_so(manager: socket.socket, tmp_path: Path) -> None:
    """The manager is asked for more time before each wait, and a person can read what is waited for."""
    notifier = ServiceNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    venue = Venue(AWAY, AWAY)
    found = await ask_patiently(venue.ask, notifier, asyncio.Event(), within_s=60, first_s=0.001)
    assert (found, venue.asked) == ("instruments", 3)
    heard = _heard(manager)
    assert [each.partition("=")[0] for each in heard] == ["EXTEND_TIMEOUT_USEC", "STATUS", "EXTEND_TIMEOUT_USEC"]
    assert "the venue does not answer" in heard[1]
    assert "nobody there" in heard[1]
    notifier.close()


@pytest.mark.parametrize(
    ("is_managed", "within_s", "is_stopping", "error"),
    [
        (False, 60.0, False, AWAY),  # a person waits at a terminal
        (True, 0.0, False, AWAY),  # no grace
        (True, 60.0, True, AWAY),
        (True, 60.0, False, VenueError("not listed", "https://venue does not describe XYZ: not listed")),
    ],
)
async def test_a_start_fails_at_once_where_waiting_is_in_vain(
    manager: socket.socket, tmp_path: Path, is_managed: bool, within_s: float, is_stopping: bool, error: VenueError
) -> None:
    notifier = ServiceNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify")} if is_managed else {})
    stopping = asyncio.Event()
    if is_stopping:
        stopping.set()
    venue = Venue(error)
    with pytest.raises(VenueError):
        await ask_patiently(venue.ask, notifier, stopping, within_s=within_s, first_s=0.001)
    assert venue.asked == 1
    assert _heard(manager) == []
    notifier.close()
