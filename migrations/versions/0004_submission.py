"""What became of every request, what a person was told, what was compared with the venue, and cash from outside.

Revision: 0004, after the venue's side.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# A Decimal: NUMERIC would become a float in SQLite.
EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")


def upgrade() -> None:
    """Make the tables; a ledger that has entries already has none of these kinds."""
    op.create_table(
        "request_events",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer()),
        sa.Column("signed_ms", sa.BigInteger()),
        sa.Column("recv_window_ms", sa.Integer()),
        sa.Column("server_time_ms", sa.BigInteger()),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_request_events"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_request_events_seq"),
    )
    op.create_table(
        "alerts",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_alerts"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_alerts_seq"),
    )
    op.create_table(
        "reconciliations",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("checked", sa.Text(), nullable=False),
        sa.Column("healed", sa.Text(), nullable=False),
        sa.Column("differences", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_reconciliations"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_reconciliations_seq"),
    )
    op.create_table(
        "transfers",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_event_ns", sa.BigInteger(), nullable=False),
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", EXACT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_transfers"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_transfers_seq"),
        sa.UniqueConstraint("transfer_id", name="uq_transfers_transfer_id"),
    )


def downgrade() -> None:
    """Drop the tables; the journal keeps its entries."""
    for name in ("transfers", "reconciliations", "alerts", "request_events"):
        op.drop_table(name)
