"""Keeps the process of the operator's surfaces alive, and talks with it. Trading waits for none of it."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec
import structlog

from bot.app.surfaces_frames import (
    Foresee,
    Foreseen,
    Gone,
    Hide,
    Logged,
    Look,
    Obey,
    Obeyed,
    Seen,
    Tell,
    ToSurfaces,
    ToTrading,
    encode,
    read,
)
from bot.domain.errors import BotError, DataError
from bot.operator.contain import contain
from bot.operator.metrics import Gauge
from bot.ports import Operated
from bot.runtime.env import call_in_thread
from bot.runtime.processes import LinkedProcess

log = structlog.get_logger()

MODULE = "bot.app.surfaces_process"
_KEYS = ("BYBIT_API_KEY", "BYBIT_API_SECRET")  # of the venue: nothing that talks to people needs them
_WAITING_MAX = 256  # notices that wait for the process to begin
_UNREAD_MAX = 4 << 20  # bytes that it has not taken: more, and it is taken for stuck
_AGAIN_FIRST_S = 1.0
_AGAIN_MAX_S = 60.0
_SOUND_S = 60.0  # a life of so long was no failed start
_END_S = 2.0  # from the last word until it is ended
_FROM_SURFACES = msgspec.msgpack.Decoder(ToTrading)


class SurfacesLink:
    """The other end of `surfaces_process`, life after life.

    Args:
        opening: returns what each life is told first.
        module: what is run; another for tests.

    Attributes:
        counts: what became of notices by the end, by way and outcome.
        dropped: notices that were too many while no process took them.
        lives: how often it was begun.
        pid: of the process that lives now; 0: none.
    """

    def __init__(self, opening: Callable[[], list[ToSurfaces]], *, module: str = MODULE) -> None:
        self.counts: dict[str, int] = {}
        self.dropped = self.lives = self.pid = 0
        self._opening, self._module = opening, module
        self._bot: Operated | None = None
        self._gauges: Callable[[], list[Gauge]] = list
        self._waiting: deque[Tell] = deque()
        self._writer: asyncio.StreamWriter | None = None
        self._is_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._is_ending = False
        self._end_s = 0.0
        self._end: Callable[[], None] = lambda: None  # kills the process that lives: it is not to take that for our end

    def start(self) -> None:
        """Begin its first life."""
        if self._task is None:
            self._task = asyncio.create_task(contain("surfaces", self._run))

    def show(self, bot: Operated, gauges: Callable[[], list[Gauge]]) -> None:
        """Answer by this bot from now on."""
        self._bot, self._gauges = bot, gauges
        self._end_s = _END_S  # to take away what it shows

    def hide(self) -> None:
        """Answer no more."""
        self._bot = None
        self.say(Hide())

    def say(self, message: ToSurfaces) -> None:
        """Say something to the process that lives now, and at once; nothing where none does: see `opening`."""
        writer = self._writer
        if writer is None or not self._is_up.is_set():
            return
        if writer.transport.get_write_buffer_size() > _UNREAD_MAX:
            log.error("surfaces.stuck", unread=writer.transport.get_write_buffer_size())
            self._is_up.clear()
            self._end()
            return
        writer.write(encode(message))

    def tell(self, message: Tell) -> None:
        """Say something that waits where no process lives."""
        if self._is_up.is_set():
            self.say(message)
            return
        if len(self._waiting) >= _WAITING_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(message)

    async def close(self, last: ToSurfaces | None, seconds: float) -> None:
        """End it: with a last word where there is one, and some seconds to act on it.

        Args:
            last: None ends it as it stands.
        """
        self._is_ending = True
        task, self._task = self._task, None
        if task is None:
            return
        if last is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._is_up.wait()  # it may have only just begun, and be told all of it now
                    self.say(last)
                    await asyncio.wait({task})
        task.cancel()
        await asyncio.gather(task, *self._answering, return_exceptions=True)

    async def _run(self) -> None:
        loop, wait_s = asyncio.get_running_loop(), _AGAIN_FIRST_S
        while True:
            began_s = loop.time()
            try:
                await self._live()
            except OSError as error:
                log.error("surfaces.not_started", reason=str(error))
            if self._is_ending:
                return
            if loop.time() - began_s > _SOUND_S:
                wait_s = _AGAIN_FIRST_S
            log.error("surfaces.died", again_in_s=wait_s, lives=self.lives)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _AGAIN_MAX_S)

    async def _live(self) -> None:
        process = await self._begin()
        self.lives, self.pid, self._end = self.lives + 1, process.pid, process.kill
        try:
            reader, writer = await asyncio.open_connection(sock=process.end)
            try:
                for message in (*self._opening(), *self._waiting):
                    writer.write(encode(message))
                self._waiting.clear()
                self._writer = writer
                self._is_up.set()
                while (body := await read(reader)) is not None:
                    self._hear(_FROM_SURFACES.decode(body))
            except (DataError, msgspec.MsgspecError):
                self._end()
                raise
            finally:
                self._writer = None
                self._is_up.clear()
                writer.transport.abort()  # nobody reads what is left; its socket's number is free again below
        except (DataError, msgspec.MsgspecError) as error:
            log.error("surfaces.garbled", reason=str(error))
        finally:
            self.pid, self._end = 0, lambda: None
            process.end.close()
            await asyncio.shield(call_in_thread(lambda: process.wait(self._end_s)))

    async def _begin(self) -> LinkedProcess:
        beginning = asyncio.ensure_future(call_in_thread(lambda: LinkedProcess(self._module, without=_KEYS)))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            process = await beginning
            process.end.close()
            await call_in_thread(lambda: process.wait(0.0))
            raise

    def _hear(self, message: ToTrading) -> None:
        match message:
            case Logged(level=level, event=event, fields=fields):
                getattr(log, level if level in _LEVELS else "error")(event, **fields)
            case Gone(counts=counts):
                self.counts = counts
            case Look() | Foresee() | Obey():
                task = asyncio.create_task(self._answer(message))
                self._answering.add(task)
                task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("surfaces.answer_failed", exc_info=error)

    async def _answer(self, asked: Look | Foresee | Obey) -> None:
        bot = self._bot
        if bot is None:
            return  # nobody asks before there is one
        try:
            match asked:
                case Look(number=number):
                    snapshot = await bot.snapshot()
                    self.say(Seen(number=number, snapshot=snapshot, gauges=tuple(self._gauges())))
                case Foresee(number=number, command=command):
                    self.say(Foreseen(number=number, text=await bot.foresee(command)))
                case Obey(number=number, command=command, by=by):
                    self.say(Obeyed(number=number, done=await bot.obey(command, by)))
        except BotError as error:
            log.error("surfaces.not_answered", asked=type(asked).__name__, reason=str(error))


_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})
