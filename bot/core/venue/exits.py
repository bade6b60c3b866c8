"""What the venue keeps for positions: take profits, stop losses, trailing stops.

An exit of a whole position is of whatever size the position is, and goes with it. One of a part has a quantity of its
own, and where it comes as a pair one alone may execute.
"""

from collections.abc import Mapping
from decimal import Decimal

from msgspec.structs import replace

from bot.core.tape import Trail
from bot.core.venue.facts import CancelType, CreateType, Execution
from bot.core.venue.floor import Floor
from bot.core.venue.market import BarPath, Live, Market
from bot.core.venue.orders import (
    ExitLeg,
    Kind,
    NewOrder,
    PriceSource,
    RejectReason,
    Status,
    StopKind,
    Tif,
    Trigger,
    open_record,
)
from bot.core.venue.state import PositionKey
from bot.domain.instrument import Side

_PARTIALS_MAX = 20  # take profits and stop losses for a part of one position

WHOLE = frozenset({StopKind.TAKE_PROFIT, StopKind.STOP_LOSS, StopKind.TRAILING_STOP})
_PARTIAL = frozenset({StopKind.PARTIAL_TAKE_PROFIT, StopKind.PARTIAL_STOP_LOSS})
_PROTECTIVE = frozenset({StopKind.STOP_LOSS, StopKind.TRAILING_STOP, StopKind.PARTIAL_STOP_LOSS})
_CREATED_BY = {
    StopKind.TAKE_PROFIT: CreateType.TAKE_PROFIT,
    StopKind.STOP_LOSS: CreateType.STOP_LOSS,
    StopKind.TRAILING_STOP: CreateType.TRAILING_STOP,
    StopKind.PARTIAL_TAKE_PROFIT: CreateType.PARTIAL_TAKE_PROFIT,
    StopKind.PARTIAL_STOP_LOSS: CreateType.PARTIAL_STOP_LOSS,
}


