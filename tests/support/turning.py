"""A strategy that turns over: long, short, a little, a lot, each protected by a stop that the venue keeps."""

from decimal import Decimal

from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.domain.instrument import Side
from bot.domain.orders import OrderFilled
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar

_TURNS = (1, -1, -2, 1, 2, 0, -1, 0)  # of the quantity


class TurningParams(StrategyParams):
    """What may be tuned."""

    scale: Duration = Field(parse_duration("1s"))
    qty: Decimal = Field(Decimal("0.01"))
    every_bars: int = Field(5, ge=1)
    stop: Decimal = Field(Decimal(0), ge=0, lt=1)  # a fraction of the entry price; 0: none


class Turning(Strategy[TurningParams]):
    """Crosses zero more often than not: it means to trade, not to earn."""

    name = "turning"
    Params = TurningParams

    def on_start(self) -> None:
        """Begin."""
        self._bars = 0

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,)

    def on_bar(self, bar: Bar) -> Actions:
        """Want another position at every so-manieth bar."""
        self._bars += 1
        if self._bars % self.params.every_bars:
            return None
        turn = _TURNS[self._bars // self.params.every_bars % len(_TURNS)]
        return self.target(bar.instrument, self.params.qty * turn, reason=f"turn {turn}")

    def on_fill(self, fill: OrderFilled) -> Actions:
        """Have the venue keep a stop for what is held."""
        position = self.position(fill.instrument)
        if not self.params.stop or position.entry_price is None:
            return None
        side = Side.BUY if position.qty > 0 else Side.SELL
        away = position.entry_price * (1 - side.sign * self.params.stop)
        price = self.instrument(fill.instrument).round_price(away, side)
        return self.set_stops(fill.instrument, stop_loss=price, reason="protect")
