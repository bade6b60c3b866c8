"""The process that people look at a bot through: it dies, hangs, is stuck, or the bot does, and nobody waits for it."""

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bot.app import surfaces_link, surfaces_process
from bot.app.surfaces_frames import Begin, Logged, Look, Serve, Tell, encode, read
from bot.app.surfaces_link import SurfacesLink
from bot.app.surfaces_process import RemoteBot
from bot.app.trading_surfaces import Surfaces
from bot.domain.errors import ConfigError, DataError
from bot.domain.operation import Notice, Pause, Severity
from bot.operator.status_client import StatusClient, find_status
from bot.runtime.alert_settings import AlertSettings
from bot.runtime.operator_settings import StatusSettings
from tests.support.hooks import Hook, serve_hook
from tests.support.operated import FakeOperated, make_snapshot
from tests.support.surfaces import only_status, told_by_hook, told_by_nobody

NOTICE = Notice(ts_ns=1, kind="order.doubted", severity=Severity.ERROR, text="an order is in doubt")


async def until(is_so: Any, seconds: float = 60) -> None:
    """Return once it is so."""
    for _ in range(int(seconds / 0.01)):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def names_in(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir()]


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def texts(hook: Hook) -> str:
    return str(hook.bodies)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BYBIT_API_KEY", "key-of-the-venue-0123456789")
    monkeypatch.setenv("BYBIT_API_SECRET", "secret-of-the-venue-0123456789")
    return tmp_path


async def test_it_tells_what_was_told_before_it_began_and_has_no_key_of_the_venue(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve_hook() as hook:
        monkeypatch.setenv("BOT_WEBHOOK_URL", hook.url)
        surfaces = Surfaces(told_by_hook(), directory=directory, ledger_directory=directory)
        surfaces.start()
        surfaces.tell(NOTICE)
        await until(lambda: surfaces.link.pid)
        environment = environment_of(surfaces.link.pid)
        await hook.until_bodies(1)
        surfaces.see_trouble("the very last word")
        await surfaces.close()
        assert "an order is in doubt" in texts(hook)
        assert "the very last word" in texts(hook)
        assert surfaces.link.counts["told/webhook"] >= 2
        assert b"BOT_WEBHOOK_URL" in environment
        assert b"of-the-venue" not in environment


async def test_one_that_dies_is_begun_again_and_tells_on(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surfaces_link, "_AGAIN_FIRST_S", 0.05)
    async with serve_hook() as hook:
        monkeypatch.setenv("BOT_WEBHOOK_URL", hook.url)
        surfaces = Surfaces(told_by_hook(), directory=directory, ledger_directory=directory)
        surfaces.start()
        surfaces.see_trouble("first")
        await hook.until_bodies(1)
        first = surfaces.link.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: surfaces.link.pid != first)
        surfaces.see_trouble("second")
        await hook.until_bodies(2)
        assert surfaces.link.lives == 2
        await surfaces.close()
        assert "second" in texts(hook)
        assert "gone without a word" not in texts(hook)


async def test_people_hear_of_a_bot_that_was_killed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve_hook() as hook:
        monkeypatch.setenv("BOT_WEBHOOK_URL", hook.url)
        bot = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.support.vanishing_bot", str(directory))
        try:
            await hook.until_bodies(1)
            assert "gone without a word" not in texts(hook)
        finally:
            bot.kill()
            await bot.wait()
        await hook.until_bodies(2)
        assert "gone without a word" in texts(hook)
        assert "critical" in texts(hook)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConfigError("the key is refused"), ["the run ended by an error: the key is refused; open orders"]),
        (ZeroDivisionError("division"), ["the run ended by an error: ZeroDivisionError, see the log; open orders"]),
        (asyncio.CancelledError(), []),
        (None, []),
    ],
)
async def test_people_hear_of_a_run_that_ends_by_an_error(
    directory: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, told: list[str]
) -> None:
    monkeypatch.setenv("BOT_WEBHOOK_URL", "http://127.0.0.1:9/a-secret-path-0123456789")
    surfaces = Surfaces(told_by_hook(), directory=directory, ledger_directory=directory)
    surfaces.see_failure(error)
    waiting = [each.notice.text for each in surfaces.link._waiting]
    assert [text.startswith(part) for text, part in zip(waiting, told, strict=True)] == [True] * len(told)


