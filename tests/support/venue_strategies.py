"""Strategies that use what the venue can do: conditional orders, amendments, stops that it keeps. For replays."""

from collections.abc import Sequence
from decimal import Decimal

from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.core.order import Status
from bot.domain.instrument import Side
from bot.domain.ledger import RiskDenied
from bot.domain.orders import AccountEvent, Action, Exit, OrderFilled, PositionCut, Trigger
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar


class LadderParams(StrategyParams):
    """What may be tuned."""

    scale: Duration = Field(parse_duration("5m"))
    qty: Decimal = Field(Decimal("0.4"))
    distance: Decimal = Field(Decimal("0.002"))  # of entries from the close, and of stops from the entry


class Ladder(Strategy[LadderParams]):
    """Bids below the market and waits for a rise above it, moving both after the price; protects what it gets.

    Whatever it is told is held against what the context says: an assertion of its own fails the replay.
    """

    name = "ladder"
    Params = LadderParams

    def on_start(self) -> None:
        """Begin flat."""
        self.told: list[str] = []

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,)

    def on_bar(self, bar: Bar) -> Actions:
        """Follow the price with both entries; halve an entry that has begun to fill."""
        name, close = bar.instrument, bar.close_price
        orders = [order for order in self.open_orders(name) if order.amend_requested is None]
        if not self.open_orders(name) and not self.position(name).qty:
            return self._enter(name, close)
        wishes: list[Action] = []
        for order in orders:
            own = order.request.client_order_id
            if order.filled_qty and order.qty == self.params.qty:
                left = self.instrument(name).round_qty((order.qty + order.filled_qty) / 2)
                if left > order.filled_qty:
                    wishes.append(self.amend(name, own, qty=left, reason="less"))
            elif order.status is Status.WAITING:
                price = self._above(name, close)
                if price < (order.trigger_price or 0):
                    wishes.append(self.amend(name, own, trigger_price=price, reason="the price fell"))
            elif order.status is Status.OPEN and order.request.trigger is None:
                price = self._below(name, close)
                if price > (order.limit_price or 0):
                    wishes.append(self.amend(name, own, price=price, reason="the price rose"))
        return wishes

    def on_fill(self, fill: OrderFilled) -> Actions:
        """Have the venue keep a stop and a trailing stop for what was bought; take the other entry away."""
        name = fill.instrument
        entry = self.position(name).entry_price
        if entry is None:  # word of its stop has overtaken it
            return None
        step = entry * self.params.distance
        low = self.instrument(name).round_price(entry - step, Side.BUY)
        trail = self.instrument(name).round_price(2 * step, Side.BUY)
        others = [o for o in self.open_orders(name) if o.request.client_order_id != fill.client_order_id]
        wishes: list[Action] = [self.set_stops(name, stop_loss=low, trailing_distance=trail, reason="protect")]
        wishes += [self.cancel(name, o.request.client_order_id) for o in others if not o.cancel_requested]
        return wishes

    def on_cut(self, cut: PositionCut) -> Actions:
        """Start over once the position has gone."""
        self.told.append(cut.cause.value)
        if self.position(cut.instrument).qty:
            return None
        return [self.cancel(cut.instrument, reason="start over")]

    def on_event(self, event: AccountEvent | RiskDenied) -> Actions:
        """Note what there is to note."""
        self.told.append(type(event).__name__)
        return None

    def _enter(self, name: str, close: Decimal) -> Sequence[Action]:
        qty = self.params.qty
        above = self._above(name, close)
        return [
            self.limit_order(name, Side.BUY, qty, self._below(name, close), reason="a dip"),
            self.market_order(
                name,
                Side.BUY,
                qty,
                reason="a breakout",
                trigger=Trigger(price=above, is_rise=True),
                stop_loss=Exit(price=self._below(name, close)),
                take_profit=Exit(price=self._above(name, above)),
            ),
        ]

    def _above(self, name: str, close: Decimal) -> Decimal:
        return self.instrument(name).round_price(close * (1 + self.params.distance), Side.SELL)

    def _below(self, name: str, close: Decimal) -> Decimal:
        return self.instrument(name).round_price(close * (1 - self.params.distance), Side.BUY)


class StubbornParams(StrategyParams):
    """What may be tuned."""

    qty: Decimal = Field(gt=0)
    stop: Decimal = Field(ge=0, lt=1, description="fraction of the price; 0: none")


class Stubborn(Strategy[StubbornParams]):
    """Buys once, with a stop that the venue keeps or without, and holds on whatever happens."""

    name = "stubborn"
    Params = StubbornParams

    def on_start(self) -> None:
        """Wait for the first bar."""
        self._bought: set[str] = set()

    def on_bar(self, bar: Bar) -> Actions:
        """Buy at the first."""
        name = bar.instrument
        if name in self._bought:
            return None
        self._bought.add(name)
        stop = None
        if self.params.stop:
            price = bar.close_price * (1 - self.params.stop)
            stop = Exit(price=self.instrument(name).round_price(price, Side.SELL))
        return self.market_order(name, Side.BUY, self.params.qty, stop_loss=stop, reason="once")
