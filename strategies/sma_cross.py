"""Long while the fast moving average of the close is above the slow one, else flat.

Source: the textbook rule; here also the yardstick that other engines were measured with (see `benchmarks/`).
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from numpy.typing import NDArray
from pydantic import Field, model_validator

from bot.core.durations import Duration
from bot.core.rolling import RollingSum
from bot.domain.market import BarBatch
from bot.ports import Actions
from strategies.base import Bar, Strategy, StrategyParams


class SmaCrossParams(StrategyParams):
    """What may be tuned."""

    scale: Duration = Field(60_000_000_000, description="length of the bars averaged")
    fast: int = Field(20, ge=1, le=100_000, description="bars in the fast average")
    slow: int = Field(100, ge=2, le=100_000, description="bars in the slow average")
    qty: Decimal = Field(Decimal("0.1"), gt=0, description="what to hold while long, base currency")
    threshold: Decimal = Field(Decimal("0.0001"), ge=0, description="least distance of the averages, quote currency")

    @model_validator(mode="after")
    def _fast_is_faster(self) -> "SmaCrossParams":
        if not self.fast < self.slow:
            raise ValueError(f"fast ({self.fast}) must be less than slow ({self.slow})")
        return self


class SmaCross(Strategy[SmaCrossParams]):
    """Averages are compared as integers, crossed by each other's length, so that no rounding decides a trade."""

    name = "sma_cross"
    Params = SmaCrossParams
    lookback = 1

    def on_start(self) -> None:
        """See `Strategy`."""
        self._sums: dict[str, tuple[RollingSum, RollingSum]] = {}

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,)

    def columns(self, bars: BarBatch) -> Mapping[str, NDArray[Any]]:
        """Return whether the fast average is above (`up`) or below (`down`) the slow one by more than the threshold."""
        name = bars.instrument.name
        fast, slow = self.params.fast, self.params.slow
        if name not in self._sums:
            self._sums[name] = RollingSum(fast), RollingSum(slow)
        fast_sum, _ = self._sums[name][0].update(bars.close_ticks)
        slow_sum, short = self._sums[name][1].update(bars.close_ticks)
        # fast_sum / fast - slow_sum / slow > threshold, times fast * slow and in ticks
        distance = fast_sum * slow - slow_sum * fast
        least = int(self.params.threshold * fast * slow / bars.instrument.tick_size)
        distance[:short] = 0
        return {"up": distance > least, "down": -distance > least}

    def next_row(self, bars: BarBatch, columns: Mapping[str, NDArray[Any]], start: int) -> int:
        """Return the next bar whose averages stand against the position."""
        wanted = columns["down" if self.position(bars.instrument.name).qty else "up"][start:]
        row = int(wanted.argmax())
        return start + row if wanted[row] else len(bars)

    def on_bar(self, bar: Bar) -> Actions:
        """Go long above, flat below."""
        holding = bool(self.position(bar.instrument).qty)
        if not holding and bar["up"]:
            return self.target(bar.instrument, self.params.qty, reason="fast average above slow")
        if holding and bar["down"]:
            return self.target(bar.instrument, Decimal(0), reason="fast average below slow")
        return None
