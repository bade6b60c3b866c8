"""The emulator: orders a second, and how fast a day of minutes and an hour of real trades play.

    python -m benchmarks.run emulator

Orders: 20 clients on WebSockets keep eight requests each on their way, half of them limit orders that rest and half
cancels of those; afterwards every client's open orders at the venue are those it knows of. The server has one core, the
clients another where there is one.

Play: a real day of minutes as `kline` frames alone, in steps of a second; and an hour at the pace of five busy minutes
of real trades, twelve times over, with trades, ticker, minutes and a book of 50 levels, in steps of 20 ms. Both in
process, and over a WebSocket to a client that decodes every frame; in seconds of the emulator's processor time, for the
machines that we measure on are shared.
"""

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
from msgspec.structs import replace

from benchmarks import measure
from benchmarks.measure import Figure, figure
from bot.domain.market import TradeBatch
from bot.emulator.auth import ApiKey
from bot.emulator.driven import DrivenClock
from bot.emulator.exchange import AccountSpec, Exchange, World
from bot.emulator.player import MarketSource
from bot.emulator.server import Server
from bot.emulator.synthetic import BookMaker, TradesOfBars
from bot.ports import Clock
from bot.runtime.env import SystemClock
from bot.store.market_history import ParquetHistory
from tests.support.emulator import BTC, SECOND, START_NS, make_world, sign
from tests.support.real_trades import btc_perpetual
from tests.support.shared_data import shared_file

CLIENTS = 20
ON_THEIR_WAY = 8
ORDER_SECONDS = 3.0
DAY = {"topics": ["kline.1.BTCUSDT"], "seconds": 86_400, "step_ns": SECOND}
HOUR = {
    "topics": ["orderbook.50.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT", "kline.1.BTCUSDT"],
    "seconds": 3_600,
    "step_ns": SECOND // 50,
}


# Worlds


def _account(number: int) -> AccountSpec:
    key = ApiKey(key=f"BENCHKEY{number:04d}", secret="BENCHSECRET", account=f"client{number}")
    return AccountSpec(name=f"client{number}", uid=1000 + number, coins={"USDT": Decimal(10**6)}, keys=(key,))


def orders_world(now_ns: int) -> World:
    """Return a quiet market and twenty accounts."""
    world = make_world(now_ns, rate_scale=0, seconds=600)
    return replace(world, accounts=[_account(number) for number in range(CLIENTS)])


def day_world() -> World:
    """Return a market of real minutes, each played as seven trades."""
    path = shared_file("data/btcusdt_bybit_linear_1m_2025-05_2025-06.parquet")
    history = ParquetHistory(BTC, path, kind="bars", scale_ns=60 * SECOND, off_grid="round")
    start_ns = history.span_ns()[0] + 3_600 * SECOND
    maker = TradesOfBars()
    return _only_btc(start_ns, (maker.make(slab) for slab in history.slabs(8192)))  # type: ignore[arg-type]


def hour_world() -> World:
    """Return a market of real trades: five busy minutes, over and over."""
    real = btc_perpetual()
    first_ns = int(real.ts_ns[0])

    def trades() -> Iterator[TradeBatch]:
        for lap in range(13):
            moved = real.ts_ns - first_ns + START_NS - SECOND + lap * 300 * SECOND
            yield dataclasses.replace(real, instrument=BTC, ts_ns=moved)

    return _only_btc(START_NS, trades())


def _only_btc(start_ns: int, trades: Iterator[TradeBatch]) -> World:
    world = make_world(start_ns, rate_scale=0)
    listing = world.listings[0]
    source = MarketSource(trades=trades, book=BookMaker(instrument=BTC, size_steps=5_000, levels=50))
    return replace(world, listings=[listing], sources={listing.name: source})


# The server, in a process of its own


