"""Losses beside closed forms, and what the objective leaves out, weighs and balances."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bot.domain.errors import ConfigError, DataError
from models import losses
from models.config import HeadConfig
from models.evaluation import scores
from models.losses import Objective, Targets, Trading, horizons_of, utility
from models.output import ModelOutput

LEVELS = (0.1, 0.5, 0.9)
H = ("5m", "1h")
QUANTILE = HeadConfig(kind="quantile", horizons=H, quantiles=LEVELS)
POINT = HeadConfig(kind="point", horizons=H, loss="squared")


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_pinball_is_that_of_the_evaluation() -> None:
    y, q = _draw(50, 1), _draw(50, 1, 3, seed=1)
    ours = losses.pinball(y, q, LEVELS)[:, 0].numpy()
    np.testing.assert_allclose(ours, scores.pinball(y[:, 0].numpy(), q[:, 0].numpy(), LEVELS).mean(axis=1), rtol=1e-12)


def test_likelihoods_are_those_of_torch() -> None:
    y, mean, log_var, dof = _draw(50), _draw(50, seed=1), _draw(50, seed=2), 2.5 + _draw(50, seed=3).abs()
    normal = torch.distributions.Normal(mean, torch.exp(log_var / 2))
    student = torch.distributions.StudentT(dof, mean, torch.exp(log_var / 2))
    torch.testing.assert_close(losses.gaussian_nll(y, mean, log_var), -normal.log_prob(y))
    torch.testing.assert_close(losses.student_nll(y, mean, log_var, dof), -student.log_prob(y))


def test_qlike_is_that_of_the_evaluation_and_zero_where_they_agree() -> None:
    log_realised, log_var = _draw(50), _draw(50, seed=1)
    theirs = scores.qlike(log_var.exp().numpy(), log_realised.exp().numpy())
    np.testing.assert_allclose(losses.qlike(log_realised, log_var).numpy(), theirs, rtol=1e-10)
    assert float(losses.qlike(log_var, log_var).abs().max()) == 0.0


def test_direction_leaves_out_what_went_nowhere() -> None:
    y = torch.tensor([0.02, -0.02, 0.0, 0.0005])
    each, counts = losses.direction(y, torch.zeros(4), 0.001)
    assert counts.tolist() == [True, True, False, False]
    torch.testing.assert_close(each[:2], torch.full((2,), math.log(2)))
    _, counts = losses.direction(y, torch.zeros(4))
    assert counts.tolist() == [True, True, False, True]  # zero is neither up nor down


def test_barrier_takes_sell_hold_buy_in_this_order() -> None:
    logit = torch.tensor([[5.0, 0.0, -5.0]])
    each = [float(losses.barrier(torch.tensor([side]), logit)) for side in (-1.0, 0.0, 1.0)]
    total = math.log(math.exp(5) + 1 + math.exp(-5))
    assert each == pytest.approx([total - 5, total, total + 5], rel=1e-5)


def test_utility_of_a_position_that_is_held_pays_once() -> None:
    """All in one asset, held: the entry costs, the drift of one's whole equity costs nothing."""
    weights = torch.ones(1, 3, 1, dtype=torch.float64)
    steps = torch.tensor([[[0.01], [-0.02], [0.03]]], dtype=torch.float64)
    trading = Trading(cost_rate=0.001, risk_aversion=0.0, unit=1.0)
    assert utility(weights, steps, trading)[0].tolist() == pytest.approx([0.009, -0.02, 0.03], abs=1e-15)
    held = torch.ones(1, 1, dtype=torch.float64)
    assert utility(weights, steps, trading, held)[0, 0].item() == pytest.approx(0.01)


def test_utility_charges_for_bringing_drifted_weights_back() -> None:
    """Half in an asset that doubles is two thirds: back to a half costs a sixth."""
    weights = torch.full((1, 2, 1), 0.5, dtype=torch.float64)
    steps = torch.tensor([[[1.0], [0.0]]], dtype=torch.float64)
    worth = utility(weights, steps, Trading(cost_rate=0.1, risk_aversion=0.0, unit=1.0))
    assert worth[0].tolist() == pytest.approx([0.5 - 0.05, -0.1 * (2 / 3 - 1 / 2)])


def test_utility_fears_risk_and_refuses_leverage() -> None:
    weights, steps = torch.tensor([[[3.0]]]), torch.tensor([[[0.1]]])
    worth = utility(weights, steps, Trading(cost_rate=0.0, risk_aversion=2.0, gross_max=1.0, unit=0.5))
    assert float(worth) == pytest.approx((0.3 - 0.09) / 0.5 - 4.0)


def _targets(returns: Tensor) -> Targets:
    return Targets(returns_XH=returns)


def _plain(objective: Objective, output: ModelOutput, targets: Targets, weights: Tensor | None = None) -> float:
    """Return the loss with all uncertainties at their start, where the balance changes nothing."""
    total, _ = objective.total(output, targets, weights)
    return float(total.detach())


