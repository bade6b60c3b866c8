"""What the venue does to an account of its own accord: the one place that reaches behind the venue model's door.

`VenueModel` has no way to ask for these yet. Once it has, this file shrinks to calls of it.
"""

from decimal import Decimal

from bot.core.matching import VenueModel
from bot.core.venue.booking import book
from bot.core.venue.facts import TransactionType
from bot.core.venue.liquidation import auto_deleverage
from bot.core.venue.orders import Kind, NewOrder, PriceSource, Told
from bot.core.venue.state import PositionKey
from bot.domain.account import ZERO
from bot.domain.instrument import Side

CLOSED_BY_HAND = "CreateByClosing"


def deleverage(model: VenueModel, account: str, key: PositionKey, now_ns: int) -> list[Told]:
    """Reduce half a position, at least a step, at the last price: somebody else's liquidation needs it."""
    told = model.advance(now_ns)
    market = model.markets[key[0]]
    books = model.accounts[account]
    before = books.state.qty(key)
    price = market.price_at(PriceSource.LAST, now_ns)
    if not before or price is None:
        return told
    qty = max(market.instrument.round_qty(abs(before) / 2), market.instrument.qty_step)
    facts = auto_deleverage(books, key, qty=qty, price=market.instrument.price(price), ts_ns=now_ns)
    model._fills.absorb(account, facts, now_ns)
    model._exits.follow_position(market, account, key, before, now_ns)
    return told + model._finish(now_ns, touched=account)


def liquidate(model: VenueModel, account: str, coin: str, now_ns: int) -> list[Told]:
    """Take so much of an account's coin that its margin is gone, and let the venue do what it then does.

    The coin leaves as a negative transfer: the log has no other row for it.
    """
    told = model.advance(now_ns)
    books = model.accounts[account]
    if not books.state.held():
        return told
    surplus = books.margin().excess
    if surplus > 0:
        book(books.state, now_ns, TransactionType.TRANSFER_IN, coin, cash_flow=-surplus)
    return told + model._finish(now_ns, touched=account)


def close_by_hand(model: VenueModel, account: str, key: PositionKey, now_ns: int) -> tuple[str, list[Told]]:
    """Close a position as its owner would in the app; return the order's id, empty without one."""
    qty = model.accounts[account].state.qty(key)
    if not qty:
        return "", model.advance(now_ns)
    request = NewOrder(
        instrument=key[0],
        side=Side.SELL if qty > 0 else Side.BUY,
        kind=Kind.MARKET,
        qty=ZERO,
        position_index=key[1],
        reduce_only=True,
        close_on_trigger=True,
    )
    made, told = model.submit(account, request, now_ns)
    return getattr(made, "order_id", ""), told


def worst_qty(model: VenueModel, name: str, side: Side, amount: Decimal, now_ns: int) -> Decimal | None:
    """Return how much of the base an amount of the quote coin buys from the book, None where there is no book.

    The core sizes such an order at the last price, and may then spend more than the amount.
    """
    market = model.markets[name]
    if market.book is None or side is not Side.BUY:
        return None
    market.book.advance(now_ns)
    if not market.book.is_trusted:
        return None
    instrument = market.instrument
    steps, left = 0, amount
    enough = int(amount / (instrument.qty_step * instrument.tick_size)) + 1
    for ticks, available in market.book.walk(side, enough):
        price = instrument.price(ticks) * instrument.qty_step
        taken = min(available, int(left / price))
        steps += taken
        left -= taken * price
        if taken < available:
            break
    return instrument.qty(steps)
