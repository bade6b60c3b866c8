"""What came of what we asked a venue: answers to requests, and look-ups.

"It said no", "it is not there" and "we could not find out" are three results. Silence is never one of the first two.
"""

from enum import StrEnum

import msgspec

from bot.domain.venue_records import OrderRecord


class AnswerKind(StrEnum):
    """What a request has come to."""

    ACCEPTED = "accepted"  # taken for processing: not in the book yet, and it may still be refused
    EXISTS = "exists"  # a request with this id was taken before: look it up
    REFUSED = "refused"  # it was not carried out and will not be
    UNKNOWN = "unknown"  # it may or may not have been, or may still be


class Cause(StrEnum):
    """Why, as far as somebody who does not know the venue's codes has to act on it."""

    OTHER = "other"  # see code and text
    NOT_FOUND = "not_found"  # no such open order: never taken, or done already; which of them only a look-up tells
    UNCHANGED = "unchanged"  # it is already as it was asked to be
    CLOCK = "clock"  # outside the window: measure the clock, do not widen the window
    LIMITED = "limited"  # too many requests; `retry_at_ms` tells when there may be more
    BANNED = "banned"  # our address is shut out: no request at all for ten minutes
    KEY = "key"  # the key is no longer good for this: stop trading
    FUNDS = "funds"  # not enough margin or balance
    PRICE = "price"  # outside the venue's band
    FILTER = "filter"  # quantity, price or value off the instrument's filters
    POSITION = "position"  # the position is not what we believe: reduce-only had nothing to reduce
    MODE = "mode"  # the account is in another position mode, one-way or hedge, than we take it to be
    INSTRUMENT = "instrument"  # it does not trade now
    NETWORK = "network"  # no whole answer: time-out, reset, closed
    GARBLED = "garbled"  # an answer that cannot be read
    BUSY = "busy"  # the venue's own trouble: overload, restart, time-out inside
    UNSENT = "unsent"  # we did not send it: no byte left


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """What one request has come to."""

    kind: AnswerKind
    cause: Cause = Cause.OTHER  # of anything but ACCEPTED
    code: str = ""  # stable: the venue's, or "timeout", "HTTP 502"...
    text: str = ""  # for a person
    venue_order_id: str = ""
    server_time_ms: int | None = None  # the venue's clock when it answered
    retry_at_ms: int | None = None  # by the venue's clock
    recv_ns: int  # our clock

    @property
    def is_as_asked(self) -> bool:
        """Return whether things are as asked: for settings, which may have been so before."""
        return self.kind is AnswerKind.ACCEPTED or self.cause is Cause.UNCHANGED


class Place(StrEnum):
    """Where an order was looked for."""

    OPEN = "open"  # open and newly closed orders
    HISTORY = "history"
    EXECUTIONS = "executions"


class Found(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The venue has the order."""

    order: OrderRecord
    place: Place
    server_time_ms: int
    recv_ns: int


class Absent(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The order was in none of the places; a request that is still on its way may bring it yet."""

    places: tuple[Place, ...]  # all that were asked and answered in full
    server_time_ms: int  # of the earliest of the answers: each of them was made then or later
    recv_ns: int


class Unknown(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """We could not find out."""

    why: str
    cause: Cause = Cause.NETWORK
    recv_ns: int


LookUp = Found | Absent | Unknown
