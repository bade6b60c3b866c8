"""The kill switch and a person's commands, by file, on a whole paper run and its venue; and what a start refuses."""

import asyncio
import os
import random
import sys
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
from tests.support.emulator import KEY, OTHER_KEY, OTHER_SECRET, SECRET
from tests.support.paper_loop import SPEED, PaperLoop, paper_loop
from tests.support.truth import Ledger, Venue

MANY = 490  # the venue lets nobody have more than 500 in an instrument
CALM = {"params": {"every_bars": 3}}  # each step has its answer before the next
RESTING = {"params": {"resting": 40, "qty": Decimal("0.01")}}


def _venue(both: PaperLoop) -> Venue:
    return Venue(both.url, KEY, SECRET)


@pytest.mark.slow
@pytest.mark.parametrize("trials", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_nothing_leaves_a_tenth_of_a_second_after_the_kill(tmp_path: Path, trials: int) -> None:
    """In drill after drill of one run, under trades ten times as dense as the other tests', at any moment."""
    chance = random.Random(11)
    late_ns: list[int] = []

    async def campaign() -> None:
        async with paper_loop(tmp_path, seconds=300 + 12 * trials, per_second=50, rate_scale=100) as both:
            switches = Switches(tmp_path / "ledger")
            both.start(strategy=RESTING)
            await both.until_ready()
            for _ in range(trials):
                from_ns = both.clock.now_ns()
                await both.until(lambda since_ns=from_ns: _sends(both, since_ns), "it trades", seconds=60)  # type: ignore[misc]
                await both.pass_time(chance.uniform(0.5, 3.0))
                switches.kill("a drill")
                closed_ns = both.clock.now_ns()
                await both.until(both.trading_is_killed, "it is killed", seconds=5)
                await both.pass_time(2)
                orders = await asyncio.to_thread(_venue(both).newest_orders)
                made = [int(each["createdTime"]) * 1_000_000 for each in orders] or [closed_ns]
                late_ns.append((max(made) - closed_ns) // int(SPEED))
                assert await asyncio.to_thread(_venue(both).open_orders) == set()
                switches.re_arm()
                await _answered(both, Resume(why="re-armed"))
                sys.stdout.write(f"drill {len(late_ns)}: the last create {late_ns[-1] / 1e6:.0f} ms after the kill\n")
            await both.stop()

    asyncio.run(campaign())
    assert max(late_ns) < 100_000_000


@pytest.mark.slow
@pytest.mark.parametrize("trials", [2, pytest.param(40, marks=pytest.mark.soak)])
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
                await both.until(answer.exists, "an answer")
                assert "closed" in answer.read_text(encoding="utf-8")
                assert both.openings(from_ns) == []
                switches.re_arm()
                both.command(Resume(why="re-armed"))
                await both.until(lambda since_ns=from_ns: bool(both.openings(since_ns)), "it trades")  # type: ignore[misc]
                await both.stop()

    asyncio.run(campaign())


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, pytest.param(800, marks=pytest.mark.soak)])
def test_hundreds_of_orders_are_gone_within_five_seconds(tmp_path: Path, count: int) -> None:
    """Of two instruments, in the end more than one call to the venue reaches; it is asked until there is none."""

    async def campaign() -> None:
        async with paper_loop(tmp_path, rate_scale=100) as both:
            both.symbols = [{"symbol": "BTCUSDT", "leverage": 10}, {"symbol": "ETHUSDT", "leverage": 10}]
            for n in range(min(count, MANY)):
                both.place(price="58000", orderLinkId=f"btc-{n}")
            for n in range(count - min(count, MANY)):
                both.place(price="2900", orderLinkId=f"eth-{n}", symbol="ETHUSDT", qty="0.01")
            both.start()
            await both.until_ready(seconds=90)
            assert len(await asyncio.to_thread(_venue(both).open_orders)) >= count
            Switches(tmp_path / "ledger").kill("a drill")
            started = time.monotonic()
            while await asyncio.to_thread(_venue(both).open_orders):
                assert time.monotonic() - started < 5.0
            sys.stdout.write(f"gone {time.monotonic() - started:.2f} s after the kill\n")

    asyncio.run(campaign())


