"""One public connection of a sample market, brought to where a test begins."""

from bot.venues.bybit.backoff import ConnectBudget
from bot.venues.bybit.connection_life import Phase
from bot.venues.bybit.stream_session import StreamSession
from bot.venues.bybit.topics import Category, Topic, book_topic, ticker_topic, trade_topic
from tests.support.bybit_market import (
    MS,
    START_NS,
    SYMBOL,
    SampleBookStream,
    ticker_message,
    trade_message,
)
from tests.support.bybit_venue import Desk, FakeVenue

S = 1_000 * MS
BOOK = book_topic(SYMBOL, 50)
LEVEL1 = book_topic(SYMBOL, 1)
TRADES = trade_topic(SYMBOL)
TICKER = ticker_topic(SYMBOL)
ALL = [BOOK, LEVEL1, TRADES, TICKER]
STREAM = SampleBookStream(1)
FIRST_DATA = {
    BOOK.text: [STREAM.snapshot().raw],
    LEVEL1.text: [STREAM.level1().raw],
    TRADES.text: [trade_message(START_NS, [(600_000, 5, True)])],
    TICKER.text: [ticker_message(START_NS, is_snapshot=True, markPrice="60000")],
}


def first_data(topic: str) -> list[bytes]:
    """Return what the venue sends first on a topic."""
    return FIRST_DATA.get(topic, [])


def desk(
    topics: list[Topic] = ALL, *, seed: int = 1, venue: FakeVenue | None = None, budget: ConnectBudget | None = None
) -> Desk:
    """Return a session that has not been started, before a venue."""
    venue = FakeVenue(on_subscribed=first_data) if venue is None else venue
    category: Category = "spot" if venue.category == "spot" else "linear"
    session = StreamSession(topics, category=category, seed=seed, budget=budget)
    return Desk(session, venue, START_NS)


def live(seed: int = 1) -> Desk:
    """Return a session whose topics are all trusted."""
    made = desk(seed=seed)
    made.start()
    assert made.session.is_ready
    made.effects.clear()
    return made


def keep_alive(made: Desk, seconds: int, *quiet: Topic) -> None:
    """Let time pass while all topics but some speak, twice a second."""
    for _ in range(2 * seconds):
        made.wait(S // 2)
        if made.session.phase is Phase.OPEN:
            talking = [topic for topic in made.venue.subscribed if topic not in [each.text for each in quiet]]
            made.say(*(raw for topic in talking for raw in first_data(topic)))
