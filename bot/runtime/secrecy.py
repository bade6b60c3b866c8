"""What this process must never show, for what it says outside its logs: its last words, and what others look at.

Secrets are those that were handed out by `remember`, and whatever the environment names like one.
"""

import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import TracebackType

from bot.core.redaction import Redactor

_NAMED_LIKE_ONE = ("KEY", "SECRET", "TOKEN", "PASSWORD", "PGPASS", "URL")
_SHORTEST = 8  # characters: hiding every "true" would hide the message, not a secret
_remembered: set[str] = set()


def remember(secrets: Iterable[str]) -> None:
    """Keep secrets that were read, so that no last word of this process shows them."""
    _remembered.update(each for each in secrets if len(each) >= _SHORTEST)


def hide(text: str) -> str:
    """Return a text without all that is known by now."""
    return _redactor(frozenset(_remembered))(text)


def show_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write the traceback of an error that nobody caught, as `sys.excepthook` does, without secrets."""
    sys.stderr.write(hide("".join(traceback.format_exception(kind, error, trace))))


@lru_cache(maxsize=1)
def _redactor(remembered: frozenset[str]) -> Redactor:
    return Redactor([*remembered, *secrets_in(os.environ)])


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """Return the values that are named like secrets."""
    return [
        value
        for name, value in environment.items()
        if len(value) >= _SHORTEST and any(part in name.upper() for part in _NAMED_LIKE_ONE)
    ]
