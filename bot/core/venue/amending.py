"""Open orders are changed: price, quantity, trigger, exits."""

from decimal import Decimal

from msgspec.structs import replace

from bot.core.venue.admission import check_prices
from bot.core.venue.exits import PositionExits
from bot.core.venue.facts import Refusal
from bot.core.venue.fills import Fills
from bot.core.venue.filters import check_exit_sides, check_notional, check_price, check_qty, check_trigger
from bot.core.venue.floor import Floor
from bot.core.venue.market import Live, Market
from bot.core.venue.orders import Amendment, Kind, OrderRecord
from bot.core.venue.taking import Taking
from bot.domain.account import ZERO


class Amending:
    """Amends orders. A new price, or more quantity, loses the place in the queue; less keeps it."""

    def __init__(self, floor: Floor, fills: Fills, taking: Taking, exits: PositionExits) -> None:
        self._floor = floor
        self._fills = fills
        self._taking = taking
        self._exits = exits

    def amend(self, live: Live, change: Amendment, now_ns: int) -> OrderRecord | Refusal:
        """Change an open order, or say why not."""
        market, record, account = self._floor.markets[live.record.instrument], live.record, live.account
        refusal = self._check_change(market, live, change)
        if refusal is not None:
            return refusal
        market.settle(now_ns)
        qty = record.qty if change.qty is None else market.instrument.round_qty(change.qty)
        price = live.request.price if change.price is None else change.price
        exits = record.exits if change.exits is None else change.exits
        if live.order_id in market.waiting:
            return self._amend_waiting(market, live, change, qty, price, now_ns)
        if change.price is not None and change.price != record.price:
            band_refusal = check_prices(market, replace(live.request, qty=qty, price=price), now_ns)
            if band_refusal is not None:
                return band_refusal
        books = self._floor.accounts[account]
        self._floor.revalue(books, now_ns, market)
        accepted = books.amend(
            record.order_id,
            qty=qty - record.filled_qty,
            price=price,
            is_affordable=lambda order: self._floor.affords(account, order),
        )
        if isinstance(accepted, Refusal):
            return accepted
        self._floor.lean(account)
        has_moved = price is not None and price != record.price
        live.request = replace(live.request, qty=qty, price=price)
        live.open_steps = market.instrument.steps(accepted.qty)
        live.record = replace(
            record,
            qty=record.filled_qty + accepted.qty,
            price=record.price if price is None else price,
            exits=exits,
            updated_ns=now_ns,
        )
        self._floor.tell(live, now_ns)
        if live.order_id not in market.resting:
            return live.record
        if has_moved:
            assert price is not None
            del market.resting[live.order_id]
            live.ticks = market.instrument.ticks(price)
            _, live.number = self._floor.new_id()
            self._taking.enter(market, live, now_ns)
        elif qty > record.qty:
            _, live.number = self._floor.new_id()
            self._fills.queue_up(market, live, now_ns)
        elif live.place is not None:
            live.place.amended(live.open_steps, level_steps=None)
        return live.record

    def _amend_waiting(
        self, market: Market, live: Live, change: Amendment, qty: Decimal, price: Decimal | None, now_ns: int
    ) -> OrderRecord | Refusal:
        trigger = live.record.trigger
        assert trigger is not None
        if change.trigger_price is not None:
            current = market.price_at(trigger.source, now_ns)
            assert current is not None  # it was there when the order came
            at = market.instrument.price(current)
            refusal = check_trigger(change.trigger_price, at, is_rise=trigger.is_rise)
            if refusal is not None:
                return refusal
            trigger = replace(trigger, price=change.trigger_price)
        live.request = replace(live.request, qty=qty, price=price)
        live.record = replace(live.record, qty=qty, price=ZERO if price is None else price, trigger=trigger)
        live.record = replace(live.record, exits=change.exits or live.record.exits, updated_ns=now_ns)
        self._exits.wait(market, live, now_ns)
        self._floor.tell(live, now_ns)
        return live.record

    def _check_change(self, market: Market, live: Live, change: Amendment) -> Refusal | None:
        """Return why an amendment makes no sense, None if it does."""
        record = live.record
        if change.qty is not None and not (change.qty.is_finite() and change.qty > record.filled_qty):
            return Refusal(code="110064", reason=f"the quantity must be above what has filled, {record.filled_qty}")
        for price in (change.price, change.trigger_price):
            if price is not None:
                refusal = check_price(market.contract, price)
                if refusal is not None:
                    return refusal
        if change.qty is not None:
            wanted = replace(live.request, qty=market.instrument.round_qty(change.qty))
            checked = check_qty(market.contract, wanted)
            if isinstance(checked, Refusal):
                return checked
            at = change.price or live.request.price
            refusal = None if at is None else check_notional(market.contract, wanted, at)
            if refusal is not None:
                return refusal
        if change.exits is not None:
            base = (
                change.price or live.request.price or change.trigger_price or (record.trigger and record.trigger.price)
            )
            refusal = check_exit_sides(replace(live.request, exits=change.exits), base or record.price)
            if refusal is not None:
                return refusal
        before = (record.qty, record.price, record.trigger and record.trigger.price, record.exits)
        after = (
            before[0] if change.qty is None else market.instrument.round_qty(change.qty),
            before[1] if change.price is None else change.price,
            before[2] if change.trigger_price is None else change.trigger_price,
            before[3] if change.exits is None else change.exits,
        )
        if before == after:
            return Refusal(code="10001", reason="The order remains unchanged as the parameters entered match")
        if change.price is not None and record.kind is Kind.MARKET:
            return Refusal(code="10001", reason="a market order has no price to change")
        if change.trigger_price is not None and live.order_id not in market.waiting:
            return Refusal(code="110001", reason="the order does not wait for a trigger")
        return None
