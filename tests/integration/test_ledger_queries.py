"""An operator's questions about a live ledger, while it is written."""

from decimal import Decimal
from pathlib import Path

import pytest

from bot.domain.errors import DataError
from bot.ports import LedgerQueries
from bot.store.ledger_queries import LedgerHistory
from tests.support.live_ledgers import STARTED_NS, begin, history, open_ledger, write_one_by_one
from tests.support.money import NAME


def test_answers_follow_the_ledger_and_agree_with_its_bookings(tmp_path: Path) -> None:
    """Read in between or all at once, the answers are the same; profit is fills less fees, plus funding."""
    ledger = open_ledger(tmp_path)
    begin(ledger)
    queries: LedgerQueries = LedgerHistory(str(tmp_path))
    assert queries.total().fills == 0
    write_one_by_one(ledger, history(2), size=5)
    assert queries.total().trades == 2
    write_one_by_one(ledger, history(3, start=3), size=7)
    total = queries.total()
    assert (total.trades, total.fills) == (5, 15)
    assert total.fees == 15 * Decimal("0.010")
    assert total.funding == 5 * Decimal("-0.0123")
    assert total.net_pnl == -total.fees + total.funding
    fresh = LedgerHistory(str(tmp_path / "ledger.sqlite"))
    assert fresh.total() == total
    assert fresh.by_instrument() == queries.by_instrument()
    assert fresh.trades(3) == queries.trades(3)
    assert [trade.instrument for trade in fresh.trades(3)] == [NAME] * 3
    assert sum(day.fills for day in queries.periods("day", 2, STARTED_NS)) == 15
    orders = queries.orders(4)
    assert [order.status for order in orders] == ["canceled", "rejected", "filled", "filled"]
    assert orders[2].filled_qty == orders[2].qty == 1
    assert queries.equity(0, 5) == ()
    ledger.close(now_ns=STARTED_NS)


def test_no_ledger_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no ledger here"):
        LedgerHistory(str(tmp_path)).total()
    (tmp_path / "ledger.sqlite").write_bytes(b"SQLite format 3\0" + bytes(range(200)))
    with pytest.raises(DataError, match="cannot be read"):
        LedgerHistory(str(tmp_path)).orders(1)
