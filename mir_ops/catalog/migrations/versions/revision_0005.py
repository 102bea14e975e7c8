"""Models that are given a title and a description, deleted and restored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for name in ("title", "description"):
        column = sa.Column(name, sa.String(), nullable=False, server_default="")
        op.add_column("mir_packages", column)
    deleted = sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True)
    op.add_column("mir_packages", deleted)
