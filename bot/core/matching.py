"""The venue model: what a venue does with orders, positions and money, on recorded market data.

`VenueModel` is told what clients ask for and what time it is, and answers as the venue would: with a refusal, or with
the order's record; and with facts. It is pure and knows no delays: when something reaches it, it is now. Replay and
emulator use the same one. `docs/fills.md` argues every assumption about fills, `docs/venue_orders.md` and
`docs/venue_account.md` list what the venue's rules leave open.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Literal

from msgspec.structs import replace

from bot.core.venue.account import VenueAccount
from bot.core.venue.admission import check_prices, check_room
from bot.core.venue.amending import Amending
from bot.core.venue.exits import PositionExits
from bot.core.venue.facts import CancelType, Refusal
from bot.core.venue.fills import Fills
from bot.core.venue.filters import (
    DUPLICATE,
    NOTIONAL,
    UNKNOWN,
    check_exit_sides,
    check_shape,
    check_trigger,
    refuse,
)
from bot.core.venue.floor import Floor
from bot.core.venue.guard import MarginGuard
from bot.core.venue.interventions import Interventions
from bot.core.venue.margin import Margin
from bot.core.venue.market import FillModel, Live, Market
from bot.core.venue.matcher import Matcher
from bot.core.venue.orders import (
    Amendment,
    NewOrder,
    OrderRecord,
    PriceSource,
    RejectReason,
    Status,
    StopKind,
    StopsHeld,
    StopsWanted,
    Told,
    open_record,
)
from bot.core.venue.preview import preview
from bot.core.venue.stop_requests import StopRequests
from bot.core.venue.taking import Taking
from bot.domain.market import BarBatch, BookDeltaBatch, FundingBatch, TradeBatch

OrderFilter = Literal["all", "order", "stop", "conditional"]

CANCEL_ALL_MAX = 500  # orders that one cancel-all reaches


class VenueModel:
    """One venue: its markets and its accounts.

    Args:
        markets: what is traded, with the prices to come.
        accounts: who trades, by name; each must know the contracts of all markets.
        model: what is assumed where the market data does not tell.
        name_order: makes the venue's order id of the order's number; by default "sim-1" and so on.
    """

    def __init__(
        self,
        markets: Iterable[Market],
        accounts: Mapping[str, VenueAccount],
        model: FillModel,
        name_order: Callable[[int], str] = "sim-{}".format,
    ) -> None:
        self.markets = {market.instrument.name: market for market in markets}
        self.accounts = dict(accounts)
        self._floor = Floor(self.markets, self.accounts, model, name_order)
        self._exits = PositionExits(self._floor)
        self._fills = Fills(self._floor, self._exits)
        self._guard = MarginGuard(self._floor, self._fills, self._exits)
        self._taking = Taking(self._floor, self._fills)
        self._amending = Amending(self._floor, self._fills, self._taking, self._exits)
        self._stop_requests = StopRequests(self._floor, self._exits)
        self._matcher = Matcher(self._floor, self._fills, self._taking, self._exits, self._guard)
        self._interventions = Interventions(self._floor, self._fills, self._exits)
        self._ids: dict[tuple[str, str], str] = {}  # by account and client order id: never forgotten

    # The market

    def extend(self, batch: TradeBatch | BarBatch, now_ns: int, source: PriceSource = PriceSource.LAST) -> None:
        """Append prices that run ahead of the clock; what lies before `now_ns` is needed no more."""
        self.markets[batch.instrument.name].extend(batch, now_ns, source)

    def extend_book(self, batch: BookDeltaBatch, now_ns: int) -> None:
        """Append changes of a book that run ahead of the clock."""
        self.markets[batch.instrument.name].extend_book(batch, now_ns)

    def set_funding(self, funding: FundingBatch) -> None:
        """Settle an instrument's funding at these rates."""
        market = self.markets[funding.instrument.name]
        market.funding, market.funding_row, market.is_stale = funding, 0, True

    # Time

    def next_ns(self) -> int | None:
        """Return when the next thing happens that the tape so far tells of, None if nothing does."""
        return self._matcher.next_ns()

    def advance(self, now_ns: int) -> list[Told]:
        """Return what happens up to and at `now_ns`, in order."""
        self._matcher.advance(now_ns)
        return self._floor.drain()

    # What clients ask for

    def submit(self, account: str, request: NewOrder, now_ns: int) -> tuple[OrderRecord | Refusal, list[Told]]:
        """Take an order, or refuse it; and return what happens up to and at `now_ns`."""
        self._matcher.advance(now_ns)
        return self._submit(account, request, now_ns), self._finish(now_ns)

    def amend(
        self, account: str, instrument: str, order_id: str, change: Amendment, now_ns: int
    ) -> tuple[OrderRecord | Refusal, list[Told]]:
        """Change an order, named by the venue's id or the client's."""
        self._matcher.advance(now_ns)
        live = self._find(account, instrument, order_id)
        if live is None:
            return self._unknown(instrument), self._finish(now_ns)
        return self._amending.amend(live, change, now_ns), self._finish(now_ns)

    def cancel(
        self, account: str, instrument: str, order_id: str, now_ns: int
    ) -> tuple[OrderRecord | Refusal, list[Told]]:
        """Cancel an order, named by the venue's id or the client's."""
        self._matcher.advance(now_ns)
        live = self._find(account, instrument, order_id)
        if live is None:
            return self._unknown(instrument), self._finish(now_ns)
        self._cancel(live, now_ns)
        return live.record, self._finish(now_ns)

    def cancel_all(
        self,
        account: str,
        now_ns: int,
        *,
        instruments: Iterable[str],
        only: OrderFilter = "all",
        pick: Callable[[Sequence[str]], Iterable[str]] = lambda order_ids: order_ids[:CANCEL_ALL_MAX],
    ) -> tuple[list[OrderRecord], list[Told]]:
        """Cancel an account's orders of some instruments.

        Args:
            account: whose.
            now_ns: the time.
            instruments: of what.
            only: which kind of orders.
            pick: chooses which of the order ids, oldest first, one request reaches; by default the oldest.
        """
        self._matcher.advance(now_ns)
        found = {live.order_id: live for live in self._lives(account, instruments, only)}
        canceled: list[OrderRecord] = []
        for live in [found[order_id] for order_id in pick(list(found))]:
            if live.record.is_open:
                self._cancel(live, now_ns)
                canceled.append(live.record)
        return canceled, self._finish(now_ns)

    def set_stops(self, account: str, wanted: StopsWanted, now_ns: int) -> tuple[Refusal | None, list[Told]]:
        """Give a position a take profit, a stop loss or a trailing stop, or take them away."""
        self._matcher.advance(now_ns)
        return self._stop_requests.set_stops(account, wanted, now_ns), self._finish(now_ns)

    def set_leverage(
        self, account: str, instrument: str, leverage: Decimal, now_ns: int
    ) -> tuple[Refusal | None, list[Told]]:
        """Change an account's leverage in an instrument."""
        self._matcher.advance(now_ns)
        books = self.accounts[account]
        self._floor.revalue(books, now_ns, self.markets[instrument])
        return books.set_leverage(instrument, leverage), self._finish(now_ns, touched=account)

    def switch_mode(
        self, account: str, instrument: str, *, hedged: bool, now_ns: int
    ) -> tuple[Refusal | None, list[Told]]:
        """Let an account hold one position of an instrument, or a long and a short one side by side."""
        self._matcher.advance(now_ns)
        waiting = any(live.account == account for live in self.markets[instrument].orders())
        if waiting and hedged != (instrument in self.accounts[account].state.hedged):
            return Refusal(code="110028", reason="there are open orders"), self._finish(now_ns)
        return self.accounts[account].switch_mode(instrument, hedged=hedged), self._finish(now_ns)

    def orders(self, account: str) -> list[OrderRecord]:
        """Return an account's open orders, oldest first."""
        mine = [live for market in self.markets.values() for live in market.orders() if live.account == account]
        return [live.record for live in sorted(mine, key=lambda live: live.number)]

    def stops(self, account: str, instrument: str, position_index: int = 0) -> StopsHeld:
        """Return the exits that the venue keeps for a whole position."""
        prices: dict[StopKind, Decimal] = {}
        distance = None
        market = self.markets[instrument]
        for live in self._exits.exits_of(market, account, (instrument, position_index)):
            if live.record.trigger is not None:
                prices[live.record.stop_kind] = live.record.trigger.price
            if live.record.stop_kind is StopKind.TRAILING_STOP:
                distance = market.instrument.price(live.distance)
        return StopsHeld(
            take_profit=prices.get(StopKind.TAKE_PROFIT),
            stop_loss=prices.get(StopKind.STOP_LOSS),
            trailing_distance=distance,
        )

    def preview(
        self, account: str, request: NewOrder, now_ns: int
    ) -> tuple[tuple[Margin, Margin] | Refusal, list[Told]]:
        """Return an account's margin before and after an order that is not placed, or why it would be refused.

        Conditional orders take no margin before they trigger: their margin afterwards is that before.
        """
        self._matcher.advance(now_ns)
        return preview(self._floor, self._fills, account, request, now_ns), self._finish(now_ns)

    # What nobody asks for

    def deleverage(
        self, account: str, instrument: str, now_ns: int, *, position_index: int = 0, qty: Decimal | None = None
    ) -> list[Told]:
        """Reduce a position at the last price, as for another's liquidation; by half where no quantity is given."""
        self._matcher.advance(now_ns)
        self._interventions.deleverage(account, (instrument, position_index), qty, now_ns)
        return self._finish(now_ns)

    def transfer(self, account: str, coin: str, amount: Decimal, now_ns: int) -> list[Told]:
        """Book a transfer into the account or, where the amount is negative, out of it, whatever that leads to."""
        self._matcher.advance(now_ns)
        self._interventions.transfer(account, coin, amount, now_ns)
        return self._finish(now_ns)

    def surplus(self, account: str, now_ns: int) -> Decimal:
        """Return how much an account may lose before it is liquidated, USD; 0 where it holds nothing."""
        return self._interventions.surplus(account, now_ns)

    def cancel_for(
        self,
        account: str,
        now_ns: int,
        *,
        instruments: Iterable[str],
        cancel_type: CancelType,
        only: OrderFilter = "all",
    ) -> list[Told]:
        """Cancel an account's orders as the venue does of its own accord, for a reason of its own."""
        self._matcher.advance(now_ns)
        self._interventions.cancel(self._lives(account, instruments, only), cancel_type, now_ns)
        return self._finish(now_ns)

    # Behind the curtain

    def _lives(self, account: str, instruments: Iterable[str], only: OrderFilter) -> list[Live]:
        """Return an account's open orders of some instruments, oldest first."""
        found = [
            live
            for name in instruments
            for live in self.markets[name].orders()
            if live.account == account and _is_wanted(live, only)
        ]
        return sorted(found, key=lambda live: live.number)

    def _finish(self, now_ns: int, touched: str | None = None) -> list[Told]:
        matcher = self._matcher
        if touched is not None:
            self._floor.touch(touched)
        self._guard.check_accounts(now_ns)
        matcher.advance(now_ns)
        return self._floor.drain()

    def _find(self, account: str, instrument: str, order_id: str) -> Live | None:
        """Return an open order, named by the venue's id or the client's."""
        market = self.markets[instrument]
        named = self._ids.get((account, order_id), order_id)
        live = market.resting.get(named) or market.taking.get(named) or market.waiting.get(named)
        return live if live is not None and live.account == account else None

    def _unknown(self, instrument: str) -> Refusal:
        contract = self.markets[instrument].contract
        return refuse(contract, UNKNOWN, "order does not exist, or it is too late")

    def _submit(self, account: str, request: NewOrder, now_ns: int) -> OrderRecord | Refusal:
        market = self.markets[request.instrument]
        contract = market.contract
        checked = check_shape(contract, request)
        if isinstance(checked, Refusal):
            return checked
        request = checked
        client_id = request.client_order_id
        if client_id and (account, client_id) in self._ids:
            return refuse(contract, DUPLICATE, "duplicate client order id")
        refusal = check_room(account, market, request)
        if refusal is not None:
            return refusal
        market.settle(now_ns)
        if request.trigger is not None:
            return self._submit_conditional(account, market, request, now_ns)
        last = market.price_at(PriceSource.LAST, now_ns)
        order_id, number = self._floor.new_id()
        live = Live(account, number, request, open_record(order_id, request, now_ns))
        live.ticks = self._fills.limit_ticks(market, request, request.side, now_ns)
        if request.is_quote_qty and last is not None:
            live.budget = request.qty
            request = replace(request, qty=contract.instrument.round_qty(request.qty / market.instrument.price(last)))
            live.request, live.record = request, replace(live.record, qty=request.qty)
        refusal = check_prices(market, live.request, now_ns) or self._resolve_close(account, live)
        refusal = refusal or self._fills.place(market, live, now_ns)
        if refusal is not None:
            return refusal
        live.record = replace(
            live.record,
            price=market.instrument.price(live.ticks),
            last_price=None if last is None else market.instrument.price(last),
        )
        self._keep(live)
        self._floor.tell(live, now_ns)
        created = live.record
        self._taking.enter(market, live, now_ns)
        return created

    def _submit_conditional(
        self, account: str, market: Market, request: NewOrder, now_ns: int
    ) -> OrderRecord | Refusal:
        trigger = request.trigger
        assert trigger is not None
        current = market.price_at(trigger.source, now_ns)
        if current is None:
            return Refusal(code="110118", reason=f"{request.instrument} has no price yet")
        price = market.instrument.price(current)
        refusal = check_trigger(trigger.price, price, is_rise=trigger.is_rise)
        refusal = refusal or check_exit_sides(request, request.price or trigger.price)
        if refusal is not None:
            return refusal
        order_id, number = self._floor.new_id()
        record = replace(
            open_record(order_id, request, now_ns),
            status=Status.UNTRIGGERED,
            stop_kind=StopKind.STOP,
            last_price=price,
        )
        live = Live(account, number, request, record)
        self._exits.wait(market, live, now_ns)
        self._keep(live)
        self._floor.tell(live, now_ns)
        return record

    def _keep(self, live: Live) -> None:
        if live.record.client_order_id:
            self._ids[live.account, live.record.client_order_id] = live.order_id

    def _resolve_close(self, account: str, live: Live) -> Refusal | None:
        """Give an order of quantity 0 the quantity of the position it closes; spot has none."""
        if live.record.qty:
            return None
        contract = self.markets[live.record.instrument].contract
        if contract.kind == "spot":
            return refuse(contract, NOTIONAL, "the amount does not pay for the least quantity")
        qty = abs(self.accounts[account].state.qty(live.key))
        if not qty:
            return Refusal(code="110017", reason="current position is zero, cannot fix reduce-only order qty")
        live.record = replace(live.record, qty=qty)
        return None

    def _cancel(self, live: Live, now_ns: int) -> None:
        market = self.markets[live.record.instrument]
        market.settle(now_ns)
        self._floor.end(market, live, now_ns, cancel=CancelType.USER, reason=RejectReason.BY_USER)


def _is_wanted(live: Live, only: OrderFilter) -> bool:
    is_waiting = live.record.status is Status.UNTRIGGERED
    if only == "conditional":
        return is_waiting and live.record.stop_kind is StopKind.STOP
    return only == "all" or is_waiting == (only == "stop")
