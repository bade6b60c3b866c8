"""How long after `kill -9` a bot trades again, by the clock: real processes, a journal of a million entries.

An emulator runs in a process of its own, at the pace of the world. The ledger of a first paper run there is filled up
with trades that end where they began, so that it still agrees with the account: a hundred days of them, with which the
emulator's own account begins anew at their end. The state is kept as far before the ledger's end as it ever is. Then,
again and again: trade, be killed in the middle of it, start again. Measured is the time from the
start of the process to its money half being up, which means: the ledger is verified and read, the account compared and
its stream proven, and what the dead process had signed can be admitted no more; and to READY, when the market's streams
are proven, too: where the newest trades do not reach back to the beginning of the minute, that is when the minute ends.

    python -m benchmarks.bench_ready --entries 1000000 --kills 10
"""

import argparse
import os
import random
import signal
import statistics
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench_recovery import open_ledger
from benchmarks.bench_trading import INSTRUMENT, LIMITS, NAME
from bot.app.recovery import STATE_ENTRIES, recover
from bot.core.checkpoint import capture, encode
from bot.core.effects import Wish
from bot.core.orders import Orders
from bot.core.portfolio import Portfolio
from bot.core.reconcile import VenueSnapshot
from bot.core.risk import Mark
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds
from bot.core.submission.requests import Terms
from bot.domain.answers import Answer, AnswerKind
from bot.domain.instrument import Side
from bot.domain.orders import OrderAccepted, OrderFilled, PlaceOrder, SubmitOrder
from tests.support.paper import Emulator, Paper

_WORDS = ("starting", "recovering", "money half is up", "ready ")
_MARKS = ("speaks", "reads its ledger", "money half", "READY")
_PRICE = Decimal(60_000)
_QTY = Decimal("0.01")
_FIRST, _LATER = "2025-02-22", "2025-06-02"  # what the emulators' clocks begin with
_LATER_NS = round(datetime.fromisoformat(_LATER).replace(tzinfo=UTC).timestamp()) * 10**9
_COMPARED_EVERY = 10  # trades: what is a day older than the last comparison is forgotten, as in a run
_ENTRIES_A_TRADE = 4  # at least


