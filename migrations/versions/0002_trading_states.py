"""Trading states: when trading was held back or halted, by what, and when it was let go.

Revision: 0002, after the first ledger.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# A Decimal: NUMERIC would become a float in SQLite.
EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")


def upgrade() -> None:
    """Make the table; a ledger that has entries already has none of this kind."""
    op.create_table(
        "trading_states",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("signal", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("in_force", sa.Text(), nullable=False),
        sa.Column("value", EXACT),
        sa.Column("threshold", EXACT),
        sa.Column("until_ns", sa.BigInteger()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_trading_states"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_trading_states_seq"),
    )


def downgrade() -> None:
    """Drop the table; the journal keeps its entries."""
    op.drop_table("trading_states")
