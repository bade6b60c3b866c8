"""Every network by name: how to build one, what it gives, and whether it has earned to be traded.

    @register("mine", label="research", reads="windows", about="what it is")
    class Mine(System): ...

A file in `models/systems` is found by being there.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch

from bot.domain.errors import ConfigError
from models import systems
from models.config import ModelConfig
from models.heads import build_head
from models.systems.base import System

Label = Literal["research", "baseline", "proven"]
Reads = Literal["stretches", "windows"]
_Made = TypeVar("_Made", bound=type[System])


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One system.

    Attributes:
        label: "proven" once it beat LightGBM and DLinear on the same splits, with intervals; "baseline" is there to be
            beaten; all else is research.
        reads: "stretches": it answers at every decision of a stretch in one pass; "windows": at the end of each.
    """

    name: str
    label: Label
    reads: Reads
    about: str
    make: Callable[[ModelConfig], System]


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What one configuration makes."""

    name: str
    label: Label
    reads: Reads
    about: str
    gives: tuple[str, ...]  # fields of `ModelOutput`
    parameters: int


_ENTRIES: dict[str, Entry] = {}


def register(name: str, *, label: Label, reads: Reads, about: str) -> Callable[[_Made], _Made]:
    """Make a system known by its name.

    Raises:
        ValueError: the name is taken.
    """

    def enter(made: _Made) -> _Made:
        if name in _ENTRIES:
            raise ValueError(f"two systems are called {name!r}")
        _ENTRIES[name] = Entry(name=name, label=label, reads=reads, about=about, make=made)
        return made

    return enter


def entries() -> tuple[Entry, ...]:
    """Return every system, by name."""
    _discover()
    return tuple(_ENTRIES[name] for name in sorted(_ENTRIES))


def entry(name: str) -> Entry:
    """Return one system.

    Raises:
        ConfigError: there is none of that name.
    """
    _discover()
    if name not in _ENTRIES:
        raise ConfigError(f"ModelConfig.system = {name!r}: there is none; choose of {', '.join(sorted(_ENTRIES))}")
    return _ENTRIES[name]


def build(cfg: ModelConfig) -> System:
    """Return the network that a configuration describes; its first weights are a function of `cfg.seed` alone.

    Raises:
        ConfigError: there is no such system, or it cannot be so.
    """
    made = entry(cfg.system).make
    with torch.random.fork_rng(devices=[]):  # nobody else's draws are moved
        torch.manual_seed(cfg.seed)
        return made(cfg)


def describe(cfg: ModelConfig) -> Description:
    """Return what a configuration makes, without memory for its weights.

    Raises:
        ConfigError: it cannot be built.
    """
    found = entry(cfg.system)
    with torch.device("meta"):
        parameters = sum(each.numel() for each in build(cfg).parameters())
        gives = tuple(answer for head in cfg.heads for answer in build_head(head, cfg.scales[0].encoder.width).answers)
    return Description(
        name=found.name, label=found.label, reads=found.reads, about=found.about, gives=gives, parameters=parameters
    )


@functools.cache
def _discover() -> None:
    for module in pkgutil.iter_modules(systems.__path__):
        importlib.import_module(f"{systems.__name__}.{module.name}")
