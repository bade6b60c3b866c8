"""Whatever is sent: an answer each time, nothing changes but what was said yes to, and memory stays flat.

Sound requests and frames are damaged in a seeded way: bytes lost, changed and repeated, values of other kinds, keys
that do not belong there, absurd sizes and depths, wrong signatures, old stamps, unknown paths and methods. Most are
signed after the damage, so that they come past the gateway.
"""

import gc
import json
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bot.emulator.exchange import Exchange
from bot.emulator.wire import Request
from tests.support.emulator import KEY, SECRET, Driver, make_world, sign

WRITES = {
    "create": {"side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000", "orderLinkId": "x"},
    "amend": {"orderId": "nobody", "price": "58000"},
    "cancel": {"orderId": "nobody"},
    "cancel-all": {"settleCoin": "XYZ"},
    "create-batch": {"request": [{"symbol": "BTCUSDT", "side": "Buy"}]},
    "cancel-batch": {"request": [{"symbol": "BTCUSDT", "orderId": "nobody"}]},
    "pre-check": {"side": "Sell", "orderType": "Market", "qty": "1"},
}
_READS = """
    /v5/order/realtime /v5/order/history /v5/execution/list /v5/position/list /v5/position/closed-pnl
    /v5/account/wallet-balance /v5/account/transaction-log /v5/account/fee-rate /v5/account/info /v5/user/query-api
    /v5/market/kline /v5/market/orderbook /v5/market/tickers /v5/market/recent-trade /v5/market/funding/history
    /v5/market/instruments-info /v5/market/risk-limit /v5/market/price-limit /v5/market/open-interest /v5/market/time
"""
READS = _READS.split()
QUERY = "category=linear&symbol=BTCUSDT&limit=5&interval=1&accountType=UNIFIED&intervalTime=1d"
SOCKETS = ("/v5/public/linear", "/v5/public/spot", "/v5/private", "/v5/public/misc/status", *["/v5/trade"] * 3)
STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    1.5,
    "",
    "NaN",
    "Infinity",
    "1e400",
    "-0",
    "0x10",
    "١٢",
    "a" * 5_000,
    "\x00",
    "\ud800",
    "' OR 1=1 --",
    "../../etc/passwd",
    "${jndi:x}",
    [],
    {},
    [[[]]],
    {"a": {"a": {}}},
)
KEYS = ("category", "symbol", "side", "qty", "price", "orderLinkId", "positionIdx", "request", "args", "op", "header")


def damaged(random: Random, value: dict[str, Any]) -> bytes:
    """Return a message with something wrong with it."""
    value = dict(value)
    for _ in range(random.randint(0, 2)):
        key = random.choice([*value, *KEYS])
        if random.random() < 0.3:
            value.pop(key, None)
        else:
            value[key] = random.choice(STRANGE)
    raw = json.dumps(value).encode()
    match random.randrange(6):
        case 0:
            raw = raw[: random.randrange(len(raw))]
        case 1:
            at = random.randrange(len(raw))
            raw = raw[:at] + random.randbytes(random.randint(1, 4)) + raw[at + random.randint(0, 3) :]
        case 2:
            raw = raw + raw[random.randrange(len(raw)) :]
        case 3:
            raw = random.choice([b"", b"[]", b"null", b"7", b'"x"', b"[" * 3_000, b'{"a":' * 500, random.randbytes(60)])
    return raw


