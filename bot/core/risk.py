"""Pre-trade checks: every order and every change of one passes here, or is denied with a stable code.

Each limit is written as what must hold (`if not 0 < value <= limit: deny`), and every number that goes into a
comparison is first seen to be finite: a NaN never slips through, and never stops the gate either (comparing a Decimal
NaN raises). The codes are documented in `docs/risk_codes.md`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, DecimalException
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from bot.core.order import Order, Status
from bot.core.stops import Stops, loosens
from bot.core.trading_state import Cause, Latch, TradingState
from bot.domain.account import ZERO, Position
from bot.domain.instrument import Instrument, Side
from bot.domain.orders import AmendOrder, ChangeStops, Exit, OrderType, SubmitOrder, Trigger, TriggerSource


class Denial(StrEnum):
    """Why the gate denied something. The names are stable: reports, tests and docs rely on them."""

    HALTED = "HALTED"
    INSTRUMENT_UNKNOWN = "INSTRUMENT_UNKNOWN"
    ORDER_NOT_OPEN = "ORDER_NOT_OPEN"
    AMEND_PENDING = "AMEND_PENDING"
    AMEND_INVALID = "AMEND_INVALID"
    NO_POSITION = "NO_POSITION"
    MARK_MISSING = "MARK_MISSING"
    MARK_STALE = "MARK_STALE"
    MARK_INVALID = "MARK_INVALID"
    ACCOUNT_INVALID = "ACCOUNT_INVALID"
    LIMITS_INVALID = "LIMITS_INVALID"
    QTY_INVALID = "QTY_INVALID"
    QTY_OFF_STEP = "QTY_OFF_STEP"
    QTY_BELOW_MIN = "QTY_BELOW_MIN"
    QTY_ABOVE_MAX = "QTY_ABOVE_MAX"
    PRICE_INVALID = "PRICE_INVALID"
    PRICE_OFF_TICK = "PRICE_OFF_TICK"
    PRICE_COLLAR = "PRICE_COLLAR"
    TRIGGER_INVALID = "TRIGGER_INVALID"
    STOPS_INVALID = "STOPS_INVALID"
    NOTIONAL_BELOW_MIN = "NOTIONAL_BELOW_MIN"
    NOTIONAL_ABOVE_MAX = "NOTIONAL_ABOVE_MAX"
    POSITION_ABOVE_MAX = "POSITION_ABOVE_MAX"
    LEVERAGE_ABOVE_MAX = "LEVERAGE_ABOVE_MAX"
    NO_EQUITY = "NO_EQUITY"
    OPEN_ORDERS_ABOVE_MAX = "OPEN_ORDERS_ABOVE_MAX"
    ORDER_RATE = "ORDER_RATE"
    REDUCE_ONLY_INCREASES = "REDUCE_ONLY_INCREASES"
    REDUCING = "REDUCING"
    STOP_GUARD = "STOP_GUARD"
    LOW_PROFIT = "LOW_PROFIT"
    REPEATED = "REPEATED"
    COOLDOWN = "COOLDOWN"
    OPEN_POSITIONS_ABOVE_MAX = "OPEN_POSITIONS_ABOVE_MAX"
    IN_DOUBT = "IN_DOUBT"
    TARGET_DROPPED = "TARGET_DROPPED"
    OTHER_LEG = "OTHER_LEG"


_PAUSES = {
    Cause.STOP_GUARD: Denial.STOP_GUARD,
    Cause.LOW_PROFIT: Denial.LOW_PROFIT,
    Cause.REPEATED: Denial.REPEATED,
    Cause.COOLDOWN: Denial.COOLDOWN,
    Cause.DOUBT: Denial.IN_DOUBT,
}


_UNRECKONABLE = Denial.ACCOUNT_INVALID, "a number is too large or too small to reckon with"


class RiskLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate allows. Notionals in quote currency, at the limit price or else at mark."""

    order_notional_max: Decimal
    position_notional_max: Decimal  # worst case: the position and all that may still fill on one side
    leverage_max: Decimal  # the worst case over all instruments, as a multiple of equity
    price_collar: Decimal  # greatest distance of a limit price from the mark, a fraction
    mark_age_ns_max: int
    open_orders_max: int  # per instrument
    orders_per_second_max: int
    open_positions_max: int = 0  # instruments held or about to be; 0: as many as there are


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The price an instrument is valued at, and when it traded there."""

    price: Decimal
    ts_ns: int
    bid: Decimal | None = None  # the best there are, where quotes are known
    ask: Decimal | None = None


Marks = Mapping[str, Mark | None]
"""The newest prices by instrument, None before the first."""


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate needs to know of the account at this instant."""

    equity: Decimal | None  # quote currency; None where a held instrument has no mark
    position: Position  # of the order's instrument
    live: tuple[Order, ...]  # orders of that instrument that may still fill
    others_notional: Decimal  # worst case of all other instruments
    recent_sends_ns: tuple[int, ...]  # when orders were sent, newest last; at least the last second's
    now_ns: int
    other_positions: int = 0  # other instruments that are held, or would be if their open orders filled
    has_stops: bool = False  # the venue keeps exits for the position, did, or has been asked to
    claims: "Claims | None" = None  # what `live` comes to, where somebody has kept count


