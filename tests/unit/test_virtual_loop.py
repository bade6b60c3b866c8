"""The virtual loop: time jumps, ties are broken by key, nothing waits for the wall clock, nothing is lost."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from bot.core.calendar import NEVER, Class
from bot.runtime.env import LiveCalendar, ScaledClock, SystemClock, VirtualCalendar
from bot.runtime.supervisor import ActorFailed, Supervisor
from bot.runtime.virtual_loop import Deadlock, VirtualLoop

START_NS = 1_700_000_000_000_000_000


def on_virtual_time(main: Callable[[VirtualLoop], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine on a virtual loop that begins at START_NS."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(START_NS)) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return runner.run(main(loop))


def test_a_year_passes_at_once() -> None:
    async def main(loop: VirtualLoop) -> int:
        await asyncio.sleep(365 * 86_400)
        return loop.now_ns

    assert on_virtual_time(main) == pytest.approx(START_NS + 365 * 86_400 * 10**9, abs=1_000)


def test_calls_are_made_in_the_order_of_their_keys() -> None:
    """Time, then class, then stream, then row; whoever was scheduled first among equals."""

    async def main(loop: VirtualLoop) -> list[str]:
        made: list[str] = []
        at = START_NS + 10
        for key, name in [
            ((at, Class.TIMER, 0, 0), "timer"),
            ((at, Class.BAR, 1, 0), "bar of stream 1"),
            ((at, Class.BAR, 0, 7), "bar 7"),
            ((at, Class.BAR, 0, 3), "bar 3"),
            ((at, Class.FILL, 5, 9), "fill"),
            ((at, Class.READ_AHEAD, 0, 0), "read"),
            ((at - 5, Class.END, 9, 9), "earlier"),
            ((at, Class.FILL, 5, 9), "fill again"),
        ]:
            loop.schedule(key, made.append, name)
        await asyncio.sleep(1)
        return made

    want = ["earlier", "read", "fill", "fill again", "bar 3", "bar 7", "bar of stream 1", "timer"]
    assert on_virtual_time(main) == want


def test_all_that_is_ready_runs_before_time_moves() -> None:
    """A chain of messages at one instant ends before the next scheduled call, however long it is."""

    async def main(loop: VirtualLoop) -> list[int]:
        seen: list[int] = []

        async def chain(left: int) -> None:
            seen.append(loop.now_ns - START_NS)
            if left:
                await asyncio.create_task(chain(left - 1))

        loop.schedule((START_NS + 1, 0, 0, 0), seen.append, -1)
        await chain(50)
        await asyncio.sleep(1)
        return seen

    assert on_virtual_time(main) == [0] * 51 + [-1]


def test_the_horizon_is_the_next_call_and_cannot_be_passed() -> None:
    async def main(loop: VirtualLoop) -> None:
        calendar = VirtualCalendar(loop)
        assert calendar.horizon() == NEVER
        first = calendar.schedule((START_NS + 10, 0, 0, 0), lambda: None)
        calendar.schedule((START_NS + 20, 0, 0, 0), lambda: None)
        calendar.advance(START_NS + 10)
        with pytest.raises(RuntimeError, match="cannot advance"):
            calendar.advance(START_NS + 11)
        first.cancel()
        calendar.advance(START_NS + 20)
        with pytest.raises(RuntimeError, match="cannot advance"):
            calendar.advance(START_NS + 19)
        assert calendar.now_ns() == START_NS + 20

    on_virtual_time(main)


def test_waiting_for_nothing_is_found() -> None:
    """If every task waits and nothing is scheduled, the run ends with their names instead of for ever."""

    async def main(loop: VirtualLoop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="every task waits"):
        on_virtual_time(main)


def test_two_runs_take_the_same_course() -> None:
    """Sets of tasks are walked in a stable order: what fails together is stopped in the same order each time."""

    async def main(loop: VirtualLoop) -> list[int]:
        stopped: list[int] = []

        async def child(number: int) -> None:
            try:
                await asyncio.sleep(10)
            finally:
                stopped.append(number)

        async def failing() -> None:
            await asyncio.sleep(1)
            raise ValueError

        async def together() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(child(number))
                group.create_task(failing())

        with pytest.raises(ExceptionGroup):
            await together()
        return stopped

    first = on_virtual_time(main)
    clutter = [object() for _ in range(10_000)]
    assert on_virtual_time(main) == first
    assert len(clutter) == 10_000


def test_a_failing_actor_stops_the_run_and_is_named() -> None:
    async def main(loop: VirtualLoop) -> None:
        async def works() -> None:
            await asyncio.sleep(3600)

        async def fails() -> None:
            await asyncio.sleep(1)
            raise ZeroDivisionError("by nought")

        supervisor = Supervisor()
        supervisor.start({"works": works, "fails": fails})
        try:
            await supervisor.wait_until(asyncio.Event())
        finally:
            await supervisor.stop()

    with pytest.raises(ActorFailed, match=r"fails failed: ZeroDivisionError: by nought at .*test_virtual_loop"):
        on_virtual_time(main)


async def test_a_live_calendar_has_no_horizon_and_calls_at_once_what_is_due() -> None:
    clock = SystemClock()
    calendar = LiveCalendar(clock)
    called = asyncio.Event()
    calendar.schedule((clock.now_ns() - 1, Class.BAR, 0, 0), called.set)
    await asyncio.wait_for(called.wait(), 5)
    assert calendar.horizon() == NEVER


async def test_a_scaled_clock_runs_faster() -> None:
    """A minute of its time is over long before a second of ours is."""
    clock = ScaledClock(start_ns=START_NS, speed=1_000)
    called = asyncio.Event()
    LiveCalendar(clock).schedule((START_NS + 60 * 10**9, Class.TIMER, 0, 0), called.set)
    await asyncio.wait_for(called.wait(), 5)
    assert clock.now_ns() >= START_NS + 60 * 10**9
    with pytest.raises(ValueError, match="speed"):
        ScaledClock(start_ns=0, speed=0)
