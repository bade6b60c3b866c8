"""A strategy that keeps many orders resting on both sides and moves some of them with the market at each bar."""

from collections.abc import Sequence
from decimal import Decimal

from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.core.order import Order
from bot.domain.instrument import Side
from bot.domain.orders import Action, AmendOpen, PlaceOrder
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar


class QuoterParams(StrategyParams):
    """What may be tuned."""

    scale: Duration = Field(parse_duration("1m"), description="length of the bars")
    orders: int = Field(100, ge=2, description="kept resting, half of them on either side")
    amended: int = Field(1, ge=0, description="moved at each bar, in turn")
    nearest: Decimal = Field(Decimal("0.005"), gt=0, description="of the first level from the price, a fraction")
    step: Decimal = Field(Decimal("0.0005"), gt=0, description="from one level to the next, a fraction of the price")
    qty: Decimal = Field(Decimal("0.001"), gt=0, description="of each order, base currency")


class Quoter(Strategy[QuoterParams]):
    """Orders stand on levels behind each other, oldest first; one that has filled is placed anew on the last level."""

    name = "quoter"
    Params = QuoterParams

    def on_start(self) -> None:
        """See `Strategy`."""
        self._turn = 0

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,)

    def on_bar(self, bar: Bar) -> Sequence[Action]:
        """Fill what levels are empty, else move the orders whose turn it is."""
        resting = self.open_orders(bar.instrument)
        if len(resting) < self.params.orders:
            return self._place(bar, resting)
        moved: list[Action] = []
        for _ in range(self.params.amended):
            self._turn = (self._turn + 1) % len(resting)
            order = resting[self._turn]
            price = self._price(bar, order.request.side, self._turn // 2)
            if price != order.limit_price and order.amend_requested is None:
                name = order.request.client_order_id
                moved.append(AmendOpen(instrument=bar.instrument, client_order_id=name, limit_price=price))
        return moved

    def _place(self, bar: Bar, resting: Sequence[Order]) -> list[Action]:
        half = self.params.orders // 2
        placed: list[Action] = []
        for side in Side:
            held = sum(1 for order in resting if order.request.side is side)
            for level in range(held, half):
                price = self._price(bar, side, level)
                placed.append(PlaceOrder(instrument=bar.instrument, side=side, qty=self.params.qty, limit_price=price))
        return placed

    def _price(self, bar: Bar, side: Side, level: int) -> Decimal:
        distance = self.params.nearest + level * self.params.step
        return self.instrument(bar.instrument).round_price(bar.close_price * (1 - distance * side.sign), side)
