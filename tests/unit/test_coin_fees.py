"""Fees that are not taken in the quote currency: what the wallet must hold, however often they are told."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from bot.core.checkpoint import capture, decode, encode, restore
from bot.core.effects import Wish
from bot.core.money_state import MoneyState
from bot.core.orders import Orders
from bot.core.portfolio import Portfolio
from bot.core.protections import ProtectionLimits, Protections
from bot.core.reconcile import VenueSnapshot
from bot.core.restoring import Restorer
from bot.core.risk import Mark
from bot.core.submission.desk import LiveDesk
from bot.core.submission.ids import ClientOrderIds
from bot.core.submission.journal import RequestJournal
from bot.core.submission.requests import Terms
from bot.core.submission.work import Work
from bot.core.trading_state import Cause
from bot.core.venue.contract import btcusdt_spot
from bot.domain.account_events import ExternalFill, TransferBooked
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Side
from bot.domain.ledger import AlertRaised, FeeBooked, LedgerEntry
from bot.domain.orders import PlaceOrder, SubmitOrder
from bot.domain.venue_records import (
    BookingRecord,
    CoinRecord,
    ExecutionKind,
    ExecutionRecord,
    Origin,
    WalletRecord,
)
from tests.support.desk import DAY_NS, LIMITS, NOW_NS
from tests.support.money import SECOND_NS, dec, filled
from tests.support.venue_side import fee_paid

SPOT = replace(btcusdt_spot("BTCUSDT").instrument, kind="spot")
NAME = SPOT.name
MS = 1_000_000


class Bench:
    """A live desk that trades a spot pair; the account owns half a coin to begin with."""

    def __init__(self) -> None:
        instruments = {NAME: SPOT}
        orders = Orders(
            instruments=instruments,
            portfolio=Portfolio(instruments, "USDT"),
            limits=LIMITS,
            ids=ClientOrderIds(environment="l", epoch=1),
            is_restorable=True,
        )
        self.desk = LiveDesk(orders, Terms(), environment="l")
        self.now_ns = NOW_NS
        self.entries: list[LedgerEntry] = []
        self.alerts: list[str] = []
        self.keep(self.desk.deposit(dec(10_000), NOW_NS, {"BTC": dec("0.5"), "MNT": dec(3)}))

    @property
    def owned(self) -> dict[str, Decimal]:
        return self.desk.orders.state.portfolio.owned()

    def keep(self, work: Work) -> Work:
        self.entries += work.record
        self.alerts += [entry.code for entry in work.record if isinstance(entry, AlertRaised)]
        return work

    def told(self, event: Any) -> Work:
        return self.keep(self.desk.told(event, self.now_ns))

    def trade(self, side: Side, qty: str, price: str, trade: str, *, fee: str = "0") -> None:
        """Fill an order."""
        marks = {NAME: Mark(price=dec(price), ts_ns=self.now_ns)}
        action = PlaceOrder(instrument=NAME, side=side, qty=dec(qty), limit_price=dec(price))
        wish = Wish(
            strategy="s",
            trigger="timer",
            action=action,
            bar_close_ns=None,
            close_price=None,
            position_qty=Decimal(0),
            forecast=None,
        )
        (send,) = self.keep(self.desk.wish(wish, marks, self.now_ns)).send
        assert isinstance(send.command, SubmitOrder)
        name = send.command.client_order_id
        self.told(filled(name, trade=trade, qty=qty, price=price, side=side, fee=fee, at_ns=self.now_ns))

    def compare(self, **wallet: str) -> list[str]:
        """Return the alerts of two comparisons with a wallet that holds so much."""
        coins = tuple(
            CoinRecord(
                currency=coin,
                wallet_balance=dec(amount),
                equity=dec(amount),
                unrealized_pnl=dec(0),
                locked=dec(0),
                borrowed=dec(0),
            )
            for coin, amount in wallet.items()
        )
        record = WalletRecord(
            market="",
            total_equity_usd=None,
            available_usd=None,
            initial_margin_usd=None,
            maintenance_margin_usd=None,
            coins=coins,
        )
        self.alerts.clear()
        for _ in range(2):
            self.now_ns += 5 * SECOND_NS
            snapshot = VenueSnapshot(
                at_ms=self.now_ns // MS, began_ns=self.now_ns, open_orders=(), positions=(), wallet=record
            )
            self.keep(self.desk.reconcile(snapshot, self.now_ns))
        return self.alerts


def test_a_spot_buy_pays_in_the_coin_that_it_brings() -> None:
    """The position is what the wallet holds; the profit counts the fee at its execution's price."""
    bench = Bench()
    bench.trade(Side.BUY, "0.1", "50000", "1")
    bench.told(fee_paid("t1", "0.0001", "BTC", price="50000"))
    bench.trade(Side.SELL, "0.05", "60000", "2", fee="3")
    assert bench.owned == {"USDT": dec(10_000 - 5_000 + 3_000 - 3), "BTC": dec("0.5499"), "MNT": dec(3)}
    position = bench.desk.orders.state.portfolio.positions[NAME]
    assert position.qty == dec("0.0499")
    assert position.fees == 5 + 3
    assert position.realized_pnl == 500
    assert bench.desk.orders.state.portfolio.cash == 10_000 + 500 - 8
    assert bench.alerts == []
    assert bench.compare(USDT="7997", BTC="0.5499", MNT="3") == []


