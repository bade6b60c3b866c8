"""What every size keeps to, whatever the forecast: sign, bounds, patience; and every share of risk its equality."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from strategies.outcomes import Outcomes
from strategies.sizing import (
    Costs,
    Decision,
    Step,
    cap,
    chain,
    confidence,
    fixed,
    kelly,
    kelly_normal,
    least,
    net_of_cost,
    no_trade_band,
    volatility_limit,
    volatility_target,
    worth_trading,
)
from strategies.weights import risk_contributions, risk_parity
from tests.support.examples import examples

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
DAY_NS = 86_400_000_000_000

MEDIANS = st.floats(-0.03, 0.03)
STEPS_UP = st.lists(st.floats(1e-4, 0.05), min_size=4, max_size=4)
HELD = st.floats(-3, 3)
SIDES = st.floats(0, 0.01)
FUNDING = st.floats(-0.003, 0.003)
# The first call compiles, and nobody's deadline allows for that.
patient = settings(deadline=None, max_examples=examples(60))

WISHES: list[Step] = [fixed(0.7), confidence(), kelly(), kelly(0.25), kelly_normal(), kelly_normal(0.25)]
CHANGES: list[Step] = [
    volatility_target(0.2),
    net_of_cost(),
    cap(0.5),
    cap(least(1.0, volatility_limit(0.2))),
    no_trade_band(0.1),
    no_trade_band(0.5, of=volatility_limit(0.2)),
    worth_trading(),
]
CHAINS = st.builds(
    lambda wish, changes: [wish, *changes], st.sampled_from(WISHES), st.lists(st.sampled_from(CHANGES), max_size=3)
)


def quantiles_of(median: float, steps: list[float]) -> list[float]:
    """Return five quantiles, those next to the median the two inner steps away."""
    return [median - steps[1] - steps[0], median - steps[1], median, median + steps[2], median + steps[2] + steps[3]]


def decide(quantiles: list[float], held: float, side: float = 0.0, funding: float = 0.0) -> Decision:
    """Return a decision a day ahead."""
    costs = Costs(fee_rate=side, funding_rate=funding / 3)
    return Decision(outcomes=Outcomes.of_quantiles(LEVELS, quantiles), horizon_ns=DAY_NS, held=held, costs=costs)


@patient
@given(median=MEDIANS, steps=STEPS_UP, held=HELD, side=SIDES, funding=FUNDING, steps_of=CHAINS)
def test_odd_in_sign(
    median: float, steps: list[float], held: float, side: float, funding: float, steps_of: list[Step]
) -> None:
    """The mirrored forecast, position and funding get the mirrored size, of every chain."""
    there = decide(quantiles_of(median, steps), held, side, funding)
    back = decide([-q for q in reversed(quantiles_of(median, steps))], -held, side, -funding)
    # Two ways of adding may differ in the last digit, and so fall on two sides of a threshold.
    assume(abs(there.edge) > 1e-9)
    assume(abs(abs(there.edge) - there.costs.round_trip) > 1e-9)
    sizes = [chain(*steps_of[:count])(there) for count in range(1, len(steps_of) + 1)]
    mirrored = [chain(*steps_of[:count])(back) for count in range(1, len(steps_of) + 1)]
    assume(all(not _is_close_call(a, b, there) for a, b in zip(sizes, mirrored, strict=True)))
    assert [-size for size in mirrored] == pytest.approx(sizes, rel=1e-6, abs=1e-9)


def _admits_loss(decision: Decision) -> bool:
    """Return whether the forecast is not so sure that `kelly` disbelieves it."""
    values = decision.outcomes.values
    return bool(values[0] < decision.costs.funding(DAY_NS) < values[-1])


def _is_close_call(a: float, b: float, decision: Decision) -> bool:
    """Return whether one of the two trades by a hair and the other does not."""
    kept = (a == decision.held, b == -decision.held)
    return kept[0] != kept[1] or (a == 0) != (b == 0)


@patient
@given(a=MEDIANS, b=MEDIANS, steps=STEPS_UP, held=HELD, side=SIDES, wish=st.sampled_from(WISHES))
def test_monotone_in_the_edge(a: float, b: float, steps: list[float], held: float, side: float, wish: Step) -> None:
    """A forecast that is higher throughout never means a smaller exposure; capped and net of costs neither."""
    lower, upper = sorted((a, b))
    assume(all(_admits_loss(decide(quantiles_of(median, steps), held)) for median in (a, b)))
    for more in ([], [cap(0.5)], [net_of_cost()], [net_of_cost(), cap(0.5)]):
        size = chain(wish, *more)
        small, large = (size(decide(quantiles_of(median, steps), held, side)) for median in (lower, upper))
        assert small <= large + 1e-9


@patient
@given(median=MEDIANS, steps=STEPS_UP, held=HELD, side=SIDES, steps_of=CHAINS, limit=st.floats(0.01, 2))
def test_bounded_by_its_caps(
    median: float, steps: list[float], held: float, side: float, steps_of: list[Step], limit: float
) -> None:
    """Whatever came before, a cap at the end holds, and so does a volatility limit, if the forecast is believed."""
    decision = decide(quantiles_of(median, steps), held, side)
    assume(_admits_loss(decision))
    assert abs(chain(*steps_of, cap(limit))(decision)) <= limit
    size = chain(*steps_of, cap(volatility_limit(0.2)))(decision)
    assert abs(size) * decision.annual_deviation <= 0.2 * (1 + 1e-12)


@patient
@given(median=MEDIANS, steps=STEPS_UP, side=SIDES, funding=FUNDING, part=st.floats(0.01, 1))
def test_kelly_never_bets_on_a_negative_edge(
    median: float, steps: list[float], side: float, funding: float, part: float
) -> None:
    """From flat, it is on the side whose expected return, net of everything, is positive; else it stays flat."""
    decision = decide(quantiles_of(median, steps), 0.0, side, funding)
    assume(_admits_loss(decision))
    size = chain(kelly(part))(decision)
    net = abs(decision.edge) - decision.costs.round_trip
    if net <= 0:
        assert size == 0
    elif net > 1e-9:
        assert size * decision.edge > 0


@patient
@given(median=MEDIANS, steps=STEPS_UP, held=HELD, side=st.floats(1e-6, 0.01), funding=FUNDING)
def test_kelly_is_where_nothing_is_gained_any_more(
    median: float, steps: list[float], held: float, side: float, funding: float
) -> None:
    """No exposure nearby or far away has more growth net of what it costs to get there and out again."""
    decision = decide(quantiles_of(median, steps), held, side, funding)
    assume(_admits_loss(decision))
    outcomes = decision.outcomes
    best = chain(kelly())(decision)

    def worth(exposure: float) -> float:
        wealth = 1 + exposure * (outcomes.values - decision.costs.funding(DAY_NS))
        if wealth.min() <= 0:
            return -math.inf
        growth = float((outcomes.weights * np.log(wealth)).sum())
        return growth - side * (abs(exposure - held) + abs(exposure))

    for other in (0.0, held, best - 1e-3, best + 1e-3, best * 0.9, best * 1.1, best - 0.5, best + 0.5, -best):
        assert worth(best) >= worth(other) - 1e-12


@patient
@given(
    held=HELD,
    noise=st.lists(st.floats(-0.99, 0.99), min_size=1, max_size=20),
    width=st.floats(0.01, 0.9),
    median=MEDIANS,
    steps=STEPS_UP,
)
def test_a_band_never_trades_on_noise(
    held: float, noise: list[float], width: float, median: float, steps: list[float]
) -> None:
    """Wishes that stay within the band of what is held, and on its side, change nothing; around zero they die down."""
    band = no_trade_band(width)
    quantiles = quantiles_of(median, steps)
    for share in noise:
        wish = held + share * width
        if wish * held > 0:
            assert band(decide(quantiles, held), wish) == held
    start, trades = 0.9 * width, 0
    for share in noise:
        answer = band(decide(quantiles, start), share * width / 2)
        trades += answer != start
        start = answer
    assert trades <= 2  # to the first that is far enough, and to nothing once the sign has changed


@patient
@given(median=MEDIANS, steps=STEPS_UP, held=st.floats(-1, 1), wish=st.floats(-1, 1), side=st.floats(1e-5, 0.01))
def test_worth_trading_pays_for_itself(
    median: float, steps: list[float], held: float, wish: float, side: float
) -> None:
    """It trades only where the growth gained, reckoned here from its definition, is more than one side of the move."""
    decision = decide(quantiles_of(median, steps), held, side)
    growth = [float((decision.outcomes.weights * np.log(1 + f * decision.outcomes.values)).sum()) for f in (held, wish)]
    if worth_trading()(decision, wish) != held:
        assert growth[1] - growth[0] >= side * abs(wish - held) - 1e-12


@st.composite
def covariances(draw: st.DrawFn) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return a covariance matrix of one to six instruments, deviations a hundredfold apart."""
    count = draw(st.integers(1, 6))
    loadings = np.array(
        draw(st.lists(st.lists(st.floats(-1, 1), min_size=count, max_size=count), min_size=count, max_size=count))
    )
    mixed = loadings @ loadings.T + 0.1 * np.eye(count)
    scale = np.array(draw(st.lists(st.floats(0.1, 10), min_size=count, max_size=count)))
    scale /= np.sqrt(np.diag(mixed))
    symmetric = mixed * np.outer(scale, scale)
    return np.asarray((symmetric + symmetric.T) / 2)


@patient
@given(covariance=covariances(), data=st.data())
def test_risk_contributions_are_as_wanted(
    covariance: np.ndarray[tuple[int, int], np.dtype[np.float64]], data: st.DataObject
) -> None:
    """Equal by default, else in the budgets' ratios; weights are positive and sum to 1; scaling changes nothing."""
    count = len(covariance)
    weights = risk_parity(covariance)
    assert weights.min() > 0
    assert weights.sum() == pytest.approx(1)
    assert risk_contributions(weights, covariance) == pytest.approx([1 / count] * count, abs=1e-9)
    assert risk_parity(covariance * 1e-6) == pytest.approx(weights, rel=1e-6)
    budgets = np.array(data.draw(st.lists(st.floats(0.1, 5), min_size=count, max_size=count)))
    found = risk_contributions(risk_parity(covariance, budgets), covariance)
    assert found == pytest.approx(budgets / budgets.sum(), abs=1e-9)
