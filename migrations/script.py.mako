"""${message}.

Revision: ${up_revision}, after ${down_revision | comma,n}.
"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go one version up."""
    ${upgrades if upgrades else "raise AssertionError('write the migration')"}


def downgrade() -> None:
    """Go one version down."""
    ${downgrades if downgrades else "raise AssertionError('write the way back')"}
