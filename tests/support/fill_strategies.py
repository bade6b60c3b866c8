"""Strategies whose result hangs on fills, each on another kind: quotes, exits at the venue, entries by stop orders."""

from decimal import Decimal

from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.domain.instrument import Side
from bot.domain.orders import Exit, OrderFilled, PlaceOrder, SetStops, TimeInForce, Trigger
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar


class FillParams(StrategyParams):
    """What all of them take."""

    scale: Duration = Field(parse_duration("15m"), description="length of the bars")
    value: Decimal = Field(Decimal(20_000), gt=0, description="of a position, quote currency")
    distance: Decimal = Field(
        Decimal("0.002"), gt=0, lt=1, description="of orders and exits from the price, a fraction"
    )


class _FillStrategy(Strategy[FillParams]):
    Params = FillParams

    @property
    def scales_ns(self) -> tuple[int, ...]:
        return (self.params.scale,)

    def qty_at(self, bar: Bar) -> Decimal:
        """Return the quantity of a whole position."""
        return self.instrument(bar.instrument).round_qty(self.params.value / bar.close_price)

    def price(self, bar: Bar, side: Side, distance: Decimal) -> Decimal:
        """Return the price at a distance from the close, above it for a positive one, on the tick."""
        return self.instrument(bar.instrument).round_price(bar.close_price * (1 + distance), side)


class Rester(_FillStrategy):
    """Bid below the market while flat, offer above it while long, anew at each bar, never as a taker."""

    name = "rester"

    def on_bar(self, bar: Bar) -> Actions:
        held = self.position(bar.instrument).qty
        side = Side.SELL if held else Side.BUY
        order = self.limit_order(
            bar.instrument,
            side,
            held or self.qty_at(bar),
            self.price(bar, side, self.params.distance * -side.sign),
            time_in_force=TimeInForce.POST_ONLY,
            reduce_only=bool(held),
            reason="quote",
        )
        return [self.cancel(bar.instrument), order] if self.open_orders(bar.instrument) else order


class Stopper(_FillStrategy):
    """Follow the last bar with a market order whose take profit and stop loss the venue keeps."""

    name = "stopper"

    def on_bar(self, bar: Bar) -> Actions:
        if self.position(bar.instrument).qty or self.open_orders(bar.instrument) or bar.close == bar.open:
            return None
        side = Side.BUY if bar.close > bar.open else Side.SELL
        profit, loss = self.params.distance * 3 * side.sign, self.params.distance * -2 * side.sign
        return PlaceOrder(
            instrument=bar.instrument,
            side=side,
            qty=self.qty_at(bar),
            take_profit=Exit(price=self.price(bar, side, profit)),
            stop_loss=Exit(price=self.price(bar, side, loss)),
            reason="with the last bar",
        )


class StopEntry(_FillStrategy):
    """Enter by a stop order above the market, anew at each bar, and leave by a trailing stop."""

    name = "stop_entry"

    def on_bar(self, bar: Bar) -> Actions:
        if self.position(bar.instrument).qty:
            return None
        order = PlaceOrder(
            instrument=bar.instrument,
            side=Side.BUY,
            qty=self.qty_at(bar),
            trigger=Trigger(price=self.price(bar, Side.BUY, self.params.distance), is_rise=True),
            reason="stop entry",
        )
        return [self.cancel(bar.instrument), order] if self.open_orders(bar.instrument) else order

    def on_fill(self, fill: OrderFilled) -> Actions:
        instrument = self.instrument(fill.instrument)
        distance = instrument.round_price(fill.price * self.params.distance * 2, Side.BUY)
        return SetStops(instrument=fill.instrument, trailing_distance=distance, reason="trail")


class Metronome(_FillStrategy):
    """Bid and offer in turn, at every bar, whatever has filled: the orders are the same under every model of fills."""

    name = "metronome"

    def on_bar(self, bar: Bar) -> Actions:
        side = Side.BUY if bar.close_ns // bar.scale_ns % 2 else Side.SELL
        price = self.price(bar, side, self.params.distance * -side.sign)
        order = self.limit_order(bar.instrument, side, self.qty_at(bar), price, reason="tick")
        return [self.cancel(bar.instrument), order] if self.open_orders(bar.instrument) else order
