"""Sizes, against numbers worked out by hand."""

import math
from decimal import Decimal
from statistics import NormalDist

import numpy as np
import pytest

from bot.domain.market import ForecastBatch
from strategies.inputs import Forecast
from strategies.outcomes import Outcomes
from strategies.sizing import (
    Costs,
    Decision,
    Step,
    cap,
    chain,
    confidence,
    exposure_of,
    fixed,
    kelly,
    kelly_normal,
    least,
    long_only,
    net_of_cost,
    no_trade_band,
    to_qty,
    volatility_limit,
    volatility_target,
    worth_trading,
)
from tests.support.batches import INSTRUMENT

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
EVEN = Outcomes.bet(up=0.6, gain=1.0, loss=1.0)
NOTHING = Outcomes.of_quantiles((0.05, 0.5, 0.95), [math.nan] * 3)


def known(
    outcomes: Outcomes,
    held: float = 0.0,
    *,
    horizon_ns: int = DAY_NS,
    side: float = 0.0,
    funding_rate: float = 0.0,
) -> Decision:
    """Return a decision where one trade costs `side`."""
    costs = Costs(fee_rate=side, funding_rate=funding_rate)
    return Decision(outcomes=outcomes, horizon_ns=horizon_ns, held=held, costs=costs)


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_two_levels_of_a_normal_are_that_normal() -> None:
    """Whatever the levels, also lopsided ones."""
    normal = NormalDist(0.001, 0.02)
    for levels in ((0.05, 0.25, 0.5, 0.75, 0.95), (0.1, 0.3), (0.5, 0.99)):
        outcomes = Outcomes.of_quantiles(levels, [normal.inv_cdf(level) for level in levels])
        assert outcomes.mean == pytest.approx(0.001, abs=1e-15)
        assert outcomes.deviation == pytest.approx(0.02, rel=1e-7)
        assert outcomes.up == pytest.approx(1 - normal.cdf(0), abs=1e-12)
        assert outcomes.is_usable


def test_a_skewed_forecast_keeps_its_skew() -> None:
    """A long lower tail: the median is zero and the mean is not.

    By hand, with z(0.95) = 1.644854: linear in the score, the value is 0.03 z / 1.644854 below and 0.01 z / 1.644854
    above. E[z; z > 0] = 1 / sqrt(2 pi) = 0.398942, so the mean is (0.01 - 0.03) 0.398942 / 1.644854 = -0.00485080.
    """
    outcomes = Outcomes.of_quantiles((0.05, 0.5, 0.95), [-0.03, 0.0, 0.01])
    assert outcomes.up == 0.5
    assert outcomes.mean == pytest.approx(-0.00485080, rel=6e-3)  # the kink costs the quadrature that much
    assert outcomes.values.min() == pytest.approx(-0.03 * 6 / 1.644854, rel=1e-6)


def test_crossing_quantiles_are_put_in_order() -> None:
    straight = Outcomes.of_quantiles((0.1, 0.5, 0.9), [-1.0, 0.1, 1.0])
    crossed = Outcomes.of_quantiles((0.1, 0.5, 0.9), [0.1, -1.0, 1.0])
    assert crossed.values.tobytes() == straight.values.tobytes()


@pytest.mark.parametrize(
    ("quantiles", "up"),
    [([0.01, 0.02, 0.03], 0.9999), ([-0.03, -0.02, -0.01], 0.0001), ([0.0, 0.0, 0.0], 0.0), ([0.01] * 3, 1.0)],
)
def test_the_probability_of_a_rise_beyond_the_levels(quantiles: list[float], up: float) -> None:
    """0.01 lies one third of the median's distance to zero away: twice z(0.95) to go, P(z < 3.29) = 0.9995."""
    outcomes = Outcomes.of_quantiles((0.05, 0.5, 0.95), quantiles)
    assert outcomes.up == pytest.approx(up, abs=5e-4)
    assert outcomes.is_usable == (len(set(quantiles)) > 1)


