"""Where one resting order stands in the queue at its price, and what of it fills.

A level's quantity is known, the place in it is not: a feed by price does not say whose orders left. Each model is an
assumption of that:

| model | a trade at the price | a decrease that no trade explains |
|---|---|---|
| `Touch` | fills the order, whole | |
| `Probabilistic` | takes from the front, then fills what is left of it | leaves ahead of and behind us in shares |
| `RiskAverse` | the same | leaves from behind us, as far as there is any |
| `Through` | fills nothing | |

With every one, a trade strictly beyond the price fills the rest. Told of the same events, each has at any time filled
at least what the next has, so an order's first and last fill come in this order too, or at once.

What is so with all: nobody gets ahead of us, `ahead` never grows but when the place is lost, and is never more than the
level shows. Trades and the book come on two streams: of equal times the trade is told first, and what it took is not
taken once more from the change of the level that shows it, which is the next one. Our own orders do not see each other.
`docs/queue.md` argues the assumptions.

Quantities are steps, prices ticks.

Source:
    Rigtorp (2013), Estimating order queue position; Moallemi and Yuan (2016), A model for queue position valuation in
    a limit order book: cancellations spread over a queue by the share of it that stands ahead and behind.
"""

import math
from typing import Literal, Protocol

import msgspec
from numba import njit

from bot.core.venue.impact import TradedHours

UNKNOWN_AHEAD = 2**62  # more than ever trades: an order behind it waits for a trade beyond its price
# Levels mostly go before they are eaten: at the touch rested 7 to 31 times what traded per visit. With 30 times, orders
# filled on trades alone about as often as `RiskAverse` fills them with the book, or less often (`docs/queue.md`).
ASSUMED_MULTIPLE = 30
_POWER_MAX = 16  # beyond it the shares are 0 and 1 but where ahead and behind are nearly the same


class QueueModel(Protocol):
    """What a trade at our price fills, and who leaves when no trade explains a decrease; no argument is negative."""

    def filled(self, open_steps: int, ahead: int, traded: int) -> int:
        """Return what `traded`, by takers of the other side at our price, fills of an order with `ahead` before it."""

    def left_ahead(self, ahead: int, behind: int, gone: int) -> int:
        """Return how much of what left the level without a trade stood ahead of us, at most `ahead` and `gone`."""


class Touch(msgspec.Struct, frozen=True, kw_only=True, tag="touch"):
    """We are always first, and any trade at our price is large enough: what fills no later than the market could."""

    def filled(self, open_steps: int, ahead: int, traded: int) -> int:
        """See `QueueModel`."""
        return open_steps if traded else 0

    def left_ahead(self, ahead: int, behind: int, gone: int) -> int:
        """See `QueueModel`."""
        return 0


class RiskAverse(msgspec.Struct, frozen=True, kw_only=True, tag="risk_averse"):
    """Who leaves stood behind us: the place gets better only by trades, and by the level getting smaller than it."""

    def filled(self, open_steps: int, ahead: int, traded: int) -> int:
        """See `QueueModel`."""
        return _in_turn(open_steps, ahead, traded)

    def left_ahead(self, ahead: int, behind: int, gone: int) -> int:
        """See `QueueModel`."""
        return 0


class Probabilistic(msgspec.Struct, frozen=True, kw_only=True, tag="probabilistic"):
    """Who leaves stood ahead of us with probability p = f(ahead) / (f(ahead) + f(behind)); the expected part is taken.

    Args:
        kind: of f: "power" x**n, "log" log(1 + x). `power` with n = 1 takes every lot to be equally likely to leave;
            a larger n makes it those of the longer part, and `log` nearly as many from either.
        n: of the power, from 1 to 16: whole, so that shares are exact.

    Raises:
        ValueError: n is outside.
    """

    kind: Literal["power", "log"] = "power"
    n: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.n <= _POWER_MAX:
            raise ValueError(f"the power of a queue model must be from 1 to {_POWER_MAX}, not {self.n}")

    def filled(self, open_steps: int, ahead: int, traded: int) -> int:
        """See `QueueModel`."""
        return _in_turn(open_steps, ahead, traded)

    def left_ahead(self, ahead: int, behind: int, gone: int) -> int:
        """See `QueueModel`: rounded down, against us."""
        if not ahead:
            return 0
        if self.kind == "power":
            front: int = ahead**self.n
            back: int = behind**self.n
            share = gone * front // (front + back)
        else:
            before, after = math.log1p(ahead), math.log1p(behind)
            share = int(gone * (before / (before + after))) if behind else gone
        return min(ahead, gone, share)


