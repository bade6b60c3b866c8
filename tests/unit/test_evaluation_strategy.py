"""Sharpe ratios that allow for luck, overfitting, and what a series of exposures earns."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from bot.domain.errors import DataError
from bot.report.equity import longest_drawdown_ns as report_longest_drawdown_ns
from bot.report.equity import sharpe as report_sharpe
from models.evaluation.exposure import earn, spread_over
from models.evaluation.overfitting import overfitting
from models.evaluation.sharpe import (
    SharpeRatio,
    deflated,
    expected_best,
    minimum_bars,
    probabilistic,
    returns_of,
    sharpe_of,
)
from models.evaluation.strategy import judge_earned, judge_equity, longest_drawdown_ns
from tests.support.training import DAY, HOUR, START

Floats = NDArray[np.float64]
NORMAL = NormalDist()


def normal_ratio(annual: float, *, per_year: float, bars: int = 1_000) -> SharpeRatio:
    """Return a ratio as the papers give it: a year's, of normal returns."""
    return SharpeRatio(value=annual / math.sqrt(per_year), skew=0, kurtosis=3, bars=bars, bars_per_year=per_year)


def hours(count: int) -> NDArray[np.int64]:
    return START + HOUR * np.arange(count)


# --- Sharpe ratios ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per_year", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_minimum_track_record_of_the_published_example(per_year: int, years: float) -> None:
    """To tell a Sharpe ratio of 2 from 1 at 95 %, by days, weeks and months: Bailey and López de Prado 2012."""
    ratio = normal_ratio(2, per_year=per_year)
    bars = minimum_bars(ratio, against=1 / math.sqrt(per_year))
    assert bars / per_year == pytest.approx(years, abs=0.005)


@pytest.mark.parametrize(("trials", "skew", "kurtosis", "expected"), [(100, -3, 10, 0.9004), (46, -3, 10, 0.9505)])
def test_deflated_sharpe_of_the_published_example(trials: int, skew: float, kurtosis: float, expected: float) -> None:
    """Five years of days, a ratio of 2.5, trials varying by 1/2: Bailey and López de Prado 2014, numerical example."""
    ratio = SharpeRatio(value=2.5 / math.sqrt(250), skew=skew, kurtosis=kurtosis, bars=1_250, bars_per_year=250)
    assert deflated(ratio, trials=trials, deviation=math.sqrt(0.5 / 250)) == pytest.approx(expected, abs=2e-4)


def test_deflated_sharpe_of_the_example_if_returns_were_normal() -> None:
    """88 trials would then be allowed for the same certainty as 46: same source."""
    ratio = SharpeRatio(value=2.5 / math.sqrt(250), skew=0, kurtosis=3, bars=1_250, bars_per_year=250)
    assert deflated(ratio, trials=88, deviation=math.sqrt(0.5 / 250)) == pytest.approx(0.9505, abs=2e-3)


def test_the_expected_best_of_many_is_what_sampling_gives() -> None:
    draws = np.random.default_rng(1).normal(0, 0.3, (20_000, 50)).max(axis=1).mean()
    assert expected_best(50, 0.3) == pytest.approx(draws, rel=0.02)
    assert expected_best(1, 0.3) == 0


def test_probabilistic_sharpe_is_uniform_without_skill() -> None:
    """Of many series without a mean, a share p has a probability below p."""
    rng = np.random.default_rng(2)
    made = np.array([probabilistic(sharpe_of(rng.standard_t(6, 500) * 0.01, hours(501))) for _ in range(1_500)])
    for p in (0.05, 0.5, 0.95):
        assert (made < p).mean() == pytest.approx(p, abs=0.03)


def test_the_best_of_many_without_skill_is_deflated() -> None:
    """Choose the best of 50 noise strategies: its probability looks certain, deflated it does not."""
    rng = np.random.default_rng(3)
    raw, honest = [], []
    for _ in range(60):
        ratios = [sharpe_of(each, hours(401)) for each in rng.normal(0, 0.01, (50, 400))]
        best = max(ratios, key=lambda ratio: ratio.value)
        raw.append(probabilistic(best))
        honest.append(deflated(best, trials=50))
    assert np.mean(np.array(raw) > 0.95) > 0.8
    assert np.mean(np.array(honest) > 0.95) < 0.15


