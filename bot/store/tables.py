"""The ledger's tables.

`journal` is the truth: every entry, whole, in order, each hashed together with the one before it. All other tables are
drawn from it for those who query; `bot ledger check` draws them again and compares.

A Decimal is TEXT in SQLite, where a NUMERIC column would quietly make it a float, and NUMERIC in Postgres. The schema
is made by the migrations in `migrations/`; a test holds them and this page together.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Engine,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    inspect,
)
from sqlalchemy.engine import Dialect

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


class ExactDecimal(TypeDecorator[Decimal]):
    """A Decimal that comes back as it went in."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return NUMERIC on Postgres, TEXT elsewhere."""
        return dialect.type_descriptor(Numeric() if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Return what the database is given."""
        if value is None or dialect.name == "postgresql":
            return value
        return format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return what the caller gets."""
        return None if value is None else Decimal(value)


runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("mode", Text, nullable=False),
    Column("status", Text, nullable=False),  # running, interrupted, finished
    Column("version", Text, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("parameters", Text, nullable=False),  # JSON
    Column("seed", BigInteger, nullable=False),
    Column("config_hash", Text, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("in_sample", Boolean, nullable=False),
    Column("currency", Text, nullable=False),
    Column("start_cash", ExactDecimal, nullable=False),
    Column("source", Text, nullable=False),  # trades, bars
    Column("from_ns", BigInteger, nullable=False),
    Column("to_ns", BigInteger, nullable=False),
    Column("rows_in", BigInteger),
    Column("late_trades", BigInteger),
    Column("data_hash", Text),
    Column("tape_hash", Text),
    Column("ledger_hash", Text),
    Column("wall_seconds", Float),
)

journal = Table(
    "journal",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("ts_ns", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),  # the entry as canonical JSON
    Column("hash", LargeBinary, nullable=False),  # blake2b(hash of the entry before, body), 32 bytes
)


def _seq() -> Column[int]:
    return Column(
        "seq",
        BigInteger().with_variant(Integer, "sqlite"),
        ForeignKey("journal.seq"),
        primary_key=True,
        autoincrement=False,
    )


decisions = Table(
    "decisions",
    metadata,
    _seq(),
    Column("decision_id", BigInteger, nullable=False),
    Column("ts_ns", BigInteger, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("bar_close_ns", BigInteger),
    Column("close_price", ExactDecimal),
    Column("position_qty", ExactDecimal, nullable=False),
    Column("forecast_id", Text),
    Column("action", Text, nullable=False),
    Column("reason", Text, nullable=False),
    UniqueConstraint("decision_id"),
)

forecasts = Table(
    "forecasts",
    metadata,
    _seq(),
    Column("forecast_id", Text, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("bar_close_ns", BigInteger, nullable=False),
    Column("quantiles", Text, nullable=False),  # JSON, horizons by levels
    UniqueConstraint("forecast_id"),
)

denials = Table(
    "denials",
    metadata,
    _seq(),
    Column("decision_id", BigInteger, nullable=False),
    Column("ts_ns", BigInteger, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

intents = Table(
    "intents",
    metadata,
    _seq(),
    Column("kind", Text, nullable=False),  # submit, amend, stops, cancel
    Column("decision_id", BigInteger, nullable=False),
    Column("ts_ns", BigInteger, nullable=False),
    Column("client_order_id", Text, nullable=False),  # of a change of stops, the request's own id
    Column("instrument", Text, nullable=False),
    Column("side", Text),
    Column("order_type", Text),
    Column("qty", ExactDecimal),
    Column("limit_price", ExactDecimal),
    Column("time_in_force", Text),
    Column("reduce_only", Boolean),
    Column("mark_price", ExactDecimal),
    Column("trigger_price", ExactDecimal),
    Column("take_profit", ExactDecimal),  # prices; 0 takes one away
    Column("stop_loss", ExactDecimal),
    Column("trailing_distance", ExactDecimal),
)

orders = Table(
    "orders",
    metadata,
    Column("client_order_id", Text, primary_key=True),
    Column("decision_id", BigInteger, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("order_type", Text, nullable=False),
    Column("qty", ExactDecimal, nullable=False),  # as last amended
    Column("limit_price", ExactDecimal),
    Column("status", Text, nullable=False),
    Column("filled_qty", ExactDecimal, nullable=False),
)

order_events = Table(
    "order_events",
    metadata,
    _seq(),
    Column("ts_event_ns", BigInteger, nullable=False),
    Column("ts_recv_ns", BigInteger, nullable=False),
    Column("client_order_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

fills = Table(
    "fills",
    metadata,
    _seq(),
    Column("ts_event_ns", BigInteger, nullable=False),
    Column("ts_recv_ns", BigInteger, nullable=False),
    Column("client_order_id", Text, nullable=False),  # empty where the order was the venue's own
    Column("instrument", Text, nullable=False),
    Column("trade_id", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("price", ExactDecimal, nullable=False),
    Column("qty", ExactDecimal, nullable=False),
    Column("fee", ExactDecimal, nullable=False),
    Column("is_maker", Boolean, nullable=False),
    Column("position_qty", ExactDecimal, nullable=False),
    Column("realized_pnl", ExactDecimal, nullable=False),
    Column("cause", Text),  # why the venue traded for us: stop_loss, take_profit, trailing_stop, liquidation...
    UniqueConstraint("instrument", "trade_id"),
)

funding = Table(
    "funding",
    metadata,
    _seq(),
    Column("ts_event_ns", BigInteger, nullable=False),
    Column("funding_id", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("position_qty", ExactDecimal, nullable=False),
    Column("mark_price", ExactDecimal, nullable=False),
    Column("rate", ExactDecimal, nullable=False),
    Column("amount", ExactDecimal, nullable=False),
    UniqueConstraint("funding_id"),
)

stops = Table(
    "stops",
    metadata,
    _seq(),
    Column("ts_event_ns", BigInteger, nullable=False),
    Column("ts_recv_ns", BigInteger, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("kind", Text, nullable=False),  # StopsChanged, StopsRejected
    Column("take_profit", ExactDecimal),  # what the venue now keeps for the position
    Column("stop_loss", ExactDecimal),
    Column("trailing_distance", ExactDecimal),
    Column("detail", Text, nullable=False),
)

adjustments = Table(
    "adjustments",
    metadata,
    _seq(),
    Column("ts_event_ns", BigInteger, nullable=False),
    Column("adjustment_id", Text, nullable=False),
    Column("amount", ExactDecimal, nullable=False),
    Column("reason", Text, nullable=False),
    UniqueConstraint("adjustment_id"),
)

postings = Table(
    "postings",
    metadata,
    _seq(),
    Column("leg", Integer, primary_key=True, autoincrement=False),
    Column("account", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", ExactDecimal, nullable=False),
)

balances = Table(
    "balances",
    metadata,
    Column("account", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("amount", ExactDecimal, nullable=False),
)

equity = Table(
    "equity",
    metadata,
    _seq(),
    Column("ts_ns", BigInteger, nullable=False),
    Column("cash", ExactDecimal, nullable=False),
    Column("unrealized_pnl", ExactDecimal, nullable=False),
    Column("equity", ExactDecimal, nullable=False),
)

trading_states = Table(
    "trading_states",
    metadata,
    _seq(),
    Column("ts_ns", BigInteger, nullable=False),
    Column("scope", Text, nullable=False),  # account, or an instrument
    Column("cause", Text, nullable=False),
    Column("signal", Text, nullable=False),
    Column("before", Text, nullable=False),  # of this cause's latch: active, reducing, halted
    Column("after", Text, nullable=False),
    Column("in_force", Text, nullable=False),  # of all latches of the scope
    Column("value", ExactDecimal),
    Column("threshold", ExactDecimal),
    Column("until_ns", BigInteger),
    Column("detail", Text, nullable=False),
)

request_events = Table(
    "request_events",
    metadata,
    _seq(),
    Column("ts_ns", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),  # RequestSigned, RequestAnswered, LookUpMade, DoubtOpened...
    Column("request", Text, nullable=False),  # kind of request, whom it is about, the how-manieth
    Column("attempt", Integer),
    Column("signed_ms", BigInteger),
    Column("recv_window_ms", Integer),
    Column("server_time_ms", BigInteger),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    _seq(),
    Column("ts_ns", BigInteger, nullable=False),
    Column("code", Text, nullable=False),
    Column("instrument", Text, nullable=False),  # empty: the whole account
    Column("client_order_id", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

reconciliations = Table(
    "reconciliations",
    metadata,
    _seq(),
    Column("ts_ns", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),  # the venue's clock
    Column("checked", Text, nullable=False),  # JSON lists of lines
    Column("healed", Text, nullable=False),
    Column("differences", Text, nullable=False),
)

transfers = Table(
    "transfers",
    metadata,
    _seq(),
    Column("ts_event_ns", BigInteger, nullable=False),
    Column("transfer_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount", ExactDecimal, nullable=False),
    Column("currency", Text),  # empty: the account's own
    UniqueConstraint("transfer_id"),
)

fees = Table(
    "fees",
    metadata,
    _seq(),
    Column("ts_event_ns", BigInteger, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("trade_id", Text, nullable=False),
    Column("fee_number", Integer, nullable=False),  # of the execution's fees
    Column("currency", Text, nullable=False),  # never the quote currency: those are with their fills
    Column("amount", ExactDecimal, nullable=False),  # of that currency; positive was paid
    Column("value", ExactDecimal),  # quote currency, at the execution's price; empty where the books have no price
    Column("position_qty", ExactDecimal, nullable=False),  # after it
    Column("realized_pnl", ExactDecimal, nullable=False),
    UniqueConstraint("instrument", "trade_id", "fee_number"),
)

balancings = Table(
    "balancings",
    metadata,
    _seq(),
    Column("ts_ns", BigInteger, nullable=False),
    Column("from_ms", BigInteger, nullable=False),  # the venue's clock
    Column("to_ms", BigInteger, nullable=False),
    Column("lines", BigInteger, nullable=False),  # of the venue's ledger
    Column("matched", BigInteger, nullable=False),
    Column("sums", Text, nullable=False),  # JSON: by currency, ours and theirs
    Column("explained", Text, nullable=False),  # JSON lists of lines
    Column("differences", Text, nullable=False),
)

order_shares = Table(
    "order_shares",
    metadata,
    _seq(),
    Column("client_order_id", Text, nullable=False),
    Column("shares", Text, nullable=False),  # JSON: pairs of strategy and quantity
)

book_moves = Table(
    "book_moves",
    metadata,
    _seq(),
    Column("ts_ns", BigInteger, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("client_order_id", Text, nullable=False),
    Column("side", Text),
    Column("qty", ExactDecimal),
    Column("price", ExactDecimal),
    Column("fee", ExactDecimal, nullable=False),
    Column("amount", ExactDecimal, nullable=False),  # of funding
    Column("position_qty", ExactDecimal, nullable=False),  # of the book, after it
    Column("realized_pnl", ExactDecimal, nullable=False),
)

epochs = Table(
    "epochs",
    metadata,
    Column("epoch", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("started_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),  # set by an orderly end; a crash leaves it empty
    Column("after_seq", BigInteger, nullable=False),  # the journal's last entry when it began
    Column("run_id", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("config_hash", Text, nullable=False),
    Column("account", BigInteger),  # its number at the venue; empty: not known
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _seq(),
    Column("ts_ns", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),  # the journal's at `seq`
    Column("state", LargeBinary),  # what the money half wrote down of itself after that entry, if it did
)

UNDRAWN = ("runs", "journal", "epochs", "checkpoints")
"""Tables that are not drawn from the journal: what is written of a run, not by it."""

LATER = (
    "trading_states",
    "stops",
    "adjustments",
    "request_events",
    "alerts",
    "reconciliations",
    "transfers",
    "fees",
    "balancings",
    "order_shares",
    "book_moves",
    "epochs",
    "checkpoints",
)
"""Tables that ledgers of an older schema do not have; they are read as empty there."""

COLUMNS_LATER = {
    "fills": ("cause",),
    "intents": ("trigger_price", "take_profit", "stop_loss", "trailing_distance"),
    "transfers": ("currency",),
    "epochs": ("account",),
}
"""Columns likewise, the last of their tables."""


def columns_in(engine: Engine, table: Table) -> list[Column[Any]]:
    """Return those columns of the table that the ledger's schema has."""
    later = COLUMNS_LATER.get(table.name)
    if later is None:
        return list(table.columns)
    present = {column["name"] for column in inspect(engine).get_columns(table.name)}
    return [column for column in table.columns if column.name not in later or column.name in present]
