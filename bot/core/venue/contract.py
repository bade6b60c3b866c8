"""What the venue's account rules need of a contract beyond the instrument's grid: tiers, funding, price band, fees.

The figures of `btcusdt_linear` and `btcusdt_spot` are those the venue publishes; `docs/venue_account.md` tells what
they leave out. For anything else give the figures of the day to `linear_contract` or `spot_contract`.
"""

from collections.abc import Iterable
from decimal import Decimal
from functools import cached_property
from typing import Literal

import msgspec

from bot.domain.account import ZERO
from bot.domain.errors import DataError
from bot.domain.instrument import Instrument, Side

Kind = Literal["linear", "spot"]

MINUTE_NS = 60_000_000_000


class FeeRates(msgspec.Struct, frozen=True, kw_only=True):
    """Fee rates as fractions of the value traded; negative is a rebate."""

    taker: Decimal
    maker: Decimal


# By kind and fee level. Only the entry level is the same for everybody; the rest depends on region and agreement.
FEE_RATES: dict[tuple[Kind, str], FeeRates] = {
    ("linear", "vip0"): FeeRates(taker=Decimal("0.00055"), maker=Decimal("0.0002")),
    ("spot", "vip0"): FeeRates(taker=Decimal("0.001"), maker=Decimal("0.001")),
}


class TierRow(msgspec.Struct, frozen=True, kw_only=True):
    """One risk tier as the venue lists it."""

    limit_value: Decimal
    initial_rate: Decimal
    maintenance_rate: Decimal
    leverage_max: Decimal
    deduction: Decimal | None = None  # the venue leaves it out of some rows