def _nothing() -> dict[Side, Decimal]:
    return {Side.BUY: ZERO, Side.SELL: ZERO}


@dataclass(slots=True)
class Claims:
    """What may still fill of one instrument's open orders, by side."""

    entering: dict[Side, Decimal] = field(default_factory=_nothing)
    reducing: dict[Side, Decimal] = field(default_factory=_nothing)  # of reduce-only orders
    is_finite: bool = True  # what is no number is in no sum


def claims_of(live: Iterable[Order]) -> Claims:
    """Return what open orders come to: each is looked at once, for there may be hundreds."""
    claims = Claims()
    for order in live:
        qty = order.remaining_qty
        if not qty.is_finite():
            claims.is_finite = False
            continue
        request = order.request
        sums = claims.reducing if request.reduce_only else claims.entering
        sums[request.side] += qty
    return claims


def judge(
    order: SubmitOrder,
    *,
    instrument: Instrument | None,
    mark: Mark | None,
    book: Book,
    limits: RiskLimits,
    hold: Latch | None = None,
) -> tuple[Denial, str] | None:
    """Return why `order` must not be sent, or None if it may be. `hold` is the latch in force, if any."""
    denial = _judge_halt(hold)
    if denial is not None:
        return denial
    if instrument is None:
        return Denial.INSTRUMENT_UNKNOWN, f"{order.instrument} is not traded in this run"
    if mark is None:
        return Denial.MARK_MISSING, f"{order.instrument} has not traded yet"
    if not _is_fresh(mark, book, limits):
        return Denial.MARK_STALE, f"the last price is {(book.now_ns - mark.ts_ns) / 1e9:.3f} s old"
    try:
        denial = _judge_mark(mark)
        if denial is not None:
            return denial
        claims = book.claims or claims_of(book.live)
        return (
            _judge_inputs(book, claims, limits)
            or _judge_grid(order, instrument)
            or _judge_price(order, instrument, mark, limits)
            or _judge_hold(order, book, claims, hold)
            or _judge_size(order, instrument, mark, book, claims, limits)
            or _judge_count(order, book, limits)
            or _judge_rate(book, limits)
        )
    except DecimalException:
        return _UNRECKONABLE


def judge_amendment(
    order: Order,
    change: AmendOrder,
    *,
    instrument: Instrument,
    mark: Mark | None,
    book: Book,
    limits: RiskLimits,
    hold: Latch | None = None,
) -> tuple[Denial, str] | None:
    """Return why `change` must not be sent, or None if it may be: what the order would then be is judged.

    A smaller quantity alone is a part of a cancel: neither the mark nor a limit of size stands in its way.

    Args:
        order: as it is.
        change: what it is to become.
        instrument: the order's.
        mark: the newest price, if any.
        book: the account; among its live orders this one is not.
        limits: what is allowed.
        hold: the latch in force, if any.
    """
    denial = _judge_halt(hold) or _judge_sense(order, change)
    if denial is not None:
        return denial
    draft = _draft(order, change)
    try:
        if change.limit_price is None and change.trigger_price is None and draft.qty < order.qty:
            return _judge_grid(draft, instrument) or _judge_rate(book, limits)
        if mark is None or not _is_fresh(mark, book, limits):
            return Denial.MARK_STALE, f"{draft.instrument} has no fresh price"
        # Until the venue has answered it may be either: the larger of the two counts.
        whole = replace(draft, qty=max(draft.qty - order.filled_qty, order.remaining_qty))
        denial = _judge_mark(mark)
        if denial is not None:
            return denial
        claims = book.claims or claims_of(book.live)
        return (
            _judge_inputs(book, claims, limits)
            or _judge_grid(draft, instrument)
            or _judge_price(draft, instrument, mark, limits)
            or _judge_hold(whole, book, claims, hold)
            or _judge_size(whole, instrument, mark, book, claims, limits)
            or _judge_rate(book, limits)
        )
    except DecimalException:
        return _UNRECKONABLE


