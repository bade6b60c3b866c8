"""The control channel against a Bot API over real HTTP, with everything that may go wrong there."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from bot.core.redaction import Redactor
from bot.domain.errors import ConfigError, StorageError
from bot.domain.operation import Flatten, Kill, Notice, Pause, Resume, Severity
from bot.operator.telegram.api import TelegramApi
from bot.operator.telegram.channel import Pace, TelegramChannel
from bot.operator.telegram.chat_api import ApiFailed
from bot.operator.telegram.control import Control
from bot.operator.telegram.offsets import Mark, OffsetFile
from bot.operator.telegram.text import Text
from tests.support.bot_api import TOKEN, BotApi, serve_bot_api
from tests.support.operated import FakeOperated, make_snapshot
from tests.support.telegram_updates import NOW_NS, NOW_S, OPERATOR, STRANGER, S, hostile_updates, update

T = TypeVar("T")
PACE = Pace(pause_s=0.001, flood_s=0.001, backoff_first_s=0.005, backoff_most_s=0.02, refused_s=0.02, sharing_s=0.0)
QUESTIONS = (
    *("status", "status table", "positions", "orders", "orders 5", "balance", "count", "locks", "health", "version"),
    *("help", "forecast", "forecast BTCUSDT", "show_config", "logs", "profit", "daily", "trades", "performance"),
)


class StandingClock:
    """A clock that moves by hand alone."""

    def __init__(self) -> None:
        self.time_ns = NOW_NS

    def now_ns(self) -> int:
        """See `ports.Clock`."""
        return self.time_ns


class Notices:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        """See `ports.NoticeSink`."""
        self.told.append(notice)

    def kinds(self) -> list[str]:
        """Return their kinds."""
        return [notice.kind for notice in self.told]


async def at_once(work: Callable[[], T]) -> T:
    """Do the work here: a `ports.OffLoop`."""
    return work()


class Chat:
    """A channel at work, with what is around it."""

    def __init__(self, api: BotApi, path: Path, *, token: str = TOKEN, pace: Pace = PACE) -> None:
        self.api = api
        self.operated = FakeOperated()
        self.clock = StandingClock()
        self.notices = Notices()
        self.offsets = OffsetFile(path)
        self.telegram = TelegramApi(token, server=api.url, poll_s=1)
        drawn = iter(range(200_000, 300_000))
        self.control = Control(allowed=frozenset({OPERATOR}), draw_code=lambda: str(next(drawn)))
        self.channel = TelegramChannel(
            self.telegram,
            operated=self.operated,
            operators=[OPERATOR],
            control=self.control,
            offsets=self.offsets,
            alerts=self.notices,
            disk=at_once,
            off_loop=at_once,
            clock=self.clock,
            redact=Redactor([token]),
            pace=pace,
        )
        self.number = 100

    async def say(self, text: str, **changes: object) -> None:
        """Have the operator write."""
        self.number += 1
        await self.api.push(update(self.number, text, **changes))

    async def heard(self, part: str) -> str:
        """Return the first thing said with this in it, once it was."""
        await self.api.until(lambda: any(part in text for text in self.api.texts(OPERATOR)))
        return next(text for text in self.api.texts(OPERATOR) if part in text)


@asynccontextmanager
async def chatting(
    path: Path, *, token: str = TOKEN, pace: Pace = PACE, prepare: Callable[[BotApi], None] = lambda api: None
) -> AsyncIterator[Chat]:
    async with serve_bot_api() as api:
        prepare(api)
        chat = Chat(api, path / "telegram.json", token=token, pace=pace)
        running = asyncio.create_task(chat.channel.run())
        try:
            yield chat
        finally:
            running.cancel()
            try:
                with suppress(asyncio.CancelledError):
                    await running
            finally:
                await chat.telegram.close()


async def test_a_command_is_shown_confirmed_and_carried_out(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.say("/flatten")
        offered = await chat.heard("with ")
        assert "15776.38 USDT" in offered
        assert chat.operated.obeyed == []
        await chat.say(offered.split("with ")[1].split("\n")[0])
        await chat.heard("Flatten: done")
        assert chat.operated.obeyed == [(Flatten(why="by Telegram"), f"telegram:{OPERATOR}")]


async def test_every_question_is_answered_and_nothing_is_done(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        for word in QUESTIONS:
            before = len(chat.api.said)
            chat.clock.time_ns += S
            await chat.say(f"/{word}", at_s=chat.clock.time_ns // S)
            await chat.api.until(lambda before=before: len(chat.api.said) > before)  # type: ignore[misc]
        assert "BTCUSDT short 0.25: +273.75 USDT" in chat.api.texts()[0]
        assert chat.operated.obeyed == []
        assert chat.api.menu[0]["command"] == "status"


async def test_five_hundred_hostile_updates_of_many_kinds_do_nothing(tmp_path: Path) -> None:
    """Over the wire, in pages, among them the code of an open offer: none is executed and none is answered."""
    async with chatting(tmp_path) as chat:
        await chat.say("/resume")
        code = (await chat.heard("with ")).split("with ")[1].split("\n")[0]
        told = len(chat.api.said)
        updates = list(hostile_updates(600, first=1_000))
        assert len({kind for kind, _ in updates}) >= 25
        await chat.api.push(*(json.loads(json.dumps(raw).replace("123456", code)) for _, raw in updates))
        await chat.api.until(lambda: chat.api.calls[-1] == ("getUpdates", 1_600))
        assert chat.operated.obeyed == []
        assert len(chat.api.said) == told
        assert sum(chat.control.ignored.values()) == 600
        assert chat.notices.kinds() == ["telegram.was_pestered"]


async def test_the_mark_is_durable_before_anything_is_carried_out(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        seen: list[Mark | None] = []
        obey = chat.operated.obey

        async def watched(command: object, by: str) -> object:
            seen.append(chat.offsets.load())
            return await obey(command, by)  # type: ignore[arg-type]

        chat.operated.obey = watched  # type: ignore[assignment, method-assign]
        await chat.say("/kill")
        await chat.heard("Kill: done")
        assert seen == [Mark(update_id=chat.number, taken_ns=NOW_NS)]


async def test_what_was_taken_before_a_crash_is_not_carried_out_after_it(tmp_path: Path) -> None:
    """Telegram sends the update again, as if it had never been confirmed."""
    OffsetFile(tmp_path / "telegram.json").save(Mark(update_id=101, taken_ns=NOW_NS - S))

    def forget(api: BotApi) -> None:
        api.is_forgetful = True

    async with chatting(tmp_path, prepare=forget) as chat:
        await chat.say("/kill")  # 101
        await chat.say("/status")
        await chat.heard("Running")
        assert chat.operated.obeyed == []
        assert chat.control.ignored["duplicate"] == 1
        assert chat.api.calls[1] == ("getUpdates", 102)


async def test_a_mark_of_long_ago_is_not_believed_because_numbers_may_begin_anew(tmp_path: Path) -> None:
    OffsetFile(tmp_path / "telegram.json").save(Mark(update_id=900_000, taken_ns=NOW_NS - 7 * 86_400 * S))
    async with chatting(tmp_path) as chat:
        await chat.say("/status")
        await chat.heard("Running")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\x00", b'{"update_id": -1, "taken_ns": "x"}', b"[]", b"1" * 5_000])
async def test_a_damaged_mark_is_none(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "telegram.json").write_bytes(body)
    assert OffsetFile(tmp_path / "telegram.json").load() is None


async def test_where_the_mark_cannot_be_written_only_a_kill_passes(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:

        def refuse(mark: Mark) -> None:
            raise StorageError("no space left")

        chat.offsets.save = refuse  # type: ignore[method-assign]
        await chat.say("/resume")
        await chat.heard("disk")
        await chat.say("/kill")
        await chat.heard("Kill: done")
        assert chat.operated.obeyed == [(Kill(why="by Telegram"), f"telegram:{OPERATOR}")]


async def test_old_commands_after_an_outage_are_discarded_but_for_a_kill(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.say("/status", at_s=NOW_S - 3_600)
        await chat.say("/resume", at_s=NOW_S - 61)
        await chat.say("/kill", at_s=NOW_S - 3_600)
        await chat.heard("Kill: done")
        assert chat.control.ignored["old"] == 2
        assert len(chat.api.texts(OPERATOR)) == 1


async def test_a_kill_waits_for_nothing(tmp_path: Path) -> None:
    """Not for a command that takes long, nor for an answer that Telegram does not take."""
    async with chatting(tmp_path) as chat:
        held = asyncio.Event()
        obey = chat.operated.obey
        killed = asyncio.Event()

        async def slow(command: object, by: str) -> object:
            if isinstance(command, Kill):
                killed.set()
            else:
                await held.wait()
            return await obey(command, by)  # type: ignore[arg-type]

        chat.operated.obey = slow  # type: ignore[assignment, method-assign]
        await chat.say("/flatten")
        await chat.say((await chat.heard("with ")).split("with ")[1].split("\n")[0])
        chat.api.fail("sendMessage", 429, "Too Many Requests", retry_after=1)
        await chat.say("/status")
        await chat.say("/kill")
        async with asyncio.timeout(5):
            await killed.wait()
        assert not any(isinstance(command, Flatten) for command, _ in chat.operated.obeyed)
        held.set()


async def test_a_shared_token_switches_commands_off_and_is_told(tmp_path: Path) -> None:
    """A conflict right after the start may be our own last question; later it is somebody else."""
    async with serve_bot_api() as api:
        chat = Chat(api, tmp_path / "telegram.json", pace=replace(PACE, sharing_s=30.0))
        api.fail("getUpdates", 409, "Conflict: terminated by other getUpdates request")
        running = asyncio.create_task(chat.channel.run())
        await chat.say("/version")
        await chat.heard("multiscale-bot")
        assert chat.notices.told == []
        chat.clock.time_ns += 31 * S
        api.fail("getUpdates", 409, "Conflict: terminated by other getUpdates request")
        async with asyncio.timeout(5):
            await running
        assert not chat.channel.is_listening
        [notice] = chat.notices.told
        assert notice.severity is Severity.CRITICAL
        assert "stolen" in notice.text
        await chat.telegram.close()


async def test_trouble_of_every_kind_passes_and_commands_work_after_it(tmp_path: Path) -> None:
    """Errors, garbage, giants and nonsense instead of updates; then an update among garbage is still found."""

    def trouble(api: BotApi) -> None:
        for status in (500, 502, 503, 400, 403, 404, 401, 413, 302):
            api.fail("getUpdates", status, "trouble")
        api.fail("getUpdates", 429, "Too Many Requests", retry_after=1)
        for body in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"ok": true}', b'{"ok": true, "result": 3}', b"<html>"):
            api.garble("getUpdates", body)
        api.garble("getUpdates", b"{}", status=500)
        api.garble("getUpdates", b'{"ok": true, "result": ' + b"[" * 50_000 + b"]" * 50_000 + b"}")
        api.garble("getUpdates", b'{"ok": true, "result": ["' + b"x" * (2 << 20) + b'"]}')
        api.garble("getUpdates", b'{"ok": true, "result": [{"update_id": ' + b"9" * 6_000 + b"}]}")

    async with chatting(tmp_path, prepare=trouble) as chat:
        await chat.api.push(None, 7, "x", [], {}, {"update_id": "1"}, {"update_id": 2**70}, {"update_id": True})
        await chat.say("/status")
        await chat.heard("Running")
        assert chat.operated.obeyed == []
        assert chat.notices.kinds() == ["telegram.went_silent", "telegram.came_back"]


async def test_a_dead_server_costs_the_loop_nothing(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        chat.api.hang.clear()
        await chat.say("/status")
        turns = 0
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.2
        while loop.time() < end:
            await asyncio.sleep(0)
            turns += 1
        assert turns > 1_000
        chat.api.hang.set()
        await chat.heard("Running")


async def test_an_answer_is_tried_again_after_as_long_as_telegram_asks(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        chat.api.fail("sendMessage", 429, "Too Many Requests", retry_after=1)
        chat.api.fail("sendMessage", 500)
        started = asyncio.get_running_loop().time()
        await chat.say("/status")
        await chat.heard("Running")
        assert asyncio.get_running_loop().time() - started >= 1.0
        assert [method for method, _ in chat.api.calls].count("sendMessage") == 3


async def test_a_person_who_blocked_the_bot_is_given_up(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        chat.api.fail("sendMessage", 403, "Forbidden: bot was blocked by the user")
        await chat.say("/status")
        await chat.say("/version")
        await chat.heard("multiscale-bot")
        assert chat.channel.counts["dropped"] == 1


async def test_a_command_that_breaks_does_not_end_the_channel(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:

        async def break_(command: object, by: str) -> object:
            raise ZeroDivisionError(f"with {TOKEN} in it")

        chat.operated.obey = break_  # type: ignore[assignment, method-assign]
        await chat.say("/kill")
        await chat.say("/status")
        await chat.heard("Running")
        assert chat.notices.kinds() == ["telegram.command_failed"]


async def test_a_pause_and_a_resume_go_through_and_a_kill_is_not_undone(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        for text, command in (("/pause", Pause), ("/resume", Resume)):
            said = len(chat.api.texts())
            await chat.say(text)
            await chat.api.until(lambda said=said: len(chat.api.texts()) > said)  # type: ignore[misc]
            await chat.say(chat.api.texts()[-1].split("with ")[1].split("\n")[0])
            await chat.heard(f"{command.__name__}: done")
        assert not chat.operated.view.is_paused
        await chat.say("/kill")
        await chat.heard("Kill: done")
        await chat.say("/resume")
        offered = await chat.heard("the kill switch is closed")
        await chat.say(offered.split("with ")[1].split("\n")[0])
        await chat.heard("only the host can undo it")
        assert chat.operated.view.is_killed


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 429, 500, 502])
async def test_the_token_is_in_no_error_and_no_log(
    tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where Telegram, or who plays it, sends the token back in its words."""
    caplog.set_level(logging.DEBUG)
    async with serve_bot_api() as api:
        telegram = TelegramApi(TOKEN, server=api.url, poll_s=1)
        for call in (lambda: telegram.updates(None), lambda: telegram.say(1, Text(head="x"))):
            for method in ("getUpdates", "sendMessage"):
                api.fail(method, status, f"no such thing: /bot{TOKEN}/getUpdates", retry_after=1)
            with pytest.raises(ApiFailed) as caught:
                await call()
            error: BaseException | None = caught.value
            assert caught.value.__suppress_context__
            assert TOKEN not in repr(error) + str(error)
        await telegram.close()
    dead = TelegramApi(TOKEN, server="http://127.0.0.1:9", poll_s=1)
    with pytest.raises(ApiFailed) as caught:
        await dead.updates(None)
    assert TOKEN not in repr(caught.value)
    await dead.close()
    said = capsys.readouterr()
    assert TOKEN not in caplog.text + said.out + said.err + repr(telegram)


