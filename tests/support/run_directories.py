"""Run directories for tests of what is drawn from them: whole ledgers of any size, quickly made."""

import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import create_engine

from bot.store import tables

START_NS = 1_704_067_200_000_000_000
MINUTE = 60_000_000_000


def make_run(directory: Path, *, fills: int, bars: int = 10_000, reason: str = "median +3.1 bp") -> Path:
    """Make the directory of a finished run with so many fills, each with its journal rows; return it."""
    directory.mkdir(parents=True)
    (directory / "config.toml").write_text('[strategy]\nname = "made_up"\n')
    (directory / "log.jsonl").write_text(
        '{"event": "run.started", "level": "info", "timestamp": "2026-01-01T00:00:00Z", "note": "<b>bold</b>"}\n'
        "not json\n"
        '{"event": "run.finished", "level": "warning", "timestamp": "2026-01-01T00:00:01Z"}\n'
    )
    engine = create_engine(f"sqlite:///{directory / 'ledger.sqlite'}")
    tables.metadata.create_all(engine)
    engine.dispose()
    connection = sqlite3.connect(directory / "ledger.sqlite")
    run: dict[str, object] = dict.fromkeys((column.name for column in tables.runs.columns), "0")
    run |= {"run_id": directory.name, "mode": "replay", "status": "finished", "strategy": "made_up"}
    run |= {"start_cash": "100000", "currency": "USDT", "parameters": "{}"}
    _insert(connection, "runs", [run])
    journal, decisions, intents, filled = [], [], [], []
    for n in range(fills):
        at = START_NS + n * (bars * MINUTE // max(fills, 1))
        seq, side = 3 * n, ("buy", "sell")[n % 2]
        journal += [
            {"seq": seq + k, "ts_ns": at, "kind": kind, "body": "{}", "hash": b"\0" * 32}
            for k, kind in enumerate(("DecisionMade", "OrderIntended", "FillBooked"))
        ]
        common = {"instrument": "BTCUSDT", "client_order_id": f"r-{n}", "decision_id": n}
        decisions.append(
            {"seq": seq, "decision_id": n, "ts_ns": at, "strategy": "made_up", "instrument": "BTCUSDT"}
            | {"trigger": "bar:1m", "position_qty": "0", "action": "{}", "reason": f"{reason} {n}"}
        )
        intents.append({"seq": seq + 1, "kind": "submit", "ts_ns": at, "mark_price": "60000"} | common)
        filled.append(
            {"seq": seq + 2, "ts_event_ns": at, "ts_recv_ns": at, "client_order_id": f"r-{n}", "instrument": "BTCUSDT"}
            | {"trade_id": str(n), "side": side, "price": "60000.5", "qty": "0.01", "fee": "0.33", "is_maker": 0}
            | {"position_qty": "0.01" if side == "buy" else "0", "realized_pnl": "0"}
        )
    for name, rows in (("journal", journal), ("decisions", decisions), ("intents", intents), ("fills", filled)):
        _insert(connection, name, rows)
    connection.commit()
    connection.close()
    _make_tape(directory, bars)
    return directory


def _insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, object]]) -> None:
    if rows:
        names = list(rows[0])
        marks = ", ".join("?" * len(names))
        columns = ", ".join(names)
        statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"
        connection.executemany(statement, [tuple(row.values()) for row in rows])


def _make_tape(directory: Path, bars: int) -> None:
    close_ns = START_NS + MINUTE * np.arange(1, bars + 1)
    price = 60_000 * np.exp(np.cumsum(0.001 * np.sin(np.arange(bars) / 50)))
    columns = {"instrument": pa.array(["BTCUSDT"] * bars), "close_ns": pa.array(close_ns)}
    shapes = {"open": price, "high": price * 1.001, "low": price * 0.999, "close": price, "volume": np.ones(bars)}
    columns |= {name: pa.array(values) for name, values in shapes.items()}
    columns |= {"position": pa.array(np.zeros(bars)), "profit": pa.array(1_000 * np.sin(np.arange(bars) / 900))}
    pq.write_table(pa.table(columns), directory / "tape.parquet")
    about = {"model_id": "m", "scale_ns": MINUTE, "horizons_ns": [5 * MINUTE, 60 * MINUTE], "levels": [0.05, 0.5, 0.95]}
    rows = bars // 5
    quantiles = np.tile([-0.002, 0.0, 0.002, -0.01, 0.001, 0.01], rows)
    table = pa.table(
        {
            "instrument": pa.array(["BTCUSDT"] * rows),
            "close_ns": pa.array(close_ns[4::5][:rows]),
            "quantiles": pa.FixedSizeListArray.from_arrays(pa.array(quantiles), 6),
            "importance": pa.FixedSizeListArray.from_arrays(pa.array(np.tile([0.3, 0.7], rows)), 2),
        }
    )
    described = msgspec.json.encode({**about, "scales_ns": [MINUTE, 15 * MINUTE]})
    pq.write_table(table.replace_schema_metadata({"forecasts": described}), directory / "forecasts.parquet")
