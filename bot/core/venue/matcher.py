"""Time passes at the venue: rows of prices fill orders and pull triggers, funding is settled.

Everything that can happen by itself happens here, in order of time; what clients ask for is in `bot.core.matching`.
The tape runs ahead of the clock, and the matcher looks no further on it than the event it reports.
"""

from collections.abc import Iterable
from decimal import Decimal

from msgspec.structs import replace

from bot.core.tape import FAR, BarTape, TradeTape, Trail, Watch
from bot.core.venue.exits import WHOLE, PositionExits
from bot.core.venue.facts import CancelType, Refusal
from bot.core.venue.fills import Fills
from bot.core.venue.floor import Floor
from bot.core.venue.guard import MarginGuard
from bot.core.venue.market import BarPath, Live, Market, Step
from bot.core.venue.orders import PriceSource, RejectReason, Status, StopKind
from bot.core.venue.taking import Taking
from bot.domain.account import ZERO
from bot.domain.errors import InvariantBroken
from bot.domain.instrument import Side

_STEP_OF = {PriceSource.LAST: Step.LAST, PriceSource.MARK: Step.MARK, PriceSource.INDEX: Step.INDEX}
_SOURCE_OF = {step: source for source, step in _STEP_OF.items()}


_NOTHING = Watch()
_FEW = 4  # of no more orders each is looked at