async def serve(what: str) -> None:
    """Serve until standard input ends; print the port."""
    clock: Clock
    if what == "orders":
        clock = SystemClock()
        world = orders_world(clock.now_ns())
    else:
        world = day_world() if what == "day" else hour_world()
        clock = DrivenClock(world.start_ns)
    server = Server(Exchange(world), clock, speed=1.0 if what == "orders" else float("inf"))
    await server.start()
    print(server.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop()


class Served:
    """A server while the block runs, on the first core; its clients on the last."""

    def __init__(self, what: str) -> None:
        cores = sorted(os.sched_getaffinity(0))
        command = [sys.executable, "-m", "benchmarks.bench_emulator", "serve", what]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.sched_setaffinity(self._process.pid, {cores[0]})
        os.sched_setaffinity(0, {cores[-1]})
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def processor_s(self) -> float:
        """Return how much processor time the server has used, as Linux counts it."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *failure: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


# Orders


async def _trade(port: int, number: int, end_s: float, latencies: list[float]) -> int:
    """Send orders and cancels until the end; return how many were answered, and fail where the books disagree."""
    done = sent = 0
    started: dict[str, float] = {}
    async with aiohttp.ClientSession() as session, session.ws_connect(f"ws://127.0.0.1:{port}/v5/trade") as socket:
        known = await _open_orders(session, port, number)
        expires = int(time.time() * 1000) + 10_000
        signed = sign("BENCHSECRET", f"GET/realtime{expires}".encode())
        await socket.send_json({"op": "auth", "args": [f"BENCHKEY{number:04d}", expires, signed]})
        await socket.receive_json()

        async def ask(op: str, fields: dict[str, Any]) -> None:
            nonlocal sent
            sent += 1
            header = {"X-BAPI-TIMESTAMP": str(int(time.time() * 1000))}
            body = {"category": "linear", "symbol": "BTCUSDT", **fields}
            started[str(sent)] = time.perf_counter()
            await socket.send_json({"reqId": str(sent), "header": header, "op": op, "args": [body]})

        order = {"side": "Buy", "orderType": "Limit", "qty": "0.001", "price": str(59_000 + number)}
        for _ in range(ON_THEIR_WAY):
            await ask("order.create", order)
        while started:
            answer = json.loads((await socket.receive()).data)
            latencies.append(time.perf_counter() - started.pop(answer["reqId"]))
            assert answer["retCode"] == 0, answer
            done += 1
            order_id = answer["data"]["orderId"]
            is_new = answer["op"] == "order.create"
            (known.add if is_new else known.remove)(order_id)
            if time.perf_counter() < end_s:
                if is_new:
                    await ask("order.cancel", {"orderId": order_id})
                else:
                    await ask("order.create", order)
        assert known == await _open_orders(session, port, number)
    return done


async def _open_orders(session: aiohttp.ClientSession, port: int, number: int) -> set[str]:
    query, key, stamp = "category=linear&symbol=BTCUSDT&limit=50", f"BENCHKEY{number:04d}", str(int(time.time() * 1000))
    headers = {
        "X-BAPI-API-KEY": key,
        "X-BAPI-TIMESTAMP": stamp,
        "X-BAPI-RECV-WINDOW": "20000",
        "X-BAPI-SIGN": sign("BENCHSECRET", f"{stamp}{key}20000{query}".encode()),
    }
    async with session.get(f"http://127.0.0.1:{port}/v5/order/realtime?{query}", headers=headers) as answer:
        rows = (await answer.json())["result"]["list"]
    return {row["orderId"] for row in rows}


async def _trade_all(port: int, seconds: float, latencies: list[float]) -> int:
    end_s = time.perf_counter() + seconds
    return sum(await asyncio.gather(*(_trade(port, number, end_s, latencies) for number in range(CLIENTS))))


def _order_runs() -> tuple[list[float], list[float]]:
    """Return what a request took in each run: seconds on the clock, and of the server's processor time."""
    clock_s: list[float] = []
    processor_s: list[float] = []
    with Served("orders") as server:
        for run in range(measure.RUNS + 1):
            latencies: list[float] = []
            begin, began = time.perf_counter(), server.processor_s()
            done = asyncio.run(_trade_all(server.port, ORDER_SECONDS if run else 1.0, latencies))
            clock_s.append((time.perf_counter() - begin) / done)
            processor_s.append((server.processor_s() - began) / done)
            latencies.sort()
            middle, late = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
            print(f"{1 / clock_s[-1]:,.0f}/s, median {middle * 1e3:.1f} ms, 99 % {late * 1e3:.1f} ms", file=sys.stderr)
    return clock_s[1:], processor_s[1:]


def orders() -> Figure:
    """Return how many order requests a second are answered."""
    return figure("order requests over 20 WebSockets, half of them new", "1/s", _order_runs()[0], lambda each: 1 / each)


def orders_processor() -> Figure:
    """Return how many order requests are answered in a second of the server's processor time."""
    name = "the same, for each second of the server's processor time"
    return figure(name, "1/s", _order_runs()[1], lambda each: 1 / each)


# Play


def _play_in_process(what: str, plan: dict[str, Any]) -> float:
    world = day_world() if what == "day" else hour_world()
    exchange = Exchange(world)
    now_ns = world.start_ns
    session = exchange.open_socket("/v5/public/linear", "", "127.0.0.1", now_ns)
    exchange.handle_frame(session.number, json.dumps({"op": "subscribe", "args": plan["topics"]}), now_ns)
    begin = time.process_time()
    for _ in range(plan["seconds"] * SECOND // plan["step_ns"]):
        now_ns += plan["step_ns"]
        exchange.advance(now_ns)
    return time.process_time() - begin


async def _play_over_socket(port: int, plan: dict[str, Any]) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session:
        stream = await session.ws_connect(f"ws://127.0.0.1:{port}/v5/public/linear", max_msg_size=0)
        await stream.send_json({"op": "subscribe", "args": plan["topics"]})
        assert (await stream.receive_json())["success"]
        begin = time.perf_counter()
        body = {"advanceNano": plan["seconds"] * SECOND, "stepNano": plan["step_ns"]}
        moving = asyncio.ensure_future(session.post(f"http://127.0.0.1:{port}/emulator/clock", json=body))
        frames = 0
        while not moving.done():
            receiving = asyncio.ensure_future(stream.receive())
            await asyncio.wait({moving, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                json.loads(receiving.result().data)
                frames += 1
            else:
                receiving.cancel()
        assert (await moving).status == 200
        assert frames > 0
        elapsed = time.perf_counter() - begin
        print(f"{frames:,} frames in {elapsed:.1f} s", file=sys.stderr)
        await stream.close()


def _over_socket(what: str, plan: dict[str, Any]) -> float:
    with Served(what) as server:
        began = server.processor_s()
        asyncio.run(_play_over_socket(server.port, plan))
        return server.processor_s() - began


def _in_process(name: str, what: str, plan: dict[str, Any]) -> Figure:
    _play_in_process(what, {**plan, "seconds": 60})
    return figure(name, "s", [_play_in_process(what, plan) for _ in range(2)], lambda seconds: seconds)


def _to_client(name: str, what: str, plan: dict[str, Any]) -> Figure:
    return figure(name, "s", [_over_socket(what, plan) for _ in range(2)], lambda seconds: seconds)


BENCHMARKS = {
    "orders": orders,
    "orders_processor": orders_processor,
    "day": lambda: _in_process("a day of minutes, klines alone, in process: processor time", "day", DAY),
    "day_socket": lambda: _to_client(
        "a day of minutes, klines alone, to a client: the server's processor time", "day", DAY
    ),
    "hour": lambda: _in_process(
        "an hour of real trades, a book of 50 levels, in process: processor time", "hour", HOUR
    ),
    "hour_socket": lambda: _to_client(
        "an hour of real trades, a book of 50 levels, to a client: the server's processor time", "hour", HOUR
    ),
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(sys.argv[2]))
    else:
        measure.main(BENCHMARKS, __doc__)