def test_what_is_no_distribution_is_refused() -> None:
    for levels, quantiles in (((0.5,), [0.0]), ((0.5, 0.1), [0.0, 1.0]), ((0.0, 0.5), [0.0, 1.0]), ((0.1, 0.5), [0.0])):
        with pytest.raises(ValueError, match="level"):
            Outcomes.of_quantiles(levels, quantiles)
    with pytest.raises(ValueError, match="gain and loss"):
        Outcomes.bet(up=0.5, gain=0.0, loss=1.0)


def test_a_forecast_s_own_words() -> None:
    """Levels of any model, also lopsided ones: 0.02 from score 0 to z(0.85) = 1.0364334 is a deviation of 0.0192969."""
    batch = ForecastBatch(
        instrument=INSTRUMENT,
        first_row=0,
        model_id="m",
        scale_ns=HOUR_NS,
        horizons_ns=(HOUR_NS, DAY_NS),
        levels=(0.5, 0.85),
        scales_ns=(HOUR_NS,),
        bar_row=np.array([0]),
        close_ns=np.array([DAY_NS]),
        known_ns=np.array([DAY_NS]),
        quantiles=np.array([[[0.0, 0.001], [0.01, 0.03]]]),
        importance=np.array([[1.0]]),
    )
    forecast = Forecast(batch, 0)
    assert forecast.levels == (0.5, 0.85)
    assert forecast.deviation(DAY_NS) == pytest.approx(0.0192969, rel=1e-5)
    assert forecast.outcomes(DAY_NS).deviation == pytest.approx(forecast.deviation(DAY_NS), rel=1e-6)
    assert forecast.outcomes(DAY_NS).mean == pytest.approx(0.01)
    with pytest.raises(LookupError, match=r"not 1\.0 s"):
        forecast.outcomes(10**9)


# --- costs ------------------------------------------------------------------------------------------------------------


def test_costs_add_up() -> None:
    """5.5 bp fee + half of 2 bp spread + 1 bp slippage = 7.5 bp a side; a day has three settlements of 1 bp."""
    costs = Costs(fee_rate=5.5e-4, spread=2e-4, slippage=1e-4, funding_rate=1e-4)
    assert costs.side == pytest.approx(7.5e-4)
    assert costs.round_trip == pytest.approx(15e-4)
    assert costs.funding(DAY_NS) == pytest.approx(3e-4)
    assert costs.funding(HOUR_NS) == pytest.approx(1e-4 / 8)
    assert Costs(fee_rate=-1e-4).side == 0.0
    with pytest.raises(ValueError, match="spread must be a finite number"):
        Costs(spread=math.nan)
    with pytest.raises(ValueError, match="held must be"):
        known(EVEN, held=math.nan)


# --- Kelly ------------------------------------------------------------------------------------------------------------


def test_kelly_of_a_bet() -> None:
    """p / loss - q / gain: 0.6 - 0.4 = 0.2 at even odds; 0.5 / 0.5 - 0.5 / 1 = 0.5 for a coin that pays two to one."""
    assert chain(kelly())(known(EVEN)) == pytest.approx(0.2, abs=1e-12)
    assert chain(kelly(0.25))(known(EVEN)) == pytest.approx(0.05, abs=1e-12)
    assert chain(kelly())(known(Outcomes.bet(up=0.5, gain=1.0, loss=0.5))) == pytest.approx(0.5, abs=1e-12)
    assert chain(kelly())(known(Outcomes.bet(up=0.4, gain=1.0, loss=1.0))) == pytest.approx(-0.2, abs=1e-12)


