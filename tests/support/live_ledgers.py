"""A live ledger in a directory, and what to write into it."""

import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from bot.domain.account import Posting
from bot.domain.instrument import Side
from bot.domain.ledger import (
    CancelIntended,
    DecisionMade,
    Deposited,
    FillBooked,
    FundingBooked,
    LedgerEntry,
    OrderIntended,
    OrderReported,
)
from bot.domain.orders import CancelOrder
from bot.store.live_database import LedgerDatabase
from bot.store.live_ledger import LiveLedger
from bot.store.live_sqlite import SqliteLedger
from tests.support.money import NAME, accepted, canceled, dec, filled, funding_paid, rejected, submit

START_CASH = Decimal("100000.10")
RUN: dict[str, Any] = {
    "run_id": "live-1",
    "mode": "paper",
    "version": "1",
    "strategy": "sma",
    "parameters": "{}",
    "seed": 7,
    "config_hash": "c",
    "model_id": "none",
    "in_sample": False,
    "currency": "USDT",
    "start_cash": START_CASH,
    "source": "trades",
    "from_ns": 0,
    "to_ns": 1,
}
STARTED_NS = 1_700_000_000_000_000_000


def open_ledger(where: Path | LedgerDatabase, **run: Any) -> LiveLedger:
    """Return a live ledger, new or gone on with."""
    database = SqliteLedger(where / "ledger.sqlite") if isinstance(where, Path) else where
    return LiveLedger(database, RUN | run, monotonic_ns=time.monotonic_ns)


def begin(
    ledger: LiveLedger, *, venue_epoch: int | None = None, now_ns: int = STARTED_NS, account: int | None = None
) -> int:
    """Begin an epoch; return its number."""
    return ledger.begin_epoch(
        now_ns=now_ns,
        venue_epoch=venue_epoch,
        recv_window_ns=5_000_000_000,
        send_timeout_ns=3_000_000_000,
        run_id="live-1",
        host="host",
        pid=1,
        version="1",
        config_hash="c",
        account=account,
    ).number


def write_one_by_one(ledger: LiveLedger, entries: Sequence[LedgerEntry], *, size: int = 1) -> None:
    """Write entries, so many to a commit."""
    for start in range(0, len(entries), size):
        ledger.write(entries[start : start + size])
        ledger.commit()


def bookings(**amounts: str | Decimal) -> tuple[Posting, ...]:
    """Return postings by account, all in USDT; cash is what balances them."""
    legs = [Posting(account=name, currency="USDT", amount=Decimal(amount)) for name, amount in amounts.items()]
    cash = -sum((leg.amount for leg in legs), Decimal(0))
    return (Posting(account="cash", currency="USDT", amount=cash), *legs)


def deposit() -> LedgerEntry:
    """Return the first entry of a ledger."""
    return Deposited(ts_ns=STARTED_NS, postings=bookings(equity=-START_CASH))


def round_trip(n: int) -> list[LedgerEntry]:
    """Return the n-th: a purchase filled in two parts, a sale, a refusal, a resting order that is canceled."""
    ts_ns = STARTED_NS + n * 1_000_000_000
    buy, sell, refused, resting = (f"e1-{n}-{k}" for k in range(4))
    half, price = dec("0.5"), Decimal(100 + n % 7)

    def intent(name: str, **asked: Any) -> LedgerEntry:
        order = submit(n, client_order_id=name, **asked)
        return OrderIntended(ts_ns=ts_ns, decision_id=n, mark_price=price, order=order)

    def fill(name: str, part: int, side: Side, qty: Decimal, held: Decimal, pnl: str, status: str) -> LedgerEntry:
        event = filled(name, trade=f"{n}-{part}", qty=qty, price=price, fee="0.010", side=side, at_ns=ts_ns)
        legs = bookings(fees="0.010", realized_pnl=-Decimal(pnl))
        return FillBooked(
            ts_ns=ts_ns, status=status, fill=event, position_qty=held, realized_pnl=Decimal(pnl), postings=legs
        )

    return [
        DecisionMade(
            ts_ns=ts_ns,
            decision_id=n,
            strategy="sma",
            instrument=NAME,
            trigger="bar:1m",
            bar_close_ns=ts_ns,
            close_price=price,
            position_qty=dec(0),
            forecast_id=None,
            action="{}",
            reason="a test",
        ),
        intent(buy),
        OrderReported(ts_ns=ts_ns, status="open", event=accepted(buy, at_ns=ts_ns)),
        fill(buy, 1, Side.BUY, half, half, "0", "open"),
        fill(buy, 2, Side.BUY, half, dec("1.0"), "0", "filled"),
        intent(sell, side=Side.SELL, limit=price),
        fill(sell, 3, Side.SELL, dec(1), dec("0.0"), "0.00", "filled"),
        intent(refused),
        OrderReported(ts_ns=ts_ns, status="rejected", event=rejected(refused, at_ns=ts_ns)),
        intent(resting, limit="99.5"),
        OrderReported(ts_ns=ts_ns, status="open", event=accepted(resting, at_ns=ts_ns)),
        CancelIntended(
            ts_ns=ts_ns, decision_id=n, cancel=CancelOrder(client_order_id=resting, order_number=n, instrument=NAME)
        ),
        OrderReported(ts_ns=ts_ns, status="canceled", event=canceled(resting, at_ns=ts_ns)),
        FundingBooked(ts_ns=ts_ns, funding=funding_paid("-0.0123", number=n), postings=bookings(funding="0.0123")),
    ]


def history(trips: int, *, start: int = 1) -> list[LedgerEntry]:
    """Return a ledger's entries: a deposit, where it begins with the first, and round trips."""
    entries = [deposit()] if start == 1 else []
    for n in range(start, start + trips):
        entries += round_trip(n)
    return entries
