"""Regimes and drawdowns: labels that know no later than they say, thresholds of the training stretch alone."""

import math

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.lookahead import Market, Outputs, probe
from bot.core.perturb import Table
from bot.domain.errors import ConfigError, DataError
from bot.domain.market import F64
from models.config import HeadConfig
from models.heads import Lessons, build_head
from models.normalizer import TargetUnit
from models.output import ModelOutput
from models.regimes import Regimes, fit_regimes, kinds_of
from models.training.labels import drawdown_after, join_labels, returns_after, volatility_after
from models.training.regimes import regime_measures
from models.training.samples import SampleSet, Source, build_samples
from models.training.teaching import Syllabus, Teacher
from tests.support.streams import generators, sample_streams
from tests.support.training import FOREVER, HOUR, MINUTE, features_of, make_bars, random_walk

SPAN = 20 * MINUTE
HEADS = (
    HeadConfig(kind="regime", horizons=("5m", "15m"), classes=7),
    HeadConfig(kind="drawdown", horizons=("5m", "15m"), quantiles=(0.5, 0.9)),
)


# --- measures ---------------------------------------------------------------------------------------------------------


def _measured(market: Market) -> Outputs:
    labels = regime_measures(market["bars"], span_ns=SPAN)
    return {"minutes": Table(known_ns=labels.known_ns, columns=dict(zip(labels.names, labels.values.T, strict=True)))}


def test_the_look_ahead_harness_finds_nothing_in_them() -> None:
    """Whatever is changed after a moment, not a bit known by then moves."""
    report = probe(_measured, sample_streams(), make_generator=generators(3), cuts=5, kinds_per_cut=3)
    assert report.is_clean, report.findings


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), stop=st.integers(1, 300))
def test_a_prefix_of_the_bars_gives_a_prefix_of_the_measures(seed: int, stop: int) -> None:
    bars = random_walk(300, seed=seed)
    whole = regime_measures(bars, span_ns=SPAN).values
    np.testing.assert_array_equal(regime_measures(bars.rows(0, stop), span_ns=SPAN).values, whole[:stop])


def test_measures_are_what_they_are_defined_as() -> None:
    """Weighted sums, written out: also that a return over a hole is none."""
    bars = random_walk(120, seed=4)
    holed = make_bars(bars.close_ticks, rows=[*range(60), *range(70, 130)])
    made = regime_measures(holed, span_ns=SPAN)
    steps = np.delete(np.diff(np.log(holed.close_ticks)), 59)
    age = np.arange(len(steps))[::-1]
    fast, slow = 0.5 ** (age / 20), 0.5 ** (age / 600)
    deviation = math.sqrt(np.average(steps**2, weights=fast))
    decay = 0.5 ** (1 / 20)
    error = deviation * math.sqrt((1 - decay) / (1 + decay))
    expected = [
        math.log(deviation / math.sqrt(np.average(steps**2, weights=slow))),
        np.average(steps, weights=fast) / error,
    ]
    np.testing.assert_allclose(made.values[-1], expected, rtol=1e-9)
    assert np.isnan(made.values[:20]).all()
    assert np.isfinite(made.values[20:]).all()
    np.testing.assert_array_equal(made.label_end_ns, np.column_stack([made.known_ns] * 2))


def test_a_market_that_stands_still_has_no_regime() -> None:
    assert np.isnan(regime_measures(make_bars([1000] * 100), span_ns=SPAN).values).all()
    with pytest.raises(ConfigError, match="two decision bars"):
        regime_measures(make_bars([1000] * 9), span_ns=MINUTE)


# --- the division -----------------------------------------------------------------------------------------------------


def test_each_corner_has_its_regime() -> None:
    """Calm, usual and wild by falling, flat and rising, in the order of the names."""
    corners = np.array([[mood, trend] for mood in (-1.0, 0.0, 1.0) for trend in (-2.0, 0.0, 2.0)])
    division = Regimes(classes=9, span_ns=SPAN, volatility=(-0.5, 0.5), trend=1.0)
    nine = division.of(corners).argmax(axis=1)
    assert [kinds_of(9)[at] for at in nine] == list(kinds_of(9))
    seven = msgspec.structs.replace(division, classes=7).of(corners).argmax(axis=1)
    assert seven.tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6]
    assert kinds_of(7)[5] == "wild, flat"
    assert (
        msgspec.structs.replace(division, classes=3).of(corners).argmax(axis=1).tolist() == [0] * 3 + [1] * 3 + [2] * 3
    )