def test_kelly_net_of_a_round_trip() -> None:
    """0.6 / (1 + f) - 0.4 / (1 - f) = 0.1, so 0.1 f^2 - f + 0.1 = 0 and f = (1 - sqrt(0.96)) / 0.2 = 0.10102051."""
    lower = (1 - math.sqrt(0.96)) / 0.2
    for held, wanted in ((0.0, lower), (0.05, lower), (0.15, 0.15), (0.3, 0.2), (-0.5, lower)):
        assert chain(kelly())(known(EVEN, held, side=0.05)) == pytest.approx(wanted, abs=1e-12), held


def test_kelly_of_an_edge_below_its_costs() -> None:
    """An edge of 0.2 against a round trip of 0.3: nothing is entered, what is held is kept, up to f = 0.2."""
    for held, wanted in ((0.0, 0.0), (0.1, 0.1), (0.3, 0.2), (-0.1, 0.0)):
        assert chain(kelly())(known(EVEN, held, side=0.15)) == pytest.approx(wanted, abs=1e-12), held


def test_kelly_net_of_funding() -> None:
    """A long pays 0.1: it wins 0.9 or loses 1.1, so 0.6 / 1.1 - 0.4 / 0.9 = 0.1010101."""
    decision = known(EVEN, horizon_ns=8 * HOUR_NS, funding_rate=0.1)
    assert chain(kelly())(decision) == pytest.approx(0.6 / 1.1 - 0.4 / 0.9, abs=1e-12)


def test_kelly_of_a_normal() -> None:
    """Edge over variance: 0.001 / 0.0004 = 2.5, and (0.001 - 0.0004) / 0.0004 = 1.5 after a round trip of 4 bp."""
    outcomes = Outcomes.normal(0.001, 0.02)
    assert chain(kelly_normal())(known(outcomes)) == pytest.approx(2.5, rel=1e-6)
    assert chain(kelly_normal())(known(outcomes, side=2e-4)) == pytest.approx(1.5, rel=1e-6)
    assert chain(kelly_normal())(known(outcomes, held=2.0, side=2e-4)) == 2.0
    assert chain(kelly_normal())(known(outcomes, held=2.0, side=6e-4)) == 2.0
    assert chain(kelly_normal())(known(outcomes, side=6e-4)) == 0.0


def test_kelly_tends_to_its_normal_limit() -> None:
    """With edge m and deviation s, growth to third order is largest at m / (s^2 + m^2): (m / s)^2 less, relatively."""
    for mean in (2e-3, 1e-3, 2.5e-4):
        decision = known(Outcomes.normal(mean, 0.02))
        less = 1 - chain(kelly())(decision) / chain(kelly_normal())(decision)
        assert less == pytest.approx((mean / 0.02) ** 2, rel=0.03)


def test_kelly_hears_the_tails() -> None:
    """The lower tail is the fatter: less is bet than two moments would."""
    outcomes = Outcomes.of_quantiles((0.01, 0.25, 0.5, 0.75, 0.99), [-0.15, -0.01, 0.02, 0.05, 0.1])
    decision = known(outcomes)
    assert 0 < chain(kelly())(decision) < 0.95 * chain(kelly_normal())(decision)


# --- the other steps --------------------------------------------------------------------------------------------------


def test_fixed() -> None:
    assert chain(fixed(0.3))(known(EVEN)) == 0.3
    assert chain(fixed(0.3))(known(Outcomes.bet(up=0.4, gain=1.0, loss=1.0))) == -0.3
    assert chain(fixed(0.3))(known(Outcomes.bet(up=0.5, gain=1.0, loss=1.0), held=0.7)) == 0.0
    # A long pays 0.3 until the horizon, more than it is expected to earn.
    assert chain(fixed(0.3))(known(EVEN, horizon_ns=8 * HOUR_NS, funding_rate=0.3)) == -0.3


