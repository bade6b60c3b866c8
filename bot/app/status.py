"""Wires a running bot to its status server, and whoever looks at one to it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from bot.domain.errors import DataError
from bot.domain.operation import STATUS_FILE, Snapshot
from bot.operator.metrics import Gauge
from bot.operator.status_client import StatusAt, StatusClient, find_status
from bot.operator.status_server import StatusServer
from bot.ports import Operated
from bot.runtime.env import Stopwatch, make_token
from bot.runtime.operator_settings import StatusSettings

log = structlog.get_logger()


@asynccontextmanager
async def serving_status(
    operated: Operated,
    settings: StatusSettings,
    directory: Path,
    gauges: Callable[[], Sequence[Gauge]] = tuple,
) -> AsyncIterator[None]:
    """Serve a bot's state while it runs; `status.json` in the run's directory says where, to its owner alone.

    Trading needs none of it: what cannot be served is logged, and the bot goes on without.
    """
    if not settings.enabled:
        yield
        return
    token = make_token()
    server = StatusServer(
        operated,
        token=token,
        new_token=make_token,
        gauges=gauges,
        has_controls=settings.controls,
        open_metrics=settings.open_metrics,
        hosts=settings.hosts,
    )
    path = directory / STATUS_FILE
    try:
        at = await _listen(server, settings, token)
        _write_secret(path, msgspec.json.encode(at))
        log.info("status.served", at=at.url or at.socket)
    except OSError as error:
        log.error("status.not_served", reason=str(error))
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        await server.stop()


async def _listen(server: StatusServer, settings: StatusSettings, token: str) -> StatusAt:
    if settings.socket is not None:
        settings.socket.unlink(missing_ok=True)
        await server.listen_unix(settings.socket)
        settings.socket.chmod(0o600)
        return StatusAt(token=token, socket=str(settings.socket.resolve()), has_controls=settings.controls)
    try:
        url = await server.listen(settings.port)
    except OSError as error:
        log.warning("status.port_taken", port=settings.port, reason=error.strerror, instead="any free one")
        url = await server.listen(0)
    return StatusAt(token=token, url=url, has_controls=settings.controls)


async def look(directory: Path) -> Snapshot:
    """Return what there is to see of the bot of a run now.

    Raises:
        DataError: none runs there, or it does not answer.
    """
    client = StatusClient(find_status(directory))
    try:
        return await client.snapshot()
    finally:
        await client.close()


async def watch(directory: Path, every_s: float, show: Callable[[Snapshot | None, float, str], None]) -> None:
    """Look again and again, until cancelled; a bot that is gone or back is shown as such.

    Args:
        every_s: between two looks.
        show: told the newest snapshot, how many seconds old it is, and why there is no newer one.
    """
    newest: Snapshot | None = None
    age = Stopwatch()
    while True:
        trouble = ""
        try:
            newest, age = await look(directory), Stopwatch()
        except DataError as error:
            trouble = str(error)
        show(newest, age.seconds() if newest is not None else 0.0, trouble)
        await asyncio.sleep(every_s)


def _write_secret(path: Path, body: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, body)
    finally:
        os.close(descriptor)
    part.replace(path)