@pytest.mark.slow
def test_commands_by_file_work_and_outlive_a_restart(tmp_path: Path) -> None:
    """Pause lets exits pass and nothing else, also after a crash; flatten is carried out once orders may leave."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            venue = _venue(both)
            both.start(strategy=CALM)
            await both.until_ready()
            await both.until(lambda: bool(both.entries("FillBooked")), "something is held")
            await _answered(both, Pause(why="lunch"))
            from_ns = both.clock.now_ns()
            await both.crash()
            both.start(strategy=CALM)
            await both.until_ready()
            await both.until(lambda: not _held(both), "the strategy's own exit passes")
            await both.pass_time(4)
            assert both.openings(from_ns) == []
            assert await asyncio.to_thread(venue.positions) == {}
            await _answered(both, Resume(why="back"))
            fills = len(both.entries("FillBooked"))
            await both.until(lambda: len(both.entries("FillBooked")) > fills, "something is held")
            assert await asyncio.to_thread(venue.positions) != {}
            await both.crash()
            both.start(strategy=CALM)
            await _answered(both, Flatten(why="home"))  # what the last start signed may still be admitted
            from_ns = both.clock.now_ns()
            await both.until_ready()
            await both.pass_time(4)
            assert await asyncio.to_thread(venue.positions) == {}
            assert await asyncio.to_thread(venue.open_orders) == set()
            assert both.openings(from_ns) == []
            await _answered(both, Resume(why="back"))
            await both.until(lambda: bool(both.openings(from_ns)), "it trades again")
            await _answered(both, Pause(why="the test ends"))
            await both.pass_time(6)
            await both.stop()
            assert await both.differences() == []

    asyncio.run(campaign())


@pytest.mark.slow
def test_a_flattening_that_a_crash_cut_short_goes_on(tmp_path: Path) -> None:
    """However often it is cut short; when it is done it is done, and a person may end it before."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            venue = _venue(both)
            both.start()
            await both.until_ready()
            await both.until(lambda: bool(_held(both)), "something is held")
            both.add_fault(kind="error_before", where={"op": "order.create"}, code=10006, count=1_000)
            await _answered(both, Flatten(why="home"))  # no exit comes through
            await both.pass_time(3)
            for _ in range(2):
                await both.crash()
                both.start()
                await both.until_ready()
            assert await asyncio.to_thread(venue.positions) != {}
            both.exchange.faults.clear()
            await both.until(lambda: not _wanted(both), "it is flat")
            assert await asyncio.to_thread(venue.positions) == {}
            await _answered(both, Resume(why="back"))
            await both.until(lambda: bool(_held(both)), "something is held")
            both.add_fault(kind="error_before", where={"op": "order.create"}, code=10006, count=1_000)
            await _answered(both, Flatten(why="home"))
            assert _wanted(both)
            await _answered(both, Resume(why="called off"))
            await both.crash()
            both.exchange.faults.clear()
            both.start()
            await both.until_ready()
            assert not _wanted(both)
            await both.stop()

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
def test_another_accounts_key_does_not_go_on_with_a_ledger(tmp_path: Path) -> None:
    """Where no number is configured, the ledger's own counts."""

    async def attempt() -> None:
        anybody = {"venue": {"uid": None}}
        async with paper_loop(tmp_path) as both:
            both.start(**anybody)
            await both.until_ready()
            await both.stop()
            entries = len(both.entries())
            both._key, both._secret = OTHER_KEY, OTHER_SECRET
            both.start(**anybody)
            with pytest.raises(ConfigError, match="it is of account 592324, and the key of 592325; give each its own"):
                await both.until_ready()
            assert len(both.entries()) == entries
            both._key, both._secret = KEY, SECRET
            both.start(**anybody)
            await both.until_ready()
            await both.stop()

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
    await both.until(answer.exists, "an answer")


def _sends(both: PaperLoop, since_ns: int) -> bool:
    return Ledger(both.ledger).sent_since(since_ns) > 0


def _held(both: PaperLoop) -> bool:
    fills = both.entries("FillBooked")
    return bool(fills) and Decimal(fills[-1]["position_qty"]) != 0


def _wanted(both: PaperLoop) -> bool:
    """Return whether somebody still wants the position closed."""
    entries = both.entries("FlattenWanted")
    return bool(entries) and bool(entries[-1]["is_wanted"])