def test_a_fee_is_booked_once_however_often_it_is_told() -> None:
    bench = Bench()
    bench.trade(Side.BUY, "0.1", "50000", "1")
    for _ in range(3):
        bench.told(fee_paid("t1", "0.0001", "BTC", price="50000"))
    bench.told(fee_paid("t1", "0.0002", "BTC", price="50000", number=1))
    assert [entry.position_qty for entry in bench.entries if isinstance(entry, FeeBooked)] == [
        dec("0.0999"),
        dec("0.0997"),
    ]
    restored = _restored(bench)
    paid = fee_paid("t1", "0.0001", "BTC", price="50000")
    assert restored.books.fee(paid, NOW_NS, forget_before_ns=0) == []


def test_a_rebate_in_the_coin_makes_the_position_larger() -> None:
    bench = Bench()
    bench.trade(Side.BUY, "0.1", "50000", "1")
    bench.told(fee_paid("t1", "-0.0001", "BTC", price="50000"))
    position = bench.desk.orders.state.portfolio.positions[NAME]
    assert (position.qty, position.fees) == (dec("0.1001"), dec(-5))
    assert bench.owned["BTC"] == dec("0.6001")
    assert bench.owned["USDT"] == 5_000


def test_a_fee_in_a_third_coin_is_taken_from_that_coin_and_told() -> None:
    """The books have no price of it: equity does not know, and a person should."""
    bench = Bench()
    bench.trade(Side.BUY, "0.1", "50000", "1")
    bench.told(fee_paid("t1", "0.25", "MNT", price="50000"))
    assert bench.alerts == ["FEE_IN_OTHER_COIN"]
    assert bench.owned == {"USDT": dec(5_000), "BTC": dec("0.6"), "MNT": dec("2.75")}
    (booked,) = [entry for entry in bench.entries if isinstance(entry, FeeBooked)]
    assert booked.value is None
    assert [(leg.account, leg.currency, leg.amount) for leg in booked.postings] == [
        ("fees", "MNT", dec("0.25")),
        ("coins", "MNT", dec("-0.25")),
    ]


def test_the_fold_of_the_entries_is_the_state() -> None:
    """And so is a checkpoint."""
    bench = Bench()
    bench.trade(Side.BUY, "0.1", "50000", "1")
    bench.told(fee_paid("t1", "0.0001", "BTC", price="50000"))
    bench.told(fee_paid("t1", "0.25", "MNT", price="50000", number=1))
    bench.compare(USDT="5000", BTC="0.5999", MNT="2.75")
    state = bench.desk.orders.state
    assert capture(_restored(bench)) == capture(state)
    kept = decode(encode(capture(state)))
    again = _empty()
    restore(kept, again, RequestJournal(0))
    assert capture(again) == capture(state)


def test_a_fee_that_the_fold_does_not_lead_to_is_refused() -> None:
    bench = Bench()
    bench.trade(Side.BUY, "0.1", "50000", "1")
    bench.told(fee_paid("t1", "0.0001", "BTC", price="50000"))
    bench.entries = [
        replace(entry, position_qty=dec("0.1")) if isinstance(entry, FeeBooked) else entry for entry in bench.entries
    ]
    with pytest.raises(InvariantBroken, match="does not lead to"):
        _restored(bench)


