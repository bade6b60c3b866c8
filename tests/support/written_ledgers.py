"""Ledgers of a replay that hold entries of all kinds, and what is asked of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from alembic.config import Config
from sqlalchemy import Engine, create_engine

from bot.domain.instrument import Side
from bot.domain.ledger import (
    AlertRaised,
    BookMoved,
    DoubtOpened,
    DoubtResolved,
    FlattenWanted,
    ForecastUsed,
    IntentDropped,
    LedgerBalanced,
    LedgerEntry,
    LookUpMade,
    LossBaseMoved,
    OrderShared,
    Reconciled,
    RequestAnswered,
    RequestSigned,
    RunClosed,
    TradingStateChanged,
)
from bot.domain.orders import AmendOpen, CancelOpen, ChangeStops, SetStops
from bot.ports import TapeRows, Worker
from bot.store import tables
from bot.store.ledger_store import ReplayStore
from bot.store.run_reader import RunReader
from tests.support.desk import NOW_NS, Desk
from tests.support.money import NAME, accepted, canceled, dec, filled, funding_paid, rejected
from tests.support.venue_side import (
    adjusted,
    amend_rejected,
    amended,
    cut,
    exit_at,
    fee_paid,
    foreign,
    stops_changed,
    stops_rejected,
    transferred,
    trigger_at,
    triggered,
)

ROOT = Path(__file__).resolve().parents[2]
RUN: dict[str, Any] = {
    "run_id": "r1",
    "mode": "replay",
    "version": "1",
    "strategy": "sma",
    "parameters": "{}",
    "seed": 7,
    "config_hash": "c",
    "model_id": "none",
    "in_sample": False,
    "currency": "USDT",
    "start_cash": dec("100000.10"),
    "source": "trades",
    "from_ns": 0,
    "to_ns": 1,
}
CLOSED = RunClosed(ts_ns=NOW_NS, data_hash="d", tape_hash="t", model_id="none", in_sample=False, from_ns=0, to_ns=1)


def life(*, is_old: bool = False) -> list[LedgerEntry]:
    """Return a run's entries of all kinds: fills of every fate, a denial, cancels, a forecast, funding, equity.

    An old one knows nothing of amendments, triggers and what the venue does by itself.
    """
    desk = Desk(cash="100000.10")
    forecast = ForecastUsed(
        ts_ns=NOW_NS,
        forecast_id=f"{NAME}-1m-1",
        model_id="m",
        instrument=NAME,
        bar_close_ns=NOW_NS,
        horizons_ns=(60, 300),
        levels=(0.1, 0.9),
        quantiles=((-0.001, 0.001), (-0.1, 1e-17)),
        importance=(0.25, 0.75),
    )
    desk.target("0.001", forecast=forecast)  # denied
    done, part, refused, resting = (desk.place(qty="1.5") for _ in range(4))
    desk.place(Side.SELL, qty="0.2", limit="101")  # never answered
    desk.event(filled(done.client_order_id, trade=1, qty="0.5", price="98.9", fee="-0.00123"))
    desk.event(accepted(done.client_order_id))
    desk.event(filled(done.client_order_id, trade=2, qty="1", price="99", fee="0.0495"))
    desk.event(accepted(part.client_order_id))
    desk.event(canceled(part.client_order_id))
    desk.event(filled(part.client_order_id, trade=3, qty="0.7", price="99", fee="0.01"))  # matched before the cancel
    desk.event(rejected(refused.client_order_id))
    desk.event(accepted(resting.client_order_id))
    desk.wish(CancelOpen(instrument=NAME, client_order_id=resting.client_order_id))
    desk.event(funding_paid("-0.0123"))
    desk.fill(desk.place(Side.SELL, qty="0.3", limit="100"), trade=4, price="101.7")
    if not is_old:
        venue_side(desk)
    desk.record += desk.orders.mark_equity(desk.marks(), NOW_NS).record
    desk.record.append(
        TradingStateChanged(
            ts_ns=NOW_NS,
            scope="account",
            cause="drawdown",
            signal="reduce",
            before="active",
            after="reducing",
            in_force="reducing",
            value=dec("79999.9"),
            threshold=dec("80000.08"),
            detail="too much was lost",
        )
    )
    desk.halt()
    return [*desk.record, CLOSED]


def venue_side(desk: Desk) -> None:
    """Live through amendments, a trigger, stops, and what the venue does by itself."""
    order = desk.place(qty="1", limit="99", trigger=trigger_at("105"), stop_loss=exit_at("90"))
    name = order.client_order_id
    desk.event(accepted(name))
    desk.wish(
        AmendOpen(
            instrument=NAME, client_order_id=name, qty=dec("1.2"), limit_price=dec("104"), trigger_price=dec("106")
        )
    )
    desk.event(amended(name, qty="1.2", limit="104", at_ns=NOW_NS))
    desk.event(triggered(name))
    desk.event(filled(name, trade=5, qty="0.2", price="104"))
    desk.wish(AmendOpen(instrument=NAME, client_order_id=name, qty=dec("0.9")))
    desk.event(amend_rejected(name, at_ns=NOW_NS))
    stops = SetStops(instrument=NAME, take_profit=exit_at("120"), stop_loss=exit_at("91"), trailing_distance=dec("5"))
    desk.wish(stops)
    desk.event(stops_changed(profit="120", loss="91", trail="5"))
    (again,) = desk.wish(stops).send
    assert isinstance(again, ChangeStops)
    desk.event(stops_rejected(again.request_id))
    desk.event(cut(qty="0.5", price="91", fee="0.02"))
    desk.event(adjusted("0.007"))
    desk.event(foreign(qty="0.1", price="92", fee="0.01"))
    desk.event(transferred("250"))
    desk.event(fee_paid("f1", "0.25", "MNT"))
    desk.event(transferred("-0.5", number=2, currency="ETH"))
    desk.record += requests(order.client_order_id)


def requests(name: str) -> list[LedgerEntry]:
    """Return what is recorded of a request that nobody answered, and of a comparison with the venue."""
    create = f"create:{name}"
    about = {"request": create, "client_order_id": name, "instrument": NAME}
    places = ("open", "history")
    return [
        RequestSigned(
            ts_ns=NOW_NS, **about, attempt=1, signed_ms=1_000, recv_window_ms=2_500, channel="rest", content_hash="ab"
        ),
        RequestAnswered(ts_ns=NOW_NS, request=create, attempt=1, kind="unknown", cause="network", code="timeout"),
        DoubtOpened(ts_ns=NOW_NS, **about, why="network: timeout"),
        LookUpMade(ts_ns=NOW_NS, request=create, result="absent", places=places, server_time_ms=5_501),
        LookUpMade(ts_ns=NOW_NS, request=create, result="absent", places=places, server_time_ms=6_501),
        DoubtResolved(ts_ns=NOW_NS, **about, outcome="not_accepted", evidence="it is nowhere", margin_ms=2_000),
        IntentDropped(ts_ns=NOW_NS, **(about | {"request": "create:x"}), why="late"),
        AlertRaised(ts_ns=NOW_NS, code="FOREIGN_FILL", instrument=NAME, detail="somebody traded"),
        Reconciled(ts_ns=NOW_NS, at_ms=7, checked=("positions",), healed=("a fill",), differences=("cash",)),
        LossBaseMoved(ts_ns=NOW_NS, day=1, peak=dec(5), day_start=None),
        OrderShared(ts_ns=NOW_NS, client_order_id="x", shares=(("fast", dec(1)), ("slow", dec(2)))),
        *(
            BookMoved(
                ts_ns=NOW_NS,
                strategy=name,
                instrument=NAME,
                cause="cross",
                event_id="cross-1",
                side=side,
                qty=dec(1),
                price=dec(100),
                position_qty=dec(side.sign),
                realized_pnl=dec(0),
            )
            for name, side in (("fast", Side.BUY), ("slow", Side.SELL))
        ),
        LedgerBalanced(ts_ns=NOW_NS, from_ms=1, to_ms=9, lines=3, matched=2, sums=(("USDT", dec(1), dec(2)),)),
        FlattenWanted(ts_ns=NOW_NS, instrument=NAME, why="home", is_wanted=True),
    ]


LIFE = life()


def write_ledger(
    directory: Path, entries: Sequence[LedgerEntry], *, size: int = 100, worker: Worker | None = None, **run: Any
) -> ReplayStore:
    """Return a store that was given the entries, some at a time."""
    directory.mkdir(parents=True, exist_ok=True)
    store = ReplayStore(directory, RUN | run, None if worker is None else lambda: worker, worker_after=0)
    for start in range(0, len(entries), size):
        store.write(entries[start : start + size])
        store.commit()
    return store


def finished_run(directory: Path, entries: Sequence[LedgerEntry] = LIFE, **asked: Any) -> RunReader:
    """Return the reader of a whole run."""
    ledger_hash = write_ledger(directory, entries, **asked).finish(
        data_hash="d", rows_in=3, late_trades=0, wall_seconds=0.1
    )
    reader = RunReader(directory)
    assert reader.run()["ledger_hash"] == ledger_hash
    return reader


def tape_rows(count: int, start: int = 0) -> TapeRows:
    """Return a stretch of the tape."""
    close_ns = np.arange(start, start + count, dtype=np.int64)
    price = close_ns / 7.0
    return TapeRows(
        instrument=NAME,
        close_ns=close_ns,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=price,
        position=price,
        profit=price,
    )


def engine_of(path: Path) -> Engine:
    """Return an engine on a file of its own."""
    return create_engine(f"sqlite:///{path}")


def alembic_config(connection: Any) -> Config:
    """Return what Alembic's commands need."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["connection"] = connection
    return config


def contents_of(directory: Path) -> dict[str, list[Any]]:
    """Return every row of every table but the run's own, as stored."""
    engine = engine_of(directory / "ledger.sqlite")
    with engine.connect() as connection:
        rows = {
            table.name: sorted(connection.exec_driver_sql(f"SELECT * FROM {table.name}").all(), key=str)
            for table in tables.metadata.sorted_tables
            if table.name != "runs"
        }
    engine.dispose()
    return rows


def names_in(directory: Path) -> set[str]:
    """Return the names of all files."""
    return {path.name for path in directory.iterdir()}