@pytest.mark.parametrize("classes", [3, 7, 9])
def test_no_regime_is_rare_in_training_and_what_is_unknown_is_none(classes: int) -> None:
    measures = regime_measures(random_walk(4_000, seed=1), span_ns=SPAN).values
    division = fit_regimes(measures, classes=classes, span_ns=SPAN)
    made = division.of(measures)
    assert np.isnan(made[:20]).all()
    share = made[20:].mean(axis=0)
    assert share.sum() == pytest.approx(1)
    assert share.min() > 0.3 / classes
    assert set(np.unique(made[20:])) == {0.0, 1.0}


def test_divisions_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"divided into 3 .* 7 .* or 9"):
        Syllabus([HeadConfig(kind="regime", classes=4)], decision_ns=MINUTE)
    with pytest.raises(DataError, match="train on a longer stretch"):
        fit_regimes(np.full((500, 2), np.nan), classes=3, span_ns=SPAN)
    with pytest.raises(DataError, match="never changes"):
        fit_regimes(np.zeros((500, 2)), classes=3, span_ns=SPAN)
    with pytest.raises(ConfigError, match="a correlation is between assets"):
        Syllabus([HeadConfig(kind="correlation")], decision_ns=MINUTE)


# --- drawdowns --------------------------------------------------------------------------------------------------------


def test_a_drawdown_falls_from_the_highest_close_so_far_to_a_later_low() -> None:
    """P0 counts as a peak, the decision bar's own low does not, and highs are no peaks."""
    bars = make_bars([100, 120, 90, 110], highs=[100, 130, 125, 111], lows=[50, 95, 80, 105])
    made = drawdown_after(bars, bars, horizons_ns=[MINUTE, 3 * MINUTE], hole_max_ns=FOREVER)
    assert made.names == ("drawdown_1m", "drawdown_3m")
    np.testing.assert_allclose(made.values[0], [math.log(100 / 95), math.log(120 / 80)])
    assert np.isnan(made.values[1, 1])
    rising = make_bars(range(100, 200), lows=range(100, 200))
    assert not drawdown_after(rising, rising, horizons_ns=[9 * MINUTE], hole_max_ns=0).values[:-9].any()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99))
def test_drawdowns_are_those_of_a_plain_loop(seed: int) -> None:
    bars = random_walk(80, seed=seed)
    made = drawdown_after(bars, bars, horizons_ns=[10 * MINUTE], hole_max_ns=0).values[:, 0]
    for at in range(70):
        path = bars.close_ticks[at : at + 11]
        falls = [path[: k + 1].max() / bars.low_ticks[at + k + 1] for k in range(10)]
        assert made[at] == pytest.approx(max(0.0, math.log(max(falls))))
    assert np.isnan(made[70:]).all()
    loss = -returns_after(bars, bars, horizons_ns=[10 * MINUTE], hole_max_ns=0).values[:70, 0]
    assert (made[:70] >= loss - 1e-12).all()


# --- taught -----------------------------------------------------------------------------------------------------------


def _samples() -> SampleSet:
    bars = random_walk(2_000, seed=2, scale_ns=5 * MINUTE)
    common = {"horizons_ns": [5 * MINUTE, 15 * MINUTE], "hole_max_ns": 0}
    labels = join_labels(
        [
            *(make(bars, bars, **common) for make in (returns_after, volatility_after, drawdown_after)),  # type: ignore[arg-type]
            regime_measures(bars, span_ns=HOUR),
        ]
    )
    steps = np.diff(np.log(bars.close_ticks), prepend=0.0) * 1000
    return build_samples([Source(features={"5m": features_of(bars, "5m", [steps])}, labels=labels)], lengths={"5m": 4})


