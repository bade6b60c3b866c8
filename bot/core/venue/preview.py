"""What an order would do to an account's margin, without placing it."""

from bot.core.venue.admission import check_prices, check_room
from bot.core.venue.facts import Refusal, VenueOrder
from bot.core.venue.fills import Fills
from bot.core.venue.filters import check_shape
from bot.core.venue.floor import Floor
from bot.core.venue.margin import Margin
from bot.core.venue.orders import NewOrder, PriceSource


def preview(
    floor: Floor, fills: Fills, account: str, request: NewOrder, now_ns: int
) -> tuple[Margin, Margin] | Refusal:
    """Return an account's margin before and after an order that is not placed, or why it would be refused."""
    market, books = floor.markets[request.instrument], floor.accounts[account]
    instrument = market.instrument
    checked = check_shape(market.contract, request)
    if isinstance(checked, Refusal):
        return checked
    refusal = check_room(account, market, checked) or check_prices(market, checked, now_ns)
    refusal = refusal or floor.revalue(books, now_ns, market)
    if refusal is not None:
        return refusal
    before = books.margin()
    if checked.trigger is not None:
        return before, before
    last, qty = market.price_at(PriceSource.LAST, now_ns), checked.qty
    if checked.is_quote_qty and last is not None:
        qty = instrument.round_qty(qty / instrument.price(last))
    order = VenueOrder(
        order_id="",
        instrument=request.instrument,
        side=checked.side,
        qty=qty or abs(books.state.qty((request.instrument, checked.position_index))),
        price=instrument.price(fills.limit_ticks(market, checked, checked.side, now_ns)),
        reduce_only=checked.reduce_only,
        position_index=checked.position_index,
    )
    accepted = books.check(order)
    if isinstance(accepted, Refusal):
        return accepted
    books.state.orders[order.order_id] = accepted
    try:
        return before, books.margin()
    finally:
        del books.state.orders[order.order_id]
