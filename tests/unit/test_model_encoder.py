"""Encoders at their edges: lengths, padding, what reaches what, and what is refused."""

from typing import Any

import pytest
import torch
from torch import nn

from bot.domain.errors import ConfigError, DataError
from models.attention.masks import Padding
from models.config import AnyEncoder, ConvConfig, RecurrentConfig
from models.encoder import Encoder, build_encoder
from tests.support.encoders import FEATURES, STREAMING, bars, encoder, transformer

BOTH_WAYS = {
    "both ways": transformer(causal=False, window=None, kinds=("sinusoidal", "cyclical")),
    "revin": transformer(in_norm="revin", window=None),
    "gated": transformer(in_norm="gated", causal=False, window=None),
    "linear both ways": transformer(causal=False, window=None, kernel="linear", kinds=("learned",)),
}
EVERY = STREAMING | BOTH_WAYS


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("length", [1, 2, 97])
def test_any_length(name: str, length: int) -> None:
    """One bar, two, and more than a block of the banded kernel."""
    made = encoder(EVERY[name])
    h = made(*bars(2, length))
    assert h.shape == (2, length, made.width)
    assert bool(torch.isfinite(h).all())


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("ewma", "gru")])
def test_padding_after_the_bars(name: str) -> None:
    """Poisoned with NaN, padding changes no real bar, and its own vectors are zeros."""
    made = encoder(EVERY[name])
    x, time = bars(2, 20)
    valid = torch.ones(2, 20, dtype=torch.bool)
    valid[0, 13:] = False
    clean = made(torch.where(valid[..., None], x, 0.0), time, Padding(valid))
    poisoned = made(torch.where(valid[..., None], x, torch.nan), time, Padding(valid))
    assert torch.equal(clean, poisoned)
    assert not clean[~valid].any()
    alone = made(x[:1, :13], time[:1, :13])
    torch.testing.assert_close(clean[:1, :13], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["rotary", "clock", "hooks", "anchored", "convolution", "revin"])
def test_padding_before_the_bars(name: str) -> None:
    """Where no number is counted from the first token, padding may as well come first."""
    made = encoder(EVERY[name])
    x, time = bars(1, 20)
    valid = torch.ones(1, 20, dtype=torch.bool)
    valid[0, :6] = False
    padded = made(torch.where(valid[..., None], x, torch.nan), time, Padding(valid))
    torch.testing.assert_close(padded[:, 6:], made(x[:, 6:], time[:, 6:]), rtol=0, atol=1e-12)


def test_norms_and_cells_that_cannot_skip_padding_say_so() -> None:
    x, time = bars(1, 5)
    first = Padding(torch.tensor([[False, True, True, True, True]]))
    with pytest.raises(DataError, match="takes no padding"):
        encoder(STREAMING["ewma"])(x, time, first)
    with pytest.raises(DataError, match="padding after the bars"):
        encoder(STREAMING["lstm"])(x, time, first)


@pytest.mark.parametrize("name", [name for name in STREAMING if encoder(STREAMING[name]).receptive_field is not None])
def test_the_receptive_field_is_what_reaches(name: str) -> None:
    """A bar just inside it moves the answer, one just outside does not move a bit of it."""
    made = encoder(STREAMING[name])
    reach = made.receptive_field
    assert reach is not None
    x, time = bars(1, reach + 5)
    last = made(x, time)[:, -1]
    for back, reaches in ((reach - 1, True), (reach, False)):
        if name == "ewma" and not reaches:
            continue  # its norm remembers, ever less
        moved = x.clone()
        moved[:, -1 - back] += 1.0
        assert torch.equal(made(moved, time)[:, -1], last) != reaches


def test_receptive_fields() -> None:
    """Each layer adds a window less one."""
    assert encoder(STREAMING["rotary"]).receptive_field == 3 * 6 + 1
    assert encoder(STREAMING["window of one"]).receptive_field == 1
    assert encoder(STREAMING["convolution"]).receptive_field == 2 * (1 + 2 + 4) + 1
    for name in ("anchored", "linear", "lstm", "both ways", "revin"):
        assert encoder(EVERY[name]).receptive_field is None
    assert encoder(STREAMING["rotary"]).warm_up == 19
    assert encoder(STREAMING["ewma"]).warm_up == 19 + 200


def test_what_streams() -> None:
    """Windows stream from anywhere, what counts or sees from the first bar on from an anchor, the rest not at all."""
    found = {name: encoder(cfg).streams for name, cfg in EVERY.items()}
    banded = {"rotary", "alibi", "clock", "shared keys", "hooks", "ewma", "window of one", "convolution"}
    assert {name for name, streams in found.items() if streams == "banded"} == banded
    assert {name for name, streams in found.items() if streams == "none"} == set(BOTH_WAYS)
    for name in BOTH_WAYS:
        with pytest.raises(ConfigError, match="this encoder cannot stream"):
            encoder(EVERY[name]).start(1)


