"""How long a start takes to know what it holds, from a journal of a million entries: with a kept state, and without.

The journal is a month of market orders, each decided, signed, answered and filled, by the real desk into a real
SQLite ledger; syncs are off while it is made. Recovery is what a start does: open, verify the end, read, fold.

    python -m benchmarks.bench_recovery --entries 1000000 --at DIRECTORY     (kept, and used again)
"""

import argparse
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench_trading import INSTRUMENT, LIMITS, NAME
from bot.app.recovery import STATE_ENTRIES, recover
from bot.core.checkpoint import capture, encode, is_like
from bot.core.effects import Wish
from bot.core.orders import Orders
from bot.core.portfolio import Portfolio
from bot.core.risk import Mark
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds
from bot.core.submission.requests import Terms
from bot.core.submission.work import Work
from bot.domain.answers import Answer, AnswerKind
from bot.domain.instrument import Side
from bot.domain.orders import OrderAccepted, OrderFilled, PlaceOrder, SubmitOrder
from bot.store.live_ledger import LiveLedger
from bot.store.live_sqlite import SqliteLedger

_MS = 1_000_000
_START_NS = 1_700_000_000_000 * _MS
_ROW = {
    "run_id": "bench",
    "mode": "paper",
    "version": "1",
    "strategy": "bench",
    "parameters": "{}",
    "seed": 7,
    "config_hash": "c",
    "model_id": "none",
    "in_sample": False,
    "currency": "USDT",
    "start_cash": Decimal(10**7),
    "source": "trades",
    "from_ns": _START_NS,
    "to_ns": _START_NS,
}


def make_desk(ids: ClientOrderIds | None = None) -> LiveDesk:
    """Return a desk that knows nothing yet."""
    instruments = {NAME: INSTRUMENT}
    orders = Orders(
        instruments=instruments,
        portfolio=Portfolio(instruments, "USDT"),
        limits=LIMITS,
        ids=ids or ClientOrderIds(environment="e", epoch=1),
        is_restorable=True,
    )
    return LiveDesk(orders, Terms(), environment="e")


def open_ledger(path: Path) -> LiveLedger:
    """Return the ledger in a file."""
    return LiveLedger(SqliteLedger(path), dict(_ROW), monotonic_ns=time.monotonic_ns)


def make(path: Path, entries: int) -> None:
    """Write a journal of so many entries, in which nothing of the state was ever kept."""
    ledger, desk = open_ledger(path), make_desk()
    ledger.database._connection.execute("PRAGMA synchronous = OFF")  # type: ignore[attr-defined]
    ledger.begin_epoch(
        now_ns=_START_NS,
        venue_epoch=None,
        recv_window_ns=1,
        send_timeout_ns=1,
        run_id="bench",
        host="h",
        pid=1,
        version="1",
        config_hash="c",
        account=None,
    )
    ledger.write(desk.deposit(Decimal(10**7), _START_NS).record)
    _go_on(ledger, desk, entries, step_ns=30 * 86_400 * 1_000 * _MS // max(entries // 7, 1))
    ledger.abandon()


def _go_on(ledger: LiveLedger, desk: LiveDesk, until: int, *, step_ns: int) -> None:
    """Trade until the journal has so many entries."""

    def keep(work: Work) -> Work:
        ledger.write(work.record)
        return work

    now_ns, turn = ledger.head.ts_ns, desk.orders.state.decisions
    while ledger.head.seq < until:
        turn += 1
        now_ns += step_ns
        _trade(desk, keep, Side.BUY if turn % 2 else Side.SELL, turn, now_ns)
        if turn % 500 == 0:
            ledger.commit()
    ledger.commit()


def _trade(desk: LiveDesk, keep: Callable[[Work], Work], side: Side, turn: int, now_ns: int) -> None:
    price = Decimal(60_000 + turn % 100)
    marks: dict[str, Mark | None] = {NAME: Mark(price=price, ts_ns=now_ns)}
    action = PlaceOrder(instrument=NAME, side=side, qty=Decimal("0.01"))
    wish = Wish(
        strategy="bench",
        trigger="timer",
        action=action,
        bar_close_ns=now_ns,
        close_price=price,
        position_qty=Decimal(0),
        forecast=None,
    )
    work = keep(desk.wish(wish, marks, now_ns))
    going, more = desk.release(work.send, marks, now_ns)
    keep(more)
    for send in going:
        assert isinstance(send.command, SubmitOrder)
        name = send.command.client_order_id
        about = {"ts_event_ns": now_ns, "ts_recv_ns": now_ns, "client_order_id": name, "instrument": NAME}
        answer = Answer(kind=AnswerKind.ACCEPTED, code="0", recv_ns=now_ns, venue_order_id=f"v{turn}")
        keep(desk.answered(send.request, send.attempt, answer, now_ns))
        keep(desk.told(OrderAccepted(**about, venue_order_id=f"v{turn}"), now_ns))  # type: ignore[arg-type]
        fill = OrderFilled(
            **about,  # type: ignore[arg-type]
            trade_id=f"t{turn}",
            side=side,
            price=price,
            qty=Decimal("0.01"),
            fee=Decimal("0.33"),
            is_maker=False,
        )
        keep(desk.told(fill, now_ns))


def measure(path: Path, *, keeps: bool = False, then: int = 0) -> tuple[float, float, int, LiveDesk]:
    """Recover once; return the wall and the processor's seconds, the entries, and the desk.

    Args:
        path: the ledger.
        keeps: keep the state afterwards, for the next.
        then: write so many entries more, and keep nothing.
    """
    began, used = time.monotonic(), time.process_time()
    ids = ClientOrderIds(environment="e", epoch=1)
    ledger, desk = open_ledger(path), make_desk(ids)
    recovered = recover(ledger, desk)
    found = time.monotonic() - began, time.process_time() - used, ledger.head.seq, desk
    if keeps:
        ledger.checkpoint(encode(capture(desk.orders.state, desk.submissions.journal)), now_ns=ledger.head.ts_ns)
        ledger.commit()
    if then:
        ids.count = recovered.last_count
        _go_on(ledger, desk, ledger.head.seq + then, step_ns=_MS)
    ledger.abandon()
    return found


def run(path: Path, entries: int) -> list[str]:
    """Return what was measured, a line each."""
    if not path.exists():
        make(path, entries)
    lines = []
    wall, cpu, count, first = measure(path, keeps=True)
    lines.append(f"{count:,} entries, no state kept: {wall:.2f} s, {cpu:.2f} s of processor time")
    wall, cpu, count, second = measure(path)
    lines.append(f"{count:,} entries, state kept at the end: {wall:.3f} s, {cpu:.3f} s of processor time")
    one, other = (capture(each.orders.state, each.submissions.journal) for each in (first, second))
    assert is_like(one, other), "the kept state is not the fold"
    measure(path, then=STATE_ENTRIES)
    wall, cpu, count, _ = measure(path)
    lines.append(f"{count:,} entries, state kept {STATE_ENTRIES:,} before: {wall:.2f} s, {cpu:.2f} s of processor time")
    return lines


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--at", type=Path)
    asked = parser.parse_args()
    with TemporaryDirectory() as directory:
        at = asked.at or Path(directory)
        at.mkdir(parents=True, exist_ok=True)
        for line in run(at / "ledger.sqlite", asked.entries):
            print(line)


if __name__ == "__main__":
    _main()
