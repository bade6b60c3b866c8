"""How much an amount of the quote coin buys."""

from decimal import Decimal

from bot.core.matching import VenueModel
from bot.domain.instrument import Side


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
