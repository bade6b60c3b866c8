"""Accounts are watched: whoever no longer covers the maintenance margin is liquidated."""

from collections.abc import Callable
from decimal import Decimal

from bot.core.venue.account import VenueAccount
from bot.core.venue.exits import PositionExits
from bot.core.venue.facts import CancelType
from bot.core.venue.fills import Fills
from bot.core.venue.floor import Floor
from bot.core.venue.liquidation import liquidate
from bot.core.venue.market import opposite, taker_ticks
from bot.core.venue.orders import PriceSource, StopKind
from bot.core.venue.screening import Edges, Screen, exact_edges
from bot.domain.account import ZERO
from bot.domain.instrument import Side


class MarginGuard:
    """Knows how far the mark prices may go before an account must be looked at, and looks."""

    def __init__(self, floor: Floor, fills: Fills, exits: PositionExits) -> None:
        self._floor = floor
        self._fills = fills
        self._exits = exits
        self.edges: dict[str, Edges] = {name: {} for name in floor.accounts}

    def check_accounts(self, ts_ns: int) -> None:
        """Liquidate the accounts that have changed, as far as they must be, and find how far prices may go now."""
        while self._floor.unchecked:
            name = next(iter(self._floor.unchecked))
            del self._floor.unchecked[name]
            account = self._floor.accounts[name]
            edges: Edges = {}
            if account.state.held():
                self._floor.revalue(account, ts_ns)
                edges = self._check(name, account, ts_ns)
            elif any(balance < 0 for balance in account.state.balances.values()):
                self._liquidate(name, account, ts_ns)  # what was closed too late has left a debt
            if edges != self.edges[name]:
                for instrument in edges.keys() | self.edges[name].keys():
                    self._floor.markets[instrument].settle(ts_ns - 1)
                self.edges[name] = edges

    def _check(self, name: str, account: VenueAccount, ts_ns: int) -> Edges:
        screen = self._floor.screens[name] = Screen(account.state)
        edges = screen.edges(account.state)
        if edges is not None:
            return edges
        self._liquidate(name, account, ts_ns)
        return exact_edges(account.state) if account.state.held() else {}

    def _liquidate(self, name: str, account: VenueAccount, ts_ns: int) -> None:
        """Liquidate an account as far as it must be, and do to its orders and exits what follows."""
        before = {key: account.state.qty(key) for key in account.state.held()}
        facts = liquidate(account, ts_ns=ts_ns, price_of=self._price_of(ts_ns))
        if facts:
            self._floor.screens.pop(name, None)
            self._cancel_waiting(name, ts_ns)
            self._fills.absorb(name, facts, ts_ns)
            for key, qty in before.items():
                self._exits.follow_position(self._floor.markets[key[0]], name, key, qty, ts_ns)

    def _cancel_waiting(self, account: str, ts_ns: int) -> None:
        """Cancel an account's conditional orders before its liquidation; exits go with their position.

        *Inferred*: the venue says that it cancels the orders.
        """
        for market in self._floor.markets.values():
            for live in list(market.waiting.values()):
                if live.account == account and live.record.stop_kind is StopKind.STOP:
                    self._floor.end(market, live, ts_ns, cancel=CancelType.LIQUIDATION)

    def _price_of(self, ts_ns: int) -> Callable[[str, Side, Decimal], Decimal | None]:
        def price_of(name: str, side: Side, qty: Decimal) -> Decimal | None:
            market = self._floor.markets[name]
            if self._floor.has_book(market, ts_ns):
                assert market.book is not None
                steps = market.instrument.steps(qty)
                levels = market.book.walk(side, steps)
                if sum(taken for _, taken in levels) == steps:
                    value = sum((market.instrument.price(at) * taken for at, taken in levels), ZERO)
                    return market.instrument.round_price(value / steps, opposite(side))
            ticks = market.price_at(PriceSource.LAST, ts_ns)
            return (
                None if ticks is None else market.instrument.price(taker_ticks(side, ticks, self._floor.model.slippage))
            )

        return price_of
