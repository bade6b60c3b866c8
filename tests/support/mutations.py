"""Messages with something wrong in them: bytes turned, cut, doubled, and JSON with other values and keys."""

import json
import random
from collections.abc import Callable
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e300, 2**70, "", "0", "-0", "-1", "1e999", "NaN", "Infinity", "1_000", "\u0661",
    "x" * 200, "\x00", [], {}, [[]], ["1"], {"a": 1}, "UNKNOWN", "9" * 40, "0." + "0" * 30 + "1",
)  # fmt: skip


def mutated(raw: bytes, dice: random.Random) -> bytes:
    """Return a message with one to three things wrong: in its bytes, or in what they say."""
    for _ in range(dice.randint(1, 3)):
        raw = dice.choice(_KINDS)(raw, dice)
    return raw


def _flip(raw: bytes, dice: random.Random) -> bytes:
    changed = bytearray(raw or b"x")
    changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def _cut(raw: bytes, dice: random.Random) -> bytes:
    return raw[: dice.randrange(len(raw) + 1)]


def _leave_out(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw) + 1)
    return raw[:at] + raw[at + dice.randint(1, 20) :]


def _twice(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw) + 1)
    return raw[: at + dice.randint(1, 60)] + raw[at:]


def _deep(raw: bytes, dice: random.Random) -> bytes:
    return raw + b"[" * dice.choice((1, 2_000))


def _change(raw: bytes, dice: random.Random) -> bytes:
    """Return JSON with a value, somewhere in it, that is another; what is no JSON as it is."""
    try:
        whole = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    at = whole
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
        if not keys:
            return raw
        key = dice.choice(keys)
        if isinstance(at[key], dict | list) and at[key] and dice.random() < 0.85:
            at = at[key]
            continue
        if isinstance(at, dict) and dice.random() < 0.2:
            del at[key]
        else:
            at[key] = dice.choice(VALUES)
        return json.dumps(whole).encode()


_KINDS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _cut, _leave_out, _twice, _deep, _change, _change, _change, _change, _change,
)  # fmt: skip
