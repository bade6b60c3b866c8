"""What happens to an account without its client's asking: the venue intervenes, or its owner does in the app."""

from collections.abc import Iterable
from decimal import Decimal

from bot.core.venue.booking import book
from bot.core.venue.exits import PositionExits
from bot.core.venue.facts import CancelType, TransactionType
from bot.core.venue.fills import Fills
from bot.core.venue.floor import Floor
from bot.core.venue.liquidation import auto_deleverage
from bot.core.venue.market import Live
from bot.core.venue.orders import PriceSource
from bot.core.venue.state import PositionKey
from bot.domain.account import ZERO


class Interventions:
    """Does to accounts what no client asks for."""

    def __init__(self, floor: Floor, fills: Fills, exits: PositionExits) -> None:
        self._floor = floor
        self._fills = fills
        self._exits = exits

    def deleverage(self, account: str, key: PositionKey, qty: Decimal | None, ts_ns: int) -> None:
        """Reduce a position at the last price, by half and at least a step where no quantity is given.

        More than there is closes it; without a position or a price nothing happens.
        """
        market = self._floor.markets[key[0]]
        books = self._floor.accounts[account]
        before = books.state.qty(key)
        ticks = market.price_at(PriceSource.LAST, ts_ns)
        if not before or ticks is None:
            return
        instrument = market.instrument
        if qty is None:
            qty = max(instrument.round_qty(abs(before) / 2), instrument.qty_step)
        price = instrument.price(ticks)
        facts = auto_deleverage(books, key, qty=min(qty, abs(before)), price=price, ts_ns=ts_ns)
        self._fills.absorb(account, facts, ts_ns)
        self._exits.follow_position(market, account, key, before, ts_ns)
        self._floor.touch(account)

    def transfer(self, account: str, coin: str, amount: Decimal, ts_ns: int) -> None:
        """Book a transfer, out of the account where the amount is negative; it may take what margin needs."""
        kind = TransactionType.TRANSFER_OUT if amount < 0 else TransactionType.TRANSFER_IN
        books = self._floor.accounts[account]
        book(books.state, ts_ns, kind, coin, cash_flow=amount)
        self._fills.absorb(account, books.settle_orders(ts_ns), ts_ns)
        self._floor.touch(account)

    def surplus(self, account: str, ts_ns: int) -> Decimal:
        """Return how much an account may lose before it is liquidated, USD; 0 where it holds nothing."""
        books = self._floor.accounts[account]
        if not books.state.held():
            return ZERO
        self._floor.revalue(books, ts_ns)
        return max(ZERO, books.margin().excess)

    def cancel(self, lives: Iterable[Live], cancel_type: CancelType, ts_ns: int) -> None:
        """Cancel orders on the venue's behalf."""
        for live in lives:
            if live.record.is_open:
                market = self._floor.markets[live.record.instrument]
                market.settle(ts_ns)
                self._floor.end(market, live, ts_ns, cancel=cancel_type)
