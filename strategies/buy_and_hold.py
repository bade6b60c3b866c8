"""Buy once, at the first closed bar, and hold: what any other strategy has to beat."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from bot.core.durations import Duration
from bot.domain.market import BarBatch
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar


class BuyAndHoldParams(StrategyParams):
    """What may be tuned."""

    scale: Duration = Field(60_000_000_000, description="length of the bar to wait for")
    notional: Decimal = Field(Decimal(10_000), gt=0, description="what to buy of each instrument, quote currency")


class BuyAndHold(Strategy[BuyAndHoldParams]):
    """Spends `notional` on each instrument."""

    name = "buy_and_hold"
    Params = BuyAndHoldParams
    lookback = 1

    def on_start(self) -> None:
        """See `Strategy`."""
        self._bought: set[str] = set()

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,)

    def next_row(self, bars: BarBatch, columns: Mapping[str, NDArray[Any]], start: int) -> int:
        """Return the next bar while there is something to buy."""
        return len(bars) if bars.instrument.name in self._bought else start

    def on_bar(self, bar: Bar) -> Actions:
        """Buy."""
        self._bought.add(bar.instrument)
        qty = self.instrument(bar.instrument).round_qty(self.params.notional / bar.close_price)
        return self.target(bar.instrument, qty, reason="buy and hold")
