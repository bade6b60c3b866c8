"""Every kernel is the same function: compared with plain Python, one query at a time, and by its gradients.

Bounds: the reference agrees with Python to 1e-12 in float64. Other kernels in float64 agree with the reference to
1e-12, in float32 to 4e-6 forward and 2e-5 backward (values of order one, sums of up to a thousand terms), in bfloat16
to twice the error of the reference in bfloat16.
"""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.attention.backends import linear
from models.attention.select import select
from models.attention.spec import AttnContext, AttnSpec, Backend, Caps, detect, registered
from tests.support.attention_reference import attend_slowly, band, linear_slowly

CPU = detect(torch.device("cpu"))
SLOPES = [0.5, 0.25, 0.125, 0.0625]


def names() -> list[str]:
    select(AttnSpec(heads=1, kv_heads=1, d=8), CPU)  # finds the kernels
    return sorted(registered())


def shaped(dtype: torch.dtype = torch.float64, **fields: Any) -> AttnSpec:
    return AttnSpec(**{"heads": 4, "kv_heads": 4, "d": 16, "dtype": dtype} | fields)


def drawn(
    spec: AttnSpec, rows: int, queries: int, keys: int, *, device: str = "cpu", seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    shapes = ((queries, spec.heads), (keys, spec.kv_heads), (keys, spec.kv_heads))
    made = [torch.from_numpy(rng.standard_normal((rows, length, heads, spec.d))) for length, heads in shapes]
    q, k, v = (each.to(device=device, dtype=spec.dtype).requires_grad_(spec.needs_grad) for each in made)
    return q, k, v


def context(spec: AttnSpec, *, device: str = "cpu", **tensors: Any) -> AttnContext:
    slopes = torch.tensor(SLOPES[: spec.heads], dtype=torch.float64, device=device) if spec.bias == "alibi" else None
    return AttnContext(scale=0.25, slopes_H=slopes, **tensors)


# (queries, keys, fields): full and causal, windows of every relation to the blocks, more keys than queries, ALiBi,
# shared heads of keys, one token.
CASES: list[tuple[int, int, dict[str, Any]]] = [
    (9, 9, {}),
    (9, 9, {"causal": True}),
    (4, 9, {"causal": True, "square": False}),
    (9, 9, {"causal": True, "kv_heads": 2}),
    (9, 9, {"causal": True, "bias": "alibi"}),
    (1, 1, {"causal": True}),
    (250, 250, {"causal": True, "window": 43}),
    (250, 250, {"causal": True, "window": 1}),
    (97, 300, {"causal": True, "window": 60, "square": False, "kv_heads": 1}),
    (300, 417, {"causal": True, "window": 130, "square": False, "bias": "alibi"}),
    (5, 6, {"causal": True, "window": 300, "square": False}),
    (1, 20, {"causal": True, "window": 5, "square": False}),
    (300, 700, {"causal": True, "window": 520, "square": False, "kv_heads": 2}),
]
SMALL = [case for case in CASES if case[0] * case[1] < 100]


@pytest.mark.parametrize(("queries", "keys", "fields"), SMALL)
def test_the_reference_is_the_definition(queries: int, keys: int, fields: dict[str, Any]) -> None:
    spec = shaped(**fields)
    q, k, v = drawn(spec, 2, queries, keys)
    slopes = SLOPES if spec.bias == "alibi" else None
    sees = band(queries, keys, causal=spec.causal, window=spec.window)
    expected, weights = attend_slowly(q.numpy(), k.numpy(), v.numpy(), scale=0.25, sees=sees, slopes=slopes)
    out, lse = registered()["reference"].run(q, k, v, spec, context(spec))
    np.testing.assert_allclose(out.numpy(), expected, rtol=0, atol=1e-12)
    assert lse is not None
    # The logarithm of the sum is what turns a score into its weight: the newest key's, of the newest query.
    group = spec.heads // spec.kv_heads
    score = 0.25 * (q[:, -1] * k[:, -1].repeat_interleave(group, dim=1)).sum(-1)
    np.testing.assert_allclose(torch.exp(score - lse[:, :, -1]).numpy(), weights[:, :, -1, -1], rtol=0, atol=1e-12)


def pairs(*, grad: bool) -> list[Any]:
    """Return every kernel but the reference with every case that it can do here."""
    found = []
    for name, (queries, keys, fields) in itertools.product(names(), CASES):
        for dtype in (torch.float64, torch.float32):
            spec = shaped(dtype, needs_grad=grad, **fields)
            if name != "reference" and registered()[name].supports(spec, CPU) is None:
                found.append(pytest.param(name, queries, keys, spec, id=f"{name}-{queries}x{keys}-{dtype}-{fields}"))
    return found


@pytest.mark.parametrize(("name", "queries", "keys", "spec"), pairs(grad=False))
def test_forward(name: str, queries: int, keys: int, spec: AttnSpec) -> None:
    q, k, v = drawn(spec, 2, queries, keys)
    out, _ = registered()[name].run(q, k, v, spec, context(spec))
    expected, _ = registered()["reference"].run(q.double(), k.double(), v.double(), spec, context(spec))
    bound = 1e-12 if spec.dtype is torch.float64 else 4e-6
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize(("name", "queries", "keys", "spec"), pairs(grad=True))
def test_backward(name: str, queries: int, keys: int, spec: AttnSpec) -> None:
    """Gradients of queries, keys and values."""
    q, k, v = drawn(spec, 2, queries, keys)
    weight = torch.from_numpy(np.random.default_rng(1).standard_normal(q.shape))
    expected, _ = registered()["reference"].run(q.double(), k.double(), v.double(), spec, context(spec))
    wanted = torch.autograd.grad((expected * weight).sum(), (q, k, v))
    out, _ = registered()[name].run(q, k, v, spec, context(spec))
    found = torch.autograd.grad((out.double() * weight).sum(), (q, k, v))
    bound = 1e-11 if spec.dtype is torch.float64 else 2e-5
    for left, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=bound)


