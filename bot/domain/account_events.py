"""What a live account tells beyond its own orders' events: strangers' orders, balances, positions.

`bot.domain.orders` has what a replay needs; these come from a venue that others use too.
"""

import msgspec

from bot.domain.orders import AccountEvent
from bot.domain.venue_records import BookingRecord, ExecutionRecord, OrderRecord, PositionRecord, WalletRecord


class Told(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The root: when it happened by the venue's clock, and when we learned of it by ours; ns since the epoch, UTC."""

    ts_event_ns: int
    ts_recv_ns: int


class ExternalOrder(Told, frozen=True, kw_only=True):
    """An order that we did not make has appeared or changed: watch it, alert, never touch it."""

    order: OrderRecord


class ExternalFill(Told, frozen=True, kw_only=True):
    """An execution that is of no order of ours and of none that the venue keeps for us: it moved the account."""

    execution: ExecutionRecord
    is_understood: bool = True  # False: of a kind that we do not know; stop trading in it until the account is asked


class FillSighted(Told, frozen=True, kw_only=True):
    """An execution is known before its fee is: news for whoever is in a hurry, booked when it comes in full."""

    client_order_id: str  # "" where we do not know whose it is
    execution: ExecutionRecord


class PositionReported(Told, frozen=True, kw_only=True):
    """A position as the venue has it."""

    instrument: str
    position: PositionRecord


class WalletReported(Told, frozen=True, kw_only=True):
    """Balances as the venue has them; from a stream only those that changed."""

    wallet: WalletRecord


class TransferBooked(Told, frozen=True, kw_only=True):
    """The venue's ledger has a line that no execution and no funding explains: a transfer, an interest, a bonus."""

    booking: BookingRecord


class AccountUnsure(Told, frozen=True, kw_only=True):
    """The stream may have left something out, or said what we cannot read: ask the venue before new risk is taken."""

    instrument: str  # "" for the whole account
    reason: str


LiveEvent = (
    AccountEvent
    | ExternalOrder
    | ExternalFill
    | FillSighted
    | PositionReported
    | WalletReported
    | TransferBooked
    | AccountUnsure
)