class Matcher:
    """Lets time pass."""

    def __init__(self, floor: Floor, fills: Fills, taking: Taking, exits: PositionExits, guard: MarginGuard) -> None:
        self._floor = floor
        self._fills = fills
        self._taking = taking
        self._exits = exits
        self._guard = guard
        self._now_ns = -FAR

    def next_ns(self) -> int | None:
        """Return when the next thing happens that the tape so far tells of, None if nothing does."""
        due = self._next()
        return None if due is None else due[0]

    def advance(self, now_ns: int) -> None:
        """Let happen all that happens up to and at `now_ns`."""
        while (due := self._next()) is not None and due[0] <= now_ns:
            ts_ns, step, market = due
            if ts_ns < self._now_ns:
                raise InvariantBroken(f"{market.instrument.name}: time goes back from {self._now_ns} to {ts_ns}")
            self._now_ns = ts_ns
            market.is_stale = True
            match step:
                case Step.TAKE:
                    self._taking.take_due(market, ts_ns)
                case Step.FUNDING:
                    self._settle_funding(market, ts_ns)
                case Step.BOOK:
                    assert market.changes is not None
                    market.settle(ts_ns)
                    market.changes.happen(ts_ns)
                case _:
                    self._pass_row(market, _SOURCE_OF[step], ts_ns)
            self._guard.check_accounts(ts_ns)
        self._now_ns = max(self._now_ns, now_ns)

    def _next(self) -> tuple[int, Step, Market] | None:
        best: tuple[int, Step, Market] | None = None
        for market in self._floor.markets.values():
            if market.is_stale:
                market.next, market.is_stale = self._next_of(market), False
            due = market.next
            if due is not None and (best is None or due < best[:2]):
                best = due[0], due[1], market
        return best

    def _next_of(self, market: Market) -> tuple[int, Step] | None:
        due: list[tuple[int, Step]] = []
        tape = market.last.tape
        for live in market.taking.values():
            taken = tape.take(live.row, live.arrived_ns)
            if taken is not None:
                if taken[0] <= self._now_ns:
                    return taken[0], Step.TAKE  # nothing can come before it: of one instant takers are first
                due.append((taken[0], Step.TAKE))
        for source, stream in market.streams.items():
            watch = self._watch(market, source)
            if watch is None:
                stream.found = None
                continue
            ts_ns = stream.look(watch)
            if ts_ns is not None:
                due.append((ts_ns, _STEP_OF[source]))
        for live in market.waiting.following.values():
            assert live.trail is not None
            row, is_event, _ = tape.follow(market.last.row, FAR, live.trail)
            if is_event:
                due.append((tape.seen_ns(row), Step.LAST))
        if market.changes is not None and (changes_ns := market.changes.next_ns()) is not None:
            due.append((changes_ns, Step.BOOK))
        if market.funding is not None and market.funding_row < len(market.funding):
            due.append((int(market.funding.ts_ns[market.funding_row]), Step.FUNDING))
        return min(due, default=None)

    def _watch(self, market: Market, source: PriceSource) -> Watch | None:
        """Return what orders and accounts wait for in one of the prices, None if nothing."""
        falls, rises = market.triggers(source)
        if source is market.mark_source:
            for edges in self._guard.edges.values():
                if (edge := edges.get(market.instrument.name)) is not None:
                    falls, rises = max(falls, edge[0]), min(rises, edge[1])
        watch = Watch(falls, rises)
        if source is PriceSource.LAST and market.resting:
            bid, ask = self._best_of(market, Side.BUY), self._best_of(market, Side.SELL)
            if self._floor.is_touch:
                watch = Watch(max(falls, bid[0] if bid else -FAR), min(rises, ask[0] if ask else FAR))
            else:
                watch = Watch(falls, rises, *(bid or (-FAR, FAR)), *(ask or (FAR, FAR)))
        return None if watch == _NOTHING else watch

    def _best_of(self, market: Market, side: Side) -> tuple[int, int] | None:
        """Return the best limit of a side, and the least that is ahead of an order there."""
        best = market.resting.best(side)
        if best is None:
            return None
        ahead = FAR
        if self._floor.is_queued:
            for live in market.resting.level(side, best):
                if live.place is not None and live.place.ahead < ahead:
                    ahead = live.place.ahead
        return best, ahead

    def _pass_row(self, market: Market, source: PriceSource, ts_ns: int) -> None:
        """Work through the row of one price in which something happens."""
        stream = market.streams[source]
        tape, found = stream.tape, stream.found
        row = found.row if found is not None and found.is_event else tape.end
        is_last = source is PriceSource.LAST
        if not is_last:
            market.settle(ts_ns - 1, only=PriceSource.LAST)  # its orders may be about to change
        if is_last:
            for live in market.waiting.following.values():
                assert live.trail is not None
                row, _, _ = tape.follow(stream.row, row, live.trail)
            market.account_for(row)
            market.row = row
        stream.row, stream.found = row + 1, None
        if isinstance(tape, TradeTape):
            price, steps, is_buy = tape.trade(row)
            if is_last:
                self._print(market, price, steps, is_buy, ts_ns)
            self._glide(market, source, price, price, ts_ns, row)
        else:
            assert isinstance(tape, BarTape)
            self._walk(market, source, tape.bar(row), ts_ns, row)
        market.at.clear()
        market.row = None

    def _print(self, market: Market, price: int, steps: int, is_buy: bool, ts_ns: int) -> None:
        """Let a trade fill the orders that rest at its price or beyond."""
        market.at[PriceSource.LAST] = price
        for side in Side:
            taken = 0
            for live in list(market.resting.reached(side, price)):
                if live.order_id not in market.resting:
                    continue  # what filled before it has ended it
                if live.ticks != price or self._floor.is_touch:
                    self._fills.fill(market, live, live.open_steps, live.ticks, ts_ns, is_maker=True)
                elif live.place is not None and is_buy is (side is Side.SELL):
                    filled = live.place.traded(steps, at_most=max(0, steps - live.place.ahead - taken))
                    taken += filled
                    if filled:
                        self._fills.fill(market, live, filled, price, ts_ns, is_maker=True)

    def _walk(self, market: Market, source: PriceSource, bar: tuple[int, int, int, int], ts_ns: int, row: int) -> None:
        """Take the price through a bar: to the open at a leap, then steadily to both extremes and the close."""
        path = self._path(market, bar)
        at = path[0]
        self._glide(market, source, at, at, ts_ns, row)
        for to in path[1:]:
            self._glide(market, source, at, to, ts_ns, row)
            at = to

    def _path(self, market: Market, bar: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        opened, high, low, close = bar
        down, up = (opened, low, high, close), (opened, high, low, close)
        name, held = market.instrument.name, ZERO
        for account in self._floor.accounts.values():
            held += sum((account.state.qty((name, index)) for index in (0, 1, 2)), ZERO)
        if held and self._floor.model.path is not BarPath.NEAREST:
            return down if (held > 0) == (self._floor.model.path is BarPath.ADVERSE) else up
        if self._floor.model.path is BarPath.ADVERSE:
            # Flat: first to where an entry waits, so that the rest of the bar may go against it.
            goes_down = any(live.side is Side.BUY and live.ticks >= low for live in market.resting.values())
            goes_up = any(live.side is Side.SELL and live.ticks <= high for live in market.resting.values())
            for live in market.waiting.values():
                if live.record.trigger is not None and live.record.trigger.is_rise:
                    goes_up = goes_up or live.trigger_ticks <= high
                else:
                    goes_down = goes_down or live.trigger_ticks >= low
            if goes_down != goes_up:
                return down if goes_down else up
        return down if opened - low <= high - opened else up

    def _glide(self, market: Market, source: PriceSource, start: int, end: int, ts_ns: int, row: int) -> None:
        """Move a price steadily, and let happen what waits on the way, nearest first."""
        is_last = source is PriceSource.LAST
        at = start
        while (hit := self._first_hit(market, source, at, end, row)) is not None:
            level, what = hit
            at = level
            market.at[source] = level
            if isinstance(what, str):
                self._floor.unchecked[what] = None
                self._guard.check_accounts(ts_ns)
                continue
            if what.order_id in market.resting:
                self._fills.fill(market, what, what.open_steps, what.ticks, ts_ns, is_maker=True)
            else:
                self.fire(market, what, ts_ns)
            self._guard.check_accounts(ts_ns)
        market.at[source] = end
        if is_last:
            for live in market.waiting.following.values():
                assert live.trail is not None
                if (end - live.trail.peak) * live.trail.sign > 0:
                    live.trail = Trail(live.trail.sign, live.trail.distance, end)

    def _first_hit(
        self, market: Market, source: PriceSource, start: int, end: int, row: int
    ) -> tuple[int, Live | str] | None:
        """Return what the price meets first between `start` and `end`: an order, or an account's edge."""
        low, high = min(start, end), max(start, end)
        best: tuple[int, int, int] | None = None
        found: tuple[int, Live | str] | None = None
        is_bars = market.is_bars

        def offer(level: int, rank: int, number: int, what: Live | str) -> None:
            nonlocal best, found
            key = (abs(level - start), rank, number)
            if best is None or key < best:
                best, found = key, (level, what)

        waiting: Iterable[Live] = market.waiting.values()
        if len(market.waiting) > _FEW and not market.waiting.following:
            falls, rises = market.triggers(source)
            if low > falls and high < rises:
                waiting = ()
        for live in waiting:
            trigger = live.record.trigger
            assert trigger is not None
            if market.stream_of(trigger.source) is not source:
                continue
            if is_bars and source is PriceSource.LAST and live.since_row > row and not live.is_protective:
                continue
            ticks = live.trigger_ticks if live.trail is None else live.trail.stop
            is_rise = trigger.is_rise if live.trail is None else live.trail.sign < 0
            if is_rise and high >= ticks:
                offer(max(ticks, start), 0, live.number, live)
            elif not is_rise and low <= ticks:
                offer(min(ticks, start), 0, live.number, live)
        if is_bars and source is PriceSource.LAST and market.resting:
            slack = 0 if self._floor.is_touch else 1
            bid, ask = market.resting.best(Side.BUY), market.resting.best(Side.SELL)
            is_reached = (bid is not None and low <= bid - slack) or (ask is not None and high >= ask + slack)
            for live in market.resting.values() if is_reached else ():
                if live.since_row > row:
                    continue
                if live.side is Side.BUY and low <= live.ticks - slack:
                    offer(min(live.ticks, start), 0, live.number, live)
                elif live.side is Side.SELL and high >= live.ticks + slack:
                    offer(max(live.ticks, start), 0, live.number, live)
        if source is market.mark_source:
            for number, (name, edges) in enumerate(self._guard.edges.items()):
                if (edge := edges.get(market.instrument.name)) is None:
                    continue
                if low <= edge[0]:
                    offer(min(edge[0], start), 1, number, name)
                elif high >= edge[1]:
                    offer(max(edge[1], start), 1, number, name)
        return found

    def fire(self, market: Market, live: Live, ts_ns: int) -> None:
        """Let an order that waited for its trigger enter the market."""
        record = live.record
        if record.stop_kind is StopKind.TRAILING_STOP and live.trail is None:
            self._exits.activate(market, live, ts_ns)
            return
        del market.waiting[live.order_id]
        market.is_stale = True
        if live.partner is not None:
            cancel = (
                CancelType.STOP_LOSS_HIT
                if record.stop_kind is StopKind.PARTIAL_STOP_LOSS
                else CancelType.TAKE_PROFIT_HIT
            )
            partner, live.partner = live.partner, None
            partner.partner = None
            if partner.record.is_open:
                self._floor.end(market, partner, ts_ns, cancel=cancel)
        state = self._floor.accounts[live.account].state
        qty = record.qty
        if record.stop_kind in WHOLE or (record.close_on_trigger and not qty):
            qty = abs(state.qty(live.key))
        live.record = replace(record, status=Status.TRIGGERED, qty=qty, updated_ns=ts_ns)
        self._floor.tell(live, ts_ns)
        live.ticks = self._fills.limit_ticks(market, live.request, live.side, ts_ns)
        refusal = (
            self._fills.place(market, live, ts_ns) if qty else Refusal(code="110017", reason="the position is closed")
        )
        if refusal is not None:
            self._floor.end(market, live, ts_ns, reason=RejectReason.OTHERS)
            return
        live.record = replace(live.record, status=Status.NEW, price=market.instrument.price(live.ticks))
        self._floor.tell(live, ts_ns)
        self._taking.enter(market, live, ts_ns)

    def _settle_funding(self, market: Market, ts_ns: int) -> None:
        funding = market.funding
        assert funding is not None
        rate = Decimal(int(funding.rate_e8[market.funding_row])).scaleb(-8)
        market.funding_row += 1
        ticks = market.settlement_prices.get(ts_ns) or market.price_at(PriceSource.MARK, ts_ns)
        if ticks is None:
            return
        mark = market.instrument.price(ticks)
        for name, account in self._floor.accounts.items():
            facts = account.settle_funding(market.instrument.name, rate=rate, mark=mark, ts_ns=ts_ns)
            if facts:
                self._floor.touch(name)
                self._fills.absorb(name, facts, ts_ns)
