"""A bot that stands still: satisfies `ports.Operated` by what a test gives it, and remembers what was asked of it."""

import math
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from bot.domain.errors import DataError
from bot.domain.operation import (
    ActorHealth,
    CommandDone,
    Counter,
    DataAge,
    Flatten,
    ForecastView,
    HeldPosition,
    Kill,
    LatchView,
    Latency,
    OpenOrder,
    OperatorCommand,
    Pause,
    Phase,
    Resume,
    Snapshot,
)

START_NS = 1_760_000_000_000_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND


def make_snapshot(**changes: Any) -> Snapshot:
    """Return a healthy bot that holds a position and two orders, one of them in doubt; `changes` replace fields."""
    now_ns = START_NS + 3 * 3600 * SECOND
    whole = Snapshot(
        run_id="20251009-085320-paper-multiscale-1a2b",
        mode="paper",
        version="0.1.0",
        strategy="multiscale",
        venue="testnet",
        model_id="tiny-0a1b2c3d",
        config_hash="ab" * 32,
        epoch=3,
        started_ns=START_NS,
        now_ns=now_ns,
        phase=Phase.READY,
        troubles=(),
        is_paused=False,
        is_killed=False,
        currency="USDT",
        start_cash=Decimal(10_000),
        cash=Decimal("9876.5"),
        equity=Decimal("10150.25"),
        equity_day_start=Decimal(10_000),
        equity_peak=Decimal(10_200),
        positions=(
            HeldPosition(
                instrument="BTCUSDT",
                qty=Decimal("-0.25"),
                entry_price=Decimal("64200.5"),
                mark_price=Decimal("63105.5"),
                unrealized_pnl=Decimal("273.75"),
                realized_pnl=Decimal("12.5"),
                fees=Decimal("8.82"),
                funding=Decimal("-0.41"),
                stop_loss=Decimal(66_000),
            ),
            HeldPosition(
                instrument="ETHUSDT",
                qty=Decimal(0),
                entry_price=None,
                mark_price=None,
                unrealized_pnl=Decimal(0),
                realized_pnl=Decimal("-31.2"),
                fees=Decimal("3.1"),
                funding=Decimal(0),
            ),
        ),
        orders=(
            OpenOrder(
                client_order_id="t3-000000000012",
                instrument="BTCUSDT",
                side="buy",
                order_type="limit",
                qty=Decimal("0.25"),
                filled_qty=Decimal("0.1"),
                limit_price=Decimal("62900.0"),
                status="open",
                is_in_doubt=False,
                sent_ns=now_ns - 95 * SECOND,
                strategy="multiscale",
            ),
            OpenOrder(
                client_order_id="t3-000000000013",
                instrument="ETHUSDT",
                side="sell",
                order_type="market",
                qty=Decimal("1.5"),
                filled_qty=Decimal(0),
                limit_price=None,
                status="submitted",
                is_in_doubt=True,
                sent_ns=now_ns - 4 * SECOND,
                strategy="multiscale",
            ),
        ),
        latches=(LatchView(scope="ETHUSDT", cause="doubt", state="reducing", detail="an order is in doubt"),),
        forecasts=(
            ForecastView(
                instrument="BTCUSDT",
                model_id="tiny-0a1b2c3d",
                bar_close_ns=now_ns - 40 * SECOND,
                close_price=Decimal("63105.5"),
                horizons_ns=(5 * MINUTE, 60 * MINUTE),
                levels=(0.05, 0.25, 0.5, 0.75, 0.95),
                quantiles=((-0.002, -0.0008, -0.0001, 0.0006, 0.0018), (-0.009, -0.004, -0.0006, 0.0029, 0.0081)),
                scales_ns=(MINUTE, 15 * MINUTE, 240 * MINUTE),
                importance=(0.2, 0.5, 0.3),
                coverage=(0.91, math.nan),
            ),
        ),
        data=(
            DataAge(topic="publicTrade.BTCUSDT", age_ns=SECOND // 5, limit_ns=10 * SECOND, is_trusted=True),
            DataAge(topic="orderbook.50.BTCUSDT", age_ns=SECOND // 50, limit_ns=5 * SECOND, is_trusted=True),
            DataAge(topic="bars:BTCUSDT:1m", age_ns=40 * SECOND, limit_ns=70 * SECOND, is_trusted=True),
        ),
        actors=(
            ActorHealth(
                name="strategy", is_alive=True, queued=0, bound=65_536, served=1_234, last_served_ns=now_ns - SECOND
            ),
            ActorHealth(
                name="order_executor", is_alive=True, queued=2, bound=65_536, served=99, last_served_ns=now_ns - SECOND
            ),
            ActorHealth(name="ledger", is_alive=True, queued=0, bound=65_536, served=0, last_served_ns=0),
        ),
        latencies=(
            Latency(stage="decision_to_ack", count=40, p50_ns=21_000_000, p99_ns=88_000_000, worst_ns=140_000_000),
            Latency(stage="inference", count=900, p50_ns=1_800_000, p99_ns=4_100_000, worst_ns=9_000_000),
            Latency(stage="loop_lag", count=9_000, p50_ns=110_000, p99_ns=2_300_000, worst_ns=14_000_000),
            Latency(stage="bar_lag:1m", count=180, p50_ns=310_000_000, p99_ns=920_000_000, worst_ns=1_400_000_000),
        ),
        counters=(
            Counter(name="orders_total", labels=(("outcome", "filled"),), value=97),
            Counter(name="orders_total", labels=(("outcome", "canceled"),), value=4),
            Counter(name="reconnects_total", labels=(("stream", "public"),), value=2),
        ),
        last_decision_ns=now_ns - 40 * SECOND,
        last_reconciled_ns=now_ns - 20 * SECOND,
        ledger_seq=4_711,
    )
    return replace(whole, **changes)


class SilentOperated:
    """A bot that does not answer."""

    async def snapshot(self) -> Snapshot:
        """See `ports.Operated`."""
        raise DataError("the bot has not answered for 6 s")

    async def foresee(self, command: OperatorCommand) -> str:
        """See `ports.Operated`."""
        raise DataError("the bot has not answered for 6 s")

    async def obey(self, command: OperatorCommand, by: str) -> CommandDone:
        """See `ports.Operated`."""
        return CommandDone(is_done=False, text="the bot has not answered for 6 s")


class FakeOperated:
    """A bot whose state changes by commands alone.

    Args:
        view: what it shows.
    """

    def __init__(self, view: Snapshot | None = None) -> None:
        self.view = make_snapshot() if view is None else view
        self.looks = 0
        self.obeyed: list[tuple[OperatorCommand, str]] = []

    async def snapshot(self) -> Snapshot:
        """See `ports.Operated`."""
        self.looks += 1
        return self.view

    async def foresee(self, command: OperatorCommand) -> str:
        """See `ports.Operated`."""
        match command:
            case Flatten() | Kill(is_flattening=True):
                wanted = getattr(command, "instrument", "")
                held = [each for each in self.view.positions if each.qty and wanted in ("", each.instrument)]
                notional = sum((abs(each.qty) * (each.mark_price or 0) for each in held), Decimal(0))
                orders = sum(wanted in ("", each.instrument) for each in self.view.orders)
                return f"cancel {orders} orders, close {len(held)} positions worth {notional:.2f} {self.view.currency}"
            case Kill():
                return f"send nothing new, cancel {len(self.view.orders)} orders; only the host can undo it"
            case Pause():
                return "take no new exposure until resumed"
            case Resume():
                return "nothing: the kill switch is closed" if self.view.is_killed else "take new exposure again"
        return "read the settings again"

    async def obey(self, command: OperatorCommand, by: str) -> CommandDone:
        """See `ports.Operated`."""
        self.obeyed.append((command, by))
        match command:
            case Pause() | Flatten():
                self.view = replace(self.view, is_paused=True)
            case Resume():
                if self.view.is_killed:
                    return CommandDone(is_done=False, text="killed: only the host can undo it")
                self.view = replace(self.view, is_paused=False)
            case Kill():
                self.view = replace(self.view, is_killed=True)
        return CommandDone(is_done=True, text=f"{type(command).__name__.lower()}: done")