@pytest.mark.parametrize("name", ["sdpa-flash", "sdpa-math", "sdpa-banded", "flex"])
@pytest.mark.parametrize("window", [None, 20])
def test_halves(name: str, window: int | None) -> None:
    """In bfloat16 a kernel errs at most twice as much as the reference does."""
    spec = shaped(torch.bfloat16, causal=True, window=window)
    kernel = registered()[name]
    if kernel.supports(spec, CPU) is not None:
        return  # windows are one kernel's work and full attention the others'
    q, k, v = drawn(spec, 2, 64, 64)
    exact, _ = registered()["reference"].run(q.double(), k.double(), v.double(), spec, context(spec))
    allowed = float((registered()["reference"].run(q, k, v, spec, context(spec))[0].double() - exact).abs().max())
    assert float((kernel.run(q, k, v, spec, context(spec))[0].double() - exact).abs().max()) <= 2 * allowed


@pytest.mark.parametrize("name", ["reference", "sdpa-flash", "sdpa-math", "sdpa-banded", "flex"])
def test_padding_is_not_seen(name: str) -> None:
    """Whatever stands at padding, real tokens come out the same; also where it comes before them."""
    window = 30 if name == "sdpa-banded" else None
    spec = shaped(causal=True, mask="keys", window=window)
    q, k, v = drawn(spec, 2, 200, 200)
    valid = torch.ones(2, 200, dtype=torch.bool)
    valid[0, 150:] = False
    valid[1, :60] = False
    kernel, where = registered()[name], valid[:, :, None, None]
    out, _ = kernel.run(q, k, v, spec, context(spec, valid_BM=valid))
    poisoned = [torch.where(where, each, 1e9) for each in (k, v)]
    other, _ = kernel.run(q, *poisoned, spec, context(spec, valid_BM=valid))
    assert torch.equal(out[valid], other[valid])
    alone, _ = registered()["reference"].run(
        q[1:, 60:], k[1:, 60:], v[1:, 60:], shaped(causal=True, window=window), context(spec)
    )
    torch.testing.assert_close(out[1:, 60:], alone, rtol=0, atol=1e-12)


