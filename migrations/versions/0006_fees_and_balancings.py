"""Fees in other coins, the coin of a transfer, and comparisons with the venue's log of transactions.

Revision: 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# A Decimal: NUMERIC would become a float in SQLite.
EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")


def upgrade() -> None:
    """Make the tables; a ledger that has entries already has none of these kinds, and transfers of its own currency."""
    op.create_table(
        "fees",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_event_ns", sa.BigInteger(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("fee_number", sa.Integer(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", EXACT, nullable=False),
        sa.Column("value", EXACT),
        sa.Column("position_qty", EXACT, nullable=False),
        sa.Column("realized_pnl", EXACT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_fees"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_fees_seq"),
        sa.UniqueConstraint("instrument", "trade_id", "fee_number", name="uq_fees_instrument_trade_id_fee_number"),
    )
    op.create_table(
        "balancings",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_ms", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("matched", sa.BigInteger(), nullable=False),
        sa.Column("sums", sa.Text(), nullable=False),
        sa.Column("explained", sa.Text(), nullable=False),
        sa.Column("differences", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_balancings"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_balancings_seq"),
    )
    op.add_column("transfers", sa.Column("currency", sa.Text()))


def downgrade() -> None:
    """Drop them; the journal keeps its entries.

    Raises:
        RuntimeError: `transfers` holds other coins, which nothing would tell from cash any more.
    """
    others = op.get_bind().execute(sa.text("SELECT count(*) FROM transfers WHERE currency IS NOT NULL")).scalar_one()
    if others:
        raise RuntimeError(f"transfers: {others} are of other coins, and the older schema has no room for them")
    with op.batch_alter_table("transfers") as batch:
        batch.drop_column("currency")
    op.drop_table("balancings")
    op.drop_table("fees")
