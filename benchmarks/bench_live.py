"""How long a message takes from another process's socket to the bar aggregator's inbox, over the loopback address.

A process of its own sends frames at an even pace, books and trades in turn, each with the time at which it was sent;
both processes read one monotonic clock. What is measured ends when the frame's rows are in the inbox, whose reader
takes and drops them. The way there has two parts: until the frame was read from the socket, and from there to the
inbox. On a machine with other work much of the first is spent waiting for a processor, which the kernel counts
(`schedstat`): it is told beside the delays. Begun with `chrt -f 1`, both processes come before all other work, as on
processors of their own; what the others leave in the caches still tells.
"""

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from websockets.sync.server import ServerConnection, serve

from benchmarks import market
from benchmarks.bench_streams import SYMBOL, book_messages, trade_messages
from benchmarks.measure import RUNS, figure, main
from bot.actors.inbox import Inbox
from bot.actors.market_feed import MarketFeed
from bot.domain.market import MarketUpdate
from bot.runtime.env import ScaledClock, monotonic_ns, settle_memory
from bot.venues.bybit.connection import Sockets
from bot.venues.bybit.live_feed import FeedOptions, LiveFeed, Opening
from bot.venues.bybit.market_streams import ForConnection, Wanted
from bot.venues.bybit.precompile import precompile
from bot.venues.bybit.stream_effects import Send
from bot.venues.bybit.trade_gate import Phase

RATES = (500, 1_000, 2_000, 5_000)  # frames a second
SECONDS = 5
_CHUNK = 1_000  # frames measured together, one by one
WARM_UP_S = 1
_START_NS = 1_760_000_000_003 * 1_000_000
_MARK = b',"sent":'
_SCHEDSTAT = Path("/proc/self/schedstat")  # ns on a processor, ns of waiting for one


class _Reader:
    """A feed on a socket, and when each frame was read, and its rows in the inbox."""

    def __init__(self) -> None:
        self.clock = ScaledClock(start_ns=_START_NS, speed=1.0)
        self.offset_ns = monotonic_ns() - self.clock.now_ns()
        self.feed = LiveFeed([Wanted(instrument=market.INSTRUMENT)], FeedOptions(shown_levels=10), start_ns=_START_NS)
        self.inbox: Inbox[Any] = Inbox("aggregator", bound=1 << 20)
        self.actor = MarketFeed(None, {("linear", SYMBOL): self.inbox})  # type: ignore[arg-type]
        self.sockets = Sockets(self, self.clock)
        self.seen: list[tuple[bytes, int, int]] = []  # the frame, when it was read, when it was in the inbox
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

    async def take(self) -> None:
        """Be the one who reads the inbox."""
        while True:
            await self.inbox.take()

    def on_open(self, name: str, connection: int, now_ns: int) -> None:
        self.carry_out(self.feed.on_open(name, connection, now_ns))
        gate = self.feed.gates["linear", SYMBOL]
        gate.phase, gate.shut = Phase.OPEN, lambda reason: None  # type: ignore[method-assign]  # there is no REST here

    def on_messages(self, name: str, connection: int, messages: list[tuple[int, bytes]]) -> None:
        self.carry_out(self.feed.on_messages(name, connection, messages))
        now_ns = monotonic_ns()
        self.reads += 1
        self.seen += [(raw, known_ns + self.offset_ns, now_ns) for known_ns, raw in messages]

    def on_closed(self, name: str, connection: int, reason: str, now_ns: int, *, is_banned: bool) -> None:
        self.done.set()


