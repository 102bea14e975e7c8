"""Label tasks of runs that label a dataset outside of rounds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    with op.batch_alter_table("mir_label_tasks") as table:
        table.alter_column("round_id", existing_type=sa.Integer(), nullable=True)
        table.add_column(sa.Column("project_id", sa.Integer(), nullable=True))
        for name in ("branch", "dag_id", "run_id"):
            table.add_column(sa.Column(name, sa.String(), nullable=True))
        table.create_foreign_key(
            op.f("fk_mir_label_tasks_project_id"), "mir_projects", ["project_id"], ["id"]
        )
        table.create_index(op.f("ix_mir_label_tasks_project_id"), ["project_id"])
