"""The kill switch and a person's commands, by file, on a whole paper run and its venue; and what a start refuses."""

import asyncio
import os
import time
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from bot.app.switches import Switches
from bot.domain.errors import ConfigError
from bot.domain.operation import Flatten, OperatorCommand, Pause, Resume
from tests.support.cli import bot
from tests.support.emulator import KEY, SECRET
from tests.support.paper_loop import SPEED, PaperLoop, paper_loop
from tests.support.truth import Venue

MANY = 490  # the venue lets nobody have more than 500 in an instrument
RESTING = {"params": {"resting": 40, "qty": Decimal("0.01")}}


def _venue(both: PaperLoop) -> Venue:
    return Venue(both.url, KEY, SECRET)


@pytest.mark.slow
@pytest.mark.parametrize("trials", [4, pytest.param(40, marks=pytest.mark.soak)])
def test_nothing_is_created_once_the_kill_switch_is_closed(tmp_path: Path, trials: int) -> None:
    """Under load: not a byte 100 ms later; what is open is gone; a restart begins killed; only re-arming opens it."""

    async def campaign() -> None:
        async with paper_loop(tmp_path, seconds=3000) as both:
            switches = Switches(tmp_path / "ledger")
            for trial in range(trials):
                both.start(strategy=RESTING)
                await both.until_ready()
                await both.pass_time(6 + trial * 0.35)
                switches.kill("a drill")
                closed_ns = both.clock.now_ns()
                await both.pass_time(8)
                orders = await asyncio.to_thread(_venue(both).orders)
                made = [int(each["createdTime"]) * 1_000_000 for each in orders]
                assert max(made) < closed_ns + 100_000_000 * SPEED
                assert await asyncio.to_thread(_venue(both).open_orders) == set()
                await both.crash()
                from_ns = both.clock.now_ns()
                both.start(strategy=RESTING)  # as if nothing had been
                await both.until_ready()
                await both.pass_time(6)
                answer = both.command(Resume(why="without re-arming"))
                await both.until(answer.exists, "an answer", seconds=5)
                assert "closed" in answer.read_text(encoding="utf-8")
                assert both.openings(from_ns) == []
                switches.re_arm()
                both.command(Resume(why="re-armed"))
                await both.until(lambda since_ns=from_ns: bool(both.openings(since_ns)), "it trades", seconds=10)  # type: ignore[misc]
                await both.stop()

    asyncio.run(campaign())


@pytest.mark.slow
def test_hundreds_of_orders_are_gone_within_five_seconds(tmp_path: Path) -> None:
    """It is asked again until the venue has none."""

    async def campaign() -> None:
        async with paper_loop(tmp_path, rate_scale=100) as both:
            for n in range(MANY):
                both.place(price="58000", orderLinkId=f"other-{n}")
            both.start()
            await both.until_ready()
            Switches(tmp_path / "ledger").kill("a drill")
            started = time.monotonic()
            while await asyncio.to_thread(_count, both):
                assert time.monotonic() - started < 5.0
                await both.pass_time(0.5)

    asyncio.run(campaign())


@pytest.mark.slow
def test_commands_by_file_work_and_outlive_a_restart(tmp_path: Path) -> None:
    """Pause lets exits pass and nothing else, also after a crash; flatten is carried out once orders may leave."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            venue = _venue(both)
            both.start()
            await both.until_ready()
            await both.until(lambda: bool(both.entries("FillBooked")), "something is held")
            await _answered(both, Pause(why="lunch"))
            from_ns = both.clock.now_ns()
            await both.crash()
            both.start()
            await both.until_ready()
            await both.pass_time(8)
            assert both.openings(from_ns) == []
            assert await asyncio.to_thread(venue.positions) == {}, "the strategy's own exit passes"
            await _answered(both, Resume(why="back"))
            fills = len(both.entries("FillBooked"))
            await both.until(lambda: len(both.entries("FillBooked")) > fills, "something is held")
            assert await asyncio.to_thread(venue.positions) != {}
            await both.crash()
            both.start()
            await _answered(both, Flatten(why="home"))  # what the last start signed may still be admitted
            from_ns = both.clock.now_ns()
            await both.until_ready()
            await both.pass_time(4)
            assert await asyncio.to_thread(venue.positions) == {}
            assert await asyncio.to_thread(venue.open_orders) == set()
            assert both.openings(from_ns) == []
            await _answered(both, Resume(why="back"))
            await both.until(lambda: bool(both.openings(from_ns)), "it trades again", seconds=10)
            await _answered(both, Pause(why="the test ends"))
            await both.pass_time(6)
            await both.stop()
            assert await both.differences() == []

    asyncio.run(campaign())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"venue": {"uid": 999}}, "999"),
        ({"venue": {"environment": "mainnet", "url": ""}}, "real money"),
    ],
)
def test_a_start_refuses_the_wrong_account(tmp_path: Path, changed: dict[str, dict[str, Any]], words: str) -> None:
    """Before an order can leave, with a line that says what to do."""

    async def attempt() -> None:
        async with paper_loop(tmp_path) as both:
            both.start(**changed)
            await both._task  # type: ignore[misc]

    with pytest.raises(ConfigError, match=words):
        asyncio.run(attempt())


@pytest.mark.slow
def test_a_second_copy_is_refused(tmp_path: Path) -> None:
    """While the first trades on, undisturbed."""

    async def attempt() -> None:
        async with paper_loop(tmp_path) as both:
            both.start()
            await both.until_ready()
            first, entries = both._task, len(both.entries())
            both.start(run={"out": tmp_path / "elsewhere"})
            with pytest.raises(ConfigError, match="process"):
                await both._task  # type: ignore[misc]
            both._task = first
            await both.until(lambda: len(both.entries()) > entries + 5, "the first goes on")

    asyncio.run(attempt())


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (["live"], "", "--real-money"),
        (["live", "--real-money"], "", "I trade real money"),
        (["live", "--real-money"], '[live]\nconfirm = "yes"', "I trade real money"),
        (["paper"], "", "real money"),
    ],
)
def test_real_money_is_asked_for_twice(tmp_path: Path, arguments: list[str], settings: str, words: str) -> None:
    """In the settings and on the command line; and never by `bot paper`."""
    text = '[[symbols]]\nsymbol = "BTCUSDT"\n[venue]\nenvironment = "mainnet"\n[strategy]\nname = "sma_cross"\n'
    (tmp_path / "c.toml").write_text(text + settings, encoding="utf-8")
    with mock.patch.dict(os.environ, {"BYBIT_API_KEY": "CANARYKEY1", "BYBIT_API_SECRET": "CANARYSECRET1"}):
        done = bot(*arguments, "--config", "c.toml", cwd=tmp_path)
    assert done.returncode != 0
    assert words in done.stderr.replace("\n", " ")
    assert "CANARY" not in done.stdout + done.stderr


async def _answered(both: PaperLoop, command: OperatorCommand) -> None:
    answer = both.command(command)
    await both.until(answer.exists, "an answer", seconds=15)


def _count(both: PaperLoop) -> int:
    return len(_venue(both).all("/v5/order/realtime", category="linear", symbol="BTCUSDT", limit="50"))
