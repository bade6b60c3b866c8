"""A whole paper run and its venue in one event loop: each row of the fault catalogue strikes, and the run comes back.

What must hold in every row: no order twice, every doubt resolved, READY again, and at the end ledger and venue equal.
"""

import asyncio
import base64
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.app.verify import verify_run
from bot.domain.operation import Pause, Phase
from bot.venues.bybit.credentials import Credentials
from tests.support.emulator import KEY, SECRET
from tests.support.paper_loop import SECOND, PaperLoop, paper_loop

ORDERS = {"op": "order.*"}
# Name, faults, seconds at the venue.
ROWS: list[tuple[str, list[dict[str, Any]], float]] = [
    ("lost acks", [{"kind": "lost_ack", "where": ORDERS, "count": 3}], 6),
    ("lost requests", [{"kind": "lost_request", "where": ORDERS, "count": 2}], 6),
    ("late requests", [{"kind": "late_request", "where": ORDERS, "count": 2, "delay_ns": 4 * SECOND}], 6),
    ("late acks", [{"kind": "late_ack", "where": ORDERS, "count": 2, "delay_ns": 4 * SECOND}], 6),
    ("duplicates", [{"kind": "duplicate_request", "where": ORDERS, "count": 4}], 4),
    ("busy before", [{"kind": "error_before", "where": {"op": "order.create"}, "code": 10016, "count": 2}], 5),
    ("busy after", [{"kind": "error_after", "where": {"op": "order.create"}, "code": 10016, "count": 2}], 5),
    ("too fast", [{"kind": "error_before", "where": ORDERS, "code": 10006, "count": 2}], 4),
    ("executions lost", [{"kind": "drop_frame", "where": {"topic": "execution*"}, "count": 3}], 5),
    ("orders told twice", [{"kind": "duplicate_frame", "where": {"socket": "private"}, "count": 20}], 4),
    ("rest is down", [{"kind": "http_status", "where": {"socket": "http"}, "status": 503, "for_s": 4.0}], 6),
    ("trade socket", [{"kind": "disconnect", "where": {"socket": "trade"}, "delay_ns": 2 * SECOND}], 5),
    ("public socket", [{"kind": "disconnect", "where": {"socket": "linear"}, "delay_ns": 2 * SECOND}], 5),
    ("private socket", [{"kind": "disconnect", "where": {"socket": "private"}, "delay_ns": 4 * SECOND}], 7),
    ("maintenance", [{"kind": "maintenance", "delay_ns": 4 * SECOND}], 8),
]


@pytest.mark.slow
def test_a_run_outlives_every_fault_and_its_books_are_the_venues(tmp_path: Path) -> None:
    """Row after row in one run, trading all the while."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            both.start()
            await both.until_ready()
            for name, faults, seconds in ROWS:
                before = len(both.entries("RequestSigned"))
                for fault in faults:
                    both.add_fault(**fault)
                await both.pass_time(seconds)
                both.exchange.faults.clear()
                await _healed(both, name)
                await both.pass_time(2)
                assert len(both.entries("RequestSigned")) > before, f"{name}: nothing was tried"
            await _quiet(both)
            await both.stop()
            verified = await asyncio.to_thread(verify_run, both.trading.directory)
            assert (verified.differences, verified.cautions) == ([], [])
            _assert_no_double(await both.venue_orders())
            assert await both.differences() == []
            found = await both.balance()
            assert found.is_whole, found
            assert found.matched > 20
            _assert_no_secret(tmp_path)
            assert not both.alerts() & {"ORDER_RESURFACED", "CONTRADICTION", "UNKNOWN_OF_OURS"}, both.alerts()

    asyncio.run(campaign())


@pytest.mark.slow
def test_no_new_exposure_while_the_accounts_stream_is_down(tmp_path: Path) -> None:
    """Even where REST still answers, and compares: what it cannot show is what comes next."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            both.start()
            await both.until_ready()
            await both.pass_time(3)
            both.add_fault(kind="disconnect", where={"socket": "private"}, delay_ns=14 * SECOND)
            await both.until(lambda: both.phase is Phase.DEGRADED, "it is degraded")
            from_ns = both.clock.now_ns()
            await both.pass_time(11)  # two comparisons are made meanwhile
            to_ns = both.clock.now_ns()
            await both.until_ready()
            await both.pass_time(4)
            compared = [each for each in both.entries("Reconciled") if from_ns < each["ts_ns"] < to_ns]
            assert compared, "nothing was compared meanwhile: the test shows nothing"
            assert both.openings(from_ns, to_ns) == []
            denied = [each for each in both.entries("RiskDenied") if from_ns < each["ts_ns"] < to_ns]
            # A comparison may find that an order is done, which the strategy was about to amend.
            assert {each["code"] for each in denied} - {"ORDER_NOT_OPEN"} == {"IN_DOUBT"}
            assert [each for each in both.entries("RequestSigned") if each["ts_ns"] > to_ns], "it trades again"

    asyncio.run(campaign())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["foreign order", "closed by hand", "liquidation"])
