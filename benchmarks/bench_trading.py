"""From a strategy's wish to the bytes of its order: the gate, the durable intent, the kill switch, the signature.

The real executor, desk, ledger actor and SQLite file (synchronous = FULL, written on a thread), and the real request
and its signature. What comes after, the kernel's socket and the venue's answer, is not in it: the answer is made here.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.measure import main
from bot.actors.inbox import Inbox, Stop
from bot.actors.ledger import LedgerActor
from bot.actors.live_executor import LiveExecutor
from bot.app.ledgers import open_live
from bot.app.switches import Switches
from bot.core.effects import Wish
from bot.core.orders import Orders
from bot.core.portfolio import Portfolio
from bot.core.reconcile import VenueSnapshot
from bot.core.risk import RiskLimits
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds
from bot.core.submission.messages import AccountCompared, Answered, ClockTold
from bot.core.submission.requests import LookUpWanted, Send, Terms
from bot.domain.answers import Answer, AnswerKind, Cause
from bot.domain.instrument import Instrument, Side
from bot.domain.market import MarketSlab, TradeBatch
from bot.domain.orders import PlaceOrder, SubmitOrder
from bot.ports import OffLoop
from bot.runtime.env import LiveCalendar, ScaledClock, SystemClock, WriterThread
from bot.venues.bybit import requests
from bot.venues.bybit.credentials import Credentials

ORDERS = 600
WARM_UP = 100
NAME = "BTCUSDT"
INSTRUMENT = Instrument(
    name=NAME,
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(100),
)
LIMITS = RiskLimits(
    order_notional_max=Decimal(10**6),
    position_notional_max=Decimal(10**9),
    leverage_max=Decimal(50),
    price_collar=Decimal("0.05"),
    mark_age_ns_max=3_600 * 10**9,
    open_orders_max=500,
    orders_per_second_max=1000,
)


class _Venue:
    """Makes the bytes of what it is given, notes when, and refuses it: so nothing piles up."""

    def __init__(self, deliver: Callable[[Any], None], clock: ScaledClock) -> None:
        self._deliver, self._clock = deliver, clock
        self._credentials = Credentials(key="BENCHKEY00000001", secret="BENCHSECRET0001")
        self._listed = requests.Listed("linear", NAME)
        self.made_ns: list[tuple[int, int]] = []  # when a create was handed over, and when its bytes were there
        self.came = asyncio.Event()

    def send(self, send: Send) -> None:
        """See `ports.AccountVenue`."""
        begun_ns = time.perf_counter_ns()
        assert isinstance(send.command, SubmitOrder)
        body = requests.create(send.command, self._listed).body
        headers = self._credentials.rest_headers(
            timestamp_ms=send.signed_ms, recv_window_ms=send.recv_window_ms, payload=body
        )
        assert headers
        self.made_ns.append((begun_ns, time.perf_counter_ns()))
        answer = Answer(kind=AnswerKind.REFUSED, cause=Cause.OTHER, code="bench", text="", recv_ns=self._clock.now_ns())
        self._deliver(Answered(request=send.request, attempt=send.attempt, answer=answer))
        self.came.set()

    def look_up(self, wanted: LookUpWanted) -> None:
        """See `ports.AccountVenue`: nothing is in doubt."""

    def cancel_all(self, instruments: Sequence[str]) -> None:
        """See `ports.AccountVenue`: nothing is open."""

    def compare(self, why: str, since_ms: int) -> None:
        """See `ports.AccountVenue`."""
        now_ns = self._clock.now_ns()
        snapshot = VenueSnapshot(at_ms=now_ns // 10**6, began_ns=now_ns, open_orders=(), positions=())
        self._deliver(AccountCompared(snapshot=snapshot, executed_ms=now_ns // 10**6, why=why))


async def _trade(directory: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return microseconds of every order: in all, and of its parts."""
    clock = ScaledClock(start_ns=SystemClock().now_ns(), speed=1.0)
    thread = WriterThread("ledger")
    commits: list[int] = []

    async def off_loop(work: Callable[[], Any]) -> Any:
        begun_ns = time.perf_counter_ns()
        try:
            return await thread(work)
        finally:
            commits.append(time.perf_counter_ns() - begun_ns)

    used: OffLoop = off_loop
    with ExitStack() as stack:
        stack.callback(thread.close)
        opened = await thread(lambda: open_live(str(directory), _run_row(), lock_directory=directory))
        store, inbox = opened.store, Inbox[Any]("order_executor", bound=4_096)
        plan = await thread(
            lambda: store.begin_epoch(
                now_ns=clock.now_ns(),
                venue_epoch=None,
                recv_window_ns=10**9,
                send_timeout_ns=10**9,
                run_id="bench",
                host="bench",
                pid=1,
                version="1",
                config_hash="c",
                account=None,
            )
        )
        portfolio = Portfolio({NAME: INSTRUMENT}, "USDT")
        ids = ClientOrderIds(environment="e", epoch=plan.number)
        orders = Orders(instruments={NAME: INSTRUMENT}, portfolio=portfolio, limits=LIMITS, ids=ids, is_restorable=True)
        desk = LiveDesk(orders, Terms(), environment="e")
        ledger_inbox, strategy = Inbox[Any]("ledger", bound=4_096), Inbox[Any]("strategy", bound=65_536)
        ledger = LedgerActor(inbox=ledger_inbox, store=store, batch=1, is_durable=True, off_loop=used)
        venue, switches = _Venue(inbox.deliver, clock), Switches(directory)
        executor = LiveExecutor(
            inbox=inbox,
            strategy=strategy,
            calendar=LiveCalendar(clock),
            desk=desk,
            venue=venue,
            ledger=ledger,
            instruments={NAME: INSTRUMENT},
            is_killed=lambda: switches.is_killed,
        )
        writing = asyncio.create_task(ledger.run())
        await executor.start(executed_ms=0, creates_from_ns=0, first_cash=Decimal(10**7))
        running = asyncio.create_task(executor.run())
        inbox.deliver(ClockTold(offset_ms=0, trouble=""))
        inbox.deliver(_slab(clock.now_ns()))
        await asyncio.sleep(0.05)
        rows = []
        for _ in range(ORDERS):
            await asyncio.sleep(0.004)  # as decisions come: one by one
            commits.clear()
            venue.came.clear()
            wished_ns = time.perf_counter_ns()
            inbox.deliver(_wish())
            async with asyncio.timeout(10):
                await venue.came.wait()
            handed_ns, made_ns = venue.made_ns[-1]
            rows.append((made_ns - wished_ns, commits[0], made_ns - handed_ns))
        await inbox.put(Stop())
        await running
        await ledger_inbox.put(Stop())
        await writing
        await thread(lambda: opened.close(now_ns=clock.now_ns()))
    whole, commit, bytes_ = np.array(rows[WARM_UP:]).T / 1_000
    return {"whole": whole, "commit": commit, "bytes": bytes_, "decide": whole - commit - bytes_}


