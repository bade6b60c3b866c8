"""Compares our books with what the venue says: open orders, positions, balance, protection.

Executions and bookings that we missed are fed to the desk before this, like any other news; what is compared here is
what should then agree. A difference heals by asking (an order that is open here alone is looked up), by canceling (an
exit of nothing), or, when it is still there at the next comparison, stops trading where it is, with a line that names
both sides. docs/reconciliation.md.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from bot.core.execution.legs import leg_of
from bot.core.money_state import MoneyState
from bot.core.order import Order
from bot.core.submission.ids import parse_id
from bot.domain.account import ZERO
from bot.domain.instrument import Side
from bot.domain.orders import Leg
from bot.domain.venue_records import OrderRecord, Origin, PositionRecord, WalletRecord

_MS = 1_000_000
_BALANCE_TOLERANCE = Decimal("1e-6")  # quote currency: what the venue rounds each booking to, summed over a day
_ENTRY_TOLERANCE = Decimal("1e-8")  # a fraction: what the venue rounds an entry price to
_COIN_TOLERANCE = Decimal("1e-8")  # of any other: they are booked as they are


class VenueSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue says of the account, asked for within a moment. None: it was not asked for."""

    at_ms: int  # the venue's clock, of the earliest answer
    began_ns: int  # our clock, before the first was asked: what moved since is not judged
    open_orders: tuple[OrderRecord, ...]
    positions: tuple[PositionRecord, ...]  # an instrument that is not among them is flat
    wallet: WalletRecord | None = None
    margin_mode: str = ""  # the venue's word; "" where it was not told