def test_what_somebody_else_paid_in_the_coin_counts_too() -> None:
    bench = Bench()
    made = ExecutionRecord(
        market="spot",
        trade_id="x1",
        client_order_id="",
        venue_order_id="v",
        instrument=NAME,
        side=Side.BUY,
        kind=ExecutionKind.TRADE,
        price=dec(50_000),
        qty=dec("0.02"),
        fee=dec("0.00002"),
        fee_currency="BTC",
        fee_rate=None,
        extra_fees=(("MNT", dec("0.5")),),
        is_maker=False,
        order_type=None,
        order_qty=None,
        order_price=None,
        leaves_qty=None,
        origin=Origin.USER,
        executed_ms=NOW_NS // MS,
    )
    for _ in range(2):
        bench.told(ExternalFill(ts_event_ns=NOW_NS, ts_recv_ns=NOW_NS, execution=made))
    assert bench.owned == {"USDT": dec(9_000), "BTC": dec("0.51998"), "MNT": dec("2.5")}


@pytest.mark.parametrize(
    ("wallet", "code", "cause"),
    [
        ({"USDT": "10000", "BTC": "0.4", "MNT": "3"}, "POSITION_DIFFERS", Cause.RECONCILE),
        ({"USDT": "9000", "BTC": "0.5", "MNT": "3"}, "BALANCE_DIFFERS", Cause.RECONCILE),
        ({"USDT": "10000", "BTC": "0.5", "MNT": "3", "XRP": "7"}, "COIN_DIFFERS", None),
    ],
)
def test_a_coin_that_differs_is_noticed_at_the_second_look(
    wallet: dict[str, str], code: str, cause: Cause | None
) -> None:
    """One that is traded stops trading there, cash stops new risk anywhere, and others are told once."""
    bench = Bench()
    assert bench.compare(**wallet) == [code]
    hold = bench.desk.orders.state.hold(NAME)
    assert (None if hold is None else hold.cause) == cause
    assert set(bench.compare(**wallet)) <= {"POSITION_DIFFERS"}


def test_coins_that_come_and_go_are_booked() -> None:
    bench = Bench()
    booking = BookingRecord(
        market="",
        booking_id="b1",
        kind="TRANSFER_OUT",
        currency="BTC",
        instrument="",
        trade_id="",
        qty=None,
        cash_flow=dec("-0.2"),
        funding=dec(0),
        fee=dec(0),
        change=dec("-0.2"),
        balance=dec("0.3"),
        booked_ms=NOW_NS // MS,
    )
    for _ in range(2):
        bench.told(TransferBooked(ts_event_ns=NOW_NS, ts_recv_ns=NOW_NS, booking=booking))
    assert bench.owned == {"USDT": dec(10_000), "BTC": dec("0.3"), "MNT": dec(3)}
    assert capture(_restored(bench)) == capture(bench.desk.orders.state)


def test_dust_is_nothing_to_close() -> None:
    """A fee in the coin leaves less than a step: an exit would be refused for ever."""
    bench = Bench()
    bench.trade(Side.BUY, "0.1", "50000", "1")
    bench.told(fee_paid("t1", "0.0000001", "BTC", price="50000"))
    state = bench.desk.orders.state
    assert state.closable_qty(NAME) == dec("0.099999")
    bench.trade(Side.SELL, "0.099999", "50000", "2")
    assert 0 < state.position_qty(NAME) < SPOT.qty_min
    assert state.closable_qty(NAME) == 0
    assert bench.desk.close(NAME, "home", {}, bench.now_ns).is_empty


def test_an_execution_is_known_as_long_as_it_may_be_told_again() -> None:
    """After days away the venue is asked from the last comparison on: what was done shortly before is told again."""
    bench = Bench()
    bench.trade(Side.BUY, "0.1", "50000", "1")
    bench.told(fee_paid("t1", "0.0001", "BTC", price="50000"))
    bench.compare(USDT="5000", BTC="0.5999", MNT="3")
    first = next(iter(bench.desk.orders.state.orders))
    bench.now_ns += 5 * DAY_NS
    bench.trade(Side.BUY, "0.1", "50000", "2")  # the first order to end since
    bench.alerts.clear()
    before = bench.owned
    bench.told(filled(first, trade="1", qty="0.1", price="50000", at_ns=NOW_NS))
    bench.told(fee_paid("t1", "0.0001", "BTC", price="50000"))
    assert bench.owned == before
    assert bench.alerts == []
    assert capture(_restored(bench)) == capture(bench.desk.orders.state)


def _empty() -> MoneyState:
    instruments = {NAME: SPOT}
    return MoneyState(
        instruments=instruments,
        portfolio=Portfolio(instruments, "USDT"),
        protections=Protections(ProtectionLimits()),
        sends_max=LIMITS.orders_per_second_max,
    )


def _restored(bench: Bench) -> MoneyState:
    restorer = Restorer(_empty())
    restorer.add_all(bench.entries)
    return restorer.state
