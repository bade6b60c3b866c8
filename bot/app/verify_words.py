"""What is not now what it was then, in words for a person."""

from collections.abc import Generator
from typing import Any

import msgspec

from bot.core.deliveries import Told, Verb


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not now what it was then."""

    number: int  # of the message's note that it shows at
    actor: str
    during: str = ""  # what kind of message that is
    what: str
    then: str  # in the run
    now: str  # run again
    changed: tuple[str, ...] = ()  # which fields, where both are of one kind


def describe(told: Told) -> str:
    """Return what a note tells, for a person."""
    doing = {Verb.TOOK: "took", Verb.HEARD: "heard", Verb.DID: "asked for"}.get(told.verb, "began with")
    return f"{doing} {told.kind}: {text_of(told.value)}"


def text_of(value: Any) -> str:
    """Return a value as canonical text; of columns, how many rows."""
    kind = type(value).__name__
    text = msgspec.json.encode(value, enc_hook=_shorten).decode()
    return text if not isinstance(value, msgspec.Struct) or f'"type":"{kind}"' in text else f"{kind} {text}"


def changes(then: Any, now: Any) -> tuple[str, ...]:
    """Return the leaves that differ, in words."""
    left, right = (dict(_leaves(msgspec.to_builtins(each, enc_hook=_shorten))) for each in (then, now))
    names = [name for name in {**left, **right} if left.get(name) != right.get(name)]
    return tuple(f"{name}: {left.get(name, 'nothing')} then, {right.get(name, 'nothing')} now" for name in names[:8])


def _leaves(value: Any, prefix: str = "") -> Generator[tuple[str, Any], None, None]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{prefix}[{number}]")
    else:
        yield prefix, value


def _shorten(value: Any) -> Any:
    if hasattr(value, "tolist"):
        listed = value.tolist()
        is_short = not isinstance(listed, list) or len(listed) <= 8
        return listed if is_short else [*listed[:8], f"and {len(listed) - 8} more"]
    return repr(value)
