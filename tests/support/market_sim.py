"""A live feed and an emulated venue without sockets: a network in one loop, on its own time, that loses and breaks.

Each run with the same seed and faults takes the same course. What the network does to a frame is what the emulator's
server does to its bytes.
"""

import heapq
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from bot.core.bars import BarAggregator
from bot.core.venue.contract import linear_contract
from bot.core.venue.market import neutral
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, MarketSlab, MarketUpdate, TradeBatch, TradeHole
from bot.emulator.exchange import Exchange, World
from bot.emulator.faults import Fault
from bot.emulator.listing import Listing
from bot.emulator.player import MarketSource
from bot.emulator.synthetic import BookMaker
from bot.emulator.wire import HttpRefused, Request
from bot.venues.bybit.book_sync import BookSync
from bot.venues.bybit.live_feed import FeedEffect, FeedOptions, Fetch, LiveFeed, Opening
from bot.venues.bybit.market_streams import ForConnection, Wanted
from bot.venues.bybit.stream_effects import Alert, Close, Send
from tests.support.emulator import _TIERS, BTC, ETH, MINUTE, SECOND, START_NS

MS = 1_000_000
SCALES = (SECOND, 15 * SECOND, MINUTE, 5 * MINUTE)
EVENT_RULE = "tick:50"
_PAST_S = 1200  # how long the market has traded before the start
INSTRUMENTS = {"BTCUSDT": (BTC, "60000"), "ETHUSDT": (ETH, "3000")}


def lively(
    instrument: Instrument, start_ns: int, price: str, *, seconds: int, seed: int, rate: float = 5.0
) -> TradeBatch:
    """Return trades of a market that moves, from 20 minutes before the start on, at whole ms, still at times."""
    dice = np.random.default_rng([seed, 5])
    count = int((_PAST_S + seconds) * rate)
    gaps = dice.exponential(1000 / rate, count)
    gaps[dice.random(count) < 0.01 / rate] += 20_000  # a quiet spell
    ts_ns = start_ns - _PAST_S * SECOND + np.cumsum(gaps.astype(np.int64)) * MS
    keep = ts_ns < start_ns + seconds * SECOND
    walk = np.cumsum(dice.integers(-3, 4, count))
    return TradeBatch(
        instrument=instrument,
        first_row=0,
        ts_ns=ts_ns[keep],
        price_ticks=(instrument.ticks(Decimal(price)) + walk)[keep].astype(np.int64),
        qty_steps=dice.integers(1, 2_000, count)[keep].astype(np.int64),
        is_buy=(dice.random(count) < 0.5)[keep],
    )


class Venue:
    """An exchange of two perpetuals, and what truly traded on it."""

    def __init__(
        self,
        *,
        seconds: int,
        seed: int = 1,
        faults: Sequence[Fault] = (),
        rate: float = 5.0,
        start_ns: int = START_NS,
    ) -> None:
        self.start_ns = start_ns
        self.instruments = [instrument for instrument, _ in INSTRUMENTS.values()]
        self.trades = {
            name: lively(instrument, start_ns, price, seconds=seconds, seed=seed + number, rate=rate)
            for number, (name, (instrument, price)) in enumerate(INSTRUMENTS.items())
        }
        listings = [
            Listing(
                symbol=each.name,
                contract=linear_contract(each, _TIERS),
                symbol_id=number,
                launch_ms=1_585_526_400_000,
                price_places=2,
            )
            for number, each in enumerate(self.instruments, start=5)
        ]
        self.world = World(
            seed=seed,
            start_ns=start_ns,
            listings=listings,
            sources={
                each.name: MarketSource(
                    trades=iter([self.trades[each.symbol]]),
                    book=BookMaker(instrument=each.instrument, size_steps=5_000),
                )
                for each in listings
            },
            accounts=[],
            model=neutral(Decimal(0)),
            faults=list(faults),
        )
        self.exchange = Exchange(self.world)


class Bars:
    """What one instrument's updates become."""

    def __init__(self, instrument: Instrument) -> None:
        self.aggregator = aggregator(instrument)
        self.slabs: list[MarketSlab] = []
        self.passed: list[BarBatch | TradeBatch | TradeHole | int] = []

    def take(self, update: MarketUpdate) -> None:
        """Fold what an update says."""
        for message in update.stream:
            self.passed.append(message)
            match message:
                case TradeBatch():
                    self.slabs.append(self.aggregator.on_trades(message))
                case TradeHole():
                    self.slabs.append(self.aggregator.on_hole(message))
                case BarBatch():
                    self.slabs.append(self.aggregator.warm_up(message))
                case _:
                    self.slabs.append(self.aggregator.on_watermark(message))

    def bars(self, scale_ns: int) -> BarBatch:
        """Return all closed bars of a scale."""
        return BarBatch.join([slab.bars[scale_ns] for slab in self.slabs if scale_ns in slab.bars])

    @property
    def late(self) -> int:
        """Return how many trades came too late for their bar."""
        return sum(slab.late_trades for slab in self.slabs)


