"""The shell: asks Telegram, hands updates to `Control`, carries out what it says, and tells what is to be told.

It runs in tasks of its own. What it waits for has a time limit, what it holds has a bound, and nothing of the bot ever
waits for it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from bot.core.past_trades import Unit
from bot.core.redaction import Redactor
from bot.domain.errors import BotError, DataError, StorageError
from bot.domain.history import EquityPoint
from bot.domain.operation import CommandDone, ForecastView, Notice, Severity, Snapshot
from bot.operator.telegram import answers
from bot.operator.telegram.chat_api import (
    UPDATES_AT_ONCE,
    ApiFailed,
    ApiRefused,
    ChatApi,
    TokenRefused,
    TokenShared,
)
from bot.operator.telegram.control import Control, Do, Effect, Offer, Say, Seen, Show, Warn, name_of
from bot.operator.telegram.offsets import Mark, OffsetFile
from bot.operator.telegram.text import Text
from bot.operator.telegram.updates import update_id_of
from bot.operator.telegram.verbs import Look
from bot.operator.trace import Trace
from bot.ports import Clock, LedgerQueries, NoticeSink, OffLoop, Operated

log = structlog.get_logger()

_S = 1_000_000_000
_DAY_NS = 86_400 * _S
_LOOKS_MAX = 20
_DOING_MAX = 16
_LOOK_S = 15.0
_DISK_S = 5.0
_TRIES = 4
_RETRY_MOST_S = 30.0
_PERIODS: dict[str, tuple[Unit, int]] = {"daily": ("day", 7), "weekly": ("week", 8), "monthly": ("month", 6)}


class Painter(Protocol):
    """Draws pictures; both methods take a while."""

    def equity(self, points: Sequence[EquityPoint], currency: str) -> bytes:
        """Return a PNG of equity, at least two points."""

    def forecast(self, view: ForecastView, past: Sequence[tuple[int, float]]) -> bytes:
        """Return a PNG of a forecast, after what the price was before it: time in ns, price."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How long is waited for what."""

    pause_s: float = 0.05  # between two questions for updates
    flood_s: float = 0.02  # likewise, while they come in full pages
    backoff_first_s: float = 1.0
    backoff_most_s: float = 60.0
    refused_s: float = 300.0  # after a token was refused
    sharing_s: float = 60.0  # from the start on: our own last question may still hang when we ask again
    silence_s: float = 300.0  # without an answer, until somebody is told
    patience_s: float = 30.0  # with a command, until its sender is told that it takes long


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What may be shown besides the snapshot."""

    config: str = ""  # the settings in force, without secrets
    log_lines: Callable[[int], list[str]] = lambda count: []  # the last lines of the log; it blocks


class TelegramChannel:
    """Commands in, answers out.

    Args:
        operators: the user ids that may command and are told.
        alerts: who is told of trouble with the channel itself; not by Telegram alone.
        disk: where the mark is written, and nothing else, so that it never waits behind a question.
        off_loop: where the ledger and the log are read and pictures drawn.
        clock: the wall's.
        acknowledge: called when an operator has seen the alerts, with who.

    Attributes:
        is_listening: commands are taken.
        counts: updates, answers, failures, dropped...; since the start.
    """

    def __init__(
        self,
        api: ChatApi,
        *,
        operated: Operated,
        operators: Sequence[int],
        control: Control,
        offsets: OffsetFile,
        alerts: NoticeSink,
        disk: OffLoop,
        off_loop: OffLoop,
        clock: Clock,
        queries: LedgerQueries | None = None,
        trace: Trace | None = None,
        painter: Painter | None = None,
        shown: Shown | None = None,
        redact: Redactor | None = None,
        acknowledge: Callable[[str], int] = lambda by: 0,
        pace: Pace | None = None,
    ) -> None:
        self._api = api
        self._operated = operated
        self._operators = tuple(operators)
        self._control = control
        self._offsets = offsets
        self._alerts = alerts
        self._disk = disk
        self._off_loop = off_loop
        self._clock = clock
        self._queries = queries
        self._trace = trace or Trace()
        self._painter = painter
        self._shown = shown or Shown()
        self._redact = redact or Redactor()
        self._acknowledge = acknowledge
        self._pace = pace or Pace()
        self._looks: asyncio.Queue[Show | Say | Offer] = asyncio.Queue(_LOOKS_MAX)
        self._doing: set[asyncio.Task[None]] = set()
        self._obeying: set[asyncio.Task[CommandDone]] = set()
        self._mark: Mark | None = None
        self.is_listening = False
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Serve until cancelled; return only when the control channel is off for good."""
        tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._answer())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a slip of ours ends the channel, and whoever runs it begins it again
        finally:
            self.is_listening = False
            tasks += self._doing
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def tell(self, text: Text) -> None:
        """Tell every operator something of its own accord: the daily summary."""
        for user_id in self._operators:
            await self._say(user_id, text)

    def show_config(self, config: str) -> None:
        """Show these settings as those in force from now on."""
        self._shown = msgspec.structs.replace(self._shown, config=config)

    # Updates.

    async def _listen(self) -> None:
        started_ns = self._clock.now_ns()
        self._mark = await self._disk(self._offsets.load)
        heard_ns, wait_s = started_ns, self._pace.backoff_first_s
        is_told = False
        await self._announce()
        self.is_listening = True
        while True:
            try:
                raws = await self._api.updates(self._offset(self._clock.now_ns()))
            except TokenShared:
                self.counts["conflicts"] += 1
                if self._clock.now_ns() - started_ns > self._pace.sharing_s * _S:
                    self._switch_off()
                    return
                await asyncio.sleep(self._pace.backoff_first_s)
                continue
            except ApiFailed as error:
                self.counts["failures"] += 1
                is_refused = isinstance(error, TokenRefused)
                if not is_told and (is_refused or self._clock.now_ns() - heard_ns > self._pace.silence_s * _S):
                    is_told = True
                    self._warn("telegram.went_silent", Severity.ERROR, f"Telegram does not answer: {error}")
                await asyncio.sleep(self._pace.refused_s if is_refused else error.retry_after_s or wait_s)
                wait_s = min(2 * wait_s, self._pace.backoff_most_s)
                continue
            if is_told:
                self._warn("telegram.came_back", Severity.INFO, "Telegram answers again")
            heard_ns, wait_s, is_told = self._clock.now_ns(), self._pace.backoff_first_s, False
            has_moved = await self._take(raws)
            if has_moved and len(raws) >= UPDATES_AT_ONCE:
                # More wait, and an operator's word may stand behind a stranger's flood; the machine is trading's.
                await asyncio.sleep(self._pace.flood_s)
            else:
                await asyncio.sleep(self._pace.pause_s if has_moved or not raws else self._pace.backoff_first_s)

    def _offset(self, now_ns: int) -> int | None:
        return self._mark.update_id + 1 if self._mark is not None and self._mark.is_good(now_ns) else None

    async def _take(self, raws: Sequence[object]) -> bool:
        """Write down how far updates were taken, then do what they say; return whether it was any further."""
        now_ns = self._clock.now_ns()
        self.counts["updates"] += len(raws)
        numbers = [number for raw in raws if (number := update_id_of(raw)) is not None]
        before = self._mark.update_id if self._mark is not None and self._mark.is_good(now_ns) else -1
        has_moved = bool(numbers) and max(numbers) > before
        is_durable = True
        if has_moved:
            mark = Mark(update_id=max(numbers), taken_ns=now_ns)
            try:
                async with asyncio.timeout(_DISK_S):
                    await self._disk(lambda: self._offsets.save(mark))
                self._mark = mark
            except (StorageError, TimeoutError) as error:
                is_durable = False
                log.error("telegram.offset_not_written", error=str(error) or "the disk hangs")
        known = len(self._control.strangers)
        for raw in raws:
            number = update_id_of(raw)
            if number is not None and number <= before:
                self._control.ignored["duplicate"] += 1
                continue
            for effect in self._control.handle(raw, now_ns, is_durable=is_durable):
                self._carry_out(effect)
        for user_id in self._control.strangers[known:]:
            log.warning("telegram.stranger_wrote", user_id=user_id)
        return has_moved and is_durable

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Do():
                if len(self._doing) >= _DOING_MAX:
                    self.counts["dropped"] += 1
                    return
                # Beside everything else: a kill waits neither for an answer nor for a slow command.
                task = asyncio.create_task(self._do(effect))
                self._doing.add(task)
                task.add_done_callback(self._end)
            case Show() | Say() | Offer():
                if self._looks.full():
                    self.counts["dropped"] += 1
                else:
                    self._looks.put_nowait(effect)
            case Seen(user_id=user_id):
                seen = self._acknowledge(f"telegram:{user_id}")
                self._carry_out(Say(user_id=user_id, text=Text(head=f"{answers.many(seen, 'alert')} acknowledged.")))
            case Warn(notice=notice):
                self._alerts.tell(notice)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._doing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("telegram.command_failed", error=self._redact(f"{type(error).__name__}: {error}"))
            self._warn("telegram.command_failed", Severity.ERROR, "a command by Telegram failed; see the log")

    async def _do(self, wish: Do) -> None:
        name = name_of(wish.command)
        log.info("telegram.command_given", command=name, by=wish.by)
        # Whoever waits for a command may give up; the command itself is never broken off half way.
        obeying = asyncio.create_task(self._obey(wish))
        self._obeying.add(obeying)
        obeying.add_done_callback(self._obeying.discard)
        done, _ = await asyncio.wait({obeying}, timeout=self._pace.patience_s)
        if not done:
            await self._say(wish.user_id, Text(head=f"{name}: no word from the bot yet; look at /status"))
            await asyncio.wait({obeying})
        await self._say(wish.user_id, answers.done(name, obeying.result()))

    async def _obey(self, wish: Do) -> CommandDone:
        try:
            return await self._operated.obey(wish.command, wish.by)
        except BotError as error:
            return CommandDone(is_done=False, text=str(error))

    def _switch_off(self) -> None:
        self.is_listening = False
        self._warn(
            "telegram.token_shared",
            Severity.CRITICAL,
            "somebody else asks Telegram for this bot's updates: its token may be stolen. Commands by Telegram are off "
            "until a restart; revoke the token with BotFather, and use `bot kill` on the host",
        )

    def _warn(self, kind: str, severity: Severity, text: str) -> None:
        self._alerts.tell(Notice(ts_ns=self._clock.now_ns(), kind=kind, severity=severity, text=self._redact(text)))

    async def _announce(self) -> None:
        try:
            await self._api.announce()
        except ApiFailed as error:  # the menu is a comfort
            log.info("telegram.menu_not_set", error=str(error))

    # Answers.

    async def _answer(self) -> None:
        while True:
            match await self._looks.get():
                case Say(user_id=user_id, text=text):
                    await self._say(user_id, text)
                case Offer(user_id=user_id) as offer:
                    await self._say(user_id, await self._offered(offer))
                case Show(user_id=user_id, look=look):
                    try:
                        async with asyncio.timeout(_LOOK_S):
                            text = await self.compose(look)
                    except TimeoutError:
                        text = Text(head="That takes too long now; try again later.")
                    except DataError as error:
                        text = Text(head="That cannot be told now.", body=str(error))
                    await self._say(user_id, text)

    async def _offered(self, offer: Offer) -> Text:
        """Return what a command would do, and how to have it done."""
        try:
            what = await self._operated.foresee(offer.command)
        except DataError as error:
            return Text(head=f"{name_of(offer.command)}: nothing was done.", body=str(error))
        return Text(
            head=f"{name_of(offer.command)}: {what}",
            body=f"To do it, answer within 60 s with {offer.code}\nElse nothing happens.",
        )

    async def _say(self, user_id: int, text: Text) -> None:
        """Say something, and again where Telegram was in trouble; then give up."""
        text = msgspec.structs.replace(text, head=self._redact(text.head), body=self._redact(text.body))
        wait_s = self._pace.backoff_first_s
        for turn in range(_TRIES):
            try:
                await self._api.say(user_id, text)
            except ApiRefused:
                break
            except ApiFailed as error:
                self.counts["failures"] += 1
                if turn + 1 < _TRIES:
                    await asyncio.sleep(min(error.retry_after_s or wait_s, _RETRY_MOST_S))
                wait_s *= 2
            else:
                self.counts["answers"] += 1
                return
        self.counts["dropped"] += 1

    async def compose(self, look: Look) -> Text:
        """Return what an operator wants to see.

        Raises:
            DataError: the ledger cannot be read, or the bot does not answer.
        """
        snapshot = await self._operated.snapshot()
        match look.topic:
            case "help":
                return answers.help_text()
            case "status":
                return answers.status(snapshot, is_table=look.is_table)
            case "positions":
                return answers.positions(snapshot)
            case "balance":
                return answers.balance(snapshot)
            case "count":
                return answers.count(snapshot)
            case "locks":
                return answers.locks(snapshot)
            case "health":
                return answers.health(snapshot)
            case "version":
                return answers.version(snapshot)
            case "orders" if not look.count:
                return answers.open_orders(snapshot)
            case "show_config":
                return Text(head="The settings in force", body=self._shown.config or "not known here", is_table=True)
            case "logs":
                said = await self._off_loop(lambda: self._shown.log_lines(look.count or 10))
                return answers.lines("The log's last lines", said)
            case "forecast":
                return await self._forecast(snapshot, look.instrument)
        return await self._past(snapshot, look)

    async def _past(self, snapshot: Snapshot, look: Look) -> Text:
        queries = self._queries
        if queries is None:
            return Text(head="There is no ledger to ask here.")
        # The ledger's rows are of the bot's clock, not the wall's.
        now_ns, currency = snapshot.now_ns, snapshot.currency
        if look.topic in _PERIODS:
            unit, usual = _PERIODS[look.topic]
            return answers.periods(
                unit, await self._off_loop(lambda: queries.periods(unit, look.count or usual, now_ns)), currency
            )
        match look.topic:
            case "profit":
                total = await self._off_loop(queries.total)
                by_instrument = await self._off_loop(queries.by_instrument)
                return answers.profit(snapshot, total, by_instrument, await self._off_loop(queries.by_strategy))
            case "trades":
                return answers.trades(await self._off_loop(lambda: queries.trades(look.count or 10)), currency)
            case "orders":
                return answers.past_orders(await self._off_loop(lambda: queries.orders(look.count)))
            case "equity":
                return await self._equity(snapshot, Text(head="Equity by day"))
        by_instrument = await self._off_loop(queries.by_instrument)
        return answers.performance(by_instrument, currency, await self._off_loop(queries.by_strategy))

    async def summary(self) -> Text:
        """Return the last whole UTC day, with a picture of equity.

        Raises:
            DataError: the ledger cannot be read, or the bot does not answer.
        """
        snapshot, queries = await self._operated.snapshot(), self._queries
        if queries is None:
            return answers.balance(snapshot)
        days = await self._off_loop(lambda: queries.periods("day", 2, snapshot.now_ns))
        return await self._equity(snapshot, answers.summary(snapshot, days[0]))

    async def _equity(self, snapshot: Snapshot, text: Text) -> Text:
        queries, painter = self._queries, self._painter
        since_ns = snapshot.now_ns - 90 * _DAY_NS
        points = [] if queries is None else list(await self._off_loop(lambda: queries.equity(since_ns, 90)))
        # What the ledger keeps is daily; what was seen since its last day is finer.
        last_ns = points[-1].ts_ns if points else 0
        points += [point for point in self._trace.equity() if point.ts_ns > last_ns]
        if len(points) < 2:
            return msgspec.structs.replace(text, body=text.body or "Too young for a picture.")
        if painter is None:
            return msgspec.structs.replace(text, body=text.body or "No pictures here: install pillow.")
        picture = await self._off_loop(lambda: painter.equity(points, snapshot.currency))
        return msgspec.structs.replace(text, picture=picture)

    async def _forecast(self, snapshot: Snapshot, instrument: str) -> Text:
        text = answers.forecast_line(snapshot, instrument)
        views = [view for view in snapshot.forecasts if not instrument or view.instrument == instrument]
        painter = self._painter
        if not views or painter is None or not views[0].quantiles:
            return text
        view = views[0]
        past = self._trace.prices(view.instrument)
        return msgspec.structs.replace(text, picture=await self._off_loop(lambda: painter.forecast(view, past)))