def test_an_unknown_target_is_left_out_and_not_taken_for_zero() -> None:
    """The loss and every gradient are those of the batch without it, also where the forecast there is wild."""
    objective = Objective([POINT], horizons=H)
    mean, y = _draw(2, 5, 2), _draw(2, 5, 2, seed=1)
    y[0, 3, 0] = torch.nan
    mean[0, 3, 0] = 1e6
    mean.requires_grad_()
    total, parts = objective.total(ModelOutput(mean=mean), _targets(y))
    total.backward()
    error = (mean.detach() - y).square()
    assert float(parts["point/5m"]) == pytest.approx(float(error[..., 0][~y[..., 0].isnan()].mean()))
    assert float(parts["point/1h"]) == pytest.approx(float(error[..., 1].mean()))
    assert mean.grad is not None
    assert mean.grad[0, 3, 0] == 0.0
    assert torch.isfinite(mean.grad).all()
    assert int((mean.grad == 0).sum()) == 1


def test_a_horizon_without_any_target_gives_no_part_and_no_nan() -> None:
    objective = Objective([POINT, QUANTILE], horizons=H)
    y = _draw(1, 4, 2)
    y[..., 1] = torch.nan
    mean, quantiles = _draw(1, 4, 2, seed=1).requires_grad_(), _draw(1, 4, 2, 3, seed=2).requires_grad_()
    total, parts = objective.total(ModelOutput(mean=mean, quantiles=quantiles), _targets(y))
    total.backward()
    assert sorted(parts) == ["point/5m", "quantile/5m"]
    for gradient in (mean.grad, quantiles.grad, *(each.grad for each in objective.parameters())):
        assert gradient is not None
        assert torch.isfinite(gradient).all()


def test_nothing_known_at_all_is_an_error() -> None:
    objective = Objective([POINT], horizons=H)
    with pytest.raises(DataError, match="no target of this batch is known"):
        objective.total(ModelOutput(mean=_draw(1, 1, 2)), _targets(torch.full((1, 1, 2), torch.nan)))


def test_a_weight_counts_like_so_many_copies_and_its_unit_does_not_matter() -> None:
    objective = Objective([QUANTILE], horizons=H)
    q, y = _draw(1, 3, 2, 3), _draw(1, 3, 2, seed=1)
    thrice = [0, 1, 1, 1, 2]
    copies = _plain(objective, ModelOutput(quantiles=q[:, thrice]), _targets(y[:, thrice]))
    for unit in (1.0, 50.0):
        weights = unit * torch.tensor([[1.0, 3.0, 1.0]])
        assert _plain(objective, ModelOutput(quantiles=q), _targets(y), weights) == pytest.approx(copies)
    per_horizon = torch.ones(1, 3, 2)
    per_horizon[..., 1] = torch.tensor([0.0, 0.0, 7.0])
    _, parts = objective.total(ModelOutput(quantiles=q), _targets(y), per_horizon)
    alone = losses.pinball(y[:, 2:, 1], q[:, 2:, 1], LEVELS)
    assert float(parts["quantile/1h"]) == pytest.approx(float(alone))
    with pytest.raises(DataError, match="weight is negative"):
        objective.total(ModelOutput(quantiles=q), _targets(y), torch.tensor([[1.0, -1.0, 1.0]]))


def test_returns_are_learned_in_units_of_their_deviation_and_restored() -> None:
    """Scaling the returns of a horizon and its unit alike changes no loss; `restore` gives log returns."""
    q, y = _draw(1, 6, 2, 3), _draw(1, 6, 2, seed=1)
    unit = torch.tensor([0.001, 0.03], dtype=torch.float64)
    scaled = Objective([QUANTILE], horizons=H, scale_H=unit.tolist())
    plain = _plain(Objective([QUANTILE], horizons=H), ModelOutput(quantiles=q), _targets(y))
    assert _plain(scaled, ModelOutput(quantiles=q), _targets(y * unit)) == pytest.approx(plain, rel=1e-6)
    restored = scaled.restore(ModelOutput(quantiles=q)).quantiles
    assert restored is not None
    torch.testing.assert_close(restored, q * unit[:, None], rtol=1e-6, atol=0)


def test_restored_gaussians_have_the_same_likelihood_up_to_the_unit() -> None:
    head = HeadConfig(kind="gaussian", horizons=H)
    objective = Objective([head], horizons=H, scale_H=[0.5, 0.25])
    mean, log_var, y = _draw(9, 1, 2), _draw(9, 1, 2, seed=1), _draw(9, 1, 2, seed=2)
    restored = objective.restore(ModelOutput(mean=mean, log_var=log_var))
    assert restored.mean is not None
    assert restored.log_var is not None
    scale = torch.tensor([0.5, 0.25], dtype=torch.float64)
    there = losses.gaussian_nll(y, restored.mean, restored.log_var)
    torch.testing.assert_close(there, losses.gaussian_nll(y / scale, mean, log_var) + scale.log())


