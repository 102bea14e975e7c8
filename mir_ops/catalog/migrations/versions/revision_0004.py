"""Who labels and where; finding the newest rounds of all projects at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("mir_label_tasks", sa.Column("by", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("mir_label_tasks", sa.Column("page", sa.String(), nullable=True))
    op.create_index(
        op.f("ix_mir_rounds_project_id_state_number"),
        "mir_rounds",
        ["project_id", "state", "number"],
    )
