"""How long a message takes from another process's socket to the bar aggregator's inbox, over the loopback address.

A process of its own sends 5,000 frames a second, books and trades in turn, each with the time at which it was sent;
both processes read one monotonic clock. What is measured ends when the frame's rows are in the inbox.
"""

import asyncio
import resource
import subprocess
import sys
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve

from benchmarks import market
from benchmarks.bench_streams import SYMBOL, book_messages, trade_messages
from benchmarks.measure import main
from bot.actors.inbox import Inbox
from bot.actors.market_feed import MarketFeed
from bot.domain.market import MarketUpdate
from bot.runtime.env import ScaledClock, monotonic_ns
from bot.venues.bybit.connection import Sockets
from bot.venues.bybit.live_feed import FeedOptions, LiveFeed, Opening
from bot.venues.bybit.market_streams import ForConnection, Wanted
from bot.venues.bybit.precompile import precompile
from bot.venues.bybit.stream_effects import Send
from bot.venues.bybit.trade_gate import Phase

RATE = 5_000
SECONDS = 6
_START_NS = 1_760_000_000_003 * 1_000_000
_MARK = b',"sent":'


class _Reader:
    """A feed on a socket, and when each frame's rows were in the inbox."""

    def __init__(self) -> None:
        self.clock = ScaledClock(start_ns=_START_NS, speed=1.0)
        self.feed = LiveFeed([Wanted(instrument=market.INSTRUMENT)], FeedOptions(shown_levels=10), start_ns=_START_NS)
        self.inbox: Inbox[Any] = Inbox("aggregator", bound=1 << 20)
        self.actor = MarketFeed(None, {("linear", SYMBOL): self.inbox})  # type: ignore[arg-type]
        self.sockets = Sockets(self, self.clock)
        self.seen: list[tuple[bytes, int]] = []
        self.reads = 0
        self.done = asyncio.Event()
        for each in self.feed.streams.sessions["linear-0"]._subscriptions.values():
            each.patience = type(each.patience)(first_ns=2**62, silence_ns=2**62, is_quiet_normal=True)
        self.feed.gates["linear", SYMBOL].phase = Phase.OPEN

    def carry_out(self, effects: list[Any], url: str = "") -> None:
        for effect in effects:
            if isinstance(effect, MarketUpdate):
                self.actor._deliver(effect)
            elif isinstance(effect, Opening):
                self.sockets.connect(effect.name, effect.connection, url)
            elif isinstance(effect, ForConnection) and isinstance(effect.effect, Send):
                self.sockets.send(effect.name, effect.effect.connection, effect.effect.data)

    def on_open(self, name: str, connection: int, now_ns: int) -> None:
        self.carry_out(self.feed.on_open(name, connection, now_ns))
        gate = self.feed.gates["linear", SYMBOL]
        gate.phase, gate.shut = Phase.OPEN, lambda reason: None  # type: ignore[method-assign]  # there is no REST here

    def on_messages(self, name: str, connection: int, messages: list[tuple[int, bytes]]) -> None:
        self.carry_out(self.feed.on_messages(name, connection, messages))
        now_ns = monotonic_ns()
        self.reads += 1
        self.seen += [(raw, now_ns) for _, raw in messages]

    def on_closed(self, name: str, connection: int, reason: str, now_ns: int, *, is_banned: bool) -> None:
        self.done.set()


async def _send(port_to: Any) -> None:
    """Serve one client: answer its request, then send the frames at their pace."""
    count = RATE * SECONDS
    pairs = zip(book_messages(count // 2), trade_messages(count // 2), strict=True)
    frames = [frame[:-1] for pair in pairs for frame in pair]
    done = asyncio.Event()

    async def handle(socket: ServerConnection) -> None:
        request = await socket.recv()
        req_id = str(request).split('"req_id":"')[1].split('"')[0]
        await socket.send(f'{{"success":true,"ret_msg":"","op":"subscribe","req_id":"{req_id}"}}')
        start_ns = monotonic_ns()
        for number, frame in enumerate(frames):
            due_ns = start_ns + number * 10**9 // RATE
            while monotonic_ns() < due_ns:  # noqa: ASYNC110  # a timer would wake a millisecond late
                await asyncio.sleep(0)
            await socket.send(frame + _MARK + b"%d}" % monotonic_ns(), text=True)
        await socket.close()
        done.set()

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        port_to.write(b"%d\n" % next(iter(server.sockets)).getsockname()[1])
        port_to.flush()
        await done.wait()


async def _receive(port: int) -> tuple[np.ndarray[Any, Any], int]:
    reader = _Reader()
    reader.carry_out(reader.feed.start(reader.clock.now_ns()), f"ws://127.0.0.1:{port}")
    await reader.done.wait()
    await reader.sockets.stop()
    sent = [(int(raw.rpartition(_MARK)[2][:-1]), at) for raw, at in reader.seen if _MARK in raw]
    first = RATE  # the first second warms up
    return np.array([at - sent_ns for sent_ns, at in sent[first:]]) / 1_000, reader.reads


def socket_to_inbox() -> dict[str, Any]:
    """Measure the delays of 25,000 frames."""
    precompile()
    with subprocess.Popen([sys.executable, "-m", "benchmarks.bench_live", "--serve"], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        before = resource.getrusage(resource.RUSAGE_SELF)
        micros, reads = asyncio.run(_receive(port))
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    p50, p90, p99, worst = np.percentile(micros, [50, 90, 99, 100]).tolist()
    cpu_us = cpu_s * 1e6 / (RATE * SECONDS)
    spread = f"p90 {p90:,.0f}, p99 {p99:,.0f}, worst {worst:,.0f}, CPU {cpu_us:.0f} a frame, {reads:,} reads"
    name = f"socket to inbox at {RATE:,} frames/s ({spread}); p50"
    return {"name": name, "unit": "us", "best": p50, "median": p50}


BENCHMARKS = {"socket_to_inbox": socket_to_inbox}

if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(_send(sys.stdout.buffer))
    else:
        main(BENCHMARKS, __doc__ or "")
