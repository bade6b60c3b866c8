"""The venue's side of one account: balances, positions, what an order may do, and every booking.

`VenueAccount` is told what happens (an order, a fill, a mark price, a funding rate) and answers with facts. It matches
nothing and knows no time of its own. After every fill, settlement and mark price whoever drives it asks
`bot.core.venue.liquidation.liquidate`, or `recheck_bands` when that can next be necessary.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from msgspec.structs import replace

from bot.core.venue.booking import book, execute, fill_spot
from bot.core.venue.contract import Contract
from bot.core.venue.facts import (
    CancelType,
    Fact,
    FundingSettled,
    OrderCut,
    OrderDropped,
    PositionIndex,
    Refusal,
    TransactionType,
    VenueOrder,
)
from bot.core.venue.margin import Margin, closes, exposure, margin_of
from bot.core.venue.state import CoinTerms, PositionKey, open_state
from bot.domain.account import ZERO, Position
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Side


class VenueAccount:
    """One unified account in cross margin.

    Args:
        contracts: what it may trade.
        coins: what counts as collateral; by default the settle coins, at one dollar each.

    Raises:
        ConfigError: the contracts contradict each other or the coins.
    """

    def __init__(self, contracts: Iterable[Contract], coins: Mapping[str, CoinTerms] | None = None) -> None:
        self.state = open_state(contracts, coins)
        self._has_spot = any(contract.kind == "spot" for contract in self.state.contracts.values())

    # What is so

    def margin(self) -> Margin:
        """Return the account's margin at the present mark prices."""
        return margin_of(self.state)

    def balance(self, coin: str) -> Decimal:
        """Return a coin's wallet balance: without unrealized profit."""
        return self.state.balances.get(coin, ZERO)

    def locked(self, coin: str) -> Decimal:
        """Return what open spot orders hold of a coin."""
        return sum((amount for held, amount in map(self._held_by, self.state.orders.values()) if held == coin), ZERO)

    def position(self, instrument: str, position_index: int = PositionIndex.ONE_WAY) -> Position:
        """Return a position, flat if there never was one."""
        return self.state.positions.get((instrument, position_index), Position(instrument=instrument))

    def held(self, instrument: str) -> Position:
        """Return the position that is held, of whichever leg; in hedge mode the two added up."""
        found = Position(instrument=instrument)
        for key in self._keys(instrument):
            position = self.state.positions.get(key)
            if position is not None and position.qty:
                qty, value = found.qty + position.qty, found.entry_value + position.entry_value
                found = replace(position, qty=qty, entry_value=value)
        return found

    def reducible_qty(self, order: VenueOrder) -> Decimal:
        """Return how much of the order's position its side can close."""
        return max(ZERO, -self.state.qty((order.instrument, order.position_index)) * order.side.sign)

    # What the account's owner asks for

    def deposit(self, coin: str, amount: Decimal, *, ts_ns: int) -> None:
        """Book a transfer into the account."""
        if not _is_positive(amount):
            raise ValueError(f"a deposit must be positive, not {amount}")
        book(self.state, ts_ns, TransactionType.TRANSFER_IN, coin, cash_flow=amount)

    def set_leverage(self, instrument: str, leverage: Decimal) -> Refusal | None:
        """Change an instrument's leverage, of both sides; None when done."""
        state, contract = self.state, self.state.contracts[instrument]
        before = state.leverage[instrument]
        if leverage == before:
            return Refusal(code="110043", reason="leverage not modified")
        value = max((exposure(state, key, state.marks) for key in self._keys(instrument)), default=ZERO)
        leverage_max = contract.tier(value).leverage_max
        if not 1 <= leverage <= leverage_max:
            return Refusal(code="110013", reason=f"leverage must be from 1 to {leverage_max}, not {leverage}")
        room = self._room()
        state.leverage[instrument] = leverage
        if _is_short(room, self._room()):
            state.leverage[instrument] = before
            return Refusal(code="110007", reason="available balance does not cover the margin at this leverage")
        return None

    def switch_mode(self, instrument: str, *, hedged: bool) -> Refusal | None:
        """Hold one position of the instrument, or a long and a short one side by side; None when done."""
        state = self.state
        if hedged == (instrument in state.hedged):
            return Refusal(code="110025", reason="position mode not modified")
        if any(key[0] == instrument for key in state.held()):
            return Refusal(code="110024", reason="there is a position")
        if any(order.instrument == instrument for order in state.orders.values()):
            return Refusal(code="110028", reason="there are open orders")
        (state.hedged.add if hedged else state.hedged.remove)(instrument)
        return None

    def check(self, order: VenueOrder, *, is_affordable: bool = False) -> VenueOrder | Refusal:
        """Return the order as the account accepts it, reduce-only cut to the position, or why it does not.

        It judges what an account must: mode, margin, tier, balance. Filters and prices are the matching's affair.
        """
        if order.order_id in self.state.orders:
            return Refusal(code="110072", reason="duplicate order id")
        if not (_is_positive(order.qty) and _is_positive(order.price)):
            return Refusal(code="10001", reason=f"quantity {order.qty} and price {order.price} must be positive")
        if self.state.contracts[order.instrument].kind == "spot":
            return self._check_spot(order)
        return self._check_linear(order, is_affordable=is_affordable)

    def place(self, order: VenueOrder, *, is_affordable: bool = False) -> VenueOrder | Refusal:
        """Take the order on if `check` accepts it.

        Args:
            order: what is asked for.
            is_affordable: the caller has made sure that margin, leverage and tier suffice, so they are not reckoned.
        """
        accepted = self.check(order, is_affordable=is_affordable)
        if isinstance(accepted, VenueOrder):
            self.state.orders[accepted.order_id] = accepted
        return accepted

    def amend(
        self,
        order_id: str,
        *,
        qty: Decimal | None = None,
        price: Decimal | None = None,
        is_affordable: Callable[[VenueOrder], bool] = lambda order: False,
    ) -> VenueOrder | Refusal:
        """Change an open order's open quantity or price, or leave it as it is and say why.

        Args:
            order_id: which.
            qty: what is to be open of it; None: as it is.
            price: its price; None: as it is.
            is_affordable: tells whether margin, leverage and tier surely suffice, so that they are not reckoned.
        """
        orders = self.state.orders
        before = orders.get(order_id)
        if before is None:
            return Refusal(code="110001", reason="order does not exist")
        wanted = replace(before, qty=before.qty if qty is None else qty, price=before.price if price is None else price)
        del orders[order_id]
        after = self.check(wanted, is_affordable=is_affordable(wanted))
        orders[order_id] = after if isinstance(after, VenueOrder) else before
        return after

    def cancel(self, order_id: str) -> VenueOrder | None:
        """Forget an order and return it, None if there is none."""
        order: VenueOrder | None = self.state.orders.pop(order_id)
        return order

    # What the market does

    def set_mark(self, instrument: str, price: Decimal) -> None:
        """Value the instrument's positions at `price`."""
        if not _is_positive(price):
            raise ValueError(f"{instrument}: a mark price must be positive, not {price}")
        self.state.marks[instrument] = price

    def set_coin_price(self, coin: str, usd_price: Decimal) -> None:
        """Value a collateral coin at `usd_price`."""
        if not _is_positive(usd_price):
            raise ValueError(f"{coin}: a price must be positive, not {usd_price}")
        self.state.coins[coin] = replace(self.state.terms(coin), usd_price=usd_price)

    def fill(
        self, order_id: str, *, qty: Decimal, price: Decimal, is_maker: bool, ts_ns: int, trade_id: str = ""
    ) -> list[Fact]:
        """Book an execution of an open order and return it, then what it does to other orders.

        Raises:
            InvariantBroken: no such order, more than is open of it, or a reduce-only order would open.
        """
        order = self.state.orders.get(order_id)
        if order is None or not ZERO < qty <= order.qty:
            raise InvariantBroken(f"order {order_id}: cannot fill {qty} of {order and order.qty}")
        if order.reduce_only and qty > self.reducible_qty(order):
            raise InvariantBroken(f"order {order_id}: reduce-only cannot fill {qty} of {self.reducible_qty(order)}")
        if qty == order.qty:
            del self.state.orders[order_id]
        else:
            self.state.orders[order_id] = replace(order, qty=order.qty - qty)
        contract = self.state.contracts[order.instrument]
        rate = contract.fees.maker if is_maker else contract.fees.taker
        if contract.kind == "spot":
            execution = fill_spot(
                self.state,
                order,
                qty=qty,
                price=price,
                rate=rate,
                ts_ns=ts_ns,
                trade_id=trade_id,
                is_maker=is_maker,
            )
        else:
            execution = execute(
                self.state,
                (order.instrument, order.position_index),
                side=order.side,
                qty=qty,
                price=price,
                fee_rate=rate,
                ts_ns=ts_ns,
                order_id=order_id,
                trade_id=trade_id,
                is_maker=is_maker,
            )
        return [execution, *self.settle_orders(ts_ns)]

    def settle_funding(self, instrument: str, *, rate: Decimal, mark: Decimal, ts_ns: int) -> list[Fact]:
        """Book a funding settlement of the instrument's positions: longs pay a positive rate on their value."""
        facts: list[Fact] = []
        for key in self._keys(instrument):
            position = self.state.positions.get(key)
            if position is None or not position.qty:
                continue
            paid = position.qty * mark * rate
            self.state.positions[key] = replace(position, funding=position.funding - paid)
            book(
                self.state,
                ts_ns,
                TransactionType.SETTLEMENT,
                self.state.contracts[instrument].settle_coin,
                funding=-paid,
                instrument=instrument,
                side=Side.BUY if position.qty > 0 else Side.SELL,
                qty=abs(position.qty),
                price=mark,
                fee_rate=rate,
                position_qty=position.qty,
            )
            facts.append(
                FundingSettled(
                    ts_ns=ts_ns,
                    instrument=instrument,
                    position_index=key[1],
                    position_qty=position.qty,
                    mark_price=mark,
                    rate=rate,
                    exec_fee=paid,
                )
            )
        return facts + self.settle_orders(ts_ns)

    # What liquidation uses

    def settle_orders(self, ts_ns: int) -> list[Fact]:
        """Cut what reduce-only orders can no longer reduce, drop the spot orders whose coins are gone.

        *Inferred*: each reduce-only order by itself is held to the position; of the spot orders the newest go first.
        """
        facts: list[Fact] = []
        orders = self.state.orders
        for order in [order for order in orders.values() if order.reduce_only]:
            qty = min(order.qty, self.reducible_qty(order))
            if not qty:
                facts.append(self.drop(order, CancelType.REDUCE_ONLY, ts_ns=ts_ns))
            elif qty < order.qty:
                orders[order.order_id] = replace(order, qty=qty)
                facts.append(OrderCut(ts_ns=ts_ns, order_id=order.order_id, instrument=order.instrument, qty=qty))
        for order in reversed(list(orders.values()) if self._has_spot else ()):
            coin, amount = self._held_by(order)
            if amount and self.locked(coin) > self.balance(coin):
                facts.append(self.drop(order, CancelType.ADMIN, ts_ns=ts_ns))
        return facts

    def drop(self, order: VenueOrder, cancel_type: CancelType, *, ts_ns: int) -> OrderDropped:
        """Cancel an order on the venue's behalf."""
        del self.state.orders[order.order_id]
        return OrderDropped(ts_ns=ts_ns, order_id=order.order_id, instrument=order.instrument, cancel_type=cancel_type)

    # Behind the curtain

    def _check_linear(self, order: VenueOrder, *, is_affordable: bool) -> VenueOrder | Refusal:
        state, contract = self.state, self.state.contracts[order.instrument]
        key = (order.instrument, order.position_index)
        indices = (PositionIndex.LONG, PositionIndex.SHORT) if order.instrument in state.hedged else (0,)
        if order.position_index not in indices:
            return Refusal(code="10001", reason="position idx not match position mode")
        if order.reduce_only or closes(key, order.side):
            qty = min(order.qty, self.reducible_qty(order))
            if not qty:
                return Refusal(code="110017", reason="current position is zero, cannot fix reduce-only order qty")
            return replace(order, qty=qty, reduce_only=True)
        state.mark(order.instrument)
        if is_affordable:
            return order
        room, before = self._room(), exposure(state, key, state.marks)
        state.orders[order.order_id] = order
        try:
            value, room_left = exposure(state, key, state.marks), self._room()
        finally:
            del state.orders[order.order_id]
        if value > before:
            if value > contract.value_max:
                return Refusal(code="110090", reason=f"position and orders would exceed {contract.value_max}")
            leverage_max = contract.tier(value).leverage_max
            if state.leverage[order.instrument] > leverage_max:
                return Refusal(code="110090", reason=f"this size allows a leverage of {leverage_max} at most")
        if _is_short(room, room_left):
            return Refusal(code="110007", reason="available balance is insufficient")
        return order

    def _check_spot(self, order: VenueOrder) -> VenueOrder | Refusal:
        order = replace(order, reduce_only=False)
        coin, amount = self._held_by(order)
        if amount > self.balance(coin) - self.locked(coin):
            return Refusal(code="170131", reason=f"balance of {coin} is insufficient, and borrowing is off")
        room = self._room()
        self.state.orders[order.order_id] = order
        room_left = self._room()
        del self.state.orders[order.order_id]
        if _is_short(room, room_left):
            return Refusal(code="170131", reason=f"{coin} is needed as margin")
        return order

    def _room(self) -> Decimal:
        """Return how much more initial margin the account covers, USD."""
        margin = margin_of(self.state)
        return margin.cover - margin.initial

    def _held_by(self, order: VenueOrder) -> tuple[str, Decimal]:
        """Return the coin that an open spot order holds, and how much; nothing for a perpetual's."""
        contract = self.state.contracts[order.instrument]
        if contract.kind != "spot":
            return "", ZERO
        if order.side is Side.BUY:
            return contract.instrument.quote, order.price * order.qty
        return contract.instrument.base, order.qty

    def _keys(self, instrument: str) -> list[PositionKey]:
        return [(instrument, index) for index in (PositionIndex.ONE_WAY, PositionIndex.LONG, PositionIndex.SHORT)]


def _is_positive(number: Decimal) -> bool:
    return number.is_finite() and number > 0


def _is_short(before: Decimal, after: Decimal) -> bool:
    """Return whether what was asked for takes margin that is not there; what takes none is never refused."""
    return after < before and after < 0