class Through(msgspec.Struct, frozen=True, kw_only=True, tag="through"):
    """We are always last: only a trade beyond our price fills, as when nothing is known of the queue."""

    def filled(self, open_steps: int, ahead: int, traded: int) -> int:
        """See `QueueModel`."""
        return 0

    def left_ahead(self, ahead: int, behind: int, gone: int) -> int:
        """See `QueueModel`."""
        return 0


class QueuePosition:
    """One resting order's place at its price, and what is open of it.

    Args:
        model: the assumption.
        qty_steps: of the order.
        level_steps: what rests at its price when it arrives; None where nobody can tell, and then all that ever shows
            there is ahead.
    """

    def __init__(self, model: QueueModel, *, qty_steps: int, level_steps: int | None) -> None:
        self._model = model
        self._open_steps = qty_steps
        self._ahead = 0
        self._shown = 0  # what the level showed last
        self._unseen = 0  # traded since, and not yet seen to be missing
        self._join(level_steps)

    @property
    def open_steps(self) -> int:
        """Return what has not filled yet."""
        return self._open_steps

    @property
    def ahead(self) -> int:
        """Return what stands before us, `UNKNOWN_AHEAD` or nearly as much where nobody can tell."""
        return self._ahead

    def traded(self, qty_steps: int, *, at_most: int = UNKNOWN_AHEAD) -> int:
        """Return what fills when takers of the other side trade so much at our price.

        Args:
            qty_steps: the trade.
            at_most: what of it is left for us, where another order of ours was before this one.
        """
        filled = min(self._model.filled(self._open_steps, self._ahead, qty_steps), at_most)
        self._ahead = max(0, self._ahead - qty_steps)
        self._unseen += qty_steps
        self._open_steps -= filled
        return filled

    def traded_through(self) -> int:
        """Return what fills when a trade is strictly beyond our price: all the rest, for it would have met us first."""
        filled, self._open_steps = self._open_steps, 0
        self._ahead = 0
        return filled

    def level_changed(self, level_steps: int | None) -> None:
        """Take in what now rests at our price; None, that nobody can tell any more, changes nothing."""
        if level_steps is None:
            return
        gone = self._shown - self._unseen - level_steps
        if gone > 0:
            behind = level_steps + gone - self._ahead
            self._ahead -= self._model.left_ahead(self._ahead, behind, gone)
        self._unseen = 0
        self._ahead = min(self._ahead, level_steps)
        self._shown = level_steps

    def amended(self, open_steps: int, *, level_steps: int | None) -> None:
        """Change what is open: less keeps the place, more goes to the end of what rests there.

        An amended price is a new place: make another position.
        """
        if open_steps > self._open_steps:
            self._join(level_steps)
        self._open_steps = open_steps

    def _join(self, level_steps: int | None) -> None:
        self._ahead = self._shown = UNKNOWN_AHEAD if level_steps is None else level_steps
        self._unseen = 0


def assumed_ahead(traded: TradedHours, at_ns: int, *, multiple: int = ASSUMED_MULTIPLE) -> int:
    """Return what to take for the quantity at a price where there is no book, in steps.

    It is `multiple` times what has traded per visit of a price in the whole hours of the day before `at_ns`, and
    `UNKNOWN_AHEAD` where nothing has: then only a trade beyond the price fills.
    """
    level_steps = traded.level_qty(at_ns)
    return UNKNOWN_AHEAD if level_steps is None else multiple * level_steps


@njit(cache=True, nogil=True)
def scan_level(price_ticks, qty_steps, is_buy, start, stop, level, is_bid, ahead):  # type: ignore[no-untyped-def]
    """Find the trade with which an order in a queue starts to fill, as long as the book does not change.

    Args:
        price_ticks, qty_steps, is_buy: columns of trades.
        start, stop: the rows to look at.
        level: our price, in ticks.
        is_bid: our order buys.
        ahead: what stands before us, in steps; 0 for `Touch`, `UNKNOWN_AHEAD` for `Through`.

    Returns:
        The first row that trades strictly beyond our price, or with which takers of the other side have traded more
        than `ahead` at it, -1 where none does; and what they traded at it in the rows before.
    """
    traded = 0
    for row in range(start, stop):
        price = price_ticks[row]
        if price == level:
            if is_buy[row] != is_bid:
                if traded + qty_steps[row] > ahead:
                    return row, traded
                traded += qty_steps[row]
        elif (price < level) == is_bid:
            return row, traded
    return -1, traded


def _in_turn(open_steps: int, ahead: int, traded: int) -> int:
    return min(open_steps, max(0, traded - ahead))
