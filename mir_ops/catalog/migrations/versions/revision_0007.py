"""Label tasks keep when somebody said that what is labelled is enough."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column(
        "mir_label_tasks", sa.Column("enough_at", sa.DateTime(timezone=True), nullable=True)
    )