def test_the_ratio_is_the_report_s() -> None:
    """Same definition, annualised by the bars there were."""
    rng = np.random.default_rng(4)
    equity = 100 * np.concatenate([[1.0], np.cumprod(1 + rng.normal(1e-4, 3e-3, 900))])
    ratio = sharpe_of(returns_of(equity), hours(901))
    assert ratio.bars_per_year == pytest.approx(8_760)
    assert ratio.annual == pytest.approx(report_sharpe(equity, HOUR))


def test_years_are_counted_by_the_clock() -> None:
    """Half of the bars missing: half as many bars a year."""
    ts_ns = np.sort(np.random.default_rng(5).choice(hours(2_001), 1_001, replace=False))
    ts_ns[[0, -1]] = hours(2_001)[[0, -1]]
    ratio = sharpe_of(np.random.default_rng(6).normal(size=1_000), ts_ns)
    assert ratio.bars_per_year == pytest.approx(4_380)


def test_moments_and_error() -> None:
    returns = np.array([0.01, -0.02, 0.03, 0.0])
    ratio = sharpe_of(returns, hours(5))
    z = (returns - returns.mean()) / returns.std()
    assert ratio.value == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert (ratio.skew, ratio.kurtosis) == pytest.approx(((z**3).mean(), (z**4).mean()))
    assert normal_ratio(0.0, per_year=1, bars=101).error == pytest.approx(0.1)


def test_what_has_no_ratio_says_so() -> None:
    assert math.isnan(sharpe_of(np.full(10, 0.01), hours(11)).value)
    assert minimum_bars(normal_ratio(-1, per_year=12)) == math.inf
    with pytest.raises(DataError, match="ruined"):
        returns_of(np.array([1.0, 0.5, 0.0, 0.1]))
    with pytest.raises(DataError, match="longer run"):
        returns_of(np.array([1.0, 0.5]))
    with pytest.raises(DataError, match="one after another"):
        sharpe_of(np.array([0.1, 0.2]), np.array([1, 1, 2]))
    with pytest.raises(ValueError, match="no best one"):
        expected_best(0, 1.0)


def test_an_equity_curve_in_figures() -> None:
    rng = np.random.default_rng(7)
    equity = 1_000 * np.concatenate([[1.0], np.cumprod(1 + rng.normal(2e-3, 0.01, 730))])
    ts_ns = START + DAY * np.arange(731)
    made = judge_equity(ts_ns, equity, trials=10)
    assert made.bars_per_year == pytest.approx(365)
    assert made.sharpe == pytest.approx(report_sharpe(equity, DAY))
    assert made.deflated_sharpe < made.probabilistic_sharpe
    assert made.max_drawdown == pytest.approx(max(1 - equity[i] / equity[: i + 1].max() for i in range(731)))
    assert made.longest_drawdown_ns == report_longest_drawdown_ns(ts_ns, equity)
    assert made.minimum_track_record_years is not None
    assert judge_equity(ts_ns, equity[::-1].copy(), trials=1).minimum_track_record_years is None


def test_exposures_in_figures() -> None:
    """In and out again every two hours: turned over once an hour; the rest is the curve's."""
    earned = earn(np.tile([1.0, 0.0], 50), np.tile([0.01, 0.5], 50), cost=0.001)
    made = judge_earned(hours(101), earned, trials=2)
    assert made.turnover_per_year == pytest.approx(8_760, rel=0.01)
    assert made.break_even_cost == pytest.approx(0.005)
    assert made.win_rate == pytest.approx(0.5)  # a step that pays for leaving is lost
    curve = judge_equity(hours(101), earned.equity(), trials=2)
    assert made.sharpe == curve.sharpe
    assert curve.turnover_per_year is None


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_drawdown_is_the_report_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    equity = 10 + np.maximum(np.cumsum(rng.integers(-1, 2, 40)), -9).astype(np.float64)
    ts_ns = START + np.cumsum(rng.integers(1, 9, 40))
    assert longest_drawdown_ns(ts_ns, equity) == report_longest_drawdown_ns(ts_ns, equity)


# --- overfitting ------------------------------------------------------------------------------------------------------


