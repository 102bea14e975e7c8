"""Executor images keep what the conformance kit said of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("mir_executors", sa.Column("checked", sa.JSON(), nullable=True))
