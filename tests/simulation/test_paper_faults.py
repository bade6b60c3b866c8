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
from bot.domain.operation import Flatten, Phase, Resume
from bot.emulator.faults import SCHEDULED
from bot.venues.bybit.credentials import Credentials
from tests.support.emulator import KEY, SECRET
from tests.support.paper_loop import SECOND, PaperLoop, paper_loop

ORDERS = {"op": "order.*"}
# Name, faults, how often one of them is to strike before the run is asked to have come back.
ROWS: list[tuple[str, list[dict[str, Any]], int]] = [
    ("lost acks", [{"kind": "lost_ack", "where": ORDERS, "count": 3}], 3),
    ("lost requests", [{"kind": "lost_request", "where": ORDERS, "count": 2}], 2),
    ("late requests", [{"kind": "late_request", "where": ORDERS, "count": 2, "delay_ns": 4 * SECOND}], 2),
    ("late acks", [{"kind": "late_ack", "where": ORDERS, "count": 2, "delay_ns": 4 * SECOND}], 2),
    ("duplicates", [{"kind": "duplicate_request", "where": ORDERS, "count": 4}], 4),
    ("busy before", [{"kind": "error_before", "where": {"op": "order.create"}, "code": 10016, "count": 2}], 2),
    ("busy after", [{"kind": "error_after", "where": {"op": "order.create"}, "code": 10016, "count": 2}], 2),
    ("too fast", [{"kind": "error_before", "where": ORDERS, "code": 10006, "count": 2}], 2),
    ("executions lost", [{"kind": "drop_frame", "where": {"topic": "execution*"}, "count": 3}], 3),
    ("orders told twice", [{"kind": "duplicate_frame", "where": {"socket": "private"}, "count": 20}], 20),
    ("rest is down", [{"kind": "http_status", "where": {"socket": "http"}, "status": 503}], 2),
    ("trade socket", [{"kind": "disconnect", "where": {"socket": "trade"}, "delay_ns": 2 * SECOND}], 1),
    ("public socket", [{"kind": "disconnect", "where": {"socket": "linear"}, "delay_ns": 2 * SECOND}], 1),
    ("private socket", [{"kind": "disconnect", "where": {"socket": "private"}, "delay_ns": 4 * SECOND}], 1),
    ("maintenance", [{"kind": "maintenance", "delay_ns": 4 * SECOND}], 1),
]
TOGETHER = 9  # rows that only lose, delay or repeat messages: the run is asked to have come back after every third


@pytest.mark.slow
def test_a_run_outlives_every_fault_and_its_books_are_the_venues(tmp_path: Path) -> None:
    """Row after row in one run, trading all the while."""

    async def campaign() -> None:
        # The market must not end before the run does, however slow the machine.
        async with paper_loop(tmp_path, seconds=3_600) as both:
            both.start()
            await both.until_ready(seconds=90)
            for number, (name, faults, strikes) in enumerate(ROWS):
                await _strike(both, name, faults, strikes)
                if number % 3 < 2 and number < TOGETHER:
                    continue  # the next one strikes while this one is still being found out
                await _healed(both, name)
                since_ns = both.clock.now_ns()
                await both.until(lambda since_ns=since_ns: _signed_since(both, since_ns), f"{name}: it trades again")  # type: ignore[misc]
            await _quiet(both)
            await both.stop()
            verified = await asyncio.to_thread(verify_run, both.trading.directory)
            assert (verified.differences, verified.cautions) == ([], [])
            _assert_no_double(await both.venue_orders())
            assert await both.differences() == []
            found = await both.balance()
            assert found.is_whole, found
            assert found.matched > 5  # it is in doubt of its data, and takes nothing new, for much of the run
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
                await both.until(lambda: _agrees(both), "all is booked")
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


@pytest.mark.slow
def test_questions_that_are_refused_for_the_key_tell_of_it_by_themselves(tmp_path: Path) -> None:
    """Order entry has a connection of its own, and says nothing: the account is halted, once, with one alert."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            both.start()
            await both.until_ready()
            both.add_fault(kind="http_status", where={"socket": "http", "path": "*/account/*"}, status=401, count=1)
            await both.until(lambda: bool(both.exchange.faults.fired["http_status"]), "one question is refused")
            await both.pass_time(3)
            assert "KEY_REFUSED" not in both.alerts(), "one refusal may be the door's own trouble"
            both.add_fault(kind="http_status", where={"socket": "http"}, status=401)
            await both.until(lambda: "KEY_REFUSED" in both.alerts(), "a person is told")
            await both.pass_time(1)
            from_ns = both.clock.now_ns()
            await both.pass_time(8)
            assert both.openings(from_ns) == []
            refused = [each for each in both.entries("AlertRaised") if each["code"] == "KEY_REFUSED"]
            assert len(refused) == 1
            assert "HTTP 401" in refused[0]["detail"]
            both.exchange.faults.clear()
            both.command(Resume(why="there is a new key"))
            from_ns = both.clock.now_ns()
            await both.until(lambda: bool(both.openings(from_ns)), "it trades again")
            await both.stop()
            verified = await asyncio.to_thread(verify_run, both.trading.directory)
            assert (verified.differences, verified.cautions) == ([], [])

    asyncio.run(campaign())


async def _strike(both: PaperLoop, name: str, faults: list[dict[str, Any]], strikes: int) -> None:
    """Let faults strike so often; what they cut off stays so for as long as they say."""
    fired, before = both.exchange.faults.fired, sum(both.exchange.faults.fired.values())
    for fault in faults:
        both.add_fault(**fault)
    await both.until(lambda: sum(fired.values()) >= before + strikes, f"{name}: it strikes", seconds=60)
    both.exchange.faults.clear()
    outages = [fault["delay_ns"] for fault in faults if fault["kind"] in SCHEDULED]
    if outages:
        await both.pass_time(max(outages) / SECOND)


async def _healed(both: PaperLoop, name: str) -> None:
    """Return once it is READY and what was on its way or in doubt by now is neither.

    How long that may take is a minute of ours: on a machine that others use too, less would be a test of the machine.
    What the fence and the comparisons take by themselves is tried on the virtual clock.
    """
    by_ns = both.clock.now_ns()
    view = both.trading.view
    assert view is not None
    requests = view._executor.desk.submissions.journal.requests
    try:
        await both.until_ready(seconds=60)
        await both.until(
            lambda: not any(each.is_open and each.decided_ns < by_ns for each in requests.values()),
            "what was asked is known",
            seconds=60,
        )
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}; doubts {both.doubtful()}; {both.alerts()}") from None


def _signed_since(both: PaperLoop, since_ns: int) -> bool:
    """Return whether anything was sent since."""
    return any(each["ts_ns"] > since_ns for each in both.entries("RequestSigned")[-5:])


def _agrees(both: PaperLoop) -> bool:
    """Return whether the newest comparison found nothing."""
    newest = both.entries("Reconciled")[-1]
    return not newest.get("healed") and not newest.get("differences")


async def _quiet(both: PaperLoop) -> None:
    """Leave nothing that the market could still move once nobody listens."""
    both.command(Flatten(why="the test ends"))
    view = both.trading.view
    assert view is not None
    state = view._executor.desk.orders.state
    await both.until(
        lambda: state.portfolio.positions["BTCUSDT"].qty == 0 and not state.live["BTCUSDT"], "it is flat", seconds=60
    )
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
