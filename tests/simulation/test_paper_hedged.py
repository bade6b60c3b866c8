"""Hedge mode on a whole paper run and its venue: one leg at a time through lost answers, crashes and other hands."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.app.verify import verify_run
from bot.domain.errors import ConfigError
from bot.domain.operation import Flatten, OperatorCommand, Pause, Resume
from tests.support.emulator import KEY, SECRET
from tests.support.paper import ROOT
from tests.support.paper_loop import PaperLoop, paper_loop
from tests.support.truth import Venue

pytestmark = pytest.mark.slow

TURNING = f"{ROOT / 'tests/support/turning.py'}:Turning"
CREATES = {"op": "order.create"}
Legs = dict[int, Decimal]


class Hedged(PaperLoop):
    """The loop in hedge mode, with a strategy that turns over."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, **options)
        self.mode, self.every_bars = "hedge", 3

    def settings(self, **changed: dict[str, Any]) -> Any:
        """See `PaperLoop`."""
        own: dict[str, dict[str, Any]] = {
            "run": {"compare_every": "30s"},  # else it knows before anybody asks
            "strategy": {"name": TURNING, "params": {"every_bars": self.every_bars}},
            "execution": {"position_mode": self.mode},
        }
        return super().settings(**own, **changed)

    @property
    def venue(self) -> Venue:
        return Venue(self.url, KEY, SECRET)

    def legs(self) -> Legs:
        """Return what the venue holds, by index of the leg."""
        rows = self.venue.all("/v5/position/list", category="linear", symbol="BTCUSDT")
        return {row["positionIdx"]: Decimal(row["size"]) for row in rows}

    def held(self) -> Decimal:
        """Return what the ledger says is held."""
        rows = self.entries("FillBooked", "ExternalFillBooked")
        return Decimal(rows[-1]["position_qty"]) if rows else Decimal(0)

    def intended(self, *, is_closing: bool) -> set[str]:
        """Return the orders that were to close a leg, or to open one."""
        orders = [each["order"] for each in self.entries("OrderIntended")]
        return {each["client_order_id"] for each in orders if each.get("reduce_only", False) is is_closing}

    def doubted(self) -> set[str]:
        """Return the orders that were ever in doubt."""
        return {each["client_order_id"] for each in self.entries("DoubtOpened")}


def steps(orders: list[dict[str, Any]], executions: list[dict[str, Any]]) -> Iterator[Legs]:
    """Yield what the venue held after each execution, by its own word."""
    made = {order["orderId"]: order for order in orders}
    legs = {1: Decimal(0), 2: Decimal(0)}
    for row in sorted(executions, key=lambda row: (int(row["execTime"]), row["seq"])):
        order = made[row["orderId"]]
        is_opening = (row["side"] == "Buy") == (order["positionIdx"] == 1)
        legs[order["positionIdx"]] += Decimal(row["execQty"]) * (1 if is_opening else -1)
        yield dict(legs)


async def look(both: Hedged) -> list[Legs]:
    """Return the steps of what the venue held."""
    orders = await asyncio.to_thread(both.venue.orders)
    executions = await asyncio.to_thread(
        lambda: both.venue.all("/v5/execution/list", category="linear", limit="100", execType="Trade")
    )
    return list(steps(orders, executions))


async def obeyed(both: Hedged, command: OperatorCommand) -> None:
    await both.until(both.command(command).exists, "an answer")


async def doubt(both: Hedged, *, is_closing: bool) -> None:
    """Lose answers to creates, and what the streams say of them, until one of such an order is in doubt."""
    before = both.doubted()
    both.add_fault(kind="lost_ack", where=CREATES, count=50)
    for topic in ("order", "execution*"):  # its pongs pass: no order leaves while the stream is down
        both.add_fault(kind="drop_frame", where={"topic": topic}, count=500)
    await both.until(lambda: bool((both.doubted() - before) & both.intended(is_closing=is_closing)), "a doubt")
    both.exchange.faults.clear()


