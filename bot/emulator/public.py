"""The public streams: topics that somebody follows, and what they push."""

from collections.abc import Mapping
from typing import Any

from bot.core.venue.facts import Execution
from bot.emulator.faults import Faults
from bot.emulator.hub import Hub, Session
from bot.emulator.listing import Listing, Listings
from bot.emulator.markets import PublicMarket, PublicTrade, Sequence
from bot.emulator.topics import BookTopic, LiquidationTopic, Topic, make_topic
from bot.emulator.wire import encode_text, to_ms


class PublicStreams:
    """All public topics, made when they are first asked for and kept, so that their numbers go on."""

    def __init__(
        self,
        *,
        hub: Hub,
        listings: Listings,
        markets: Mapping[str, PublicMarket],
        sequence: Sequence,
        faults: Faults,
    ) -> None:
        self._hub = hub
        self._listings = listings
        self._markets = markets
        self._sequence = sequence
        self._faults = faults
        self._topics: dict[tuple[str, str], Topic] = {}  # by category and name

    def find(self, category: str, name: str) -> Topic | None:
        """Return a topic, None where there is no such one."""
        topic = self._topics.get((category, name))
        if topic is None:

            def market_of(symbol: str) -> PublicMarket | None:
                listing = self._listings.lookup(category, symbol)
                return None if listing is None or listing.status == "Closed" else self._markets[listing.name]

            topic = make_topic(name, market_of, self._sequence, self._faults)
            if topic is not None:
                self._topics[category, name] = topic
        return topic

    def whole_book(self, listing: Listing) -> BookTopic:
        """Return the book that the REST book is numbered by."""
        topic = self.find(listing.category, f"orderbook.1000.{listing.symbol}")
        assert isinstance(topic, BookTopic)
        return topic

    def follow(self, session: Session, topic: Topic, now_ns: int) -> None:
        """Let a connection follow a topic, and send what it opens with."""
        opening = topic.opening(now_ns)
        topic.subscribers[session.number] = None
        session.topics[topic.name] = None
        if opening is not None:
            self._hub.send(session, self._garnished(opening, now_ns), now_ns, topic=topic.name)

    def leave(self, session: Session, name: str) -> None:
        """Let a connection follow a topic no longer."""
        session.topics.pop(name, None)
        topic = self._topics.get((session.kind, name))
        if topic is not None:
            topic.subscribers.pop(session.number, None)

    def leave_all(self, session: Session) -> None:
        """Let a connection follow nothing."""
        for name in list(session.topics):
            self.leave(session, name)

    def advance(self, now_ns: int, news: Mapping[str, list[PublicTrade]]) -> None:
        """Push what is due; `news` are the trades since the last call, by contract."""
        for topic in self._topics.values():
            if not topic.subscribers or not topic.is_due(now_ns):
                continue
            for frame in topic.pushes(now_ns, news.get(topic.market.listing.name, ())):
                text = encode_text(self._garnished(frame, now_ns))
                for number in topic.subscribers:
                    self._hub.send(self._hub.sessions[number], text, now_ns, topic=topic.name)

    def _garnished(self, frame: dict[str, Any], now_ns: int) -> dict[str, Any]:
        """Return a frame whose records have keys or values that nobody knows, where a rule says so."""
        if not self._faults.are_any:
            return frame
        data, topic = frame["data"], frame["topic"]
        if isinstance(data, dict):
            return {**frame, "data": self._faults.garnish(data, now_ns, topic=topic)}
        return {**frame, "data": [self._faults.garnish(record, now_ns, topic=topic) for record in data]}

    def tell_status(self, notice: dict[str, Any], now_ns: int) -> None:
        """Send a notice of maintenance to those who follow such."""
        frame = {"topic": "system.status", "ts": to_ms(now_ns), "data": [notice]}
        for session in self._hub.sessions.values():
            if session.kind == "status" and "system.status" in session.topics:
                self._hub.send(session, frame, now_ns, topic="system.status")

    def tell_liquidation(self, listing: Listing, fact: Execution, qty: str, price: str) -> None:
        """Note that a client's position was liquidated."""
        topic = self._topics.get((listing.category, f"allLiquidation.{listing.symbol}"))
        if isinstance(topic, LiquidationTopic):
            topic.tell(fact.ts_ns, fact.side, qty, price)
