"""Projects that are renamed, deleted and restored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Added in place: SQLite would have to drop a table that rounds refer to.
    op.add_column("mir_projects", sa.Column("key", sa.String(), nullable=False, server_default=""))
    op.add_column(
        "mir_projects", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.execute("UPDATE mir_projects SET key = name")
    op.create_index(op.f("ix_mir_projects_key"), "mir_projects", ["key"], unique=True)
