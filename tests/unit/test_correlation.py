"""Correlations: matrices whatever the weights, the likelihood that trains them, and that they are learned."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bot.domain.errors import ConfigError
from models.config import HeadConfig
from models.correlation import among, correlation_nll
from models.heads import Head, Lessons, build_head
from models.losses import Objective, Targets
from models.output import ModelOutput
from models.presets import preset
from models.registry import build
from tests.support.examples import examples

HEAD = HeadConfig(kind="correlation", horizons=("5m", "1h"), factors=2)
NOTHING = torch.zeros(1, 2, dtype=torch.float64).numpy()


def _head(scale: float = 1.0, seed: int = 0) -> Head:
    torch.manual_seed(seed)
    made = build_head(HEAD, 8).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(scale)
    return made


@settings(max_examples=examples(40), deadline=None)
@given(scale=st.sampled_from([0.0, 1.0, 1e3, 1e6]), seed=st.integers(0, 2**16), assets=st.integers(1, 9))
def test_it_is_a_correlation_whatever_the_weights(scale: float, seed: int, assets: int) -> None:
    """Symmetric, ones on the diagonal, no eigenvalue below a hundredth."""
    x = torch.randn(3, assets, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 10
    made = _head(scale, seed)(x)["correlation"].detach()
    assert made.shape == (3, 2, assets, assets)
    torch.testing.assert_close(made, made.transpose(-1, -2))
    torch.testing.assert_close(made.diagonal(dim1=-2, dim2=-1), torch.ones(3, 2, assets, dtype=torch.float64))
    assert float(torch.linalg.eigvalsh(made).min()) > 0.01 - 1e-9


def test_it_begins_with_one_common_factor_and_can_leave_it() -> None:
    """All assets alike at about a half; no gradient is zero, which at a matrix of no correlation all would be."""
    made = _head()
    made.begin(Lessons(returns_NH=NOTHING, log_volatility_NH=NOTHING))
    x = torch.randn(5, 4, 8, dtype=torch.float64)
    correlation = made(x)["correlation"]
    off = correlation[:, 0][:, ~torch.eye(4, dtype=torch.bool)]
    assert 0.4 < float(off.detach().min()) < float(off.detach().max()) < 0.55
    each, _ = correlation_nll(torch.randn(5, 4, 2, dtype=torch.float64), correlation)
    each.mean().backward()
    assert made.last.weight.grad is not None
    assert bool((made.last.weight.grad != 0).all())


def test_the_likelihood_is_that_of_torch_and_leaves_out_what_is_not_known() -> None:
    correlation = _head()(torch.randn(6, 4, 8, dtype=torch.float64))["correlation"].detach()
    z = torch.randn(6, 4, 2, dtype=torch.float64).clamp(-2.9, 2.9)
    each, counts = correlation_nll(z, correlation)
    for h in range(2):
        joint = torch.distributions.MultivariateNormal(torch.zeros(4, dtype=torch.float64), correlation[:, h])
        alone = torch.distributions.Normal(0.0, 1.0).log_prob(z[..., h]).sum(dim=-1)
        torch.testing.assert_close(each[:, h], (alone - joint.log_prob(z[..., h])) / 4)
    assert bool(counts.all())
    z[:, 2] = torch.nan
    kept = [0, 1, 3]
    partly, _ = correlation_nll(z, correlation)
    torch.testing.assert_close(partly, correlation_nll(z[:, kept], correlation[..., kept, :][..., kept])[0])
    z[:, :3] = torch.nan
    assert not bool(correlation_nll(z, correlation)[1].any())


def test_an_absent_asset_correlates_with_nothing() -> None:
    correlation = _head()(torch.randn(6, 3, 8, dtype=torch.float64))["correlation"].detach()
    made = among(correlation, torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64))
    assert made[0, 0, 1].tolist() == [0.0, 1.0, 0.0]
    torch.testing.assert_close(made[..., 0, 2], correlation[..., 0, 2])


def _returns(rows: int, market: Tensor) -> Tensor:
    """Return [rows, 1, 3, 2]: the first two move together by 0.8, the third against both by `market` times 0.5."""
    draws = torch.Generator().manual_seed(1)
    common = torch.randn(rows, 1, 1, 2, generator=draws, dtype=torch.float64)
    own = torch.randn(rows, 1, 3, 2, generator=draws, dtype=torch.float64)
    load = torch.stack([torch.full_like(market, 0.8**0.5), torch.full_like(market, 0.8**0.5), -0.5 * market], dim=-1)
    load = load[:, None, :, None]
    return load * common + (1 - load.square()).sqrt() * own


def test_it_learns_what_moves_together_and_when() -> None:
    """From returns alone: 0.8, and a third asset that moves against them in one state of the market only."""
    rows = 600
    state = (torch.rand(rows, generator=torch.Generator().manual_seed(2), dtype=torch.float64) > 0.5).double()
    x = torch.zeros(rows, 1, 3, 8, dtype=torch.float64)
    x[..., torch.arange(3), torch.arange(3)] = 1.0
    x[..., 3:6] = x[..., :3] * state[:, None, None, None]
    made = _head()
    made.begin(Lessons(returns_NH=NOTHING, log_volatility_NH=NOTHING))
    objective = Objective([HEAD], horizons=HEAD.horizons).double()
    assert not list(objective.parameters())  # a likelihood: no uncertainty weighs it
    targets = Targets(returns_XH=_returns(rows, state))
    optimizer = torch.optim.Adam(made.parameters(), lr=0.1)
    losses = []
    for _ in range(60):
        loss, parts = objective.total(ModelOutput(correlation=made(x)["correlation"]), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert set(parts) == {"correlation/5m", "correlation/1h"}
    assert losses[-1] < losses[0] - 0.05
    said = made(x)["correlation"].detach()[:, 0]
    on = state > 0.5
    assert float(said[:, 0, 0, 1].mean()) == pytest.approx(0.8, abs=0.06)
    assert float(said[on][:, 0, 0, 2].mean()) == pytest.approx(-(0.8**0.5) / 2, abs=0.1)
    assert float(said[~on][:, 0, 0, 2].mean()) == pytest.approx(0.0, abs=0.1)


def test_only_what_reads_assets_may_be_asked() -> None:
    config = preset("risk-assessor", {"1h": ("a", "b")})
    with pytest.raises(ConfigError, match="cannot answer 'correlation': its rows are one asset each"):
        build(type(config)(system=config.system, scales=config.scales, heads=(HeadConfig(kind="correlation"),)))
