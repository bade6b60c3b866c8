"""The market's side of the venue: which topics go on which connection, and all connections and instruments together.

Sans-IO like all below it. An actor opens the sockets, hands over what comes with the time, and carries out what is
returned; `MarketRows` go to the pipeline.
"""

from collections.abc import Iterable, Sequence

import msgspec

from bot.domain.instrument import Instrument
from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.book_sync import BookLimits
from bot.venues.bybit.instrument_feed import Doubt, InstrumentFeed, MarketRows, Missing
from bot.venues.bybit.stream_effects import Backfill, Deliver, Distrust, SessionEffect
from bot.venues.bybit.stream_session import ARGS_CHARACTERS_MAX, StreamSession, characters
from bot.venues.bybit.subscriptions import Status
from bot.venues.bybit.topics import (
    STATUS_TOPIC,
    Category,
    Kind,
    Topic,
    book_topic,
    kline_topic,
    price_limit_topic,
    ticker_topic,
    trade_topic,
)
from bot.venues.bybit.wire import MarketFrame, Notice, StatusFrame

RESTED_ON = frozenset([Kind.BOOK, Kind.TRADES, Kind.TICKER])  # what decisions rest on; others only check or inform
TOPICS_MAX = 200  # on one connection: how much is lost at once when it breaks


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of one instrument."""

    instrument: Instrument
    category: Category = "linear"
    book_levels: int = 50  # 50, 200 or 1000; 0 for no book
    kline_intervals: tuple[str, ...] = ()  # the venue's own bars, to be compared with ours: "1", "60", "D"
    has_price_limits: bool = False

    def topics(self) -> list[Topic]:
        """Return its topics. A book comes with the level-1 book and, as trades do, with the ticker that check it."""
        symbol = self.instrument.name
        topics = [trade_topic(symbol), ticker_topic(symbol)]
        if self.book_levels:
            topics += [book_topic(symbol, self.book_levels), book_topic(symbol, 1)]
        topics += [kline_topic(symbol, interval) for interval in self.kline_intervals]
        return [*topics, price_limit_topic(symbol)] if self.has_price_limits else topics


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One connection's topics."""

    name: str  # "linear-0", "status"
    path: str  # of the address, behind the host
    category: Category
    topics: list[Topic]


def plan_connections(wanted: Sequence[Wanted], *, has_status: bool = False, topics_max: int = TOPICS_MAX) -> list[Plan]:
    """Return which topics go on which connection: an instrument's stay together, a category's are spread evenly.

    Raises:
        ValueError: an instrument is wanted twice, or its topics alone are too many.
    """
    plans: list[Plan] = []
    names = [(each.category, each.instrument.name) for each in wanted]
    if len(set(names)) < len(names):
        raise ValueError("an instrument is wanted twice in one category; name all that is wanted of it at once")
    for category in dict.fromkeys(each.category for each in wanted):
        groups = [each.topics() for each in wanted if each.category == category]
        for number, topics in enumerate(_spread(groups, topics_max)):
            plans.append(
                Plan(name=f"{category}-{number}", path=f"/v5/public/{category}", category=category, topics=topics)
            )
    if has_status:
        plans.append(Plan(name="status", path="/v5/public/misc/status", category="linear", topics=[STATUS_TOPIC]))
    return plans


def _spread(groups: list[list[Topic]], topics_max: int) -> list[list[Topic]]:
    if any(len(group) > topics_max for group in groups):
        raise ValueError(f"an instrument wants more than the {topics_max} topics of a connection; raise topics_max")
    count = 1
    while True:  # at the latest with a connection for each
        made: list[list[Topic]] = [[] for _ in range(count)]
        for group in groups:
            min(made, key=len).extend(group)
        if all(len(each) <= topics_max and characters(each) <= ARGS_CHARACTERS_MAX for each in made):
            return [each for each in made if each]
        count += 1


