"""A person changes leverage and margin mode in the venue's app while the bot trades: a whole paper run sees to it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import VenueError
from bot.domain.operation import Phase
from tests.support.paper_loop import PaperLoop, paper_loop

pytestmark = pytest.mark.slow


def _told(both: PaperLoop, code: str) -> list[str]:
    return [each["detail"] for each in both.entries("AlertRaised") if each["code"] == code]


def _set_leverage(both: PaperLoop, figure: str) -> None:
    body: dict[str, Any] = {
        "category": "linear",
        "symbol": "BTCUSDT",
        "buyLeverage": figure,
        "sellLeverage": figure,
    }
    both.add_fault(kind="owner_request", text="position.set-leverage", body=body, where={"account": "first"})


def test_a_start_asks_again_for_key_and_account_and_does_not_call_silence_a_mistake(tmp_path: Path) -> None:
    """A venue that is busy for a moment is waited for; one that stays so ends the start, and a service tries anew."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            busy: dict[str, Any] = {"kind": "http_status", "where": {"path": "/v5/user/query-api"}, "status": 503}
            both.add_fault(**busy, count=1)
            both.start()
            await both.until_ready()
            assert both.exchange.faults.fired["http_status"] == 1
            await both.stop()
            both.add_fault(**busy)
            trading = both.start()
            with pytest.raises(VenueError, match=r"no answer: /v5/user/query-api could not be asked: HTTP 503"):
                await both.until(lambda: False, "it gives up")
            assert both.exchange.faults.fired["http_status"] == 4
            assert trading.phase is not Phase.READY

    asyncio.run(campaign())


def test_a_changed_leverage_and_margin_mode_keep_entries_out_until_they_are_set_back(tmp_path: Path) -> None:
    """Noticed at the next comparison, told once, exits pass, trading goes on by itself when it is as configured."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            both.start()
            await both.until_ready()
            await both.until(lambda: bool(both.entries("FillBooked")), "it trades")
            _set_leverage(both, "25")
            await both.until(lambda: bool(_told(both, "LEVERAGE")), "a person is told")
            assert "is 25, configured is 10" in _told(both, "LEVERAGE")[0]
            from_ns = both.clock.now_ns()
            await both.pass_time(12)
            assert both.openings(from_ns) == []
            denied = [each for each in both.entries("RiskDenied") if "is 25, configured" in each["detail"]]
            assert denied, "entries were wanted, and refused for that"
            assert len(_told(both, "LEVERAGE")) == 1
            _set_leverage(both, "10")
            await both.until(lambda: bool(_told(both, "AS_CONFIGURED")), "it is well again")
            seen_ns = both.clock.now_ns()
            await both.until(lambda: bool(both.openings(seen_ns)), "it trades on")

            client = next(iter(both.exchange.clients.values()))
            client.info = {"marginMode": "ISOLATED_MARGIN"}
            await both.until(lambda: bool(_told(both, "MARGIN_MODE")), "a person is told")
            from_ns = both.clock.now_ns()
            await both.pass_time(12)
            assert both.openings(from_ns) == []
            client.info = {}
            await both.until(lambda: len(_told(both, "AS_CONFIGURED")) == 2, "it is well again")
            seen_ns = both.clock.now_ns()
            await both.until(lambda: bool(both.openings(seen_ns)), "it trades on")
            await both.until_flat(seconds=120)
            await both.stop()
            assert await both.differences() == []

    asyncio.run(campaign())
