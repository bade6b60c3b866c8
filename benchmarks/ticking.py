"""A strategy that turns its position round again and again, by the clock: orders, answers and fills at an even pace."""

from decimal import Decimal

from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.domain.instrument import Side
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams


class TickingParams(StrategyParams):
    """What may be tuned."""

    instrument: str = Field("BTCUSDT", description="what it trades")
    qty: Decimal = Field(Decimal("0.01"), gt=0, description="of each order, base currency")
    every: Duration = Field(parse_duration("200ms"), description="between two orders: within the rate that is kept to")


class Ticking(Strategy[TickingParams]):
    """Buys and sells in turn, at the market."""

    name = "ticking"
    Params = TickingParams

    def __init__(self, params: TickingParams) -> None:
        super().__init__(params)
        self.timer_ns = params.every

    def on_timer(self, now_ns: int) -> Actions:
        """See `Strategy`."""
        name = self.params.instrument
        side = Side.SELL if self.position(name).qty > 0 else Side.BUY
        return self.market_order(name, side, self.params.qty, reason="tick")
