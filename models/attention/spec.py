"""What attention is asked for, what the machine can do, and what a kernel must answer.

Shape letters here and in the kernels: B batch, L queries, M keys, H query heads, G heads of keys and values, d width of
a head, T all tokens of a packed batch.

The conventions, inside, of every kernel:

* Tensors are [B, L, H, d], packed ones [T, H, d]; views are fine.
* The newest query stands at the newest key: query l is at key M - L + l. Causality and windows count from there.
* A window of W lets a query see itself and the W - 1 keys before it.
* Masks say True where there is a real token; `models.attention.masks` turns them into what each library means.
"""

import functools
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

import torch
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttnSpec:
    """Everything that decides which kernels qualify; hashable, without tensors."""

    heads: int
    kv_heads: int
    d: int  # of queries, keys and values alike
    causal: bool = False
    window: int | None = None
    kernel: Literal["softmax", "linear"] = "softmax"
    bias: Literal["none", "alibi"] = "none"
    mask: Literal["none", "keys", "pairs"] = "none"  # which keys are real, or which query sees which key
    layout: Literal["dense", "packed", "ring"] = "dense"  # ring: one query, keys in any order
    square: bool = True  # as many queries as keys
    length: int = 0  # keys, rounded up to a power of two
    dtype: torch.dtype = torch.float32
    dropout: float = 0.0
    needs_grad: bool = False
    deterministic: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AttnContext:
    """The tensors that go with a spec; None where the spec does not speak of them."""

    scale: float  # of q.k before the softmax
    slopes_H: Tensor | None = None  # ALiBi: what a step of distance costs
    valid_BM: Tensor | None = None  # True = a real key
    visible_BLM: Tensor | None = None  # True = this query may see this key
    age_BM: Tensor | None = None  # ring: how many tokens ago each key was written, int64
    offsets: tuple[int, ...] = ()  # packed: where each sequence starts, and where the last one ends


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """What a machine offers; plain values, so that a test can describe one it has not got."""

    device: str  # "cpu" or "cuda"
    name: str = "cpu"
    sm: tuple[int, int] = (0, 0)  # compute capability
    torch_version: tuple[int, int] = (0, 0)
    cudnn: int = 0
    flash2: str | None = None  # version of flash-attn, where it is installed
    fa3: bool = False
    fa4: str | None = None  # version of flash-attn-4


class Backend(Protocol):
    """A kernel, or a way to put kernels together."""

    @property
    def name(self) -> str:
        """Return what a configuration calls it."""

    def supports(self, spec: AttnSpec, caps: Caps) -> str | None:
        """Return None, or the reason why it cannot."""

    def run(self, q: Tensor, k: Tensor, v: Tensor, spec: AttnSpec, ctx: AttnContext) -> tuple[Tensor, Tensor | None]:
        """Return the output, shaped as `q`, and the logarithm of each row's sum [B, H, L], where it is told."""


_REGISTRY: dict[str, Backend] = {}


def register(backend: Backend) -> None:
    """Make a kernel known by its name.

    Raises:
        ValueError: the name is taken.
    """
    if backend.name in _REGISTRY:
        raise ValueError(f"two attention kernels are called {backend.name!r}")
    _REGISTRY[backend.name] = backend


def registered() -> Mapping[str, Backend]:
    """Return every kernel known so far, by name."""
    return MappingProxyType(_REGISTRY)


def detect(device: torch.device) -> Caps:
    """Return what `device` and the installed libraries offer; looked up once."""
    index = torch.cuda.current_device() if str(device) == "cuda" else device.index
    return _detect(device.type, index)


@functools.cache
def _detect(kind: str, index: int | None) -> Caps:
    major, minor = torch.__version__.split(".")[:2]
    version = (int(major), int(minor))
    if kind != "cuda":
        return Caps(device=kind, name=kind, torch_version=version)
    return Caps(
        device=kind,
        name=torch.cuda.get_device_name(index),
        sm=torch.cuda.get_device_capability(index),
        torch_version=version,
        cudnn=torch.backends.cudnn.version() or 0,  # type: ignore[no-untyped-call]
        flash2=_installed("flash_attn.flash_attn_interface", "flash-attn"),
        fa3=_installed("flash_attn_interface", "flash-attn-3") is not None,
        fa4=_installed("flash_attn.cute", "flash-attn-4"),
    )


def _installed(module: str, distribution: str) -> str | None:
    """Return the version of a library that can be imported, "unknown" where it does not say, None where it is not."""
    try:
        if importlib.util.find_spec(module) is None:
            return None
    except (ImportError, ValueError):  # a parent package is missing, or is there but broken
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