def _unit(scale: float) -> TargetUnit:
    horizons_ns = (5 * MINUTE, 15 * MINUTE)
    return TargetUnit(kind="fixed", horizons_ns=horizons_ns, scale=(scale, 2 * scale), bar_ns=5 * MINUTE, columns=())


def test_columns_become_regimes_and_drawdowns_in_units() -> None:
    samples = _samples()
    syllabus = Syllabus(HEADS, decision_ns=5 * MINUTE)
    division = fit_regimes(syllabus.measures_of(samples)[:1000], classes=7, span_ns=HOUR)
    taught = syllabus.taught(samples, _unit(0.001), division)
    assert taught.target_names[-7:] == tuple(f"regime_{n}" for n in range(7))
    assert not any(name.startswith(("regime_t", "regime_v")) for name in taught.target_names)
    falls = [taught.target_names.index(f"drawdown_{span}") for span in ("5m", "15m")]
    np.testing.assert_allclose(taught.targets[:, falls] * [0.001, 0.002], samples.targets[:, falls])
    np.testing.assert_array_equal(taught.targets[:, -7:].sum(axis=1), 1)


def test_thresholds_know_the_training_stretch_alone() -> None:
    """What is measured elsewhere may be anything."""
    samples = _samples()
    syllabus = Syllabus(HEADS, decision_ns=5 * MINUTE)
    measures = syllabus.measures_of(samples)
    rows = np.arange(1000)
    elsewhere: F64 = measures.copy()
    elsewhere[1000:] *= 50
    one, two = (fit_regimes(each[rows], classes=7, span_ns=HOUR) for each in (measures, elsewhere))
    assert one == two


def test_a_teacher_hands_each_head_its_own() -> None:
    """The loss is the smallest where a network says what the labels are."""
    samples = _samples()
    syllabus = Syllabus(HEADS, decision_ns=5 * MINUTE)
    division = fit_regimes(syllabus.measures_of(samples), classes=7, span_ns=HOUR)
    taught = syllabus.taught(samples, _unit(0.001), division)
    teacher = Teacher(HEADS, syllabus, taught.target_names)
    targets = torch.from_numpy(taught.targets[None, :64])
    fall = targets[..., [taught.target_names.index(f"drawdown_{span}") for span in ("5m", "15m")]]
    right = ModelOutput(regime_logit=20 * targets[..., -7:], drawdown=fall[..., None].expand(*fall.shape, 2))
    wrong = ModelOutput(
        regime_logit=20 * targets[..., -7:].roll(1, dims=-1), drawdown=fall[..., None].roll(1, 1).expand(*fall.shape, 2)
    )
    weights = torch.ones(1, 64)
    _, parts = teacher(right, targets, weights)
    _, worse = teacher(wrong, targets, weights)
    assert set(parts) == {"regime/class", "drawdown/5m", "drawdown/15m"}
    assert float(parts["drawdown/15m"]) == 0.0
    assert all(float(parts[name]) < float(worse[name]) for name in parts)


def test_heads_begin_at_what_training_saw() -> None:
    generator = np.random.default_rng(0)
    falls = generator.exponential(1.0, (5_000, 2)) * [1.0, 2.0]
    share = np.eye(7)[generator.choice(7, 5_000, p=[0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])]
    lessons = Lessons(
        returns_NH=falls * 0, log_volatility_NH=falls * 0, drawdown_NH=falls, regime_NC=share.astype(np.float64)
    )
    regime, drawdown = (build_head(head, 8) for head in HEADS)
    for each in (regime, drawdown):
        each.begin(lessons)
    x = torch.randn(3, 8)
    said = drawdown(x)["drawdown"][0].detach().double().numpy()
    np.testing.assert_allclose(said, np.quantile(falls, [0.5, 0.9], axis=0).T, rtol=1e-5)
    probabilities = torch.softmax(regime(x)["regime_logit"][0].detach(), dim=-1)
    np.testing.assert_allclose(probabilities, share.mean(axis=0), rtol=1e-5)
