"""The account at the venue that each start traded with, so that another one's is not taken up as the same.

Revision: 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; whose the starts before were is not known."""
    op.add_column("epochs", sa.Column("account", sa.BigInteger()))


def downgrade() -> None:
    """Drop it: nothing then keeps another account's bot from this ledger."""
    with op.batch_alter_table("epochs") as batch:
        batch.drop_column("account")