def test_uncertainty_settles_at_the_size_of_each_loss() -> None:
    """The balance is exp(-s) * loss + s, least at s = ln(loss): then every loss pulls by its relative size."""
    objective = Objective([POINT], horizons=H)
    y = torch.stack([torch.full((1, 8), 0.1), torch.full((1, 8), 3.0)], dim=-1)
    descent = torch.optim.SGD(objective.parameters(), lr=0.3)
    for _ in range(400):
        descent.zero_grad()
        total, _ = objective.total(ModelOutput(mean=torch.zeros(1, 8, 2)), _targets(y))
        total.backward()  # type: ignore[no-untyped-call]
        descent.step()
    assert objective.log_loss["0"].tolist() == pytest.approx([math.log(0.01), math.log(9.0)], abs=0.02)


def test_likelihoods_and_utilities_have_no_uncertainty_to_escape_into() -> None:
    heads = [HeadConfig(kind="student", horizons=H), HeadConfig(kind="allocation", horizons=H), QUANTILE]
    assert list(Objective(heads, horizons=H).log_loss) == ["2"]


def test_a_risk_head_learns_the_quantile_of_the_loss() -> None:
    head = HeadConfig(kind="risk", horizons=("1h",), quantiles=(0.9,))
    objective = Objective([head], horizons=("1h",))
    y = _draw(1, 4000, 1).float()
    value = torch.zeros(1, requires_grad=True)
    descent = torch.optim.Adam([value], lr=0.02)
    for _ in range(250):
        descent.zero_grad()
        total, _ = objective.total(ModelOutput(value_at_risk=value.expand(1, 4000, 1, 1)), _targets(y))
        total.backward()  # type: ignore[no-untyped-call]
        descent.step()
    assert value.item() == pytest.approx(float(torch.quantile(-y, 0.9)), abs=0.03)


def test_regimes_are_learned_by_their_probabilities_and_kept_from_collapse() -> None:
    head = HeadConfig(kind="regime", classes=2)
    told = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [torch.nan, torch.nan]]])
    logit = torch.zeros(1, 5, 2, requires_grad=True)
    plain = Objective([head], horizons=(), regime_balance=0.0)
    total, _ = plain.total(ModelOutput(regime_logit=logit), Targets(regime_XC=told))
    assert float(total.detach()) == pytest.approx(math.log(2))
    balanced = Objective([head], horizons=(), regime_balance=1.0)
    total, _ = balanced.total(ModelOutput(regime_logit=logit), Targets(regime_XC=told))
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(total.detach()) == pytest.approx(math.log(2) + divergence)
    total.backward()  # type: ignore[no-untyped-call]
    assert logit.grad is not None
    assert logit.grad[0, 4].tolist() == [0.0, 0.0]


def test_an_asset_whose_return_is_unknown_is_not_judged() -> None:
    head = HeadConfig(kind="allocation", horizons=("1h",))
    objective = Objective([head], horizons=(), trading=Trading(cost_rate=0.01, risk_aversion=0.0, unit=1.0))
    weights = torch.tensor([[[0.5, 0.5]]], requires_grad=True)
    steps = torch.tensor([[[0.1, torch.nan]]])
    total, _ = objective.total(ModelOutput(weights=weights), Targets(step_returns_BTA=steps))
    total.backward()  # type: ignore[no-untyped-call]
    assert float(total.detach()) == pytest.approx(-(0.05 - 0.005))
    assert weights.grad is not None
    assert weights.grad[0, 0].tolist() == pytest.approx([-0.09, 0.0])


def test_what_a_loss_needs_and_lacks_is_named() -> None:
    objective = Objective([QUANTILE], horizons=H)
    with pytest.raises(DataError, match="'quantile' needs returns_XH"):
        objective.total(ModelOutput(quantiles=_draw(1, 1, 2, 3)), Targets())
    with pytest.raises(DataError, match="'quantile' needs quantiles"):
        objective.total(ModelOutput(), _targets(_draw(1, 1, 2)))
    with pytest.raises(ConfigError, match="no target is of 1h"):
        Objective([QUANTILE], horizons=("5m",))
    with pytest.raises(ConfigError, match=r"loss = 'magic' of 'quantile': choose of pinball"):
        Objective([HeadConfig(kind="quantile", loss="magic")], horizons=("1h",))
    with pytest.raises(ConfigError, match="scale_H"):
        Objective([QUANTILE], horizons=H, scale_H=[1.0, 0.0])
    with pytest.raises(ConfigError, match="cost_rate"):
        replace(Trading(), cost_rate=math.nan)


def test_horizons_are_those_of_all_heads_in_order_of_time() -> None:
    heads = [HeadConfig(kind="point", horizons=("5m", "1d")), HeadConfig(kind="direction", horizons=("90m",))]
    assert horizons_of(heads) == ("5m", "90m", "1d")
