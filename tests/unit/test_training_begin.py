"""Where training begins: at the baseline of volatility-scaled quantiles, and never kept at anything worse than that."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.errors import ConfigError
from bot.domain.market import F64
from models.config import HeadConfig, ModelConfig
from models.registry import build
from models.training.samples import SampleSet
from models.training.segments import Order
from models.training.session import Fold, Session
from models.training.splits import Split
from models.training.teaching import Syllabus, begin
from tests.support.tiny_training import FIVE, PLAN, Heard, make_samples, streaming_config, train_tiny, window_config

HORIZONS = ("5m", "15m")
HEADS = (
    HeadConfig(kind="quantile", horizons=HORIZONS),
    HeadConfig(kind="volatility", horizons=HORIZONS),
    HeadConfig(kind="direction", horizons=HORIZONS, weight=0.05),
)


def fold_of(config: ModelConfig, *, segment: int) -> Fold:
    """Return a fold whose unit differs from decision to decision."""
    samples = make_samples(config, segment=segment)
    rows = np.arange(len(samples))
    unit_NH: F64 = np.exp(np.random.default_rng(1).normal(-7, 0.5, (len(samples), 2)))
    late = samples.known_ns >= np.quantile(samples.known_ns, 0.66)
    nobody = rows[:0]
    return Fold(
        number=1,
        samples=samples,
        returns_NH=samples.targets[:, :2] * unit_NH,
        variance_NH=np.exp(2 * samples.targets[:, 2:4]) * unit_NH**2,
        unit_NH=unit_NH,
        split=Split(train=rows[~late], validation=nobody, test=rows[late], purged=nobody, embargoed=nobody),
    )


@pytest.mark.parametrize("config", [streaming_config(), window_config()], ids=["stretches", "windows"])
def test_an_untrained_network_is_the_baseline(config: ModelConfig) -> None:
    """Its quantiles are those of the training targets times the unit, its volatility a constant times the unit."""
    config = msgspec.structs.replace(config, heads=HEADS)
    syllabus = Syllabus(HEADS, decision_ns=FIVE)
    session = Session(config, syllabus, PLAN, fingerprint="")
    fold = fold_of(config, segment=session.segment)
    model = build(config).eval()
    begin(model, syllabus, fold.samples, fold.split.train)
    rows = fold.split.test
    said = session.forecasts("network", model, fold, rows, residual=None, threads=1)
    baseline = next(each for each in session.baselines(fold, rows) if each.model == "naive_by_volatility")
    np.testing.assert_allclose(said.quantiles_NHQ, baseline.quantiles_NHQ, rtol=1e-5, atol=1e-12)
    assert said.deviation_NH is not None
    order = np.lexsort((fold.samples.instrument[rows], fold.samples.close_ns[rows]))
    ratio = said.deviation_NH / fold.unit_NH[rows][order]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-5)
    np.testing.assert_allclose(said.up_NH, 0.5)


def test_the_base_is_of_the_training_rows_alone() -> None:
    """Targets of other rows may be anything: not a bit of what training begins with moves."""
    config = msgspec.structs.replace(window_config(), heads=HEADS)
    syllabus = Syllabus(HEADS, decision_ns=FIVE)
    samples = make_samples(config, segment=1)
    rows = np.arange(len(samples) // 2)

    def bases(of: SampleSet) -> list[torch.Tensor]:
        model = build(config)
        begin(model, syllabus, of, rows)
        return [value for name, value in model.state_dict().items() if "base" in name or "last" in name]

    targets = samples.targets.copy()
    targets[len(rows) :] = 1e3
    other = SampleSet(**{name: getattr(samples, name) for name in samples.__slots__} | {"targets": targets})
    first, second = bases(samples), bases(other)
    assert len(first) >= 8
    assert all(torch.equal(left, right) for left, right in zip(first, second, strict=True))


def test_training_that_only_harms_keeps_what_it_began_with(tmp_path: Path) -> None:
    """The first evaluation is of the beginning: ruinous steps leave it the best."""
    heard = Heard()
    plan = msgspec.structs.replace(PLAN, rate=0.5, epochs=1, mean_decay=0.0, warm_up=0.0)
    done = train_tiny(tmp_path, plan=plan, heard=heard)
    scores = [(step, values["validation"]) for step, values in heard.figures if "validation" in values]
    assert scores[0][0] == 0
    assert done.best_step == min(scores, key=lambda each: (each[1], each[0]))[0]
    assert done.best_score <= scores[0][1]


@settings(deadline=None, max_examples=25)
@given(thin=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_thinned_epochs_share_out_the_windows(thin: int, seed: int) -> None:
    """As many epochs as windows are thinned by count every decision once; validation always takes the same ones."""
    samples = SAMPLES
    rows = np.arange(3, len(samples))
    made = {"batch": 16, "segment": 1, "decision_ns": FIVE, "thin": thin}
    order = Order(samples, rows, seed=seed, **made)
    seen = np.concatenate([chosen.rows_BT[:, 0] for epoch in range(thin) for chosen in order.epoch(epoch)])
    np.testing.assert_array_equal(np.sort(seen), rows)
    fixed = Order(samples, rows, seed=None, **made)
    each = [np.concatenate([chosen.rows_BT[:, 0] for chosen in fixed.epoch(epoch)]) for epoch in (0, 1)]
    np.testing.assert_array_equal(each[0], rows[::thin])
    np.testing.assert_array_equal(each[0], each[1])


def test_stretches_are_not_thinned() -> None:
    with pytest.raises(ConfigError, match="thin is for systems that read windows"):
        Order(SAMPLES, np.arange(9), batch=2, segment=4, decision_ns=FIVE, seed=1, thin=2)


SAMPLES = make_samples(window_config(), segment=1)