def plain_overfitting(returns: Floats, blocks: int) -> list[float]:
    """Return the logits as the paper describes them, half by half, with nothing shared."""
    length = len(returns) // blocks
    rows = np.arange(len(returns))[-length * blocks :].reshape(blocks, length)
    logits = []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = returns[np.concatenate([rows[b] for b in chosen])]
        outside = returns[np.concatenate([rows[b] for b in range(blocks) if b not in chosen])]
        best = int(np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1)))
        there = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        rank = (int((there < there[best]).sum()) + 1) / (returns.shape[1] + 1)
        logits.append(math.log(rank / (1 - rank)))
    return logits


def test_overfitting_is_what_the_paper_describes() -> None:
    returns = np.random.default_rng(8).normal(1e-3, 0.01, (205, 7))
    made = overfitting(returns, blocks=6)
    expected = plain_overfitting(returns, 6)
    np.testing.assert_allclose(made.logits, expected, atol=1e-12)
    assert made.probability == np.mean(np.array(expected) <= 0)
    assert made.halves == math.comb(6, 3)


def test_overfitting_tells_skill_from_luck() -> None:
    """One strategy with a true edge is chosen and stays good; of noise the best one is as bad as any other."""
    rng = np.random.default_rng(9)
    noise = [overfitting(rng.normal(0, 0.01, (800, 20)), blocks=8).probability for _ in range(25)]
    assert np.mean(noise) == pytest.approx(0.5, abs=0.12)
    skilled = rng.normal(0, 0.01, (800, 20))
    skilled[:, 3] += 0.003
    made = overfitting(skilled, blocks=16)
    assert made.halves == 12_870
    assert made.probability < 0.02
    assert made.loss_probability < 0.02


def test_overfitting_does_not_lose_digits() -> None:
    """A large mean beside a small deviation: a constant added to all returns scales nothing away."""
    returns = np.random.default_rng(10).normal(0, 1e-7, (160, 4)) + 1.0
    np.testing.assert_allclose(overfitting(returns, blocks=4).logits, plain_overfitting(returns, 4))


def test_overfitting_needs_a_choice() -> None:
    for returns, message in (
        (np.zeros((100, 1)), "take two strategies"),
        (np.zeros((5, 2)), "8 bars at the least"),
        (np.full((100, 2), np.nan), "not a number"),
    ):
        with pytest.raises(DataError, match=message):
            overfitting(returns, blocks=4)
    with pytest.raises(ValueError, match="even number"):
        overfitting(np.zeros((100, 2)), blocks=5)
    assert overfitting(np.zeros((100, 2)), blocks=4).probability == 1  # nobody is better than the middle


# --- exposures, and the errors of published back-tests ----------------------------------------------------------------


def test_earning_is_accounting_by_hand() -> None:
    """Long all, then short half, then out; the value traded and the equity in cash and units."""
    exposure, moves, cost = [1.0, -0.5, 0.0], [0.10, -0.20, 0.05], 0.01
    cash, units, price, equity = 100.0, 0.0, 10.0, [100.0]
    for wanted, move in zip(exposure, moves, strict=True):
        worth = cash + units * price
        # Costs are paid out of the equity first; the exposure is of what is left.
        traded = abs(wanted - units * price / worth) * worth
        left = worth - cost * traded
        units = wanted * left / price
        cash = left - units * price
        price *= 1 + move
        equity.append(cash + units * price)
    made = earn(np.array(exposure), np.array(moves), cost=cost)
    np.testing.assert_allclose(made.equity(100.0), equity, rtol=1e-12)
    # Long all stays all; short half, after the price fell by a fifth, is 0.4 of an equity of 1.1.
    assert made.turnover_N.tolist() == pytest.approx([1.0, 1.5, 0.4 / 1.1])


def test_leaving_is_paid_for() -> None:
    made = earn(np.array([1.0, 1.0]), np.array([0.1, 0.1]), cost=0.01)
    assert made.equity()[-1] == pytest.approx(0.99 * 1.21 * 0.99)
    assert made.turnover_N.tolist() == pytest.approx([1.0, 1.1])