def judge_stops(
    change: ChangeStops,
    held: Stops,
    *,
    instrument: Instrument | None,
    mark: Mark | None,
    book: Book,
    limits: RiskLimits,
    hold: Latch | None = None,
) -> tuple[Denial, str] | None:
    """Return why the exits that the venue keeps must not be changed, or None if they may be.

    An exit makes the account safer, so no limit of size applies, and it needs no fresh mark; while only exits pass,
    only what ends the position sooner does.

    Args:
        change: what is asked for.
        held: what the venue keeps now.
        instrument, mark, book, limits, hold: see `judge`.
    """
    denial = _judge_halt(hold)
    if denial is not None:
        return denial
    if instrument is None:
        return Denial.INSTRUMENT_UNKNOWN, f"{change.instrument} is not traded in this run"
    if not book.position.qty:
        return Denial.NO_POSITION, "there is no position whose exits could be kept; give them to the order that opens"
    distance = change.trailing_distance
    if change.take_profit is None and change.stop_loss is None and distance is None:
        return Denial.STOPS_INVALID, "neither a take profit nor a stop loss nor a trailing distance is asked for"
    try:
        side = Side.BUY if book.position.qty > 0 else Side.SELL
        at = mark.price if mark is not None and _is_fresh(mark, book, limits) and mark.price.is_finite() else None
        for name, price in (("take profit", change.take_profit), ("stop loss", change.stop_loss)):
            if price is not None and price.price != 0:
                denial = denial or _judge_exit(name, price, instrument, side, at)
        if distance is not None and not (_is_on_tick(distance, instrument) or distance == 0):
            denial = denial or (Denial.STOPS_INVALID, f"a trailing distance of {distance} is not on the tick")
        if denial is None and hold is not None and loosens(held, change, book.position.qty):
            denial = _PAUSES.get(hold.cause, Denial.REDUCING), f"exits may only come nearer: {_words(hold)}"
        return denial or _judge_rate(book, limits)
    except DecimalException:
        return _UNRECKONABLE


def worst_case_qty(
    position: Position, live: Iterable[Order] | Claims, extra: SubmitOrder | None = None, *, has_stops: bool = False
) -> Decimal:
    """Return the greatest absolute quantity that the position can reach if one side's orders all fill.

    What can only reduce cannot increase a position; but if it comes first, what turns the position over reaches
    farther, so it counts as far as flat.

    Args:
        position: what is held.
        live: orders that may still fill, or what they come to.
        extra: one more to count.
        has_stops: the venue keeps exits of the whole position.
    """
    claims = live if isinstance(live, Claims) else claims_of(live)
    if not claims.is_finite:
        return Decimal("NaN")
    sums, reducing = dict(claims.entering), dict(claims.reducing)
    if extra is not None:
        counted = reducing if extra.reduce_only else sums
        counted[extra.side] += extra.qty
    short = long = qty = position.qty
    if qty < 0:
        short = ZERO if has_stops else min(qty + reducing[Side.BUY], ZERO)
    else:
        long = ZERO if has_stops else max(qty - reducing[Side.SELL], ZERO)
    buys, sells = sums[Side.BUY], sums[Side.SELL]
    return max(abs(qty + buys), abs(short + buys), abs(qty - sells), abs(long - sells))


def _judge_mark(mark: Mark) -> tuple[Denial, str] | None:
    if not (mark.price.is_finite() and mark.price > 0):
        return Denial.MARK_INVALID, f"the last price is {mark.price}"
    return None


def _judge_inputs(book: Book, claims: Claims, limits: RiskLimits) -> tuple[Denial, str] | None:
    is_finite = book.position.qty.is_finite() and book.others_notional.is_finite()
    is_finite = is_finite and (book.equity is None or book.equity.is_finite())
    if not (is_finite and claims.is_finite):
        return Denial.ACCOUNT_INVALID, "a position, an open order or the equity is not a number"
    if not (
        limits.order_notional_max.is_finite()
        and limits.position_notional_max.is_finite()
        and limits.leverage_max.is_finite()
        and limits.price_collar.is_finite()
    ):
        return Denial.LIMITS_INVALID, "a limit is not a number"
    return None