def _messages(count: int, *, every_ms: float) -> list[bytes]:
    """Return books and trades in turn, told at the times at which they are sent."""
    pairs = zip(
        book_messages(count // 2, every_ms=2 * every_ms), trade_messages(count // 2, every_ms=2 * every_ms), strict=True
    )
    return [frame for pair in pairs for frame in pair]


def _send(rate: int, port_to: Any) -> None:
    """Serve one client: answer its request, then send the frames at their pace, at next to no cost."""
    count = rate * (SECONDS + WARM_UP_S)
    frames = [frame[:-1] for frame in _messages(count, every_ms=1_000 / rate)]

    def handle(socket: ServerConnection) -> None:
        req_id = str(socket.recv()).split('"req_id":"')[1].split('"')[0]
        socket.send(f'{{"success":true,"ret_msg":"","op":"subscribe","req_id":"{req_id}"}}')
        start_ns = monotonic_ns()
        for number, frame in enumerate(frames):
            wait_ns = start_ns + number * 10**9 // rate - monotonic_ns()
            if wait_ns > 0:
                time.sleep(wait_ns / 1e9)
            text = frame + _MARK + b"%d}" % monotonic_ns()
            length = len(text).to_bytes(1, "big") if len(text) < 126 else b"\x7e" + len(text).to_bytes(2, "big")
            socket.socket.sendall(b"\x81" + length + text)
        socket.close()

    with serve(handle, "127.0.0.1", 0, compression=None) as server:
        port_to.write(b"%d\n" % server.socket.getsockname()[1])
        port_to.flush()
        server.serve_forever()


async def _receive(port: int, rate: int) -> tuple[np.ndarray[Any, Any], int]:
    """Return [total, until read, from there to the inbox] of each frame in us, and how many reads brought them."""
    reader = _Reader()
    taking = asyncio.create_task(reader.take())
    reader.carry_out(reader.feed.start(reader.clock.now_ns()), f"ws://127.0.0.1:{port}")
    await reader.done.wait()
    await reader.sockets.stop()
    taking.cancel()
    times = [(int(raw.rpartition(_MARK)[2][:-1]), read, at) for raw, read, at in reader.seen if _MARK in raw]
    assert len(times) == rate * (SECONDS + WARM_UP_S)
    delays = [(at - sent, read - sent, at - read) for sent, read, at in times[rate * WARM_UP_S :]]
    return np.array(delays).T / 1_000, reader.reads


def socket_to_inbox(rate: int) -> dict[str, Any]:
    """Measure the delays of frames that come at this rate."""
    precompile()
    settle_memory(young=5_000, older=5)  # as a trading run does
    command = [sys.executable, "-m", "benchmarks.bench_live", "--serve", str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        before, waited_ns = resource.getrusage(resource.RUSAGE_SELF), _waited_ns()
        micros, reads = asyncio.run(_receive(port, rate))
        server.terminate()
        after, waited_ns = resource.getrusage(resource.RUSAGE_SELF), _waited_ns() - waited_ns
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    frames = rate * (SECONDS + WARM_UP_S)
    (p50, p99), read, handled = (np.percentile(row, [50, 99]).tolist() for row in micros)
    parts = (
        f"p99 {p99:,.0f}; until read {read[0]:,.0f}, {read[1]:,.0f}; to the inbox {handled[0]:,.0f}, {handled[1]:,.0f}"
    )
    work = f"{cpu_s * 1e6 / frames:.0f} us of CPU a frame, {frames / reads:.1f} frames a read"
    waited = f"{waited_ns / 1e6 / (SECONDS + WARM_UP_S):,.0f} ms a second spent waiting for a processor"
    name = f"socket to inbox at {rate:,} frames/s ({parts}; {work}; {waited}); p50"
    return {"name": name, "unit": "us", "best": p50, "median": p50}


class _NoSockets:
    """Takes what would be sent, and answers nothing."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def connect(self, *where: object) -> None:
        """Open nothing."""

    def send(self, name: str, connection: int, data: bytes) -> None:
        """Keep it."""
        self.sent.append(data)


def one_by_one() -> dict[str, Any]:
    """Measure the processor time that a frame takes from its bytes to the inbox, each handed over by itself."""
    precompile()
    settle_memory(young=5_000, older=5)
    reader, sockets = _Reader(), _NoSockets()
    reader.sockets = sockets  # type: ignore[assignment]
    now_ns = reader.clock.now_ns()
    reader.carry_out(reader.feed.start(now_ns))
    reader.on_open("linear-0", 1, now_ns)
    for request in map(msgspec.json.decode, sockets.sent):
        answer = {"success": True, "ret_msg": "", "op": "subscribe", "req_id": request["req_id"]}
        reader.on_messages("linear-0", 1, [(now_ns, msgspec.json.encode(answer))])
    frames = _messages(2 * RUNS * _CHUNK, every_ms=1)
    seconds = []
    for start in range(0, len(frames), _CHUNK):
        before = _processor_s()
        for number, frame in enumerate(frames[start : start + _CHUNK], start):
            reader.carry_out(reader.feed.on_messages("linear-0", 1, [(now_ns + number * 1_000_000, frame)]))
        seconds.append(_processor_s() - before)
    rest = seconds[len(seconds) // 2 :]  # the first half warms up
    return figure("a frame by itself, from bytes to the inbox, processor time", "us", rest, lambda s: s * 1e6 / _CHUNK)


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _waited_ns() -> int:
    return int(_SCHEDSTAT.read_text().split()[1]) if _SCHEDSTAT.exists() else 0


BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "one_by_one": one_by_one,
    **{f"socket_to_inbox_{rate}": partial(socket_to_inbox, rate) for rate in RATES},
}

if __name__ == "__main__":
    if "--serve" in sys.argv:
        _send(int(sys.argv[-1]), sys.stdout.buffer)
    else:
        main(BENCHMARKS, __doc__ or "")
