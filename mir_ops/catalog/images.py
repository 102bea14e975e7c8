"""Executor images that people registered, with what they say of themselves."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, select

from mir_ops.catalog.connections import reading, writing
from mir_ops.catalog.tables import ExecutorRow, ProjectRow, utc_now
from mir_ops.catalog.values import Executor, ExecutorCheck
from mir_ops.errors import ConflictError, NotFoundError


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

    def keep_check(
        self, name: str, *, digest: str | None, clauses: Mapping[str, tuple[str, str]]
    ) -> Executor:
        """Keep what the conformance kit said of it; what it said before goes."""
        with writing(self.engine) as session:
            row = session.scalar(select(ExecutorRow).where(ExecutorRow.name == name))
            if row is None:
                raise _missing(name)
            row.checked = {
                "at": utc_now().isoformat(),
                "digest": digest,
                "clauses": {clause: list(said) for clause, said in clauses.items()},
            }
            return _executor(row)

    def remove(self, name: str) -> None:
        """Forget a name that no project uses. The image stays in the engine."""
        with writing(self.engine) as session:
            row = session.scalar(select(ExecutorRow).where(ExecutorRow.name == name))
            if row is None:
                raise _missing(name)
            living = select(ProjectRow).where(ProjectRow.deleted_at.is_(None))
            users = [
                each.name
                for each in session.scalars(living.order_by(ProjectRow.name))
                if each.spec["executor"].get("name") == name
            ]
            if users:
                raise ConflictError(
                    f"Executor `{name}` is used by {', '.join(f'`{user}`' for user in users)}",
                    code="executor-used",
                    hint="Give these projects another executor, or delete them",
                )
            session.delete(row)

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


def _missing(name: str) -> NotFoundError:
    return NotFoundError(
        f"No executor is registered as `{name}`",
        code="no-such-executor",
        hint="List them with `mir executor list`",
    )


def _check(kept: Mapping[str, Any] | None) -> ExecutorCheck | None:
    if kept is None:
        return None
    return ExecutorCheck(
        at=datetime.fromisoformat(kept["at"]),
        digest=kept["digest"],
        clauses={name: (state, detail) for name, (state, detail) in kept["clauses"].items()},
    )


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
        checked=_check(row.checked),
    )
