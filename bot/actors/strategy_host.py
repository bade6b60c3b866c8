"""Lets a strategy walk the market: bars and forecasts in the calendar's order, up to the horizon.

The strategy is handed rows, not messages: a quiet bar costs it one function call, or none where it says which rows
could matter. It never sees a row before the row is known, whatever its slab already holds.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from numpy.typing import NDArray

from bot.actors.strategy_streams import NOTHING, BarStream, Due, ForecastStream, Stream, Timer
from bot.core.calendar import Key
from bot.core.effects import Notice, Wish
from bot.core.event_rules import format_scale, parse_event_rule
from bot.core.filters import FiltersTold, refit
from bot.core.order import Order
from bot.core.portfolio import apply_fee, apply_fill
from bot.core.stops import Stops, follow
from bot.domain.account import Position
from bot.domain.errors import ConfigError, InvariantBroken
from bot.domain.instrument import Instrument
from bot.domain.ledger import ForecastUsed
from bot.domain.market import BarBatch, EventBarBatch, ForecastBatch, MarketSlab
from bot.domain.orders import (
    Action,
    AmendOpen,
    Exit,
    FeePaid,
    ForeignFilled,
    OrderFilled,
    PlaceOrder,
    PositionCut,
    SetStops,
    StopsChanged,
    Target,
    Trigger,
)
from bot.ports import StrategySpec


class StrategyHost:
    """The strategy's core: what it may see, whom it is told of next, and what it wants.

    It is itself the `ports.Context` that the strategy looks through.
    """

    def __init__(self, strategy: StrategySpec, instruments: Sequence[Instrument], *, first_stream: int = 0) -> None:
        self._strategy = strategy
        self._instruments = {instrument.name: instrument for instrument in instruments}
        self._now_ns = 0
        self._bars: dict[tuple[str, int | str], BarStream] = {}  # by instrument, and length in ns or rule
        self._telling: BarStream | None = None
        self._forecasts: dict[str, ForecastStream] = {}
        self._positions = {name: Position(instrument=name) for name in self._instruments}
        self._orders: dict[str, Order] = {}
        self._stops = {name: Stops() for name in self._instruments}
        numbers = itertools.count(first_stream)
        scales: list[int | str] = [*sorted(strategy.scales_ns), *sorted(_one_spelling(strategy))]
        for instrument in instruments:
            for scale in scales:
                self._bars[instrument.name, scale] = BarStream(next(numbers))
            if strategy.wants_forecasts:
                self._forecasts[instrument.name] = ForecastStream(next(numbers))
        self._next = NOTHING
        self._has_moved = False  # rows, since the next one was found: a slab drops those that are passed
        self._timer = Timer(next(numbers), strategy.timer_ns) if strategy.timer_ns else None
        strategy.bind(self)

    # --- what the strategy looks at ---

    def now_ns(self) -> int:
        """See `ports.Context`."""
        return self._now_ns

    def instrument(self, name: str) -> Instrument:
        """See `ports.Context`."""
        return self._instruments[name]

    def bars(self, instrument: str, scale: int | str, count: int) -> BarBatch:
        """See `ports.Context`."""
        stream, known = self._known(instrument, scale)
        if stream.bars is None:
            raise LookupError(f"no {format_scale(scale)} bar of {instrument} has closed yet")
        return stream.bars.rows(max(0, known - count), known)

    def column(self, instrument: str, scale: int | str, name: str) -> NDArray[Any]:
        """See `ports.Context`."""
        stream, known = self._known(instrument, scale)
        return stream.columns[name][:known]

    def position(self, instrument: str) -> Position:
        """See `ports.Context`."""
        return self._positions[instrument]

    def open_orders(self, instrument: str) -> Sequence[Order]:
        """See `ports.Context`."""
        return [o for o in self._orders.values() if o.request.instrument == instrument]

    def stops(self, instrument: str) -> Stops:
        """See `ports.Context`."""
        return self._stops[instrument]

    def _known(self, instrument: str, scale: int | str) -> tuple[BarStream, int]:
        stream = self._bars.get((instrument, scale))
        if stream is None:
            declared = ", ".join(format_scale(other) for name, other in self._bars if name == instrument)
            raise LookupError(
                f"{instrument} {format_scale(scale)} is not among what the strategy declares: {declared or 'nothing'}"
            )
        if stream.bars is None:
            return stream, 0
        if stream is self._telling:
            return stream, stream.cursor  # of several known at one ns, those after the one being told come later
        return stream, int(stream.bars.known_ns.searchsorted(self._now_ns, side="right"))

    # --- what it is told ---

    def take_up(self, positions: Sequence[Position], orders: Sequence[Order], stops: Mapping[str, Stops]) -> None:
        """Begin with what an earlier run left."""
        self._positions |= {position.instrument: position for position in positions}
        self._orders |= {order.request.client_order_id: order for order in orders}
        self._stops |= stops

    def begin(self, now_ns: int) -> None:
        """Pass what was known before now: it is history to look back on, not to act upon."""
        self._now_ns = max(self._now_ns, now_ns)
        self._skip(now_ns)

    def slab(self, slab: MarketSlab, now_ns: int) -> None:
        """Append what a slab holds of the streams the strategy follows."""
        self._has_moved = True
        if self._timer is not None:
            self._timer.start(now_ns)
        for scale_ns, bars in slab.bars.items():
            self._extend(slab.instrument.name, scale_ns, bars, now_ns)
        for rule, event_bars in slab.event_bars.items():
            self._extend(slab.instrument.name, rule, event_bars, now_ns)
        if slab.forecasts is not None and slab.instrument.name in self._forecasts:
            self._forecasts[slab.instrument.name].extend(slab.forecasts, now_ns)

    def _extend(self, instrument: str, scale: int | str, bars: BarBatch, now_ns: int) -> None:
        stream = self._bars.get((instrument, scale))
        if stream is not None:
            columns = self._strategy.columns(bars)
            if any(len(column) != len(bars) for column in columns.values()):
                raise InvariantBroken(f"{self._strategy.name}.columns must return one value for each bar")
            stream.extend(bars, columns, now_ns, self._strategy.lookback)

    def refit(self, told: FiltersTold) -> None:
        """Let the strategy round orders to an instrument's new filters; its bars keep their own ticks."""
        name = told.instrument.name
        self._instruments[name] = refit(self._instruments[name], told.instrument)

    def notice(self, notice: Notice, now_ns: int) -> list[Wish]:
        """Fold an event of its own orders into what the strategy believes, tell it, and return what it wants."""
        if now_ns > self._now_ns:
            self._now_ns = now_ns
            self._skip(now_ns)
        order, event = notice.order, notice.event
        if order is not None:
            if order.is_live:
                self._orders[order.request.client_order_id] = order
            else:
                self._orders.pop(order.request.client_order_id, None)
        if event is None:
            return []
        match event:
            case OrderFilled() | PositionCut() | ForeignFilled():
                self._positions[event.instrument] = apply_fill(
                    self._positions[event.instrument], side=event.side, price=event.price, qty=event.qty, fee=event.fee
                )
            case FeePaid():
                held = self._positions[event.instrument]
                self._positions[event.instrument] = apply_fee(held, event, self._instruments[event.instrument])
            case StopsChanged():
                self._stops[event.instrument] = follow(self._stops[event.instrument], event)
        return self._wishes(self._strategy.tell_event(event), type(event).__name__)

    def next_key(self) -> Key:
        """Return the key of the next row that could matter, `NEVER` if no slab so far holds one."""
        self._next, self._has_moved = self._find_next(), False
        return self._next[0]

    def walk(self, horizon: Key) -> tuple[list[Wish], int]:
        """Tell the strategy of rows before `horizon`, until it wants something.

        Returns:
            what it wants, and the time at which it does; nothing, and the time so far, if it walked to the horizon.
        """
        if self._has_moved:  # a slab came together with the wake-up
            self.next_key()
        while True:
            key, stream, row = self._next
            if stream is None or key >= horizon:
                return [], self._now_ns
            self._now_ns = key[0]
            wishes = self._tell(stream, row)
            if wishes:
                self._has_moved = True  # it was told: whoever wakes us next must not tell it once more
                return wishes, key[0]
            self._next = self._find_next()

    def _tell(self, stream: Stream, row: int) -> list[Wish]:
        match stream:
            case BarStream(bars=BarBatch() as bars):
                stream.cursor = row + 1
                self._telling = stream
                actions = self._strategy.tell_bar(bars, stream.columns, row)
                wishes = self._wishes(actions, f"bar:{_trigger(bars)}")
                self._telling = None
                return wishes
            case ForecastStream(forecasts=ForecastBatch() as forecasts):
                stream.cursor = row + 1
                return self._wishes(self._strategy.tell_forecast(forecasts, row), "forecast", (forecasts, row))
            case Timer():
                stream.pass_one()
                return self._wishes(self._strategy.tell_time(self._now_ns), "timer")
            case _:
                raise AssertionError(stream)

    def _skip(self, now_ns: int) -> None:
        for bar_stream in self._bars.values():
            bar_stream.skip(now_ns)
        for forecast_stream in self._forecasts.values():
            forecast_stream.skip(now_ns)

    def _find_next(self) -> Due:
        """Return the next row that could matter, of all streams."""
        due = NOTHING
        for bars in self._bars.values():
            if bars.bars is not None and bars.cursor < bars.count:
                row = self._strategy.next_row(bars.bars, bars.columns, bars.cursor)
                if row < bars.count and (key := bars.key(row)) < due[0]:
                    due = key, bars, row
        for stream in self._forecasts.values():
            if stream.forecasts is not None and stream.cursor < len(stream.forecasts):
                row = self._strategy.next_forecast(stream.forecasts, stream.cursor)
                if row < len(stream.forecasts) and (key := stream.key(row)) < due[0]:
                    due = key, stream, row
        if self._timer is not None and self._timer.next_ns and (key := self._timer.key()) < due[0]:
            due = key, self._timer, 0
        return due

    def _wishes(self, actions: Any, trigger: str, forecast: tuple[ForecastBatch, int] | None = None) -> list[Wish]:
        if actions is None:
            return []
        wanted: Sequence[Any] = actions if isinstance(actions, list | tuple) else [actions]
        for action in wanted:
            self._refuse_nonsense(action)
        used = None if forecast is None else _forecast_used(*forecast, now_ns=self._now_ns)
        return [self._wish(action, trigger, used) for action in wanted]

    def _refuse_nonsense(self, action: Any) -> None:
        if not isinstance(action, Action):
            raise ConfigError(
                f"strategy {self._strategy.name} answered {action!r}; return a target, an order, a change, a cancel, "
                "or None"
            )
        try:
            numbers = list(_numbers(action))
        except AttributeError as error:
            raise ConfigError(
                f"strategy {self._strategy.name} answered {action!r}; a trigger must be a Trigger, a take profit or "
                "stop loss an Exit"
            ) from error
        for what, number in numbers:
            if not isinstance(number, Decimal):
                raise ConfigError(
                    f'strategy {self._strategy.name} asked for the {what} {number!r}; write Decimal("{number}")'
                )

    def _wish(self, action: Action, trigger: str, forecast: ForecastUsed | None) -> Wish:
        close_ns, close_price = self._newest_close(action.instrument)
        position = self._positions.get(action.instrument)
        return Wish(
            strategy=self._strategy.name,
            trigger=trigger,
            action=action,
            bar_close_ns=close_ns,
            close_price=close_price,
            position_qty=position.qty if position is not None else Decimal(0),
            forecast=forecast,
        )

    def _newest_close(self, name: str) -> tuple[int | None, Decimal | None]:
        newest: tuple[int, Decimal] | None = None
        for instrument, scale in self._bars:
            if instrument != name:
                continue
            stream, known = self._known(instrument, scale)
            if stream.bars is None or not known:
                continue
            close_ns = stream.bars.close_at(known - 1)
            if newest is None or newest[0] < close_ns:
                newest = close_ns, stream.bars.instrument.price(int(stream.bars.close_ticks[known - 1]))
        return newest or (None, None)