class Campaign:
    """Sends hostile messages to a venue and watches it.

    Attributes:
        heard: how often each code or status was the answer.
    """

    def __init__(self, seed: int) -> None:
        self.driver = Driver(make_world(rate_scale=0, each_s=30.0, seconds=3_000_000))
        self.driver.frames.clear()
        self.random = Random(seed)
        self.heard: Counter[str] = Counter()
        self.driver.order(price="58000", orderLinkId="mine")
        self.numbers: list[int] = []

    def run(self, count: int) -> None:
        """Send so many messages."""
        for sent in range(count):
            before = self.state()
            said_yes = self.ask() if self.random.random() < 0.6 else self.say()
            if not said_yes:
                assert self.state() == before
            if sent % 200 == 0:
                self.settle()

    def state(self) -> tuple[Any, ...]:
        """Return what must not change unasked."""
        exchange: Exchange = self.driver.exchange
        return tuple(
            (
                dict(client.books.state.balances),
                len(client.books.state.transactions),
                tuple(client.archive.open),
                tuple(client.books.state.leverage.values()),
                len(client.books.state.hedged),
                client.rejects_perpetual_prices,
                client.moves_spot_prices,
            )
            for client in exchange.clients.values()
        )

    def ask(self) -> bool:
        """Send a hostile request; return whether the venue may have done it."""
        random, driver = self.random, self.driver
        if random.random() < 0.6:
            name = random.choice(list(WRITES))
            body = damaged(random, {"category": "linear", "symbol": "BTCUSDT", **WRITES[name]})
            method, path, query = "POST", f"/v5/order/{name}", ""
        else:
            raw = bytearray(QUERY.encode())
            for _ in range(random.randint(0, 4)):
                raw[random.randrange(len(raw))] = random.randrange(32, 127)
            method, path, query, body = "GET", random.choice(READS), raw.decode(), b""
        stamp, secret = driver.now_ns // 10**6, SECRET
        match random.randrange(20):
            case 0:
                secret = "wrong"
            case 1:
                stamp += random.choice([-10_000, 5_000, 10**15, -(10**12)])
            case 2:
                method = random.choice(["PUT", "get", "DELETE", "POST", "GET", "\x00"])
            case 3:
                path = random.choice(["/", "/v5", "//", "/v5/order/%00", "/emulator/none", path + "/", "/v5/../v5"])
        headers = {
            "x-bapi-api-key": KEY,
            "x-bapi-timestamp": str(stamp),
            "x-bapi-recv-window": "5000",
            "x-bapi-sign": sign(secret, f"{stamp}{KEY}5000".encode() + (query.encode() if method == "GET" else body)),
        }
        if random.random() < 0.05:
            headers[random.choice(list(headers))] = random.choice(["", "-1", "x" * 2_000, "1" * 30, "é"])
        asked = Request(method=method, path=path, query=query, headers=headers, body=body)
        response = driver.exchange.handle_request(asked, driver.now_ns)
        assert response.status is not None
        if response.status != 200:
            self.heard[f"HTTP {response.status}"] += 1
            return False
        code = json.loads(response.body)["retCode"]
        self.heard[str(code)] += 1
        return bool(code == 0 and method == "POST")

    def say(self) -> bool:
        """Send a hostile frame; return whether the venue may have done it."""
        random, driver = self.random, self.driver
        if len(self.numbers) < 8:
            path = random.choice(SOCKETS)
            is_signed = path in ("/v5/private", "/v5/trade") and random.random() < 0.8
            self.numbers.append(driver.private(path=path) if is_signed else driver.open(path))
        number = random.choice(self.numbers)
        if number in driver.closed:
            self.leave(number)
            return False
        order = {"category": "linear", "symbol": "BTCUSDT", **random.choice(list(WRITES.values()))}
        ops = (
            "order.create",
            "order.cancel",
            "order.create-batch",
            "subscribe",
            "unsubscribe",
            "auth",
            "ping",
            "x" * 50,
        )
        topics = random.choices(["orderbook.50.BTCUSDT", "order", "tickers.", "kline.1.X", "x" * 300, ".", ""], k=2)
        frame = {
            "op": random.choice(ops),
            "reqId": random.choice(["a", "b" * 40, "", *[str(random.random())] * 5]),
            "header": {"X-BAPI-TIMESTAMP": str(driver.now_ns // 10**6)},
            "args": random.choice([[order], [order], [order], topics, [order, order], [KEY, 1, "x"]]),
        }
        before = len(driver.frames[number])
        driver.exchange.handle_frame(number, damaged(random, frame).decode("utf-8", "replace"), driver.now_ns)
        driver.wait(0.01, step_s=0.01)
        answers = driver.frames[number][before:]
        assert answers or number in driver.closed
        codes = [frame.get("retCode", frame.get("success")) for frame in answers]
        self.heard.update(f"frame {code}" for code in codes)
        if len(driver.frames[number]) > 50:
            driver.frames[number].clear()
        if random.random() < 0.02:
            self.leave(number)
        return 0 in codes

    def leave(self, number: int) -> None:
        """End a connection."""
        self.driver.exchange.close_socket(number)
        self.numbers.remove(number)
        self.driver.frames.pop(number)

    def settle(self) -> None:
        """Take back what was taken on, and find the venue sound."""
        driver = self.driver
        driver.wait(0.05)
        for client in driver.exchange.clients.values():
            opened = {record.order_id for record in driver.exchange.model.orders(client.name)}
            assert opened == set(client.archive.open)
        driver.post("/v5/order/cancel-all", category="linear", symbol="BTCUSDT")
        driver.post("/v5/order/cancel-all", category="spot")
        assert driver.get("/v5/account/info")["retCode"] == 0


def resident_mib() -> float:
    """Return how much memory this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def test_hostile_messages_change_nothing() -> None:
    campaign = Campaign(seed=1)
    campaign.run(4_000)
    assert len(campaign.heard) > 18, campaign.heard
    assert campaign.heard["10001"] > 400
    assert campaign.heard["HTTP 404"] > 10


@pytest.mark.soak
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the memory held out of /proc")
def test_a_million_hostile_messages_change_nothing_and_leave_nothing() -> None:
    campaign = Campaign(seed=2)
    campaign.run(100_000)
    before = resident_mib()
    campaign.run(900_000)
    after = resident_mib()
    assert after - before < 100, f"{before:.0f} MiB after 100,000, {after:.0f} MiB after 1,000,000"
