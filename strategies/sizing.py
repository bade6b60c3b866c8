"""How much to hold: small steps from a forecast to a signed exposure, chained as a strategy likes.

    greatest = least(1.0, volatility_limit(0.20))
    size = chain(kelly(0.25), cap(greatest), no_trade_band(0.5, of=greatest))
    wanted = size(Decision(outcomes=outcomes, horizon_ns=horizon_ns, held=held, costs=costs))

An exposure is a position's value as a fraction of capital: 0.5 is long for half of it, -1 short for all of it. A step
takes the decision and the exposure so far, and answers another. All of them are pure, and where a forecast is not a
number, the answer is to hold what is held: no step trades on it. `docs/sizing.md` says which step is good for what.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from numba import njit

from bot.domain.instrument import Instrument
from strategies.outcomes import Outcomes

YEAR_NS = 365 * 86_400_000_000_000  # a market that never closes has 365 days
_HALVINGS = 60  # of the way to ruin, until a double shows no difference


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What trading is expected to cost. Fractions of the value traded or held.

    Raises:
        ValueError: a cost is not a finite number, or the interval is not above zero.
    """

    fee_rate: float = 0.0  # one side; a rebate is negative
    spread: float = 0.0  # from bid to ask; crossing it costs half, each way
    slippage: float = 0.0  # one side
    funding_rate: float = 0.0  # what a long pays at each settlement; negative: it is paid
    funding_interval_ns: int = 8 * 3_600_000_000_000

    def __post_init__(self) -> None:
        for name in ("fee_rate", "spread", "slippage", "funding_rate"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, not {getattr(self, name)}")
        if self.funding_interval_ns <= 0:
            raise ValueError(f"funding_interval_ns must be above zero, not {self.funding_interval_ns}")

    @property
    def side(self) -> float:
        """Return what one trade costs: fee + spread / 2 + slippage. A rebate never makes it less than nothing."""
        return max(self.fee_rate + self.spread / 2 + self.slippage, 0.0)

    @property
    def round_trip(self) -> float:
        """Return what entering and leaving cost together."""
        return 2 * self.side

    def funding(self, horizon_ns: int) -> float:
        """Return what a long is expected to pay until the horizon: as many settlements as fit, parts counted."""
        return self.funding_rate * horizon_ns / self.funding_interval_ns


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What is known when a size is chosen.

    Raises:
        ValueError: what is held is not a finite number, or the horizon is not above zero.
    """

    outcomes: Outcomes  # of the return over the horizon
    horizon_ns: int
    held: float  # the exposure as it is
    costs: Costs = Costs()
    trust: float = 1.0  # how far the forecast's intervals may be trusted, see `Forecast.trust`

    def __post_init__(self) -> None:
        if not math.isfinite(self.held):
            raise ValueError(f"held must be a finite number, not {self.held}")
        if self.horizon_ns <= 0:
            raise ValueError(f"horizon_ns must be above zero, not {self.horizon_ns}")

    @property
    def edge(self) -> float:
        """Return what a long is expected to earn until the horizon: mean return less funding, before trading costs."""
        return self.outcomes.mean - self.costs.funding(self.horizon_ns)

    @property
    def annual_deviation(self) -> float:
        """Return the deviation of the return in a year: deviation * sqrt(year / horizon), NaN if unusable."""
        if not self.outcomes.is_usable:
            return math.nan
        return self.outcomes.deviation * math.sqrt(YEAR_NS / self.horizon_ns)


Step = Callable[[Decision, float], float]
"""From a decision and the exposure so far to an exposure; NaN where it cannot say."""

Limit = float | Callable[[Decision], float]
"""The greatest exposure to either side: a number, or what a decision makes it."""


def chain(*steps: Step) -> Callable[[Decision], float]:
    """Return the function that runs the steps in order, starting from what is held.

    A step that answers NaN or infinity ends it, and what is held is the answer: nothing is traded.
    """

    def size(decision: Decision) -> float:
        exposure = decision.held
        for step in steps:
            exposure = step(decision, exposure)
            if not math.isfinite(exposure):
                return decision.held
        return exposure

    return size


# --- from a forecast to a wish ---


def fixed(fraction: float) -> Step:
    """Return f = fraction * sign(edge): always the same size, to the side of the expected return after funding."""

    def step(decision: Decision, exposure: float) -> float:
        edge = decision.edge
        return fraction * math.copysign(1.0, edge) if abs(edge) > 0 else edge  # 0 and NaN stay what they are

    return step


def confidence(fraction: float = 1.0, *, least_up: float = 0.5) -> Step:
    """Return f = fraction * (2 p - 1), p the probability of a rise; 0 while neither side has more than `least_up`.

    `least_up` is a probability, 0.5 to 1, of whichever side is likelier. It knows nothing of how far the price moves:
    a likely small rise against a rare crash looks good to it. Follow it with `net_of_cost`.
    """

    def step(decision: Decision, exposure: float) -> float:
        up = decision.outcomes.up
        if max(up, 1 - up) <= least_up:
            return 0.0
        return fraction * (2 * up - 1)

    return step


def kelly(fraction: float = 1.0) -> Step:
    """Return `fraction` of the exposure that maximises the expected growth over the horizon, net of what trading costs.

    Growth is g(f) = E[ln(1 + f (r - funding))] over the outcomes. Adding to a position costs a round trip, so it grows
    only while g'(f) exceeds that; taking away costs what leaving would have cost anyway, so it shrinks only when g'(f)
    is below zero. Between the two bounds what is held stays:

        lower: g'(f) = round trip    upper: g'(f) = 0        for a positive edge; the mirror image for a negative one

    Bounds beyond no exposure are no exposure: an edge that does not earn its costs is not bet on. With r small, g'(f)
    is edge - f * variance, and the bounds are those of `kelly_normal`. Half the growth-optimal size grows three
    quarters as fast at half the deviation: the edge is an estimate, so take a part.

    NaN where the outcomes admit no loss, or no gain: no forecast is that sure.

    Source:
        Kelly 1956, "A new interpretation of information rate"; Thorp 2006, "The Kelly criterion in blackjack, sports
        betting, and the stock market"; bounds around a region without trades: Davis and Norman 1990.
    """

    def step(decision: Decision, exposure: float) -> float:
        outcomes, costs = decision.outcomes, decision.costs
        funding = costs.funding(decision.horizon_ns)
        values = outcomes.values
        if not (outcomes.is_usable and values[0] < funding < values[-1]):
            return math.nan
        lower, upper = _growth_bounds(values, outcomes.weights, funding, costs.round_trip, _HALVINGS)
        return float(min(max(decision.held, fraction * lower), fraction * upper))

    return step


def kelly_normal(fraction: float = 1.0) -> Step:
    """Return `kelly` as it is for small returns, f = edge / variance: from two moments, whatever the tails.

    The bounds are (edge - round trip) / variance and edge / variance for a positive edge, and no exposure beyond zero.
    """

    def step(decision: Decision, exposure: float) -> float:
        if not decision.outcomes.is_usable:
            return math.nan
        edge, trip, variance = decision.edge, decision.costs.round_trip, decision.outcomes.deviation**2
        lower = max(edge - trip, 0.0) if edge > 0 else edge
        upper = edge if edge > 0 else min(edge + trip, 0.0)
        return min(max(decision.held, fraction * lower / variance), fraction * upper / variance)

    return step


# --- from a wish to another ---


def volatility_target(target: float) -> Step:
    """Return f * target / s, s the forecast's annual deviation (365 days): the exposure so far is a conviction.

    With an exposure of 1 so far, the position's deviation is `target` a year. Follow it with a `cap`: in a quiet market
    the position is large.
    """

    def step(decision: Decision, exposure: float) -> float:
        deviation = decision.annual_deviation
        return exposure * target / deviation if deviation > 0 else math.nan

    return step


def net_of_cost() -> Step:
    """Return the exposure so far where its edge exceeds a round trip; where not, no more than is held on its side.

    Staying costs nothing, so what is held to the side of a smaller edge is kept, up to the wish. What is held against
    the wish is given up.
    """

    def step(decision: Decision, exposure: float) -> float:
        edge = math.copysign(1.0, exposure) * decision.edge
        if math.isnan(edge):
            return math.nan
        if edge > decision.costs.round_trip or exposure == 0:
            return exposure
        held = decision.held if decision.held * exposure > 0 and edge > 0 else 0.0
        return math.copysign(min(abs(exposure), abs(held)), exposure)

    return step


def trusted() -> Step:
    """Return the exposure so far times `trust`: less while the forecast's intervals hold less than they promise."""
    return lambda decision, exposure: exposure * decision.trust


def cap(limit: Limit) -> Step:
    """Return the exposure so far, brought within -limit and limit."""

    def step(decision: Decision, exposure: float) -> float:
        bound = _value(limit, decision)
        return max(-bound, min(bound, exposure)) if bound >= 0 else math.nan

    return step


def long_only() -> Step:
    """Return the exposure so far, or none where that is short."""
    return lambda decision, exposure: exposure if not exposure < 0 else 0.0


def no_trade_band(width: float, *, of: Limit = 1.0) -> Step:
    """Return the exposure so far if it is more than `width * of` away from what is held, else what is held.

    Two moves are never held back, because they only take risk away: to nothing at all, and out of a position that the
    wish is against, which within the band ends flat.
    """

    def step(decision: Decision, exposure: float) -> float:
        band, held = width * _value(of, decision), decision.held
        if not band >= 0:
            return math.nan
        if abs(exposure - held) > band or exposure == 0:
            return exposure
        return 0.0 if exposure * held < 0 else held

    return step


def worth_trading(margin: float = 1.0) -> Step:
    """Return the exposure so far if moving there gains more growth than it costs, else what is held.

    The gain is g(f) - g(held) with g as in `kelly`; the cost is |f - held| times one side, and for what the position
    grows by once more, because it has to be left one day. `margin` is how many times the cost the gain has to be.
    """

    def step(decision: Decision, exposure: float) -> float:
        outcomes, held, side = decision.outcomes, decision.held, decision.costs.side
        if not outcomes.is_usable:
            return math.nan
        funding = decision.costs.funding(decision.horizon_ns)
        after = _growth(outcomes.values, outcomes.weights, funding, exposure)
        before = _growth(outcomes.values, outcomes.weights, funding, held)
        cost = side * (abs(exposure - held) + max(abs(exposure) - abs(held), 0.0))
        return exposure if after > before + margin * cost else held

    return step


# --- limits ---


def volatility_limit(target: float) -> Callable[[Decision], float]:
    """Return the limit target / s, s the forecast's annual deviation: no position deviates by more in a year."""

    def limit(decision: Decision) -> float:
        deviation = decision.annual_deviation
        return target / deviation if deviation > 0 else math.nan

    return limit


def least(*limits: Limit) -> Callable[[Decision], float]:
    """Return the smallest of the limits; NaN if one of them is."""

    def limit(decision: Decision) -> float:
        values = [_value(one, decision) for one in limits]
        return math.nan if any(math.isnan(value) for value in values) else min(values)

    return limit


# --- where quantities are made ---


def to_qty(instrument: Instrument, exposure: float, *, price: Decimal, capital: Decimal) -> Decimal:
    """Return the quantity, base currency, that is `exposure` of `capital` at `price`: exact, towards zero on the grid.

    Raises:
        ValueError: the exposure is not a finite number, or price or capital is not above zero.
    """
    if not math.isfinite(exposure):
        raise ValueError(f"{instrument.name}: an exposure of {exposure} is no size")
    _refuse_nonpositive(instrument.name, price, capital)
    return instrument.round_qty(Decimal(repr(float(exposure))) * capital / price)


def exposure_of(qty: Decimal, *, price: Decimal, capital: Decimal) -> float:
    """Return a quantity's value as a fraction of capital.

    Raises:
        ValueError: price or capital is not above zero.
    """
    _refuse_nonpositive("the position", price, capital)
    return float(qty * price / capital)


def _refuse_nonpositive(name: str, price: Decimal, capital: Decimal) -> None:
    for word, value in (("price", price), ("capital", capital)):
        if not (value.is_finite() and value > 0):
            raise ValueError(f"{name}: a {word} of {value} sizes nothing; it must be above zero")


def _value(limit: Limit, decision: Decision) -> float:
    return limit(decision) if callable(limit) else limit


@njit(cache=True, nogil=True)
def _growth(values, weights, funding, exposure):  # type: ignore[no-untyped-def]
    """Return E[ln(1 + f (r - funding))]; minus infinity where an outcome is ruin."""
    total = 0.0
    for i in range(values.size):
        wealth = 1.0 + exposure * (values[i] - funding)
        if not wealth > 0.0:
            return -math.inf
        total += weights[i] * math.log(wealth)
    return total


@njit(cache=True, nogil=True)
def _slope(values, weights, funding, exposure):  # type: ignore[no-untyped-def]
    """Return g'(f); infinite, towards no exposure, where an outcome is ruin."""
    total = 0.0
    for i in range(values.size):
        excess = values[i] - funding
        wealth = 1.0 + exposure * excess
        if not wealth > 0.0:
            return -math.copysign(math.inf, exposure)
        total += weights[i] * excess / wealth
    return total


@njit(cache=True, nogil=True)
def _growth_bounds(values, weights, funding, round_trip, halvings):  # type: ignore[no-untyped-def]
    """Return the exposures (lower, upper) between which nothing is gained by trading."""
    edge = _slope(values, weights, funding, 0.0)
    if edge > 0.0:
        ruin = -1.0 / (values[0] - funding)
        upper = _crossing(values, weights, funding, 0.0, ruin, halvings)
        lower = _crossing(values, weights, funding, round_trip, ruin, halvings) if edge > round_trip else 0.0
        return lower, upper
    ruin = -1.0 / (values[-1] - funding)
    lower = _crossing(values, weights, funding, 0.0, ruin, halvings)
    upper = _crossing(values, weights, funding, -round_trip, ruin, halvings) if edge < -round_trip else 0.0
    return lower, upper


@njit(cache=True, nogil=True)
def _crossing(values, weights, funding, level, ruin, halvings):  # type: ignore[no-untyped-def]
    """Return where g', which falls, crosses `level` between no exposure and ruin: the end nearer to none."""
    near, far = 0.0, ruin
    for _ in range(halvings):
        middle = (near + far) / 2.0
        # Approaching zero from below, "beyond" is where g' has risen past the level.
        slope = _slope(values, weights, funding, middle)
        if (slope > level) if ruin > 0.0 else (slope < level):
            near = middle
        else:
            far = middle
    return near
