"""What a ledger's entry is worth telling: the right words, the right urgency, nothing of what is routine."""

from decimal import Decimal

import pytest

from bot.core.notices import notice_of, plain
from bot.domain.instrument import Side
from bot.domain.ledger import (
    AlertRaised,
    Deposited,
    DoubtOpened,
    DoubtResolved,
    FillBooked,
    LedgerEntry,
    PositionCutBooked,
    Reconciled,
    TradingStateChanged,
)
from bot.domain.operation import Severity
from bot.domain.orders import OrderFilled, PositionCut, StopKind


def _state(in_force: str) -> TradingStateChanged:
    return TradingStateChanged(
        ts_ns=5,
        scope="account",
        cause="drawdown",
        signal="halt",
        before="active",
        after=in_force,
        in_force=in_force,
        detail="lost 31 %",
    )


def _cut(cause: StopKind) -> PositionCutBooked:
    cut = PositionCut(
        ts_event_ns=4,
        ts_recv_ns=5,
        instrument="BTCUSDT",
        trade_id="t1",
        cause=cause,
        side=Side.SELL,
        price=Decimal("60000.10"),
        qty=Decimal("0.0100"),
        fee=Decimal("0.33"),
    )
    return PositionCutBooked(ts_ns=5, cut=cut, position_qty=Decimal(0), realized_pnl=Decimal(-1), postings=())


@pytest.mark.parametrize(
    ("entry", "kind", "severity"),
    [
        (_state("halted"), "state.halted", Severity.ERROR),
        (_state("reducing"), "state.reducing", Severity.WARNING),
        (_state("active"), "state.active", Severity.INFO),
        (_cut(StopKind.STOP_LOSS), "position.cut", Severity.INFO),
        (_cut(StopKind.LIQUIDATION), "position.cut", Severity.CRITICAL),
        (AlertRaised(ts_ns=5, code="FOREIGN_ORDER", instrument="", detail="x"), "alert.raised", Severity.ERROR),
        (
            DoubtOpened(ts_ns=5, request="create:a", client_order_id="a", instrument="BTCUSDT", why="no answer"),
            "order.doubted",
            Severity.WARNING,
        ),
        (
            DoubtResolved(
                ts_ns=5,
                request="create:a",
                client_order_id="a",
                instrument="BTCUSDT",
                outcome="resurfaced",
                evidence="a look-up found it",
                margin_ms=2_000,
            ),
            "order.doubt_resolved",
            Severity.ERROR,
        ),
        (
            Reconciled(ts_ns=5, at_ms=1, checked=(), differences=("of BTC we hold 1",)),
            "account.differs",
            Severity.ERROR,
        ),
        (Reconciled(ts_ns=5, at_ms=1, checked=(), healed=("looked up",)), "account.healed", Severity.WARNING),
    ],
)
def test_what_matters_is_told_with_its_urgency(entry: LedgerEntry, kind: str, severity: Severity) -> None:
    """The kind is stable, for whoever filters; the urgency decides whom it wakes."""
    notice = notice_of(entry)
    assert notice is not None
    assert (notice.kind, notice.severity, notice.ts_ns) == (kind, severity, 5)
    assert notice.text


def test_a_fill_says_what_a_person_wants_to_know() -> None:
    """Side, quantity, price, what is held now, what it earned and cost."""
    fill = OrderFilled(
        ts_event_ns=4,
        ts_recv_ns=5,
        client_order_id="p000001-sma-000000001",
        instrument="BTCUSDT",
        trade_id="t1",
        side=Side.BUY,
        price=Decimal("60000.10"),
        qty=Decimal("0.0100"),
        fee=Decimal("0.3300"),
        is_maker=False,
    )
    booked = FillBooked(
        ts_ns=5, status="filled", fill=fill, position_qty=Decimal("0.01"), realized_pnl=Decimal(0), postings=()
    )
    notice = notice_of(booked)
    assert notice is not None
    assert notice.text == "buy 0.01 BTCUSDT at 60000.1; now 0.01, realized 0, fee 0.33"
    assert notice.keys == (("client_order_id", "p000001-sma-000000001"),)


def test_what_is_routine_is_not_told() -> None:
    """A deposit at the start, and a comparison that found nothing."""
    assert notice_of(Deposited(ts_ns=1, postings=())) is None
    assert notice_of(Reconciled(ts_ns=1, at_ms=1, checked=("positions",))) is None


@pytest.mark.parametrize(("number", "text"), [("100", "100"), ("1E+3", "1000"), ("0.10", "0.1"), ("0.00", "0")])
def test_numbers_are_plain(number: str, text: str) -> None:
    """No exponent, no zeros that say nothing."""
    assert plain(Decimal(number)) == text
