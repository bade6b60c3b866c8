"""What a ledger's entry is worth telling a person, in one line."""

from decimal import Decimal

from bot.core.trading_state import TradingState
from bot.domain.ledger import (
    AlertRaised,
    DoubtOpened,
    DoubtResolved,
    ExternalFillBooked,
    FillBooked,
    FundingBooked,
    IntentDropped,
    LedgerBalanced,
    LedgerEntry,
    PositionCutBooked,
    Reconciled,
    RiskDenied,
    TradingStateChanged,
    TransferBooked,
)
from bot.domain.operation import Notice, Severity
from bot.domain.orders import StopKind

_AGAINST_US = (StopKind.LIQUIDATION, StopKind.DELEVERAGING)
_SEVERITY = {
    TradingState.ACTIVE.value: Severity.INFO,
    TradingState.REDUCING.value: Severity.WARNING,
    TradingState.HALTED.value: Severity.ERROR,
}


def notice_of(entry: LedgerEntry) -> Notice | None:
    """Return the notice of an entry, None where it is of no interest by itself."""
    match entry:
        case FillBooked(fill=fill):
            text = f"{fill.side.value} {plain(fill.qty)} {fill.instrument} at {plain(fill.price)}"
            booked = f"realized {_amount(entry.realized_pnl)}, fee {_amount(fill.fee)}"
            return _notice(
                entry,
                "order.filled",
                Severity.INFO,
                f"{text}; now {plain(entry.position_qty)}, {booked}",
                fill.instrument,
                client_order_id=fill.client_order_id,
            )
        case PositionCutBooked(cut=cut):
            severity = Severity.CRITICAL if cut.cause in _AGAINST_US else Severity.INFO
            text = f"{cut.cause.value}: {cut.side.value} {plain(cut.qty)} {cut.instrument} at {plain(cut.price)}"
            return _notice(entry, "position.cut", severity, f"{text}; now {plain(entry.position_qty)}", cut.instrument)
        case ExternalFillBooked(fill=foreign):
            text = f"not ours: {foreign.side.value} {plain(foreign.qty)} {foreign.instrument} at {plain(foreign.price)}"
            return _notice(entry, "account.traded_by_others", Severity.ERROR, text, foreign.instrument)
        case FundingBooked(funding=paid):
            text = f"funding of {paid.instrument}: {plain(paid.amount)}"
            return _notice(entry, "funding.booked", Severity.INFO, text, paid.instrument)
        case TransferBooked(transfer=moved):
            text = f"{moved.kind}: {plain(moved.amount)} {moved.currency}".strip()
            return _notice(entry, "cash.transferred", Severity.WARNING, text)
        case LedgerBalanced(differences=differences) if differences:
            text = f"the venue's log of transactions differs: {'; '.join(differences)}"
            return _notice(entry, "ledger.differs", Severity.ERROR, text)
        case DoubtOpened():
            text = f"nobody knows what came of {entry.request}: {entry.why}"
            return _notice(entry, "order.doubted", Severity.WARNING, text, entry.instrument, request=entry.request)
        case DoubtResolved():
            severity = Severity.ERROR if entry.outcome == "resurfaced" else Severity.INFO
            text = f"{entry.request} is {entry.outcome}: {entry.evidence}"
            return _notice(entry, "order.doubt_resolved", severity, text, entry.instrument, request=entry.request)
        case IntentDropped():
            text = f"{entry.client_order_id} was not sent: {entry.why}"
            return _notice(entry, "order.dropped", Severity.INFO, text, entry.instrument)
        case RiskDenied():
            return _notice(
                entry,
                "order.denied",
                Severity.INFO,
                f"an order was refused by the gate, {entry.code}: {entry.detail}",
                entry.instrument,
                code=entry.code,
            )
        case AlertRaised():
            text = f"{entry.code}: {entry.detail}"
            return _notice(entry, "alert.raised", Severity.ERROR, text, entry.instrument, code=entry.code)
        case Reconciled(differences=differences) if differences:
            return _notice(entry, "account.differs", Severity.ERROR, "; ".join(differences))
        case Reconciled(healed=healed) if healed:
            return _notice(entry, "account.healed", Severity.WARNING, "; ".join(healed))
        case TradingStateChanged():
            where = "the account" if entry.scope == "account" else entry.scope
            text = f"{where} is {entry.in_force}: {entry.cause}, {entry.detail or entry.signal}"
            severity = _SEVERITY.get(entry.in_force, Severity.ERROR)
            instrument = "" if entry.scope == "account" else entry.scope
            return _notice(entry, f"state.{entry.in_force}", severity, text, instrument, cause=entry.cause)
        case _:
            return None


def plain(number: Decimal) -> str:
    """Return a number as people write it."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _amount(number: Decimal) -> str:
    """Return an amount to four places: what a person wants of it."""
    return plain(round(number, 4) + 0)


def _notice(entry: LedgerEntry, kind: str, severity: Severity, text: str, instrument: str = "", **keys: str) -> Notice:
    return Notice(
        ts_ns=entry.ts_ns,
        kind=kind,
        severity=severity,
        text=text,
        instrument=instrument,
        keys=tuple(keys.items()),
    )
