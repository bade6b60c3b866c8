"""Judging a model beside its baselines, the alarm for what is too good, and the tables."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from bot.domain.errors import DataError
from models.evaluation.bootstrap import Sampling
from models.evaluation.forecast_set import ForecastSet, join_outcomes
from models.evaluation.judge import HorizonScores, judge, terciles
from models.evaluation.leaks import Verdict, exit_code, find_leaks
from models.evaluation.results import compare, to_json, to_markdown
from models.evaluation.strategy import judge_equity
from models.systems.ewma_vol import EwmaVol, EwmaVolParams
from models.training.labels import join_labels, returns_after, volatility_after
from tests.support.evaluations import LEVELS, normal_quantiles, set_of
from tests.support.training import DAY, HOUR, MINUTE, fold, real_bars

Floats = NDArray[np.float64]
FAST = Sampling(resamples=300)


def market(count: int, seed: int, *, known: float = 0.0) -> tuple[Floats, Floats, Floats]:
    """Return returns, their true deviation at the time, and what of their mean could be known."""
    rng = np.random.default_rng(seed)
    deviation = 0.005 * np.exp(0.5 * np.sin(np.arange(count) / 50))
    signal = rng.normal(0, 1, count)
    y = deviation * (known * signal + math.sqrt(1 - known**2) * rng.normal(0, 1, count))
    return y, deviation, known * deviation * signal


def only(scores_of: ForecastSet, **settings: object) -> HorizonScores:
    (scores,) = judge(scores_of, **({"sampling": FAST} | settings)).horizons  # type: ignore[arg-type]
    return scores


# --- judging ----------------------------------------------------------------------------------------------------------


def test_metrics_are_the_plain_ones() -> None:
    y, deviation, mean = market(2_000, 1, known=0.2)
    made = only(set_of(y, normal_quantiles(mean, deviation), realised_variance_NH=y**2 + 1e-9))
    metrics = {name: each.value for name, each in made.metrics.items()}
    q = normal_quantiles(mean, deviation)
    assert metrics["coverage_0.9"] == ((q[:, 0] <= y) & (y <= q[:, 4])).mean()
    assert metrics["width_0.5"] == pytest.approx((q[:, 3] - q[:, 1]).mean())
    assert metrics["below_0.25"] == (y <= q[:, 1]).mean()
    assert metrics["direction_accuracy"] == ((mean > 0) == (y > 0)).mean()
    assert metrics["ic"] == pytest.approx(np.corrcoef(mean, y)[0, 1])
    order = [np.argsort(np.argsort(each)) for each in (mean, y)]
    assert metrics["rank_ic"] == pytest.approx(np.corrcoef(*order)[0, 1])
    assert metrics["rmse_ratio"] == pytest.approx(math.sqrt(((y - mean) ** 2).sum() / (y**2).sum()))
    assert metrics["r2_out_of_sample"] == pytest.approx(1 - metrics["rmse_ratio"] ** 2)
    r = (y**2 + 1e-9) / deviation**2
    assert metrics["qlike"] == pytest.approx((r - np.log(r) - 1).mean(), rel=1e-4)
    up = set_of(y, q).up_NH[:, 0]
    assert metrics["brier"] == pytest.approx(((up - (y > 0)) ** 2).mean())
    share = (y > 0).mean()
    assert metrics["brier_skill"] == pytest.approx(1 - metrics["brier"] / (share * (1 - share)))
    assert sum(each.value for each in made.pit) == pytest.approx(1)
    assert made.pit_nominal == pytest.approx(np.diff([0, *LEVELS, 1]).tolist())
    assert sum(each.decisions for each in made.reliability) == 2_000
    assert [each.forecast for each in made.reliability] == sorted(each.forecast for each in made.reliability)
    assert (made.decisions, made.overlap, made.decision_times) == (2_000, 1, 2_000)


def test_a_calibrated_model_is_calibrated_in_every_regime_and_period() -> None:
    """And one that forecasts the mean volatility always is too sure of itself when it is wild."""
    y, deviation, mean = market(6_000, 2)
    regime = terciles(deviation)
    right = only(set_of(y, normal_quantiles(mean, deviation)), regime_N=regime)
    flat = only(set_of(y, normal_quantiles(mean, np.full(6_000, deviation.mean()))), regime_N=regime)
    assert list(right.regimes) == ["calm", "usual", "wild"]
    for scores in right.regimes.values():
        assert scores["coverage_0.9"].low <= 0.9 <= scores["coverage_0.9"].high
        assert scores["share"].value == pytest.approx(1 / 3, abs=0.01)
    assert right.regimes["wild"]["width_0.9"].value > 2 * right.regimes["calm"]["width_0.9"].value
    assert flat.regimes["wild"]["coverage_0.9"].high < 0.9 < flat.regimes["calm"]["coverage_0.9"].low
    assert len(right.periods) == 24
    assert np.mean([each.coverage["0.9"] for each in right.periods]) == pytest.approx(
        right.metrics["coverage_0.9"].value, abs=1e-9
    )
    assert all(a.to_ns < b.from_ns for a, b in pairwise(right.periods))


def test_better_than_a_baseline_is_said_with_an_interval() -> None:
    """The true volatility beats a constant one with an interval above zero and a small p; itself, neither."""
    y, deviation, mean = market(4_000, 3)
    model = set_of(y, normal_quantiles(mean, deviation), model="true", realised_variance_NH=y**2 + 1e-9)
    flat = replace(
        model, model="flat", quantiles_NHQ=normal_quantiles(mean, np.full(4_000, deviation.mean()))[:, None, :]
    )
    twin = replace(model, model="twin")
    made = only(model, baselines=[flat, twin])
    for loss in ("pinball", "crps", "qlike"):
        against = made.against["flat"][loss]
        assert against.skill.is_above_zero
        assert against.test.p_value < 1e-3
        assert against.test.difference < 0
        assert made.against["twin"][loss].skill.value == 0
    assert made.against["flat"]["squared_error"].skill.value == pytest.approx(0)
    worse = only(flat, baselines=[model]).against["true"]["crps"]
    assert worse.skill.is_below_zero


def test_a_flat_outcome_is_no_miss_of_direction() -> None:
    """Half of the bars went nowhere. Counted as falls they spoil a perfect sense of direction; ours stays 1."""
    rng = np.random.default_rng(4)
    y = np.where(np.arange(400) % 2 == 0, 0.0, rng.normal(0, 1, 400))
    mean = np.where(y == 0, 0.5, y)
    made = only(set_of(y, normal_quantiles(mean, np.ones(400))))
    assert ((mean > 0) == (y > 0)).mean() < 0.8
    assert made.metrics["direction_accuracy"].value == 1
    assert sum(each.decisions for each in made.reliability) == 200
    silent = only(set_of(y, normal_quantiles(np.where(np.arange(400) < 200, 0.0, mean), np.ones(400))))
    assert silent.metrics["direction_answered"].value == pytest.approx(0.5)
    band = only(set_of(y, normal_quantiles(mean, np.ones(400))), dead_band=1.0)
    assert sum(each.decisions for each in band.reliability) == (np.abs(y) > 1).sum()


def test_what_cannot_be_scored_is_absent() -> None:
    """A forecast of zero has no direction and no correlation; without realised variance there is no QLIKE."""
    y, deviation, _ = market(300, 5)
    made = only(set_of(y, normal_quantiles(np.zeros(300), deviation)))
    assert not {"direction_accuracy", "ic", "rank_ic", "qlike"} & set(made.metrics)
    assert made.metrics["rmse_ratio"].value == 1
    certain = set_of(y, np.zeros((300, 5)), model="zero", realised_variance_NH=y**2 + 1e-9)
    assert "qlike" not in only(certain).metrics  # certain of one value: no forecast of volatility
    flat = only(set_of(np.zeros(300), normal_quantiles(np.ones(300), deviation)))
    assert "brier" not in flat.metrics
    assert not flat.reliability


def test_intervals_know_that_horizons_overlap() -> None:
    """A day's outcomes at every hour: the interval of coverage is as wide as of a 24th of the decisions."""
    rng = np.random.default_rng(6)
    steps = rng.normal(0, 1, 6_000 + 23)
    y = np.convolve(steps, np.ones(24), "valid") / math.sqrt(24)
    quantiles = normal_quantiles(np.zeros(6_000), np.ones(6_000))
    overlapping = only(set_of(y, quantiles, horizon_ns=DAY, every_ns=HOUR)).metrics["coverage_0.5"]
    apart = only(set_of(rng.permutation(y), quantiles, horizon_ns=HOUR)).metrics["coverage_0.5"]
    assert overlapping.error > 2.5 * apart.error
    assert overlapping.block >= 96
    assert apart.error == pytest.approx(0.5 / math.sqrt(6_000), rel=0.2)


