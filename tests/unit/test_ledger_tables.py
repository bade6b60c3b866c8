"""What the ledger's tables say of a run with entries of all kinds."""

from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from bot.core.order import Status
from bot.domain.ledger import (
    EquityMarked,
    FillBooked,
    LedgerEntry,
    OrderIntended,
    OrderReported,
)
from bot.domain.orders import OrderAmended
from bot.store import tables
from bot.store.run_reader import RunReader
from tests.support.money import dec
from tests.support.written_ledgers import LIFE, contents_of, finished_run, requests


def test_every_order_is_told_as_it_ended(whole_run: RunReader) -> None:
    """Filled, canceled with a late fill, refused, resting, never answered: status and quantity add up."""
    orders = whole_run.frame("orders").set_index("client_order_id")
    told: dict[str, tuple[str, Decimal]] = {}
    for entry in LIFE:
        match entry:
            case OrderIntended():
                told[entry.order.client_order_id] = Status.SUBMITTED, Decimal(0)
            case OrderReported():
                name = entry.event.client_order_id
                told[name] = entry.status, told[name][1]
            case FillBooked():
                name = entry.fill.client_order_id
                told[name] = entry.status, told[name][1] + entry.fill.qty
            case _:
                pass
    assert {name: (row["status"], row["filled_qty"]) for name, row in orders.iterrows()} == told
    assert sorted(status for status, _ in told.values()) == [
        "canceled",
        "filled",
        "filled",
        "open",
        "open",
        "rejected",
        "submitted",
    ]
    (changed,) = [
        entry.event for entry in LIFE if isinstance(entry, OrderReported) and isinstance(entry.event, OrderAmended)
    ]
    row = orders.loc[changed.client_order_id]
    assert (row["qty"], row["limit_price"], row["filled_qty"]) == (dec("1.2"), dec(104), dec("0.2"))


def test_what_was_asked_of_the_venue_is_told_in_full(whole_run: RunReader) -> None:
    """An order's trigger and exits, what an amendment and a change of stops would have; None for what stays."""
    intents = whole_run.frame("intents")
    columns = ["kind", "qty", "limit_price", *tables.COLUMNS_LATER["intents"]]
    rows = [tuple(None if pd.isna(v) else v for v in row) for row in intents[columns].itertuples(index=False)]
    assert ("submit", dec(1), dec(99), dec(105), None, dec(90), None) in rows
    assert ("amend", dec("1.2"), dec(104), dec(106), None, None, None) in rows
    assert ("amend", dec("0.9"), None, None, None, None, None) in rows
    assert rows.count(("stops", None, None, None, dec(120), dec(91), dec(5))) == 2
    stops = whole_run.frame("stops")
    assert list(stops["kind"]) == ["StopsChanged", "StopsRejected"]
    assert list(stops.iloc[0][["take_profit", "stop_loss", "trailing_distance"]]) == [dec(120), dec(91), dec(5)]
    assert stops["detail"].iloc[1].endswith("10001: no")
    (made,) = whole_run.frame("adjustments").to_dict("records")
    assert (made["adjustment_id"], made["amount"], made["reason"]) == ("fund-1", dec("0.007"), "owed")
    balances = whole_run.frame("balances").set_index("account")["amount"]
    assert balances["insurance"] == dec("-0.007")


def test_the_books_on_disk_balance(whole_run: RunReader) -> None:
    """Each booking sums to zero, balances are the sums of the postings, and cash is what the account says it is."""
    postings = whole_run.frame("postings")
    for _, legs in postings.groupby(["seq", "currency"]):
        assert sum(legs["amount"], Decimal(0)) == 0
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for account, currency, amount in postings[["account", "currency", "amount"]].itertuples(index=False):
        sums[account, currency] += amount
    balances = whole_run.frame("balances")
    stored = {(row["account"], row["currency"]): row["amount"] for row in balances.to_dict("records")}
    assert stored == sums
    (marked,) = [entry for entry in LIFE if isinstance(entry, EquityMarked)]
    assert stored["cash", "USDT"] == marked.cash
    assert list(whole_run.frame("equity")["equity"]) == [marked.equity]


