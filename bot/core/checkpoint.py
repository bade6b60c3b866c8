"""The money half's state in plain values: kept beside the journal, so that opening a long one reads only its end.

A checkpoint is never believed for long: whoever opened from one folds the whole journal in the background and compares.
"""

from decimal import Decimal

import msgspec
from msgspec.structs import replace

from bot.core.money_state import MoneyState
from bot.core.order import Order
from bot.core.stops import Stops
from bot.core.submission.journal import Intent, RequestJournal
from bot.core.submission.requests import Request
from bot.core.trading_state import Latch
from bot.domain.account import Position
from bot.domain.errors import DataError
from bot.domain.instrument import Side
from bot.domain.ledger import AmendIntended, CancelIntended, OrderIntended, StopsIntended

FORMAT = 1


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What the protections' windows hold; empty ones left out."""

    net: dict[str, Decimal]
    losses_ns: dict[str, list[int]]
    trips: dict[str, list[tuple[int, Decimal]]]
    executions_ns: list[tuple[str, Side, list[int]]]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """All that follows from a ledger's entries up to one of them; equal where two states are."""

    format: int = FORMAT
    cash: Decimal
    positions: list[Position]
    orders: list[Order]
    live: list[tuple[str, list[str]]]  # by instrument, ids in their order
    strategy_of: dict[str, str]
    closing: list[str]
    done: list[tuple[int, str]]
    sends_ns: list[int]
    stops: dict[str, Stops]
    has_stops: list[str]
    forecasts: dict[str, str]
    decisions: int
    doubts: dict[str, list[str]]
    cuts: list[tuple[str, str]]
    settled: list[str]
    latches: list[Latch]
    loss_base: tuple[int, Decimal | None, Decimal | None]
    counted: Counted
    margin_ms: int = 0
    requests: list[Request] = []
    orders_intended: dict[str, OrderIntended] = {}  # the intents that no sending of is recorded, by kind
    amends_intended: dict[str, AmendIntended] = {}
    cancels_intended: dict[str, CancelIntended] = {}
    stops_intended: dict[str, StopsIntended] = {}
    cancel_numbers: dict[str, int] = {}
    coins: dict[str, Decimal] = {}
    fees: list[tuple[str, str, int, int]] = []  # in other coins: instrument, execution, number, when
    compared_ns: int | None = None
    compared_ms: int = 0
    signed_until_ms: int = 0
    balanced_ms: int = 0
    flattening: dict[str, str] = {}
    worked: list[str] = []  # live orders that rest for a target
    crossings: int = 0
    strategy_books: list[tuple[str, list[Position]]] = []  # where several strategies have books of their own
    shares: dict[str, dict[str, Decimal]] = {}  # by order, what of it each has left
    last_count: int = 0  # the highest number in any order id
    last_epoch: int = 0


def capture(state: MoneyState, journal: RequestJournal | None = None, *, last: tuple[int, int] = (0, 0)) -> Checkpoint:
    """Return the state as it is; of requests in flight none without their journal.

    Args:
        last: the highest epoch and the highest number in any order id.
    """
    protections, shared = state.protections, state.strategy_books
    cuts, settled = state.books.booked()
    checkpoint = Checkpoint(
        cash=state.portfolio.cash,
        positions=list(state.portfolio.positions.values()),
        orders=list(state.orders.values()),
        live=[(name, list(live)) for name, live in state.live.items()],
        strategy_of=dict(state.strategy_of),
        closing=sorted(state.closing),
        worked=sorted(state.worked),
        crossings=state.crossings,
        strategy_books=[] if shared is None else [(name, list(book.values())) for name, book in shared.books.items()],
        shares={} if shared is None else {name: dict(parts) for name, parts in shared.shares.items()},
        done=list(state.done),
        sends_ns=list(state.sends_ns),
        stops=dict(state.stops),
        has_stops=sorted(state.has_stops),
        forecasts=dict(state.forecasts),
        decisions=state.decisions,
        doubts={name: sorted(requests) for name, requests in state.doubts.items()},
        cuts=cuts,
        settled=settled,
        latches=protections.states.latches(),
        loss_base=protections.loss_base,
        counted=Counted(**protections.counted()),
        coins=dict(state.portfolio.coins),
        fees=state.books.booked_fees(),
        compared_ns=state.compared_ns,
        compared_ms=state.compared_ms,
        signed_until_ms=state.signed_until_ms,
        balanced_ms=state.balanced_ms,
        flattening=dict(state.flattening),
        last_epoch=last[0],
        last_count=last[1],
    )
    return checkpoint if journal is None else _with_requests(checkpoint, journal)


