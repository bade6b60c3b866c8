"""A live desk on a bench, for tests of its decisions one by one."""

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from bot.core.effects import Wish
from bot.core.orders import Orders
from bot.core.portfolio import Portfolio
from bot.core.reconcile import VenueSnapshot
from bot.core.risk import Mark
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds
from bot.core.submission.requests import Send, Terms
from bot.core.submission.work import DeskPolicy, Work
from bot.domain.instrument import Side
from bot.domain.ledger import AlertRaised
from bot.domain.orders import (
    Action,
    OrderType,
    PlaceOrder,
    SubmitOrder,
    TimeInForce,
)
from bot.domain.venue_records import (
    CoinRecord,
    ExecutionKind,
    ExecutionRecord,
    OrderRecord,
    OrderState,
    Origin,
    PositionRecord,
    WalletRecord,
)
from tests.support.desk import LIMITS, NOW_NS
from tests.support.money import BTC, NAME, SECOND_NS, filled

MS = 1_000_000
NOW_MS = NOW_NS // MS


class Bench:
    """A live desk on a bench: what leaves it is kept, time is moved by hand."""

    def __init__(self, terms: Terms | None = None, *, is_hedged: bool = False, **policy: Any) -> None:
        instruments = {NAME: BTC}
        orders = Orders(
            instruments=instruments,
            portfolio=Portfolio(instruments, "USDT"),
            limits=LIMITS,
            ids=ClientOrderIds(environment="l", epoch=3),
            is_restorable=True,
            is_hedged=is_hedged,
        )
        self.desk = LiveDesk(orders, terms or Terms(), environment="l", policy=DeskPolicy(**policy))
        self.now_ns = NOW_NS
        self.price = Decimal(100)
        self.desk.deposit(Decimal(100_000), NOW_NS)

    @property
    def marks(self) -> dict[str, Mark | None]:
        return {NAME: Mark(price=self.price, ts_ns=self.now_ns)}

    def wish(self, action: Action) -> Work:
        wish = Wish(
            strategy="sma",
            trigger="timer",
            action=action,
            bar_close_ns=None,
            close_price=None,
            position_qty=Decimal(0),
            forecast=None,
        )
        return self.desk.wish(wish, self.marks, self.now_ns)

    def place(self, side: Side = Side.BUY, qty: str = "1", limit: str | None = "100", **more: Any) -> Work:
        price = None if limit is None else Decimal(limit)
        return self.wish(PlaceOrder(instrument=NAME, side=side, qty=Decimal(qty), limit_price=price, **more))

    def send(self, work: Work, wait_ns: int = 0) -> list[Send]:
        """Make it durable, which takes so long; return what leaves."""
        self.now_ns += wait_ns
        going, self.more = self.desk.release(work.send, self.marks, self.now_ns)
        return going

    def hold(self, side: Side = Side.BUY, qty: str = "1") -> None:
        """Come to hold a position."""
        (send,) = self.send(self.place(side, qty, None))
        assert isinstance(send.command, SubmitOrder)
        fill = filled(send.command.client_order_id, trade=f"h{self.now_ns}", qty=qty, side=side, at_ns=self.now_ns)
        self.desk.told(fill, self.now_ns)

    def snapshot(self, **more: Any) -> VenueSnapshot:
        about: dict[str, Any] = {"at_ms": NOW_MS, "began_ns": self.now_ns, "open_orders": (), "positions": ()}
        return VenueSnapshot(**(about | more))


def later(snapshot: VenueSnapshot, seconds: int = 2) -> VenueSnapshot:
    """Return the same, asked for so much later."""
    return replace(snapshot, began_ns=snapshot.began_ns + seconds * SECOND_NS)


def alerts(work: Work) -> list[str]:
    return [entry.code for entry in work.record if isinstance(entry, AlertRaised)]


def record(name: str, **more: Any) -> OrderRecord:
    about: dict[str, Any] = {
        "market": "linear",
        "client_order_id": name,
        "venue_order_id": f"v-{name}",
        "instrument": NAME,
        "side": Side.BUY,
        "state": OrderState.OPEN,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "qty": Decimal(1),
        "limit_price": Decimal(100),
        "trigger_price": None,
        "reduce_only": False,
        "filled_qty": Decimal(0),
        "filled_value": None,
        "origin": Origin.USER,
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }
    return OrderRecord(**(about | more))


def wallet_of(cash: str) -> WalletRecord:
    coin = CoinRecord(
        currency="USDT",
        wallet_balance=Decimal(cash),
        equity=Decimal(cash),
        unrealized_pnl=Decimal(0),
        locked=Decimal(0),
        borrowed=Decimal(0),
    )
    return WalletRecord(
        market="",
        total_equity_usd=None,
        available_usd=None,
        initial_margin_usd=None,
        maintenance_margin_usd=None,
        coins=(coin,),
    )


def position(qty: str, **more: Any) -> PositionRecord:
    about: dict[str, Any] = {
        "market": "linear",
        "instrument": NAME,
        "mode_index": 0,
        "qty": Decimal(qty),
        "entry_price": None,
        "mark_price": None,
        "leverage": None,
        "liquidation_price": None,
        "take_profit": None,
        "stop_loss": None,
        "trailing_distance": None,
        "is_reduce_only": False,
        "status": "Normal",
        "seq": 1,
        "updated_ms": NOW_MS,
    }
    return PositionRecord(**(about | more))


def execution(trade_id: str = "x1", **more: Any) -> ExecutionRecord:
    about: dict[str, Any] = {
        "market": "linear",
        "trade_id": trade_id,
        "client_order_id": "",
        "venue_order_id": "v9",
        "instrument": NAME,
        "side": Side.SELL,
        "kind": ExecutionKind.TRADE,
        "price": Decimal(101),
        "qty": Decimal("0.5"),
        "fee": Decimal("0.1"),
        "fee_currency": "USDT",
        "fee_rate": None,
        "is_maker": False,
        "order_type": None,
        "order_qty": None,
        "order_price": None,
        "leaves_qty": None,
        "origin": Origin.USER,
        "executed_ms": NOW_MS,
    }
    return ExecutionRecord(**(about | more))
