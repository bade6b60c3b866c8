"""Facts of the venue model to what the venue remembers and what its private streams say."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from bot.core.matching import VenueModel
from bot.core.venue.facts import CreateType, ExecType, Execution, FundingSettled, LiquidationStarted
from bot.core.venue.orders import OrderChanged, OrderRecord, Status, Told
from bot.core.venue.state import PositionKey
from bot.emulator import ids
from bot.emulator.archive import KeptOrder, KeptRow, Notes
from bot.emulator.clients import Client, position_frame, position_record, wallet_record
from bot.emulator.faults import Faults
from bot.emulator.hub import Hub
from bot.emulator.inferred import WALLET_ON_ORDERS
from bot.emulator.listing import Listing, Listings
from bot.emulator.markets import PublicMarket, Sequence
from bot.emulator.public import PublicStreams
from bot.emulator.records import (
    execution_frame,
    execution_record,
    fast_frame,
    funding_record,
    order_frame,
    transaction_record,
)
from bot.emulator.wire import ms_text, plain, plain_e8, side_text


class Relabel(NamedTuple):
    """What an execution that the venue forces is told as."""

    exec_type: str
    create_type: str


class Tellings:
    """Takes note of facts, and tells those who listen.

    Attributes:
        notes: by order id, what a client said of an order that is being told of for the first time.
    """

    def __init__(
        self,
        *,
        seed: int,
        model: VenueModel,
        listings: Listings,
        markets: Mapping[str, PublicMarket],
        clients: Mapping[str, Client],
        hub: Hub,
        public: PublicStreams,
        sequence: Sequence,
        faults: Faults,
    ) -> None:
        self._seed = seed
        self._model = model
        self._listings = listings
        self._markets = markets
        self._clients = clients
        self._hub = hub
        self._public = public
        self._sequence = sequence
        self._faults = faults
        self._forced = 0
        self._logged: dict[str, int] = {}  # by account, rows of the transaction log that are archived
        self.notes: dict[str, Notes] = {}

    def absorb(self, told: Iterable[Told], now_ns: int, label: Relabel | None = None) -> None:
        """Take note of facts, in order, and tell of them; then of the positions and wallets they touch.

        Args:
            told: the facts.
            now_ns: the time.
            label: what forced executions among them are told as.
        """
        positions: dict[tuple[str, PositionKey], None] = {}
        wallets: dict[str, None] = {}
        for account, fact in told:
            client = self._clients[account]
            match fact:
                case OrderChanged():
                    listing = self._listings.named(fact.order.instrument)
                    self._order(client, listing, fact.order, now_ns)
                    if not listing.is_spot:
                        positions[account, (listing.name, fact.order.position_index)] = None
                    if WALLET_ON_ORDERS:
                        wallets[account] = None
                case Execution():
                    self._execution(client, fact, now_ns, label)
                    if not self._listings.named(fact.instrument).is_spot:
                        positions[account, (fact.instrument, fact.position_index)] = None
                    wallets[account] = None
                case FundingSettled():
                    self._funding(client, fact, now_ns)
                    positions[account, (fact.instrument, fact.position_index)] = None
                    wallets[account] = None
                case LiquidationStarted():
                    for key in client.books.state.held():
                        if key in client.seen:
                            client.seen[key].status = "Liq"
                case _:
                    wallets[account] = None
        for account, key in positions:
            self.tell_position(self._clients[account], key, now_ns)
        for account in wallets:
            self.tell_wallet(self._clients[account], now_ns)

    def tell_position(self, client: Client, key: PositionKey, now_ns: int) -> None:
        """Tell of a position as it is."""
        seen = client.seen.get(key)
        if seen is not None and not client.books.state.qty(key):
            seen.status = "Normal"
        if not self._hub.listens(client):
            return
        seq = self._sequence.next()
        market = self._markets[key[0]]

        def make() -> list[dict[str, Any]]:
            client.revalue(self._markets, now_ns)
            frame = position_frame(position_record(client, self._model, market, key[1], now_ns))
            return [self._garnish(client, market.listing, frame, "position", now_ns)]

        self._hub.push(client, "position", "linear", make, f"{client.uid}{ids.uuid_text(self._seed, seq)}", now_ns)

    def tell_wallet(self, client: Client, now_ns: int) -> None:
        """Tell of the coins whose balance has changed, all that are not zero where only margin has."""
        client.updated_ns = now_ns
        rows = client.books.state.transactions
        first = self._logged.get(client.name, 0)
        coins = sorted({row.currency for row in rows[first:]}) or None
        self._log(client)
        if not self._hub.listens(client):
            return
        name = f"{client.uid}{ids.uuid_text(self._seed, 'wallet', self._sequence.next())}"

        def make() -> list[dict[str, Any]]:
            client.revalue(self._markets, now_ns)
            record = wallet_record(client, self._listings, self._markets, coins)
            for coin in record["coin"]:
                del coin["free"], coin["colRes"]
            return [self._faults.garnish(record, now_ns, topic="wallet", account=client.name)]

        self._hub.push(client, "wallet", "", make, name, now_ns)

    def _order(self, client: Client, listing: Listing, order: OrderRecord, now_ns: int) -> None:
        kept = client.archive.keep(listing, order, self.notes.pop(order.order_id, None))
        self._push_order(client, kept, now_ns)
        if order.status is Status.FILLED and self._faults.hit(
            "second_filled", now_ns, account=client.name, symbol=listing.symbol
        ):
            again = {"cancelType": "CancelByUser", "rejectReason": "EC_OrigClOrdIDDoesNotExist"}
            self._push_order(client, kept, now_ns, again)

    def _push_order(
        self, client: Client, kept: KeptOrder, now_ns: int, changed: Mapping[str, str] | None = None
    ) -> None:
        if not self._hub.listens(client):
            return

        def make() -> list[dict[str, Any]]:
            frame = order_frame(kept) | dict(changed or {})
            return [self._garnish(client, kept.listing, frame, "order", now_ns)]

        name = f"{client.uid}_{kept.listing.symbol}_{self._sequence.next()}"
        self._hub.push(client, "order", kept.listing.category, make, name, now_ns)

    def _execution(self, client: Client, fact: Execution, now_ns: int, label: Relabel | None) -> None:
        listing = self._listings.named(fact.instrument)
        kept = client.archive.orders.get(fact.order_id)
        seq = self._sequence.next()
        if kept is not None:
            kept.fee_coin = fact.fee_coin
            kept.closed_pnl += fact.realized_pnl
        if not listing.is_spot:
            client.note_execution(fact, seq)
        self._forced += fact.order_id == ""
        mark = (client.name, fact.trade_id or f"forced-{self._forced}")
        record = execution_record(
            listing,
            fact,
            kept,
            exec_id=ids.trade_id(self._seed, listing.is_spot, *mark),
            seq=seq,
            fallback_id=ids.uuid_text(self._seed, "forced", client.name, self._forced),
        )
        if label is not None and fact.exec_type is ExecType.ADL:
            record |= {"execType": label.exec_type, "createType": label.create_type}
        archive = client.archive
        archive.executions.append(
            KeptRow(number=archive.next_number(), ts_ns=fact.ts_ns, listing=listing, record=record)
        )
        if fact.closed_qty:
            self._closed_pnl(client, listing, fact, record)
        if record["execType"] == "AdlTrade" and (fact.instrument, fact.position_index) in client.seen:
            client.seen[fact.instrument, fact.position_index].status = "Adl"
        if fact.create_type in (CreateType.TAKE_OVER, CreateType.LIQUIDATION):
            self._public.tell_liquidation(listing, fact, plain(fact.qty), plain(fact.price))
        name = f"{client.uid}_{listing.symbol}_{seq}"

        def make() -> list[dict[str, Any]]:
            frame = execution_frame(listing, record, fact.realized_pnl)
            return [self._garnish(client, listing, frame, "execution", now_ns)]

        self._hub.push(client, "execution", listing.category, make, name, now_ns)
        if fact.exec_type is ExecType.TRADE:
            self._hub.push(
                client, "execution.fast", listing.category, lambda: [fast_frame(listing, record)], name, now_ns
            )

    def _funding(self, client: Client, fact: FundingSettled, now_ns: int) -> None:
        listing = self._listings.named(fact.instrument)
        seq = self._sequence.next()
        mark = ("funding", client.name, listing.symbol, fact.position_index, fact.ts_ns)
        record = funding_record(
            listing,
            fact,
            exec_id=ids.uuid_text(self._seed, "exec", *mark),
            seq=seq,
            order_id=ids.uuid_text(self._seed, *mark),
        )
        archive = client.archive
        archive.executions.append(
            KeptRow(number=archive.next_number(), ts_ns=fact.ts_ns, listing=listing, record=record)
        )

        def make() -> list[dict[str, Any]]:
            frame = execution_frame(listing, record, -fact.exec_fee)
            return [self._garnish(client, listing, frame, "execution", now_ns)]

        self._hub.push(client, "execution", "linear", make, f"{client.uid}_{listing.symbol}_{seq}", now_ns)

    def _closed_pnl(self, client: Client, listing: Listing, fact: Execution, record: dict[str, Any]) -> None:
        """Keep what an execution closed. Entry value follows from the profit; fees are left with the executions."""
        sign = -fact.side.sign  # of the position
        exit_value = fact.price * fact.closed_qty
        entry_value = exit_value - fact.realized_pnl * sign
        archive = client.archive
        row = {
            "symbol": listing.symbol,
            "orderId": record["orderId"],
            "side": side_text(fact.side),
            "qty": record["orderQty"],
            "orderPrice": record["orderPrice"],
            "orderType": record["orderType"],
            "execType": record["execType"],
            "closedSize": plain(fact.closed_qty),
            "cumEntryValue": plain_e8(entry_value),
            "avgEntryPrice": plain_e8(entry_value / fact.closed_qty),
            "cumExitValue": plain_e8(exit_value),
            "avgExitPrice": plain_e8(fact.price),
            "closedPnl": plain_e8(fact.realized_pnl - fact.fee),
            "openFee": "0",
            "closeFee": plain(fact.fee),
            "fillCount": "1",
            "leverage": plain(client.books.state.leverage[listing.name]),
            "createdTime": ms_text(fact.ts_ns),
            "updatedTime": ms_text(fact.ts_ns),
        }
        archive.closed_pnl.append(KeptRow(number=archive.next_number(), ts_ns=fact.ts_ns, listing=listing, record=row))

    def transactions(self, client: Client) -> Iterator[KeptRow]:
        """Yield an account's transaction log, the newest row first."""
        rows = client.books.state.transactions
        for number in range(len(rows), 0, -1):
            row = rows[number - 1]
            listing = self._listings.named(row.instrument) if row.instrument else None
            kept = client.archive.orders.get(row.order_id)
            trade_id = ""
            if row.trade_id and listing is not None:
                trade_id = ids.trade_id(self._seed, listing.is_spot, client.name, row.trade_id)
            link_id = "" if kept is None else kept.record.client_order_id
            record = transaction_record(listing, row, uid=client.uid, link_id=link_id, trade_id=trade_id)
            yield KeptRow(number=number, ts_ns=row.ts_ns, listing=listing, record=record)

    def _log(self, client: Client) -> None:
        self._logged[client.name] = len(client.books.state.transactions)

    def _garnish(
        self, client: Client, listing: Listing, record: dict[str, Any], topic: str, now_ns: int
    ) -> dict[str, Any]:
        return self._faults.garnish(record, now_ns, topic=topic, account=client.name, symbol=listing.symbol)
