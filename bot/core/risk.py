"""Pre-trade checks: every order passes here, and what does not pass is denied with a stable code.

Each limit is written as what must hold (`if not 0 < value <= limit: deny`), and every number that goes into a
comparison is first seen to be finite: a NaN never slips through, and never stops the gate either (comparing a Decimal
NaN raises). The codes are documented in `docs/risk_codes.md`.
"""

from collections.abc import Iterable
from decimal import Decimal, DecimalException
from enum import StrEnum

import msgspec

from bot.core.order import Order
from bot.core.trading_state import Cause, Latch, TradingState
from bot.domain.account import ZERO, Position
from bot.domain.instrument import Instrument, Side
from bot.domain.orders import OrderType, SubmitOrder


class Denial(StrEnum):
    """Why the gate denied an order. The names are stable: reports, tests and docs rely on them."""

    HALTED = "HALTED"
    INSTRUMENT_UNKNOWN = "INSTRUMENT_UNKNOWN"
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


_PAUSES = {
    Cause.STOP_GUARD: Denial.STOP_GUARD,
    Cause.LOW_PROFIT: Denial.LOW_PROFIT,
    Cause.REPEATED: Denial.REPEATED,
    Cause.COOLDOWN: Denial.COOLDOWN,
}


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


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate needs to know of the account at this instant."""

    equity: Decimal | None  # quote currency; None where a held instrument has no mark
    position: Position  # of the order's instrument
    live: tuple[Order, ...]  # orders of that instrument that may still fill
    others_notional: Decimal  # worst case of all other instruments
    recent_sends_ns: tuple[int, ...]  # when orders were sent, newest last; at least the last second's
    now_ns: int
    other_positions: int = 0  # other instruments that are held, or would be if their open orders filled


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
    if hold is not None and hold.state is TradingState.HALTED:
        return Denial.HALTED, f"trading is halted ({hold.scope}, {hold.cause}): {hold.why.detail}"
    if instrument is None:
        return Denial.INSTRUMENT_UNKNOWN, f"{order.instrument} is not traded in this run"
    if mark is None:
        return Denial.MARK_MISSING, f"{order.instrument} has not traded yet"
    if not 0 <= book.now_ns - mark.ts_ns <= limits.mark_age_ns_max:
        return Denial.MARK_STALE, f"the last price is {(book.now_ns - mark.ts_ns) / 1e9:.3f} s old"
    try:
        return _judge_numbers(order, instrument, mark, book, limits, hold)
    except DecimalException:
        return Denial.ACCOUNT_INVALID, "a number is too large or too small to reckon with"


def _judge_numbers(
    order: SubmitOrder, instrument: Instrument, mark: Mark, book: Book, limits: RiskLimits, hold: Latch | None
) -> tuple[Denial, str] | None:
    return (
        _judge_inputs(mark, book, limits)
        or _judge_grid(order, instrument)
        or _judge_price(order, instrument, mark, limits)
        or _judge_hold(order, book, hold)
        or _judge_size(order, instrument, mark, book, limits)
        or _judge_flow(order, book, limits)
    )


def worst_case_qty(position: Position, live: Iterable[Order], extra: SubmitOrder | None = None) -> Decimal:
    """Return the greatest absolute quantity that the position can reach if one side's orders all fill.

    `extra` is one more order to count. Reduce-only orders count for nothing: they cannot increase a position.
    """
    buys = sells = ZERO
    for order in live:
        if order.request.reduce_only:
            continue
        if order.request.side is Side.BUY:
            buys += order.remaining_qty
        else:
            sells += order.remaining_qty
    if extra is not None and not extra.reduce_only:
        if extra.side is Side.BUY:
            buys += extra.qty
        else:
            sells += extra.qty
    return max(abs(position.qty + buys), abs(position.qty - sells))


def _judge_inputs(mark: Mark, book: Book, limits: RiskLimits) -> tuple[Denial, str] | None:
    if not (mark.price.is_finite() and mark.price > 0):
        return Denial.MARK_INVALID, f"the last price is {mark.price}"
    is_finite = book.position.qty.is_finite() and book.others_notional.is_finite()
    is_finite = is_finite and (book.equity is None or book.equity.is_finite())
    for order in book.live:
        is_finite = is_finite and order.remaining_qty.is_finite()
    if not is_finite:
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
    price = order.limit_price
    if (price is None) != (order.order_type is OrderType.MARKET):
        return Denial.PRICE_INVALID, "a limit order needs a limit price, a market order takes none"
    if price is None:
        return None
    if not price.is_finite() or not price > 0:
        return Denial.PRICE_INVALID, f"price {price} is not a positive number"
    if not abs(price / mark.price - 1) <= limits.price_collar:
        return Denial.PRICE_COLLAR, f"price {price} is more than {limits.price_collar} from the mark {mark.price}"
    if price % instrument.tick_size != 0:
        return Denial.PRICE_OFF_TICK, f"price {price} is not a multiple of {instrument.tick_size}"
    return None


def _judge_hold(order: SubmitOrder, book: Book, hold: Latch | None) -> tuple[Denial, str] | None:
    if hold is None or order.reduce_only or is_exit(order, book):  # what reduce-only means is judged with the size
        return None
    code = _PAUSES.get(hold.cause, Denial.REDUCING)
    return code, f"only exits pass ({hold.scope}, {hold.cause}): {hold.why.detail}"


def _judge_size(
    order: SubmitOrder, instrument: Instrument, mark: Mark, book: Book, limits: RiskLimits
) -> tuple[Denial, str] | None:
    notional = order.qty * (order.limit_price or mark.price)
    if order.reduce_only and not (0 < order.qty <= abs(book.position.qty) and _is_against(order, book.position)):
        return Denial.REDUCE_ONLY_INCREASES, f"the position is {book.position.qty}"
    if is_exit(order, book):
        return None  # it only makes the account safer: no limit of size may stand in its way
    after = worst_case_qty(book.position, book.live, order)
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


def _judge_flow(order: SubmitOrder, book: Book, limits: RiskLimits) -> tuple[Denial, str] | None:
    if not len(book.live) < limits.open_orders_max:
        return Denial.OPEN_ORDERS_ABOVE_MAX, f"{len(book.live)} orders of {order.instrument} are open"
    recent = sum(1 for sent_ns in book.recent_sends_ns if sent_ns > book.now_ns - 1_000_000_000)
    if not recent < limits.orders_per_second_max:
        return Denial.ORDER_RATE, f"{recent} orders were sent within a second"
    return None


def is_exit(order: SubmitOrder, book: Book) -> bool:
    """Return whether the position cannot flip even if this order and all live ones of its side fill."""
    same_side = (o.remaining_qty for o in book.live if o.request.side is order.side and not o.request.reduce_only)
    leaving = order.qty + sum(same_side, ZERO)
    return _is_against(order, book.position) and leaving <= abs(book.position.qty)


def _is_against(order: SubmitOrder, position: Position) -> bool:
    return position.qty * order.side.sign < 0