def test_a_signal_without_skill_loses_its_costs() -> None:
    """Its Sharpe ratio is minus the cost drag: cost times turnover over the deviation, a year's worth.

    The published back-test kept a list of returns without costs beside a capital that paid them, and took the ratio of
    the list: near zero, for an account that lost all it had.
    """
    rng = np.random.default_rng(11)
    count, sigma, cost = 20_000, 0.0055, 0.001
    signal = rng.choice([-1.0, 1.0], count)
    made = earn(signal, rng.normal(0, sigma, count), cost=cost)
    ratio = sharpe_of(returns_of(made.equity()), hours(count + 1))
    drag = -cost * made.turnover / sigma
    assert made.turnover == pytest.approx(1.0, abs=0.02)  # half of the time all is turned over, from -1 to 1
    assert ratio.value == pytest.approx(drag, abs=4 * ratio.error)
    assert drag == pytest.approx(-0.18, abs=0.01)
    listed = sharpe_of(made.gross_N, hours(count + 1))
    assert abs(listed.value) < 4 * listed.error
    assert made.equity()[-1] < 1e-6


def test_break_even_cost_is_where_the_edge_is_spent() -> None:
    """An edge of m a step, turned over with probability 1/2, pays m a side; at that cost nothing is left."""
    rng = np.random.default_rng(12)
    count, edge = 40_000, 4e-4
    signal = rng.choice([-1.0, 1.0], count)
    moves = signal * edge + rng.normal(0, 2e-3, count)
    free = earn(signal, moves, cost=0)
    assert free.break_even_cost == pytest.approx(edge, rel=0.1)
    spent = earn(signal, moves, cost=free.break_even_cost)
    drift = float(np.log1p(spent.net_N).mean() + spent.net_N.var() / 2)
    assert drift == pytest.approx(0, abs=2e-6)
    assert math.isnan(earn(np.zeros(3), np.zeros(3), cost=0.1).break_even_cost)


def test_overlapping_horizons_are_earned_once() -> None:
    """A forecast over 24 hours at every hour: the published back-test let every hour earn the whole 24-hour return.

    That is a position of 24 times what was meant. Spread over the horizon, each hour's return is earned once, by the
    mean of the 24 opinions that concern it.
    """
    rng = np.random.default_rng(13)
    count, width = 5_000, 24
    moves = rng.normal(0, 0.005, count + width)
    ahead = np.array([moves[n : n + width].sum() for n in range(count)])
    opinion = np.sign(0.1 * ahead / ahead.std() + rng.normal(0, 1, count))
    ours = earn(spread_over(opinion, width), moves[:count], cost=0.0)
    theirs = opinion * ahead
    assert theirs.std() / ours.gross_N.std() > width / 2
    assert theirs.sum() == pytest.approx(width * ours.gross_N.sum(), rel=0.15)  # each hour 24 times
    # Written out: the same equity from 24 accounts side by side, each turned over every 24 hours.
    sums = np.zeros(count)
    for n in range(count):
        sums[n : n + width] += opinion[n] / width
    np.testing.assert_allclose(ours.gross_N, sums[:count] * moves[:count], atol=1e-15)


def test_flat_bars_are_no_losses() -> None:
    """Three steps without a position are neither won nor lost; counted as losses the rate would be 2/6."""
    made = earn(np.array([1.0, 0.0, 0.0, 0.0, 1.0, -1.0]), np.array([0.1, 0.5, 0.5, 0.5, 0.2, 0.1]), cost=0.0)
    assert (made.net_N > 0).mean() == pytest.approx(2 / 6)
    # The step after leaving trades, and with a cost it can be lost; two are idle.
    assert made.win_rate == pytest.approx(2 / 4)
    assert math.isnan(earn(np.zeros(4), np.ones(4), cost=0.0).win_rate)


def test_a_small_change_of_position_is_not_free() -> None:
    """The published back-test charged nothing for changes of up to 0.01."""
    made = earn(0.005 * np.arange(1, 101), np.zeros(100), cost=0.01)
    assert made.turnover_N.sum() == pytest.approx(0.5 + 0.5)
    assert made.equity()[-1] == pytest.approx(1 - 0.01, abs=1e-4)


def test_ruin_is_said() -> None:
    with pytest.raises(DataError, match="ruined in step 1"):
        earn(np.array([1.0, -3.0]), np.array([0.1, 0.4]), cost=0.0)
    with pytest.raises(DataError, match="not a number"):
        earn(np.array([np.nan]), np.array([0.1]), cost=0.0)
    with pytest.raises(DataError, match="costs ruin"):
        earn(np.array([5.0]), np.array([0.0]), cost=0.3)
    assert spread_over(np.array([1.0, 0.0, 0.0, 1.0]), 2).tolist() == [0.5, 0.5, 0.0, 0.5]
