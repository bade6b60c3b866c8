"""Clients ask for exits of their positions: the venue's trading stops."""

from decimal import Decimal

from bot.core.venue.exits import PositionExits
from bot.core.venue.facts import Refusal
from bot.core.venue.filters import check_price
from bot.core.venue.floor import Floor
from bot.core.venue.market import Market
from bot.core.venue.orders import ExitLeg, StopKind, StopsWanted
from bot.domain.account import ZERO


class StopRequests:
    """Judges what is asked of a position's exits, and has it done."""

    def __init__(self, floor: Floor, exits: PositionExits) -> None:
        self._floor = floor
        self._exits = exits

    def set_stops(self, account: str, wanted: StopsWanted, now_ns: int) -> Refusal | None:
        """Set, replace or remove a position's exits, or say why not."""
        market = self._floor.markets[wanted.instrument]
        key = (wanted.instrument, wanted.position_index)
        qty = self._floor.accounts[account].state.qty(key)
        if not qty:
            return Refusal(code="10001", reason="can not set tp/sl/ts for zero position")
        market.settle(now_ns)
        legs = {StopKind.TAKE_PROFIT: wanted.take_profit, StopKind.STOP_LOSS: wanted.stop_loss}
        for kind, leg in legs.items():
            refusal = None if leg is None else self._check_leg(market, kind, leg, qty, now_ns, wanted.is_partial)
            if refusal is not None:
                return refusal
        for distance in (wanted.trailing_distance, wanted.active_price):
            if distance:
                refusal = check_price(market.contract, distance)
                if refusal is not None:
                    return refusal
        if wanted.is_partial:
            return self._add_pair(account, market, key, wanted, now_ns)
        before = [(live.order_id, live.record) for live in self._exits.exits_of(market, account, key)]
        for kind, leg in legs.items():
            if leg is not None:
                self._exits.set_exit(market, account, key, kind, leg, now_ns)
        if wanted.trailing_distance is not None:
            ticks = market.instrument.ticks
            active = None if not wanted.active_price else ticks(wanted.active_price)
            self._exits.trail(market, account, key, ticks(wanted.trailing_distance), active, now_ns)
        after = [(live.order_id, live.record) for live in self._exits.exits_of(market, account, key)]
        return None if before != after else Refusal(code="34040", reason="not modified")

    def _add_pair(
        self, account: str, market: Market, key: tuple[str, int], wanted: StopsWanted, now_ns: int
    ) -> Refusal | None:
        held = abs(self._floor.accounts[account].state.qty(key))
        qty = held if wanted.qty is None else market.instrument.round_qty(wanted.qty)
        if not ZERO < qty <= held:
            return Refusal(code="110059", reason=f"the quantity must be within the position, {held}")
        legs = {StopKind.PARTIAL_TAKE_PROFIT: wanted.take_profit, StopKind.PARTIAL_STOP_LOSS: wanted.stop_loss}
        given = {kind: leg for kind, leg in legs.items() if leg is not None and leg.price}
        if not given:
            return Refusal(code="34040", reason="not modified")
        if self._exits.partials_left(market, account, key) < len(given):
            return Refusal(code="110061", reason="too many take profits and stop losses for parts of the position")
        self._exits.add_pair(market, account, key, given, qty, now_ns)
        return None

    def _check_leg(
        self, market: Market, kind: StopKind, leg: ExitLeg, qty: Decimal, now_ns: int, is_partial: bool
    ) -> Refusal | None:
        """Return why a position cannot have an exit, None if it can."""
        if not leg.price:
            return None
        for price in (leg.price, leg.limit_price):
            refusal = None if price is None else check_price(market.contract, price)
            if refusal is not None:
                return refusal
        if leg.limit_price is not None and not is_partial:
            return Refusal(code="110058", reason="a take profit or stop loss with a limit needs partial mode")
        current = market.price_at(leg.source, now_ns)
        assert current is not None  # there is a position, so there was a price
        base = market.instrument.price(current)
        is_rise = (kind is StopKind.TAKE_PROFIT) == (qty > 0)
        if (leg.price - base) * (1 if is_rise else -1) <= 0:
            return Refusal(code="10001", reason=f"the exit at {leg.price} lies on the wrong side of {base}")
        return None
