"""The emulator on the network: TLS, speed, connections that are refused, half open or too slow; and its controls."""

import asyncio
import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from bot.app.emulator import make_world as world_of
from bot.emulator.auth import PERMISSIONS, ApiKey, permission_lists
from bot.emulator.driven import DrivenClock
from bot.emulator.exchange import World
from bot.emulator.faults import Fault
from bot.runtime.emulator_settings import load_emulator
from bot.runtime.env import ScaledClock
from tests.support.emulator import KEY, SECOND, SECRET, START_NS, Driver, Served, make_world, served, sign

DEFAULT = Path(__file__).resolve().parents[2] / "config" / "emulator" / "default.toml"
LINEAR = {"category": "linear", "symbol": "BTCUSDT"}


@pytest.fixture
def venue() -> Iterator[Served]:
    with served(lambda now_ns: make_world(now_ns, rate_scale=0, seconds=120)) as running:
        yield running


def control(venue: Served, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{venue.http}/emulator/{path}", data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


async def signed_in(session: aiohttp.ClientSession, url: str, now_ms: int) -> aiohttp.ClientWebSocketResponse:
    stream = await session.ws_connect(url)
    expires = now_ms + 10_000
    await stream.send_json({"op": "auth", "args": [KEY, expires, sign(SECRET, f"GET/realtime{expires}".encode())]})
    answer = await stream.receive_json()
    assert answer.get("success", answer.get("retCode") == 0), answer
    return stream


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a self-signed certificate for this machine and its key, made by the openssl command."""
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    try:
        made = subprocess.run(
            [*command, *names, "-out", str(paths[0]), "-keyout", str(paths[1])], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("the openssl command is not installed")
    assert made.returncode == 0, made.stderr
    return paths


def test_tls(certificate: tuple[Path, Path]) -> None:
    """Who trusts the certificate is served over HTTPS and WSS; who does not is not."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))

    async def ask(port: int) -> None:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"https://127.0.0.1:{port}/v5/market/time", ssl=trusting) as answer:
                assert (await answer.json())["retCode"] == 0
            async with session.ws_connect(f"wss://127.0.0.1:{port}/v5/public/linear", ssl=trusting) as stream:
                await stream.send_json({"op": "ping"})
                assert (await stream.receive_json())["ret_msg"] == "pong"
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(f"https://127.0.0.1:{port}/v5/market/time")

    with served(lambda now_ns: make_world(now_ns, seconds=60), tls=tls) as running:
        asyncio.run(ask(running.port))


# Time


