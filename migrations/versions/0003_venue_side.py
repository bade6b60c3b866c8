"""What the venue keeps and does by itself: stops, its own executions, its fund; and what else can be asked of it.

Revision: 0003, after trading states.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# A Decimal: NUMERIC would become a float in SQLite.
EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")
ASKED = ("trigger_price", "take_profit", "stop_loss", "trailing_distance")


def upgrade() -> None:
    """Make the tables and add the columns; a ledger that has entries already has none of their kinds."""
    op.create_table(
        "stops",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_event_ns", sa.BigInteger(), nullable=False),
        sa.Column("ts_recv_ns", sa.BigInteger(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("take_profit", EXACT),
        sa.Column("stop_loss", EXACT),
        sa.Column("trailing_distance", EXACT),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_stops"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_stops_seq"),
    )
    op.create_table(
        "adjustments",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_event_ns", sa.BigInteger(), nullable=False),
        sa.Column("adjustment_id", sa.Text(), nullable=False),
        sa.Column("amount", EXACT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_adjustments"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_adjustments_seq"),
        sa.UniqueConstraint("adjustment_id", name="uq_adjustments_adjustment_id"),
    )
    op.add_column("fills", sa.Column("cause", sa.Text()))
    for name in ASKED:
        op.add_column("intents", sa.Column(name, EXACT))


def downgrade() -> None:
    """Drop them; the journal keeps its entries.

    Raises:
        RuntimeError: `fills` holds executions of the venue's own, which nothing would tell from ours any more.
    """
    own = op.get_bind().execute(sa.text("SELECT count(*) FROM fills WHERE cause IS NOT NULL")).scalar_one()
    if own:
        raise RuntimeError(f"fills: {own} executions are the venue's own, and the older schema has no room for them")
    with op.batch_alter_table("intents") as batch:
        for name in reversed(ASKED):
            batch.drop_column(name)
    with op.batch_alter_table("fills") as batch:
        batch.drop_column("cause")
    op.drop_table("adjustments")
    op.drop_table("stops")