# Where an instrument's own tiers are not given. Large positions of most contracts take more than it asks, small ones of
# the largest contracts less.
ASSUMED_TIER = TierRow(
    limit_value=Decimal("1e12"),
    initial_rate=Decimal("0.02"),
    maintenance_rate=Decimal("0.01"),
    leverage_max=Decimal(50),
)


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the ladder of risk: the larger a position, the more margin it takes."""

    limit_value: Decimal  # the largest value that is in this tier, settle coin
    initial_rate: Decimal  # of the value
    maintenance_rate: Decimal  # of the value, less `deduction`
    deduction: Decimal  # makes the maintenance margin continuous, so that each slice of value pays its own tier's rate
    leverage_max: Decimal


def make_tiers(rows: Iterable[TierRow]) -> tuple[Tier, ...]:
    """Return the ladder, lowest tier first; what deductions are missing follow from the margin being continuous.

    Raises:
        DataError: no rows, a limit twice, rates that fall as the value grows, or a deduction that does not continue
            the tier below: then tiers in between are missing.
    """
    ordered = sorted(rows, key=lambda row: row.limit_value)
    if not ordered:
        raise DataError("a linear contract needs at least one risk tier")
    deduction = ZERO
    tiers: list[Tier] = []
    for row in ordered:
        if tiers:
            below = tiers[-1]
            if row.limit_value == below.limit_value or row.maintenance_rate < below.maintenance_rate:
                raise DataError(f"risk tier {row.limit_value}: limits must be distinct and rates must not fall")
            if row.leverage_max > below.leverage_max:
                raise DataError(f"risk tier {row.limit_value}: a higher tier cannot allow more leverage")
            deduction += below.limit_value * (row.maintenance_rate - below.maintenance_rate)
        if row.deduction is not None and row.deduction != deduction:
            raise DataError(
                f"risk tier {row.limit_value}: deduction {row.deduction} does not continue the tier below, which asks "
                f"for {deduction}; give all tiers of the contract"
            )
        if not ZERO < row.maintenance_rate <= row.initial_rate <= 1 or row.leverage_max < 1:
            raise DataError(f"risk tier {row.limit_value}: rates must be fractions, leverage at least 1")
        tiers.append(
            Tier(
                limit_value=row.limit_value,
                initial_rate=row.initial_rate,
                maintenance_rate=row.maintenance_rate,
                deduction=deduction,
                leverage_max=row.leverage_max,
            )
        )
    return tuple(tiers)


class Contract(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What is traded, as the venue's account sees it. Values are in the settle coin (spot: the quote)."""

    instrument: Instrument
    kind: Kind
    settle_coin: str
    fees: FeeRates
    price_ratio_x: Decimal  # the price band's inner ratio
    price_ratio_y: Decimal  # and its outer one
    tiers: tuple[Tier, ...] = ()  # lowest first; none for spot
    funding_interval_min: int = 480
    market_qty_max: Decimal | None = None  # the largest market order; None: as any other

    @property
    def name(self) -> str:
        """Return the instrument's name, the key of everything the account holds of it."""
        return self.instrument.name

    @property
    def value_max(self) -> Decimal:
        """Return the largest value of position and orders that any tier allows."""
        return self.tiers[-1].limit_value

    @property
    def leverage_max(self) -> Decimal:
        """Return the largest leverage that any tier allows."""
        return self.tiers[0].leverage_max

    @cached_property
    def most_rate(self) -> float:
        """Return the initial margin rate of the highest tier, as good as a float can."""
        return float(self.tiers[-1].initial_rate)

    @cached_property
    def taker_rate(self) -> float:
        """Return what a taker pays at most, rebate or fee, as good as a float can."""
        return abs(float(self.fees.taker))

    @cached_property
    def lowest_limit(self) -> float:
        """Return the value up to which the lowest tier goes, as good as a float can."""
        return float(self.tiers[0].limit_value)

    def tier_index(self, value: Decimal) -> int:
        """Return which tier a value is in; one beyond the last tier's limit is in the last tier."""
        for index, tier in enumerate(self.tiers):
            if value <= tier.limit_value:
                return index
        return len(self.tiers) - 1

    def tier(self, value: Decimal) -> Tier:
        """Return the tier that a value is in."""
        return self.tiers[self.tier_index(value)]

    def maintenance_margin(self, value: Decimal) -> Decimal:
        """Return the maintenance margin of a position's value, without the fee to close it."""
        tier = self.tier(value)
        return value * tier.maintenance_rate - tier.deduction

    def next_funding_ns(self, after_ns: int) -> int:
        """Return the first settlement strictly after `after_ns`: a whole number of intervals since midnight UTC."""
        interval_ns = self.funding_interval_min * MINUTE_NS
        return (after_ns // interval_ns + 1) * interval_ns

    def band_ticks(self, side: Side, *, mark: int, index: int) -> int:
        """Return a side's part of `price_band` without a premium, of prices in ticks and in ticks."""
        x, y = self._band_ratios[side]
        if side is Side.BUY:
            if self.kind == "spot":
                return min(_floored(index, x), _floored(index, y))
            return min(_floored(mark, y), max(index, _floored(mark, x)))
        if self.kind == "spot":
            return max(-_floored(-index, x), -_floored(-index, y))
        return max(-_floored(-mark, y), min(index, -_floored(-mark, x)))

    @cached_property
    def _band_ratios(self) -> dict[Side, tuple[tuple[int, int], tuple[int, int]]]:
        x, y = self.price_ratio_x, self.price_ratio_y
        return {side: ((1 + x * side.sign).as_integer_ratio(), (1 + y * side.sign).as_integer_ratio()) for side in Side}

    def price_band(self, *, mark: Decimal, index: Decimal, premium: Decimal = ZERO) -> tuple[Decimal, Decimal]:
        """Return the highest price a buy and the lowest a sell may have, on the tick grid.

        Args:
            mark: the mark price; spot does without.
            index: the index price.
            premium: the average of the mid price's distance to the mark price (spot: to the index).
        """
        x, y = self.price_ratio_x, self.price_ratio_y
        if self.kind == "spot":
            buy = min(max(index, index * (1 + x) + premium), index * (1 + y))
            sell = max(min(index, index * (1 - x) + premium), index * (1 - y))
        else:
            buy = min(mark * (1 + y), max(index, mark * (1 + x) + max(ZERO, premium)))
            sell = max(mark * (1 - y), min(index, mark * (1 - x) + min(ZERO, premium)))
        return self.instrument.round_price(buy, Side.BUY), self.instrument.round_price(sell, Side.SELL)


def _floored(ticks: int, ratio: tuple[int, int]) -> int:
    """Return the whole ticks below a multiple of a price."""
    return ticks * ratio[0] // ratio[1]


def linear_contract(
    instrument: Instrument,
    tiers: Iterable[TierRow],
    *,
    fees: FeeRates = FEE_RATES["linear", "vip0"],
    funding_interval_min: int = 480,
    price_ratio_x: Decimal = Decimal("0.01"),
    price_ratio_y: Decimal = Decimal("0.02"),
) -> Contract:
    """Return a perpetual that is margined and settled in its quote coin.

    Raises:
        DataError: the tiers are no ladder, or the funding interval does not divide a day.
    """
    if funding_interval_min < 1 or 1440 % funding_interval_min:
        raise DataError(
            f"{instrument.name}: a funding interval of {funding_interval_min} minutes does not divide a day"
        )
    return Contract(
        instrument=instrument,
        kind="linear",
        settle_coin=instrument.quote,
        fees=fees,
        tiers=make_tiers(tiers),
        funding_interval_min=funding_interval_min,
        price_ratio_x=price_ratio_x,
        price_ratio_y=price_ratio_y,
    )


def spot_contract(
    instrument: Instrument,
    *,
    fees: FeeRates = FEE_RATES["spot", "vip0"],
    price_ratio_x: Decimal = Decimal("0.005"),
    price_ratio_y: Decimal = Decimal("0.01"),
) -> Contract:
    """Return a spot pair. Its instrument's name must differ from the perpetual's where an account trades both."""
    return Contract(
        instrument=instrument,
        kind="spot",
        settle_coin=instrument.quote,
        fees=fees,
        price_ratio_x=price_ratio_x,
        price_ratio_y=price_ratio_y,
    )


def btcusdt_linear() -> Contract:
    """Return the BTCUSDT perpetual with its two lowest tiers: it holds no more than 2,000,000 USDT."""
    instrument = Instrument(
        name="BTCUSDT",
        base="BTC",
        quote="USDT",
        tick_size=Decimal("0.1"),
        qty_step=Decimal("0.001"),
        qty_min=Decimal("0.001"),
        qty_max=Decimal(1190),
    )
    rows = [("300000", "0.0066", "0.0033", "150"), ("2000000", "0.01", "0.005", "100")]
    tiers = [
        TierRow(
            limit_value=Decimal(limit),
            initial_rate=Decimal(initial),
            maintenance_rate=Decimal(maintenance),
            leverage_max=Decimal(leverage),
        )
        for limit, initial, maintenance, leverage in rows
    ]
    return linear_contract(instrument, tiers)


def btcusdt_spot(name: str = "BTCUSDT-SPOT") -> Contract:
    """Return the BTCUSDT spot pair, under a name of its own."""
    instrument = Instrument(
        name=name,
        base="BTC",
        quote="USDT",
        tick_size=Decimal("0.1"),
        qty_step=Decimal("0.000001"),
        qty_min=Decimal("0.000001"),
        qty_max=Decimal(83),
    )
    return spot_contract(instrument)
