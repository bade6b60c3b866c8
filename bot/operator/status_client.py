"""Reads a running bot's status server: bounded in time and size, and with an error a person can act on."""

import math
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec

from bot.domain.errors import DataError
from bot.domain.operation import STATUS_FILE, CommandDone, OperatorCommand, Snapshot
from bot.operator.status_server import Foreseen

T = TypeVar("T")

_BYTES_MAX = 8 << 20
_TIMEOUT = aiohttp.ClientTimeout(total=3.0, connect=1.0)
_OBEY_TIMEOUT = aiohttp.ClientTimeout(total=35.0, connect=1.0)


class StatusAt(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run's status server is: the file `status.json` in its directory."""

    token: str
    url: str = ""  # http://127.0.0.1:<port>
    socket: str = ""  # instead of it
    has_controls: bool = False


def find_status(directory: Path) -> StatusAt:
    """Return where the status server of a run is.

    Raises:
        DataError: the run has none, or its file is damaged.
    """
    path = directory / STATUS_FILE
    try:
        if path.stat().st_size > 4_096:
            raise DataError(f"{path}: too large; delete it, and start the bot again")
        found = msgspec.json.decode(path.read_bytes(), type=StatusAt)
    except FileNotFoundError as error:
        raise DataError(f"{directory}: no running bot here (there is no {STATUS_FILE})") from error
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not found.socket and not found.url.startswith(("http://127.0.0.1:", "http://localhost:", "http://[::1]:")):
        raise DataError(f"{path}: names a server that is not on this machine; delete it, and start the bot again")
    return found


class StatusClient:
    """Asks one status server; made and closed on the event loop."""

    def __init__(self, at: StatusAt) -> None:
        self._at = at
        connector = aiohttp.UnixConnector(at.socket) if at.socket else aiohttp.TCPConnector(limit=2)
        self._session = aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {at.token}"})

    async def snapshot(self) -> Snapshot:
        """Return what there is to see now.

        Raises:
            DataError: nobody answers, or not what was asked for.
        """
        return decode_snapshot(await self._ask("GET", "/snapshot"))

    async def foresee(self, command: OperatorCommand) -> Foreseen:
        """Return what a command would do.

        Raises:
            DataError: commands are not taken, or nobody answers.
        """
        body = await self._ask("POST", "/foresee", msgspec.json.encode(command))
        return _decoded(body, Foreseen)

    async def obey(self, confirm: str, by: str) -> CommandDone:
        """Have carried out what was foreseen.

        Raises:
            DataError: it is too late, or nobody answers.
        """
        body = await self._ask("POST", "/obey", msgspec.json.encode({"confirm": confirm, "by": by}), _OBEY_TIMEOUT)
        return _decoded(body, CommandDone)

    async def close(self) -> None:
        """End the connection."""
        await self._session.close()

    async def _ask(
        self, method: str, path: str, body: bytes | None = None, limits: aiohttp.ClientTimeout = _TIMEOUT
    ) -> bytes:
        url = ("http://localhost" if self._at.socket else self._at.url) + path
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            request = self._session.request(
                method, url, data=body, headers=headers, timeout=limits, allow_redirects=False
            )
            async with request as answer:
                given = await answer.content.read(_BYTES_MAX + 1)
                while len(given) <= _BYTES_MAX and not answer.content.at_eof():
                    given += await answer.content.read(_BYTES_MAX + 1 - len(given))
                if len(given) > _BYTES_MAX:
                    raise DataError("the bot's answer is too large")
                if answer.status != 200:
                    raise DataError(given[:200].decode("utf-8", "replace").strip() or f"HTTP {answer.status}")
                return given
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            raise DataError(f"the bot does not answer ({reason}); look whether it runs") from error


def decode_snapshot(body: bytes) -> Snapshot:
    """Return a snapshot from its JSON, in which what is not known yet is null.

    Raises:
        DataError: it is none.
    """
    try:
        value = msgspec.json.decode(body)
        for each in value["forecasts"]:
            for name in ("coverage", "importance"):
                each[name] = [math.nan if number is None else float(number) for number in each.get(name, [])]
            each["quantiles"] = [[math.nan if q is None else float(q) for q in row] for row in each["quantiles"]]
        return msgspec.convert(value, Snapshot)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"the bot's answer is no snapshot ({error}); is it of this version?") from error


def _decoded(body: bytes, wanted: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=wanted)
    except msgspec.MsgspecError as error:
        raise DataError(f"the bot's answer cannot be read ({error}); is it of this version?") from error
