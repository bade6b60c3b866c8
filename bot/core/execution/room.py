"""How much may still be ordered without ever being on the far side of a target."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from bot.core.order import Order, Status
from bot.domain.account import ZERO
from bot.domain.instrument import Side


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How far a position can get by what is open, in flight or in doubt: each side alone, as if the other never filled.

    What waits for its trigger is left out: its owner knows when it comes, and nobody else does.
    """

    position_qty: Decimal
    buys: Decimal
    sells: Decimal

    def room(self, side: Side, target: Decimal) -> Decimal:
        """Return the most that may be ordered on a side towards `target`; negative: so much is too much already."""
        if side is Side.BUY:
            return target - self.position_qty - self.buys
        return self.position_qty - self.sells - target


def reach_of(position_qty: Decimal, live: Iterable[Order]) -> Reach:
    """Return how far a position can get by these orders; of an amendment under way the larger quantity counts.

    Of what is done, that counts which has filled by the venue's word and was not told yet.
    """
    sums = {Side.BUY: ZERO, Side.SELL: ZERO}
    for order in live:
        if order.request.trigger is None or order.status is Status.OPEN:
            sums[order.request.side] += max(order.remaining_qty, order.owed_qty)
    return Reach(position_qty=position_qty, buys=sums[Side.BUY], sells=sums[Side.SELL])
