"""Whose an order is and what moved each strategy's book, where several strategies trade one account.

Revision: 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# A Decimal: NUMERIC would become a float in SQLite.
EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")


def upgrade() -> None:
    """Make the tables; a ledger that has entries already has none of these kinds."""
    op.create_table(
        "order_shares",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("shares", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_order_shares"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_order_shares_seq"),
    )
    op.create_table(
        "book_moves",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("side", sa.Text()),
        sa.Column("qty", EXACT),
        sa.Column("price", EXACT),
        sa.Column("fee", EXACT, nullable=False),
        sa.Column("amount", EXACT, nullable=False),
        sa.Column("position_qty", EXACT, nullable=False),
        sa.Column("realized_pnl", EXACT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_book_moves"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_book_moves_seq"),
    )


def downgrade() -> None:
    """Drop the tables; the journal keeps its entries."""
    for name in ("book_moves", "order_shares"):
        op.drop_table(name)
