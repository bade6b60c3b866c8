"""Books whatever moves money: executions, ours and the venue's own, funding, and what the venue's fund makes good.

Each execution, settlement and adjustment is booked once, by the venue's id of it, however often it is told.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal, DecimalException
from itertools import takewhile

from bot.core.order import Order
from bot.core.portfolio import Portfolio
from bot.core.protections import Protections
from bot.core.risk import Marks
from bot.domain.account import ZERO, Position, Posting
from bot.domain.errors import InvariantBroken
from bot.domain.ledger import (
    AdjustmentBooked,
    EquityMarked,
    ExternalFillBooked,
    FeeBooked,
    FillBooked,
    FundingBooked,
    LedgerEntry,
    PositionCutBooked,
    TradingStateChanged,
    TransferBooked,
)
from bot.domain.orders import (
    AccountEvent,
    CashAdjusted,
    FeePaid,
    ForeignFilled,
    FundingPaid,
    OrderFilled,
    PositionCut,
    Transferred,
)

_ROUNDING = Decimal("1e-9")  # quote currency: what sums of 28 digits may differ by in another order


class Books:
    """The account's books, and the protections that watch them.

    Args:
        portfolio: positions and cash.
        protections: are told of every execution and settlement.
    """

    def __init__(self, portfolio: Portfolio, protections: Protections) -> None:
        self._portfolio = portfolio
        self._protections = protections
        self._cuts: set[tuple[str, str]] = set()
        self._settled: set[str] = set()
        self._fees: dict[tuple[str, str, int], int] = {}  # booked, and when; the oldest first

    def position(self, instrument: str) -> Position:
        """Return what is held; flat for an instrument that is not traded."""
        return self._portfolio.positions.get(instrument) or Position(instrument=instrument)

    def fill(self, fill: OrderFilled, *, is_first: bool, order: Order, now_ns: int) -> list[LedgerEntry]:
        """Book an execution of `order`, which counts it already; return the entries."""
        qty_before = self._portfolio.positions[fill.instrument].qty
        realized, postings = self._portfolio.fill(fill)
        entry = FillBooked(
            ts_ns=now_ns,
            status=order.status,
            fill=fill,
            position_qty=self._portfolio.positions[fill.instrument].qty,
            realized_pnl=realized,
            postings=postings,
        )
        changed = self._protections.see_fill(
            fill, realized_pnl=realized, qty_before=qty_before, is_first=is_first, now_ns=now_ns
        )
        return [entry, *changed]

    def is_booked(self, instrument: str, trade_id: str) -> bool:
        """Return whether an execution has been booked as one of no order of ours."""
        return (instrument, trade_id) in self._cuts

    def booked(self) -> tuple[list[tuple[str, str]], list[str]]:
        """Return what has been booked by its id: executions of no order of ours, settlements and the like."""
        return sorted(self._cuts), sorted(self._settled)

    def booked_fees(self) -> list[tuple[str, str, int, int]]:
        """Return the fees in other coins that were booked of late: instrument, execution, number, and when."""
        return [(*key, ts_ns) for key, ts_ns in self._fees.items()]

    def restore(
        self,
        cuts: Iterable[tuple[str, str]],
        settled: Iterable[str],
        fees: Iterable[tuple[str, str, int, int]] = (),
    ) -> None:
        """Count these as booked."""
        self._cuts.update(cuts)
        self._settled.update(settled)
        self._fees.update({(instrument, trade, number): ts_ns for instrument, trade, number, ts_ns in fees})

    def cut(self, cut: PositionCut, now_ns: int) -> list[LedgerEntry]:
        """Book an execution of the venue's own; return the entries, none for a repeat.

        Raises:
            InvariantBroken: of an instrument that is not traded, or with impossible numbers.
        """
        booked = self._execute(cut, f"the venue's execution {cut.trade_id}", now_ns)
        if booked is None:
            return []
        qty, realized, postings, changed = booked
        entry = PositionCutBooked(ts_ns=now_ns, cut=cut, position_qty=qty, realized_pnl=realized, postings=postings)
        return [entry, *changed]

    def foreign(self, fill: ForeignFilled, now_ns: int) -> list[LedgerEntry]:
        """Book an execution of somebody else on our account; return the entries, none for a repeat.

        Raises:
            InvariantBroken: of an instrument that is not traded, or with impossible numbers.
        """
        booked = self._execute(fill, f"the foreign execution {fill.trade_id}", now_ns)
        if booked is None:
            return []
        qty, realized, postings, changed = booked
        entry = ExternalFillBooked(ts_ns=now_ns, fill=fill, position_qty=qty, realized_pnl=realized, postings=postings)
        return [entry, *changed]

    def _execute(
        self, fill: PositionCut | ForeignFilled, what: str, now_ns: int
    ) -> tuple[Decimal, Decimal, tuple[Posting, ...], list[TradingStateChanged]] | None:
        """Book what no order of ours did; return the position, what was realized, the postings, and what is news."""
        self._know(fill.instrument, what)
        is_finite = fill.qty.is_finite() and fill.price.is_finite() and fill.fee.is_finite()
        if not (is_finite and fill.qty > 0 and fill.price > 0):
            raise InvariantBroken(f"{what} has impossible numbers")
        if (fill.instrument, fill.trade_id) in self._cuts:
            return None
        self._cuts.add((fill.instrument, fill.trade_id))
        qty_before = self._portfolio.positions[fill.instrument].qty
        realized, postings = self._portfolio.fill(fill)
        changed = self._protections.see_fill(
            fill, realized_pnl=realized, qty_before=qty_before, is_first=False, now_ns=now_ns
        )
        return self._portfolio.positions[fill.instrument].qty, realized, postings, changed

    def funding(self, funding: FundingPaid, now_ns: int) -> list[LedgerEntry]:
        """Book a settlement; return the entries, none for a repeat.

        Raises:
            InvariantBroken: of an instrument that is not traded, or the amount is no number.
        """
        self._know(funding.instrument, "funding")
        if not funding.amount.is_finite():
            raise InvariantBroken(f"funding {funding.funding_id}: the amount is {funding.amount}")
        if funding.funding_id in self._settled:
            return []
        self._settled.add(funding.funding_id)
        postings = self._portfolio.funding(funding)
        self._protections.see_funding(funding.instrument, funding.amount)
        return [FundingBooked(ts_ns=now_ns, funding=funding, postings=postings)]

    def fee(self, paid: FeePaid, now_ns: int, *, forget_before_ns: int) -> list[LedgerEntry]:
        """Book a fee in another coin; return the entries, none for a repeat.

        Args:
            paid: the fee.
            now_ns: our clock.
            forget_before_ns: what was booked before is told by nobody any more.

        Raises:
            InvariantBroken: of an instrument that is not traded, or with impossible numbers.
        """
        what = f"fee {paid.fee_number} of {paid.trade_id}"
        self._know(paid.instrument, what)
        if not (paid.amount.is_finite() and paid.price.is_finite() and paid.price > 0):
            raise InvariantBroken(f"{what} has impossible numbers")
        key = (paid.instrument, paid.trade_id, paid.fee_number)
        if key in self._fees:
            return []
        for old in [each for each, ts_ns in _while_before(self._fees, forget_before_ns)]:
            del self._fees[old]
        self._fees[key] = now_ns
        value, realized, postings = self._portfolio.fee(paid)
        if value is not None:
            self._protections.see_funding(paid.instrument, realized - value)
        qty = self._portfolio.positions[paid.instrument].qty
        return [
            FeeBooked(ts_ns=now_ns, fee=paid, value=value, position_qty=qty, realized_pnl=realized, postings=postings)
        ]

    def adjustment(self, adjustment: CashAdjusted, now_ns: int) -> list[LedgerEntry]:
        """Book a change of the balance by the venue; return the entries, none for a repeat.

        Raises:
            InvariantBroken: the amount is no number.
        """
        if not adjustment.amount.is_finite():
            raise InvariantBroken(f"adjustment {adjustment.adjustment_id}: the amount is {adjustment.amount}")
        if adjustment.adjustment_id in self._settled:
            return []
        self._settled.add(adjustment.adjustment_id)
        postings = self._portfolio.adjust(adjustment)
        return [AdjustmentBooked(ts_ns=now_ns, adjustment=adjustment, postings=postings)]

    def transfer(self, made: Transferred, now_ns: int) -> list[LedgerEntry]:
        """Book what came from outside or went there; return the entries, none for a repeat.

        Raises:
            InvariantBroken: the amount is no number.
        """
        if not made.amount.is_finite():
            raise InvariantBroken(f"transfer {made.transfer_id}: the amount is {made.amount}")
        if made.transfer_id in self._settled:
            return []
        self._settled.add(made.transfer_id)
        postings = self._portfolio.transfer(made)
        is_cash = made.currency in ("", self._portfolio.currency)
        if is_cash and made.kind.startswith("TRANSFER"):  # what the venue charges or gives is a loss or a profit
            self._protections.deposit(made.amount, now_ns)
        return [TransferBooked(ts_ns=now_ns, transfer=made, postings=postings)]

    def mark(self, marks: Marks, now_ns: int) -> list[LedgerEntry]:
        """Return the entry of what the account is worth, none where a held instrument has no price yet."""
        held = {name: marks.get(name) for name, p in self._portfolio.positions.items() if p.qty}
        prices = {name: mark.price for name, mark in held.items() if mark is not None}
        if len(prices) < len(held):
            return []
        unrealized = self._portfolio.unrealized_pnl(prices)
        return [
            EquityMarked(
                ts_ns=now_ns,
                cash=self._portfolio.cash,
                unrealized_pnl=unrealized,
                equity=self._portfolio.cash + unrealized,
                marks=tuple(
                    (name, self._portfolio.positions[name].qty, price) for name, price in sorted(prices.items())
                ),
            )
        ]

    def equity(self, marks: Marks) -> Decimal | None:
        """Return cash and unrealized profit: None where a held instrument has no mark, NaN beyond all reckoning."""
        equity = self._portfolio.cash
        try:
            for name, position in self._portfolio.positions.items():
                if position.qty:
                    mark = marks.get(name)
                    if mark is None:
                        return None
                    equity += position.unrealized_pnl(mark.price)
        except DecimalException:
            return Decimal("NaN")
        return equity

    def _know(self, instrument: str, what: str) -> None:
        if instrument not in self._portfolio.positions:
            raise InvariantBroken(f"{what} of {instrument}, which is not traded in this run")


def _while_before(
    times: Mapping[tuple[str, str, int], int], before_ns: int
) -> Iterable[tuple[tuple[str, str, int], int]]:
    return takewhile(lambda item: item[1] < before_ns, times.items())


def differences(
    portfolio: Portfolio, *, cash: Decimal, positions: Mapping[str, Position], untold: Iterable[AccountEvent]
) -> list[str]:
    """Return where our books and the venue's contradict each other, in words that name both sides.

    Quantities must be equal, and so must cash less what the open positions cost. The two parts of that alone need not
    be: they depend on the order in which executions are booked, and ours come to us in the order of their delays.

    Args:
        portfolio: our books.
        cash: the venue's balance.
        positions: the venue's, by instrument.
        untold: what the venue has done and we have not been told of yet.
    """
    qty = {name: position.qty for name, position in portfolio.positions.items()}
    worth = portfolio.cash - sum((position.entry_value for position in portfolio.positions.values()), ZERO)
    for event in untold:
        match event:
            case OrderFilled() | PositionCut() | ForeignFilled():
                signed = event.qty * event.side.sign
                qty[event.instrument] = qty.get(event.instrument, ZERO) + signed
                worth -= signed * event.price + event.fee
            case FundingPaid() | CashAdjusted():
                worth += event.amount
            case Transferred() if event.currency in ("", portfolio.currency):
                worth += event.amount
            case _:
                pass  # it moves no money
    found = []
    for name in sorted(qty.keys() | positions.keys()):
        ours, theirs = qty.get(name, ZERO), positions[name].qty if name in positions else ZERO
        if ours != theirs:
            found.append(f"of {name} we hold {ours:f}, and the venue says {theirs:f}")
    venue_worth = cash - sum((position.entry_value for position in positions.values()), ZERO)
    if not abs(worth - venue_worth) <= _ROUNDING:
        found.append(f"cash less the cost of open positions is {worth:f} here, and {venue_worth:f} at the venue")
    return found