def _one_spelling(strategy: StrategySpec) -> set[str]:
    try:
        return {str(parse_event_rule(rule)) for rule in strategy.event_rules}
    except ValueError as error:
        raise ConfigError(f"strategy {strategy.name}, event_rules: {error}") from error


def _numbers(action: Action) -> Iterator[tuple[str, Any]]:
    """Yield each number that an action asks for, with its name: what a strategy's author wrote need not be one."""
    named: Mapping[str, Any] = {}
    legs: Mapping[str, Exit | Trigger | None] = {}
    match action:
        case Target():
            yield "quantity", action.qty
        case PlaceOrder():
            yield "quantity", action.qty
            named = {"limit price": action.limit_price}
            legs = {"trigger": action.trigger, "take profit": action.take_profit, "stop loss": action.stop_loss}
        case AmendOpen():
            named = {"quantity": action.qty, "limit price": action.limit_price, "trigger": action.trigger_price}
        case SetStops():
            named = {"trailing distance": action.trailing_distance}
            legs = {"take profit": action.take_profit, "stop loss": action.stop_loss}
    for name, number in named.items():
        if number is not None:
            yield name, number
    for name, leg in legs.items():
        if leg is not None:
            yield f"price of the {name}", leg.price


def _trigger(bars: BarBatch) -> str:
    return bars.rule if isinstance(bars, EventBarBatch) else f"{bars.scale_ns // 1_000_000_000}s"


def _forecast_used(forecasts: ForecastBatch, row: int, *, now_ns: int) -> ForecastUsed:
    name = forecasts.instrument.name
    return ForecastUsed(
        ts_ns=now_ns,
        forecast_id=f"{name}-{forecasts.scale_ns // 1_000_000_000}s-{int(forecasts.bar_row[row])}",
        model_id=forecasts.model_id,
        instrument=name,
        bar_close_ns=int(forecasts.close_ns[row]),
        horizons_ns=forecasts.horizons_ns,
        levels=forecasts.levels,
        quantiles=tuple(tuple(level) for level in forecasts.quantiles[row].tolist()),
        importance=tuple(forecasts.importance[row].tolist()),
        answers=dict(zip(forecasts.answer_names, forecasts.answers[row].tolist(), strict=True)),
    )
