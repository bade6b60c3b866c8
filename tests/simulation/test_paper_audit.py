"""A whole paper run whose ledger is changed on the disk where no start reads it."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from bot.app.ledgers import audit_beside
from tests.support.paper_loop import paper_loop
from tests.support.truth import Ledger

_PATIENCE_S = 180.0  # of a machine that has much else to do


def _change(ledger: Path, *, seq: int) -> None:
    """Change one digit of one entry in the file."""
    path = ledger / "ledger.sqlite"
    with sqlite3.connect(path) as file:
        file.execute("pragma wal_checkpoint(truncate)")
        body = file.execute("select body from journal where seq = ?", (seq,)).fetchone()[0].encode()
    file.close()
    raw = bytearray(path.read_bytes())
    at = raw.index(body) + body.index(b'"ts_ns":') + 15
    raw[at] = ord("1") if raw[at] != ord("1") else ord("2")
    path.write_bytes(raw)


@pytest.mark.slow
def test_a_byte_that_was_changed_is_found_beside_the_run_and_ends_all_entries(tmp_path: Path) -> None:
    """While it is written a whole ledger is not doubted. What a start skips is audited later; then only exits pass."""
    ledger = tmp_path / "ledger"

    async def campaign() -> None:
        async with paper_loop(tmp_path) as both:
            both.start()
            await both.until_ready(seconds=_PATIENCE_S)
            await both.until(lambda: Ledger(ledger).last_seq() >= 9, "it writes", seconds=_PATIENCE_S)
            found = await asyncio.to_thread(audit_beside, str(ledger))
            assert not found.problems
            assert found.entries >= 9
            await both.stop()
            _change(ledger, seq=5)
            both.start(ledger={"audit_after": "2s"})
            await both.until_ready(seconds=_PATIENCE_S)
            await both.until(lambda: bool(_pauses(ledger)), "the audit has found it", seconds=_PATIENCE_S)
            paused_ns = both.clock.now_ns()
            await both.pass_time(2)
            assert both.openings(paused_ns) == []
            await both.stop()

    asyncio.run(campaign())
    assert "journal: entry 5" in _pauses(ledger)[0]


def _pauses(ledger: Path) -> list[str]:
    changes = Ledger(ledger).entries("TradingStateChanged")
    return [entry["detail"] for entry in changes if "does not hold" in entry.get("detail", "")]