def test_all_that_happened_is_in_the_tables(whole_run: RunReader) -> None:
    """One row each, under the journal's number, and a fill joined to the decision it came from."""
    kinds = [type(entry).__name__ for entry in LIFE]
    for name, kind in {
        "decisions": ["DecisionMade"],
        "denials": ["RiskDenied"],
        "forecasts": ["ForecastUsed"],
        "intents": ["OrderIntended", "AmendIntended", "StopsIntended", "CancelIntended"],
        "order_events": ["OrderReported"],
        "stops": ["StopsReported"],
        "adjustments": ["AdjustmentBooked"],
        "fills": ["FillBooked", "PositionCutBooked", "ExternalFillBooked"],
        "transfers": ["TransferBooked"],
        "request_events": [type(entry).__name__ for entry in requests("x")[:7]],
        "alerts": ["AlertRaised"],
        "fees": ["FeeBooked"],
        "reconciliations": ["Reconciled"],
        "balancings": ["LedgerBalanced"],
        "order_shares": ["OrderShared"],
        "book_moves": ["BookMoved"],
        "funding": ["FundingBooked"],
        "equity": ["EquityMarked"],
        "trading_states": ["TradingStateChanged"],
    }.items():
        assert list(whole_run.frame(name)["seq"]) == [seq for seq, k in enumerate(kinds, start=1) if k in kind], name
    journal = whole_run.frame("journal")
    assert list(journal["seq"]) == list(range(1, len(LIFE) + 1))
    assert list(journal["kind"]) == kinds
    assert list(journal["ts_ns"]) == [entry.ts_ns for entry in LIFE]
    decoded = [msgspec.json.decode(body, type=LedgerEntry) for body in journal["body"]]
    assert decoded == LIFE
    fills = whole_run.fills()
    intents = {e.order.client_order_id: e for e in LIFE if isinstance(e, OrderIntended)}
    assert len(fills) == len(whole_run.frame("fills")) == 7
    own, others = [row for row in fills.to_dict("records") if isinstance(row["cause"], str)]
    assert (others["cause"], others["client_order_id"], others["trade_id"]) == ("foreign", "", "f1")
    assert (own["cause"], own["client_order_id"], own["trade_id"]) == ("stop_loss", "", "own-1")
    for row in fills.to_dict("records"):
        if row is own or isinstance(row["cause"], str):
            continue
        assert row["decision_id"] == intents[row["client_order_id"]].decision_id
        assert row["mark_price"] == intents[row["client_order_id"]].mark_price


def test_the_run_describes_itself(whole_run: RunReader) -> None:
    run = whole_run.run()
    assert run["status"] == "finished"
    assert run["start_cash"] == dec("100000.10")
    assert (run["data_hash"], run["rows_in"], run["seed"]) == ("d", 3, 7)
    assert run["ledger_hash"] == whole_run.frame("journal")["hash"].iloc[-1].hex()


@pytest.mark.parametrize("size", [1, 3, 7])
def test_however_the_entries_are_batched_the_ledger_is_the_same(
    size: int, whole_run: RunReader, tmp_path: Path
) -> None:
    """Law 2: batches of any size leave the same rows in every table, and the same hash."""
    reader = finished_run(tmp_path, size=size)
    assert reader.run()["ledger_hash"] == whole_run.run()["ledger_hash"]
    assert contents_of(tmp_path) == contents_of(whole_run.directory)
    reader.close()


def test_the_ledger_hash_does_not_depend_on_the_run(whole_run: RunReader, tmp_path: Path) -> None:
    """Run id, seed and wall time are not what happened."""
    reader = finished_run(tmp_path, run_id="another", seed=8)
    assert reader.run()["ledger_hash"] == whole_run.run()["ledger_hash"]
    reader.close()