class ForConnection(msgspec.Struct, frozen=True, kw_only=True):
    """What a session wants done."""

    name: str  # of the connection
    effect: SessionEffect


class Notices(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue says of its own state."""

    known_ns: int
    notices: tuple[Notice, ...]


MarketEffect = ForConnection | MarketRows | Notices


class MarketStreams:
    """All public connections and what they tell of all instruments.

    Args:
        wanted: the instruments.
        seed: of the waits before connecting again.
        has_status: whether to listen to the venue's notices; it has them on mainnet and testnet.
        shown_levels: how many levels books have.
        limits: what books are held to.
        budget: of connections, shared with whoever else connects to the same host.
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        *,
        seed: int,
        has_status: bool = False,
        shown_levels: int = 50,
        limits: BookLimits | None = None,
        budget: ConnectBudget | None = None,
    ) -> None:
        self.plans = plan_connections(wanted, has_status=has_status)
        budget = ConnectBudget() if budget is None else budget
        self.sessions = {
            plan.name: StreamSession(plan.topics, category=plan.category, seed=seed, stream=number, budget=budget)
            for number, plan in enumerate(self.plans)
        }
        self.feeds = {
            (each.category, each.instrument.name): InstrumentFeed(
                each.instrument, each.topics(), category=each.category, shown_levels=shown_levels, limits=limits
            )
            for each in wanted
        }
        self._category = {plan.name: plan.category for plan in self.plans}
        self._name_of = {(plan.category, topic.symbol): plan.name for plan in self.plans for topic in plan.topics}
        self._topics = {plan.name: {topic.text: topic for topic in plan.topics} for plan in self.plans}
        self._trades_of = {key: (self.sessions[self._name_of[key]], trade_topic(key[1]).text) for key in self.feeds}

    @property
    def is_ready(self) -> bool:
        """Return whether every topic flows and every book is trusted."""
        books = (feed.sync is None or feed.sync.is_trusted for feed in self.feeds.values())
        return all(session.is_ready for session in self.sessions.values()) and all(books)

    def doubts(self, category: Category, symbol: str) -> list[str]:
        """Return why no new exposure in an instrument may rest on its data now; nothing where it may."""
        found = [
            f"{topic.text}: {session.why_doubted(topic.text)}"
            for name, session in self.sessions.items()
            for topic in self._topics[name].values()
            if self._category[name] == category
            and topic.symbol == symbol
            and topic.kind in RESTED_ON
            and not session.is_trusted(topic.text)
        ]
        sync = self.feeds[category, symbol].sync
        if sync is not None and sync.reason is not None:
            found.append(f"book: {sync.reason.name.lower()}")
        return found

    def next_time_ns(self) -> int:
        """Return when `on_time` should be called at the latest."""
        return min(session.next_time_ns() for session in self.sessions.values())

    def start(self, now_ns: int) -> list[MarketEffect]:
        """Connect."""
        return [effect for name, each in self.sessions.items() for effect in self._carry_out(name, each.start(now_ns))]

    def stop(self, now_ns: int) -> list[MarketEffect]:
        """Close all connections."""
        return [effect for name, each in self.sessions.items() for effect in self._carry_out(name, each.stop(now_ns))]

    def on_open(self, name: str, connection: int, now_ns: int) -> list[MarketEffect]:
        """See `StreamSession.on_open`."""
        return self._carry_out(name, self.sessions[name].on_open(connection, now_ns))

    def on_closed(
        self, name: str, connection: int, reason: str, now_ns: int, *, is_banned: bool = False
    ) -> list[MarketEffect]:
        """See `StreamSession.on_closed`."""
        effects = self.sessions[name].on_closed(connection, reason, now_ns, is_banned=is_banned)
        return self._carry_out(name, effects)

    def on_messages(self, name: str, connection: int, messages: Iterable[tuple[int, bytes]]) -> list[MarketEffect]:
        """See `StreamSession.on_messages`; many at a time cost far less than one by one."""
        return self._carry_out(name, self.sessions[name].on_messages(connection, messages))

    def on_time(self, now_ns: int) -> list[MarketEffect]:
        """Look at the clocks."""
        made: list[MarketEffect] = []
        for name, session in self.sessions.items():
            made += self._carry_out(name, session.on_time(now_ns))
        for (category, symbol), feed in self.feeds.items():
            checked = feed.check(now_ns)
            if checked is not None:
                rows, doubt = checked
                made.append(rows)
                made += self._doubt(self._connection_of(category, symbol), doubt, now_ns)
        return made

    def doubt_all(self, reason: str, now_ns: int) -> list[MarketEffect]:
        """Believe nothing any more that decisions rest on: have it all begin anew."""
        made: list[MarketEffect] = []
        for name, session in self.sessions.items():
            for topic in self._topics[name].values():
                if topic.kind in RESTED_ON:
                    made += self._carry_out(name, session.resubscribe(topic.text, reason, now_ns))
        return made

    def doubt_trades(self, category: Category, symbol: str, reason: str, now_ns: int) -> list[MarketEffect]:
        """Have an instrument's trades begin anew: what came cannot be all."""
        name = self._connection_of(category, symbol)
        effects = self.sessions[name].resubscribe(trade_topic(symbol).text, reason, now_ns)
        return self._carry_out(name, effects)

    def category_of(self, name: str) -> Category:
        """Return the category of a connection's instruments."""
        return self._category[name]

    def topic_of(self, name: str, text: str) -> Topic:
        """Return a connection's topic by its text."""
        return self._topics[name][text]

    def has_confirmed_trades(self, category: Category, symbol: str) -> bool:
        """Return whether the venue has confirmed that it sends an instrument's trades, and has not stopped since."""
        session, topic = self._trades_of[category, symbol]
        return session.status(topic) in (Status.CONFIRMED, Status.LIVE)

    def _connection_of(self, category: Category, symbol: str) -> str:
        return self._name_of[category, symbol]

    def _carry_out(self, name: str, effects: Iterable[SessionEffect], doubted: str = "") -> list[MarketEffect]:
        """Do what concerns the market; hand on the rest.

        A topic whose data brought the doubt themselves need not be told: where they stopped being right is known to
        the row, and what came after may be right again.
        """
        made: list[MarketEffect] = []
        for effect in effects:
            if isinstance(effect, Deliver):
                made += self._deliver(name, effect.frames)
                continue
            if isinstance(effect, Distrust):
                topic = self._topics[name][effect.topic]
                if topic.kind is not Kind.STATUS and topic.text != doubted:
                    rows = self.feeds[self._category[name], topic.symbol].distrust(topic, effect.known_ns)
                    made += [rows] if rows is not None else []
            made.append(ForConnection(name=name, effect=effect))
        return made

    def _deliver(self, name: str, frames: Sequence[MarketFrame]) -> list[MarketEffect]:
        made: list[MarketEffect] = []
        by_symbol: dict[str, list[MarketFrame]] = {}
        for frame in frames:
            if isinstance(frame, StatusFrame):
                made.append(Notices(known_ns=frame.known_ns, notices=frame.notices))
            else:
                by_symbol.setdefault(frame.topic.symbol, []).append(frame)
        for symbol, own in by_symbol.items():
            rows, found = self.feeds[self._category[name], symbol].on_frames(own)
            made.append(rows)
            for each in found:
                made += self._doubt(name, each, own[-1].known_ns)
        return made

    def _doubt(self, name: str, found: Doubt | Missing, now_ns: int) -> list[MarketEffect]:
        if isinstance(found, Missing):
            backfill = Backfill(topic=found.topic, from_ns=found.from_ns, to_ns=found.to_ns)
            return [ForConnection(name=name, effect=backfill)]
        session = self.sessions[name]
        effects = session.resubscribe(found.topic, found.reason, now_ns, raw=found.raw)
        return self._carry_out(name, effects, doubted=found.topic)
