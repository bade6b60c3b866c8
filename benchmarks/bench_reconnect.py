"""How long a live feed takes to come back after its connection was cut, over real sockets: 25 cuts.

The emulator runs in a process of its own and cuts the connection in the middle of a frame. Measured from when the feed
learns of it: until it first tries to connect, until both books are believed again, and until everything is, trades
without a hole among them, too. Before each cut the session is told that it has lasted, so each begins a series. The
made-up market has quiet spells of 20 s, in which no trade comes that could show that none is missing.
"""

import asyncio
import json
import subprocess
import sys
from typing import Any

import aiohttp
import numpy as np

from benchmarks.measure import main
from bot.app.live_market import ask_instruments, instrument_of
from bot.domain.market import MarketUpdate
from bot.emulator.server import Server
from bot.runtime.env import ScaledClock, SystemClock, monotonic_ns
from bot.runtime.logs import configure
from bot.venues.bybit.hosts import host_of
from bot.venues.bybit.live_feed import FeedEffect, FeedOptions, Opening
from bot.venues.bybit.live_market import LiveMarket
from bot.venues.bybit.market_streams import Wanted
from tests.support.emulator import BTC, ETH, MINUTE
from tests.support.market_sim import Venue

CUTS = 25
_MS = 1_000_000


class _Watched(LiveMarket):
    """A live market that notes when it was cut, tried again, believed its books and was ready."""

    noted: dict[str, int]

    def on_closed(self, name: str, connection: int, reason: str, now_ns: int, *, is_banned: bool) -> None:
        self.noted = {"cut": monotonic_ns()}
        super().on_closed(name, connection, reason, now_ns, is_banned=is_banned)

    def _do(self, effect: FeedEffect) -> None:
        if isinstance(effect, Opening):
            self.noted.setdefault("tried", monotonic_ns())
        super()._do(effect)

    def _tell(self, event: str, *values: Any, **named: Any) -> None:
        super()._tell(event, *values, **named)
        assert self._feed is not None
        feeds = self._feed.streams.feeds.values()
        if "tried" in self.noted and all(each.sync is not None and each.sync.is_trusted for each in feeds):
            self.noted.setdefault("books", monotonic_ns())
            if self.is_ready:
                self.noted.setdefault("ready", monotonic_ns())


async def _emulate(port_to: Any) -> None:
    wall_ns = SystemClock().now_ns() // _MS * _MS
    clock = ScaledClock(start_ns=wall_ns, speed=1.0)
    server = Server(Venue(seconds=600, start_ns=wall_ns, rate=20.0).exchange, clock)
    await server.start()
    port_to.write(b"%d\n" % server.port)
    port_to.flush()
    await asyncio.Event().wait()


async def _cut(port: int) -> list[dict[str, int]]:
    clock = ScaledClock(start_ns=SystemClock().now_ns(), speed=1.0)
    host = host_of("emulator", url=f"http://127.0.0.1:{port}")
    filters = await ask_instruments(host, clock, [("linear", BTC.name), ("linear", ETH.name)])
    wanted = [Wanted(instrument=instrument_of(each)) for each in filters.values()]
    source = _Watched(wanted, FeedOptions(history_ns=10 * MINUTE), host=host, base=clock)
    source.noted = {}
    updated = asyncio.Event()

    def deliver(update: MarketUpdate) -> None:
        updated.set()

    running = asyncio.create_task(source.run(deliver))
    found = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        for _ in range(CUTS + 1):
            async with asyncio.timeout(30):
                while "ready" not in source.noted:
                    updated.clear()
                    await updated.wait()
            if "cut" in source.noted:
                found.append(dict(source.noted))
            assert source._feed is not None
            source._feed.streams.sessions["linear-0"]._attempt = 0
            source.noted = {}
            fault = {"kind": "reset", "after_bytes": 5, "count": 1, "where": {"socket": "linear"}}
            async with http.post("/emulator/faults", data=json.dumps(fault)) as answer:
                assert answer.status == 200, await answer.text()
    source.stop()
    await running
    return found


def reconnects() -> dict[str, Any]:
    """Cut the connection again and again, and measure how long each part takes."""
    configure("error")
    command = [sys.executable, "-m", "benchmarks.bench_reconnect", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        found = asyncio.run(_cut(int(server.stdout.readline())))
        server.terminate()
    times = {name: np.array([each[name] - each["cut"] for each in found]) / _MS for name in ("tried", "books", "ready")}
    spread = "; ".join(
        f"{name} p50 {np.median(ms):,.0f}, p99 {np.percentile(ms, 99):,.0f}, worst {ms.max():,.0f}"
        for name, ms in times.items()
    )
    p99 = float(np.percentile(times["ready"], 99))
    return {
        "name": f"{len(found)} cuts of a connection ({spread}); ready p99",
        "unit": "ms",
        "best": p99,
        "median": p99,
    }


BENCHMARKS = {"reconnects": reconnects}

if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(_emulate(sys.stdout.buffer))
    else:
        main(BENCHMARKS, __doc__)