def test_another_process_keeps_the_venues_time() -> None:
    """Anchored once, a client's clock stays within its windows at thirty times the speed."""
    speed = 30.0
    clock = ScaledClock(start_ns=START_NS, speed=speed)

    def world(now_ns: int) -> World:
        return replace(make_world(now_ns, rate_scale=0, seconds=900), speed=speed)

    with served(world, clock=clock) as venue:
        asked_s = time.monotonic()
        status, told = control(venue, "GET", "clock")
        assert (status, told["speed"], int(told["startNano"]) >= START_NS) == (200, speed, True)
        anchor_s = (asked_s + time.monotonic()) / 2

        def now_ns() -> int:
            return int(told["timeNano"]) + int((time.monotonic() - anchor_s) * speed * SECOND)

        async def trade() -> None:
            async with aiohttp.ClientSession() as session:
                private = await signed_in(session, venue.ws + "/v5/private", now_ns() // 10**6)
                await private.send_json({"op": "subscribe", "args": ["order", "execution"]})
                await private.receive_json()
                stream = await signed_in(session, venue.ws + "/v5/trade", now_ns() // 10**6)
                public = await session.ws_connect(venue.ws + "/v5/public/linear")
                await public.send_json({"op": "subscribe", "args": ["kline.1.BTCUSDT"]})
                order = {**LINEAR, "side": "Buy", "orderType": "Market", "qty": "0.01"}
                for number in range(20):
                    header = {"X-BAPI-TIMESTAMP": str(now_ns() // 10**6)}
                    await stream.send_json(
                        {"reqId": str(number), "header": header, "op": "order.create", "args": [order]}
                    )
                    assert (await stream.receive_json())["retCode"] == 0
                executed = 0
                while executed < 20:
                    frame = await private.receive_json()
                    executed += sum(1 for each in frame["data"] if "execId" in each)
                confirmed: list[int] = []
                while len(confirmed) < 2:
                    frame = await public.receive_json()
                    confirmed += [each["start"] for each in frame.get("data", []) if each["confirm"]]
                assert confirmed[1] - confirmed[0] == 60_000

        asyncio.run(trade())


def test_a_driven_clock_moves_when_it_is_told_to() -> None:
    """A minute plays as fast as it is listened to, and nothing of it is lost."""
    clock = DrivenClock(START_NS)
    with served(lambda now_ns: make_world(now_ns, rate_scale=0, seconds=900), clock=clock) as venue:

        async def play() -> None:
            async with aiohttp.ClientSession() as session:
                stream = await session.ws_connect(venue.ws + "/v5/public/linear")
                await stream.send_json({"op": "subscribe", "args": ["publicTrade.BTCUSDT", "orderbook.50.BTCUSDT"]})
                assert (await stream.receive_json())["success"]
                url = venue.http + "/emulator/clock"
                moving = asyncio.ensure_future(session.post(url, json={"advanceNano": 60 * SECOND}))
                trades, updates = 0, []
                while trades < 240:
                    frame = await stream.receive_json()
                    if frame["topic"] == "publicTrade.BTCUSDT":
                        trades += len(frame["data"])
                    else:
                        updates.append(frame["data"]["u"])
                assert updates == list(range(updates[0], updates[0] + len(updates)))
                moved = await (await moving).json()
                assert int(moved["timeNano"]) == START_NS + 60 * SECOND
                for wrong in ({}, {"advanceNano": 0}, {"advanceNano": 10, "stepNano": 1}, {"advanceNano": "x"}):
                    assert (await session.post(url, json=wrong)).status == 400

        asyncio.run(play())


def test_a_clock_that_moves_by_itself_is_not_driven(venue: Served) -> None:
    assert control(venue, "POST", "clock", {"advanceNano": 1})[0] == 409


# Connections


def test_connections_are_refused_for_a_while(venue: Served) -> None:
    """The port itself refuses; afterwards the same port serves again."""

    async def outage() -> None:
        async with aiohttp.ClientSession() as session:
            stream = await session.ws_connect(venue.ws + "/v5/public/linear")
            venue.add_fault(kind="refuse_connections", delay_ns=SECOND)
            assert (await stream.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
            loop = asyncio.get_running_loop()
            end_s = loop.time() + 10
            with pytest.raises(aiohttp.ClientConnectorError) as refused:
                await ask_until(session, end_s)
            assert isinstance(refused.value.os_error, ConnectionRefusedError)
            while loop.time() < end_s:
                with suppress(aiohttp.ClientConnectorError):
                    await ask(session)
                    return
                await asyncio.sleep(0.02)
            raise AssertionError("it never listened again")

    async def ask_until(session: aiohttp.ClientSession, end_s: float) -> None:
        while asyncio.get_running_loop().time() < end_s:
            await ask(session)

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.get(venue.http + "/v5/market/time") as answer:
            assert answer.status == 200

    asyncio.run(outage())
    assert venue.fired("refuse_connections") == 1


def test_a_half_open_stream_says_nothing_and_ends_nowhere(venue: Served) -> None:
    async def talk() -> None:
        async with aiohttp.ClientSession() as session:
            stream = await session.ws_connect(venue.ws + "/v5/public/linear")
            venue.add_fault(kind="half_open", where={"topic": "tickers.BTCUSDT"}, count=1)
            await stream.send_json({"op": "subscribe", "args": ["tickers.BTCUSDT"]})
            assert (await stream.receive_json())["success"] is True
            await stream.send_json({"op": "ping"})
            with pytest.raises(TimeoutError):
                await stream.receive(timeout=1)
            assert not stream.closed
            other = await session.ws_connect(venue.ws + "/v5/public/linear")
            await other.send_json({"op": "ping"})
            assert (await other.receive_json())["ret_msg"] == "pong"
            venue.do(lambda exchange, now_ns: exchange.faults.clear())
            await other.close()
            stream._response.close()  # type: ignore[union-attr]

    asyncio.run(talk())
    assert venue.fired("half_open") == 1


def test_a_client_that_does_not_read_is_cut_off_and_nobody_else_is() -> None:
    """What waits for it is bounded; the others hear everything meanwhile."""

    def world(now_ns: int) -> World:
        return make_world(now_ns, rate_scale=0, each_s=0.02, seconds=120)

    with served(world, queue_max=50) as venue, socket.socket() as slow:

        async def talk() -> None:
            async with aiohttp.ClientSession() as session:
                good = await session.ws_connect(venue.ws + "/v5/public/linear")
                topics = ["orderbook.1000.BTCUSDT", "orderbook.50.BTCUSDT", "tickers.BTCUSDT"]
                await good.send_json({"op": "subscribe", "args": topics})
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                slow.connect(("127.0.0.1", venue.port))
                slow.sendall(
                    b"GET /v5/public/linear HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
                )
                subscribe = json.dumps({"op": "subscribe", "args": topics}).encode()
                # Many subscriptions and as many leaves: each opens with a snapshot, until nothing more fits.
                leave = json.dumps({"op": "unsubscribe", "args": topics}).encode()
                slow.setblocking(False)
                loop = asyncio.get_running_loop()
                ended = False
                for _ in range(20_000):
                    try:
                        for text in (subscribe, leave):
                            await asyncio.wait_for(loop.sock_sendall(slow, masked(text)), 2)
                    except (ConnectionError, TimeoutError):
                        ended = True
                        break
                assert ended
                heard = {json.loads((await good.receive()).data).get("topic") for _ in range(60)}
                assert set(topics) <= heard
                await good.close()

        asyncio.run(talk())
        assert venue.do(lambda exchange, now_ns: len(exchange.hub.sessions)) <= 1


def masked(payload: bytes) -> bytes:
    """Return a client's text frame, masked with zeros: RFC 6455, section 5.2."""
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload


# Controls


def test_faults_are_put_in_force_from_outside(venue: Served) -> None:
    assert control(venue, "GET", "faults") == (200, {})
    lost = {"kind": "error_before", "code": 10016, "where": {"path": "/v5/market/time"}, "count": 1}
    assert control(venue, "POST", "faults", lost) == (200, {})
    with urllib.request.urlopen(venue.http + "/v5/market/time", timeout=5) as answer:
        assert json.load(answer)["retCode"] == 10016
    assert control(venue, "GET", "faults") == (200, {"error_before": 1})
    for wrong in ({"kind": "gremlin"}, {"kind": "venue_cancel", "text": "x"}, {"kind": "stall", "nonsense": 1}, 7):
        status, said = control(venue, "POST", "faults", wrong)
        assert status == 400
        assert said["error"]
    control(venue, "POST", "faults", {**lost, "count": None})
    assert control(venue, "DELETE", "faults") == (200, {})
    with urllib.request.urlopen(venue.http + "/v5/market/time", timeout=5) as answer:
        assert json.load(answer)["retCode"] == 0


# Accounts and keys


def test_what_is_said_of_accounts_and_keys_is_configured() -> None:
    """A start-up check can be shown everything that it must refuse."""
    settings = load_emulator(DEFAULT)
    key = (
        settings.accounts[0]
        .keys[0]
        .model_copy(
            update={
                "permissions": ("Spot", "Wallet", "Withdraw"),
                "addresses": ("10.1.1.1",),
                "expires": START_NS + 5 * 86_400 * SECOND,
                "info": {"uta": 0, "userID": 77},
            }
        )
    )
    account = settings.accounts[0].model_copy(
        update={"keys": (key,), "info": {"marginMode": "ISOLATED_MARGIN", "unifiedMarginStatus": 1}}
    )
    driver = Driver(world_of(settings.model_copy(update={"accounts": (account, settings.accounts[1])}), START_NS))
    names = {"key": key.key, "secret": key.secret}
    refused = driver.get("/v5/user/query-api", **names)
    assert refused["retCode"] == 10010  # the test asks from another address
    driver.exchange.keys.replace(
        ApiKey(
            key=key.key,
            secret=key.secret,
            account="first",
            permissions=key.permissions,
            expires_ns=key.expires,
            info=key.info,
        )
    )
    told = driver.get("/v5/user/query-api", **names)["result"]
    assert told["permissions"]["Wallet"] == ["AccountTransfer", "Withdraw"]
    assert (told["permissions"]["ContractTrade"], told["uta"], told["userID"]) == ([], 0, 77)
    assert (told["deadlineDay"], told["expiredAt"], told["ips"]) == (5, "2025-10-14T08:54:00Z", ["*"])
    info = driver.get("/v5/account/info", **names)["result"]
    assert (info["marginMode"], info["unifiedMarginStatus"]) == ("ISOLATED_MARGIN", 1)
    assert driver.order(**names)["retCode"] == 10005
    driver.exchange.keys.replace(ApiKey(key=key.key, secret=key.secret, account="first", expires_ns=driver.now_ns))
    assert driver.get("/v5/account/info", **names)["retCode"] == 33004
    second = settings.accounts[1].keys[0]
    other = driver.get("/v5/account/wallet-balance", "accountType=UNIFIED", key=second.key, secret=second.secret)
    assert Decimal(other["result"]["list"][0]["coin"][0]["walletBalance"]) == 10_000


def test_every_permission_has_its_place() -> None:
    lists = permission_lists(PERMISSIONS)
    assert all(set(rights) <= set(lists[group]) for group, rights in PERMISSIONS.values())
    assert Fault(kind="stall").check() is None
