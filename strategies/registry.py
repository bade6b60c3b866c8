"""Finds a strategy by name, by module, or by file."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot.domain.errors import ConfigError
from strategies.allocation import Allocation
from strategies.base import Strategy
from strategies.buy_and_hold import BuyAndHold
from strategies.direction import Direction
from strategies.multiscale import Multiscale
from strategies.portfolio import Portfolio
from strategies.regime import Regime
from strategies.risk_budget import RiskBudget
from strategies.several import Several
from strategies.signal import Signal
from strategies.sma_cross import SmaCross

BUILT_IN: dict[str, type[Strategy[Any]]] = {
    cls.name: cls
    for cls in (SmaCross, BuyAndHold, Multiscale, Portfolio, Direction, Signal, Allocation, Regime, RiskBudget)
}

_TAKEN = ("risk", "net", "outside")


def find_strategy(name: str) -> type[Strategy[Any]]:
    """Return the strategy class that `name` means.

    Args:
        name: a built-in name, "package.module:Class", or "path/to/file.py:Class".

    Raises:
        ConfigError: there is no such strategy, or it does not load.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    place, _, class_name = name.partition(":")
    if not class_name:
        known = ", ".join(sorted(BUILT_IN))
        raise ConfigError(
            f'strategy.name: there is no strategy "{name}"; use one of {known}, or your own as "path/to/file.py:Class"'
        )
    found = getattr(_load(place), class_name, None)
    if not (inspect.isclass(found) and issubclass(found, Strategy)):
        raise ConfigError(f"strategy.name: {place} has no class {class_name} derived from strategies.base.Strategy")
    if not (found.name.isascii() and found.name.isidentifier() and len(found.name) <= 12):
        raise ConfigError(
            f'strategy.name: {class_name}.name is "{found.name}"; use at most 12 of a-z, A-Z, 0-9 and _, a letter first'
        )
    return found


def make_strategy(name: str, parameters: dict[str, Any]) -> Strategy[Any]:
    """Return the strategy with its parameters validated.

    Raises:
        ConfigError: a parameter is unknown or out of range; the message names it and says what is right.
    """
    found = find_strategy(name)
    try:
        return found(found.Params.model_validate(parameters))
    except ValidationError as error:
        known = ", ".join(found.Params.model_fields)
        problems = "; ".join(_explain(problem, known) for problem in error.errors(include_url=False))
        raise ConfigError(problems) from error


def make_strategies(chosen: Sequence[tuple[str, dict[str, Any], str]]) -> Strategy[Any]:
    """Return one strategy, or several as one.

    Args:
        chosen: of each its name, its parameters and its label, "" for the name it gives itself.

    Raises:
        ConfigError: one cannot be made, or two have the same label.
    """
    parts = []
    for name, parameters, label in chosen:
        part = make_strategy(name, parameters)
        if label:
            part.name = label
        parts.append(part)
    names = [part.name for part in parts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f'strategies: two are called {twice[0]}; give each a label, such as label = "{twice[0][:8]}_2"'
        )
    taken = [name for name in names if name in _TAKEN]
    if taken:
        raise ConfigError(f"strategies: {taken[0]} is the name of something else in the ledger; choose another label")
    return parts[0] if len(parts) == 1 else Several(parts)


def _explain(problem: Any, known: str) -> str:
    key = ".".join(["strategy.params", *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        return f"{key}: no such parameter; {known} are known"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')} (got {problem['input']!r})"


def _load(place: str) -> Any:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = Path(place)
        if not path.is_file():
            raise ConfigError(f"strategy.name: no file {path}")
        spec = importlib.util.spec_from_file_location(f"user_strategy_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    except (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"strategy.name: {place} does not load: {type(error).__name__}: {error}") from error
