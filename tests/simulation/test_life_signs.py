"""What the service manager and the dead-man switch hear of a whole paper run, through outages of its venue.

The socket is a real one, in the protocol of sd_notify(3); the heartbeat is the file itself.
"""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.domain.operation import Phase
from bot.runtime.heartbeat import HEARTBEAT_FILE, Life, read_heartbeat
from tests.support.paper_loop import SECOND, PaperLoop, paper_loop

GRACE_S = 8.0  # of the venue's time, as all here: it runs five times as fast as ours


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, path: Path) -> None:
        self._end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._end.bind(str(path))
        self._end.setblocking(False)
        self.status = ""
        self.fed = 0
        self.said: list[str] = []

    def hear(self) -> None:
        """Read what has been said."""
        while True:
            try:
                lines = self._end.recv(4_096).decode().splitlines()
            except BlockingIOError:
                return
            for name, _, value in (line.partition("=") for line in lines):
                self.said.append(name)
                self.fed += name == "WATCHDOG"
                self.status = value if name == "STATUS" else self.status

    def close(self) -> None:
        """Listen no more."""
        self._end.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Return whom the run's notices reach."""
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    made = Manager(path)
    yield made
    made.close()


@pytest.mark.slow
def test_outages_are_waited_for_and_told_of(tmp_path: Path, manager: Manager) -> None:
    """READY follows the first comparison; through an outage of the market the bot is fed for its grace and no longer.

    The heartbeat goes on as long as the bot could still leave its position, and stops when the venue is out of reach.
    """

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            both.start(service={"outage_grace": f"{GRACE_S:.0f}s", "unreached_after": "10s"})
            await both.until_ready()
            manager.hear()
            assert manager.said.count("READY") == 1
            assert both.entries("Reconciled"), "it was ready before it had compared anything"
            await _until_status(both, manager, "trading BTCUSDT")
            await _market_outage(both, manager)
            await _whole_outage(both, manager)
            await both.stop()
            manager.hear()
            assert manager.said[-2:] == ["STOPPING", "STATUS"]
            assert _beat(both)[1] is Life.STOPPED

    asyncio.run(campaign())


async def _market_outage(both: PaperLoop, manager: Manager) -> None:
    """Only some of the market's data are gone."""
    both.add_fault(kind="stall", where={"topic": "tickers*"})
    await both.until(lambda: both.phase is Phase.DEGRADED, "it is degraded")
    await _until_status(both, manager, "reconnecting: ")
    since_ns, fed, beats = both.clock.now_ns(), manager.fed, _beat(both)[0]
    await _until_status(both, manager, "the watchdog is no longer fed")
    fed_for_s = (both.clock.now_ns() - since_ns) / SECOND
    assert manager.fed > fed
    assert fed_for_s > GRACE_S / 2
    fed = manager.fed
    await both.pass_time(6)
    manager.hear()
    assert manager.fed == fed, "it was fed while data and grace were gone"
    assert _beat(both)[0] > beats, "the account can be reached: nobody else must clear it"
    both.exchange.faults.clear()
    await _until_status(both, manager, "trading BTCUSDT")
    await both.pass_time(6)
    manager.hear()
    assert manager.fed > fed


async def _whole_outage(both: PaperLoop, manager: Manager) -> None:
    """Nothing of the venue answers, and there is a position or an order."""
    both.add_fault(kind="http_status", where={"socket": "http"}, status=503)
    both.add_fault(kind="maintenance", delay_ns=10_000 * SECOND)
    await _until_status(both, manager, "the dead-man switch is left to act")
    beats, _ = _beat(both)
    await both.pass_time(10)
    assert _beat(both)[0] == beats, "it said that all is well while nobody could reach the venue"
    assert both.phase is Phase.DEGRADED


async def _until_status(both: PaperLoop, manager: Manager, words: str) -> None:
    def is_said() -> bool:
        manager.hear()
        return words in manager.status

    await both.until(is_said, f"the status says {words!r}, not {manager.status!r}")


def _beat(both: PaperLoop) -> tuple[int, Life]:
    beat = read_heartbeat(both.ledger / HEARTBEAT_FILE)
    assert beat is not None
    return beat.count, beat.life
