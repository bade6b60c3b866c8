"""Orders per second through the emulator: 20 clients on WebSockets, the emulator alone on one core.

    python -m benchmarks.bench_emulator [seconds]

Each client keeps a few requests on their way, half of them limit orders that rest and half cancels of those.
The clients run in a process of their own; where there are two cores, each process has one.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from decimal import Decimal
from typing import Any

import aiohttp
from msgspec.structs import replace

from bot.emulator.auth import ApiKey
from bot.emulator.exchange import AccountSpec, Exchange
from bot.emulator.server import Server
from bot.runtime.env import SystemClock
from tests.support.emulator import make_world, sign

CLIENTS = 20
ON_THEIR_WAY = 8


def account(number: int) -> AccountSpec:
    """Return a client's account."""
    key = ApiKey(key=f"BENCHKEY{number:04d}", secret="BENCHSECRET", account=f"client{number}")
    return AccountSpec(name=f"client{number}", uid=1000 + number, coins={"USDT": Decimal(10**6)}, keys=(key,))


async def serve() -> None:
    """Serve until standard input ends; print the port."""
    clock = SystemClock()
    world = make_world(clock.now_ns(), rate_scale=0, seconds=600)
    world = replace(world, accounts=[account(number) for number in range(CLIENTS)])
    server = Server(Exchange(world), clock)
    await server.start()
    print(server.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop()


async def trade(url: str, number: int, end_s: float, latencies: list[float]) -> int:
    """Send orders and cancels until the end; return how many were answered well."""
    done = sent = 0
    started: dict[str, float] = {}
    async with aiohttp.ClientSession() as session, session.ws_connect(url + "/v5/trade") as socket:
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
            if time.perf_counter() < end_s:
                if answer["op"] == "order.create":
                    await ask("order.cancel", {"orderId": answer["data"]["orderId"]})
                else:
                    await ask("order.create", order)
    return done


async def trade_all(url: str, seconds: float, latencies: list[float]) -> int:
    """Let every client trade; return how many requests were answered."""
    end_s = time.perf_counter() + seconds
    return sum(await asyncio.gather(*(trade(url, number, end_s, latencies) for number in range(CLIENTS))))


def measure(seconds: float) -> None:
    """Start a server, trade, and print what was reached."""
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "benchmarks.bench_emulator", "serve"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdin is not None
    os.sched_setaffinity(server.pid, {cores[0]})
    os.sched_setaffinity(0, {cores[-1]})
    url = f"ws://127.0.0.1:{int(server.stdout.readline())}"
    latencies: list[float] = []
    begin = time.perf_counter()
    done = asyncio.run(trade_all(url, seconds, latencies))
    elapsed = time.perf_counter() - begin
    server.stdin.close()
    _, _, usage = os.wait4(server.pid, 0)
    cpu_s = usage.ru_utime + usage.ru_stime
    latencies.sort()
    middle, late = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
    print(f"{done / elapsed:,.0f} requests/s, half of them new orders, {CLIENTS} clients, {elapsed:.1f} s")
    print(f"{done / cpu_s:,.0f} requests for each second of the server's processor time, its start included")
    print(
        f"answers: median {middle * 1e3:.1f} ms, 99 % {late * 1e3:.1f} ms, the venue's own delay of 1 to 6 ms included"
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        measure(float(sys.argv[1]) if sys.argv[1:] else 5.0)
