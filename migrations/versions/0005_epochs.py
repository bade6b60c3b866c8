"""Epochs: every start of a live bot on this ledger; and checkpoints, so that opening one reads little of it.

Revision: 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables; a ledger that has entries already was written in no epoch."""
    op.create_table(
        "epochs",
        sa.Column("epoch", SEQ, autoincrement=False, nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger()),
        sa.Column("after_seq", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("config_hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", name="pk_epochs"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("seq", SEQ, autoincrement=False, nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("seq", name="pk_checkpoints"),
        sa.ForeignKeyConstraint(["seq"], ["journal.seq"], name="fk_checkpoints_seq"),
    )


def downgrade() -> None:
    """Drop them; the journal keeps its entries, but forgets how often the bot was started.

    Raises:
        RuntimeError: the bot was started on this ledger: without its epochs an id could be used twice.
    """
    begun = op.get_bind().execute(sa.text("SELECT count(*) FROM epochs")).scalar_one()
    if begun:
        raise RuntimeError(f"epochs: the bot was started {begun} times on this ledger, and ids hang on that number")
    op.drop_table("checkpoints")
    op.drop_table("epochs")