def _judge_grid(order: SubmitOrder, instrument: Instrument) -> tuple[Denial, str] | None:
    if not order.qty.is_finite() or not order.qty > 0:
        return Denial.QTY_INVALID, f"quantity {order.qty} is not a positive number"
    if not order.qty <= instrument.qty_max:
        return Denial.QTY_ABOVE_MAX, f"quantity {order.qty} is above {instrument.qty_max}"
    if order.qty % instrument.qty_step != 0:
        return Denial.QTY_OFF_STEP, f"quantity {order.qty} is not a multiple of {instrument.qty_step}"
    if not order.qty >= instrument.qty_min:
        return Denial.QTY_BELOW_MIN, f"quantity {order.qty} is below {instrument.qty_min}"
    return None


def _judge_price(
    order: SubmitOrder, instrument: Instrument, mark: Mark, limits: RiskLimits
) -> tuple[Denial, str] | None:
    price, trigger = order.limit_price, order.trigger
    if (price is None) != (order.order_type is OrderType.MARKET):
        return Denial.PRICE_INVALID, "a limit order needs a limit price, a market order takes none"
    if trigger is not None and not _is_on_tick(trigger.price, instrument):
        return Denial.TRIGGER_INVALID, f"trigger {trigger.price} is not a positive multiple of {instrument.tick_size}"
    if price is not None:
        # The limit of a conditional order is one of the time when the price is at its trigger.
        at = mark.price if trigger is None else trigger.price
        if not price.is_finite() or not price > 0:
            return Denial.PRICE_INVALID, f"price {price} is not a positive number"
        if not abs(price / at - 1) <= limits.price_collar:
            name = "mark" if trigger is None else "trigger"
            return Denial.PRICE_COLLAR, f"price {price} is more than {limits.price_collar} from the {name} {at}"
        if price % instrument.tick_size != 0:
            return Denial.PRICE_OFF_TICK, f"price {price} is not a multiple of {instrument.tick_size}"
    if order.take_profit is None and order.stop_loss is None:
        return None
    at = _price_of(order, mark)
    for name, leg in (("take profit", order.take_profit), ("stop loss", order.stop_loss)):
        denial = None if leg is None else _judge_exit(name, leg, instrument, order.side, at)
        if denial is not None:
            return denial
    return None


def _judge_exit(
    name: str, leg: Exit, instrument: Instrument, side: Side, at: Decimal | None
) -> tuple[Denial, str] | None:
    """Judge an exit of a position that `side` opened; `at` is a price to compare with, None if there is none."""
    if not _is_on_tick(leg.price, instrument):
        return Denial.STOPS_INVALID, f"{name} {leg.price} is not a positive multiple of {instrument.tick_size}"
    beyond = side.sign if name == "take profit" else -side.sign
    if at is not None and leg.source is TriggerSource.LAST and not (leg.price - at) * beyond > 0:
        return Denial.STOPS_INVALID, f"{name} {leg.price} is on the wrong side of {at}"
    return None


def _judge_hold(order: SubmitOrder, book: Book, claims: Claims, hold: Latch | None) -> tuple[Denial, str] | None:
    if (
        hold is None or order.reduce_only or is_exit(order, book.position, claims)
    ):  # what reduce-only means is judged with the size
        return None
    return _PAUSES.get(hold.cause, Denial.REDUCING), f"only exits pass {_words(hold)}"


def _judge_size(
    order: SubmitOrder, instrument: Instrument, mark: Mark, book: Book, claims: Claims, limits: RiskLimits
) -> tuple[Denial, str] | None:
    notional = order.qty * _price_of(order, mark)
    if order.reduce_only and not (0 < order.qty <= abs(book.position.qty) and _is_against(order, book.position)):
        return Denial.REDUCE_ONLY_INCREASES, f"the position is {book.position.qty}"
    if is_exit(order, book.position, claims):
        return None  # it only makes the account safer: no limit of size may stand in its way
    after = worst_case_qty(book.position, claims, order, has_stops=book.has_stops)
    if not notional >= instrument.notional_min:
        return Denial.NOTIONAL_BELOW_MIN, f"value {notional} is below {instrument.notional_min}"
    if not notional <= limits.order_notional_max:
        return Denial.NOTIONAL_ABOVE_MAX, f"value {notional} is above {limits.order_notional_max}"
    exposure = after * mark.price
    if not exposure <= limits.position_notional_max:
        return Denial.POSITION_ABOVE_MAX, f"the position could reach {exposure}, above {limits.position_notional_max}"
    if book.equity is None or not book.equity > 0:
        return Denial.NO_EQUITY, f"equity is {book.equity}"
    leverage = (exposure + book.others_notional) / book.equity
    if not leverage <= limits.leverage_max:
        return Denial.LEVERAGE_ABOVE_MAX, f"leverage could reach {leverage:.4f}, above {limits.leverage_max}"
    is_new = not book.position.qty and all(o.request.reduce_only for o in book.live)
    if limits.open_positions_max and is_new and not book.other_positions < limits.open_positions_max:
        return Denial.OPEN_POSITIONS_ABOVE_MAX, f"{book.other_positions} other instruments are held or about to be"
    return None


