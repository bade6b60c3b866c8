"""A strategy that is never done: orders at the market, orders that rest, amendments and cancels, bar after bar."""

from decimal import Decimal

from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.domain.instrument import Side
from bot.domain.orders import Action
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar


class RestlessParams(StrategyParams):
    """What may be tuned."""

    scale: Duration = Field(parse_duration("1s"))
    qty: Decimal = Field(Decimal("0.01"))
    resting: int = 4  # orders that may rest at once
    every_bars: int = 1  # between two wishes


class Restless(Strategy[RestlessParams]):
    """Keeps the order path busy: it means to trade, not to earn."""

    name = "restless"
    Params = RestlessParams

    def on_start(self) -> None:
        """Begin."""
        self._bars = 0

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,)

    def on_bar(self, bar: Bar) -> Actions:
        """Turn round at the market, rest on both sides of it, move what rests, and take it away again."""
        self._bars += 1
        if self._bars % self.params.every_bars:
            return None
        name, close, qty = bar.instrument, bar.close_price, self.params.qty
        turn = self._bars // self.params.every_bars % 6
        resting = [order for order in self.open_orders(name) if order.amend_requested is None]
        wishes: list[Action] = []
        if turn in (0, 3):
            side = Side.SELL if self.position(name).qty > 0 else Side.BUY
            wishes.append(self.market_order(name, side, qty * 2, reason="turn round"))
        elif turn in (1, 4) and len(self.open_orders(name)) < self.params.resting:
            instrument = self.instrument(name)
            for side, factor in ((Side.BUY, Decimal("0.9999")), (Side.SELL, Decimal("1.0001"))):
                price = instrument.round_price(close * factor, side)
                wishes.append(self.limit_order(name, side, qty, price, reason="rest"))
        elif turn == 2 and resting:
            order = resting[-1].request
            price = self.instrument(name).round_price(
                close * Decimal("0.998" if order.side is Side.BUY else "1.002"), order.side
            )
            wishes.append(self.amend(name, order.client_order_id, price=price, reason="move"))
        elif turn == 5:
            wishes.append(self.cancel(name, reason="begin again"))
        return wishes
