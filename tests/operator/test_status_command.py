"""`bot status`: the terminal view of a bot that runs, is old, or is not there."""

import asyncio
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bot.app.status import look, serving_status, watch
from bot.domain.operation import HeldPosition, Phase, Snapshot, StrategyBook
from bot.operator.status_view import render
from bot.runtime.operator_settings import StatusSettings
from tests.support.cli import bot as run_bot
from tests.support.operated import FakeOperated, make_snapshot


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """Let a bot serve its status from a loop of its own, as another process would."""
    loop = asyncio.new_event_loop()
    ready, done = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with serving_status(FakeOperated(), StatusSettings(), tmp_path):
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield tmp_path
    loop.call_soon_threadsafe(done.set)
    thread.join()
    loop.close()


def shown(view: Snapshot, **options: Any) -> str:
    console = Console(width=160, highlight=False, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(render(view, **options))
    return captured.get()


def test_the_command_prints_what_matters(running: Path) -> None:
    assert (running / "status.json").stat().st_mode & 0o077 == 0
    done = run_bot("status", str(running), cwd=running)
    assert done.returncode == 0, done.stderr
    for fact in ("READY", "10,150.25", "-0.25", "IN DOUBT", "decision_to_ack", "publicTrade.BTCUSDT", "ledger"):
        assert fact in done.stdout, fact
    machine = json.loads(run_bot("status", str(running), "--json", cwd=running).stdout)
    assert machine["run_id"] == make_snapshot().run_id


def test_the_file_goes_with_the_bot_and_its_absence_is_said_in_one_line(running: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "nothing"
    elsewhere.mkdir()
    done = run_bot("status", str(elsewhere), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert "no running bot" in done.stderr


def test_each_strategys_own_book_is_shown_where_there_are_several() -> None:
    held = HeldPosition(
        instrument="BTCUSDT",
        qty=Decimal("-0.125"),
        entry_price=Decimal(60_000),
        mark_price=Decimal(59_000),
        unrealized_pnl=Decimal(125),
        realized_pnl=Decimal("12.5"),
        fees=Decimal("4.25"),
        funding=Decimal("-1.25"),
    )
    text = shown(make_snapshot(books=(StrategyBook(strategy="quick", position=held),)))
    (line,) = [line for line in text.splitlines() if "quick" in line]
    assert line.split() == ["quick", "BTCUSDT", "-0.125", "+125.00", "+12.50", "4.25", "-1.25", "+132.00"]
    assert "quick" not in shown(make_snapshot())


def test_what_is_wrong_is_shown() -> None:
    stale = tuple(each for each in make_snapshot().data if each.topic.startswith("public"))
    text = shown(
        make_snapshot(
            phase=Phase.DEGRADED,
            troubles=("BTCUSDT: no trade for 12 s",),
            is_killed=True,
            is_paused=True,
            data=(type(stale[0])(topic="publicTrade.BTCUSDT", age_ns=12 * 10**9, limit_ns=10**10, is_trusted=True),),
            equity=None,
            orders=(),
            positions=(),
            forecasts=(),
        ),
        age_s=9.0,
        trouble="nobody answers",
    )
    for fact in (
        "DEGRADED",
        "KILLED",
        "PAUSED",
        "no trade for 12 s",
        "STALE",
        "OLD: this is 9.0 s old: nobody",
    ):
        assert fact in text, fact


async def test_watching_outlives_the_bot(tmp_path: Path) -> None:
    """A bot that ends while it is watched is shown as it was last, with the reason, and its age grows."""
    seen: list[tuple[Snapshot | None, float, str]] = []
    news = asyncio.Event()

    def show(view: Snapshot | None, age_s: float, trouble: str) -> None:
        seen.append((view, age_s, trouble))
        news.set()

    async def until(is_so: Any) -> None:
        async with asyncio.timeout(10):
            while not (seen and is_so(seen[-1])):
                news.clear()
                await news.wait()

    watching = asyncio.ensure_future(watch(tmp_path, 0.01, show))
    await until(lambda last: last[0] is None and "no running bot" in last[2])
    async with serving_status(FakeOperated(), StatusSettings(), tmp_path):
        await until(lambda last: last[0] is not None and not last[2])
    await until(lambda last: last[0] is not None and last[2] and last[1] > 0)
    watching.cancel()
    assert not (tmp_path / "status.json").exists()


async def test_a_taken_port_or_a_lost_disk_never_reaches_the_bot(tmp_path: Path) -> None:
    async with serving_status(FakeOperated(), StatusSettings(), tmp_path):
        port = int(json.loads((tmp_path / "status.json").read_text())["url"].rsplit(":", 1)[1])
        beside = tmp_path / "beside"
        beside.mkdir()
        async with serving_status(FakeOperated(), StatusSettings(port=port), beside):
            assert (await look(beside)).epoch == 3
        async with serving_status(FakeOperated(), StatusSettings(), tmp_path / "is" / "not" / "there"):
            pass
        async with serving_status(FakeOperated(), StatusSettings(socket=tmp_path / ("x" * 200)), beside):
            assert not (beside / "status.json").exists()
