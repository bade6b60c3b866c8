"""Layers: what they add, what they drop, along which axis; and how many weights the usual ones have."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from bot.domain.errors import ConfigError
from models.attention.site import Placement, Site
from models.block import AxialBlock, Block, GeluMLP, SwiGLU, make_mlp
from models.config import AttnConfig, BlockConfig, ConvConfig, EncoderConfig, RecurrentConfig, band
from models.encoder import build_encoder
from models.memory import GatedFusion, Pool, VariableEmbed


def config(**fields: Any) -> BlockConfig:
    attn = {key: fields.pop(key) for key in ("causal", "window", "d", "heads") if key in fields}
    return BlockConfig(attn=AttnConfig(**{"heads": 2, "d": 8} | attn), **fields)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_block_is_two_sums(norm: str) -> None:
    torch.manual_seed(0)
    block = Block(config(norm=norm, mlp="gelu"), width=16).double().eval()
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    if norm == "pre":
        middle = x + block.attn(block.norm_attn(x), Site())
        expected = middle + block.mlp(block.norm_mlp(middle))
    else:
        middle = block.norm_attn(x + block.attn(x, Site()))
        expected = block.norm_mlp(middle + block.mlp(middle))
    assert torch.equal(block(x, Site()), expected)


def test_feed_forward() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 16)
    gelu, swiglu = GeluMLP(16, 24), SwiGLU(16, 24)
    torch.testing.assert_close(gelu(x), gelu.down(F.gelu(gelu.up(x))))
    up = swiglu.up(x)
    torch.testing.assert_close(swiglu(x), swiglu.down(F.silu(up[:, :24]) * up[:, 24:]))
    assert count(make_mlp("swiglu", 96, 4.0)) == 3 * 96 * 256
    assert count(make_mlp("gelu", 96, 4.0)) == 2 * 96 * 384 + 96 + 384


def test_drop_path_grows_with_depth() -> None:
    """None in the first layer, all that was asked in the last."""
    shares = [Block(config(drop_path=0.3), width=16, layer=layer, depth=4).drop_path for layer in range(4)]
    assert shares == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_drop_path_drops_samples_and_keeps_the_mean() -> None:
    """In training a sample's part is there in full, scaled, or not at all; in evaluation always."""
    torch.manual_seed(0)
    block = Block(config(drop_path=0.5), width=16, layer=1, depth=2)
    part = torch.ones(4000, 2, 16)
    kept = block._lose(part)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert bool((kept.amin(dim=(1, 2)) == kept.amax(dim=(1, 2))).all())
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.1)
    assert block.eval()._lose(part) is part


def test_an_axial_block_works_on_lines() -> None:
    """Along time every variable is a sequence of its own, along variables every bar is."""
    torch.manual_seed(0)
    x = torch.randn(2, 6, 3, 16, dtype=torch.float64)
    time = AxialBlock(config(), axis="time", width=16).double().eval()
    variables = AxialBlock(config(causal=False), axis="var", width=16).double().eval()
    for row in range(2):
        for variable in range(3):
            alone = time.block(x[row : row + 1, :, variable], Site())
            torch.testing.assert_close(time(x)[row : row + 1, :, variable], alone, rtol=0, atol=1e-12)
        for bar in range(6):
            alone = variables.block(x[row : row + 1, bar], Site())
            torch.testing.assert_close(variables(x)[row : row + 1, bar], alone, rtol=0, atol=1e-12)


def test_variables_have_no_order() -> None:
    """Shuffled variables give shuffled answers; and order may not be asked of them."""
    torch.manual_seed(0)
    block = AxialBlock(config(causal=False), axis="asset", width=16).double().eval()
    x, order = torch.randn(2, 4, 5, 16, dtype=torch.float64), torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(block(x[:, :, order]), block(x)[:, :, order], rtol=0, atol=1e-12)
    with pytest.raises(ConfigError, match="tokens along 'level' have no order"):
        AxialBlock(config(causal=True), axis="level", width=16)


def test_axial_blocks_take_a_place() -> None:
    """A rotation of one row serves every line."""
    torch.manual_seed(0)
    block = AxialBlock(config(), axis="time", width=16).double().eval()
    x = torch.randn(2, 6, 3, 16, dtype=torch.float64)
    angles = torch.zeros(1, 6, 1, 8, dtype=torch.float64)
    still = Site(placement=Placement(rotation=(angles + 1, angles)))
    assert torch.equal(block(x, still), block(x))


FLAGSHIP = [("1m", 1440, 2, 399_744), ("5m", 288, 3, 597_888), ("1h", 168, 4, 796_032), ("1d", 252, 4, 796_032)]


@pytest.mark.parametrize(("bar", "length", "depth", "expected"), FLAGSHIP)
def test_weights_of_the_flagship(bar: str, length: int, depth: int, expected: int) -> None:
    """A number that moves without anyone meaning it is a changed model."""
    block = BlockConfig(attn=AttnConfig(heads=2, window=band(length, depth)))
    names = tuple(f"{bar}.{number}" for number in range(24))
    cfg = EncoderConfig(depth=depth, width=128, features=names, block=block)
    assert count(build_encoder(cfg)) == expected


def test_weights_of_other_parts() -> None:
    names = tuple(f"f{number}" for number in range(95))
    # The LSTM of three layers of 256 over 95 features: 1 414 144; attention over its steps has no constant, so 256.
    assert count(build_encoder(RecurrentConfig(depth=3, width=256, features=names))) == 1_414_144
    assert count(Pool("attention", 256)) == 256
    assert count(Pool("last", 256)) == 0
    assert count(VariableEmbed(24, 256)) == 2 * 24 * 256
    assert count(build_encoder(ConvConfig(depth=2, width=8, features=("a",)))) == 16 + 2 * (8 + 8 * 8 * 3 + 8 + 72)
    assert count(GatedFusion(width=8, streams=4, mode="sum")) == 4 + (32 * 4 + 4) + (8 * 16 + 16) + (16 * 8 + 8) + 16
