"""The attention layer around the kernels: placement, hooks, shared heads, and rows of weights on demand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bot.domain.errors import ConfigError
from models.attention.hooks import register_hook
from models.attention.masks import Padding
from models.attention.module import Attention, own_keys, padded_width, rotate
from models.attention.rows import attention_rows
from models.attention.select import select
from models.attention.site import Placement, Site
from models.attention.spec import AttnContext, AttnSpec, detect
from models.config import AttnConfig
from models.position import rotation_of
from tests.support.attention_reference import attend_slowly, band

CPU = detect(torch.device("cpu"))


def layer(seed: int = 0, *, features: int = 0, terms: int = 0, **fields: Any) -> Attention:
    torch.manual_seed(seed)
    made = Attention(AttnConfig(**{"heads": 4, "d": 6} | fields), width=24, features=features, terms=terms)
    return made.double().eval()


def tokens(rows: int = 2, length: int = 11) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((rows, length, 24)))


def test_the_layer_is_its_definition() -> None:
    """Project, compare, gather, project back: with shared heads and a window, by hand."""
    made, x = layer(kv_heads=2, window=4), tokens()
    qkv = (x @ made.qkv.weight.T).detach().numpy().reshape(2, 11, 8, 6)
    q, k, v = qkv[:, :, :4], qkv[:, :, 4:6], qkv[:, :, 6:]
    out, _ = attend_slowly(q, k, v, scale=1 / math.sqrt(6), sees=band(11, 11, causal=True, window=4))
    expected = out.reshape(2, 11, 24) @ made.out.weight.detach().numpy().T
    np.testing.assert_allclose(made(x, Site()).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_turning_is_by_angle() -> None:
    """Each pair of columns (k, k + d / 2) is a point of a plane, turned by its angle."""
    angles = torch.tensor([[[0.3, 1.1, -2.0]]], dtype=torch.float64)
    x = torch.arange(6, dtype=torch.float64).view(1, 1, 1, 6)
    made = rotate(x, rotation_of(angles, torch.float64)).flatten()
    for plane, angle in enumerate((0.3, 1.1, -2.0)):
        point = complex(plane, plane + 3) * complex(math.cos(angle), math.sin(angle))
        assert made[plane].item() == pytest.approx(point.real, abs=1e-12)
        assert made[plane + 3].item() == pytest.approx(point.imag, abs=1e-12)


def test_terms_add_to_scores() -> None:
    """Columns of a placement add their product to the score, unscaled, in every head."""
    made, x = layer(terms=2), tokens()
    rng = np.random.default_rng(5)
    q_terms, k_terms = rng.standard_normal((2, 11, 4, 2)), rng.standard_normal((2, 11, 1, 2))
    site = Site(placement=Placement(q_terms_BLHE=torch.from_numpy(q_terms), k_terms_BL1E=torch.from_numpy(k_terms)))
    q, k, v = made.project(x, Site(placement=Placement()))
    plain = [each.detach().numpy()[..., :6] for each in (q, k, v)]
    # The same, as columns of the definition's own.
    wide_q = np.concatenate([plain[0], q_terms * math.sqrt(6)], axis=-1)
    wide_k = np.concatenate([plain[1], np.repeat(k_terms, 4, axis=2)], axis=-1)
    out, _ = attend_slowly(wide_q, wide_k, plain[2], scale=1 / math.sqrt(6), sees=band(11, 11, causal=True))
    expected = out.reshape(2, 11, 24) @ made.out.weight.detach().numpy().T
    np.testing.assert_allclose(made(x, site).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_widths_are_what_kernels_want() -> None:
    assert [padded_width(64, terms) for terms in (0, 1, 4, 8, 9)] == [64, 72, 72, 72, 80]


def test_hooks_begin_as_nothing() -> None:
    """A shift and a bias of zero weights change no output, and learn; the gate begins nearly open."""
    plain, hooked = layer(), layer(features=3, pre="state", bias="key")
    hooked.load_state_dict(plain.state_dict(), strict=False)
    x, features = tokens(), torch.randn(2, 11, 3, dtype=torch.float64)
    site = Site(features_BLF=features)
    torch.testing.assert_close(hooked(x, site), plain(x, Site()), rtol=0, atol=1e-12)
    hooked(x, site).sum().backward()
    for hook in (hooked.pre, hooked.bias):
        assert hook is not None
        weight = hook.get_parameter("project.weight")
        assert weight.grad is not None
        assert bool(weight.grad.any())
    gated = layer(features=3, gate="output")
    gated.load_state_dict(plain.state_dict(), strict=False)
    assert not torch.equal(gated(x, site), plain(x, Site()))


def test_a_key_bias_draws_attention() -> None:
    """A large bias of one key makes every later query see that key alone, in every head."""
    made = layer(features=1, bias="key")
    assert made.bias is not None
    with torch.no_grad():
        made.bias.get_parameter("project.weight").fill_(60.0)
    features = torch.zeros(2, 11, 1, dtype=torch.float64)
    features[:, 4] = 1
    site = Site(features_BLF=features)
    q, k, v = made.project(tokens(), site)
    keys = own_keys(k, v, site)
    with torch.no_grad():
        rows = attention_rows(q, k, made.spec(q, keys, site.placement), made.context(keys, site), (3, 5, 10))
    assert float(rows[:, :, 0, 4].max()) == 0  # not yet
    assert float(rows[:, :, 1:, 4].min()) > 1 - 1e-12


def test_a_new_hook_is_one_registration() -> None:
    class Half(nn.Module):
        def __init__(self, width: int, features: int, kv_heads: int) -> None:
            super().__init__()

        def forward(self, out_BLD: Tensor) -> Tensor:
            return out_BLD / 2

    name = "half-for-a-test"
    register_hook("gate", name, Half)
    with pytest.raises(ValueError, match="that is taken"):
        register_hook("gate", name, Half)
    plain, halved = layer(), layer(gate=name)
    halved.load_state_dict(plain.state_dict())
    torch.testing.assert_close(halved(tokens(), Site()), plain(tokens(), Site()) / 2, rtol=0, atol=1e-12)


def test_an_unknown_hook_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"AttnConfig.gate = 'wide': there is no such hook; choose none,.* output"):
        layer(gate="wide")
    with pytest.raises(ValueError, match="reads the tokens' features"):
        layer(features=3, pre="state")(tokens(), Site())


@pytest.mark.parametrize("window", [None, 4])
def test_rows_are_softmax(window: int | None) -> None:
    """Weights on demand are those of the definition, with the logarithms of the kernel's sums or without."""
    spec = AttnSpec(heads=4, kv_heads=2, d=6, causal=True, window=window, bias="alibi", dtype=torch.float64)
    rng = np.random.default_rng(2)
    q, k, v = (torch.from_numpy(rng.standard_normal((2, 9, heads, 6))) for heads in (4, 2, 2))
    slopes = [0.5, 0.1, 0.2, 0.05]
    ctx = AttnContext(scale=0.4, slopes_H=torch.tensor(slopes, dtype=torch.float64))
    _, expected = attend_slowly(
        q.numpy(), k.numpy(), v.numpy(), scale=0.4, sees=band(9, 9, causal=True, window=window), slopes=slopes
    )
    _, lse = select(spec, CPU, "reference").backend.run(q, k, v, spec, ctx)
    for known in (None, lse):
        rows = attention_rows(q, k, spec, ctx, (-1, 0, 5), known)
        np.testing.assert_allclose(rows.numpy(), expected[:, :, [8, 0, 5]], rtol=0, atol=1e-12)
    with pytest.raises(IndexError, match=r"rows \[9\] of 9 queries"):
        attention_rows(q, k, spec, ctx, (9,))


