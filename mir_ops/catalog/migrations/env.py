"""Alembic runs this file; the connection is given by `mir_ops.catalog.connections`."""

from __future__ import annotations

from alembic import context

from mir_ops.catalog.connections import VERSION_TABLE
from mir_ops.catalog.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
