"""A running bot asks for the venue's filters, and trades by what they are now."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from bot.core.filters import CHANGED, CLOSED
from bot.core.risk import Denial
from tests.support.paper_loop import PaperLoop, paper_loop


def publish(both: PaperLoop, status: str = "Trading", qty_min: str = "0.001") -> None:
    """Let the venue publish other filters."""
    listing = both.exchange.listings.find("linear", "BTCUSDT")
    instrument = replace(listing.contract.instrument, qty_min=Decimal(qty_min))
    contract = replace(listing.contract, instrument=instrument)
    both.exchange.listings.change(replace(listing, contract=contract, status=status))


@pytest.mark.slow
def test_filters_that_change_while_it_trades_hold_for_its_next_orders(tmp_path: Path) -> None:
    """An alert and a denial; trading goes on when they are as before; of what is not traded only exits pass."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            both.start(run={"out": tmp_path / "runs", "compare_every": "5s", "filters_every": "1s"})
            await both.until_ready()
            await both.until(lambda: bool(both.entries("FillBooked")), "it trades")
            assert not both.alerts()
            publish(both, qty_min="7")
            await both.until(lambda: Denial.QTY_BELOW_MIN in _denied(both), "an order is too small now")
            publish(both)
            await both.until(lambda: len(_lines(both, CHANGED)) == 2, "they are as they were")
            denied = len(_denied(both))
            await both.pass_time(3)
            assert len(_denied(both)) == denied, "what was denied before passes again"
            publish(both, status="Closed")
            await both.until(lambda: bool(_lines(both, CLOSED)), "a person is told")
            await both.until(lambda: Denial.IN_DOUBT in _denied(both), "no new exposure")
            await both.stop()
            assert _lines(both, CHANGED) == [
                "the venue changed the least quantity from 0.001 to 7",
                "the venue changed the least quantity from 7 to 0.001",
            ]

    asyncio.run(campaign())


def _denied(both: PaperLoop) -> list[str]:
    return [each["code"] for each in both.entries("RiskDenied")]


def _lines(both: PaperLoop, code: str) -> list[str]:
    return [each["detail"] for each in both.entries("AlertRaised") if each["code"] == code]
