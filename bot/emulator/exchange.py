"""The emulated venue as a whole: requests and frames go in with the time, answers and frames come out.

It is synchronous and knows no sockets, clock or chance: whoever drives it says what time it is. `server.py` puts it on
the network; a simulation may call it directly.
"""

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bot.core.matching import VenueModel
from bot.core.venue.account import VenueAccount
from bot.core.venue.book_tape import BookTape
from bot.core.venue.market import FillModel, Market
from bot.core.venue.state import CoinTerms
from bot.domain.market import FundingBatch
from bot.emulator.auth import ApiKey, Keys
from bot.emulator.clients import Client
from bot.emulator.control import Control
from bot.emulator.faults import Fault, Faults
from bot.emulator.gateway import Gateway
from bot.emulator.happenings import Happenings
from bot.emulator.hub import Hub, Outgoing, Session
from bot.emulator.ids import OrderIds
from bot.emulator.limits import RateLimits
from bot.emulator.listing import Listing, Listings
from bot.emulator.market_reading import MarketReader
from bot.emulator.markets import PublicMarket, PublicTrade
from bot.emulator.markets import Sequence as CrossSequence
from bot.emulator.player import MarketSource, Player
from bot.emulator.positions import PositionDesk
from bot.emulator.public import PublicStreams
from bot.emulator.reading import Reader
from bot.emulator.sockets import Sockets, op_of, socket_kind
from bot.emulator.tellings import Tellings
from bot.emulator.trading import Desk
from bot.emulator.wire import HttpRefused, Request, Response

_SEQ_START = 140_612_148_000_000


class AccountSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An account as it begins."""

    name: str
    uid: int
    coins: Mapping[str, Any]  # what is deposited, Decimal by coin
    keys: tuple[ApiKey, ...]
    vip_level: str = "No VIP"
    info: Mapping[str, Any] = {}  # what account/info says other than by default


class World(msgspec.Struct, frozen=True, kw_only=True):
    """All that an emulated venue is made of."""

    seed: int
    start_ns: int
    listings: Sequence[Listing]
    sources: Mapping[str, MarketSource]  # by contract
    accounts: Sequence[AccountSpec]
    model: FillModel
    book_windows: Mapping[str, int | None] = {}  # how many levels a side a recorded book tells, by contract
    collateral: Mapping[str, CoinTerms] | None = None
    faults: Sequence[Fault] = ()
    rate_scale: int = 1
    has_address_limit: bool = True
    speed: float = 1.0  # how many seconds pass at the venue in one of ours, 0 where time is driven: clients are told


class Exchange:
    """The venue.

    Attributes:
        faults: what goes wrong, to be added to at any time.
        clients: the accounts, by name.
        markets: what is traded, by contract.
    """

    def __init__(self, world: World) -> None:
        self._now_ns = world.start_ns
        self._seed = world.seed
        self.listings = Listings(world.listings)
        self.faults = Faults(world.seed, world.start_ns)
        for fault in world.faults:
            self.faults.add(fault)
        order_ids = OrderIds(world.seed)
        books = {spec.name: _open_account(world, spec) for spec in world.accounts}
        self.model = VenueModel(
            [_open_market(world, each) for each in world.listings], books, world.model, order_ids.name
        )
        sequence = CrossSequence(_SEQ_START)
        self.markets: dict[str, PublicMarket] = {}
        for listing in world.listings:
            player = Player(listing.instrument, world.sources[listing.name], world.start_ns, self.model)
            if player.funding is not None and not listing.is_spot:
                self.model.set_funding(_from(player.funding, world.start_ns))
            core = self.model.markets[listing.name]
            self.markets[listing.name] = PublicMarket(self.listings, listing, core, player, sequence, world.seed)
        self.clients = {
            spec.name: Client(spec.name, spec.uid, books[spec.name], vip_level=spec.vip_level, info=spec.info)
            for spec in world.accounts
        }
        self.keys = Keys(key for spec in world.accounts for key in spec.keys)
        self.hub = Hub(world.seed, self.faults)
        self.public = PublicStreams(
            hub=self.hub, listings=self.listings, markets=self.markets, sequence=sequence, faults=self.faults
        )
        self.tellings = Tellings(
            seed=world.seed,
            model=self.model,
            listings=self.listings,
            markets=self.markets,
            clients=self.clients,
            hub=self.hub,
            public=self.public,
            sequence=sequence,
            faults=self.faults,
        )
        self.desk = Desk(
            model=self.model,
            listings=self.listings,
            markets=self.markets,
            tellings=self.tellings,
            order_ids=order_ids,
            seed=world.seed,
            faults=self.faults,
        )
        self.positions = PositionDesk(model=self.model, listings=self.listings, tellings=self.tellings)
        limits = RateLimits(world.rate_scale, has_address_limit=world.has_address_limit)
        self.market_reader = MarketReader(self.listings, self.markets, self.public)
        reader = Reader(
            model=self.model,
            listings=self.listings,
            markets=self.markets,
            tellings=self.tellings,
            faults=self.faults,
        )
        self._gateway = Gateway(
            seed=world.seed,
            keys=self.keys,
            limits=limits,
            faults=self.faults,
            clients=self.clients,
            desk=self.desk,
            positions=self.positions,
            reader=reader,
            market_reader=self.market_reader,
        )
        self._sockets = Sockets(
            seed=world.seed,
            hub=self.hub,
            public=self.public,
            keys=self.keys,
            limits=limits,
            faults=self.faults,
            clients=self.clients,
            desk=self.desk,
        )
        self._late: list[tuple[int, int, int, str]] = []  # frames on their way: when, which, to whom, what
        self._frames = 0
        self.happenings = Happenings(
            seed=world.seed,
            model=self.model,
            listings=self.listings,
            markets=self.markets,
            clients=self.clients,
            keys=self.keys,
            hub=self.hub,
            public=self.public,
            tellings=self.tellings,
            desk=self.desk,
            positions=self.positions,
            market_reader=self.market_reader,
        )
        self._control = Control(self.faults, world.start_ns, world.speed)
        self.advance(world.start_ns)

    # What the network asks

    def advance(self, now_ns: int) -> list[Outgoing]:
        """Let time pass; return the frames that are due, in order.

        Raises:
            DataError: a recording is damaged.
        """
        done_ns = self._now_ns
        now_ns = self._now_ns = max(now_ns, done_ns)
        for market in self.markets.values():
            market.player.read(now_ns, done_ns)
        while self._late and self._late[0][0] <= now_ns:
            _, _, number, text = heapq.heappop(self._late)
            self._sockets.receive(number, text, now_ns)
        self.desk.advance(now_ns)
        for fault in self.faults.due(now_ns):
            self.happenings.happen(fault, now_ns)
        news: dict[str, list[PublicTrade]] = {name: market.pass_to(now_ns) for name, market in self.markets.items()}
        self.public.advance(now_ns, news)
        self._sockets.close_idle(now_ns)
        return self.hub.due(now_ns)

    def arrival_delay_ns(self, request: Request, now_ns: int) -> int:
        """Return how long a request is on its way before `handle_request` is to be called."""
        fault = self.faults.hit("late_request", now_ns, **self._gateway.occasion(request))
        return 0 if fault is None else fault.delay_ns

    def handle_request(self, request: Request, now_ns: int) -> Response:
        """Answer an HTTP request."""
        now_ns = max(now_ns, self._now_ns)
        if self._control.is_meant(request):
            return self._control.handle(request, now_ns)
        if self.happenings.is_shut(now_ns) and not request.path.startswith("/v5/system"):
            return Response(status=503)
        return self._gateway.handle(request, now_ns)

    def open_socket(self, path: str, query: str, ip: str, now_ns: int) -> Session:
        """Return a new WebSocket connection.

        Raises:
            HttpRefused: it is refused.
        """
        if self.happenings.is_shut(now_ns) or self.happenings.refuses(socket_kind(path), now_ns):
            raise HttpRefused(503)
        return self._sockets.open(path, query, ip, now_ns)

    def close_socket(self, number: int) -> None:
        """Forget a connection that has ended."""
        self._sockets.close(number)

    def handle_frame(self, number: int, text: str, now_ns: int) -> None:
        """Take a frame; the answers come out of `advance`."""
        now_ns = max(now_ns, self._now_ns)
        session = self.hub.sessions.get(number)
        if session is None:
            return
        if not self.faults.are_any:
            self._sockets.receive(number, text, now_ns)
            return
        account = "" if session.client is None else session.client.name
        occasion = {"socket": session.kind, "account": account, "op": op_of(text)}
        if self.faults.hit("duplicate_request", now_ns, **occasion):
            self._sockets.receive(number, text, now_ns)
        fault = self.faults.hit("late_request", now_ns, **occasion)
        if fault is not None:
            self._frames += 1
            heapq.heappush(self._late, (now_ns + fault.delay_ns, self._frames, number, text))
            return
        self._sockets.receive(number, text, now_ns)

    def is_deaf(self, now_ns: int) -> bool:
        """Return whether connections are to be refused before anything is said."""
        return self.happenings.is_deaf(now_ns)

    @property
    def has_ended(self) -> bool:
        """Return whether every recording is at its end."""
        return all(market.player.has_ended for market in self.markets.values())


def _open_account(world: World, spec: AccountSpec) -> VenueAccount:
    account = VenueAccount([listing.contract for listing in world.listings], world.collateral)
    for coin, amount in spec.coins.items():
        account.deposit(coin, amount, ts_ns=world.start_ns)
    return account


def _open_market(world: World, listing: Listing) -> Market:
    window = world.book_windows.get(listing.name)
    return Market(listing.contract, is_bars=False, book=BookTape(listing.instrument, window=window))


def _from(funding: FundingBatch, start_ns: int) -> FundingBatch:
    return funding.rows(int(funding.ts_ns.searchsorted(start_ns, side="right")), len(funding))