def test_pairs() -> None:
    """A mask of pairs is obeyed, with more queries than keys and the other way round."""
    rng = np.random.default_rng(3)
    for queries, keys in ((7, 3), (3, 7)):
        spec = shaped(mask="pairs", square=False)
        q, k, v = drawn(spec, 2, queries, keys)
        visible = rng.random((2, queries, keys)) < 0.5
        visible[:, :, 1] = True
        expected, _ = attend_slowly(
            q.numpy(), k.numpy(), v.numpy(), scale=0.25, sees=lambda b, i, j, visible=visible: bool(visible[b, i, j])
        )
        for name in ("reference", "sdpa-flash", "sdpa-math"):
            out, _ = registered()[name].run(q, k, v, spec, context(spec, visible_BLM=torch.from_numpy(visible)))
            np.testing.assert_allclose(out.numpy(), expected, rtol=0, atol=1e-12)


def test_packed_sequences_are_strangers() -> None:
    """A packed batch gives what its sequences give one by one."""
    spec = shaped(causal=True, window=4, layout="packed")
    q, k, v = (each[0] for each in drawn(spec, 1, 20, 20))
    out, _ = registered()["reference"].run(q, k, v, spec, context(spec, offsets=(0, 7, 8, 20)))
    for start, stop in ((0, 7), (7, 8), (8, 20)):
        parts = [each[None, start:stop] for each in (q, k, v)]
        alone, _ = registered()["reference"].run(*parts, shaped(causal=True, window=4), context(spec))
        assert torch.equal(out[start:stop], alone[0])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("length", [1, 13, 150])
def test_the_linear_kernel(causal: bool, length: int) -> None:
    """Sums and triangles are the definition, token by token."""
    spec = shaped(kernel="linear", causal=causal, heads=2, kv_heads=2, d=4)
    q, k, v = drawn(spec, 1, length, length)
    out, _ = registered()["linear"].run(q, k, v, spec, context(spec))
    np.testing.assert_allclose(out.numpy(), linear_slowly(q.numpy(), k.numpy(), v.numpy(), causal=causal), atol=1e-12)


def test_linear_sums_go_on() -> None:
    """Cut anywhere, the running sums give the same."""
    spec = shaped(kernel="linear", causal=True)
    q, k, v = drawn(spec, 2, 100, 100)
    whole, sums = linear.causal(q, k, v, linear.empty_sums(2, spec, q))
    parts, state = [], linear.empty_sums(2, spec, q)
    for start, stop in itertools.pairwise((0, 1, 2, 70, 100)):
        out, state = linear.causal(q[:, start:stop], k[:, start:stop], v[:, start:stop], state)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, sums, rtol=0, atol=1e-11)


def test_linear_padding_adds_nothing() -> None:
    spec = shaped(kernel="linear", causal=True, mask="keys")
    q, k, v = drawn(spec, 1, 10, 10)
    valid = torch.ones(1, 10, dtype=torch.bool)
    valid[0, :4] = False
    out, _ = registered()["linear"].run(q, k, v, spec, context(spec, valid_BM=valid))
    alone, _ = registered()["linear"].run(
        q[:, 4:], k[:, 4:], v[:, 4:], shaped(kernel="linear", causal=True), context(spec)
    )
    torch.testing.assert_close(out[:, 4:], alone, rtol=0, atol=1e-12)
    assert bool(torch.isfinite(out).all())