def test_rows_of_pairs() -> None:
    """Each row keeps its own mask."""
    spec = AttnSpec(heads=1, kv_heads=1, d=6, mask="pairs", square=False, dtype=torch.float64)
    q, k = torch.randn(1, 3, 1, 6, dtype=torch.float64), torch.randn(1, 2, 1, 6, dtype=torch.float64)
    visible = torch.tensor([[[True, False], [True, True], [False, True]]])
    rows = attention_rows(q, k, spec, AttnContext(scale=1.0, visible_BLM=visible), (2, 0))
    assert rows[0, 0].tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_poisoned_padding_reaches_nothing() -> None:
    made, x = layer(), tokens()
    valid = torch.ones(2, 11, dtype=torch.bool)
    valid[0, 8:] = False
    site = Site(padding=Padding(valid))
    clean = made(x, site)
    poisoned = made(torch.where(valid[..., None], x, torch.nan), site)
    assert torch.equal(clean[valid], poisoned[valid])


def test_a_copy_decides_for_itself() -> None:
    """What a layer remembers of kernels is no weight and follows the mode it is in."""
    made = layer(dropout=0.5)
    x = tokens()
    first = made(x, Site())
    assert torch.equal(first, made(x, Site()))
    made.train()
    torch.manual_seed(0)
    assert not torch.equal(made(x, Site()), first)
    assert set(made.state_dict()) == {"qkv.weight", "out.weight"}
    assert replace(made.spec(*_asked(made, x)), dropout=0.0) == layer().spec(*_asked(made, x))


def _asked(made: Attention, x: Tensor) -> tuple[Any, ...]:
    q, k, v = made.project(x, Site())
    return q, own_keys(k, v, Site()), Placement()
