"""What is traded, and the grid its prices and quantities live on."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray


class Side(StrEnum):
    """The direction of an order, a fill or a trade's taker."""

    BUY = "buy"
    SELL = "sell"

    def __init__(self, word: str) -> None:
        self.sign: int = 1 if word == "buy" else -1


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One contract and its filters.

    Prices are quote currency per base unit, quantities base currency. On the tape both are int64: a price in
    ticks of `tick_size`, a quantity in steps of `qty_step`. Everything that crosses between the two goes through here.
    """

    name: str  # the venue's symbol, unique within a run
    kind: Literal["linear", "spot"] = "linear"  # a perpetual margined and settled in the quote currency, or a spot pair
    base: str
    quote: str
    tick_size: Decimal
    qty_step: Decimal
    qty_min: Decimal
    qty_max: Decimal
    notional_min: Decimal = Decimal(5)  # quote currency

    def price(self, ticks: int) -> Decimal:
        """Return the exact price of `ticks`."""
        return self.tick_size * ticks

    def qty(self, steps: int) -> Decimal:
        """Return the exact quantity of `steps`."""
        return self.qty_step * steps

    def ticks(self, price: Decimal) -> int:
        """Return the price in ticks.

        Raises:
            ValueError: the price is not on the tick grid.
        """
        count = price / self.tick_size
        if count != count.to_integral_value():
            raise ValueError(f"{self.name}: price {price} is not a multiple of the tick size {self.tick_size}")
        return int(count)

    def steps(self, qty: Decimal) -> int:
        """Return the quantity in steps.

        Raises:
            ValueError: the quantity is not on the step grid.
        """
        count = qty / self.qty_step
        if count != count.to_integral_value():
            raise ValueError(f"{self.name}: quantity {qty} is not a multiple of the quantity step {self.qty_step}")
        return int(count)

    def round_price(self, price: Decimal, side: Side) -> Decimal:
        """Return the nearest price on the grid that is no worse than asked: down for a buy, up for a sell."""
        rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
        return (price / self.tick_size).to_integral_value(rounding) * self.tick_size

    def round_qty(self, qty: Decimal) -> Decimal:
        """Return the signed quantity on the grid nearest to `qty` towards zero."""
        steps = (abs(qty) / self.qty_step).to_integral_value(ROUND_FLOOR)
        return (steps * self.qty_step).copy_sign(qty) if steps else Decimal(0)

    def prices(self, ticks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return prices as float64, each the double nearest to the exact price."""
        return _scaled(ticks, self.tick_size)

    def qtys(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return quantities as float64, each the double nearest to the exact quantity."""
        return _scaled(steps, self.qty_step)

    def price_float(self, ticks: int) -> float:
        """Return one price as the double nearest to the exact price."""
        numerator, denominator = self.tick_size.as_integer_ratio()
        return ticks * numerator / denominator

    def qty_float(self, steps: int) -> float:
        """Return one quantity as the double nearest to the exact quantity."""
        numerator, denominator = self.qty_step.as_integer_ratio()
        return steps * numerator / denominator


def _scaled(counts: NDArray[np.int64], unit: Decimal) -> NDArray[np.float64]:
    # One multiplication by an exact integer and one division round once: 300001 ticks of 0.1 are 30000.1, while
    # 300001 * 0.1 is not.
    numerator, denominator = unit.as_integer_ratio()
    scaled: Any = counts * np.float64(numerator)
    if denominator != 1:
        scaled /= np.float64(denominator)
    result: NDArray[np.float64] = np.asarray(scaled, dtype=np.float64)
    return result