async def test_a_token_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError) as caught:
        TelegramApi("not-a-token-but-secret")
    assert "secret" not in str(caught.value)


async def test_what_a_person_reads_holds_no_token_whatever_said_it(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        chat.operated.view = make_snapshot(troubles=(f"https://api.telegram.org/bot{TOKEN}/x failed",))
        await chat.say("/status")
        assert TOKEN not in await chat.heard("Running")


async def test_strangers_are_told_nothing(tmp_path: Path) -> None:
    async with chatting(tmp_path) as chat:
        await chat.say("/status", user=STRANGER)
        await chat.say("/status")
        await chat.heard("Running")
        assert {fields["chat_id"] for _, fields in chat.api.said} == {str(OPERATOR)}
        assert chat.control.strangers == [STRANGER]


async def test_a_command_that_takes_long_is_said_to_and_never_broken_off(tmp_path: Path) -> None:
    """Not when its sender has waited long enough, nor when the channel ends."""
    async with serve_bot_api() as api:
        chat = Chat(api, tmp_path / "telegram.json", pace=replace(PACE, patience_s=0.01))
        held, ended = asyncio.Event(), asyncio.Event()
        obey = chat.operated.obey

        async def slow(command: object, by: str) -> object:
            await held.wait()
            ended.set()
            return await obey(command, by)  # type: ignore[arg-type]

        chat.operated.obey = slow  # type: ignore[assignment, method-assign]
        running = asyncio.create_task(chat.channel.run())
        await chat.say("/kill")
        await chat.heard("no word from the bot yet")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        held.set()
        async with asyncio.timeout(5):
            await ended.wait()
        await chat.telegram.close()


async def test_a_slip_in_an_answer_ends_the_channel_instead_of_silencing_it(tmp_path: Path) -> None:
    async with serve_bot_api() as api:
        chat = Chat(api, tmp_path / "telegram.json")

        def slip() -> object:
            raise ZeroDivisionError

        chat.operated.snapshot = slip  # type: ignore[assignment, method-assign]
        running = asyncio.create_task(chat.channel.run())
        await chat.say("/status")
        with pytest.raises(ZeroDivisionError):
            await running
        await chat.telegram.close()


async def test_behind_a_flood_of_strangers_an_operator_is_still_heard(tmp_path: Path) -> None:
    """Three thousand updates wait before the kill: they are passed over in full pages, with hardly a pause."""
    async with chatting(tmp_path, pace=replace(PACE, pause_s=60.0)) as chat:
        await chat.api.push(*(update(1_000 + n, "/kill", user=STRANGER) for n in range(3_000)), update(4_000, "/kill"))
        await chat.heard("Kill: done")
        assert len(chat.operated.obeyed) == 1
        assert chat.control.ignored["flood"] > 2_000
