"""Executor images that people registered, with what they say of themselves."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select

from mir_ops.catalog.connections import reading, writing
from mir_ops.catalog.tables import ExecutorRow, utc_now
from mir_ops.catalog.values import Executor


@dataclass(frozen=True, slots=True)
class Executors:
    """One row for each name; adding a name again replaces what is known of it."""

    engine: Engine

    def add(
        self,
        *,
        name: str,
        image: str,
        folder: str | None,
        digest: str | None,
        network: bool,
        run_as_root: bool,
        protocol: str,
        templates: Mapping[int, Mapping[str, Mapping[str, Any]]],
    ) -> Executor:
        """Register an image under a name."""
        with writing(self.engine) as session:
            row = session.scalar(select(ExecutorRow).where(ExecutorRow.name == name))
            row = row or ExecutorRow(name=name)
            row.image, row.folder, row.digest = image, folder, digest
            row.network, row.run_as_root, row.protocol = network, run_as_root, protocol
            # JSON knows no numbers as keys.
            row.templates = {str(kind): dict(found) for kind, found in templates.items()}
            row.added_at = utc_now()
            session.add(row)
            session.flush()
            return _executor(row)

    def find(self, name: str) -> Executor | None:
        """The executor of a name or of an image."""
        with reading(self.engine) as session:
            for column in (ExecutorRow.name, ExecutorRow.image):
                if row := session.scalar(select(ExecutorRow).where(column == name).limit(1)):
                    return _executor(row)
        return None

    def list(self) -> builtins.list[Executor]:
        """All, by name."""
        with reading(self.engine) as session:
            rows = session.scalars(select(ExecutorRow).order_by(ExecutorRow.name))
            return [_executor(row) for row in rows]


def _executor(row: ExecutorRow) -> Executor:
    return Executor(
        name=row.name,
        image=row.image,
        folder=row.folder,
        digest=row.digest,
        network=row.network,
        run_as_root=row.run_as_root,
        protocol=row.protocol,
        templates={int(kind): found for kind, found in row.templates.items()},
        added_at=row.added_at,
    )
