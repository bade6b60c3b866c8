"""The class a strategy is written against. `docs/strategies.md` builds one step by step.

class Breakout(Strategy):
    name = "breakout"

    class Params(StrategyParams):
        scale: Duration = parse_duration("1h")
        qty: Decimal = Decimal("0.01")

    @property
    def scales_ns(self):
        return (self.params.scale,)

    def on_bar(self, bar):
        past = self.bars(bar.instrument, bar.scale_ns, 21)
        if len(past) == 21 and past.close_ticks[-1] > past.high_ticks[:-1].max():
            return self.target(bar.instrument, self.params.qty, reason="new high")
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from bot.core.order import Order
from bot.core.stops import Stops
from bot.domain.account import Position
from bot.domain.instrument import Instrument, Side
from bot.domain.ledger import RiskDenied
from bot.domain.market import BarBatch, ForecastBatch
from bot.domain.orders import (
    AccountEvent,
    AmendOpen,
    CancelOpen,
    Exit,
    OrderFilled,
    PlaceOrder,
    PositionCut,
    SetStops,
    Target,
    TimeInForce,
    Trigger,
    TriggerSource,
)
from bot.ports import Actions, Context
from strategies.inputs import Bar, Columns, Forecast


class StrategyParams(BaseModel):
    """A strategy's parameters: declared with their types and limits, refused when unknown or out of range."""

    model_config = ConfigDict(frozen=True, extra="forbid")


P = TypeVar("P", bound=StrategyParams)


