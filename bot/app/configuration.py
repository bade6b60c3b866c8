"""Write docs/configuration.md: every setting of every command, from the very types that check them.

python -m bot.app.configuration > docs/configuration.md
"""

import sys
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bot.core.durations import Duration, format_duration
from bot.runtime.deadman_settings import DeadmanSettings
from bot.runtime.emulator_settings import EmulatorSettings
from bot.runtime.record_settings import RecordSettings
from bot.runtime.settings import Settings
from bot.runtime.trade_settings import TradeSettings

PAGES: tuple[tuple[str, str, type[BaseModel], str], ...] = (
    ("Paper and live trading", "bot paper, bot live", TradeSettings, "config/paper-offline.toml, config/live.toml"),
    ("Replay", "bot replay", Settings, "config/default.toml"),
    ("Dead-man switch", "bot deadman", DeadmanSettings, "config/deadman.toml"),
    ("Recording", "bot record", RecordSettings, "config/record/default.toml"),
    ("Emulator", "bot emulator", EmulatorSettings, "config/emulator/default.toml"),
)
_HEAD = """\
# Settings

Every key of every settings file, from the types that check them (`python -m bot.app.configuration` writes this page,
and a test holds it fresh). Files are TOML; a key that is not here is refused. The files named below explain what people
change.

Times are written `"250ms"`, `"15s"`, `"5m"`, `"1h"`, `"1d"`; rates and shares are fractions, so 0.055 % is `0.00055`;
amounts are in the quote currency unless it says otherwise. `required` has no default. Any key can be given on the
command line as `--set section.key=value`; for replay, paper and live also in the environment, as `BOT_SECTION__KEY`.
`bot train` has settings of its own: [training.md](training.md). API keys are no settings: [paper.md](paper.md).
"""
_DURATION = get_args(Duration)[1:]


def reference() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    for title, command, model, example in PAGES:
        files = " and ".join(f"[{each}](../{each})" for each in example.split(", "))
        parts.append(f"## {title}\n\n`{command.replace(', ', '`, `')}`; see {files}.\n")
        parts += _sections(model, "")
    return "\n".join(parts)


def _sections(model: type[BaseModel], at: str) -> Iterator[str]:
    """Yield a table of a section's own keys, then those of the sections in it."""
    rows, inner = [], []
    for name, field in model.model_fields.items():
        nested, is_many = _model_of(field.annotation)
        if nested is None:
            rows.append(_row(name, field))
        else:
            path = f"{at}.{name}" if at else name
            inner.append((path, nested, is_many, field))
    if rows:
        about = "" if not at else f"{(model.__doc__ or '').strip().splitlines()[0]}\n\n"
        yield f"{about}| key | value | default | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for path, nested, is_many, field in inner:
        heading = f"[[{path}]]" if is_many else f"[{path}]"
        many = f" {_sentence(field.description)}" if field.description else ""
        yield f"### `{heading}`\n" + (f"\n{many.strip()}\n" if many else "")
        yield from _sections(nested, path)


def _row(name: str, field: FieldInfo) -> str:
    cells = [f"`{name}`", _kind(field.annotation, field.metadata), _default(field), _sentence(field.description)]
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"


def _model_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the section that a key holds, and whether it holds several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for part in get_args(annotation):
        nested, _ = _model_of(part)
        if nested is not None:
            return nested, get_origin(annotation) in (tuple, list)
    return None, False


def _kind(annotation: Any, metadata: list[Any]) -> str:
    """Return in words what a key takes."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _kind(parts[0], [*annotation.__metadata__, *metadata])
    if origin is Literal:
        return ", ".join(f"`{each!r}`".replace("'", '"') for each in parts)
    if origin in (Union, types.UnionType):
        given = [each for each in parts if each is not type(None)]
        return " or ".join(_kind(each, metadata) for each in given)
    if origin in (tuple, list):
        return f"list of {_kind(parts[0], [])}"
    if origin is dict:
        return "table"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f'`"{each.value}"`' for each in annotation)
    is_duration = any(each in metadata for each in _DURATION)
    word = "time span" if is_duration else _WORDS.get(getattr(annotation, "__name__", ""), "text")
    return word + "".join(_limits(metadata, is_duration=is_duration))


_WORDS = {"int": "whole number", "Decimal": "number", "float": "number", "bool": "`true`, `false`", "Path": "path"}
_SIGNS = (
    (annotated_types.Ge, "ge", "at least"),
    (annotated_types.Gt, "gt", "above"),
    (annotated_types.Le, "le", "at most"),
    (annotated_types.Lt, "lt", "below"),
)


def _limits(metadata: list[Any], *, is_duration: bool) -> Iterator[str]:
    for kind, name, word in _SIGNS:
        for each in metadata:
            if isinstance(each, kind):
                value = getattr(each, name)
                shown = format_duration(value) if is_duration and value else value
                yield f", {word} {'0' if is_duration and not value else _number(shown)}"


def _number(value: Any) -> str:
    for base, power in ((2, 63), (2, 53), (10, 12)):
        if value == base**power:
            return f"{base}^{power}"
    return str(value)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value == "":
        return "empty"
    is_duration = any(each in field.metadata for each in _DURATION)
    return f"`{_shown(value, is_duration=is_duration or _holds_durations(field.annotation))}`"


def _holds_durations(annotation: Any) -> bool:
    return annotation == Duration or any(_holds_durations(each) for each in get_args(annotation))


def _shown(value: Any, *, is_duration: bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_shown(each, is_duration=is_duration) for each in value) + "]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{name} = {_shown(each, is_duration=False)}" for name, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if is_duration and isinstance(value, int):
        return f'"{format_duration(value) if value else "0s"}"'
    return str(value) if isinstance(value, int | float) or type(value).__name__ == "Decimal" else f'"{value}"'


def _sentence(text: str | None) -> str:
    return "" if not text else text[0].upper() + text[1:].rstrip(".") + "."


if __name__ == "__main__":
    sys.stdout.write(reference())
