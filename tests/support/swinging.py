"""A strategy of targets alone: long, flat, short, flat, every so many bars."""

from decimal import Decimal

from pydantic import Field

from bot.core.durations import Duration, parse_duration
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar


class SwingingParams(StrategyParams):
    """What may be tuned."""

    scale: Duration = Field(parse_duration("1s"))
    qty: Decimal = Field(Decimal("0.01"))
    every_bars: int = Field(5, ge=1)


class Swinging(Strategy[SwingingParams]):
    """Keeps the ways to a target busy: it means to trade, not to earn."""

    name = "swinging"
    Params = SwingingParams

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
        swing = (1, 0, -1, 0)[self._bars // self.params.every_bars % 4]
        return self.target(bar.instrument, self.params.qty * swing, reason=f"swing {swing}")
