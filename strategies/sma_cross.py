"""Long while the fast moving average of the close is above the slow one, else flat; with exits, if wanted, on top.

Source: the textbook rule; here also the yardstick that other engines were measured with (see `benchmarks/`).
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from numpy.typing import NDArray
from pydantic import Field, model_validator

from bot.core.event_rules import Scale
from bot.core.rolling import RollingSum
from bot.domain.ledger import RiskDenied
from bot.domain.market import BarBatch
from bot.domain.orders import AccountEvent, OrderFilled, PositionCut
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.exits import ExitParams
from strategies.inputs import Bar


class SmaCrossParams(StrategyParams):
    """What may be tuned."""

    scale: Scale = Field(60_000_000_000, description='the bars averaged: their length, or a rule such as "volume:100"')
    fast: int = Field(20, ge=1, le=100_000, description="bars in the fast average")
    slow: int = Field(100, ge=2, le=100_000, description="bars in the slow average")
    qty: Decimal = Field(Decimal("0.1"), gt=0, description="what to hold while long, base currency")
    threshold: Decimal = Field(Decimal("0.0001"), ge=0, description="least distance of the averages, quote currency")
    exits: ExitParams = Field(ExitParams(), description="when to leave before the averages say so; none by default")

    @model_validator(mode="after")
    def _fast_is_faster(self) -> "SmaCrossParams":
        if not self.fast < self.slow:
            raise ValueError(f"fast ({self.fast}) must be less than slow ({self.slow})")
        return self


class SmaCross(Strategy[SmaCrossParams]):
    """Averages are compared as integers, crossed by each other's length, so that no rounding decides a trade.

    After an exit it stays flat until the averages have crossed back: the cross that was left is not taken twice.
    """

    name = "sma_cross"
    Params = SmaCrossParams
    lookback = 1

    def on_start(self) -> None:
        """See `Strategy`."""
        self._sums: dict[str, tuple[RollingSum, RollingSum]] = {}
        self._exits = self.params.exits.make()
        self._left: set[str] = set()  # instruments whose exit struck and whose averages have not crossed back

    @property
    def scales_ns(self) -> tuple[int, ...]:
        """See `Strategy`."""
        return (self.params.scale,) if isinstance(self.params.scale, int) else ()

    @property
    def event_rules(self) -> tuple[str, ...]:
        """See `Strategy`."""
        return (self.params.scale,) if isinstance(self.params.scale, str) else ()

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
        """Return the next bar whose averages stand against the position; every bar while exits watch one."""
        name = bars.instrument.name
        holding = bool(self.position(name).qty)
        if holding and self._exits is not None and self._exits.watches(name):
            return start
        wanted = columns["down" if holding or name in self._left else "up"][start:]
        row = int(wanted.argmax())
        return start + row if wanted[row] else len(bars)

    def on_fill(self, fill: OrderFilled) -> Actions:
        """Tell the exits."""
        return self._tell_exits(fill)

    def on_cut(self, cut: PositionCut) -> Actions:
        """Tell the exits, and remember what was left."""
        if not self.position(cut.instrument).qty:
            self._left.add(cut.instrument)
        return self._tell_exits(cut)

    def on_event(self, event: AccountEvent | RiskDenied) -> Actions:
        """Tell the exits."""
        if self._exits is not None:
            self._exits.on_event(event)
        return None

    def on_bar(self, bar: Bar) -> Actions:
        """Go long above, flat below, and flat where an exit strikes."""
        name = bar.instrument
        holding = bool(self.position(name).qty)
        if bar["down"]:
            self._left.discard(name)
        if holding and bar["down"]:
            return self.target(name, Decimal(0), reason="fast average below slow")
        if holding and self._exits is not None and (target := self._exits.on_bar(bar)):
            self._left.add(name)
            return target
        if not holding and bar["up"] and name not in self._left:
            return self.target(name, self.params.qty, reason="fast average above slow")
        return None

    def _tell_exits(self, fill: OrderFilled | PositionCut) -> Actions:
        if self._exits is None:
            return None
        return self._exits.on_fill(fill, self.position(fill.instrument), self.instrument(fill.instrument))
