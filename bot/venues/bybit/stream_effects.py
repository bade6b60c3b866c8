"""What a stream session wants done, in order: by whoever owns the socket, and by whoever reads the market.

A connection has a number, never used twice. What is meant for one, or comes from one, that is no longer the session's
is nobody's business: it is dropped, so nothing that was queued for an old connection reaches a new one.
"""

import msgspec

from bot.venues.bybit.wire import MarketFrame


class Connect(msgspec.Struct, frozen=True, kw_only=True):
    """Open a connection now, and give up on it after `StreamSession` says so."""

    connection: int


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """Send a text message."""

    connection: int
    data: bytes


class Close(msgspec.Struct, frozen=True, kw_only=True):
    """Close the connection without waiting for the other side; the session is done with it."""

    connection: int
    reason: str


class Deliver(msgspec.Struct, frozen=True, kw_only=True):
    """Frames of topics that were asked for, in the order in which they arrived."""

    frames: list[MarketFrame]


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """The topic's subscription is confirmed and its data flow."""

    topic: str


class Distrust(msgspec.Struct, frozen=True, kw_only=True):
    """What the topic last said may be old or wrong, and what comes may have a hole before it."""

    topic: str
    reason: str
    known_ns: int


class Backfill(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for what the topic may have left out within [from_ns, to_ns), by REST; what came twice is to be dropped."""

    topic: str
    from_ns: int  # by the venue's clock
    to_ns: int  # by ours: ask a little beyond it


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A person may want to know."""

    code: str  # a constant, `noun.past_verb`
    text: str
    raw: bytes = b""  # the message that gave rise to it
    suppressed: int = 0  # of the same code since the last that was told


SessionEffect = Connect | Send | Close | Deliver | Trust | Distrust | Backfill | Alert
