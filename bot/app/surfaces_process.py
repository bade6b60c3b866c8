"""The process of the operator's surfaces: status, alerts, Telegram, heartbeat, outside of the process that trades.

`python -m bot.app.surfaces_process`, with one end of a socket as its standard input; see `surfaces_frames`. It sees the
bot through that socket alone, has no key of the venue, and reads the ledger like any report. Where the bot ends without
a word, people are told by this process.
"""

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog

from bot.app.alerting import Alerting, tail_of
from bot.app.status import serving_status
from bot.app.surfaces_frames import (
    ANSWER_S,
    Begin,
    Change,
    End,
    Foresee,
    Foreseen,
    Gone,
    Hide,
    Logged,
    Look,
    Obey,
    Obeyed,
    Seen,
    Serve,
    Tell,
    ToSurfaces,
    ToTrading,
    encode,
    read,
)
from bot.domain.errors import BotError, DataError
from bot.domain.operation import CommandDone, Notice, OperatorCommand, Severity, Snapshot
from bot.operator.metrics import Gauge
from bot.operator.telegram.channel import Shown
from bot.runtime import secrecy
from bot.runtime.alert_settings import AlertSettings, read_alert_secrets
from bot.runtime.env import SystemClock
from bot.runtime.operator_settings import StatusSettings
from bot.store.ledger_queries import LedgerHistory

_NICENESS = 5  # trading comes first
_FROM_TRADING = msgspec.msgpack.Decoder(ToSurfaces)
_VANISHED = (
    "the trading process is gone without a word: killed, or out of memory. Nobody watches open orders and positions; "
    "look at the host"
)