def test_the_future_is_not_seen() -> None:
    """Changing keys and values after a token changes not one bit of what it gathers, in any CPU kernel."""
    for name, window in (("reference", None), ("sdpa-flash", None), ("sdpa-math", None), ("sdpa-banded", 40)):
        spec = shaped(torch.float32, causal=True, window=window)
        q, k, v = drawn(spec, 2, 300, 300)
        out, _ = registered()[name].run(q, k, v, spec, context(spec))
        for at in (1, 96, 97, 250):
            changed = [each.clone() for each in (q, k, v)]
            for each in changed:
                each[:, at:] += 5.0
            other, _ = registered()[name].run(*changed, spec, context(spec))
            assert torch.equal(other[:, :at], out[:, :at]), name
            assert not torch.equal(other[:, at:], out[:, at:])


def test_dropout_keeps_the_expectation() -> None:
    """The reference drops weights and scales what is left."""
    torch.manual_seed(0)
    spec = shaped(dropout=0.5, heads=1, kv_heads=1)
    q, k, _ = drawn(spec, 1, 1, 4000)
    ones = torch.ones(1, 4000, 1, 16, dtype=torch.float64)
    out, _ = registered()["reference"].run(torch.zeros_like(q), k, ones, spec, context(spec))
    assert abs(float(out.mean()) - 1) < 0.1
    assert float(out.mean()) != 1


GPU_CASES: list[tuple[str, dict[str, Any]]] = [
    ("sdpa-cudnn", {"causal": True}),
    ("sdpa-cudnn", {}),
    ("sdpa-flash", {"causal": True}),
    ("sdpa-efficient", {"causal": True, "bias": "alibi"}),
    ("sdpa-banded", {"causal": True, "window": 100}),
    ("varlen", {"causal": True, "window": 100}),
    ("varlen", {"causal": True}),
    ("flex", {"causal": True, "window": 100}),
    ("flex", {"causal": True, "bias": "alibi"}),
    ("flash2", {"causal": True, "window": 100}),
    ("flash2", {"causal": True, "bias": "alibi"}),
    ("fa3", {"causal": True, "window": 100}),
    ("fa4", {"causal": True, "window": 100}),
    ("fa4", {"causal": True}),
]


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "fields"), GPU_CASES, ids=[f"{name}-{fields}" for name, fields in GPU_CASES])
def test_gpu_kernels(name: str, fields: dict[str, Any]) -> None:
    """In bfloat16, forward and backward err at most twice as much as the reference in bfloat16 does."""
    if not torch.cuda.is_available():
        pytest.skip(f"{name} needs a CUDA device")
    spec = shaped(torch.bfloat16, needs_grad=True, d=64, **fields)
    kernel: Backend = registered()[name]
    reason = kernel.supports(spec, detect(torch.device("cuda")))
    if reason is not None:
        pytest.skip(f"{name} {reason}")
    q, k, v = drawn(spec, 2, 300, 300, device="cuda")
    weight = torch.randn(q.shape, dtype=torch.float64, device="cuda")

    def run(which: Backend, dtype: torch.dtype) -> tuple[Tensor, ...]:
        out, _ = which.run(q.to(dtype), k.to(dtype), v.to(dtype), spec, context(spec, device="cuda"))
        grads = torch.autograd.grad((out.double() * weight).sum(), (q, k, v))
        return (out.detach().double(), *(grad.double() for grad in grads))

    exact = run(registered()["reference"], torch.float64)
    rough = run(registered()["reference"], torch.bfloat16)
    for found, near, true in zip(run(kernel, torch.bfloat16), rough, exact, strict=True):
        assert float((found - true).abs().max()) <= 2 * float((near - true).abs().max()) + 1e-3


def test_without_a_gpu_the_gpu_kernels_say_why() -> None:
    for name in ("sdpa-cudnn", "sdpa-efficient", "varlen", "flash2", "fa3", "fa4"):
        reason = registered()[name].supports(shaped(torch.bfloat16), Caps(device="cpu"))
        assert reason is not None
        assert "needs CUDA" in reason
