"""One paper run of `bench_surfaces`, in a process of its own: trades for a while and prints what it measured as JSON.

    python -m benchmarks.surfaces_trader SETTINGS.json

Measured by the machine's clock: from a wish's being put into the executor's inbox to its order's bytes being handed to
the socket, through gate, durable intent and signature; and how long what the venue tells (answers, fills, orders) waits
in the executor's inbox before it is served.
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import bot.app.trading_actors as wiring
from bot.actors.inbox import Inbox
from bot.actors.live_executor import LiveExecutor, Message
from bot.app.trading import Trading
from bot.core.orders import Wish
from bot.core.submission.messages import AccountTold, Answered
from bot.core.submission.requests import Send
from bot.domain.operation import Phase
from bot.domain.orders import SubmitOrder
from bot.runtime.trade_settings import TradeSettings
from bot.venues.bybit.connection import Sockets
from bot.venues.bybit.credentials import Credentials

_WARM_UP_S = 2.0  # after READY, not counted
_ORDER = re.compile(rb'"orderLinkId":"([^"]+)"')


class Measured:
    """What is noted on the way, by one run at a time."""

    def __init__(self) -> None:
        self.put_ns: dict[int, tuple[Any, int]] = {}  # by identity, held so that no other takes it
        self.wished_ns = 0  # of the wish in hand
        self.let_go_ns: dict[str, int] = {}  # client order id: when it was wished for
        self.out: list[tuple[int, int]] = []  # when, and how long it took
        self.waited: list[tuple[int, int]] = []


MEASURED = Measured()


class TimedInbox(Inbox[Any]):
    """An inbox that notes when a message is put in."""

    __slots__ = ()

    def deliver(self, message: Any) -> None:
        """See `Inbox`."""
        self._note(message)
        super().deliver(message)

    def leave(self, message: Any) -> None:
        """See `Inbox`."""
        self._note(message)
        super().leave(message)

    def _note(self, message: Any) -> None:
        if self.name == "order_executor" and isinstance(message, Wish | Answered | AccountTold):
            MEASURED.put_ns[id(message)] = message, time.perf_counter_ns()


class TimedExecutor(LiveExecutor):
    """An executor that notes when it begins with a message."""

    async def _serve(self, message: Message) -> None:
        now_ns = time.perf_counter_ns()
        _, put_ns = MEASURED.put_ns.pop(id(message), (None, now_ns))
        if isinstance(message, Wish):
            MEASURED.wished_ns = put_ns
        elif isinstance(message, Answered | AccountTold):
            MEASURED.waited.append((now_ns, now_ns - put_ns))
        await super()._serve(message)
        MEASURED.wished_ns = 0

    def _let_go(self, send: Send) -> None:
        if isinstance(send.command, SubmitOrder) and MEASURED.wished_ns:
            MEASURED.let_go_ns[send.command.client_order_id] = MEASURED.wished_ns
        super()._let_go(send)


def _note_out(data: bytes) -> None:
    now_ns = time.perf_counter_ns()
    for client_order_id in _ORDER.findall(data):
        wished_ns = MEASURED.let_go_ns.pop(client_order_id.decode(), None)
        if wished_ns is not None:
            MEASURED.out.append((now_ns, now_ns - wished_ns))


def _time_ways_out() -> None:
    """Note when an order's bytes are with its socket, or signed for REST, the way while that socket is young."""
    send, sign = Sockets.send, Credentials.rest_headers

    def timed(self: Sockets, name: str, connection: int, data: bytes) -> None:
        send(self, name, connection, data)
        if name == "orders":
            _note_out(data)

    def signed(self: Credentials, *, timestamp_ms: int, recv_window_ms: int, payload: bytes) -> dict[str, str]:
        headers = sign(self, timestamp_ms=timestamp_ms, recv_window_ms=recv_window_ms, payload=payload)
        _note_out(payload)
        return headers

    Sockets.send = timed  # type: ignore[method-assign]
    Credentials.rest_headers = signed  # type: ignore[method-assign]


async def _run(given: dict[str, Any]) -> dict[str, Any]:
    settings = TradeSettings(**given["settings"])
    ready = asyncio.Event()

    def hear(phase: Phase, text: str) -> None:
        if phase is Phase.READY:
            ready.set()

    trading = Trading(settings, "paper", Credentials(key=given["key"], secret=given["secret"]), hear)
    task = asyncio.create_task(trading.run())
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    await asyncio.to_thread(Path(given["ready"]).write_text, str(trading.directory), encoding="utf-8")
    await asyncio.sleep(_WARM_UP_S)
    from_ns, cpu_s = time.perf_counter_ns(), time.process_time()
    await asyncio.sleep(given["seconds"])
    cpu_s = time.process_time() - cpu_s
    inboxes = {} if trading.observed is None else {each.name: each for each in trading.observed.inboxes}
    view = trading.view
    told = (
        {}
        if view is None
        else {
            "/".join(value for _, value in each.labels): each.value
            for each in view.snapshot().counters
            if each.name == "notices_total"
        }
    )
    trading.stop()
    traded = await task
    return {
        "out_us": _micros(MEASURED.out, from_ns),
        "out_at_s": [round((at_ns - from_ns) / 1e9, 3) for at_ns, _ in MEASURED.out if at_ns >= from_ns],
        "waited_us": _micros(MEASURED.waited, from_ns),
        "unsent": len(MEASURED.let_go_ns),
        "cpu_share": cpu_s / given["seconds"],
        "deepest": {name: (each.deepest, each.bound) for name, each in inboxes.items()},
        "notices": told,
        "entries": traded.entries,
    }


def _micros(rows: Iterable[tuple[int, int]], from_ns: int) -> list[float]:
    return [float(np.round(took_ns / 1e3, 1)) for at_ns, took_ns in rows if at_ns >= from_ns]


def main(path: str) -> None:
    """Trade as that file says."""
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    if given["core"] is not None:
        os.sched_setaffinity(0, {given["core"]})
    _time_ways_out()
    wiring.Inbox = TimedInbox  # type: ignore[attr-defined]
    wiring.LiveExecutor = TimedExecutor  # type: ignore[attr-defined]
    with contextlib.redirect_stdout(sys.stderr):
        figures = asyncio.run(_run(given))
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1])
