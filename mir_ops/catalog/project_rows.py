"""Reads and writes of projects."""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from sqlalchemy import Engine, or_, select, text
from sqlalchemy.orm import Session

from mir_ops.catalog.connections import reading, writing
from mir_ops.catalog.projects import ProjectSpec, read_project
from mir_ops.catalog.tables import ProjectRow, RoundRow, utc_now
from mir_ops.catalog.values import Project
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError


@dataclass(frozen=True, slots=True)
class Projects:
    """The projects of a catalog, by their name, or by the key that they were created with.

    Each change is one transaction, and changes of projects follow one another.
    """

    engine: Engine

    def apply(self, spec: ProjectSpec) -> Project:
        """Make the project be as `spec` says; applying the same again changes nothing."""
        with self._changing() as session:
            row = session.scalar(select(ProjectRow).where(ProjectRow.name == spec.name))
            if row is None:
                return self._create(session, spec)
            _refuse_deleted(row)
            return self._change(session, row, spec)

    def create(self, spec: ProjectSpec) -> Project:
        """A project that must not exist yet, not even deleted."""
        with self._changing() as session:
            return self._create(session, spec)

    def change(self, name: str, change: Callable[[ProjectSpec], ProjectSpec]) -> Project:
        """Put `change` of the project in its place; nobody changes it in between."""
        with self._changing() as session:
            row = project_row(session, name)
            wanted = change(_spec(row))
            if wanted.name != row.name:
                raise InvalidInputError(
                    f"The name of project `{row.name}` is no field like others",
                    code="invalid-project",
                    hint=f"Use `mir project rename {row.name} {wanted.name}`",
                )
            return self._change(session, row, wanted)

    def rename(self, name: str, to: str) -> Project:
        """Call it otherwise. Its key stays, and with it branches, history and DAG."""
        with self._changing() as session:
            row = project_row(session, name)
            if to != row.name:
                _refuse_taken(session, to, by=row)
                spec = read_project({**row.spec, "name": to})
                row.name, row.spec, row.updated_at = to, spec.to_mapping(), utc_now()
            return _project(row)

    def delete(self, name: str) -> Project:
        """Take it out of sight, with all its data kept. Refused while a round of it is open."""
        with self._changing() as session:
            row = project_row(session, name, deleted=True, for_update=True)
            refuse_open(session, row)
            row.deleted_at = row.deleted_at or utc_now()
            return _project(row)

    def restore(self, name: str) -> Project:
        """Bring a deleted project back, as it was."""
        with self._changing() as session:
            row = project_row(session, name, deleted=True)
            row.deleted_at = None
            return _project(row)

    def find(self, name: str, *, deleted: bool = False) -> Project | None:
        """The project, if there is one; a deleted one only where `deleted` are asked for too."""
        with reading(self.engine) as session:
            row = _named(session, name)
            return _project(row) if row and (deleted or row.deleted_at is None) else None

    def get(self, name: str) -> Project:
        """The project; a deleted one is an error that says how to restore it."""
        with reading(self.engine) as session:
            return _project(project_row(session, name))

    def list(self, *, deleted: bool = False) -> builtins.list[Project]:
        """Projects by name: those that live, or those that were deleted.

        One that is not valid any more is not among them: `invalid` says which, and why.
        """
        return self._sorted_out(deleted)[0]

    def invalid(self, *, deleted: bool = False) -> dict[str, InvalidInputError]:
        """Projects whose files, valid when they were written, are not any more, by their keys."""
        return self._sorted_out(deleted)[1]

    def _sorted_out(
        self, deleted: bool
    ) -> tuple[builtins.list[Project], dict[str, InvalidInputError]]:
        gone = ProjectRow.deleted_at.is_not(None)
        query = select(ProjectRow).where(gone if deleted else ~gone).order_by(ProjectRow.name)
        valid: builtins.list[Project] = []
        invalid: dict[str, InvalidInputError] = {}
        with reading(self.engine) as session:
            for row in session.scalars(query):
                try:
                    valid.append(_project(row))
                except InvalidInputError as error:
                    invalid[row.key] = error
        return valid, invalid

    @contextmanager
    def _changing(self) -> Iterator[Session]:
        """One after the other: that a name is free must still hold when it is taken."""
        with writing(self.engine) as session:
            if self.engine.url.get_backend_name() == "postgresql":
                session.execute(text("LOCK TABLE mir_projects IN SHARE ROW EXCLUSIVE MODE"))
            yield session

    def _create(self, session: Session, spec: ProjectSpec) -> Project:
        _refuse_taken(session, spec.name)
        row = ProjectRow(key=spec.name, name=spec.name, spec=spec.to_mapping())
        row.created_at = row.updated_at = utc_now()
        session.add(row)
        session.flush()
        return _project(row)

    def _change(self, session: Session, row: ProjectRow, spec: ProjectSpec) -> Project:
        if row.spec != (mapping := spec.to_mapping()):
            row.spec, row.updated_at = mapping, utc_now()
            session.flush()
        return _project(row)


