"""The ledger: the journal, and the tables drawn from it.

Revision: 0001, the first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# A Decimal: NUMERIC would become a float in SQLite.
EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "balances",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", EXACT, nullable=False),
        sa.PrimaryKeyConstraint("account", "currency", name="pk_balances"),
    )
    op.create_table(
        "journal",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_journal"),
    )
    op.create_table(
        "orders",
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.BigInteger(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("order_type", sa.Text(), nullable=False),
        sa.Column("qty", EXACT, nullable=False),
        sa.Column("limit_price", EXACT),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("filled_qty", EXACT, nullable=False),
        sa.PrimaryKeyConstraint("client_order_id", name="pk_orders"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("config_hash", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("in_sample", sa.Boolean(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("start_cash", EXACT, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("from_ns", sa.BigInteger(), nullable=False),
        sa.Column("to_ns", sa.BigInteger(), nullable=False),
        sa.Column("rows_in", sa.BigInteger()),
        sa.Column("late_trades", sa.BigInteger()),
        sa.Column("data_hash", sa.Text()),
        sa.Column("tape_hash", sa.Text()),
        sa.Column("ledger_hash", sa.Text()),
        sa.Column("wall_seconds", sa.Float()),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
    )
    op.create_table(
        "decisions",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("decision_id", sa.BigInteger(), nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("bar_close_ns", sa.BigInteger()),
        sa.Column("close_price", EXACT),
        sa.Column("position_qty", EXACT, nullable=False),
        sa.Column("forecast_id", sa.Text()),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_decisions"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_decisions_seq"),
        sa.UniqueConstraint("decision_id", name="uq_decisions_decision_id"),
    )
    op.create_table(
        "denials",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("decision_id", sa.BigInteger(), nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_denials"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_denials_seq"),
    )
    op.create_table(
        "equity",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("cash", EXACT, nullable=False),
        sa.Column("unrealized_pnl", EXACT, nullable=False),
        sa.Column("equity", EXACT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_equity"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_equity_seq"),
    )
    op.create_table(
        "fills",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_event_ns", sa.BigInteger(), nullable=False),
        sa.Column("ts_recv_ns", sa.BigInteger(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("price", EXACT, nullable=False),
        sa.Column("qty", EXACT, nullable=False),
        sa.Column("fee", EXACT, nullable=False),
        sa.Column("is_maker", sa.Boolean(), nullable=False),
        sa.Column("position_qty", EXACT, nullable=False),
        sa.Column("realized_pnl", EXACT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_fills"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_fills_seq"),
        sa.UniqueConstraint("instrument", "trade_id", name="uq_fills_instrument_trade_id"),
    )
    op.create_table(
        "forecasts",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("forecast_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("bar_close_ns", sa.BigInteger(), nullable=False),
        sa.Column("quantiles", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_forecasts"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_forecasts_seq"),
        sa.UniqueConstraint("forecast_id", name="uq_forecasts_forecast_id"),
    )
    op.create_table(
        "funding",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_event_ns", sa.BigInteger(), nullable=False),
        sa.Column("funding_id", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("position_qty", EXACT, nullable=False),
        sa.Column("mark_price", EXACT, nullable=False),
        sa.Column("rate", EXACT, nullable=False),
        sa.Column("amount", EXACT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_funding"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_funding_seq"),
        sa.UniqueConstraint("funding_id", name="uq_funding_funding_id"),
    )
    op.create_table(
        "intents",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.BigInteger(), nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("side", sa.Text()),
        sa.Column("order_type", sa.Text()),
        sa.Column("qty", EXACT),
        sa.Column("limit_price", EXACT),
        sa.Column("time_in_force", sa.Text()),
        sa.Column("reduce_only", sa.Boolean()),
        sa.Column("mark_price", EXACT),
        sa.PrimaryKeyConstraint("seq", name="pk_intents"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_intents_seq"),
    )
    op.create_table(
        "order_events",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_event_ns", sa.BigInteger(), nullable=False),
        sa.Column("ts_recv_ns", sa.BigInteger(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_order_events"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_order_events_seq"),
    )
    op.create_table(
        "postings",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("leg", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", EXACT, nullable=False),
        sa.PrimaryKeyConstraint("seq", "leg", name="pk_postings"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_postings_seq"),
    )


def downgrade() -> None:
    """Drop all tables."""
    for name in (
        "postings",
        "order_events",
        "intents",
        "funding",
        "forecasts",
        "fills",
        "equity",
        "denials",
        "decisions",
        "runs",
        "orders",
        "journal",
        "balances",
    ):
        op.drop_table(name)