async def test_it_shows_the_bot_until_the_run_ends(directory: Path) -> None:
    """Over HTTP, as `bot status` and the page ask: what it sees is what the bot is then, and a command arrives."""
    operated = FakeOperated()
    link = SurfacesLink(
        lambda: [
            Begin(
                alerts=AlertSettings().model_dump_json(),
                status=StatusSettings(controls=True, port=0).model_dump_json(),
                directory=str(directory),
                ledger_directory=str(directory),
            ),
            Serve(config="", ledger=str(directory / "ledger.sqlite")),
        ]
    )
    link.show(operated, list)
    link.start()
    await until((directory / "status.json").exists)
    client = StatusClient(find_status(directory))
    try:
        assert (await client.snapshot()).equity == make_snapshot().equity
        foreseen = await client.foresee(Pause(why="test"))
        assert (await client.obey(foreseen.confirm, "page")).is_done
        assert [type(command) for command, _ in operated.obeyed] == [Pause]
        await asyncio.sleep(0.3)  # a snapshot serves all who ask within a quarter of a second
        assert (await client.snapshot()).is_paused
    finally:
        await client.close()
        await link.close(None, 5)
    assert not (directory / "status.json").exists()


async def test_a_bot_that_does_not_answer_is_said_to_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surfaces_process, "ANSWER_S", 0.02)

    ours, theirs = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    bot = RemoteBot(writer)
    with pytest.raises(DataError, match="has not answered"):
        await bot.snapshot()
    done = await bot.obey(Pause(why="x"), "host")
    assert not done.is_done
    assert "it may do it yet" in done.text
    writer.close()
    await writer.wait_closed()
    theirs.close()


async def test_one_that_reads_nothing_is_ended_and_never_waited_for(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surfaces_link, "_END_S", 0.0)
    link = SurfacesLink(list, module="tests.support.deaf")
    link.start()
    await until(lambda: link.pid)
    await until(lambda: link._writer is not None)
    with capture_logs() as logs:
        longest_s = 0.0
        for _ in range(100):
            began_s = time.thread_time()
            link.tell(Tell(notice=Notice(ts_ns=1, kind="x.told", severity=Severity.INFO, text="x" * 100_000)))
            longest_s = max(longest_s, time.thread_time() - began_s)
            await asyncio.sleep(0)
        await until(lambda: any(each["event"] == "surfaces.died" for each in logs))
    assert any(each["event"] == "surfaces.stuck" for each in logs)
    assert longest_s < 0.05
    await link.close(None, 1)


async def test_one_that_hangs_up_is_begun_again_whatever_it_has_not_read(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket's number is the next one's: nothing of the first may be left to the loop."""
    monkeypatch.setattr(surfaces_link, "_AGAIN_FIRST_S", 0.05)
    link = SurfacesLink(list, module="tests.support.hung_up")
    for _ in range(30):
        link.tell(Tell(notice=Notice(ts_ns=1, kind="x.told", severity=Severity.INFO, text="x" * 100_000)))
    link.start()
    await until(lambda: link.lives >= 3)
    await link.close(None, 1)
    assert link.pid == 0


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.3])
async def test_one_that_has_only_begun_is_ended_at_once_and_leaves_nothing(directory: Path, after_s: float) -> None:
    surfaces = Surfaces(only_status(), directory=directory, ledger_directory=directory)
    surfaces.start()
    await asyncio.sleep(after_s)
    began_s = time.monotonic()
    await surfaces.close()
    assert time.monotonic() - began_s < 1.5
    assert surfaces.link.pid == 0
    assert names_in(directory) == []


async def test_a_run_that_nobody_looks_at_begins_none(directory: Path) -> None:
    surfaces = Surfaces(told_by_nobody(), directory=directory, ledger_directory=directory)
    surfaces.start()
    surfaces.tell(NOTICE)
    await surfaces.close()
    assert surfaces.link.lives == 0


async def test_frames_are_told_apart_and_one_that_is_too_long_is_refused() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(encode(Look(number=1)) + encode(Logged(level="info", event="x", fields={"path": Path("/y")})))
    stream.feed_data((2**31).to_bytes(4, "little"))
    first, second = await read(stream), await read(stream)
    assert first is not None
    assert second is not None
    assert first != second
    with pytest.raises(DataError, match="a frame of 2147483648 bytes"):
        await read(stream)
    ended = asyncio.StreamReader()
    ended.feed_data(b"\x05\x00")
    ended.feed_eof()
    assert await read(ended) is None