def restore(checkpoint: Checkpoint, state: MoneyState, journal: RequestJournal) -> None:
    """Put a checkpoint into a state and a journal that begin empty."""
    state.portfolio.cash = checkpoint.cash
    state.portfolio.positions.update({position.instrument: position for position in checkpoint.positions})
    state.orders.update({order.request.client_order_id: order for order in checkpoint.orders})
    for name, live in checkpoint.live:
        state.live[name].update({order: state.orders[order] for order in live})
    state.owing.update((name, 0) for name, order in state.orders.items() if order.owed_qty and not order.is_live)
    state.strategy_of.update(checkpoint.strategy_of)
    state.closing.update(checkpoint.closing)
    state.worked.update(checkpoint.worked)
    state.crossings = checkpoint.crossings
    if (shared := state.strategy_books) is not None:
        for name, book in checkpoint.strategy_books:
            shared.books.setdefault(name, {}).update({position.instrument: position for position in book})
        shared.shares.update({name: dict(parts) for name, parts in checkpoint.shares.items()})
    state.done.extend(checkpoint.done)
    state.sends_ns.extend(checkpoint.sends_ns)
    state.stops.update(checkpoint.stops)
    state.has_stops.update(checkpoint.has_stops)
    state.forecasts.update(checkpoint.forecasts)
    state.decisions = checkpoint.decisions
    state.doubts.update({name: set(requests) for name, requests in checkpoint.doubts.items()})
    state.portfolio.coins.update(checkpoint.coins)
    state.books.restore(checkpoint.cuts, checkpoint.settled, checkpoint.fees)
    state.compared_ns = checkpoint.compared_ns
    state.compared_ms = checkpoint.compared_ms
    state.signed_until_ms = checkpoint.signed_until_ms
    state.balanced_ms = checkpoint.balanced_ms
    state.flattening.update(checkpoint.flattening)
    state.protections.states.restore_latches(checkpoint.latches)
    state.protections.restore_loss_base(*checkpoint.loss_base)
    counted = checkpoint.counted
    state.protections.restore_counted(counted.net, counted.losses_ns, counted.trips, counted.executions_ns)
    intents: dict[str, Intent] = {
        **checkpoint.orders_intended,
        **checkpoint.amends_intended,
        **checkpoint.cancels_intended,
        **checkpoint.stops_intended,
    }
    journal.restore(checkpoint.requests, intents, checkpoint.cancel_numbers, checkpoint.margin_ms)


def encode(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as bytes."""
    return _ENCODER.encode(checkpoint)


def decode(data: bytes) -> Checkpoint:
    """Return the checkpoint of bytes.

    Raises:
        DataError: they are none, or of another format: read the journal from its beginning instead.
    """
    try:
        checkpoint = _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise DataError(f"the checkpoint cannot be read ({error}); the journal is read from its beginning") from error
    if checkpoint.format != FORMAT:
        raise DataError(f"the checkpoint is of format {checkpoint.format}; the journal is read from its beginning")
    return checkpoint


def is_like(one: Checkpoint, other: Checkpoint) -> bool:
    """Return whether two states are the same but for since when the venue's exits are as they are.

    That alone is not recorded where nothing else about them has changed.
    """
    return _timeless(one) == _timeless(other)


def _timeless(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, stops={name: replace(stops, ts_event_ns=0) for name, stops in checkpoint.stops.items()})


def _with_requests(checkpoint: Checkpoint, journal: RequestJournal) -> Checkpoint:
    unsigned = journal.unsigned.items()
    return replace(
        checkpoint,
        margin_ms=journal.margin_ms,
        requests=list(journal.requests.values()),
        orders_intended={key: each for key, each in unsigned if isinstance(each, OrderIntended)},
        amends_intended={key: each for key, each in unsigned if isinstance(each, AmendIntended)},
        cancels_intended={key: each for key, each in unsigned if isinstance(each, CancelIntended)},
        stops_intended={key: each for key, each in unsigned if isinstance(each, StopsIntended)},
        cancel_numbers=journal.cancel_numbers(),
    )


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Checkpoint)
