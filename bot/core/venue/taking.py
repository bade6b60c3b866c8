"""Orders take: what the market offers, and our own resting orders before it where they are better.

Where there is a book its levels are on offer. Where there is none, the price of the next row is, for any quantity, made
worse by spread, slippage and the impact of the order's size.
"""

from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from bot.core.tape import FAR
from bot.core.venue.facts import CancelType
from bot.core.venue.fills import Fills
from bot.core.venue.floor import Floor
from bot.core.venue.market import Live, Market, opposite, taker_ticks
from bot.core.venue.orders import Kind, PriceSource, RejectReason, Smp, Status, Tif
from bot.domain.instrument import Side

_IMPACT_QUANTUM = Decimal("1e-8")


class _Offer(NamedTuple):
    """What the market has at a price."""

    ticks: int
    steps: int


class Taking:
    """Lets orders enter the market."""

    def __init__(self, floor: Floor, fills: Fills) -> None:
        self._floor = floor
        self._fills = fills

    def enter(self, market: Market, live: Live, ts_ns: int) -> None:
        """Let an order that the account has accepted take, or rest."""
        record = live.record
        reached = record.kind is Kind.MARKET or self._is_reached(market, live, ts_ns)
        if reached and record.time_in_force is Tif.POST_ONLY:
            status = Status.REJECTED if market.contract.kind == "spot" else Status.CANCELLED
            self._floor.end(market, live, ts_ns, status=status, reason=RejectReason.POST_ONLY)
        elif reached:
            self._begin(market, live, ts_ns)
        elif record.time_in_force is Tif.IOC:
            self._floor.end(market, live, ts_ns, reason=RejectReason.NOTHING)
        elif record.time_in_force is Tif.FOK:
            self._floor.end(market, live, ts_ns, reason=RejectReason.NOT_ENOUGH)
        else:
            self._fills.rest(market, live, ts_ns)

    def take_due(self, market: Market, ts_ns: int) -> None:
        """Let the first of the waiting takers meet its row."""
        tape = market.last.tape
        due: list[tuple[int, int, int, Live]] = []
        for live in market.taking.values():
            taken = tape.take(live.row, live.arrived_ns)
            if taken is not None and taken[0] <= ts_ns:
                due.append((taken[0], live.number, taken[1], live))
        _, _, ticks, live = min(due, key=lambda item: item[:2])
        market.at[PriceSource.LAST] = ticks
        self._take(market, live, self._offer_at(market, live, ticks, ts_ns), ts_ns)
        market.at.clear()

    def _begin(self, market: Market, live: Live, ts_ns: int) -> None:
        live.arrived_ns = ts_ns
        market.taking[live.order_id] = live
        market.is_stale = True
        if self._floor.has_book(market, ts_ns):
            assert market.book is not None
            live.row = FAR
            wanted = FAR if live.budget is not None else live.open_steps
            offers = [_Offer(*level) for level in market.book.walk(live.side, wanted, live.ticks)]
            self._take(market, live, offers, ts_ns)
        elif market.row is None:
            live.row = market.last.tape.take_row(ts_ns)
        elif market.is_bars:
            live.row = FAR  # it takes at once, where the price is on its way through the bar
            at = market.at[PriceSource.LAST]
            self._take(market, live, self._offer_at(market, live, at, ts_ns), ts_ns)
        else:
            live.row = market.row + 1  # what has triggered it has traded already

    def _offer_at(self, market: Market, live: Live, at: int, ts_ns: int) -> list[_Offer]:
        """Return what a taker is taken to find where there is no book and the price is `at`."""
        sign, model = live.side.sign, self._floor.model
        if self._is_bounded(market, live) and (at - live.ticks) * sign > 0:
            return []  # the price has left the limit behind
        touch = at if model.spread is None else model.spread.taker_ticks(live.side, at)
        ticks = taker_ticks(live.side, touch, self._worse(market, live, ts_ns))
        if live.record.kind is Kind.LIMIT:
            ticks = min(ticks, live.ticks) if live.side is Side.BUY else max(ticks, live.ticks)
        return [_Offer(ticks, FAR)]

    def _take(self, market: Market, live: Live, offers: list[_Offer], ts_ns: int) -> None:
        """Let an order take from the offers, best first, and of our own resting orders what is better."""
        record, sign = live.record, live.side.sign
        if record.time_in_force is Tif.FOK and not self._fills_whole(market, live, offers):
            self._floor.end(market, live, ts_ns, reason=RejectReason.NOT_ENOUGH)
            return
        for ticks, steps in offers:
            self._meet(market, live, ticks, ts_ns)
            wanted = self._wanted(market, live, ticks)
            if not wanted:
                break
            self._spend(market, live, min(steps, wanted), ticks, ts_ns)
        if live.open_steps:
            self._meet(market, live, live.ticks + sign, ts_ns)
        if not live.open_steps:
            return
        if record.kind is Kind.LIMIT and record.time_in_force is Tif.GTC:
            self._fills.rest(market, live, live.arrived_ns)
        else:
            is_rest = live.budget is not None and live.record.filled_qty
            reason = RejectReason.NOT_FULL if is_rest else RejectReason.NOTHING
            self._floor.end(market, live, ts_ns, reason=reason)

    def _meet(self, market: Market, live: Live, until: int, ts_ns: int) -> None:
        """Let a taker meet our own resting orders that are strictly better than a price."""
        for maker in list(market.resting.reached(opposite(live.side), until)):
            if (maker.ticks - until) * live.side.sign >= 0 or not live.open_steps:
                return
            if maker.order_id not in market.resting:
                continue
            if maker.account == live.account and live.request.smp is not Smp.NONE:
                self._prevent(market, live, maker, ts_ns)
                continue
            steps = min(maker.open_steps, self._wanted(market, live, maker.ticks))
            if not steps:
                return
            self._fills.fill(market, maker, steps, maker.ticks, ts_ns, is_maker=True)
            if live.open_steps:
                self._spend(market, live, min(steps, live.open_steps), maker.ticks, ts_ns)

    def _fills_whole(self, market: Market, live: Live, offers: list[_Offer]) -> bool:
        """Return whether all of an order could be had, without its meeting an order that ends it."""
        sign, needed, left = live.side.sign, live.open_steps, list(offers)
        for maker in market.resting.reached(opposite(live.side), live.ticks):
            while left and (left[0].ticks - maker.ticks) * sign <= 0:
                needed -= left.pop(0).steps
            if needed <= 0:
                return True
            if maker.account != live.account or live.request.smp is Smp.NONE:
                needed -= maker.open_steps
            elif live.request.smp is not Smp.CANCEL_MAKER:
                return False
        return needed - sum(offer.steps for offer in left) <= 0

    def _wanted(self, market: Market, live: Live, ticks: int) -> int:
        """Return how much a taker takes at a price; one with a budget takes what that pays for there."""
        if live.budget is None or not live.open_steps:
            return live.open_steps
        instrument = market.instrument
        price = instrument.price(ticks)
        steps = int(live.budget / price / instrument.qty_step)
        # Where crumbs are left over it never becomes whole.
        live.open_steps = steps + (instrument.qty(steps) * price != live.budget)
        if steps:
            self._floor.accounts[live.account].amend(live.order_id, qty=instrument.qty(steps), price=price)
        return steps

    def _spend(self, market: Market, live: Live, steps: int, ticks: int, ts_ns: int) -> None:
        self._fills.fill(market, live, steps, ticks, ts_ns, is_maker=False)
        if live.budget is not None:
            live.budget -= market.instrument.qty(steps) * market.instrument.price(ticks)

    def _is_bounded(self, market: Market, live: Live) -> bool:
        """Return whether an order's limit holds against the price it takes.

        Without a price of its own to be around, the band of a market order is around the last price, which may be old
        when the next is known: the mark would have moved with the market, so it does not count.
        """
        request = live.request
        if request.kind is Kind.LIMIT or request.slippage_ticks is not None or request.slippage_fraction is not None:
            return True
        return (PriceSource.INDEX if market.contract.kind == "spot" else PriceSource.MARK) in market.streams

    def _worse(self, market: Market, live: Live, ts_ns: int) -> Decimal:
        """Return how much worse than the price at hand a taker fares, a fraction."""
        worse, impact = self._floor.model.slippage, self._floor.model.impact
        if impact is not None and market.hours is not None:
            moved = Decimal(repr(impact.fraction(market.hours, live.open_steps, ts_ns)))
            worse += moved.quantize(_IMPACT_QUANTUM, rounding=ROUND_CEILING)
        return worse

    def _prevent(self, market: Market, taker: Live, maker: Live, ts_ns: int) -> None:
        """Keep two orders of one account from meeting."""
        smp = taker.request.smp
        if smp in (Smp.CANCEL_MAKER, Smp.CANCEL_BOTH):
            self._end_by_smp(market, maker, taker, ts_ns)
        if smp in (Smp.CANCEL_TAKER, Smp.CANCEL_BOTH):
            self._end_by_smp(market, taker, maker, ts_ns)

    def _end_by_smp(self, market: Market, live: Live, other: Live, ts_ns: int) -> None:
        self._floor.end(
            market,
            live,
            ts_ns,
            cancel=CancelType.SELF_MATCH,
            reason=RejectReason.SELF_MATCH,
            smp_order_id=other.order_id,
        )

    def _is_reached(self, market: Market, live: Live, ts_ns: int) -> bool:
        """Return whether the market, as far as it is known, would meet a limit order at once."""
        sign = live.side.sign
        if self._floor.has_book(market, ts_ns):
            assert market.book is not None
            last = market.book.best_ask() if live.side is Side.BUY else market.book.best_bid()
        else:
            last = market.price_at(PriceSource.LAST, ts_ns)
        if last is not None and (live.ticks - last) * sign >= 0:
            return True
        best = market.resting.best(opposite(live.side))
        return best is not None and (live.ticks - best) * sign >= 0