def test_turning_over_through_lost_answers_and_crashes(tmp_path: Path) -> None:
    """On each half of a flip; the start has set the mode itself; the record of a run comes out the same."""

    async def campaign() -> None:
        async with paper_loop(tmp_path, kind=Hedged) as both:
            assert isinstance(both, Hedged)
            both.start()
            await both.until_ready()
            await both.until(lambda: both.held() < 0, "a short")
            await both.until(lambda: both.held() > 0, "a long again")
            await doubt(both, is_closing=True)
            await both.until(lambda: not both.doubtful(), "it is known")
            await doubt(both, is_closing=False)
            await both.until(lambda: not both.doubtful(), "it is known")
            both.add_fault(kind="drop_frame", where={"topic": "execution*"}, count=3)
            both.add_fault(kind="lost_request", where=CREATES, count=1)
            await both.pass_time(6)
            await doubt(both, is_closing=True)
            await both.crash()  # between the halves
            both.start()
            await both.until_ready()
            await doubt(both, is_closing=False)
            await both.crash()
            both.start()
            await both.until_ready()
            fills = len(both.entries("FillBooked"))
            await both.until(lambda: len(both.entries("FillBooked")) > fills + 4, "it trades on")
            await obeyed(both, Pause(why="the test ends"))
            await both.pass_time(8)
            await both.stop()
            verified = await asyncio.to_thread(verify_run, both.trading.directory)
            assert (verified.differences, verified.cautions) == ([], [])
            held = await look(both)
            assert any(legs[1] for legs in held)
            assert any(legs[2] for legs in held)
            assert not any(all(legs.values()) for legs in held)
            assert await both.differences() == []
            assert (await both.balance()).is_whole
            rejected = [each for each in both.entries("OrderReported") if each["event"]["type"] == "OrderRejected"]
            assert {each["event"]["code"] for each in rejected} <= {"UNSENT", "NOT_ACCEPTED"}
            assert not both.alerts() & {"BOTH_LEGS", "POSITION_MODE", "POSITION_DIFFERS", "BALANCE_DIFFERS"}

    asyncio.run(campaign())


@pytest.mark.parametrize(
    "ours", [1, pytest.param(2, marks=pytest.mark.soak)], ids=["a long of ours", "a short of ours"]
)
def test_a_hand_that_opens_the_other_leg(tmp_path: Path, ours: int) -> None:
    """It is told, nothing is opened any more, and flattening closes the two, each by itself."""

    async def campaign() -> None:
        async with paper_loop(tmp_path, kind=Hedged) as both:
            assert isinstance(both, Hedged)
            both.every_bars = 6  # there is time to look
            both.start()
            await both.until_ready()
            await both.until(lambda: both.held() != 0 and (both.held() > 0) is (ours == 1), "our leg")
            body = {
                "category": "linear",
                "symbol": "BTCUSDT",
                "side": "Sell" if ours == 1 else "Buy",
                "orderType": "Market",
                "qty": "0.01",
                "positionIdx": 3 - ours,
            }
            both.add_fault(kind="owner_request", text="order.create", body=body, where={"account": "first"})
            await both.until(lambda: {"FOREIGN_FILL", "BOTH_LEGS"} <= both.alerts(), "a person is told")
            from_ns = both.clock.now_ns()
            await both.pass_time(8)
            assert both.openings(from_ns) == []
            assert all((await asyncio.to_thread(both.legs)).values())
            await obeyed(both, Flatten(why="home"))
            await both.until(lambda: not _is_wanted(both), "it is flat")
            assert not any((await asyncio.to_thread(both.legs)).values())
            assert both.held() == 0
            await obeyed(both, Resume(why="closed"))
            fills = len(both.entries("FillBooked"))
            await both.until(lambda: len(both.entries("FillBooked")) > fills + 1, "it trades again")
            await obeyed(both, Flatten(why="the test ends"))  # whichever leg it is
            await both.until(lambda: not _is_wanted(both), "it is flat")
            await both.stop()
            found = await both.differences()
            assert not [each for each in found if "was never intended" not in each], found

    asyncio.run(campaign())


def test_modes_are_set_where_they_may_be_and_refused_where_not(tmp_path: Path) -> None:
    """A position in the other mode ends the start; a switch behind our back halts the instrument."""

    async def campaign() -> None:
        async with paper_loop(tmp_path, kind=Hedged) as both:
            assert isinstance(both, Hedged)
            both.start()
            await both.until_ready()
            await both.until(lambda: both.held() != 0, "something is held")
            await both.stop()
            both.mode = "one_way"
            both.start()
            with pytest.raises(ConfigError, match="BTCUSDT is held in hedge mode; close it and start again"):
                await both.until_ready()
            both.mode = "hedge"
            both.start()
            await both.until_ready()
            await obeyed(both, Flatten(why="home"))
            await both.until(lambda: not _is_wanted(both), "it is flat")
            body = {"category": "linear", "symbol": "BTCUSDT", "mode": 0}
            both.add_fault(kind="owner_request", text="position.switch-mode", body=body, where={"account": "first"})
            await both.pass_time(1)
            await obeyed(both, Resume(why="nobody has told us"))
            await both.until(lambda: "POSITION_MODE" in both.alerts(), "a person is told")
            from_ns = both.clock.now_ns()
            await both.pass_time(5)
            assert both.openings(from_ns) == []
            await both.stop()
            both.mode = "one_way"
            both.start()
            await both.until_ready()  # flat: the setting and the venue agree
            await both.stop()
            both.mode = "hedge"
            both.start()
            await both.until_ready()
            assert set(await asyncio.to_thread(both.legs)) == {1, 2}
            await both.stop()
            assert await both.differences() == []

    asyncio.run(campaign())


def _is_wanted(both: Hedged) -> bool:
    """Return whether a position is still to be closed."""
    entries = both.entries("FlattenWanted")
    return bool(entries) and bool(entries[-1]["is_wanted"])