def _judge_count(order: SubmitOrder, book: Book, limits: RiskLimits) -> tuple[Denial, str] | None:
    if not len(book.live) < limits.open_orders_max:
        return Denial.OPEN_ORDERS_ABOVE_MAX, f"{len(book.live)} orders of {order.instrument} are open"
    return None


def _judge_rate(book: Book, limits: RiskLimits) -> tuple[Denial, str] | None:
    most = limits.orders_per_second_max
    sends_ns = book.recent_sends_ns
    if len(sends_ns) < most or (0 < len(sends_ns) == most and not sends_ns[0] > book.now_ns - 1_000_000_000):
        return None  # one of as many as are allowed is older
    recent = sum(1 for sent_ns in sends_ns if sent_ns > book.now_ns - 1_000_000_000)
    if not recent < most:
        return Denial.ORDER_RATE, f"{recent} orders were sent within a second"
    return None


def _judge_halt(hold: Latch | None) -> tuple[Denial, str] | None:
    if hold is not None and hold.state is TradingState.HALTED:
        return Denial.HALTED, f"trading is halted {_words(hold)}"
    return None


def _judge_sense(order: Order, change: AmendOrder) -> tuple[Denial, str] | None:
    """Judge what an amendment asks for before anything is reckoned with it."""
    if order.amend_requested is not None:
        return Denial.AMEND_PENDING, "the venue has not answered the last amendment of this order"
    asked = (change.qty, change.limit_price, change.trigger_price)
    now = (order.qty, order.limit_price, order.trigger_price)
    if any(value is not None and not value.is_finite() for value in asked):
        return Denial.AMEND_INVALID, "what is asked for is not a number"
    if all(value is None or value == held for value, held in zip(asked, now, strict=True)):
        return Denial.AMEND_INVALID, "the order is as it is asked to become"
    if change.qty is not None and not change.qty > order.filled_qty:
        return Denial.AMEND_INVALID, f"{order.filled_qty} have filled, it cannot total {change.qty}"
    if change.limit_price is not None and order.request.order_type is OrderType.MARKET:
        return Denial.AMEND_INVALID, "a market order has no limit to change"
    is_waiting = order.request.trigger is not None and order.status in (Status.SUBMITTED, Status.WAITING)
    if change.trigger_price is not None and not is_waiting:
        return Denial.AMEND_INVALID, "the order waits for no trigger"
    return None


def _draft(order: Order, change: AmendOrder) -> SubmitOrder:
    """Return what would have been asked for, had the order been from the start as it is to become."""
    trigger = order.request.trigger
    trigger_price = order.trigger_price if change.trigger_price is None else change.trigger_price
    if trigger is not None and trigger_price is not None:
        trigger = Trigger(price=trigger_price, is_rise=trigger.is_rise, source=trigger.source)
    return replace(
        order.request,
        qty=order.qty if change.qty is None else change.qty,
        limit_price=order.limit_price if change.limit_price is None else change.limit_price,
        trigger=trigger,
        take_profit=None,  # they were judged when the order was, and stay as they are
        stop_loss=None,
    )


def _price_of(order: SubmitOrder, mark: Mark) -> Decimal:
    """Return the price that an order is valued at: its limit, else its trigger, else the mark."""
    if order.limit_price is not None:
        return order.limit_price
    return mark.price if order.trigger is None else order.trigger.price


def _is_fresh(mark: Mark, book: Book, limits: RiskLimits) -> bool:
    return 0 <= book.now_ns - mark.ts_ns <= limits.mark_age_ns_max


def _is_on_tick(price: Decimal, instrument: Instrument) -> bool:
    return price.is_finite() and price > 0 and price % instrument.tick_size == 0


def _words(hold: Latch) -> str:
    return f"({hold.scope}, {hold.cause}): {hold.why.detail}"


def is_exit(order: SubmitOrder, position: Position, claims: Claims) -> bool:
    """Return whether the position cannot flip even if this order and all live ones of its side fill."""
    leaving = order.qty + claims.entering[order.side]
    return _is_against(order, position) and leaving <= abs(position.qty)


def _is_against(order: SubmitOrder, position: Position) -> bool:
    return position.qty * order.side.sign < 0