@pytest.mark.parametrize(
    ("up", "least_up", "wanted"), [(0.6, 0.5, 0.2), (0.4, 0.5, -0.2), (0.6, 0.6, 0.0), (0.61, 0.6, 0.22), (0.5, 0.5, 0)]
)
def test_confidence(up: float, least_up: float, wanted: float) -> None:
    """2 p - 1; the threshold is a probability: 0.6 means 0.6."""
    decision = known(Outcomes.bet(up=up, gain=1.0, loss=1.0))
    assert chain(confidence(least_up=least_up))(decision) == pytest.approx(wanted)
    assert chain(confidence(0.5, least_up=least_up))(decision) == pytest.approx(wanted / 2)


def test_volatility() -> None:
    """2 % a day is 0.02 * sqrt(365) = 0.3820995 a year; 0.2 / 0.3820995 = 0.5234239."""
    decision = known(Outcomes.normal(0.001, 0.02), held=0.4)
    assert decision.annual_deviation == pytest.approx(0.3820995, rel=1e-6)
    assert volatility_limit(0.2)(decision) == pytest.approx(0.5234239, rel=1e-6)
    assert chain(fixed(-0.5), volatility_target(0.2))(decision) == pytest.approx(-0.2617120, rel=1e-6)
    assert chain(fixed(2.0), cap(least(1.0, volatility_limit(0.2))))(decision) == pytest.approx(0.5234239, rel=1e-6)
    assert chain(fixed(2.0), cap(least(0.5, volatility_limit(0.2))))(decision) == 0.5


@pytest.mark.parametrize(
    ("side", "held", "wish", "answer"),
    [
        (0.05, 0.0, 1.0, 1.0),  # an edge of 0.2 against a round trip of 0.1
        (0.05, 0.0, -1.0, 0.0),  # the edge is against it
        (0.05, -0.5, -1.0, 0.0),  # and so nothing is kept on that side
        (0.15, 0.0, 1.0, 0.0),  # a round trip of 0.3
        (0.15, 0.4, 1.0, 0.4),  # staying costs nothing
        (0.15, 0.4, 0.1, 0.1),  # nor does taking away
        (0.15, -0.4, 1.0, 0.0),  # what is held against the wish goes
    ],
)
def test_net_of_cost(side: float, held: float, wish: float, answer: float) -> None:
    assert net_of_cost()(known(EVEN, held, side=side), wish) == answer


@pytest.mark.parametrize(
    ("held", "wish", "answer"),
    [
        (0.0, 0.2, 0.0),
        (0.0, 0.21, 0.21),
        (0.5, 0.35, 0.5),
        (0.5, 0.29, 0.29),
        (0.1, 0.0, 0.0),  # to nothing, always
        (0.1, -0.05, 0.0),  # out of what the wish is against
        (0.1, -0.15, -0.15),
        (-0.5, -0.35, -0.5),
    ],
)
def test_no_trade_band(held: float, wish: float, answer: float) -> None:
    """0.4 of a greatest position of 0.5 is a band of 0.2."""
    assert no_trade_band(0.4, of=0.5)(known(EVEN, held), wish) == answer


def test_worth_trading() -> None:
    """Growth of the even bet at f = 0.2 is 0.6 ln 1.2 + 0.4 ln 0.8 = 0.0201355; getting there costs 2 * 0.2 a side.

    From 0.1 it is 0.0201355 - (0.6 ln 1.1 + 0.4 ln 0.9) = 0.0201355 - 0.0150418 = 0.0050937, again for 0.2 sides; and
    from 0.3 back to 0.2 it is 0.0201355 - (0.6 ln 1.3 + 0.4 ln 0.7) = 0.0201355 - 0.0147485 = 0.0053870, for 0.1.
    """
    for held, gain, sides in ((0.0, 0.0201355, 0.4), (0.1, 0.0050937, 0.2), (0.3, 0.0053870, 0.1)):
        for share, answer in ((0.999, 0.2), (1.001, held)):
            assert worth_trading()(known(EVEN, held, side=gain / sides * share), 0.2) == answer
    assert worth_trading(2.0)(known(EVEN, side=0.0201355 / 0.4 * 0.999), 0.2) == 0.0
    assert worth_trading()(known(EVEN, held=1.5, side=0.05), 0.2) == 0.2  # 1.5 can be ruined: any price is worth it
    assert worth_trading()(known(EVEN, side=0.0), 1.0) == 0.0  # and never go there


