"""What a trading process and the process of its operator's surfaces tell each other.

A frame is four bytes of length, little endian, and a message in MessagePack. Neither side waits for the other longer
than `ANSWER_S`.
"""

import asyncio
from typing import Any

import msgspec

from bot.domain.errors import DataError
from bot.domain.operation import CommandDone, Notice, OperatorCommand, Snapshot
from bot.operator.metrics import Gauge

ANSWER_S = 6.0  # a command of a person may take the bot five
_LENGTH_MAX = 16 << 20


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The first frame: who is told, and where things are. The process reads the secrets of the ways out by itself."""

    alerts: str  # `AlertSettings`, JSON
    status: str  # `StatusSettings`, JSON
    directory: str  # the run's
    ledger_directory: str  # what outlives it


class Serve(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """There is a run to look at."""

    config: str  # the settings in force, TOML, without secrets
    ledger: str  # a file, or a database's address


class Hide(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """There is no run to look at any more."""


class Change(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Settings have changed that may change while running."""

    alerts: str
    config: str


class Tell(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Tell people."""

    notice: Notice


class End(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The run ends in order: deliver the last words and go."""


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What there is to see, as was asked."""

    number: int
    snapshot: Snapshot
    gauges: tuple[Gauge, ...]


class Foreseen(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a command would do, as was asked."""

    number: int
    text: str


class Obeyed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What came of a command."""

    number: int
    done: CommandDone


class Look(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Somebody wants to see."""

    number: int


class Foresee(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Somebody wants to know what a command would do."""

    number: int
    command: OperatorCommand


class Obey(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Somebody gives a command."""

    number: int
    command: OperatorCommand
    by: str


class Logged(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A line for the run's log."""

    level: str
    event: str
    fields: dict[str, Any]


class Gone(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The last frame: what became of notices, by way and outcome."""

    counts: dict[str, int]


ToSurfaces = Begin | Serve | Hide | Change | Tell | End | Seen | Foreseen | Obeyed
ToTrading = Look | Foresee | Obey | Logged | Gone

_ENCODER = msgspec.msgpack.Encoder(enc_hook=str)


def encode(message: ToSurfaces | ToTrading) -> bytes:
    """Return a message as a frame."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(4, "little") + body


async def read(stream: asyncio.StreamReader) -> bytes | None:
    """Wait for a frame; return its message's bytes, None where the other side has gone.

    Raises:
        DataError: it says that it is longer than any frame.
    """
    try:
        length = int.from_bytes(await stream.readexactly(4), "little")
        if length > _LENGTH_MAX:
            raise DataError(f"a frame of {length} bytes")
        return await stream.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
