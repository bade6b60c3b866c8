"""Names of Bybit's public topics, and how long each kind may be silent.

Source: Bybit V5, public websocket topics and connection limits.
"""

import re
from enum import StrEnum
from typing import Literal

import msgspec

Category = Literal["linear", "spot", "inverse"]

_S = 1_000_000_000
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9._\-]{0,39}", re.ASCII)
_TOPIC_MAX = 80  # characters
_DEPTHS_ASKED = (1, 50, 200, 1000)
# The venue's archive holds books of 500 levels, which its streams no longer serve.
_DEPTHS_READ = frozenset(map(str, (*_DEPTHS_ASKED, 500)))
_INTERVALS = frozenset(["1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M"])


class Kind(StrEnum):
    """What a topic tells of: its name up to the first dot."""

    BOOK = "orderbook"
    TRADES = "publicTrade"
    KLINE = "kline"
    TICKER = "tickers"
    PRICE_LIMIT = "priceLimit"
    STATUS = "system"


_KINDS = frozenset(kind.value for kind in Kind)
# They exist, and nothing here reads them.
_PUBLIC_UNREAD = frozenset(["allLiquidation", "liquidation", "insurance", "adlAlert"])
_PRIVATE = frozenset(["order", "execution", "position", "wallet", "greeks", "dcp", "strategy"])


class Topic(msgspec.Struct, frozen=True):
    """One topic, taken apart."""

    text: str  # as the venue spells it: what subscriptions and frames name
    kind: Kind
    symbol: str  # "" where it is of no instrument
    detail: str = ""  # a book's depth, a kline's interval

    @property
    def depth(self) -> int:
        """Return a book's levels a side."""
        return int(self.detail)


class UnknownTopic(ValueError):
    """The text names nothing that is read here; the message says what it is."""


def parse_topic(text: str) -> Topic:
    """Return the topic that a frame names.

    Raises:
        UnknownTopic: it is of another kind, or garbled.
    """
    if len(text) > _TOPIC_MAX:
        raise UnknownTopic("its topic is too long to be one")
    # Up to the first dot exactly: "order" begins "orderbook".
    head, _, rest = text.partition(".")
    if head in _PRIVATE:
        raise UnknownTopic(f"not a market stream: {head}")
    if head in _PUBLIC_UNREAD:
        raise UnknownTopic(f"not read: {head}")
    if text == "system.status":
        return Topic(text, Kind.STATUS, "")
    detail, symbol = "", rest
    if head in (Kind.BOOK, Kind.KLINE):
        detail, _, symbol = rest.partition(".")
    if head not in _KINDS or head == Kind.STATUS or _SYMBOL.fullmatch(symbol) is None:
        raise UnknownTopic("its topic is of no known kind")
    if head == Kind.BOOK and detail not in _DEPTHS_READ:
        raise UnknownTopic(f"not read: books of depth {detail[:10]}")
    if head == Kind.KLINE and detail not in _INTERVALS:
        raise UnknownTopic(f"not read: klines of interval {detail[:10]}")
    return Topic(text, Kind(head), symbol, detail)


def book_topic(symbol: str, depth: int) -> Topic:
    """Return the topic of an order book.

    Raises:
        ValueError: the venue has no stream of such a depth.
    """
    if depth not in _DEPTHS_ASKED:
        raise ValueError(f"there is no stream of books of {depth} levels; there are {_DEPTHS_ASKED}")
    return parse_topic(f"{Kind.BOOK}.{depth}.{symbol}")


def trade_topic(symbol: str) -> Topic:
    """Return the topic of an instrument's trades."""
    return parse_topic(f"{Kind.TRADES}.{symbol}")


def ticker_topic(symbol: str) -> Topic:
    """Return the topic of mark and index price, funding and best quote."""
    return parse_topic(f"{Kind.TICKER}.{symbol}")


def kline_topic(symbol: str, interval: str) -> Topic:
    """Return the topic of the venue's own bars; `history_pages.INTERVALS` spells the intervals."""
    return parse_topic(f"{Kind.KLINE}.{interval}.{symbol}")


def price_limit_topic(symbol: str) -> Topic:
    """Return the topic of the prices that orders must keep within."""
    return parse_topic(f"{Kind.PRICE_LIMIT}.{symbol}")


STATUS_TOPIC = parse_topic("system.status")


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a topic may keep us waiting."""

    first_ns: int  # from the confirmed subscription to the first data
    silence_ns: int  # between two frames
    is_quiet_normal: bool  # silence may be the market's: ask whether the subscription lives, and trust on
    needs_data: bool = True  # trusted once the first data have come; else with the venue's confirmation


_LIVELY = Patience(first_ns=5 * _S, silence_ns=10 * _S, is_quiet_normal=False)

# The venue repeats the best quote every 3 s, and prices of perpetuals move every second. Deeper books and trades come
# when something happens: in a thin market that takes as long as it takes.
PATIENCE: dict[Kind, Patience] = {
    Kind.BOOK: Patience(first_ns=5 * _S, silence_ns=60 * _S, is_quiet_normal=True),
    # They begin with no snapshot. That none is missing is known without one: by REST, and by the venue's own minutes.
    Kind.TRADES: Patience(first_ns=60 * _S, silence_ns=120 * _S, is_quiet_normal=True, needs_data=False),
    Kind.KLINE: Patience(first_ns=90 * _S, silence_ns=90 * _S, is_quiet_normal=True, needs_data=False),
    Kind.TICKER: _LIVELY,
    Kind.PRICE_LIMIT: _LIVELY,
    Kind.STATUS: Patience(first_ns=2**62, silence_ns=2**62, is_quiet_normal=True, needs_data=False),  # news is rare
}
_SPOT_TICKER = Patience(first_ns=5 * _S, silence_ns=120 * _S, is_quiet_normal=True)  # it speaks when a trade happens


def patience_of(topic: Topic, category: Category) -> Patience:
    """Return how long a topic may keep us waiting."""
    if topic.kind is Kind.BOOK and topic.depth == 1:
        return _LIVELY
    if topic.kind is Kind.TICKER and category == "spot":
        return _SPOT_TICKER
    return PATIENCE[topic.kind]
