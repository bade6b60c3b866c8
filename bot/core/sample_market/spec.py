"""What market to make, and the trades that it is made of."""

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.domain.market import I64

Flags = NDArray[np.bool_]

SECOND_NS = 1_000_000_000
DAY_S = 86_400
DAY_NS = DAY_S * SECOND_NS


class SampleMarketSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What market to make. The defaults look like a bitcoin perpetual: 60,000, tick 0.1, qty step 0.001.

    Raises:
        ValueError: a field is out of its range; the message names the field and the range.
    """

    start_ns: int = 1_704_067_200_000_000_000  # ns UTC, a midnight; here 2024-01-01, a Monday
    days: int = 45
    trades_per_day: int = 100_000  # in the long run; single days are from a fifth to four times that
    price_start_ticks: int = 600_000
    ticks_per_unit: int = 10  # tick size 0.1; only says what the prices mean, the market is made of ticks
    qty_median_steps: int = 16
    steps_per_unit: int = 1_000  # qty step 0.001; only says what the quantities mean
    volatility_annual: float = 0.60  # fraction per square root of a 365-day year, jumps included
    jumps_per_day: float = 0.5  # mean; they carry about 1.4 % of the variance
    trend_drift_ratio: float = 0.4  # drift per day while in a trend, over the volatility of a day

    def __post_init__(self) -> None:
        """Refuse a market that cannot be made."""
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:  # written so that a NaN is refused too
                raise ValueError(f"{name} is {value}, it must be from {low} to {high}")
        if self.start_ns % DAY_NS != 0:
            raise ValueError(f"start_ns is {self.start_ns}, it must be a midnight UTC: {DAY_NS} times a number")

    @property
    def end_ns(self) -> int:
        """Return the first instant after the market, in ns UTC."""
        return self.start_ns + self.days * DAY_NS


_LIMITS: dict[str, tuple[float, float]] = {
    "start_ns": (0, 4_102_444_800_000_000_000),  # 1970 to 2100: ns of an int64 end in 2262
    "days": (1, 3_660),
    "trades_per_day": (100, 20_000_000),
    "price_start_ticks": (100, 10**12),
    "ticks_per_unit": (1, 10**12),
    "qty_median_steps": (1, 10**9),
    "steps_per_unit": (1, 10**12),
    "volatility_annual": (0.01, 3.0),
    "jumps_per_day": (0.0, 10.0),
    "trend_drift_ratio": (0.0, 2.0),
}


class SampleTrades(NamedTuple):
    """Trades in the order in which they happened, as columns of one length."""

    ts_ns: I64  # ns UTC, whole milliseconds, never decreasing
    price_ticks: I64  # at least 1
    qty_steps: I64  # at least 1
    is_buy: Flags  # the taker bought
