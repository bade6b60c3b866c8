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

from collections.abc import Mapping, Sequence
from decimal import Decimal
from statistics import NormalDist
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bot.core.durations import format_duration
from bot.core.order import Order
from bot.core.stops import Stops
from bot.domain.account import Position
from bot.domain.forecast_names import answer_name
from bot.domain.instrument import Instrument, Side
from bot.domain.ledger import RiskDenied
from bot.domain.market import EMPTY, PARTIAL, BarBatch, EventBarBatch, ForecastBatch
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
from strategies.outcomes import Outcomes

Columns = Mapping[str, NDArray[Any]]


class StrategyParams(BaseModel):
    """A strategy's parameters: declared with their types and limits, refused when unknown or out of range."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Bar:
    """One closed bar. Prices are quote currency per base unit, volumes base currency, times ns since the epoch."""

    __slots__ = ("_bars", "_columns", "_row")

    def __init__(self, bars: BarBatch, columns: Columns, row: int) -> None:
        self._bars = bars
        self._columns = columns
        self._row = row

    def __getitem__(self, name: str) -> Any:
        """Return the strategy's own column `name` at this bar."""
        return self._columns[name][self._row]

    @property
    def instrument(self) -> str:
        """Return the instrument's name."""
        return self._bars.instrument.name

    @property
    def scale_ns(self) -> int:
        """Return the bar's length; 0 of one that the market closed."""
        return self._bars.scale_ns

    @property
    def scale(self) -> int | str:
        """Return what closes such bars, as `Strategy.bars` takes it: their length, or a rule such as "volume:100"."""
        return self._bars.rule if isinstance(self._bars, EventBarBatch) else self._bars.scale_ns

    @property
    def open_ns(self) -> int:
        """Return the start of its interval; the time of its first trade where the market closed it."""
        return int(self._bars.open_ns[self._row])

    @property
    def close_ns(self) -> int:
        """Return the end of its interval; the time of its last trade where the market closed it."""
        return self._bars.close_at(self._row)

    @property
    def open(self) -> float:
        """Return the price of the first trade."""
        return self._bars.instrument.price_float(int(self._bars.open_ticks[self._row]))

    @property
    def high(self) -> float:
        """Return the highest price."""
        return self._bars.instrument.price_float(int(self._bars.high_ticks[self._row]))

    @property
    def low(self) -> float:
        """Return the lowest price."""
        return self._bars.instrument.price_float(int(self._bars.low_ticks[self._row]))

    @property
    def close(self) -> float:
        """Return the price of the last trade."""
        return self._bars.instrument.price_float(int(self._bars.close_ticks[self._row]))

    @property
    def high_price(self) -> Decimal:
        """Return the highest price, exactly."""
        return self._bars.instrument.price(int(self._bars.high_ticks[self._row]))

    @property
    def low_price(self) -> Decimal:
        """Return the lowest price, exactly."""
        return self._bars.instrument.price(int(self._bars.low_ticks[self._row]))

    @property
    def close_price(self) -> Decimal:
        """Return the price of the last trade, exactly."""
        return self._bars.instrument.price(int(self._bars.close_ticks[self._row]))

    @property
    def volume(self) -> float:
        """Return what was traded."""
        return self._bars.instrument.qty_float(int(self._bars.volume_steps[self._row]))

    @property
    def is_empty(self) -> bool:
        """Return whether nothing traded: a flat bar at the previous close."""
        return bool(self._bars.flags[self._row] & EMPTY)

    @property
    def is_partial(self) -> bool:
        """Return whether some of the interval is missing from the data."""
        return bool(self._bars.flags[self._row] & PARTIAL)


class Forecast:
    """One forecast of the log return from a bar's close, over each horizon."""

    __slots__ = ("_forecasts", "_row")

    def __init__(self, forecasts: ForecastBatch, row: int) -> None:
        self._forecasts = forecasts
        self._row = row

    @property
    def instrument(self) -> str:
        """Return the instrument's name."""
        return self._forecasts.instrument.name

    @property
    def close_ns(self) -> int:
        """Return the close of the bar it was made at: the time from which its horizons count."""
        return int(self._forecasts.close_ns[self._row])

    @property
    def horizons_ns(self) -> tuple[int, ...]:
        """Return the horizons."""
        return self._forecasts.horizons_ns

    @property
    def levels(self) -> tuple[float, ...]:
        """Return the probabilities of the model's quantiles, ascending."""
        return self._forecasts.levels

    def outcomes(self, horizon_ns: int) -> Outcomes:
        """Return the distribution of the log return over `horizon_ns` that the model's quantiles imply.

        Raises:
            LookupError: the model does not forecast this horizon.
        """
        return Outcomes.of_quantiles(self._forecasts.levels, self._quantiles(horizon_ns))

    def quantile(self, horizon_ns: int, level: float) -> float:
        """Return the quantile `level` of the log return over `horizon_ns`, between the model's own levels linearly.

        Raises:
            LookupError: the model does not forecast this horizon.
            ValueError: the level lies outside the model's levels.
        """
        levels = self._forecasts.levels
        if not levels[0] <= level <= levels[-1]:
            raise ValueError(f"the model's levels are {levels[0]} to {levels[-1]}, not {level}")
        return float(np.interp(level, levels, self._quantiles(horizon_ns)))

    def median(self, horizon_ns: int) -> float:
        """Return the median of the log return over `horizon_ns`."""
        return self.quantile(horizon_ns, 0.5)

    def deviation(self, horizon_ns: int) -> float:
        """Return the width of the widest interval over the width that it has where the deviation of a normal is 1."""
        levels, quantiles = self._forecasts.levels, self._quantiles(horizon_ns)
        return float((quantiles[-1] - quantiles[0]) / (_NORMAL.inv_cdf(levels[-1]) - _NORMAL.inv_cdf(levels[0])))

    def importance(self) -> dict[int, float]:
        """Return how much each time scale, in ns, contributed; sums to 1."""
        return dict(zip(self._forecasts.scales_ns, self._forecasts.importance[self._row].tolist(), strict=True))

    def answer(self, kind: str, *parts: str | float) -> float:
        """Return what else the model says, such as `answer("up", "1h")`; see `bot.domain.forecast_names`.

        Raises:
            LookupError: it does not say that.
        """
        name, names = answer_name(kind, *parts), self._forecasts.answer_names
        if name not in names:
            raise LookupError(f"the model says {', '.join(names) or 'nothing but returns'}, not {name}")
        return float(self._forecasts.answers[self._row, names.index(name)])

    def trust(self, horizon_ns: int) -> float:
        """Return by what to multiply a size, 0 to 1: less where intervals of late held less than they promised."""
        name = answer_name("shrink", format_duration(horizon_ns))
        names = self._forecasts.answer_names
        return float(self._forecasts.answers[self._row, names.index(name)]) if name in names else 1.0

    def _quantiles(self, horizon_ns: int) -> NDArray[np.float64]:
        horizons = self._forecasts.horizons_ns
        if horizon_ns not in horizons:
            raise LookupError(f"the model forecasts {[h / 1e9 for h in horizons]} s, not {horizon_ns / 1e9} s")
        quantiles: NDArray[np.float64] = self._forecasts.quantiles[self._row, horizons.index(horizon_ns)]
        return quantiles


_NORMAL = NormalDist()

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
