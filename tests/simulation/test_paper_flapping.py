"""A market connection that is cut again and again: not believed for a minute; whoever is in can get out meanwhile."""

import asyncio
from pathlib import Path

import pytest

from bot.domain.operation import Flatten, Resume
from tests.support.paper_loop import SECOND, PaperLoop, paper_loop

pytestmark = pytest.mark.slow


def _connected(both: PaperLoop) -> int:
    """Return how many connections to the market were made or tried."""
    assert both.trading.view is not None
    counts = both.trading.view._connections()
    return sum(count for name, count in counts.items() if name.startswith("public"))


async def _keep_cutting(both: PaperLoop) -> None:
    """Cut the market's connection, again and again; none of them lasts for a minute."""
    while True:
        before = _connected(both)
        both.add_fault(kind="disconnect", where={"socket": "linear"}, delay_ns=SECOND // 10, count=1)
        await both.until(lambda before=before: _connected(both) > before, "it connects again", seconds=120)  # type: ignore[misc]
        await both.pass_time(6)


def _denied_ns(both: PaperLoop) -> list[int]:
    """Return when entries were refused for that."""
    return [each["ts_ns"] for each in both.entries("RiskDenied") if "come and gone" in each["detail"]]


def _held(both: PaperLoop) -> bool:
    rows = both.entries("FillBooked")
    return bool(rows) and float(rows[-1]["position_qty"]) != 0


def test_after_cuts_in_a_row_exits_pass_and_the_reason_is_told_until_a_connection_has_lasted(tmp_path: Path) -> None:
    """DEGRADED says why; no order opens anything; a position can be closed; READY comes by itself."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            both.start()
            await both.until_ready()
            assert any("money half is up" in text for _, text in both.phases)
            await both.until(lambda: _held(both), "there is something to get out of")
            cutting = asyncio.create_task(_keep_cutting(both))
            await both.until(lambda: any("come and gone" in text for _, text in both.phases), "it is told", seconds=120)
            await both.until(lambda: bool(_denied_ns(both)), "entries are refused", seconds=120)
            answer = both.command(Flatten(why="out of here"))
            await both.until(answer.exists, "the command is answered")
            await both.until(lambda: not _held(both), "it is flat", seconds=120)
            flat_ns = both.clock.now_ns()
            resumed = both.command(Resume(why="go on"))
            await both.until(resumed.exists, "the command is answered")
            await both.until(lambda: _denied_ns(both)[-1] > flat_ns, "entries are still refused", seconds=120)
            denied = _denied_ns(both)
            assert both.openings(denied[0], denied[-1]) == []
            cutting.cancel()
            await both.until_ready(seconds=120)
            ready_ns = both.clock.now_ns()
            await both.until(lambda: bool(both.openings(ready_ns)), "it trades on")
            await both.until_flat(seconds=120)
            await both.stop()
            assert await both.differences() == []

    asyncio.run(campaign())
