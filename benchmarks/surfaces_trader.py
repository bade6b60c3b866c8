"""The paper run of `bench_surfaces`, in a process of its own: trades, is watched now and then, measures all the time.

    python -m benchmarks.surfaces_trader SETTINGS.json

Says each block on its standard output as it begins ("on MODE", "off"), and what it measured as JSON at the end.
Measured by the machine's clock, part by part: from a wish's being put into the executor's inbox to its order's bytes
being handed to the socket, through gate, durable intent and signature; and how long what the venue tells (answers,
fills, orders) waits in the executor's inbox before it is served.
"""

import asyncio
import contextlib
import gc
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import bot.app.trading as trading_room
import bot.app.trading_actors as wiring
from benchmarks.surfaces_marks import SLOW_SYNC_NS, Reading, Readings, foreign_ns
from benchmarks.surfaces_switch import SwitchedSurfaces
from benchmarks.surfaces_verdict import PARTS
from bot.actors.inbox import Inbox
from bot.actors.ledger import LedgerActor
from bot.actors.live_executor import LiveExecutor, Message
from bot.app.trading import Trading
from bot.core.effects import Wish
from bot.core.submission.messages import AccountTold, Answered
from bot.core.submission.requests import Send
from bot.domain.answers import AnswerKind, Cause
from bot.domain.ledger import LedgerEntry
from bot.domain.operation import Phase
from bot.domain.orders import SubmitOrder
from bot.runtime.trade_settings import TradeSettings
from bot.venues.bybit.connection import Sockets
from bot.venues.bybit.credentials import Credentials

T = TypeVar("T")

_WARM_UP_S = 3.0  # after READY, not counted
_NICENESS = -15  # what else runs on this machine is not to be measured, as far as we may say so
_ORDER = re.compile(rb'"orderLinkId":"([^"]+)"')
_now_ns = time.perf_counter_ns


class Way:
    """One wish on its way: when it had come how far."""

    __slots__ = ("before", "foreign_before_ns", "is_let_go", "stamps_ns")

    def __init__(self, before: Reading, foreign_before_ns: int) -> None:
        self.before = before
        self.foreign_before_ns = foreign_before_ns  # since the last wish
        self.stamps_ns = [_now_ns()] * (len(PARTS) + 1)
        self.is_let_go = False


class Measured:
    """What is noted on the way."""

    def __init__(self) -> None:
        self.readings = Readings()
        self.newest = self.readings.take()
        self.slow_syncs: list[tuple[int, int]] = []
        self.ways: dict[int, tuple[Any, Way]] = {}  # by identity of the wish, held so that no other takes it
        self.put_ns: dict[int, tuple[Any, int]] = {}  # of what the venue tells
        self.in_hand: Way | None = None
        self.let_go: dict[str, Way] = {}  # by client order id: not sent yet
        self.names: dict[str, str] = {}  # by request, its client order id
        self.commit_ns = (0, 0)  # the newest: begun and done, in the disk's thread
        self.block = -1  # none is measured
        self.orders: list[list[int]] = []  # block, when wished, parts..., foreign time meanwhile and before
        self.waits: list[tuple[int, int, int]] = []  # block, when served, how long it waited
        self.unsent: Counter[str] = Counter()  # let go, and told not to have left: by why


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
        if self.name != "order_executor":
            return
        if isinstance(message, Wish):
            last, MEASURED.newest = MEASURED.newest, MEASURED.readings.take()
            MEASURED.ways[id(message)] = message, Way(MEASURED.newest, foreign_ns(last, MEASURED.newest))
        elif isinstance(message, Answered | AccountTold):
            MEASURED.put_ns[id(message)] = message, _now_ns()


class TimedLedger(LedgerActor):
    """A ledger's actor that notes what a wish waits for."""

    def append(self, entries: Sequence[LedgerEntry]) -> None:
        """See `LedgerActor`."""
        if (way := MEASURED.in_hand) is not None and not way.is_let_go:
            way.stamps_ns[2] = _now_ns()
        super().append(entries)

    async def commit(self) -> None:
        """See `LedgerActor`."""
        way = MEASURED.in_hand
        await super().commit()
        if way is not None and not way.is_let_go:
            way.stamps_ns[3:6] = *MEASURED.commit_ns, _now_ns()

    async def _do(self, work: Callable[[], T]) -> T:
        def timed() -> T:
            MEASURED.readings.watch_disk(threading.get_native_id())
            began_ns = _now_ns()
            done = work()
            done_ns = _now_ns()
            MEASURED.commit_ns = began_ns, done_ns
            if done_ns - began_ns > SLOW_SYNC_NS:
                MEASURED.slow_syncs.append((began_ns, done_ns))
            return done

        return await super()._do(timed)


