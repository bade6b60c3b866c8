"""The dead-man switch against an emulated venue, and a bot that is stopped as a hung one is."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.app.deadman import DeadMan
from bot.app.switches import Switches
from bot.domain.errors import ConfigError
from bot.emulator.exchange import Exchange
from bot.emulator.wire import Request
from bot.runtime.deadman_settings import DeadmanSettings, load_deadman
from bot.runtime.heartbeat import HeartbeatWriter
from bot.runtime.notify import ServiceNotifier
from bot.venues.bybit.clearing import Clearing
from bot.venues.bybit.credentials import Credentials
from tests.support.emulator import (
    KEY,
    READ_ONLY_KEY,
    READ_ONLY_SECRET,
    SECRET,
    Served,
    make_world,
    served,
    sign,
)
from tests.support.live_rest import client_of

ROOT = Path(__file__).parents[2]
_BEATING = """
import sys, time
from pathlib import Path
from bot.runtime.heartbeat import HeartbeatWriter
writer = HeartbeatWriter(Path(sys.argv[1]), "run-1")
while True:
    writer.beat()
    time.sleep(0.05)
"""


@pytest.fixture
def venue() -> Iterator[Served]:
    with served(lambda now_ns: make_world(now_ns, each_s=1.0, seconds=300, rate_scale=0)) as running:
        yield running


def post(venue: Served, path: str, **body: Any) -> dict[str, Any]:
    """Act on the account as the bot does."""

    def act(exchange: Exchange, now_ns: int) -> dict[str, Any]:
        text, stamp = json.dumps(body).encode(), str(now_ns // 10**6)
        headers = {
            "x-bapi-api-key": KEY,
            "x-bapi-timestamp": stamp,
            "x-bapi-recv-window": "5000",
            "x-bapi-sign": sign(SECRET, f"{stamp}{KEY}5000".encode() + text),
        }
        asked = Request(method="POST", path=path, query="", headers=headers, body=text)
        answer: dict[str, Any] = json.loads(exchange.handle_request(asked, now_ns).body)
        assert answer["retCode"] == 0, answer
        return answer

    answer: dict[str, Any] = venue.do(act)
    return answer


def rest(venue: Served, count: int = 1, symbol: str = "BTCUSDT", **fields: Any) -> None:
    price = "50000" if symbol == "BTCUSDT" else "2500"
    order = {"category": "linear", "symbol": symbol, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": price}
    for _ in range(count):
        post(venue, "/v5/order/create", **{**order, **fields})


def hold(venue: Served) -> None:
    """Open a position with a stop that the venue keeps."""
    order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.1"}
    post(venue, "/v5/order/create", **order, stopLoss="40000", tpslMode="Full")


def clear(venue: Served, *, is_flattening: bool, categories: tuple[Any, ...] = ("linear",)) -> tuple[int, Any]:
    """Make rounds until one finds nothing; return how many it took, and what is there then."""

    async def run() -> tuple[int, Any]:
        async with client_of(venue) as client:
            now_ns, found = client._clock.now_ns, None
            clearing = Clearing(client, now_ns=now_ns, categories=categories, is_flattening=is_flattening)
            for count in range(1, 10):
                found = await clearing.round()
                if found.is_clear:
                    return count, await clearing.look()
        raise AssertionError(found)

    return asyncio.run(run())


def test_cancel_takes_what_could_enter_and_keeps_what_protects(venue: Served) -> None:
    hold(venue)
    rest(venue, 3)
    rest(venue, 1, orderType="Market", triggerPrice="70000", triggerDirection=1)  # it would enter
    rest(venue, 1, side="Sell", orderType="Market", triggerPrice="45000", triggerDirection=2, reduceOnly=True)
    _, left = clear(venue, is_flattening=False)
    assert (left.orders, left.positions) == (0, 1)
    # The venue's own stop and the reduce-only one are there still: flattening finds and takes them, too.
    _, left = clear(venue, is_flattening=True)
    assert (left.orders, left.positions) == (0, 0)


def test_more_orders_than_one_call_reaches(venue: Served) -> None:
    """A cancel-all takes 500 at most: it goes on until nothing is left."""
    rest(venue, 400)
    rest(venue, 250, "ETHUSDT")
    rounds, left = clear(venue, is_flattening=False)
    assert rounds >= 2
    assert left.orders == 0


def test_spot_is_canceled_and_never_sold(venue: Served) -> None:
    rest(venue, category="spot", isLeverage=0)
    _, left = clear(venue, is_flattening=True, categories=("linear", "spot"))
    assert left.orders == 0


def test_a_round_that_learned_nothing_is_not_clear(venue: Served) -> None:
    """No answer is not an empty list."""
    venue.add_fault(kind="http_status", where={"path": "/v5/order/realtime"}, count=2)

    async def run() -> Any:
        async with client_of(venue) as client:
            clearing = Clearing(client, now_ns=client._clock.now_ns, categories=("linear",), is_flattening=False)
            return await clearing.round(), await clearing.round()

    first, second = asyncio.run(run())
    assert not first.is_clear
    assert first.troubles
    assert second.is_clear


def _settings(venue: Served, heartbeat: Path, **fields: Any) -> DeadmanSettings:
    settings = DeadmanSettings(
        venue={"environment": "emulator", "url": venue.http, "uid": 592324},
        heartbeat=heartbeat,
        **fields,
    )
    return settings.model_copy(update={"silence": 1_500_000_000})  # shorter than a user may make it


class Watched:
    """A dead-man switch that runs beside a test, and what it says."""

    def __init__(self, settings: DeadmanSettings, credentials: Credentials | None = None) -> None:
        self.told: list[str] = []
        self._news = asyncio.Event()
        self.man = DeadMan(
            settings, credentials or Credentials(key=KEY, secret=SECRET), ServiceNotifier({}), self._tell
        )
        self._task = asyncio.create_task(self.man.run())

    def _tell(self, text: str) -> None:
        self.told.append(text)
        self._news.set()

    async def hears(self, words: str) -> None:
        """Wait until it says something with these words in it, and forget what it said up to there."""

        async def listen() -> None:
            while not any(words in each for each in self.told):
                self._news.clear()
                await self._news.wait()

        async with asyncio.timeout(60):
            await listen()
        at = next(n for n, each in enumerate(self.told) if words in each)
        del self.told[: at + 1]

    async def end(self) -> None:
        self.man.stop()
        await self._task


async def _beat_in_process(path: Path, act: Callable[["subprocess.Popen[bytes]"], Any]) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220 - a real process to stop; starting it takes no time that matters
        [sys.executable, "-c", _BEATING, str(path)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        await act(process)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
async def test_a_bot_that_hangs_is_cleared_up_after_and_heard_when_it_wakes(venue: Served, tmp_path: Path) -> None:
    """SIGSTOP: its sockets stay open and it does nothing. SIGCONT: it is back, and the switch steps aside."""
    await asyncio.to_thread(hold, venue)
    await asyncio.to_thread(rest, venue, 5)
    watched = Watched(_settings(venue, tmp_path / "heartbeat", then="flatten", kill=True))

    async def play(bot: "subprocess.Popen[bytes]") -> None:
        await watched.hears("watching")
        await watched.hears("the bot is alive")
        bot.send_signal(signal.SIGSTOP)
        await watched.hears("flatten")
        await watched.hears("the account is clear")
        assert Switches(tmp_path).is_killed
        await asyncio.to_thread(rest, venue, 1)  # what it still had in hand arrives late: that goes, too
        bot.send_signal(signal.SIGCONT)
        await watched.hears("the bot is alive")

    await _beat_in_process(tmp_path / "heartbeat", play)
    await watched.end()
    assert watched.man.rounds >= 1


@pytest.mark.slow
async def test_a_bot_that_stopped_in_order_is_left_alone(venue: Served, tmp_path: Path) -> None:
    await asyncio.to_thread(rest, venue, 2)
    writer = HeartbeatWriter(tmp_path / "heartbeat", "run-1")
    writer.beat()
    watched = Watched(_settings(venue, tmp_path / "heartbeat"))
    await watched.hears("the bot is alive")
    writer.stop()
    await watched.hears("stopped in order")
    await watched.end()
    assert watched.man.rounds == 0


async def test_a_key_that_cannot_cancel_is_refused_at_the_start(venue: Served, tmp_path: Path) -> None:
    """It is found out before it is needed."""
    credentials = Credentials(key=READ_ONLY_KEY, secret=READ_ONLY_SECRET)
    man = DeadMan(_settings(venue, tmp_path / "heartbeat"), credentials, ServiceNotifier({}))
    with pytest.raises(ConfigError, match="read-only"):
        await man.run()


async def test_a_key_of_another_account_is_refused(venue: Served, tmp_path: Path) -> None:
    settings = _settings(venue, tmp_path / "heartbeat")
    other = settings.model_copy(update={"venue": settings.venue.model_copy(update={"uid": 1})})
    man = DeadMan(other, Credentials(key=KEY, secret=SECRET), ServiceNotifier({}))
    with pytest.raises(ConfigError, match="not of 1"):
        await man.run()


def test_the_shipped_file_loads_and_real_money_needs_a_number() -> None:
    path = ROOT / "config" / "deadman.toml"
    assert load_deadman(path).then == "cancel"
    with pytest.raises(ConfigError, match=r"venue\.uid"):
        load_deadman(path, ["venue.environment=mainnet"])
    with pytest.raises(ConfigError, match="silence"):
        load_deadman(path, ["silence=1s"])