def test_long_only_and_cap() -> None:
    decision = known(Outcomes.bet(up=0.4, gain=1.0, loss=1.0), held=0.5)
    assert chain(fixed(0.3), long_only())(decision) == 0.0
    assert chain(fixed(0.3), cap(0.1))(decision) == -0.1
    assert chain()(decision) == 0.5
    assert chain(cap(0.1))(decision) == 0.1


# --- what is not a number ---------------------------------------------------------------------------------------------

STEPS: dict[str, Step] = {
    "fixed": fixed(1.0),
    "confidence": confidence(),
    "kelly": kelly(),
    "kelly_normal": kelly_normal(),
    "volatility_target": volatility_target(0.2),
    "net_of_cost": net_of_cost(),
    "cap": cap(volatility_limit(0.2)),
    "least": cap(least(1.0, volatility_limit(0.2))),
    "no_trade_band": no_trade_band(0.1, of=volatility_limit(0.2)),
    "worth_trading": worth_trading(),
}


@pytest.mark.parametrize("name", STEPS)
def test_without_a_forecast_what_is_held_is_kept(name: str) -> None:
    """Alone and behind any wish, whichever side is held, and no warning either."""
    for held in (0.0, 0.7, -0.7):
        decision = known(NOTHING, held, side=0.001)
        assert chain(STEPS[name])(decision) == held
        assert chain(fixed(0.3), STEPS[name])(decision) == held
        assert math.isnan(STEPS[name](decision, 0.2))


@pytest.mark.parametrize("quantiles", [[0.01] * 3, [math.inf] * 3, [-math.inf, 0.0, 0.01], [0.0100, 0.0101, 0.0102]])
def test_a_forecast_that_is_certain_is_not_believed(quantiles: list[float]) -> None:
    """It admits no loss, so the best size would have no end."""
    outcomes = Outcomes.of_quantiles((0.05, 0.5, 0.95), quantiles)
    assert chain(kelly())(known(outcomes, held=0.1)) == 0.1


# --- quantities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exposure", "qty"),
    [
        (0.5, "1.666"),  # 50 000 / 30 000 = 1.6667
        (-0.5, "-1.666"),  # towards zero, not down
        (0.0, "0"),
        (1e-9, "0"),
        (0.3, "1"),  # as written, 0.3 is 30 000 exactly: not one step less for the double's sake
    ],
)
def test_to_qty(exposure: float, qty: str) -> None:
    made = to_qty(INSTRUMENT, exposure, price=Decimal(30_000), capital=Decimal(100_000))
    assert made == Decimal(qty)
    assert INSTRUMENT.qty(INSTRUMENT.steps(made)) == made
    assert abs(exposure_of(made, price=Decimal(30_000), capital=Decimal(100_000)) - exposure) < 0.0003


@pytest.mark.parametrize(
    ("exposure", "price", "capital", "word"),
    [
        (math.nan, "1", "1", "exposure of nan"),
        (math.inf, "1", "1", "exposure of inf"),
        (1.0, "0", "1", "price of 0"),
        (1.0, "NaN", "1", "price of NaN"),
        (1.0, "1", "-1", "capital of -1"),
    ],
)
def test_to_qty_refuses_what_sizes_nothing(exposure: float, price: str, capital: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        to_qty(INSTRUMENT, exposure, price=Decimal(price), capital=Decimal(capital))


def test_a_numpy_number_is_a_number() -> None:
    """Its repr is not: "np.float64(0.5)"."""
    assert to_qty(INSTRUMENT, np.float64(0.5), price=Decimal(10), capital=Decimal(10)) == Decimal("0.5")
