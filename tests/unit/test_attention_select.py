"""Which kernel is taken, and what is said of those that are not; for machines that this one is not, too."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bot.domain.errors import ConfigError, DataError
from models.attention.module import Attention
from models.attention.select import ORDER, attend, case_of, select
from models.attention.site import Site
from models.attention.spec import AttnContext, AttnSpec, Caps, detect, register, registered
from models.config import AttnConfig

CPU = detect(torch.device("cpu"))
H100 = Caps(device="cuda", name="H100", sm=(9, 0), torch_version=(2, 11), cudnn=91900)
H100_FA4 = Caps(device="cuda", name="H100", sm=(9, 0), torch_version=(2, 11), cudnn=91900, fa4="4.0.0b18")
AMPERE = Caps(device="cuda", name="A100", sm=(8, 0), torch_version=(2, 12), cudnn=91900, flash2="2.8.3")
TURING = Caps(device="cuda", name="T4", sm=(7, 5), torch_version=(2, 12), cudnn=91900)


def spec(**fields: Any) -> AttnSpec:
    return AttnSpec(**{"heads": 2, "kv_heads": 2, "d": 64, "dtype": torch.bfloat16} | fields)


BANDED = {"causal": True, "window": 100}
TABLE: list[tuple[Caps, dict[str, Any], str]] = [
    (H100, {"causal": True, "length": 1024}, "sdpa-cudnn"),
    (H100, {"causal": True, "length": 2048}, "sdpa-cudnn"),  # longer ones are flash-attn 4's, where there is one
    (H100_FA4, {"causal": True, "length": 1024}, "sdpa-cudnn"),
    (H100_FA4, {"causal": True, "length": 2048}, "fa4"),
    (H100_FA4, BANDED, "fa4"),
    (H100, BANDED, "varlen"),
    (H100, {"layout": "packed", "causal": True}, "varlen"),
    (H100, {"causal": True, "bias": "alibi"}, "flex"),
    (AMPERE, {"causal": True, "bias": "alibi"}, "flash2"),
    (H100, {"layout": "ring", "window": 100, "causal": True, "square": False}, "sdpa-cudnn"),
    (H100, {"causal": True, "deterministic": True, "needs_grad": True}, "sdpa-flash"),
    (H100, {"mask": "pairs", "square": False}, "sdpa-cudnn"),
    (H100, {"causal": True, "dtype": torch.float32}, "sdpa-efficient"),
    (H100, {"causal": True, "dtype": torch.float64}, "sdpa-math"),
    (H100, {"causal": True, "d": 192, "length": 2048}, "sdpa-flash"),
    (TURING, {"causal": True}, "sdpa-efficient"),
    (H100, {"kernel": "linear", "causal": True}, "linear"),
    (CPU, {"causal": True}, "sdpa-flash"),
    (CPU, {"causal": True, "dropout": 0.1}, "sdpa-math"),
    (CPU, BANDED, "sdpa-banded"),
    (CPU, {"layout": "ring", **BANDED, "square": False}, "sdpa-flash"),
    (CPU, {"layout": "packed"}, "reference"),
]


@pytest.mark.parametrize(("caps", "fields", "expected"), TABLE)
def test_the_table(caps: Caps, fields: dict[str, Any], expected: str) -> None:
    assert select(spec(**fields), caps).backend.name == expected


def test_every_rejected_kernel_has_its_reason() -> None:
    """What stands before the chosen one in the table is listed, with words a person can act on."""
    asked = spec(causal=True, length=4096)
    chosen = select(asked, H100)
    order = ORDER[case_of(asked, H100)]
    assert [name for name, _ in chosen.rejected] == list(order[: order.index("sdpa-cudnn")])
    assert dict(chosen.rejected)["fa4"] == "needs flash-attn-4, which is not installed"
    assert str(chosen).startswith("sdpa-cudnn; not fa4: it needs flash-attn-4, which is not installed")


def test_a_shadowed_cudnn_is_named() -> None:
    """An old cuDNN found first is the silent way to a slow kernel; here it is said."""
    old = Caps(device="cuda", sm=(9, 0), torch_version=(2, 11), cudnn=90100)
    chosen = select(spec(causal=True), old)
    assert chosen.backend.name == "sdpa-flash"
    assert "needs cuDNN 91500, this is 90100" in dict(chosen.rejected)["sdpa-cudnn"]


def test_a_named_kernel_is_used_or_refused() -> None:
    assert select(spec(causal=True), CPU, "reference").backend.name == "reference"
    with pytest.raises(ConfigError, match=r"'fa4' needs CUDA with compute capability 9.0; choose another"):
        select(spec(causal=True), CPU, "fa4")
    with pytest.raises(ConfigError, match=r"'flash9': there is none; choose auto or one of fa3, .*varlen"):
        select(spec(causal=True), CPU, "flash9")
    with pytest.raises(ConfigError, match="'sdpa-flash' has no windows; sdpa-banded has"):
        select(spec(**BANDED), CPU, "sdpa-flash")


def test_nothing_can() -> None:
    """Where no kernel can, all their reasons are the message."""
    with pytest.raises(ConfigError, match="linear sums over keys, the same for all queries"):
        select(spec(kernel="linear", mask="pairs"), CPU)


def test_rows_of_the_table_name_kernels_that_exist() -> None:
    select(spec(), CPU)
    assert {name for row in ORDER.values() for name in row} <= set(registered())


def test_a_new_kernel_is_one_registration() -> None:
    """A kernel registered here is used by a layer that names it, and by nothing else."""

    class Doubled:
        name = "doubled-for-a-test"

        def supports(self, spec: AttnSpec, caps: Caps) -> str | None:
            return None

        def run(
            self, q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext
        ) -> tuple[Tensor, Tensor | None]:
            out, lse = registered()["reference"].run(q, k, v, spec, ctx)
            return 2 * out, lse

    if "doubled-for-a-test" not in registered():
        register(Doubled())
    with pytest.raises(ValueError, match="two attention kernels"):
        register(Doubled())
    torch.manual_seed(0)
    plain = Attention(AttnConfig(heads=2, d=8), width=16)
    doubled = Attention(AttnConfig(heads=2, d=8, backend="doubled-for-a-test"), width=16)
    doubled.load_state_dict(plain.state_dict())
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(doubled(x, Site()), 2 * plain(x, Site()), rtol=0, atol=1e-6)


def test_a_layer_says_what_it_would_use() -> None:
    layer = Attention(AttnConfig(heads=2, d=8, window=3), width=16)
    assert str(layer.choose(torch.randn(1, 4, 16), Site())) == "sdpa-banded"


def test_queries_without_a_key_are_refused() -> None:
    asked = spec(dtype=torch.float32, mask="pairs", square=False)
    q, k = torch.randn(1, 2, 2, 64), torch.randn(1, 3, 2, 64)
    visible = torch.tensor([[[True, True, False], [False, False, False]]])
    with pytest.raises(DataError, match=r"\[0, 1\] of \[batch, query\] sees no key"):
        attend(q, k, k, asked, AttnContext(scale=1.0, visible_BLM=visible), caps=CPU)
