"""Settings files: read from TOML, environment and `--set`, checked, and what is wrong with them in words.

What is refused is reported by the key's full name, with what would be right.
"""

import difflib
import os
import tomllib
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
from pydantic import BaseModel, ValidationError

from bot.domain.errors import ConfigError

M = TypeVar("M", bound=BaseModel)
ParseFloat = Callable[[str], Any]

_KINDS = (  # tables that a file of a kind always has, and what it is for
    (frozenset({"train", "split"}), "a training, for `bot train`"),
    (frozenset({"symbols"}), "a trading run, for `bot paper` and `bot live`"),
    (frozenset({"listings", "accounts"}), "an emulator, for `bot emulator`"),
    (frozenset({"market", "strategy"}), "a replay, for `bot replay`"),
)


def load_settings(
    model: type[M], path: Path | None, overrides: Sequence[str], *, example: str, has_environment: bool = False
) -> M:
    """Return settings of a model, read as `read_values` does.

    Raises:
        ConfigError: something is unknown or impossible; the message has a line for each problem.
    """
    return check_settings(model, read_values(path, overrides, example=example, has_environment=has_environment), path)


def read_values(
    path: Path | None,
    overrides: Sequence[str],
    *,
    example: str,
    has_environment: bool = False,
    parse_float: ParseFloat = Decimal,
) -> dict[str, Any]:
    """Read nested tables from a file, the environment (`BOT_RUN__SEED=7`) and overrides (`run.seed=7`); the last wins.

    Args:
        path: of the file; None for none.
        overrides: as given by `--set`.
        example: an override, for people.
        has_environment: whether variables count too.
        parse_float: makes numbers with a point.

    Raises:
        ConfigError: the file is not there or no TOML, or an override is none.
    """
    values = read_toml(path, parse_float=parse_float) if path is not None else {}
    if has_environment:
        for name, text in os.environ.items():
            if name.startswith("BOT_") and "__" in name:
                put_value(values, name.removeprefix("BOT_").lower().split("__"), text, name, parse_float)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: write key=value, such as --set {example}")
        put_value(values, key.strip().split("."), text.strip(), f"--set {override}", parse_float)
    return values


def check_settings(model: type[M], values: dict[str, Any], path: Path | None) -> M:
    """Return settings of these values.

    Raises:
        ConfigError: something is unknown or impossible; the message has a line for each problem, with the file's name.
    """
    try:
        return model(**values)
    except ValidationError as error:
        where = f"{path}: " if path is not None else ""
        if (kind := _other_kind(model, values)) is not None:
            raise ConfigError(f"{where}these are the settings of {kind}") from error
        problems = [where + _explain(model, problem) for problem in error.errors(include_url=False)]
        raise ConfigError("\n".join(problems)) from error


def read_toml(path: Path, *, parse_float: ParseFloat = Decimal) -> dict[str, Any]:
    """Return a settings file's tables, numbers exact unless told otherwise.

    Raises:
        ConfigError: it is not there, or no TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file, parse_float=parse_float)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; pass an existing file with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def write_toml(values: dict[str, Any]) -> str:
    """Return nested tables as TOML."""
    return "".join(_toml_table((), values)).lstrip()


def put_value(
    values: dict[str, Any], key: Sequence[str], text: str, origin: str, parse_float: ParseFloat = Decimal
) -> None:
    """Set one value of nested tables; a text that reads as a TOML value becomes that.

    Raises:
        ConfigError: what lies above the key is no table; the message names where it came from.
    """
    table = values
    for part in key[:-1]:
        inner: Any = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{origin}: {part} is not a table")
        table = inner
    try:
        table[key[-1]] = tomllib.loads(f"value = {text}", parse_float=parse_float)["value"]
    except tomllib.TOMLDecodeError:
        table[key[-1]] = text  # a bare word is a text


def _other_kind(model: type[BaseModel], values: dict[str, Any]) -> str | None:
    known = set(model.model_fields)
    return next((kind for marks, kind in _KINDS if marks <= values.keys() and not marks <= known), None)


def _explain(model: type[BaseModel], problem: Any) -> str:
    location = tuple(part for part in problem["loc"] if part not in ("int", "decimal"))
    key = ".".join(str(part) for part in location) or "settings"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(known)}"
        return f"{key}: no such key; {hint}"
    if problem["type"] == "missing":
        return f"{key}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    if key.endswith("_rate") and problem["type"] in ("less_than", "greater_than"):
        message += "; a rate is a fraction: 0.055 % is 0.00055"
    if isinstance(problem["input"], dict):
        return f"{key}: {message}"
    return f"{key} = {_show(problem['input'])}: {message}"


def _show(value: Any) -> str:
    return str(value) if isinstance(value, Decimal) else repr(value)


def _known_keys(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    found: Any = model
    for part in location:
        if isinstance(part, str):
            found = _model_in(found.model_fields[part].annotation)
    return list(found.model_fields)


def _model_in(annotation: Any) -> Any:
    """Return the section that an annotation is of, one or many of it; None for none."""
    if hasattr(annotation, "model_fields"):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each)) is not None), None)


def _toml_table(path: tuple[str, ...], values: dict[str, Any]) -> list[str]:
    lines = [f"\n[{'.'.join(path)}]\n"] if path else []
    tables: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict):
            tables += _toml_table((*path, key), value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                tables.append(f"\n[[{'.'.join((*path, key))}]]\n")
                tables += [f"{k} = {_toml_value(v)}\n" for k, v in item.items() if v is not None]
        elif value is not None:
            lines.append(f"{key} = {_toml_value(value)}\n")
    return lines + tables


def _toml_value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml_value(v)}" for k, v in value.items() if v is not None) + " }"
    return msgspec.json.encode(value).decode()