def aggregator(instrument: Instrument) -> BarAggregator:
    """Return what a live feed's trades are folded by."""
    return BarAggregator(
        instrument,
        scales_ns=SCALES,
        lateness_ns=0,
        gap_max_ns=86_400 * SECOND,
        event_rules=[EVENT_RULE],
        repair_ns=MINUTE,
    )


class Simulation:
    """A feed and a venue.

    Attributes:
        now_ns: the time.
        events: all that the feed was told, to be told again.
        alerts: what a person would hear.
        watch: called after each step of time.
    """

    def __init__(self, venue: Venue, options: FeedOptions, *, step_ns: int = 10 * MS) -> None:
        self.venue = venue
        self.now_ns = venue.start_ns
        self.feed = LiveFeed([Wanted(instrument=each) for each in venue.instruments], options, start_ns=self.now_ns)
        self.bars = {each.name: Bars(each) for each in venue.instruments}
        self.events: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.updates: list[MarketUpdate] = []
        self.alerts: list[Alert] = []
        self.connects: list[int] = []
        self.watch: Callable[[], None] = lambda: None
        self._step_ns = step_ns
        self._sessions: dict[int, tuple[str, int]] = {}  # of the venue: our name and number
        self._numbers: dict[tuple[str, int], int] = {}
        self._dead: set[int] = set()  # half open
        self._due: list[tuple[int, int, tuple[Any, ...], dict[str, Any]]] = []
        self._count = 0
        self.tell("start", self.now_ns)

    def tell(self, event: str, *values: Any, **named: Any) -> None:
        """Tell the feed, and do what it says."""
        self.events.append((event, values, named))
        for effect in getattr(self.feed, event)(*values, **named):
            self._do(effect)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end_ns = self.now_ns + int(seconds * SECOND)
        while self.now_ns < end_ns:
            self._pass()

    def run_until(self, done: Callable[[], bool], seconds: float) -> None:
        """Let time pass until something holds, which must be within so many seconds."""
        end_ns = self.now_ns + int(seconds * SECOND)
        while not done():
            doubts = {key: self.feed.doubts(*key) for key in self.feed.gates}
            assert self.now_ns < end_ns, (doubts, self.alerts[-3:])
            self._pass()

    def _pass(self) -> None:
        self.now_ns += self._step_ns
        while self._due and self._due[0][0] <= self.now_ns:
            _, _, event, named = heapq.heappop(self._due)
            self.tell(*event, self.now_ns, **named)
        came: dict[int, list[tuple[int, bytes]]] = {}
        for outgoing in self.venue.exchange.advance(self.now_ns):
            number, kind = outgoing.session, outgoing.damage.kind if outgoing.damage is not None else ""
            if number not in self._sessions or number in self._dead:
                continue
            if outgoing.close is not None or kind == "reset":
                self._hand_over(came)
                came = {}
                self._end(number, kind or "closed by the venue")
            elif kind == "half_open":
                self._dead.add(number)
            else:
                came.setdefault(number, []).append((self.now_ns, outgoing.text.encode()))
        self._hand_over(came)
        if self.now_ns >= self.feed.next_time_ns():
            self.tell("on_time", self.now_ns)
        self.watch()

    def _hand_over(self, came: dict[int, list[tuple[int, bytes]]]) -> None:
        for number, messages in came.items():
            if number in self._sessions:
                self.tell("on_messages", *self._sessions[number], messages)

    def _end(self, number: int, reason: str) -> None:
        at = self._sessions.pop(number, None)
        self.venue.exchange.close_socket(number)
        if at is not None:
            self._numbers.pop(at, None)
            self._later(0, "on_closed", *at, reason, is_banned=False)

    def _later(self, delay_ns: int, *event: Any, **named: Any) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.now_ns + delay_ns, self._count, event, named))

    def _do(self, effect: FeedEffect) -> None:
        if isinstance(effect, MarketUpdate):
            self.updates.append(effect)
            self.bars[effect.instrument.name].take(effect)
        elif isinstance(effect, Opening):
            self._open(effect)
        elif isinstance(effect, Fetch):
            self._fetch(effect)
        elif isinstance(effect, ForConnection):
            what = effect.effect
            if isinstance(what, Send):
                number = self._numbers.get((effect.name, what.connection))
                if number is not None and number not in self._dead:
                    self.venue.exchange.handle_frame(number, what.data.decode(), self.now_ns)
            elif isinstance(what, Close):
                number = self._numbers.pop((effect.name, what.connection), None)
                if number is not None:
                    self._sessions.pop(number, None)
                    self.venue.exchange.close_socket(number)
            elif isinstance(what, Alert):
                self.alerts.append(what)

    def _open(self, opening: Opening) -> None:
        self.connects.append(self.now_ns)
        at = (opening.name, opening.connection)
        try:
            session = self.venue.exchange.open_socket(opening.path, "", "127.0.0.1", self.now_ns)
        except HttpRefused as refused:
            self._later(MS, "on_closed", *at, f"HTTP {refused.status}", is_banned=refused.status == 403)
            return
        self._sessions[session.number] = at
        self._numbers[at] = session.number
        self._later(MS, "on_open", *at)

    def _fetch(self, fetch: Fetch) -> None:
        path, _, query = fetch.path.partition("?")
        request = Request(method="GET", path=path, query=query, headers={}, body=b"", ip="127.0.0.1")
        response = self.venue.exchange.handle_request(request, self.now_ns)
        delay_ns = 2 * MS + response.delay_ns
        if response.status is None or response.damage is not None:
            self._later(delay_ns, "on_answer", fetch.number, 0, b"no answer came")
        else:
            self._later(delay_ns, "on_answer", fetch.number, response.status, response.body)