class RemoteBot:
    """A `ports.Operated` at the other end of a socket.

    Args:
        writer: to the bot.

    Attributes:
        gauges: what the newest snapshot came with.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.gauges: tuple[Gauge, ...] = ()
        self._writer = writer
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}

    async def snapshot(self) -> Snapshot:
        """See `ports.Operated`."""
        seen: Seen = await self._ask(Look(number=next(self._numbers)))
        self.gauges = seen.gauges
        return seen.snapshot

    async def foresee(self, command: OperatorCommand) -> str:
        """See `ports.Operated`."""
        foreseen: Foreseen = await self._ask(Foresee(number=next(self._numbers), command=command))
        return foreseen.text

    async def obey(self, command: OperatorCommand, by: str) -> CommandDone:
        """See `ports.Operated`."""
        try:
            obeyed: Obeyed = await self._ask(Obey(number=next(self._numbers), command=command, by=by))
        except DataError as error:
            return CommandDone(is_done=False, text=f"{error}; it may do it yet: look at the state, or at the host")
        return obeyed.done

    def hear(self, answer: Seen | Foreseen | Obeyed) -> None:
        """Take an answer."""
        asked = self._asked.pop(answer.number, None)
        if asked is not None and not asked.done():
            asked.set_result(answer)

    def say(self, message: ToTrading) -> None:
        """Say something."""
        self._writer.write(encode(message))

    async def _ask(self, question: Look | Foresee | Obey) -> Any:
        answer = self._asked[question.number] = asyncio.get_running_loop().create_future()
        self.say(question)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise DataError(f"the bot has not answered for {ANSWER_S:.0f} s") from None
        finally:
            self._asked.pop(question.number, None)


class _Surfaces:
    """All of them, from the first frame to the last."""

    def __init__(self, begin: Begin, bot: RemoteBot) -> None:
        self._bot, self._begin = bot, begin
        self._status = StatusSettings.model_validate_json(begin.status)
        settings = AlertSettings.model_validate_json(begin.alerts)
        secrets = read_alert_secrets(settings)
        secrecy.remember(secrets.values())
        self._alerting = Alerting(
            settings,
            secrets,
            clock=SystemClock(),  # people live by the wall's, also where the market runs faster
            directory=Path(begin.ledger_directory),
        )
        self._serving: asyncio.Task[None] | None = None
        self._alerting.start()

    def take(self, message: ToSurfaces) -> bool:
        """Do what a frame says; return whether there is more to come."""
        match message:
            case Tell(notice=notice):
                self._alerting.alerts.tell(notice)
            case Seen() | Foreseen() | Obeyed():
                self._bot.hear(message)
            case Serve() if self._serving is None:
                self._serving = asyncio.create_task(self._serve(message))
            case Hide():
                self._hide()
            case Change(alerts=alerts, config=config):
                self._alerting.change(AlertSettings.model_validate_json(alerts))
                if self._alerting.channel is not None:
                    self._alerting.channel.show_config(config)
            case End():
                return False
        return True

    async def end(self, *, is_in_order: bool) -> None:
        """Show nothing more, and deliver the last words."""
        if (serving := self._hide()) is not None:
            await asyncio.gather(serving, return_exceptions=True)
        if not is_in_order:
            notice = Notice(
                ts_ns=SystemClock().now_ns(), kind="run.vanished", severity=Severity.CRITICAL, text=_VANISHED
            )
            self._alerting.alerts.tell(notice)
        await self._alerting.close()
        counts = {"/".join(value for _, value in each.labels): each.value for each in self._alerting.counters()}
        self._bot.say(Gone(counts=counts))

    def _hide(self) -> asyncio.Task[None] | None:
        if self._serving is not None:
            self._serving.cancel()
        return self._serving

    async def _serve(self, serve: Serve) -> None:
        directory, queries = Path(self._begin.directory), LedgerHistory(serve.ledger)
        shown = Shown(config=serve.config, log_lines=tail_of(directory / "log.jsonl"))
        seen = _Counted(self._bot, self._alerting)
        async with serving_status(seen, self._status, directory, lambda: self._bot.gauges):
            await self._alerting.serve(seen, queries=queries, shown=shown)


class _Counted:
    """An `Operated` whose snapshot tells what became of notices, too."""

    def __init__(self, bot: RemoteBot, alerting: Alerting) -> None:
        self._bot, self._alerting = bot, alerting
        self.foresee, self.obey = bot.foresee, bot.obey

    async def snapshot(self) -> Snapshot:
        """See `ports.Operated`."""
        view = await self._bot.snapshot()
        return msgspec.structs.replace(view, counters=(*view.counters, *self._alerting.counters()))


class _OtherLibraries(logging.Handler):
    """Hands over what libraries log."""

    def __init__(self, bot: RemoteBot) -> None:
        super().__init__(logging.WARNING)
        self._bot = bot

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        fields = {"logger": record.name}
        if record.exc_info:
            fields["exception"] = "".join(traceback.format_exception(*record.exc_info))
        self._bot.say(Logged(level=record.levelname.lower(), event=record.getMessage(), fields=fields))


def _log_to(bot: RemoteBot) -> None:
    """Have what is logged here stand in the run's log, which hides secrets and is one file with one writer."""

    def hand_over(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        bot.say(Logged(level=name, event=str(event.pop("event", "")), fields=dict(event)))
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.processors.format_exc_info, hand_over],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    logging.getLogger().handlers = [_OtherLibraries(bot)]
    logging.captureWarnings(True)


async def _live(end: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=end)
    bot = RemoteBot(writer)
    first = await read(reader)
    begin = None if first is None else _FROM_TRADING.decode(first)
    if not isinstance(begin, Begin):
        return
    _log_to(bot)
    surfaces = _Surfaces(begin, bot)
    # Only now: on a busy machine its own beginning would take longer than a run that fails at once.
    with suppress(OSError):
        os.nice(_NICENESS)
    goes_on = True
    while goes_on and (body := await read(reader)) is not None:
        goes_on = surfaces.take(_FROM_TRADING.decode(body))
    await surfaces.end(is_in_order=not goes_on)
    with suppress(OSError):
        await writer.drain()
        writer.close()
        await writer.wait_closed()


def main() -> None:
    """Serve until the bot ends, in order or not."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # it ends with the bot, which has heard the signal, too
    sys.excepthook = secrecy.show_uncaught
    try:
        asyncio.run(_live(socket.socket(fileno=0)))
    except BotError as error:
        sys.stderr.write(f"surfaces: {secrecy.hide(str(error))}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