def _wish() -> Wish:
    order = PlaceOrder(
        instrument=NAME, side=Side.BUY, qty=Decimal("0.01"), limit_price=Decimal("59900"), reason="bench"
    )
    return Wish(
        strategy="bench",
        trigger="timer",
        action=order,
        bar_close_ns=None,
        close_price=None,
        position_qty=Decimal(0),
        forecast=None,
    )


def _slab(now_ns: int) -> MarketSlab:
    trades = TradeBatch(
        instrument=INSTRUMENT,
        first_row=0,
        ts_ns=np.array([now_ns], dtype=np.int64),
        price_ticks=np.array([600_000], dtype=np.int64),
        qty_steps=np.array([1], dtype=np.int64),
        is_buy=np.array([True]),
    )
    return MarketSlab(instrument=INSTRUMENT, watermark_ns=now_ns, trades=trades, bars={})


def _run_row() -> dict[str, Any]:
    words = ("mode", "paper"), ("status", "running"), ("strategy", "bench"), ("parameters", "{}"), ("source", "trades")
    return {
        "run_id": "bench",
        **dict(words),
        "version": "1",
        "seed": 1,
        "config_hash": "c",
        "model_id": "none",
        "in_sample": False,
        "currency": "USDT",
        "start_cash": Decimal(10**7),
        "from_ns": 0,
        "to_ns": 1,
    }


def wish_to_bytes() -> dict[str, Any]:
    """Measure an order's way out."""
    with TemporaryDirectory() as name:
        micros = asyncio.run(_trade(Path(name)))
    (p50, p99), *parts = (
        np.percentile(micros[part], [50, 99]).tolist() for part in ("whole", "decide", "commit", "bytes")
    )
    told = ", ".join(
        f"{part} {at[0]:,.0f} and {at[1]:,.0f}" for part, at in zip(("decide", "commit", "bytes"), parts, strict=True)
    )
    return {"name": f"wish to order bytes (p99 {p99:,.0f}; {told}); p50", "unit": "us", "best": p50, "median": p50}


BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {"wish_to_bytes": wish_to_bytes}

if __name__ == "__main__":
    main(BENCHMARKS, __doc__ or "")
