"""Heads: what they promise whatever their weights, and that nothing is answered which was not asked."""

import dataclasses
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bot.domain.errors import ConfigError
from models.config import HeadConfig
from models.heads import Head, Heads, Lessons, build_head, register_head
from models.losses import qlike
from models.output import ModelOutput
from tests.support.examples import examples

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def head(kind: str, *, width: int = 8, scale: float = 1.0, **fields: Any) -> Head:
    torch.manual_seed(0)
    made = build_head(HeadConfig(kind=kind, **{"horizons": ("5m", "1h")} | fields), width)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(scale)
    return made


@settings(deadline=None, max_examples=examples(60))
@given(scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]), seed=st.integers(0, 2**16), half=st.booleans())
def test_quantiles_never_cross(scale: float, seed: int, half: bool) -> None:
    """Whatever the weights and the input, also in bfloat16, a higher level is no lower quantile."""
    made = head("quantile", scale=scale, quantiles=LEVELS)
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(seed)) * 10
    if half:
        made, x = made.to(torch.bfloat16), x.to(torch.bfloat16)
    quantiles = made(x)["quantiles"]
    assert quantiles.shape == (16, 2, 7)
    assert bool((quantiles.diff(dim=-1) >= 0).all())


def lessons(rows: int = 4000, *, seed: int = 5) -> Lessons:
    """Return targets with a skew, fat tails and another size for each of two horizons."""
    generator = np.random.default_rng(seed)
    z = generator.standard_t(4, (rows, 2)) + 0.3 * generator.exponential(1, (rows, 2))
    signal = generator.choice([-1.0, 0.0, 1.0], size=(rows, 2), p=[0.2, 0.7, 0.1])
    return Lessons(
        returns_NH=z * [1.0, 2.0],
        log_volatility_NH=generator.normal([0.1, 0.6], 0.5, (rows, 2)),
        signal_NH=signal,
    )


def test_quantiles_begin_as_those_of_the_training_targets() -> None:
    """Whatever the input, a head that has learned nothing says what the targets were: skew, tails and all."""
    made, told = head("quantile", quantiles=LEVELS), lessons()
    made.begin(told)
    found = made(torch.randn(7, 8) * 5)["quantiles"].detach().double().numpy()
    expected = np.quantile(told.returns_NH, LEVELS, axis=0).T
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-5, atol=1e-6)


def test_a_head_without_targets_begins_as_a_normal() -> None:
    made = head("quantile", quantiles=LEVELS, scale=0.0)
    found = made(torch.randn(1, 8))["quantiles"][0, 1]
    expected = torch.tensor([NormalDist().inv_cdf(level) for level in LEVELS])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_heads_begin_neutral() -> None:
    """No side is taken before anything is learned, and every spread is that of the targets."""
    told, x = lessons(), torch.randn(5, 8)
    answers: dict[str, Tensor] = {}
    for kind in ("gaussian", "volatility", "direction", "signal3", "risk"):
        made = head(kind, quantiles=(0.9, 0.99))
        made.begin(told)
        answers |= made(x)
    assert not answers["mean"].any()
    assert not answers["dir_logit"].any()
    np.testing.assert_allclose(answers["log_var"][0].detach().exp(), (told.returns_NH**2).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(torch.softmax(answers["signal_logit"][0, 0], -1).detach(), [0.2, 0.7, 0.1], atol=0.03)
    expected = np.quantile(-told.returns_NH, (0.9, 0.99), axis=0).T
    np.testing.assert_allclose(answers["value_at_risk"][0].detach(), expected, rtol=1e-5)
    exposure = head("allocation", side="signed")
    exposure.begin(told)
    assert not exposure(torch.randn(5, 3, 8))["weights"].any()


def test_the_base_of_volatility_is_the_best_constant_by_qlike() -> None:
    made, told = head("volatility"), lessons()
    made.begin(told)
    base = made(torch.randn(1, 8))["log_volatility"][0].detach().double()
    realised = torch.from_numpy(2 * told.log_volatility_NH)
    least = qlike(realised, 2 * base).mean(dim=0)
    for off in (-0.05, 0.05):
        assert bool((qlike(realised, 2 * (base + off)).mean(dim=0) > least).all())


def test_a_correction_of_one_level_leaves_the_others_in_order() -> None:
    """Steps may shrink to next to nothing, never below; the median alone moves everything."""
    made, told = head("quantile", quantiles=LEVELS), lessons()
    made.begin(told)
    with torch.no_grad():
        made.last.bias.copy_(torch.linspace(-40, 40, len(made.last.bias)))
    found = made(torch.zeros(1, 8))["quantiles"]
    assert bool((found.diff(dim=-1) > 0).all())
    assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("levels", [(0.5,), (0.5, 0.9), (0.1, 0.5)])
def test_few_levels(levels: tuple[float, ...]) -> None:
    """The median may stand alone or at an end."""
    assert head("quantile", quantiles=levels)(torch.randn(3, 8))["quantiles"].shape == (3, 2, len(levels))


def test_quantiles_need_the_median() -> None:
    with pytest.raises(ConfigError, match=r"\[0.1, 0.9\]: the head starts from the median; add 0.5"):
        head("quantile", quantiles=(0.1, 0.9))


def test_risk_is_never_negative_and_never_falls_with_the_level() -> None:
    made = head("risk", scale=20.0, quantiles=(0.9, 0.95, 0.99))(torch.randn(50, 8))["value_at_risk"]
    assert made.shape == (50, 2, 3)
    assert bool((made >= 0).all())
    assert bool((made.diff(dim=-1) >= 0).all())


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
def test_long_only_weights(scale: float) -> None:
    """None is negative and together they are less than the limit: the rest is cash."""
    weights = head("allocation", scale=scale, gross=0.8)(torch.randn(20, 5, 8))["weights"]
    assert weights.shape == (20, 5)
    assert bool((weights >= 0).all())
    assert bool((weights.sum(-1) <= 0.8 + 1e-6).all())


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e3])
def test_signed_weights(scale: float) -> None:
    """The absolute weights keep to the limit, and are left alone below it."""
    made = head("allocation", scale=scale, gross=1.5, side="signed")
    x = torch.randn(20, 5, 8)
    weights = made(x)["weights"]
    assert bool((weights.abs().sum(-1) <= 1.5 + 1e-5).all())
    if scale == 1e-3:
        torch.testing.assert_close(weights, made.raw(x)[..., 0])


