"""What a live feed was told, as lines of a capture file, and back.

A line is `time kind name number rest`, separated by single blanks: the time in ns UTC, who it is of and with which
number, and what came. A message stands as it came, unless it holds a line end: then it is base64, and its kind is upper
case.

| kind | what | name, number | rest |
|---|---|---|---|
| `h` | the head: what was wanted, and how | `-` 0 | JSON |
| `s`, `x` | start, stop | `-` 0 | |
| `o` | a connection opened | its own | |
| `c` | it is gone | its own | `1` where the address was shut out, else `0`, and why |
| `m` | a message; those of one connection and one time were read together | the connection's | the message |
| `n` | a message of another read, though at the time of the one before | the connection's | the message |
| `j` | a message of the same read as the one before, though at another time | the connection's | the message |
| `t` | time passed | `-` 0 | |
| `a` | an answer of REST | `-`, the question's | the HTTP status (0: none came) and the body |
"""

import base64
from collections.abc import Iterable, Iterator
from typing import Any

from bot.domain.errors import DataError

Event = tuple[str, tuple[Any, ...], dict[str, Any]]
"""Which method of the feed, and what it was told."""

Read = tuple[int, str, int]
"""When a message was read, and of which connection."""

MESSAGES = frozenset([b"m", b"n", b"j"])
"""The kinds of lines that are messages."""

_WORDS = {b"s": "start", b"x": "stop", b"o": "on_open", b"t": "on_time"}
_TIME_FIRST_NS, _TIME_LAST_NS = 978_307_200 * 10**9, 4_102_444_800 * 10**9


def head_line(time_ns: int, head: bytes) -> bytes:
    """Return the first line of a capture."""
    return _line(time_ns, b"h", "-", 0, head)


def event_lines(event: str, values: tuple[Any, ...], named: dict[str, Any], after: Read | None = None) -> bytes:
    """Return the lines of what a feed is told, each with its end.

    Args:
        event, values, named: what it is told.
        after: of the last message, where messages were told just before; see `last_read`.
    """
    match event:
        case "on_messages":
            name, number, messages = values
            lines = []
            for at, (time_ns, raw) in enumerate(messages):
                is_alike = after == (time_ns, name, number)
                kind = b"m" if is_alike == bool(at) else b"j" if at else b"n"
                lines.append(_line(time_ns, kind, name, number, raw))
                after = time_ns, name, number
            return b"".join(lines)
        case "start" | "stop" | "on_time":
            kind = {"start": b"s", "stop": b"x", "on_time": b"t"}[event]
            return _line(values[0], kind, "-", 0, b"")
        case "on_open":
            name, number, time_ns = values
            return _line(time_ns, b"o", name, number, b"")
        case "on_closed":
            name, number, reason, time_ns = values
            rest = b"%d %s" % (named.get("is_banned", False), reason.encode())
            return _line(time_ns, b"c", name, number, rest)
        case "on_answer":
            number, status, body, time_ns = values
            return _line(time_ns, b"a", "-", number, b"%d " % status + body)
    raise ValueError(f"a feed is never told {event}")


def last_read(event: str, values: tuple[Any, ...]) -> Read | None:
    """Return when the last message of an event was read, and of which connection; None where it is of none."""
    return (values[2][-1][0], values[0], values[1]) if event == "on_messages" else None


def _line(time_ns: int, kind: bytes, name: str, number: int, rest: bytes) -> bytes:
    if b"\n" in rest or b"\r" in rest:
        kind, rest = kind.upper(), base64.b64encode(rest)
    return b"%d %s %s %d %s\n" % (time_ns, kind, name.encode(), number, rest)


def split_line(line: bytes) -> tuple[int, bytes, str, int, bytes]:
    """Return a line's time, kind, name, number and rest.

    Raises:
        DataError: it is none of a capture.
    """
    parts = line.split(b" ", 4)
    try:
        time_text, kind, name, number, rest = parts
        time_ns = int(time_text)
        if kind.isupper():
            rest = base64.b64decode(rest, validate=True)
        if not _TIME_FIRST_NS <= time_ns < _TIME_LAST_NS or kind.lower() not in b"hsxoctmanj" or len(kind) != 1:
            raise ValueError("it is none")
        return time_ns, kind.lower(), name.decode("ascii"), int(number), rest
    except ValueError as error:
        raise DataError(f"no line of a capture: {line[:80]!r}") from error


def read_events(lines: Iterable[tuple[int, bytes]]) -> Iterator[Event]:
    """Yield what the feed was told, messages that came together told together, behind the head as ("head", ...).

    Raises:
        DataError: a line is none of a capture.
    """
    together: list[tuple[int, bytes]] = []
    of: tuple[int, str, int] | None = None
    for _, line in lines:
        time_ns, kind, name, number, rest = split_line(line)
        if kind in MESSAGES:
            is_same = of is not None and kind != b"n" and of[kind == b"j" :] == (time_ns, name, number)[kind == b"j" :]
            if of is not None and not is_same:
                yield "on_messages", (of[1], of[2], together), {}
                together = []
            of = (time_ns, name, number)
            together.append((time_ns, rest))
            continue
        if of is not None:
            yield "on_messages", (of[1], of[2], together), {}
            together, of = [], None
        yield _event(time_ns, kind, name, number, rest)
    if of is not None:
        yield "on_messages", (of[1], of[2], together), {}


def _event(time_ns: int, kind: bytes, name: str, number: int, rest: bytes) -> Event:
    if kind == b"h":
        return "head", (time_ns, rest), {}
    if kind == b"o":
        return "on_open", (name, number, time_ns), {}
    first, _, more = rest.partition(b" ")
    if kind == b"c":
        return "on_closed", (name, number, more.decode("utf-8", "replace"), time_ns), {"is_banned": first == b"1"}
    if kind == b"a":
        if not first.isdigit():
            raise DataError(f"an answer without its status: {rest[:40]!r}")
        return "on_answer", (number, int(first), more, time_ns), {}
    return _WORDS[kind], (time_ns,), {}