def test_what_somebody_else_did_is_booked_and_stops_trading_there(tmp_path: Path, kind: str) -> None:
    """Until a person has looked: the ledger has it all, and is the venue's."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            both.start()
            await both.until_ready()
            await both.until(lambda: bool(both.entries("FillBooked")), "something is held")
            match kind:
                case "foreign order":
                    body = {
                        "category": "linear",
                        "symbol": "BTCUSDT",
                        "side": "Buy",
                        "orderType": "Market",
                        "qty": "0.05",
                    }
                    both.add_fault(kind="owner_request", text="order.create", body=body, where={"account": "first"})
                case "closed by hand":
                    both.add_fault(kind="manual_close", where={"account": "first"})
                case _:
                    both.add_fault(kind="liquidation", where={"account": "first"})
            await both.until(lambda: bool(both.alerts()), "an alert")
            await both.pass_time(2)
            from_ns = both.clock.now_ns()
            await both.pass_time(8)
            assert both.openings(from_ns) == []
            if kind == "liquidation":  # what the venue's fund makes good stands in its log of transactions alone
                await both.until(lambda: _agrees(both), "all is booked", seconds=20)
            await both.stop()
            found = await both.differences()
            assert not [each for each in found if "was never intended" not in each], found

    asyncio.run(campaign())


@pytest.mark.slow
def test_a_revoked_key_sends_nothing_more_and_says_so(tmp_path: Path) -> None:
    """The run stays up, halted, for a person to see to."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            both.start()
            await both.until_ready()
            await both.pass_time(3)
            both.add_fault(kind="key_revoked", where={"account": "first"})
            await both.until(lambda: "KEY_REFUSED" in both.alerts(), "a person is told")
            await both.pass_time(1)
            from_ns = both.clock.now_ns()
            await both.pass_time(10)
            assert both.openings(from_ns) == []
            assert len(both.entries("AlertRaised")) < 30, "a person is told, not flooded"

    asyncio.run(campaign())


async def _healed(both: PaperLoop, name: str) -> None:
    """Return once it is READY with nothing in doubt: within half a minute of the venue's."""
    try:
        await both.until_ready(seconds=20)
        await both.until(lambda: not both.doubtful(), "no doubts", seconds=10)
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}; doubts {both.doubtful()}; {both.alerts()}") from None


def _agrees(both: PaperLoop) -> bool:
    """Return whether the newest comparison found nothing."""
    newest = both.entries("Reconciled")[-1]
    return not newest.get("healed") and not newest.get("differences")


async def _quiet(both: PaperLoop) -> None:
    both.command(Pause(why="the test ends"))
    await both.pass_time(8)
    await _healed(both, "the end")


def _assert_no_secret(directory: Path) -> None:
    """Assert that neither key nor secret is in any file of the run, however it may be written."""
    words = [KEY.encode(), SECRET.encode()]
    wanted = [form for word in words for form in (word, base64.b64encode(word), word.hex().encode())]
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert {"log.jsonl", "config.toml", "ledger.sqlite"} <= {path.name for path in files}
    assert not [path for path in files if any(form in path.read_bytes() for form in wanted)]
    assert not [word for word in words if word in repr(Credentials(key=KEY, secret=SECRET)).encode()]


def _assert_no_double(orders: list[dict[str, Any]]) -> None:
    names = [each["orderLinkId"] for each in orders]
    assert len(set(names)) == len(names), "an order is there twice"
    assert all(Decimal(each["cumExecQty"]) <= Decimal(each["qty"]) for each in orders)