class Strategy(Generic[P]):
    """Override what you need; every `on_` method answers with what you want: an action, a list of them, or None.

    Attributes:
        name: at most 12 of a-z, A-Z, 0-9 and _, a letter first; part of every order's id.
        Params: your parameters' class.
        wants_forecasts: whether `on_forecast` is told of forecasts.
        horizons_ns: the horizons it cannot do without.
        answers: what else a forecast must say, by the names of `bot.domain.forecast_names`.
        timer_ns: how often `on_timer` is told the time, None for never.
        lookback: how many past bars of each scale `bars` can reach; more cost memory.
        params: the parameters, validated.
    """

    name: str = "strategy"
    lookback: int = 500
    Params: ClassVar[type[StrategyParams]] = StrategyParams
    wants_forecasts: bool = False
    horizons_ns: tuple[int, ...] = ()
    answers: tuple[str, ...] = ()
    timer_ns: int | None = None

    def __init__(self, params: P) -> None:
        self.params = params
        self._context: Context | None = None

    # --- what you may override ---

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """Return the scales of the bars you use, in ns; of each, `on_bar` is told every bar."""
        return () if self.event_rules else (60_000_000_000,)

    @property
    def event_rules(self) -> tuple[str, ...]:
        """Return the rules of the bars you use that the market closes, such as "volume:100"; only from trades."""
        return ()

    def columns(self, bars: BarBatch) -> Columns:
        """Return your indicators for these bars, which follow the last you were given: one value per bar.

        Optional, and fast: numpy computes thousands of bars at once. Keep what you carry over in `self`; however the
        market is cut into batches, the joined result must be the same.
        """
        return {}

    def next_row(self, bars: BarBatch, columns: Columns, start: int) -> int:
        """Return the first row from `start` on at which `on_bar` could act; len(bars) if none.

        Optional, and fast: skip the bars at which, as positions are now, you would answer None and change nothing. It
        is asked again after every fill and every answer of yours.
        """
        return start

    def next_forecast(self, forecasts: ForecastBatch, start: int) -> int:
        """Return the first row from `start` on at which `on_forecast` could act."""
        return start

    def on_start(self) -> None:
        """Prepare; positions, instruments and bars can be reached from here on."""

    def on_bar(self, bar: Bar) -> Actions:
        """Answer a closed bar."""

    def on_forecast(self, forecast: Forecast) -> Actions:
        """Answer a forecast."""

    def on_fill(self, fill: OrderFilled) -> Actions:
        """Answer a fill of one of your orders; your position already counts it."""

    def on_cut(self, cut: PositionCut) -> Actions:
        """Answer an execution that no order of yours made; your position already counts it.

        A stop that the venue kept for you, or worse: `cut.cause` says which.
        """

    def on_event(self, event: AccountEvent | RiskDenied) -> Actions:
        """Answer anything else: orders accepted, triggered, amended, canceled, refused; stops changed; funding paid."""

    def on_timer(self, now_ns: int) -> Actions:
        """Answer your timer, every `timer_ns`."""

    @property
    def parts(self) -> "tuple[Strategy[Any], ...]":
        """Return the strategies that it is made of: itself."""
        return (self,)

    # --- what you may use ---

    @property
    def context(self) -> Context:
        """Return what lets you look at the market and at your own orders."""
        if self._context is None:
            raise RuntimeError("positions and bars can be reached from on_start on, not in __init__")
        return self._context

    def now_ns(self) -> int:
        """Return the time of what you are being told."""
        return self.context.now_ns()

    def bars(self, instrument: str, scale: int | str, count: int) -> BarBatch:
        """Return the newest `count` closed bars, oldest first; fewer where there are fewer.

        Args:
            instrument: its name.
            scale: the bars' length in ns, or the rule that closes them; one that you declare.
            count: how many.
        """
        return self.context.bars(instrument, scale, count)

    def instrument(self, name: str) -> Instrument:
        """Return an instrument's filters."""
        return self.context.instrument(name)

    def position(self, instrument: str) -> Position:
        """Return what you hold."""
        return self.context.position(instrument)

    def open_orders(self, instrument: str) -> Sequence[Order]:
        """Return your orders that may still fill."""
        return self.context.open_orders(instrument)

    def stops(self, instrument: str) -> Stops:
        """Return the exits that the venue keeps for your position."""
        return self.context.stops(instrument)

    def target(self, instrument: str, qty: Decimal, *, reason: str) -> Target:
        """Return the wish to hold `qty` (negative: short), whatever market orders that takes."""
        return Target(instrument=instrument, qty=qty, reason=reason)

    def limit_order(
        self,
        instrument: str,
        side: Side,
        qty: Decimal,
        price: Decimal,
        *,
        reason: str,
        time_in_force: TimeInForce = TimeInForce.GTC,
        reduce_only: bool = False,
        trigger: Trigger | None = None,
        take_profit: Exit | None = None,
        stop_loss: Exit | None = None,
    ) -> PlaceOrder:
        """Return the wish for a limit order.

        Args:
            instrument, side, qty: what to trade.
            price: the limit.
            reason: told in the ledger and in the report.
            time_in_force: how long it may rest.
            reduce_only: whether it may only ever make the position smaller.
            trigger: what it waits for before it enters the market; None to enter at once.
            take_profit, stop_loss: exits that the venue gives the position that the order opens.
        """
        return PlaceOrder(
            instrument=instrument,
            side=side,
            qty=qty,
            limit_price=price,
            time_in_force=time_in_force,
            reduce_only=reduce_only,
            trigger=trigger,
            take_profit=take_profit,
            stop_loss=stop_loss,
            reason=reason,
        )

    def market_order(
        self,
        instrument: str,
        side: Side,
        qty: Decimal,
        *,
        reason: str,
        reduce_only: bool = False,
        trigger: Trigger | None = None,
        take_profit: Exit | None = None,
        stop_loss: Exit | None = None,
    ) -> PlaceOrder:
        """Return the wish for a market order; the arguments are those of `limit_order`."""
        return PlaceOrder(
            instrument=instrument,
            side=side,
            qty=qty,
            reduce_only=reduce_only,
            trigger=trigger,
            take_profit=take_profit,
            stop_loss=stop_loss,
            reason=reason,
        )

    def amend(
        self,
        instrument: str,
        client_order_id: str,
        *,
        qty: Decimal | None = None,
        price: Decimal | None = None,
        trigger_price: Decimal | None = None,
        reason: str = "",
    ) -> AmendOpen:
        """Return the wish that an open order of yours be changed; what is None stays as it is.

        Args:
            instrument, client_order_id: which.
            qty: the new total, what has filled included.
            price: the new limit.
            trigger_price: what it waits for from now on.
            reason: told in the ledger.
        """
        return AmendOpen(
            instrument=instrument,
            client_order_id=client_order_id,
            qty=qty,
            limit_price=price,
            trigger_price=trigger_price,
            reason=reason,
        )

    def set_stops(
        self,
        instrument: str,
        *,
        take_profit: Decimal | None = None,
        stop_loss: Decimal | None = None,
        trailing_distance: Decimal | None = None,
        source: TriggerSource = TriggerSource.LAST,
        reason: str = "",
    ) -> SetStops:
        """Return the wish for exits that the venue keeps for your whole position; they go at the market.

        Args:
            instrument: whose position.
            take_profit, stop_loss: prices; 0 takes one away, None leaves it as it is.
            trailing_distance: how far behind the best price a trailing stop follows; 0 and None likewise.
            source: the price that pulls take profit and stop loss.
            reason: told in the ledger.
        """
        return SetStops(
            instrument=instrument,
            take_profit=None if take_profit is None else Exit(price=take_profit, source=source),
            stop_loss=None if stop_loss is None else Exit(price=stop_loss, source=source),
            trailing_distance=trailing_distance,
            reason=reason,
        )

    def cancel(self, instrument: str, client_order_id: str | None = None, *, reason: str = "") -> CancelOpen:
        """Return the wish to cancel one order, or all of an instrument."""
        return CancelOpen(instrument=instrument, client_order_id=client_order_id, reason=reason)

    # --- what the strategy actor calls (`ports.StrategySpec`) ---

    def bind(self, context: Context) -> None:
        """See `ports.StrategySpec`."""
        self._context = context
        self.on_start()

    def tell_bar(self, bars: BarBatch, columns: Columns, row: int) -> Actions:
        """See `ports.StrategySpec`."""
        return self.on_bar(Bar(bars, columns, row))

    def tell_forecast(self, forecasts: ForecastBatch, row: int) -> Actions:
        """See `ports.StrategySpec`."""
        return self.on_forecast(Forecast(forecasts, row))

    def tell_event(self, event: AccountEvent | RiskDenied) -> Actions:
        """See `ports.StrategySpec`."""
        match event:
            case OrderFilled():
                return self.on_fill(event)
            case PositionCut():
                return self.on_cut(event)
            case _:
                return self.on_event(event)

    def tell_time(self, now_ns: int) -> Actions:
        """See `ports.StrategySpec`."""
        return self.on_timer(now_ns)
