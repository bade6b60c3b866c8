"""Orders are taken on, rest, and fill; and what an execution changes of everything else."""

from collections.abc import Iterable

from msgspec.structs import replace

from bot.core.tape import FAR
from bot.core.venue.exits import PositionExits
from bot.core.venue.facts import Execution, Fact, OrderCut, OrderDropped, Refusal, VenueOrder
from bot.core.venue.floor import Floor
from bot.core.venue.market import Live, Market
from bot.core.venue.orders import Kind, NewOrder, PriceSource, Status, Told
from bot.core.venue.queue import QueuePosition, assumed_ahead
from bot.domain.instrument import Side


class Fills:
    """Books what happens to orders."""

    def __init__(self, floor: Floor, exits: PositionExits) -> None:
        self._floor = floor
        self._exits = exits
        self._trades = dict.fromkeys(floor.markets, 0)

    def rest(self, market: Market, live: Live, ts_ns: int) -> None:
        """Let an order wait in the book, behind what is there."""
        market.taking.pop(live.order_id, None)
        live.since_row = market.last.tape.rest_row(ts_ns) if market.row is None else market.row + 1
        market.resting[live.order_id] = live
        self.queue_up(market, live, ts_ns)

    def queue_up(self, market: Market, live: Live, ts_ns: int) -> None:
        """Put a resting order at the end of the queue at its price."""
        market.is_stale = True
        if not self._floor.is_queued or market.is_bars:
            return
        book = market.book
        level: int | None = None
        if book is not None and market.changes is not None:
            book.advance(ts_ns)
            market.changes.join(live, book.row)
            level = book.qty_at("bid" if live.side is Side.BUY else "ask", live.ticks)
        elif market.hours is not None:
            level = assumed_ahead(market.hours, ts_ns)
        live.place = QueuePosition(self._floor.model.queue, qty_steps=live.open_steps, level_steps=level)

    def place(self, market: Market, live: Live, ts_ns: int) -> Refusal | None:
        """Have the account take an order on; the order is cut to what it accepts."""
        account = self._floor.accounts[live.account]
        refusal = self._floor.revalue(account, ts_ns, market)
        if refusal is not None:
            return refusal
        record = live.record
        instrument = market.instrument
        price = instrument.price(live.ticks)
        if live.budget is not None:  # what it holds of the quote coin is what it may spend, whatever the price
            price = live.budget / record.open_qty
        order = VenueOrder(
            order_id=record.order_id,
            instrument=record.instrument,
            side=record.side,
            qty=record.open_qty,
            price=price,
            reduce_only=record.reduce_only,
            position_index=record.position_index,
        )
        accepted = account.place(order, is_affordable=self._floor.affords(live.account, order))
        if isinstance(accepted, Refusal):
            return accepted
        self._floor.lean(live.account)
        if accepted.qty != record.open_qty:
            live.record = replace(record, qty=record.filled_qty + accepted.qty)
        if accepted.reduce_only and not record.reduce_only:
            live.record = replace(live.record, reduce_only=True)
        live.open_steps = instrument.steps(accepted.qty)
        return None

    def limit_ticks(self, market: Market, request: NewOrder, side: Side, ts_ns: int) -> int:
        """Return an order's limit; a market order's is the venue's price band around the mark."""
        if request.kind is Kind.LIMIT:
            assert request.price is not None
            return market.instrument.ticks(request.price)
        mark = market.price_at(PriceSource.MARK, ts_ns)
        if mark is None:
            return 1 if side is Side.SELL else FAR
        index = market.price_at(PriceSource.INDEX, ts_ns)
        bound = max(1, market.contract.band_ticks(side, mark=mark, index=mark if index is None else index))
        if request.slippage_ticks is None and request.slippage_fraction is None:
            return bound
        last = self._floor.touch_price(market, side, ts_ns)
        tolerance = request.slippage_ticks
        if last is not None and request.slippage_fraction is not None:
            tolerance = int(last * request.slippage_fraction)
        if last is None or tolerance is None:
            return bound
        return min(bound, last + tolerance) if side is Side.BUY else max(bound, last - tolerance)

    def fill(self, market: Market, live: Live, steps: int, ticks: int, ts_ns: int, *, is_maker: bool) -> None:
        """Book an execution, and all that follows from it."""
        account = self._floor.accounts[live.account]
        instrument = market.instrument
        record = live.record
        is_rest = steps == live.open_steps and live.budget is None
        qty = record.open_qty if is_rest else instrument.qty(steps)
        price = record.price if ticks == live.ticks and record.kind is Kind.LIMIT else instrument.price(ticks)
        before = account.state.qty(live.key)
        self._trades[instrument.name] += 1
        facts = account.fill(
            live.order_id,
            qty=qty,
            price=price,
            is_maker=is_maker,
            ts_ns=ts_ns,
            trade_id=f"{instrument.name}-{self._trades[instrument.name]}",
        )
        execution = facts[0]
        assert isinstance(execution, Execution)
        live.open_steps -= steps
        if live.place is not None and live.place.open_steps > live.open_steps:
            live.place.amended(live.open_steps, level_steps=None)  # an order of ours took it, not the queue's trade
        filled = record.filled_qty + qty
        live.record = replace(
            record,
            status=Status.PARTIALLY_FILLED if live.open_steps else Status.FILLED,
            # One sized in the quote coin buys more or less than it was first reckoned to, as the price is.
            qty=filled if live.budget is not None and not live.open_steps else max(record.qty, filled),
            filled_qty=filled,
            filled_value=record.filled_value + qty * price,
            fee=record.fee + execution.fee,
            updated_ns=ts_ns,
        )
        if not live.open_steps:
            market.drop(live)
        market.is_stale = True
        self._floor.told.append(Told(live.account, execution))
        self._floor.tell(live, ts_ns)
        self._floor.touch(live.account)
        self.absorb(live.account, facts[1:], ts_ns)
        if market.contract.kind == "linear":
            self._exits.follow_position(market, live.account, live.key, before, ts_ns)
            self._exits.attach(market, live, execution, ts_ns)

    def absorb(self, account: str, facts: Iterable[Fact], ts_ns: int) -> None:
        """Do to the orders what the account's books have done to theirs, and tell of it."""
        for fact in facts:
            if isinstance(fact, OrderCut):
                market = self._floor.markets[fact.instrument]
                live = self._floor.find(market, fact.order_id)
                if live is not None:
                    live.open_steps = market.instrument.steps(fact.qty)
                    if live.place is not None:
                        live.place.amended(live.open_steps, level_steps=None)
                    live.record = replace(live.record, qty=live.record.filled_qty + fact.qty, updated_ns=ts_ns)
                    self._floor.tell(live, ts_ns)
            elif isinstance(fact, OrderDropped):
                market = self._floor.markets[fact.instrument]
                live = self._floor.find(market, fact.order_id)
                if live is not None:
                    self._floor.end(market, live, ts_ns, cancel=fact.cancel_type)
            else:
                self._floor.told.append(Told(account, fact))