def fill_up(path: Path, entries: int, end_ns: int) -> None:
    """Write into a ledger that is nobody's now, until it has so many entries: trades that cost and earn nothing.

    Args:
        end_ns: when the last of them is, those before evenly spread.
    """
    ledger = open_ledger(path)
    instruments = {NAME: INSTRUMENT}
    ids = ClientOrderIds(environment="e", epoch=1)
    orders = Orders(
        instruments=instruments,
        portfolio=Portfolio(instruments, "USDT"),
        limits=LIMITS,
        ids=ids,
        is_restorable=True,
    )
    desk = LiveDesk(orders, Terms(), environment="e")
    ids.count = recover(ledger, desk).last_count + 1_000
    assert not desk.orders.state.position_qty(NAME), "the first run was to trade nothing"
    ledger.database._connection.execute("PRAGMA synchronous = OFF")  # type: ignore[attr-defined]
    now_ns, is_kept, turn = ledger.head.ts_ns, False, 0
    step_ns = (end_ns - now_ns) // (entries // _ENTRIES_A_TRADE + 2)
    while ledger.head.seq < entries or turn % 2:
        turn, now_ns = turn + 1, now_ns + step_ns
        side = Side.BUY if turn % 2 else Side.SELL
        marks: dict[str, Mark | None] = {NAME: Mark(price=_PRICE, ts_ns=now_ns)}
        wish = Wish(
            strategy="restless",
            trigger="timer",
            action=PlaceOrder(instrument=NAME, side=side, qty=_QTY),
            bar_close_ns=now_ns,
            close_price=_PRICE,
            position_qty=Decimal(0),
            forecast=None,
        )
        work = desk.wish(wish, marks, now_ns)
        ledger.write(work.record)
        for send in desk.release(work.send, marks, now_ns)[0]:
            assert isinstance(send.command, SubmitOrder)
            name = send.command.client_order_id
            about = {"ts_event_ns": now_ns, "ts_recv_ns": now_ns, "client_order_id": name, "instrument": NAME}
            answer = Answer(kind=AnswerKind.ACCEPTED, code="0", recv_ns=now_ns, venue_order_id=f"v{turn}")
            ledger.write(desk.answered(send.request, send.attempt, answer, now_ns).record)
            ledger.write(desk.told(OrderAccepted(**about, venue_order_id=f"v{turn}"), now_ns).record)  # type: ignore[arg-type]
            fill = OrderFilled(
                **about,  # type: ignore[arg-type]
                trade_id=f"filled-up-{turn}",
                side=side,
                price=_PRICE,
                qty=_QTY,
                fee=Decimal(0),
                is_maker=False,
            )
            ledger.write(desk.told(fill, now_ns).record)
        if turn % _COMPARED_EVERY == 0:
            flat = VenueSnapshot(began_ns=now_ns, at_ms=now_ns // 10**6, positions=(), open_orders=(), wallet=None)
            ledger.write(desk.reconcile(flat, now_ns).record)
        if not is_kept and ledger.head.seq >= entries - STATE_ENTRIES:
            is_kept = True
            body = encode(capture(desk.orders.state, desk.submissions.journal, last=(1, ids.count)))
            ledger.checkpoint(body, now_ns=now_ns)
        if turn % 500 == 0:
            ledger.commit()
    ledger.commit()
    ledger.abandon()


def measure(directory: Path, entries: int, kills: int) -> list[tuple[float, float, float]]:
    """Return the seconds from each new process's start to its money half, those of its processor, and to READY."""
    chance = random.Random(11)
    emulator = Emulator(directory, speed=1.0, start=_FIRST)
    paper: Paper | None = None
    found = []
    try:
        paper = Paper(directory, emulator, "strategy.name=sma_cross", "ledger.checkpoint_every=10m")
        paper.until_ready()
        assert paper.end(signal.SIGTERM) == 0, paper.said[-1000:]
        emulator.end(signal.SIGKILL)
        began = time.monotonic()
        fill_up(directory / "ledger" / "ledger.sqlite", entries, _LATER_NS - 60_000_000_000)
        size = (directory / "ledger" / "ledger.sqlite").stat().st_size >> 20
        print(f"{entries:,} entries, {size} MiB, filled up in {time.monotonic() - began:.0f} s", flush=True)
        emulator = Emulator(directory, speed=1.0, start=_LATER)
        paper = Paper(directory, emulator, "ledger.checkpoint_every=10m")
        paper.until_ready()
        for number in range(kills):
            paper.wait(chance.uniform(2.0, 5.0))
            paper.end(signal.SIGKILL)
            began = time.monotonic()
            paper = Paper(directory, emulator, "ledger.checkpoint_every=10m")
            marks = []
            for words in _WORDS:
                paper.until(words)
                marks.append((time.monotonic() - began, _processor_s(paper.pid)))
            found.append((*marks[2], marks[3][0]))
            told = ", ".join(f"{what} {wall:.2f} ({cpu:.2f})" for what, (wall, cpu) in zip(_MARKS, marks, strict=True))
            print(f"  kill {number + 1}: {told} s", flush=True)
            print(
                f"    {next(line for line in paper.said.splitlines() if 'money half is up' in line)[:400]}", flush=True
            )
    finally:
        for process in (paper, emulator):
            if process is not None:
                process.end(signal.SIGKILL)
    return found


def _processor_s(pid: int) -> float:
    """Return how much of the processor a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=10)
    asked = parser.parse_args()
    with TemporaryDirectory() as directory:
        found = measure(Path(directory), asked.entries, asked.kills)
    what = ("money half up", "the processor's seconds until then", "READY")
    for name, figures in zip(what, zip(*found, strict=True), strict=True):
        print(f"after kill -9, {name}: median {statistics.median(figures):.2f}, worst {max(figures):.2f} s")


if __name__ == "__main__":
    _main()
