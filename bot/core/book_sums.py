"""What several strategies on one account have each brought, summed over instruments, for those who show it."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from bot.domain.account import ZERO
from bot.domain.operation import StrategyBook


class BookSum(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy's book; amounts in quote currency, since the ledger began."""

    strategy: str
    realized_pnl: Decimal = ZERO
    unrealized_pnl: Decimal | None = ZERO  # None while something it holds has no mark
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    holds: tuple[tuple[str, Decimal], ...] = ()  # instrument, signed quantity; what is flat is left out

    @property
    def booked(self) -> Decimal:
        """Return what has been booked: after fees and funding, without what is held."""
        return self.realized_pnl - self.fees + self.funding

    @property
    def net(self) -> Decimal | None:
        """Return what is booked and what is held, at the mark; None while that is not known."""
        return None if self.unrealized_pnl is None else self.booked + self.unrealized_pnl


def sum_books(books: Iterable[StrategyBook]) -> tuple[BookSum, ...]:
    """Return a sum for each strategy, in the order in which they first come."""
    sums: dict[str, BookSum] = {}
    for each in books:
        before, held = sums.get(each.strategy, BookSum(strategy=each.strategy)), each.position
        is_priced = held.mark_price is not None or not held.qty
        unrealized = before.unrealized_pnl
        sums[each.strategy] = BookSum(
            strategy=each.strategy,
            realized_pnl=before.realized_pnl + held.realized_pnl,
            unrealized_pnl=unrealized + held.unrealized_pnl if is_priced and unrealized is not None else None,
            fees=before.fees + held.fees,
            funding=before.funding + held.funding,
            holds=(*before.holds, *(((held.instrument, held.qty),) if held.qty else ())),
        )
    return tuple(sums.values())