def test_spreads_stay_finite() -> None:
    """Variances and degrees of freedom stay where a likelihood is a number."""
    for kind in ("gaussian", "student"):
        with torch.no_grad():
            answers = head(kind, scale=1e6)(torch.randn(9, 8) * 100)
        assert -16 <= float(answers["log_var"].min()) <= float(answers["log_var"].max()) <= 8
        if kind == "student":
            assert float(answers["dof"].min()) > 2


SHAPES: list[tuple[str, dict[str, tuple[int, ...]]]] = [
    ("point", {"mean": (2,)}),
    ("gaussian", {"mean": (2,), "log_var": (2,)}),
    ("student", {"mean": (2,), "log_var": (2,), "dof": (2,)}),
    ("quantile", {"quantiles": (2, 5)}),
    ("volatility", {"log_volatility": (2,)}),
    ("direction", {"dir_logit": (2,)}),
    ("signal3", {"signal_logit": (2, 3)}),
    ("regime", {"regime_logit": (3,)}),
    ("risk", {"value_at_risk": (2, 5)}),
    ("drawdown", {"drawdown": (2, 5)}),
]


@pytest.mark.parametrize(("kind", "shapes"), SHAPES)
def test_shapes(kind: str, shapes: dict[str, tuple[int, ...]]) -> None:
    """One head serves a window and a pass over history, and answers in float32 at least."""
    made = head(kind, hidden=(16, 4)).to(torch.bfloat16)
    for front in ((3,), (3, 7)):
        answers = made(torch.randn(*front, 8, dtype=torch.bfloat16))
        assert {name: tuple(value.shape) for name, value in answers.items()} == {
            name: (*front, *back) for name, back in shapes.items()
        }
        assert {value.dtype for value in answers.values()} == {torch.float32}
    assert set(answers) == set(made.answers) <= {field.name for field in dataclasses.fields(ModelOutput)}


def test_what_was_not_asked_is_absent() -> None:
    torch.manual_seed(0)
    heads = Heads([HeadConfig(kind="quantile"), HeadConfig(kind="direction")], 8)
    gates = torch.full((3, 4), 0.25)
    output = heads(torch.randn(3, 8), importance=gates)
    assert set(output.asked()) == {"quantiles", "dir_logit", "importance"}
    assert output.mean is None
    assert output.weights is None
    assert output.aux == {}
    with pytest.raises(dataclasses.FrozenInstanceError):
        output.mean = gates  # type: ignore[misc]


def test_two_answers_to_one_question_are_refused() -> None:
    with pytest.raises(ConfigError, match="'point' and 'gaussian' both give mean"):
        Heads([HeadConfig(kind="point"), HeadConfig(kind="gaussian")], 8)
    with pytest.raises(ConfigError, match=r"there is no 'oracle'; choose of allocation, .*direction, drawdown"):
        build_head(HeadConfig(kind="oracle"), 8)


def test_a_new_kind_is_one_registration() -> None:
    class Flip(Head):
        answers = ("mean",)

        def __init__(self, cfg: HeadConfig, width: int) -> None:
            super().__init__(cfg, width, len(cfg.horizons))

        def forward(self, h_XD: Tensor) -> dict[str, Tensor]:
            return {"mean": -self.raw(h_XD)}

    register_head("flip-for-a-test", Flip)
    x = torch.randn(3, 8)
    torch.testing.assert_close(head("flip-for-a-test")(x)["mean"], -head("point")(x)["mean"])
    with pytest.raises(ValueError, match="two kinds of head"):
        register_head("flip-for-a-test", Flip)