def test_an_anchored_context_ends() -> None:
    """It refuses the bar it has no room for, and nothing has changed; a reset begins anew."""
    made = encoder(transformer(window=None))
    x, time = bars(1, 260)
    state = made.start(1)
    made.prefill(x[:, :255], time[:, :255], state)
    with pytest.raises(DataError, match="holds 255 of 256 tokens and cannot take 2 more"):
        made.prefill(x[:, 255:257], time[:, 255:257], state)
    last = made.step(x[:, 255], time[:, 255], state)
    torch.testing.assert_close(last, made(x[:, :256], time[:, :256])[:, -1], rtol=0, atol=1e-12)
    with pytest.raises(DataError, match="start again from a newer anchor"):
        made.step(x[:, 256], time[:, 256], state)
    state.reset(torch.tensor([0]))
    again = made.prefill(x[:, 256:], time[:, 256:], state)
    torch.testing.assert_close(again, made(x[:, 256:], time[:, 256:]), rtol=0, atol=1e-12)


def test_what_is_not_bars_is_refused() -> None:
    made = encoder(STREAMING["rotary"])
    x, time = bars(2, 4)
    for wrong_x, wrong_time, message in (
        (x[..., :3], time, r"bars are \[B, L, 5\]"),
        (x[:, :0], time[:, :0], "one at least"),
        (x, time[:, 1:], r"times are int64 \[B, L\]"),
        (x, time.double(), "times are int64"),
    ):
        with pytest.raises(ValueError, match=message):
            made(wrong_x, wrong_time)
    state = made.start(3)
    with pytest.raises(ValueError, match="2 rows of bars for 3 of the state"):
        made.prefill(x, time, state)
    made.train()
    with pytest.raises(ValueError, match=r"call eval\(\) first"):
        made.prefill(x, time, state, torch.tensor([0, 1]))
    assert state.count_R.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", EVERY)
def test_every_weight_learns(name: str) -> None:
    """Each parameter takes part: none is left without a gradient, none's is not a number."""
    made = encoder(EVERY[name]).train()
    made(*bars(2, 12)).square().sum().backward()
    for parameter_name, parameter in made.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert bool(torch.isfinite(parameter.grad).all()), parameter_name
        assert bool(parameter.grad.any()), parameter_name


def test_training_drops_and_evaluation_does_not() -> None:
    made = encoder(transformer(drop=0.2, drop_path=0.2))
    x, time = bars(4, 9)
    assert torch.equal(made(x, time), made(x, time))
    made.train()
    torch.manual_seed(0)
    assert not torch.equal(made(x, time), made(x, time))


@pytest.mark.parametrize(
    "cfg",
    [
        RecurrentConfig(depth=2, width=8, features=FEATURES, drop=0.5),
        ConvConfig(depth=2, width=8, features=FEATURES, drop=0.5),
    ],
)
def test_the_others_drop_too(cfg: AnyEncoder) -> None:
    made = encoder(cfg).train()
    torch.manual_seed(0)
    x, time = bars(2, 9)
    assert not torch.equal(made(x, time), made(x, time))


@pytest.mark.parametrize("name", ["rotary", "alibi", "clock", "hooks", "shared keys", "anchored", "both ways"])
def test_rows_of_attention(name: str) -> None:
    """Weights on demand sum to one, keep to the window, and gather what the layer gathers."""
    made = encoder(EVERY[name])
    assert isinstance(made, Encoder)
    x, time = bars(2, 15)
    for layer in range(3):
        rows = made.attention_rows(x, time, layer=layer, rows=(0, -1))
        assert rows.shape == (2, 4, 2, 15)
        torch.testing.assert_close(rows.sum(-1), torch.ones(2, 4, 2, dtype=torch.float64), rtol=0, atol=1e-12)
        window = made.cfg.block.attn.window
        if window is not None:
            assert not rows[:, :, 1, : 15 - window].any()
            assert not rows[:, :, 0, 1:].any()


def test_the_linear_kernel_has_no_rows() -> None:
    made = encoder(STREAMING["linear"])
    assert isinstance(made, Encoder)
    with pytest.raises(ConfigError, match="no attention weights to show"):
        made.attention_rows(*bars(1, 4), layer=0)


def test_time_matters_to_those_that_know_it() -> None:
    """A calendar hears the hour; a rotation does not."""
    x, time = bars(1, 12)
    for name, hears in (("clock", True), ("rotary", False)):
        made = encoder(STREAMING[name])
        assert torch.equal(made(x, time), made(x, time + 3_600_000_000_000)) != hears


def test_a_long_history() -> None:
    """Twenty thousand bars at once: their scores would be 1.6 GB a head in float32, and are never made."""
    made = encoder(transformer(depth=1, window=50), dtype=torch.float32)
    x, time = bars(1, 20_000, dtype=torch.float32)
    with torch.no_grad():
        whole = made(x, time)
    part = made(x[:, -200:], time[:, -200:])
    torch.testing.assert_close(whole[:, -100:], part[:, -100:], rtol=0, atol=1e-4)


def test_the_same_seed_the_same_encoder() -> None:
    def weights(**fields: Any) -> list[torch.Tensor]:
        torch.manual_seed(7)
        made: nn.Module = build_encoder(transformer(**fields))
        return list(made.parameters())

    for left, right in zip(weights(), weights(), strict=True):
        assert torch.equal(left, right)