class PositionExits:
    """Gives positions their exits, and takes them away with them."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def exits_of(self, market: Market, account: str, key: PositionKey) -> list[Live]:
        """Return the exits that wait for one position, oldest first."""
        return [
            live
            for live in market.waiting.values()
            if live.account == account and live.key == key and live.record.stop_kind is not StopKind.STOP
        ]

    def set_exit(
        self,
        market: Market,
        account: str,
        key: PositionKey,
        kind: StopKind,
        leg: ExitLeg,
        ts_ns: int,
        parent: str = "",
    ) -> None:
        """Give a whole position an exit, in place of the one it has; a price of 0 removes it."""
        qty = self._floor.accounts[account].state.qty(key)
        old = next((live for live in self.exits_of(market, account, key) if live.record.stop_kind is kind), None)
        if not leg.price:
            if old is not None:
                self._floor.end(market, old, ts_ns, cancel=CancelType.USER, reason=RejectReason.BY_USER)
            return
        if old is None:
            self._add_exit(market, account, key, kind, leg, abs(qty), ts_ns, parent)
            return
        is_rise = (kind is StopKind.TAKE_PROFIT) == (qty > 0)
        trigger = Trigger(price=leg.price, is_rise=is_rise, source=leg.source)
        if trigger != old.record.trigger:
            self._retrigger(market, old, trigger, ts_ns)

    def add_pair(
        self,
        market: Market,
        account: str,
        key: PositionKey,
        legs: Mapping[StopKind, ExitLeg],
        qty: Decimal,
        ts_ns: int,
        parent: str = "",
    ) -> None:
        """Give a part of a position a take profit, a stop loss, or both, of which one alone may execute."""
        made = [
            self._add_exit(market, account, key, kind, leg, qty, ts_ns, parent)
            for kind, leg in legs.items()
            if leg.price
        ]
        if len(made) == 2:
            made[0].partner, made[1].partner = made[1], made[0]

    def trail(
        self, market: Market, account: str, key: PositionKey, distance: int, active_ticks: int | None, ts_ns: int
    ) -> None:
        """Give a whole position a trailing stop, from now on or from `active_ticks` on; a distance of 0 removes it."""
        for live in self.exits_of(market, account, key):
            if live.record.stop_kind is StopKind.TRAILING_STOP:
                if live.distance == distance and live.active_ticks == active_ticks:
                    return
                self._floor.end(market, live, ts_ns, cancel=CancelType.USER, reason=RejectReason.BY_USER)
        if not distance:
            return
        qty = self._floor.accounts[account].state.qty(key)
        sign = 1 if qty > 0 else -1
        price = market.price_at(PriceSource.LAST, ts_ns)
        assert price is not None  # there is a position, so there was a price
        start = price if active_ticks is None else active_ticks
        leg = ExitLeg(price=market.instrument.price(max(1, start - sign * distance)))
        live = self._add_exit(market, account, key, StopKind.TRAILING_STOP, leg, abs(qty), ts_ns)
        live.distance, live.active_ticks = distance, active_ticks
        live.trail = Trail(sign, distance, start)
        if active_ticks is not None and (active_ticks - price) * sign > 0:
            # Until it follows, it waits for its activation like a trigger on the profit's side.
            live.trail = None
            live.trigger_ticks = active_ticks
            live.record = replace(
                live.record, trigger=Trigger(price=market.instrument.price(active_ticks), is_rise=sign > 0)
            )
        market.waiting[live.order_id] = live

    def wait(self, market: Market, live: Live, ts_ns: int) -> None:
        """Let an order wait for its trigger."""
        trigger = live.record.trigger
        assert trigger is not None
        live.trigger_ticks = market.instrument.ticks(trigger.price)
        live.is_protective = live.record.stop_kind in _PROTECTIVE
        if market.row is None:
            live.since_row = market.last.tape.rest_row(ts_ns)
        else:
            live.since_row = market.row + 1 if self._floor.model.path is BarPath.ADVERSE else market.row
        market.waiting[live.order_id] = live
        market.is_stale = True

    def activate(self, market: Market, live: Live, ts_ns: int) -> None:
        """Let a trailing stop follow from its activation price on."""
        trigger = live.record.trigger
        assert trigger is not None
        sign, distance = (1 if trigger.is_rise else -1), live.distance
        peak = market.price_at(PriceSource.LAST, ts_ns)
        live.trail = Trail(sign, distance, live.trigger_ticks if peak is None else peak)
        market.is_stale = True
        stop = market.instrument.price(max(1, live.trail.stop))
        live.record = replace(live.record, trigger=Trigger(price=stop, is_rise=not trigger.is_rise), updated_ns=ts_ns)
        market.waiting[live.order_id] = live
        self._floor.tell(live, ts_ns)

    def _retrigger(self, market: Market, live: Live, trigger: Trigger, ts_ns: int) -> None:
        """Change what an order waits for."""
        live.record = replace(live.record, trigger=trigger, updated_ns=ts_ns)
        live.trigger_ticks = market.instrument.ticks(trigger.price)
        market.waiting[live.order_id] = live
        market.is_stale = True
        self._floor.tell(live, ts_ns)

    def _add_exit(
        self,
        market: Market,
        account: str,
        key: PositionKey,
        kind: StopKind,
        leg: ExitLeg,
        qty: Decimal,
        ts_ns: int,
        parent: str = "",
    ) -> Live:
        is_long = self._floor.accounts[account].state.qty(key) > 0
        is_profit = kind in (StopKind.TAKE_PROFIT, StopKind.PARTIAL_TAKE_PROFIT)
        side = Side.SELL if is_long else Side.BUY
        order_id, number = self._floor.new_id()
        request = NewOrder(
            instrument=key[0],
            side=side,
            kind=Kind.MARKET if leg.limit_price is None else Kind.LIMIT,
            qty=qty,
            price=leg.limit_price,
            time_in_force=Tif.IOC if leg.limit_price is None else Tif.GTC,
            position_index=key[1],
            reduce_only=True,
            close_on_trigger=True,
        )
        record = open_record(order_id, request, ts_ns)
        record = replace(
            record,
            status=Status.UNTRIGGERED,
            trigger=Trigger(price=leg.price, is_rise=is_profit == is_long, source=leg.source),
            stop_kind=kind,
            create_type=_CREATED_BY[kind],
            parent_client_order_id=parent,
        )
        live = Live(account, number, request, record)
        self.wait(market, live, ts_ns)
        self._floor.tell(live, ts_ns)
        return live

    def follow_position(self, market: Market, account: str, key: PositionKey, before: Decimal, ts_ns: int) -> None:
        """Clear the exits of a position that has ended, and fit those of one that has changed."""
        after = self._floor.accounts[account].state.qty(key)
        if not before or not market.waiting:
            return
        has_ended = not after or (after > 0) != (before > 0)
        for live in self.exits_of(market, account, key):
            if has_ended:
                self._floor.end(market, live, ts_ns, cancel=CancelType.POSITION_CLOSED)
            elif live.record.stop_kind in WHOLE and live.record.qty != abs(after):
                live.record = replace(live.record, qty=abs(after), updated_ns=ts_ns)
                self._floor.tell(live, ts_ns)

    def attach(self, market: Market, live: Live, execution: Execution, ts_ns: int) -> None:
        """Give what an order has opened the exits that it brought with it."""
        exits = live.record.exits
        opened = execution.qty - execution.closed_qty
        if exits is None or not opened or not self._floor.accounts[live.account].state.qty(live.key):
            return
        legs = {StopKind.TAKE_PROFIT: exits.take_profit, StopKind.STOP_LOSS: exits.stop_loss}
        if not exits.is_partial:
            for kind, leg in legs.items():
                if leg is not None:
                    self.set_exit(market, live.account, live.key, kind, leg, ts_ns, live.record.client_order_id)
            return
        mine = [
            exit_
            for exit_ in self.exits_of(market, live.account, live.key)
            if exit_.record.parent_client_order_id == (live.record.client_order_id or live.order_id)
        ]
        if mine:
            for exit_ in mine:
                exit_.record = replace(exit_.record, qty=exit_.record.qty + opened, updated_ns=ts_ns)
                self._floor.tell(exit_, ts_ns)
            return
        partial = {
            StopKind.PARTIAL_TAKE_PROFIT: exits.take_profit,
            StopKind.PARTIAL_STOP_LOSS: exits.stop_loss,
        }
        wanted = {kind: leg for kind, leg in partial.items() if leg is not None}
        if self.partials_left(market, live.account, live.key) >= len(wanted):
            parent = live.record.client_order_id or live.order_id
            self.add_pair(market, live.account, live.key, wanted, opened, ts_ns, parent)

    def partials_left(self, market: Market, account: str, key: PositionKey) -> int:
        """Return how many more exits for a part of a position there may be."""
        held = sum(1 for live in self.exits_of(market, account, key) if live.record.stop_kind in _PARTIAL)
        return _PARTIALS_MAX - held
