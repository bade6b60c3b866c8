"""Two strategies and patient orders on one paper account, through a crash: books, venue and ledger agree."""

import asyncio
import sqlite3
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.app.ledgers import audit
from bot.domain.errors import ConfigError
from bot.domain.operation import Pause
from bot.emulator.exchange import Exchange
from tests.support.paper import ROOT
from tests.support.paper_loop import PaperLoop, paper_loop

SWINGING = f"{ROOT / 'tests/support/swinging.py'}:Swinging"
TWO = (
    {"name": SWINGING, "label": "short", "params": {"qty": "0.02", "every_bars": 4}},
    {"name": SWINGING, "label": "long", "params": {"qty": "0.05", "every_bars": 6}},
)
PATIENT = {
    "policy": "passive",
    "exit_within": "2s",
    "passive": {"reprice_after": "1s", "reprices_max": 2, "look_every": "500ms"},
}


class TwoStrategies(PaperLoop):
    """The loop with settings of its own."""

    strategies: tuple[dict[str, Any], ...] = TWO

    def settings(self, **changed: dict[str, Any]) -> Any:
        """See `PaperLoop`."""
        whole = super().settings(**changed, execution=PATIENT)
        return type(whole)(**(whole.model_dump(mode="json") | {"strategies": self.strategies}))


@pytest.mark.slow
def test_books_of_two_strategies_survive_a_crash(tmp_path: Path) -> None:
    """Books add up to the venue's position before and after; what rested for a target is taken back at the start."""

    async def campaign() -> None:
        async with paper_loop(tmp_path, kind=TwoStrategies) as both:
            both.start()
            await both.until_ready()
            await both.until(lambda: len(both.entries("BookMoved")) > 12, "fills that are shared out")
            await both.until(lambda: len(both.entries("AmendIntended")) > 2, "orders that are moved")
            await both.crash()
            before = _books(both)
            both.start()
            await both.until_ready()
            moved = len(both.entries("BookMoved"))
            await both.until(lambda: len(both.entries("BookMoved")) > moved + 6, "more of them")
            await both.until(lambda: bool(_resting(both.exchange)), "an order that rests")
            await both.stop()
            assert not _resting(both.exchange)  # nobody would mind it
            both.start()
            await both.until_ready()
            await both.until(both.command(Pause(why="the test ends")).exists, "an answer")
            await both.pass_time(8)
            await both.until(lambda: not both.doubtful(), "every answer is known")
            await both.stop()
            assert set(before) <= {"short", "long"}
            assert sum(_books(both).values(), Decimal(0)) == _held(both)
            assert await both.differences() == []
            assert audit(str(both.ledger)).problems == []
            assert both.doubtful() == set()
            assert not both.alerts() & {"POSITION_DIFFERS", "BALANCE_DIFFERS", "CONTRADICTION"}
            if _books(both)["long"]:
                both.strategies = (TWO[0], TWO[1] | {"label": "other"})  # type: ignore[attr-defined]
                both.start()
                with pytest.raises(ConfigError, match="long holds"):
                    await both.until_ready()

    asyncio.run(campaign())


def _resting(exchange: Exchange) -> list[str]:
    """Return what rests at the venue, by its own word."""
    model = exchange.model
    return [each.client_order_id for account in model.accounts for each in model.orders(account)]


def _books(both: PaperLoop) -> dict[str, Decimal]:
    books: dict[str, Decimal] = defaultdict(Decimal)
    for entry in both.entries("BookMoved"):
        if entry.get("qty") is not None:
            books[entry["strategy"]] += Decimal(entry["qty"]) * (1 if entry["side"] == "buy" else -1)
    return books


def _held(both: PaperLoop) -> Decimal:
    file = sqlite3.connect(f"file:{both.ledger / 'ledger.sqlite'}?mode=ro", uri=True)
    fills = file.execute("select side, qty from fills").fetchall()
    file.close()
    return sum((Decimal(qty) * (1 if side == "buy" else -1) for side, qty in fills), Decimal(0))
