"""A paper run that trades a spot pair: a buy pays its fee in the coin it brings, and the wallet is ours to the unit."""

import asyncio
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from bot.app.ledgers import audit
from bot.domain.operation import Flatten, Pause
from tests.support.emulator import KEY, SECRET
from tests.support.paper_loop import PaperLoop, paper_loop
from tests.support.truth import Venue

SYMBOL = {"symbol": "BTCUSDT", "category": "spot"}


@pytest.mark.slow
def test_a_spot_run_knows_its_coins_to_the_unit(tmp_path: Path) -> None:
    """Through a crash and a flattening; what is left is less than can be sold."""

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            both.symbols = [SYMBOL]
            both.start(run={"balance_every": "5s"})
            await both.until_ready()
            await both.until(lambda: len(both.entries("FeeBooked")) > 2, "buys that paid in their coin")
            await both.crash()
            both.start(run={"balance_every": "5s"})
            await both.until_ready()
            await both.until(lambda: len(both.entries("FillBooked")) > 12, "enough to be balanced")
            await both.until(both.command(Flatten(why="home")).exists, "an answer")
            await both.until(lambda: abs(_held(both)) < Decimal("0.001"), "flat but for dust")
            await both.until(both.command(Pause(why="the test ends")).exists, "an answer")
            await both.pass_time(8)
            await both.stop()
            wallet = await asyncio.to_thread(_wallet, both)
            owned = {coin: amount.quantize(Decimal("1e-8")) for coin, amount in _owned(both).items()}
            assert wallet == owned  # which the venue tells to eight places
            assert not both.alerts() & {"BALANCE_DIFFERS", "POSITION_DIFFERS", "COIN_DIFFERS", "FEE_IN_OTHER_COIN"}
            assert [each for each in both.entries("Reconciled") if "balance" in each["checked"]]
            assert audit(str(both.ledger)).problems == []
            assert not [each for each in both.entries("LedgerBalanced") if each.get("differences")]
            found = await both.balance()
            assert found.is_whole, found
            assert found.matched == found.lines > 20, found

    asyncio.run(campaign())


def _held(both: PaperLoop) -> Decimal:
    """Return the position, by the tables alone."""
    file = sqlite3.connect(f"file:{both.ledger / 'ledger.sqlite'}?mode=ro", uri=True)
    fills = file.execute("select side, qty from fills").fetchall()
    fees = file.execute("select amount from fees where value is not null").fetchall()
    file.close()
    bought = sum((Decimal(qty) * (1 if side == "buy" else -1) for side, qty in fills), Decimal(0))
    return bought - sum((Decimal(amount) for (amount,) in fees), Decimal(0))


def _owned(both: PaperLoop) -> dict[str, Decimal]:
    """Return what the wallet must hold, by the tables alone: what it began with, and every fill and fee since."""
    file = sqlite3.connect(f"file:{both.ledger / 'ledger.sqlite'}?mode=ro", uri=True)
    fills = file.execute("select side, qty, price, fee from fills").fetchall()
    file.close()
    cash = Decimal(1_000_000)
    for side, qty, price, fee in fills:
        cash -= Decimal(qty) * Decimal(price) * (1 if side == "buy" else -1) + Decimal(fee)
    return {"USDT": cash, "BTC": 5 + _held(both)}


def _wallet(both: PaperLoop) -> dict[str, Decimal]:
    coins = Venue(both.url, KEY, SECRET).ask("/v5/account/wallet-balance", accountType="UNIFIED")["list"][0]["coin"]
    return {coin["coin"]: Decimal(coin["walletBalance"]) for coin in coins}