class Remedy(StrEnum):
    """What a finding asks for."""

    LOOK_UP = "look_up"  # the order
    LOOK_UP_FILLS = "look_up_fills"  # of the instrument's orders
    LOOK_AGAIN = "look_again"  # in a moment: what is new may be no more than news on its way
    CANCEL = "cancel"  # the order
    HOLD_BACK = "hold_back"  # the instrument, until a person has looked
    REDUCE_ACCOUNT = "reduce_account"  # only exits anywhere, until a person has looked
    ALERT = "alert"  # tell a person, once


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something on which the two do not agree."""

    code: str  # stable: docs/reconciliation.md
    instrument: str  # "" for the account
    line: str
    remedy: Remedy
    client_order_id: str = ""

    @property
    def is_healing(self) -> bool:
        """Return whether the remedy explains the difference, or will."""
        return self.remedy in (Remedy.LOOK_UP, Remedy.LOOK_UP_FILLS, Remedy.LOOK_AGAIN, Remedy.CANCEL)


class Reconciler:
    """Compares, and remembers what it found before: what is new may be no more than news on its way.

    Args:
        environment: the letter of this bot's ids.
        currency: the account's.
        young_ns: movements that are younger than so long are not judged, and differences not acted upon.
    """

    def __init__(self, *, environment: str, currency: str = "USDT", young_ns: int = 2_000_000_000) -> None:
        self._environment = environment
        self._currency = currency
        self._young_ns = young_ns
        self._switched: set[str] = set()  # instruments whose other mode a person has been told of
        self._positions: dict[str, tuple[tuple[Decimal, Decimal], int]] = {}  # differing: ours, theirs; since when
        self._balances: dict[str, tuple[Decimal, int]] = {}  # the same, by currency
        self._open_there: dict[str, int] = {}  # the same: orders that are open there alone
        self._told: set[str] = set()  # foreign orders
        self._coins_told: set[str] = set()  # that differ, are not traded, and that a person has been told of

    def compare(
        self,
        state: MoneyState,
        snapshot: VenueSnapshot,
        *,
        in_flight: Sequence[str] = (),
        moved_ns: Mapping[str, int] | None = None,
        ended_ns: Mapping[str, int] | None = None,
    ) -> list[Finding]:
        """Return what the two do not agree on.

        Args:
            state: ours.
            snapshot: the venue's.
            in_flight: client order ids with requests on their way or in doubt: what came of them is being found out.
            moved_ns: by instrument, when an execution was last booked.
            ended_ns: by order, when it ended by the venue's clock: an answer from before that says nothing of it.
        """
        found = self._orders(state, snapshot, frozenset(in_flight), ended_ns or {})
        found += self._judge_positions(state, snapshot, moved_ns or {})
        if snapshot.wallet is not None:
            found += self._judge_wallet(state, snapshot, snapshot.wallet, moved_ns or {})
        return found

    def _orders(
        self, state: MoneyState, snapshot: VenueSnapshot, in_flight: frozenset[str], ended_ns: Mapping[str, int]
    ) -> list[Finding]:
        found = []
        there: set[str] = set()
        before, self._open_there = self._open_there, {}
        for record in snapshot.open_orders:
            name = record.client_order_id
            order = state.orders.get(name) if name else None
            if order is not None:
                there.add(name)
                if not order.is_live and ended_ns.get(name, 0) <= snapshot.at_ms * _MS:
                    since_ns = self._open_there[name] = before.get(name, snapshot.began_ns)
                    found.append(_open_there(order, record, is_old=self._is_old(since_ns, snapshot)))
            elif record.origin is Origin.USER or name:
                found += self._judge_foreign(record)
        for live in state.live.values():
            for name, order in live.items():
                if name in there or name in in_flight:
                    continue
                line = f"{name} is open here, and not at the venue"
                found.append(
                    Finding(
                        code="OPEN_HERE_ALONE",
                        instrument=order.request.instrument,
                        line=line,
                        remedy=Remedy.LOOK_UP,
                        client_order_id=name,
                    )
                )
        return found + _orphans(state, there)

    def _judge_foreign(self, record: OrderRecord) -> list[Finding]:
        if record.venue_order_id in self._told:
            return []
        self._told.add(record.venue_order_id)
        parsed = parse_id(record.client_order_id)
        about = f"{record.client_order_id or record.venue_order_id}: {record.side.value} {record.qty}"
        if parsed is not None and parsed.environment == self._environment:
            line = f"an order carries our name and is not in the ledger, {about}; was an older ledger restored?"
            code, remedy = "UNKNOWN_OF_OURS", Remedy.HOLD_BACK
        else:
            line, code, remedy = f"somebody else has an open order, {about}", "FOREIGN_ORDER", Remedy.ALERT
        return [
            Finding(
                code=code,
                instrument=record.instrument,
                line=line,
                remedy=remedy,
                client_order_id=record.client_order_id,
            )
        ]

    def _judge_positions(
        self, state: MoneyState, snapshot: VenueSnapshot, moved_ns: Mapping[str, int]
    ) -> list[Finding]:
        found = self._judge_legs(state, snapshot)
        theirs: dict[str, Decimal] = {}
        for position in snapshot.positions:  # in hedge mode there are two of an instrument
            theirs[position.instrument] = theirs.get(position.instrument, ZERO) + position.qty
        before, self._positions = self._positions, {}
        for name in sorted(state.portfolio.positions.keys() | theirs.keys()):
            held = state.portfolio.positions.get(name)
            here, there = ZERO if held is None else held.qty, theirs.get(name, ZERO)
            if name in state.instruments and state.instruments[name].kind == "spot":
                continue  # it is in the wallet
            if here == there or moved_ns.get(name, 0) > snapshot.began_ns - self._young_ns:
                continue
            known, since_ns = before.get(name, (None, 0))
            is_known = known == (here, there)
            since_ns = since_ns if is_known else snapshot.began_ns
            self._positions[name] = (here, there), since_ns
            line = f"of {name} we hold {here:f}, and the venue says {there:f}"
            code, remedy = "POSITION_DIFFERS", Remedy.LOOK_AGAIN if is_known else Remedy.LOOK_UP_FILLS
            if held is None:
                code, remedy = "FOREIGN_POSITION", Remedy.ALERT
            elif self._is_old(since_ns, snapshot):
                remedy = Remedy.HOLD_BACK
            found.append(Finding(code=code, instrument=name, line=line, remedy=remedy))
        return found

    def _judge_legs(self, state: MoneyState, snapshot: VenueSnapshot) -> list[Finding]:
        """Return where the position mode is another than ours, and where both legs are open."""
        found = []
        for position in snapshot.positions:
            name, is_hedged = position.instrument, position.leg is not Leg.NET
            traded = state.instruments.get(name)
            if traded is None or traded.kind == "spot" or name in self._switched:  # spot has symbols of perpetuals
                continue
            if is_hedged != (name in state.hedged):
                self._switched.add(name)
                what = "hedge mode: what is long and what is short there do not cancel out"
                line = f"{name} has been switched to {what if is_hedged else 'one-way mode'}"
                found.append(Finding(code="POSITION_MODE", instrument=name, line=line, remedy=Remedy.HOLD_BACK))
        for name, legs in sorted(state.torn.items()):
            line = f"of {name} the venue holds {legs[Leg.LONG]:f} long and {legs[Leg.SHORT]:f} short side by side"
            found.append(Finding(code="BOTH_LEGS", instrument=name, line=line, remedy=Remedy.HOLD_BACK))
        return found

    def _is_old(self, since_ns: int, snapshot: VenueSnapshot) -> bool:
        """Return whether a difference has stood for so long that nothing on its way explains it."""
        return since_ns <= snapshot.began_ns - self._young_ns

    def _judge_wallet(
        self, state: MoneyState, snapshot: VenueSnapshot, wallet: WalletRecord, moved_ns: Mapping[str, int]
    ) -> list[Finding]:
        theirs = {coin.currency: coin.wallet_balance for coin in wallet.coins}
        ours = state.portfolio.owned()
        traded = {each.base: name for name, each in state.instruments.items() if each.kind == "spot"}
        before, self._balances = self._balances, {}
        found = []
        for currency in sorted(ours.keys() | theirs.keys()):
            here, there = ours.get(currency, ZERO), theirs.get(currency, ZERO)
            is_cash, name = currency == self._currency, traded.get(currency, "")
            if abs(here - there) <= (_BALANCE_TOLERANCE if is_cash else _COIN_TOLERANCE):
                self._coins_told.discard(currency)
                continue
            if moved_ns.get(name, 0) > snapshot.began_ns - self._young_ns:
                continue
            if is_cash and _is_split_otherwise(state, snapshot, here - there):
                continue
            known, since_ns = before.get(currency, (None, 0))
            is_known = known is not None and abs(known - (here - there)) <= _BALANCE_TOLERANCE
            since_ns = since_ns if is_known else snapshot.began_ns
            self._balances[currency] = here - there, since_ns
            line = f"{'cash' if is_cash else 'the wallet'} is {here:f} {currency} here, and {there:f} at the venue"
            if not self._is_old(since_ns, snapshot):
                remedy = Remedy.LOOK_AGAIN if is_known else Remedy.LOOK_UP_FILLS
            elif is_cash:
                remedy = Remedy.REDUCE_ACCOUNT
            elif name:
                remedy = Remedy.HOLD_BACK
            elif currency in self._coins_told:
                continue
            else:
                self._coins_told.add(currency)
                remedy = Remedy.ALERT
            code = "BALANCE_DIFFERS" if is_cash else "POSITION_DIFFERS" if name else "COIN_DIFFERS"
            found.append(Finding(code=code, instrument=name, line=line, remedy=remedy))
        return found


def _is_split_otherwise(state: MoneyState, snapshot: VenueSnapshot, difference: Decimal) -> bool:
    """Return whether cash differs by no more than what open positions are said to have cost.

    Executions that came in another order have closed other parts of a position: more profit here is a dearer rest.
    """
    cost, tolerance = ZERO, _BALANCE_TOLERANCE
    qtys: dict[str, Decimal] = {}
    for position in snapshot.positions:  # of an instrument there may be two
        name = position.instrument
        if name not in state.portfolio.positions or not position.qty:
            continue
        if position.entry_price is None:
            return False
        theirs = position.qty * position.entry_price
        cost -= theirs
        tolerance += abs(theirs) * _ENTRY_TOLERANCE
        qtys[name] = qtys.get(name, ZERO) + position.qty
    for name, qty in qtys.items():
        held = state.portfolio.positions[name]
        if held.qty != qty:
            return False
        cost += held.entry_value
    return bool(qtys) and abs(difference - cost) <= tolerance


def unprotected(state: MoneyState, instrument: str) -> bool:
    """Return whether a position has neither a stop at the venue nor an exit under way.

    A stop that was just asked for counts: what came of it is known within moments.
    """
    qty = state.closable_qty(instrument)
    if not qty:
        return False
    stops = state.stops[instrument]
    is_of_it = stops.leg is Leg.NET or stops.leg is leg_of(qty)
    if is_of_it and (stops.stop_loss is not None or stops.trailing_distance is not None):
        return False
    closing = Side.SELL if qty > 0 else Side.BUY
    return not any(
        order.request.side is closing and (order.request.reduce_only or order.request.client_order_id in state.closing)
        for order in state.live[instrument].values()
    )


def _open_there(order: Order, record: OrderRecord, *, is_old: bool) -> Finding:
    """Return the finding of an order of ours that is done here: it may just have been canceled."""
    name = record.client_order_id
    return Finding(
        code="OPEN_THERE_ALONE",
        instrument=record.instrument,
        line=f"{name} is {order.status.value} here, and open at the venue",
        remedy=Remedy.HOLD_BACK if is_old else Remedy.LOOK_UP,
        client_order_id=name,
    )


def _orphans(state: MoneyState, there: set[str]) -> list[Finding]:
    """Return exits that rest with nothing left to exit from."""
    found = []
    for instrument, live in state.live.items():
        held = state.position_qty(instrument)
        if not live or (held and instrument not in state.hedged) or instrument in state.torn:
            continue
        opening = {order.request.leg for order in live.values() if not order.request.reduce_only}
        for name, order in live.items():
            if not order.request.reduce_only or order.request.leg in opening:
                continue  # there may first be a position
            if name in there and not order.cancel_requested and not held * order.request.side.sign < 0:
                line = f"{name} would reduce a position of {instrument} that is flat"
                found.append(
                    Finding(
                        code="ORPHAN",
                        instrument=instrument,
                        line=line,
                        remedy=Remedy.CANCEL,
                        client_order_id=name,
                    )
                )
    return found