class TimedExecutor(LiveExecutor):
    """An executor that notes when it begins with a message, and when it lets an order go."""

    async def _serve(self, message: Message) -> None:
        now_ns = _now_ns()
        if isinstance(message, Wish):
            _, way = MEASURED.ways.pop(id(message))
            way.stamps_ns[1] = now_ns
            MEASURED.in_hand = way
        elif isinstance(message, Answered | AccountTold):
            _, put_ns = MEASURED.put_ns.pop(id(message), (None, now_ns))
            MEASURED.waits.append((MEASURED.block, now_ns, now_ns - put_ns))
            if isinstance(message, Answered):
                _note_answer(message)
        await super()._serve(message)
        MEASURED.in_hand = None

    def _let_go(self, send: Send) -> None:
        way = MEASURED.in_hand
        if way is not None and isinstance(send.command, SubmitOrder):
            way.is_let_go = True
            MEASURED.let_go[send.command.client_order_id] = way
            MEASURED.names[send.request] = send.command.client_order_id
        super()._let_go(send)


def _note_answer(answered: Answered) -> None:
    answer, name = answered.answer, MEASURED.names.pop(answered.request, "")
    if answer.kind is AnswerKind.REFUSED and answer.cause in (Cause.UNSENT, Cause.LIMITED):
        if MEASURED.let_go.pop(name, None) is not None:  # if it goes later, that is another way
            MEASURED.unsent[f"{answer.code}: {answer.text}"] += 1


def _note_out(data: bytes) -> None:
    now_ns = _now_ns()
    for client_order_id in _ORDER.findall(data):
        way = MEASURED.let_go.pop(client_order_id.decode(), None)
        if way is not None:
            way.stamps_ns[6] = now_ns
            foreign = foreign_ns(way.before, MEASURED.readings.take())
            parts = [after - before for before, after in zip(way.stamps_ns, way.stamps_ns[1:], strict=False)]
            MEASURED.orders.append([MEASURED.block, way.stamps_ns[0], *parts, foreign, way.foreign_before_ns])


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


def _with(settings: TradeSettings, server: str) -> TradeSettings:
    """Return them with every surface on, Telegram at that server."""
    telegram = settings.alerts.telegram.model_copy(update={"enabled": True, "server": server})
    alerts = settings.alerts.model_copy(update={"telegram": telegram})
    status = settings.status.model_copy(update={"enabled": True})
    return settings.model_copy(update={"alerts": alerts, "status": status})


async def _run_blocks(given: dict[str, Any], settings: TradeSettings, say: Callable[[str], Awaitable[None]]) -> Any:
    """Go through the blocks; return the notices told, and each block's share of a core."""
    told: Counter[str] = Counter()
    shares = []
    surfaces, until_s = SwitchedSurfaces.newest, time.perf_counter() + given["within_s"]
    for number, mode in enumerate(given["blocks"]):
        if number % 2 == 0 and time.perf_counter() > until_s:
            break  # the machine is slow; what there is will do, or be said not to
        told.update(await surfaces.take_off())
        if mode is not None:
            await surfaces.put_on(_with(settings, given["servers"][mode]), given["others_core"])
        gc.collect()  # the same before blocks of both kinds
        await say("off" if mode is None else f"on {mode}")
        await asyncio.sleep(given["settle_s"])
        MEASURED.block, cpu_s, began_s = number, time.process_time(), time.perf_counter()
        await asyncio.sleep(given["block_s"])
        MEASURED.block = -1
        shares.append((time.process_time() - cpu_s) / (time.perf_counter() - began_s))
    told.update(await surfaces.take_off())
    await say("off")
    return told, shares


async def _run(given: dict[str, Any], say: Callable[[str], Awaitable[None]]) -> dict[str, Any]:
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
    await say(f"ready {trading.directory}")
    await asyncio.sleep(_WARM_UP_S)
    blocks = asyncio.create_task(_run_blocks(given, settings, say))
    await asyncio.wait({task, blocks}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    told, shares = await blocks
    waits = [each for each in MEASURED.waits if each[0] >= 0]
    await asyncio.sleep(1.0)  # what was let go last is on its way, if it ever will be
    unsent = len(MEASURED.let_go)
    inboxes = {} if trading.observed is None else {each.name: each for each in trading.observed.inboxes}
    deepest = {name: (each.deepest, each.bound) for name, each in inboxes.items()}
    trading.stop()
    traded = await task
    return {
        "orders": [each for each in MEASURED.orders if each[0] >= 0],
        "waits": waits,
        "slow_syncs": MEASURED.slow_syncs,
        "unsent": unsent,
        "held_back": dict(MEASURED.unsent),
        "shares": shares,
        "deepest": deepest,
        "notices": dict(told),
        "entries": traded.entries,
    }


def main(path: str) -> None:
    """Trade as that file says."""
    given = json.loads(Path(path).read_text(encoding="utf-8"))
    if given["core"] is not None:
        os.sched_setaffinity(0, {given["core"]})
    with contextlib.suppress(PermissionError):
        os.nice(_NICENESS)
    _time_ways_out()
    trading_room.Surfaces = SwitchedSurfaces  # type: ignore[misc]
    wiring.Inbox = TimedInbox  # type: ignore[attr-defined]
    wiring.LedgerActor = TimedLedger  # type: ignore[attr-defined]
    wiring.LiveExecutor = TimedExecutor  # type: ignore[attr-defined]
    answers = sys.stdout

    async def say(line: str) -> None:
        answers.write(f"{line}\n")
        answers.flush()

    with contextlib.redirect_stdout(sys.stderr):
        figures = asyncio.run(_run(given, say))
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1])
