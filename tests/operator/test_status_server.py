"""The status server over real HTTP: what it tells, to whom, and what those get who should not."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from bot.domain.errors import DataError
from bot.domain.operation import CommandDone, Counter, Flatten, Kill, OperatorCommand, Pause, Phase
from bot.operator.metrics import Gauge, Metrics
from bot.operator.status_client import StatusAt, StatusClient, decode_snapshot, find_status
from bot.operator.status_server import StatusServer
from tests.support.operated import FakeOperated, SilentOperated, make_snapshot

TOKEN = "correct-horse-battery-staple"
AUTH = {"Authorization": f"Bearer {TOKEN}"}


@asynccontextmanager
async def served(bot: FakeOperated | SilentOperated, **options: Any) -> AsyncIterator[tuple[str, StatusServer]]:
    numbers = itertools.count()
    server = StatusServer(bot, token=TOKEN, new_token=lambda: f"confirm-{next(numbers)}", **options)
    url = await server.listen()
    try:
        yield url, server
    finally:
        await server.stop()


async def ask(url: str, path: str, method: str = "GET", **options: Any) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.request(method, url + path, **options) as answer:
        return answer.status, await answer.text()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


async def test_metrics_tell_the_snapshot_in_base_units() -> None:
    async with served(FakeOperated(), gauges=lambda: [Gauge(name="gpu_memory_bytes", help="Used.", value=3e9)]) as (
        url,
        _,
    ):
        status, text = await ask(url, "/metrics")
    assert status == 200
    found = samples(text)

    def value(name: str, **labels: str) -> float:
        return found[name, tuple(sorted(labels.items()))]

    assert value("bot_equity", currency="USDT") == 10150.25
    assert value("bot_drawdown_ratio") == pytest.approx(1 - 10150.25 / 10200)
    assert value("bot_day_return_ratio") == pytest.approx(0.015025)
    assert value("bot_exposure_gross", currency="USDT") == pytest.approx(0.25 * 63105.5)
    assert value("bot_exposure_net", currency="USDT") == pytest.approx(-0.25 * 63105.5)
    assert value("bot_data_age_seconds", topic="publicTrade.BTCUSDT") == pytest.approx(0.2)
    assert value("bot_stage_latency_seconds", stage="loop_lag", quantile="0.99") == pytest.approx(0.0023)
    assert value("bot_orders_in_doubt") == 1
    assert value("bot_order_doubt_age_seconds") == pytest.approx(4)
    assert value("bot_orders_total", outcome="filled") == 97
    assert value("bot_phase", phase="ready") == 1
    assert value("bot_phase", phase="degraded") == 0
    assert value("bot_forecast_coverage_ratio", horizon="300s", instrument="BTCUSDT") == pytest.approx(0.91)
    assert ("bot_forecast_coverage_ratio", (("horizon", "3600s"), ("instrument", "BTCUSDT"))) not in found  # not known
    assert value("bot_gpu_memory_bytes") == 3e9
    assert value("bot_actor_messages_total", actor="strategy") == 1234


def test_an_unmarked_position_leaves_exposure_out_and_strange_counters_are_counted() -> None:
    held = replace(make_snapshot().positions[0], mark_price=None)
    strange = (Counter(name="Bad Name", labels=(), value=1), Counter(name="x_total", labels=(("a-b", "c"),), value=1))
    found = samples(Metrics(make_snapshot(positions=(held,), equity=None, counters=strange)).text().decode())
    names = {name for name, _ in found}
    assert not names & {"bot_exposure_gross", "bot_equity", "bot_drawdown_ratio", "bot_leverage_ratio"}
    assert found["bot_counters_left_out", ()] == 2


async def test_health_is_503_with_the_reason_when_something_is_wrong() -> None:
    bot = FakeOperated()
    async with served(bot) as (url, _):
        assert (await ask(url, "/health/live"))[0] == 200
        assert (await ask(url, "/health/ready"))[0] == 200
    for change, reason in (
        ({"phase": Phase.DEGRADED, "troubles": ("BTCUSDT: no trade for 12 s",)}, "no trade for 12 s"),
        ({"is_killed": True}, "kill switch"),
        ({"is_paused": True}, "paused"),
    ):
        async with served(FakeOperated(make_snapshot(**change))) as (url, _):
            status, text = await ask(url, "/health/ready")
            assert status == 503
            assert reason in text
            assert (await ask(url, "/health/live"))[0] == 200
    dead = tuple(replace(each, is_alive=each.name != "strategy") for each in bot.view.actors)
    async with served(FakeOperated(make_snapshot(actors=dead))) as (url, _):
        status, text = await ask(url, "/health/live")
        assert (status, json.loads(text)["why"]) == (503, ["strategy has ended"])


async def test_the_client_reads_the_snapshot_as_it_was(tmp_path: Path) -> None:
    bot = FakeOperated()
    async with served(bot) as (url, _):
        (tmp_path / "status.json").write_bytes(msgspec.json.encode(StatusAt(token=TOKEN, url=url)))
        client = StatusClient(find_status(tmp_path))
        try:
            read = await client.snapshot()
        finally:
            await client.close()
    assert msgspec.json.encode(read) == msgspec.json.encode(bot.view)


async def test_a_unix_socket_serves_the_same(tmp_path: Path) -> None:
    server = StatusServer(FakeOperated(), token=TOKEN, new_token=lambda: "x")
    await server.listen_unix(tmp_path / "status.sock")
    client = StatusClient(StatusAt(token=TOKEN, socket=str(tmp_path / "status.sock")))
    try:
        assert (await client.snapshot()).run_id == make_snapshot().run_id
    finally:
        await client.close()
        await server.stop()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"forecasts": 7}', b'{"forecasts": [{}]}', b"\xff\xfe", b"[" * 5000]
)
def test_what_is_no_snapshot_is_refused_in_one_line(body: bytes) -> None:
    with pytest.raises(DataError, match="no snapshot"):
        decode_snapshot(body)


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"token": "x", "url": "http://10.0.0.1:80"}', '{"token": "x", "url": "file:///etc"}', "x" * 5000],
)
def test_a_status_file_that_leads_elsewhere_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(DataError, match=r"status\.json"):
        find_status(tmp_path)


async def test_a_command_is_shown_first_and_confirmed_once() -> None:
    bot = FakeOperated()
    async with served(bot, has_controls=True) as (url, _):
        client = StatusClient(StatusAt(token=TOKEN, url=url))
        try:
            foreseen = await client.foresee(Flatten(why="test"))
            assert foreseen.text == "cancel 2 orders, close 1 positions worth 15776.38 USDT"
            assert bot.obeyed == []
            assert (await client.obey(foreseen.confirm, "page")).is_done
            assert bot.obeyed == [(Flatten(why="test"), "page")]
            with pytest.raises(DataError, match="ask again"):
                await client.obey(foreseen.confirm, "page")
            assert (await client.snapshot()).is_paused
        finally:
            await client.close()
    assert len(bot.obeyed) == 1


async def test_a_command_that_takes_long_is_still_answered() -> None:
    """The limits on slow clients do not cut off who waits for the bot."""

    class Slow(FakeOperated):
        async def obey(self, command: OperatorCommand, by: str) -> CommandDone:
            await asyncio.sleep(0.4)  # what it stands for: orders on their way; four times a client's patience
            return await super().obey(command, by)

    bot = Slow()
    async with served(bot, has_controls=True) as (url, server):
        server._listener._patience_s = 0.05
        client = StatusClient(StatusAt(token=TOKEN, url=url))
        try:
            foreseen = await client.foresee(Pause(why="test"))
            assert (await client.obey(foreseen.confirm, "page")).is_done
        finally:
            await client.close()


@pytest.mark.parametrize("path", ["/metrics", "/health/live", "/health/ready", "/snapshot"])
async def test_a_bot_that_does_not_answer_is_said_to_be_silent(path: str) -> None:
    async with served(SilentOperated()) as (url, _), aiohttp.ClientSession() as session:
        answer = await session.get(f"{url}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status == 503
        assert "has not answered" in await answer.text()


async def test_commands_are_refused_unless_enabled() -> None:
    bot = FakeOperated()
    async with served(bot) as (url, _):
        client = StatusClient(StatusAt(token=TOKEN, url=url))
        try:
            with pytest.raises(DataError, match=r"status\.controls"):
                await client.foresee(Kill(why="test"))
        finally:
            await client.close()
    assert bot.obeyed == []


PAUSE = msgspec.json.encode(Pause(why="attack"))
JSON = {"Content-Type": "application/json"}
ATTACKS: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/snapshot", {}, 401),
    ("GET", "/snapshot", {"headers": {"Authorization": TOKEN}}, 401),
    ("GET", "/snapshot", {"headers": {"Authorization": f"Bearer {TOKEN}x"}}, 401),
    ("GET", "/snapshot", {"headers": {"Authorization": f"bearer {TOKEN}"}}, 401),
    ("GET", f"/snapshot?token={TOKEN}", {}, 401),
    ("GET", "/snapshot", {"headers": AUTH | {"Host": "evil.example"}}, 421),  # DNS rebinding
    ("GET", "/metrics", {"headers": {"Host": "evil.example:80"}}, 421),
    ("GET", "/health/live", {"headers": {"Host": "127.0.0.1"}}, 421),
    ("GET", "/health/live", {"headers": {"Host": ""}}, 421),
    ("GET", "/snapshot", {"headers": AUTH | {"Origin": "http://evil.example"}}, 403),
    ("GET", "/snapshot", {"headers": AUTH | {"Origin": "null"}}, 403),
    ("GET", "/metrics", {"headers": {"Sec-Fetch-Site": "cross-site"}}, 403),
    ("POST", "/obey", {"headers": AUTH | JSON, "data": b'{"confirm":""}'}, 409),
    ("POST", "/obey", {"headers": AUTH | JSON, "data": b'{"confirm":"confirm-0"}'}, 409),
    ("POST", "/foresee", {"headers": JSON, "data": PAUSE}, 401),
    ("POST", "/foresee", {"headers": AUTH, "data": PAUSE}, 415),
    ("POST", "/foresee", {"headers": AUTH | {"Content-Type": "text/plain"}, "data": PAUSE}, 415),
    ("POST", "/foresee", {"headers": AUTH | JSON, "data": b"{"}, 400),
    ("POST", "/foresee", {"headers": AUTH | JSON, "data": b'{"type":"Sell","why":"x"}'}, 400),
    ("POST", "/foresee", {"headers": AUTH | JSON, "data": b"\xff" * 100}, 400),
    ("POST", "/foresee", {"headers": AUTH | JSON, "data": b"[" * 8000}, 400),
    ("POST", "/foresee", {"headers": AUTH | JSON, "data": b" " * 20_000}, 413),
    ("GET", "/foresee", {"headers": AUTH}, 405),
    ("GET", "/obey?confirm=confirm-0", {"headers": AUTH}, 405),
    ("PUT", "/snapshot", {"headers": AUTH}, 405),
    ("GET", "/../../etc/passwd", {"headers": AUTH}, 404),
    ("GET", "/%2e%2e/%2e%2e/etc/passwd", {"headers": AUTH}, 404),
]


async def test_attacks_are_refused_and_have_no_effect() -> None:
    bot = FakeOperated()
    async with served(bot, has_controls=True) as (url, server):
        for method, path, options, wanted in ATTACKS:
            status, text = await ask(url, path, method, **options)
            assert status == wanted, (method, path, options, text)
            assert TOKEN not in text
        assert server.guard.refused == len(ATTACKS)
    assert bot.obeyed == []
    assert not bot.view.is_paused


async def test_a_flood_is_refused_and_costs_few_snapshots() -> None:
    bot = FakeOperated()
    async with served(bot) as (url, _), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8)) as session:

        async def one() -> int:
            async with session.get(url + "/metrics") as answer:
                return answer.status

        statuses = await asyncio.gather(*(one() for _ in range(300)))
    assert set(statuses) == {200, 429}
    assert bot.looks < 20


async def test_slow_and_numerous_clients_are_cut_off_while_others_are_served() -> None:
    """A hundred connections that never finish a request leave room for one that does."""
    bot = FakeOperated()
    async with served(bot) as (url, server):
        server._listener._patience_s = 0.2
        host, port = "127.0.0.1", int(url.rsplit(":", 1)[1])
        slow = [await asyncio.open_connection(host, port) for _ in range(100)]
        for _, writer in slow:
            writer.write(b"GET /snapshot HTTP/1.1\r\nHost: 127")
        assert (await ask(url, "/health/live"))[0] == 200
        async with asyncio.timeout(5):
            for reader, writer in slow:
                assert await reader.read() == b""
                writer.close()
        assert (await ask(url, "/health/live"))[0] == 200
