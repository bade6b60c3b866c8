"""What comes home to the live order executor: answers, look-ups, what the account tells, what a person wants."""

from decimal import Decimal

import msgspec

from bot.core.balancing import Balance
from bot.core.filters import FiltersTold
from bot.core.reconcile import VenueSnapshot
from bot.domain.account_events import LiveEvent
from bot.domain.answers import Answer, LookUp
from bot.domain.venue_records import PositionRecord


class Answered(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What one sending of a request has come to."""

    request: str
    attempt: int
    answer: Answer


class LookedUp(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a look-up of an order has come to."""

    client_order_id: str
    result: LookUp


class PositionSeen(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a look-up of a position has come to; None: it could not be found out."""

    instrument: str
    position: PositionRecord | None
    server_time_ms: int | None


class AccountTold(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What the account's streams, or a look-up in their place, have told."""

    events: tuple[LiveEvent, ...]


class AccountCompared(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What the venue says of the whole account; None: it could not be asked, and `why` says why."""

    snapshot: VenueSnapshot | None
    executed_ms: int  # up to then, by the venue's clock, all executions have been told
    why: str


class ClockTold(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How far the venue's clock is ahead of ours."""

    offset_ms: int | None  # None: nobody knows, so nothing can be signed
    trouble: str  # why no new exposure may be taken, "" if it may


class LinkChanged(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A connection that money depends on has come or gone."""

    name: str  # account, orders
    is_up: bool
    reason: str


class KeyRefused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The venue answers no question any more, because of the key that it was asked with."""

    code: str
    text: str


class QuoteTold(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The best prices of an instrument are others now; told only where orders are to be kept there."""

    instrument: str
    bid: Decimal | None  # None: not known
    ask: Decimal | None


class AccountBalanced(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What holding our bookings against the venue's own ledger, line by line, has found."""

    balance: Balance
    explained: tuple[str, ...] = ()  # what was found out meanwhile


HomeMessage = (
    Answered
    | LookedUp
    | PositionSeen
    | AccountTold
    | AccountCompared
    | AccountBalanced
    | ClockTold
    | LinkChanged
    | KeyRefused
    | FiltersTold
    | QuoteTold
)
