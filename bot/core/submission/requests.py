"""One request's life: what is asked for, every sending of it, and what is known of the outcome."""

import hashlib
from decimal import Decimal
from enum import StrEnum

import msgspec

from bot.domain.orders import AmendOrder, CancelOrder, ChangeStops, Command, SubmitOrder


class Kind(StrEnum):
    """What is asked for."""

    CREATE = "create"
    AMEND = "amend"
    CANCEL = "cancel"
    STOPS = "stops"


class Phase(StrEnum):
    """What is known of the outcome."""

    SIGNED = "signed"  # durable; it may be on its way, or it never left
    UNKNOWN = "unknown"  # nobody answered, or nobody knows
    ACCEPTED = "accepted"  # the venue has taken it
    REFUSED = "refused"  # no sending of it was carried out, by the venue's own word
    NOT_ACCEPTED = "not_accepted"  # no sending of it can have been, by evidence


class Outcome(StrEnum):
    """What came of one sending. The venue's answers, and one more."""

    ACCEPTED = "accepted"
    EXISTS = "exists"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One sending."""

    number: int
    signed_ms: int
    recv_window_ms: int
    outcome: Outcome | None = None  # None: no answer yet


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, and how far it has come: all of it follows from the ledger's entries."""

    key: str
    kind: Kind
    command: Command
    client_order_id: str  # of a change of stops, its own id
    instrument: str
    decided_ns: int
    mark_price: Decimal | None  # what the gate judged it by
    phase: Phase = Phase.SIGNED
    attempts: tuple[Attempt, ...] = ()
    closed_ns: int = 0  # when it was refused or given up

    @property
    def is_open(self) -> bool:
        """Return whether its outcome is not known."""
        return self.phase in (Phase.SIGNED, Phase.UNKNOWN)

    @property
    def is_refused(self) -> bool:
        """Return whether every sending was refused: one refusal says nothing of the sendings before it."""
        return all(attempt.outcome is Outcome.REFUSED for attempt in self.attempts)

    @property
    def is_known_to_exist(self) -> bool:
        """Return whether the venue has said of any sending that it has the order."""
        return any(attempt.outcome in (Outcome.ACCEPTED, Outcome.EXISTS) for attempt in self.attempts)

    def fence_ms(self, margin_ms: int) -> int:
        """Return the venue's time after which no sending of it can still be admitted: every resend moves it."""
        return max(attempt.signed_ms + attempt.recv_window_ms for attempt in self.attempts) + margin_ms


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """A sending that is durable, or about to be: nothing of it may leave before that."""

    request: str  # with the attempt, what its answer is matched by
    attempt: int
    command: Command
    signed_ms: int  # goes into the signature as it is
    recv_window_ms: int
    channel: str
    prepared_ns: int


class Subject(StrEnum):
    """What a look-up is about."""

    ORDER = "order"  # by client order id: open orders, history, executions
    POSITION = "position"  # with the exits that the venue keeps for it
    FILLS = "fills"  # all executions of one order; without an id, of the instrument, since the newest that is booked


class LookUpWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Something to ask the venue; the answer comes home like any other message."""

    subject: Subject
    instrument: str
    client_order_id: str = ""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are sent and doubts resolved. Times in ms are the venue's clock, in ns ours."""

    channel: str = "rest"
    recv_window_ms: int = 2_500
    margin_ms: int = 2_000  # what admission and look-ups may lag behind the venue's own clock, to begin with
    margin_ms_max: int = 60_000
    sends_max: int = 3  # of one request
    rounds: int = 2  # negative look-ups behind the fence that it takes to give a request up
    round_gap_ms: int = 1_000  # between them, by the venue's clock
    missing_rounds: int = 5  # look-ups in vain that it takes to close an order that the venue had taken
    missing_ms: int = 10_000  # from the first of them to the last, by the venue's clock
    answer_within_ns: int = 3_000_000_000  # after that, silence is a doubt
    seen_within_ns: int = 5_000_000_000  # after that, an accepted order that no stream has shown is looked up
    look_up_within_ns: int = 5_000_000_000  # after that, a look-up without an answer is asked again
    backoff_ns: tuple[int, ...] = (250_000_000, 500_000_000, 1_000_000_000, 2_000_000_000)
    wanted_ns: int = 5_000_000_000  # how long after the decision a create may be sent again
    commit_ns_max: int = 1_000_000_000  # a decision whose commit took longer is not sent any more
    drift_max: Decimal = Decimal("0.005")  # how far the mark may have moved since the decision, a fraction
    zombie_watch_ns: int = 24 * 3_600_000_000_000
    cancel_again_ns: int = 1_000_000_000


def content_hash(command: Command) -> str:
    """Return a hash of all that a request says but its time and signature."""
    return hashlib.blake2b(msgspec.json.encode(command), digest_size=8).hexdigest()


def identify(command: Command, cancel_number: int = 0) -> tuple[Kind, str, str]:
    """Return a command's kind, its request's key, and the id it is about."""
    match command:
        case SubmitOrder():
            return Kind.CREATE, f"create:{command.client_order_id}", command.client_order_id
        case AmendOrder():
            key = f"amend:{command.client_order_id}:{command.amend_number}"
            return Kind.AMEND, key, command.client_order_id
        case CancelOrder():
            return Kind.CANCEL, f"cancel:{command.client_order_id}:{cancel_number}", command.client_order_id
        case ChangeStops():
            return Kind.STOPS, f"stops:{command.request_id}", command.request_id


def can_rest(order: SubmitOrder) -> bool:
    """Return whether the order may stay in the book, so that a cancel can still find it."""
    return order.trigger is not None or (order.limit_price is not None and order.time_in_force not in ("ioc", "fok"))