def project_row(
    session: Session, name: str, *, deleted: bool = False, for_update: bool = False
) -> ProjectRow:
    """The row of a name or key; of a deleted project only where `deleted` are asked for too."""
    row = _named(session, name, for_update=for_update) or _no_project(session, name)
    if not deleted:
        _refuse_deleted(row)
    return row


def _named(session: Session, name: str, *, for_update: bool = False) -> ProjectRow | None:
    query = select(ProjectRow).where(or_(ProjectRow.name == name, ProjectRow.key == name))
    return session.scalar(query.with_for_update() if for_update else query)


def _refuse_taken(session: Session, name: str, *, by: ProjectRow | None = None) -> None:
    found = _named(session, name)
    if found is None or found is by:
        return
    if found.name != name:
        raise ConflictError(
            f"Project `{name}` is called `{found.name}` now",
            code="project-renamed",
            hint=f"Write `name: {found.name}`, or choose a name that was never a project's first",
        )
    gone = found.deleted_at is not None
    raise ConflictError(
        f"Project `{name}` exists{', deleted' if gone else ''}",
        code="project-exists",
        hint=f"Bring it back with `mir project restore {name}`, or choose another name"
        if gone
        else "Change it with `mir project edit` or `mir project apply -f FILE`",
    )


def _refuse_deleted(row: ProjectRow) -> None:
    if row.deleted_at is not None:
        raise NotFoundError(
            f"Project `{row.name}` was deleted at {row.deleted_at:%Y-%m-%d %H:%M} UTC",
            code="project-deleted",
            hint=f"Bring it back with `mir project restore {row.name}`",
        )


def refuse_open(session: Session, row: ProjectRow) -> None:
    """While a round holds the project's lease, no other opens and nobody deletes it."""
    holder = session.scalar(select(RoundRow).where(RoundRow.open_project == row.id))
    if holder is not None:
        raise ConflictError(
            f"Round {holder.number} of `{row.name}` is open: run `{holder.run_id}` of "
            f"`{holder.dag_id}`",
            code="round-open",
            hint="Let that run finish, or give the round up with "
            f"`mir round fail {holder.number} --project {row.name}`",
        )


def _no_project(session: Session, name: str) -> NoReturn:
    known = list(session.scalars(select(ProjectRow.name).where(ProjectRow.deleted_at.is_(None))))
    close = difflib.get_close_matches(name, known, n=1)
    raise NotFoundError(
        f"No project named `{name}`",
        code="no-such-project",
        hint=f"Did you mean `{close[0]}`?"
        if close
        else "Create it with `mir project apply -f projects/<name>.yaml`",
    )


def _project(row: ProjectRow) -> Project:
    return Project(
        id=row.id,
        key=row.key,
        spec=_spec(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
        deleted_at=row.deleted_at,
    )


def _spec(row: ProjectRow) -> ProjectSpec:
    """What was valid when it was written may not be now: a label backend may be gone."""
    try:
        return read_project(row.spec)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"Project `{row.name}` in the catalog: {error}",
            code="invalid-stored-project",
            hint=f"Apply a corrected file of `{row.name}` with `mir project apply -f FILE`",
        ) from None