def truth(venue: Venue, name: str, until_ns: int) -> dict[int, BarBatch]:
    """Return the bars that an undisturbed run makes of all trades, by scale."""
    trades = venue.trades[name]
    slab = aggregator(trades.instrument).on_trades(trades.rows(0, int(trades.ts_ns.searchsorted(until_ns))))
    return dict(slab.bars)


def complaints(
    bars: dict[str, Bars], venue: Venue, now_ns: int, *, has_short: bool = True, unless_end_ns: int | None = None
) -> list[str]:
    """Return every bar that says something untrue, as a line each.

    Args:
        bars: of each instrument.
        venue: where they come from.
        now_ns: until when.
        has_short: also bars shorter than a minute: where frames were lost without a mark, those have closed before
            anybody could know.
        unless_end_ns: no matter what bars that end then say, nor what those that begin then opened at.
    """
    found: list[str] = []
    for name, own in bars.items():
        true = truth(venue, name, now_ns)
        for scale_ns in SCALES if has_short else [each for each in SCALES if each >= MINUTE]:
            differences = _differences(own.bars(scale_ns), true[scale_ns], venue.start_ns, unless_end_ns)
            found += [f"{name} {scale_ns // SECOND} s: {text}" for text in differences]
    return found


_OPENING = ("open_ticks", "high_ticks", "low_ticks")
_PRICES_AND_VOLUME = ("open_ticks", "high_ticks", "low_ticks", "close_ticks", "volume_steps")


def _differences(bars: BarBatch, true: BarBatch, start_ns: int, unless_end_ns: int | None) -> list[str]:
    found: list[str] = []
    if (np.diff(bars.open_ns) != bars.scale_ns).any():
        found.append("the bars are not contiguous")
    for row, place in enumerate(np.searchsorted(true.open_ns, bars.open_ns).tolist()):
        flags = int(bars.flags[row])
        is_partial, has_no_flow = bool(flags & 6), bool(flags & 8)
        if int(bars.open_ns[row]) + bars.scale_ns == unless_end_ns:
            continue
        if place >= len(true) or (is_partial and bars.scale_ns < MINUTE):
            continue
        names = [*_PRICES_AND_VOLUME, *([] if has_no_flow else ["turnover"])]
        names += [] if has_no_flow or is_partial else ["count", "buy_steps"]
        pairs = {n: (int(getattr(bars, n)[row]), int(getattr(true, n)[place])) for n in names}
        wrong = {n: pair for n, pair in pairs.items() if pair[0] != pair[1]}
        if int(bars.open_ns[row]) == unless_end_ns:  # one that begins quiet opens at the close before
            wrong = {n: pair for n, pair in wrong.items() if n not in _OPENING}
        if is_partial and place:  # the emulator's minute that begins quiet opens at the close before
            before = int(true.close_ticks[place - 1])
            wrong = {n: pair for n, pair in wrong.items() if n not in _OPENING or pair[0] != before}
        if wrong:
            found.append(f"{(int(bars.open_ns[row]) - start_ns) / SECOND:.0f} s, flags {flags}: {wrong}")
    return found


def book_differences(feed: LiveFeed, exchange: Exchange) -> list[str]:
    """Return how the feed's books differ from the venue's own."""
    found = []
    markets = {market.listing.symbol: market for market in exchange.markets.values()}
    for (_, name), each in feed.streams.feeds.items():
        assert each.sync is not None
        ours = book_levels(each.sync)
        theirs = markets[name].book(50)
        if not each.sync.is_trusted:
            found.append(f"{name}: not trusted ({each.sync.reason})")
        elif theirs is None or list(theirs) != ours:
            found.append(f"{name}: {theirs} is not {ours}")
    return found


def book_levels(sync: BookSync) -> list[list[tuple[int, int]]]:
    """Return the 50 best bids and asks that a book is kept by, in ticks and steps."""
    return [_levels(*sync.book.levels("bid")), _levels(*sync.book.levels("ask"))]


def _levels(ticks: Any, steps: Any) -> list[tuple[int, int]]:
    return [(p, q) for p, q in zip(ticks.tolist()[:50], steps.tolist()[:50], strict=True) if q > 0]
