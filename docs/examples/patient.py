"""Waits at the venue for a breakout, follows the price down with it, and lets the venue protect what it holds.

bot replay --set strategy.name=docs/examples/patient.py:Patient
"""

from decimal import Decimal

from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.core.order import Status
from bot.domain.instrument import Side
from bot.domain.orders import Exit, OrderFilled, PositionCut, Trigger
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar


class PatientParams(StrategyParams):
    """What may be tuned."""

    scale: Duration = Field(parse_duration("1h"), description="length of the bars")
    distance: Decimal = Field(
        Decimal("0.01"), gt=0, lt=1, description="of trigger and stops from the price, a fraction"
    )
    pause: Duration = Field(parse_duration("1d"), description="no entry for so long after a stop")
    qty: Decimal = Field(Decimal("0.1"), gt=0, description="what to buy, base currency")


class Patient(Strategy[PatientParams]):
    """Long or flat, by one conditional order at a time."""

    name = "patient"
    Params = PatientParams

    def on_start(self) -> None:
        """See `Strategy`."""
        self._quiet_until_ns = 0

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,)

    def on_bar(self, bar: Bar) -> Actions:
        """Wait above the market; come down after it, never up."""
        name, instrument = bar.instrument, self.instrument(bar.instrument)
        above = instrument.round_price(bar.close_price * (1 + self.params.distance), Side.SELL)
        below = instrument.round_price(bar.close_price * (1 - self.params.distance), Side.SELL)
        orders = self.open_orders(name)
        if not orders and not self.position(name).qty and self.now_ns() >= self._quiet_until_ns:
            return self.market_order(
                name,
                Side.BUY,
                self.params.qty,
                trigger=Trigger(price=above, is_rise=True),
                stop_loss=Exit(price=below),
                reason="breakout",
            )
        for order in orders:
            is_ready = order.status is Status.WAITING and order.amend_requested is None
            if is_ready and order.trigger_price is not None and above < order.trigger_price:
                return self.amend(name, order.request.client_order_id, trigger_price=above, reason="lower")
        return None

    def on_fill(self, fill: OrderFilled) -> Actions:
        """Have the venue trail what was bought."""
        if not self.position(fill.instrument).qty:
            return None  # word of its stop has overtaken it
        distance = self.instrument(fill.instrument).round_price(fill.price * self.params.distance, Side.BUY)
        return self.set_stops(fill.instrument, trailing_distance=distance, reason="trail")

    def on_cut(self, cut: PositionCut) -> Actions:
        """Stay away for a while after a stop."""
        self._quiet_until_ns = self.now_ns() + self.params.pause
        return None
