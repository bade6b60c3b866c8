"""Who sees whom, said to every library in its own words.

The wrong sense of a mask does not crash: it attends to the padding alone, or to nothing, and the model still trains.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bot.domain.errors import DataError
from models.attention.masks import (
    Padding,
    band_mask,
    even_offsets,
    need_keys,
    stands,
    to_cu_seqlens,
    to_cute_window,
    to_flash_window,
    to_flex,
    to_mha,
    to_sdpa,
    visible_mask,
)
from models.attention.spec import AttnContext, AttnSpec
from tests.support.attention_reference import attend_slowly

CPU = torch.device("cpu")
VALID = torch.tensor([[True, True, True, False, False], [True] * 5])


def spec(**fields: object) -> AttnSpec:
    return AttnSpec(**{"heads": 2, "kv_heads": 2, "d": 4, "dtype": torch.float64} | fields)  # type: ignore[arg-type]


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    return tuple(torch.from_numpy(rng.standard_normal((2, 5, 2, 4))) for _ in range(3))  # type: ignore[return-value]


def expected() -> np.ndarray:
    q, k, v = (each.numpy() for each in tensors())
    return attend_slowly(q, k, v, scale=0.5, sees=lambda b, i, j: bool(VALID[b, j]) or i == j)[0]


def test_sdpa_means_attend() -> None:
    """`scaled_dot_product_attention` attends where its mask is True."""
    allowed = visible_mask(spec(mask="keys"), AttnContext(scale=0.5, valid_BM=VALID), stands(5, 5, CPU), 5)
    q, k, v = (each.transpose(1, 2) for each in tensors())
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=to_sdpa(allowed, None), scale=0.5)
    np.testing.assert_allclose(out.transpose(1, 2).numpy(), expected(), rtol=0, atol=1e-12)


def test_sdpa_as_a_bias() -> None:
    """Added to the scores, the mask says the same."""
    allowed = visible_mask(spec(mask="keys"), AttnContext(scale=0.5, valid_BM=VALID), stands(5, 5, CPU), 5)
    q, k, v = (each.transpose(1, 2) for each in tensors())
    bias = to_sdpa(allowed, torch.zeros(5, 5, dtype=torch.float64))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=0.5)
    np.testing.assert_allclose(out.transpose(1, 2).numpy(), expected(), rtol=0, atol=1e-12)


def test_mha_means_ignore() -> None:
    """`nn.MultiheadAttention` ignores a key where `key_padding_mask` is True: the opposite of the other."""
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64).eval()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    poisoned = torch.where(VALID[..., None], x, 1e6)
    with torch.no_grad():
        clean, _ = layer(x, x, x, key_padding_mask=to_mha(VALID), need_weights=False)
        other, _ = layer(poisoned, poisoned, poisoned, key_padding_mask=to_mha(VALID), need_weights=False)
    torch.testing.assert_close(other[VALID], clean[VALID], rtol=0, atol=1e-12)


def test_an_inverted_mask_is_not_attention() -> None:
    """Told True where it should ignore, a full window becomes zeros, and a padded one attends to the padding alone."""
    q, k, v = (each.transpose(1, 2) for each in tensors())
    inverted = to_mha(VALID)[:, None, None, :]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=inverted, scale=0.5)
    assert not out[1].any()  # row 1 has no padding: nothing is left to attend to, and no error says so
    only_padding = F.scaled_dot_product_attention(q[:1], k[:1, :, 3:], v[:1, :, 3:], scale=0.5)
    torch.testing.assert_close(out[:1], only_padding)


@pytest.mark.parametrize(("queries", "keys", "window"), [(5, 5, None), (5, 5, 2), (2, 6, 3), (1, 4, None)])
def test_the_band(queries: int, keys: int, window: int | None) -> None:
    """The newest query stands at the newest key, and sees itself and the `window - 1` before."""
    found = band_mask(spec(causal=True, window=window), stands(queries, keys, CPU), keys)
    assert found is not None
    for i in range(queries):
        newest = keys - queries + i
        oldest = 0 if window is None else max(0, newest - window + 1)
        assert found[i].nonzero()[:, 0].tolist() == list(range(oldest, newest + 1))


def test_windows_in_the_flash_libraries_words() -> None:
    """They count the keys beside one's own, and say -1 or None for all."""
    assert to_flash_window(spec(causal=True, window=3)) == (2, 0)
    assert to_flash_window(spec(causal=True)) == (-1, 0)
    assert to_flash_window(spec()) == (-1, -1)
    assert to_cute_window(spec(causal=True, window=1)) == (0, 0)
    assert to_cute_window(spec(causal=True)) == (None, 0)
    assert to_cute_window(spec()) == (None, None)


def test_packed_sequences() -> None:
    cu, longest = to_cu_seqlens((0, 3, 4, 9), CPU)
    assert cu.tolist() == [0, 3, 4, 9]
    assert cu.dtype == torch.int32
    assert longest == 5
    assert even_offsets(3, 4) == (0, 4, 8, 12)


@pytest.mark.parametrize("window", [None, 3])
def test_flex_says_what_the_mask_says(window: int | None) -> None:
    """Its function of four indices is the dense mask, pair by pair."""
    asked = spec(causal=True, window=window, mask="keys", square=False)
    valid = torch.tensor([[True, False, True, True, True, False, True]])
    context = AttnContext(scale=0.5, valid_BM=valid)
    dense = visible_mask(asked, context, stands(5, 7, CPU), 7)
    _, function = to_flex(asked, context, 5, 7)
    assert dense is not None
    assert function is not None
    zero = torch.tensor(0)
    for query in range(5):
        for key in range(7):
            assert bool(function(zero, zero, torch.tensor(query), torch.tensor(key))) == bool(dense[0, 0, query, key])


def test_a_padding_token_sees_itself() -> None:
    """No row of a mask is empty, wherever the padding stands."""
    valid = torch.tensor([[False, False, True, True], [True, False, False, False]])
    for causal, window in ((True, None), (True, 2), (False, None)):
        asked = spec(causal=causal, window=window, mask="keys")
        allowed = visible_mask(asked, AttnContext(scale=1.0, valid_BM=valid), stands(4, 4, CPU), 4)
        assert allowed is not None
        assert bool(allowed.any(dim=-1).all())
        assert not bool(allowed[0, 0, 3, :2].any())


def test_rows_without_a_key_are_errors() -> None:
    with pytest.raises(DataError, match="row 1 of the batch has no real token"):
        Padding(torch.tensor([[True, False], [False, False]]))
    with pytest.raises(DataError, match="row 0 of the batch has no real token"):
        Padding.from_lengths(torch.tensor([0, 2]), 2)
    with pytest.raises(DataError, match=r"\[0, 1\].*sees no key"):
        need_keys(torch.tensor([[[True, False], [False, False]]]))


def test_padding_from_lengths() -> None:
    made = Padding.from_lengths(torch.tensor([1, 3]), 3)
    assert made.valid_BL.tolist() == [[True, False, False], [True, True, True]]
    with pytest.raises(DataError, match="4 tokens long, the batch 3"):
        Padding.from_lengths(torch.tensor([4]), 3)
    with pytest.raises(ValueError, match="True for a real token"):
        Padding(torch.tensor([[1, 0]]))


def test_fill_replaces_nan() -> None:
    made = Padding.from_lengths(torch.tensor([1]), 2)
    assert made.fill(torch.tensor([[[2.0], [torch.nan]]])).tolist() == [[[2.0], [0.0]]]