def test_the_same_seed_gives_the_same_bytes() -> None:
    y, deviation, mean = market(500, 7, known=0.05)
    sets = [
        set_of(y, normal_quantiles(mean, deviation), model="a"),
        set_of(y, normal_quantiles(0 * mean, 2 * deviation), model="b"),
    ]
    made = [to_json(compare(sets[:1], sets[1:], sampling=Sampling(resamples=200, seed=seed))) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_others_decisions_names_and_regimes_are_refused() -> None:
    y, deviation, mean = market(100, 8)
    model = set_of(y, normal_quantiles(mean, deviation))
    with pytest.raises(DataError, match="different names"):
        judge(model, baselines=[model], sampling=FAST)
    with pytest.raises(DataError, match="differ in target_NH"):
        judge(model, baselines=[replace(model, model="b", target_NH=2 * model.target_NH)], sampling=FAST)
    with pytest.raises(DataError, match="regimes must be"):
        judge(model, regime_N=np.full(100, 3), sampling=FAST)
    with pytest.raises(ValueError, match="dead_band"):
        judge(model, dead_band=-1.0, sampling=FAST)
    with pytest.raises(DataError, match="no model"):
        compare([], [model])
    with pytest.raises(DataError, match="one name"):
        compare([model], [model])


# --- the leak alarm ---------------------------------------------------------------------------------------------------


def leaks_of(known: float, count: int, *, horizon_ns: int = HOUR, seed: int = 9, flip: bool = False):  # type: ignore[no-untyped-def]
    y, deviation, mean = market(count, seed, known=known)
    mean = -mean if flip else mean
    return find_leaks([judge(set_of(y, normal_quantiles(mean, deviation), horizon_ns=horizon_ns), sampling=FAST)])


def test_what_is_possible_raises_no_alarm() -> None:
    """An IC of 0.04 over a year of hours is what the best studies find."""
    findings = leaks_of(0.04, 8_760)
    assert findings == []
    assert exit_code(findings) == 0


@pytest.mark.parametrize("flip", [False, True])
def test_what_is_impossible_does(flip: bool) -> None:
    """An IC of 0.3, or of -0.3, whose opposite anybody could trade: all three measures, and the exit code."""
    findings = leaks_of(0.3, 4_000, flip=flip)
    assert {each.metric for each in findings} == {"direction_accuracy", "ic", "rank_ic"}
    assert {each.verdict for each in findings} == {Verdict.LEAK}
    assert exit_code(findings) == 1
    assert "treat it as a leak until disproved" in str(findings[0])


def test_a_bar_of_the_future_raises_the_alarm() -> None:
    """The published feature that holds the hour to come, mixed with much noise, is still found."""
    y, deviation, _ = market(3_000, 10)
    leaked = 0.2 * y + np.random.default_rng(10).normal(0, deviation)
    findings = find_leaks([judge(set_of(y, normal_quantiles(0.1 * leaked, deviation)), sampling=FAST)])
    assert exit_code(findings) == 1


def test_below_an_hour_it_is_silent() -> None:
    assert leaks_of(0.3, 4_000, horizon_ns=5 * MINUTE) == []


def test_few_decisions_are_unclear_and_not_fatal() -> None:
    """Forty hours without skill show 56 % now and then; that is said, and is no failure."""
    verdicts = []
    for seed in range(60):
        y, deviation, _ = market(40, seed)
        mean = np.random.default_rng(1_000 + seed).normal(0, 1, 40)
        findings = find_leaks([judge(set_of(y, normal_quantiles(mean, deviation)), sampling=FAST)])
        verdicts.append({each.verdict for each in findings})
        assert all("may be luck" in str(each) for each in findings if each.verdict is Verdict.UNCLEAR)
    assert np.mean([Verdict.UNCLEAR in each for each in verdicts]) > 0.3
    assert np.mean([Verdict.LEAK in each for each in verdicts]) < 0.15


def test_overlap_is_not_taken_for_certainty() -> None:
    """Two hundred days at every hour: 4,800 rows of noise must not look like 4,800 independent hits."""
    alarms = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        y = np.convolve(rng.normal(0, 1, 4_823), np.ones(24), "valid")
        mean = np.convolve(rng.normal(0, 1, 4_823), np.ones(24), "valid")  # as slow as the outcome, and unrelated
        findings = find_leaks(
            [
                judge(
                    set_of(y, normal_quantiles(mean, np.full(4_800, 5.0)), horizon_ns=DAY, every_ns=HOUR), sampling=FAST
                )
            ]
        )
        alarms += exit_code(findings)
    assert alarms <= 4


# --- tables -----------------------------------------------------------------------------------------------------------


def test_tables_show_models_baselines_and_alarms() -> None:
    y, deviation, mean = market(2_000, 11, known=0.4)
    variance = y**2 + 1e-9
    model = set_of(y, normal_quantiles(mean, deviation), model="too|good", realised_variance_NH=variance)
    flat = set_of(y, normal_quantiles(0 * mean, deviation), model="flat", realised_variance_NH=variance)
    results = compare([model], [flat], sampling=FAST, trials=3)
    equity = np.concatenate([[1.0], np.cumprod(1 + mean)])
    statistics = judge_equity(np.arange(2_001) * HOUR, equity, trials=3)
    text = to_markdown(msgspec.structs.replace(results, strategies={"too|good": statistics}))
    assert text.startswith("* **LEAK** too|good: direction_accuracy of 0.6")
    assert "Evaluations on this hold-out so far, this one included: 3." in text
    assert "## 1h" in text
    assert "| too\\|good | 2,000 | " in text
    assert "| flat (baseline) | 2,000 | " in text
    assert "| too\\|good | flat | **+0." in text
    assert "95 % intervals of a block bootstrap (circular, 300 resamples, seed 0)" in text
    assert "| too\\|good | +" in text.split("## Strategies")[1]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for head, rule in pairwise(rows):
        if rule.startswith("| ---"):
            assert head.count(" | ") == rule.count(" | ")


def test_json_is_canonical_and_null_where_undefined() -> None:
    y, deviation, mean = market(5, 12, known=0.1)
    results = compare([set_of(y, normal_quantiles(mean, deviation))], [], sampling=FAST)
    text = to_json(results)
    plain = json.loads(text)
    assert text == msgspec.json.encode(plain, order="sorted")
    assert list(plain) == sorted(plain)
    metric = plain["models"][0]["horizons"][0]["metrics"]["crps"]
    assert metric["value"] > 0
    assert metric["low"] is None  # five decisions have no interval
    assert b"NaN" not in text
    assert "| model | 5 | " in to_markdown(results)


def test_the_widest_interval_there_is_stands_in_the_table() -> None:
    y, deviation, mean = market(50, 13)
    levels = (0.1, 0.4, 0.6, 0.9)
    text = to_markdown(
        compare([set_of(y, normal_quantiles(mean, deviation, levels), levels=levels)], [], sampling=FAST)
    )
    assert "| Score of 0.8, bps | Width of 0.8, bps |" in text
    assert "| Coverage of 0.8 | All | calm | usual | wild |" in text


# --- real data --------------------------------------------------------------------------------------------------------


def test_a_real_market_in_one_table() -> None:
    """BTCUSDT, eight months of 5-minute decisions: EWMA volatility beats a constant one; no alarm; sensible figures."""
    bars = real_bars("BTCUSDT", "btcusdt_bybit_linear_5m_2025-01_2025-08.parquet", scale_ns=5 * MINUTE, tick_size="0.1")
    scales = fold(bars, 5 * MINUTE, HOUR)
    horizons_ns = (HOUR, 4 * HOUR)
    model = EwmaVol(EwmaVolParams(decision_scale_ns=HOUR, scales_ns=(5 * MINUTE, HOUR), horizons_ns=horizons_ns))
    batch = model.predict(scales)
    assert batch is not None
    path, decisions = scales[5 * MINUTE], scales[HOUR]
    labels = join_labels(
        [make(decisions, path, horizons_ns=horizons_ns, hole_max_ns=HOUR) for make in (returns_after, volatility_after)]
    )
    ewma = join_outcomes("ewma", [(batch, labels)])
    known = ewma.is_known_NH.all(axis=1)
    constant = np.quantile(ewma.target_NH[known], ewma.levels, axis=0).T[None].repeat(len(ewma), axis=0)
    hindsight = replace(ewma, model="constant in hindsight", quantiles_NHQ=constant)
    results = compare([ewma], [hindsight], sampling=Sampling(resamples=500))
    assert exit_code(results.findings) == 0
    for scores in results.models[0].horizons:
        assert scores.against["constant in hindsight"]["crps"].skill.is_above_zero
        assert scores.metrics["rmse_ratio"].value == pytest.approx(1, abs=0.01)
        assert 0.4 < scores.metrics["direction_accuracy"].value < 0.56
        assert 0.85 < scores.metrics["coverage_0.9"].value < 0.97
        assert scores.metrics["log_volatility_correlation"].value > 0.3
    assert results.models[0].horizons[1].overlap == 4
    assert "ewma" in to_markdown(results)
