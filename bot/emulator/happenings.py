"""What happens by schedule: what the venue does by itself, and what an account's owner does in the app."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from msgspec.structs import replace

from bot.core.matching import VenueModel
from bot.core.venue.facts import CancelType
from bot.domain.market import FundingBatch
from bot.emulator import ids, inferred
from bot.emulator.auth import Keys
from bot.emulator.clients import Client
from bot.emulator.faults import FORCED, OWNER_REQUESTS, Fault
from bot.emulator.hub import Hub
from bot.emulator.listing import Listing, Listings
from bot.emulator.market_reading import MarketReader
from bot.emulator.markets import PublicMarket
from bot.emulator.positions import PositionDesk
from bot.emulator.public import PublicStreams
from bot.emulator.tellings import Relabel, Tellings
from bot.emulator.trading import Desk
from bot.emulator.wire import HOUR_NS, MINUTE_NS, Refused, ms_text

_FAR_PAST_NS = -(2**62)


class Happenings:
    """Lets happen what was scheduled, and knows for how long it keeps the venue shut.

    Attributes:
        refused: what owners' requests were refused with, oldest first.
    """

    def __init__(
        self,
        *,
        seed: int,
        model: VenueModel,
        listings: Listings,
        markets: Mapping[str, PublicMarket],
        clients: Mapping[str, Client],
        keys: Keys,
        hub: Hub,
        public: PublicStreams,
        tellings: Tellings,
        desk: Desk,
        positions: PositionDesk,
        market_reader: MarketReader,
    ) -> None:
        self._seed = seed
        self._model = model
        self._listings = listings
        self._markets = markets
        self._clients = clients
        self._keys = keys
        self._hub = hub
        self._public = public
        self._tellings = tellings
        self._desk = desk
        self._positions = positions
        self._market_reader = market_reader
        self._shut_until_ns = self._deaf_until_ns = _FAR_PAST_NS
        self._closed_until: list[tuple[Fault, int]] = []  # kinds of connections that are refused, and until when
        self.refused: list[Refused] = []
        self._kinds: dict[str, Callable[[Fault, int], None]] = {
            "maintenance": self._maintain,
            "announcement": self._announce,
            "refuse_connections": self._turn_deaf,
            "disconnect": self._disconnect,
            "cache_lost": self._lose_cache,
            "key_revoked": self._revoke,
            "funding_interval": self._switch_funding,
            "instrument_status": self._set_status,
            "liquidation": self._liquidate,
            "adl": self._force,
            "forced_trade": self._force,
            "venue_cancel": self._cancel,
            "stops_lost": self._lose_stops,
            "reduce_only": self._restrict,
            "owner_request": self._act,
            "manual_close": self._close,
            "transfer": self._transfer,
        }

    def happen(self, fault: Fault, now_ns: int) -> None:
        """Let one of them happen."""
        self._kinds[fault.kind](fault, now_ns)

    def is_shut(self, now_ns: int) -> bool:
        """Return whether there is maintenance."""
        return now_ns < self._shut_until_ns

    def is_deaf(self, now_ns: int) -> bool:
        """Return whether nobody listens at all."""
        return now_ns < self._deaf_until_ns

    def refuses(self, kind: str, now_ns: int) -> bool:
        """Return whether connections of a kind are refused."""
        return any(now_ns < until_ns and _is_meant(fault, kind) for fault, until_ns in self._closed_until)

    # Connections

    def _maintain(self, fault: Fault, now_ns: int) -> None:
        """End all connections and refuse new ones for a while; the cache of closed orders is gone afterwards."""
        self._shut_until_ns = now_ns + fault.delay_ns
        self._notice("ongoing", fault, now_ns, self._shut_until_ns, now_ns)
        self._hang_up(now_ns)
        self._lose_cache(fault, now_ns)

    def _announce(self, fault: Fault, now_ns: int) -> None:
        begin_ns = now_ns + fault.delay_ns
        self._notice("scheduled", fault, begin_ns, begin_ns + fault.minutes * MINUTE_NS, now_ns)

    def _notice(self, state: str, fault: Fault, begin_ns: int, end_ns: int, now_ns: int) -> None:
        notice = {
            "id": ids.uuid_text(self._seed, "maintenance", begin_ns),
            "title": fault.text or "maintenance",
            "state": state,
            "begin": ms_text(begin_ns),
            "end": ms_text(end_ns),
            "href": "",
            "serviceTypes": [1, 2, 3, 4, 5],
            "product": [1, 2],
            "uidSuffix": [],
            "maintainType": 1,
            "env": 1,
        }
        self._market_reader.notices.append(notice)
        self._public.tell_status(notice, now_ns)

    def _turn_deaf(self, fault: Fault, now_ns: int) -> None:
        self._deaf_until_ns = now_ns + fault.delay_ns
        self._hang_up(now_ns)

    def _hang_up(self, now_ns: int) -> None:
        for session in self._hub.sessions.values():
            self._hub.close(session, *inferred.MAINTENANCE_CLOSE, now_ns)

    def _disconnect(self, fault: Fault, now_ns: int) -> None:
        self._closed_until = [each for each in self._closed_until if now_ns < each[1]]
        if fault.delay_ns:
            self._closed_until.append((fault, now_ns + fault.delay_ns))
        wanted = fault.where.get("account")
        for session in self._hub.sessions.values():
            account = "" if session.client is None else session.client.name
            if _is_meant(fault, session.kind) and wanted in (None, account):
                self._hub.close(session, *inferred.MAINTENANCE_CLOSE, now_ns)

    def _lose_cache(self, fault: Fault, now_ns: int) -> None:
        for client in self._clients_of(fault):
            client.archive.forget_recent()

    # Keys and listings

    def _revoke(self, fault: Fault, now_ns: int) -> None:
        for client in self._clients_of(fault):
            self._keys.revoke(client.name)

    def _set_status(self, fault: Fault, now_ns: int) -> None:
        for listing in self._listings_of(fault):
            self._listings.change(replace(listing, status=fault.text or "Closed"))

    def _switch_funding(self, fault: Fault, now_ns: int) -> None:
        """Settle funding at another interval from the next one on, at the rate of now."""
        for listing in self._listings_of(fault):
            market = self._markets[listing.name]
            rate = int(market.funding_rate(now_ns).scaleb(8))
            market.funding_interval_min = fault.minutes
            contract = replace(listing.contract, funding_interval_min=fault.minutes)
            self._listings.change(replace(listing, contract=contract))
            first = market.next_funding_ns(now_ns)
            times = np.arange(first, first + 60 * 24 * HOUR_NS, fault.minutes * MINUTE_NS, dtype=np.int64)
            rates = np.full(len(times), rate, dtype=np.int64)
            to_come = FundingBatch(instrument=listing.instrument, first_row=0, ts_ns=times, rate_e8=rates)
            self._model.set_funding(to_come)
            past = market.funding
            if past is not None:
                past = past.rows(0, int(past.ts_ns.searchsorted(now_ns, side="right")))
            market.funding = to_come if past is None else FundingBatch.join([past, to_come])

    # Orders and positions

    def _liquidate(self, fault: Fault, now_ns: int) -> None:
        """Take so much of the settle coin that the margin is gone, and let the venue do what it then does."""
        coin = self._listings.of("linear")[0].contract.settle_coin
        for client in self._clients_of(fault):
            self._desk.advance(now_ns)
            surplus = self._model.surplus(client.name, now_ns)
            if surplus:
                self._tellings.absorb(self._model.transfer(client.name, coin, -surplus, now_ns), now_ns)

    def _force(self, fault: Fault, now_ns: int) -> None:
        """Reduce positions by half, on somebody else's behalf."""
        label = Relabel(fault.text, FORCED[fault.text]) if fault.kind == "forced_trade" else None
        for client, listing in self._perpetuals_of(fault):
            for index in client.position_indices(listing):
                told = self._model.deleverage(client.name, listing.name, now_ns, position_index=index)
                self._tellings.absorb(told, now_ns, label)

    def _cancel(self, fault: Fault, now_ns: int) -> None:
        kind = CancelType(fault.text)
        for client in self._clients_of(fault):
            names = [each.name for each in self._listings_of(fault, ("linear", "spot"))]
            self._tellings.absorb(
                self._model.cancel_for(client.name, now_ns, instruments=names, cancel_type=kind), now_ns
            )

    def _lose_stops(self, fault: Fault, now_ns: int) -> None:
        """Take away what waits for a trigger, without a word."""
        for client, listing in self._perpetuals_of(fault):
            told = self._model.cancel_for(
                client.name, now_ns, instruments=[listing.name], cancel_type=CancelType.ADMIN, only="stop"
            )
            with self._hub.silence(client):
                self._tellings.absorb(told, now_ns)

    def _restrict(self, fault: Fault, now_ns: int) -> None:
        for client, listing in self._perpetuals_of(fault):
            (client.reduce_only.discard if fault.text == "lifted" else client.reduce_only.add)(listing.name)
            for index in client.position_indices(listing):
                self._tellings.tell_position(client, (listing.name, index), now_ns)

    # The owner, in the app

    def _act(self, fault: Fault, now_ns: int) -> None:
        do = getattr(self._positions if fault.text.startswith("position.") else self._desk, OWNER_REQUESTS[fault.text])
        for client in self._clients_of(fault):
            try:
                do(client, fault.body, now_ns)
            except Refused as refused:
                self.refused.append(refused)

    def _close(self, fault: Fault, now_ns: int) -> None:
        for client, listing in self._perpetuals_of(fault):
            self._desk.close_by_hand(client, listing, now_ns)

    def _transfer(self, fault: Fault, now_ns: int) -> None:
        coin, amount = fault.transfer()
        for client in self._clients_of(fault):
            self._desk.advance(now_ns)
            self._tellings.absorb(self._model.transfer(client.name, coin, amount, now_ns), now_ns)
            self._tellings.tell_wallet(client, now_ns)

    # Whom and what a fault means

    def _clients_of(self, fault: Fault) -> list[Client]:
        wanted = fault.where.get("account")
        return [client for name, client in self._clients.items() if wanted in (None, name)]

    def _listings_of(self, fault: Fault, categories: Iterable[str] = ("linear",)) -> list[Listing]:
        wanted = fault.where.get("symbol")
        return [each for kind in categories for each in self._listings.of(kind) if wanted in (None, each.symbol)]

    def _perpetuals_of(self, fault: Fault) -> list[tuple[Client, Listing]]:
        return [(client, listing) for client in self._clients_of(fault) for listing in self._listings_of(fault)]


def _is_meant(fault: Fault, kind: str) -> bool:
    return fault.where.get("socket", kind) == kind
