"""Reads and writes of rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from mir_ops.catalog.connections import reading, writing
from mir_ops.catalog.project_rows import project_row, refuse_open
from mir_ops.catalog.projects import ProjectSpec, read_project
from mir_ops.catalog.tables import ProjectRow, RoundRow, utc_now
from mir_ops.catalog.values import Round
from mir_ops.errors import ConflictError, NotFoundError


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of a catalog. At most one of a project is open."""

    engine: Engine

    def open(
        self,
        project: str,
        *,
        deployment: str,
        dag_id: str,
        run_id: str,
        spec: ProjectSpec,
        conf: Mapping[str, Any],
        first: int = 1,
    ) -> Round:
        """The round of this run: a new one, or the one it opened before, opened again if failed.

        `first` is the number of a project's first round.
        """
        with writing(self.engine) as session:
            owner = project_row(session, project, for_update=True)
            found = _run_row(session, deployment, run_id, dag_id)
            if found is not None and found.project_id != owner.id:
                raise ConflictError(
                    f"Run `{run_id}` opened a round of another project",
                    code="run-taken",
                    hint="Trigger a new run",
                )
            if found is not None and found.state != "failed":
                return _round(found, owner)
            _refuse_second(session, owner, found)
            row = found or RoundRow(
                project_id=owner.id,
                number=_next_number(session, owner, first),
                deployment=deployment,
                dag_id=dag_id,
                run_id=run_id,
                spec=spec.to_mapping(),
                conf=dict(conf),
                opened_at=utc_now(),
            )
            row.state, row.open_project, row.reason = "open", owner.id, None
            session.add(row)
            session.flush()
            return _round(row, owner)

    def get(self, round_id: int) -> Round:
        with reading(self.engine) as session:
            return _round(*_round_row(session, round_id))

    def get_number(self, project: str, number: int) -> Round:
        found = [each for each in self.list(project) if each.number == number]
        if not found:
            raise NotFoundError(
                f"Project `{project}` has no round {number}",
                code="no-such-round",
                hint=f"List its rounds with `mir round list --project {project}`",
            )
        return found[0]

    def list(self, project: str | None = None) -> list[Round]:
        """Rounds in their order, of one project, deleted or not, or of all that live."""
        query = select(RoundRow, ProjectRow).join(ProjectRow, RoundRow.project_id == ProjectRow.id)
        with reading(self.engine) as session:
            if project is not None:
                owner = project_row(session, project, deleted=True)
                query = query.where(RoundRow.project_id == owner.id)
            else:
                query = query.where(ProjectRow.deleted_at.is_(None))
            rows = session.execute(query.order_by(ProjectRow.name, RoundRow.number))
            return [_round(row, owner) for row, owner in rows]

    def find_run(self, deployment: str, run_id: str, dag_id: str | None = None) -> Round | None:
        """The round that a DAG run opened, if it came that far."""
        with reading(self.engine) as session:
            row = _run_row(session, deployment, run_id, dag_id)
            return _round(*_round_row(session, row.id)) if row else None

    def close(self, round_id: int, *, record: str) -> Round:
        """The round is over; the next may open."""
        with writing(self.engine) as session:
            row, project = _round_row(session, round_id)
            if row.state == "failed":
                raise ConflictError(
                    f"Round {row.number} of `{project.name}` failed: {row.reason}",
                    code="round-failed",
                    hint=f"Clear `open_round` of run `{row.run_id}`, then its later tasks",
                )
            if row.state == "open":
                row.state, row.open_project, row.closed_at = "closed", None, utc_now()
            row.record = record
            return _round(row, project)

    def fail(self, round_id: int, *, reason: str) -> Round:
        """The round cannot go on by itself; the next may open. A closed round stays closed."""
        with writing(self.engine) as session:
            row, project = _round_row(session, round_id)
            if row.state == "open":
                row.state, row.open_project, row.reason = "failed", None, reason
            return _round(row, project)


def _refuse_second(session: Session, owner: ProjectRow, found: RoundRow | None) -> None:
    """`found` is the failed round that wants to go on, if that is what this is."""
    later = select(RoundRow).where(RoundRow.project_id == owner.id)
    if found is not None:
        later = later.where(RoundRow.number > found.number)
        if newer := session.scalar(later.order_by(RoundRow.number.desc()).limit(1)):
            raise ConflictError(
                f"Round {found.number} of `{owner.name}` cannot go on: round {newer.number} "
                f"(run `{newer.run_id}`) started after it",
                code="round-superseded",
                hint="Trigger a new run: it starts from the newest training version",
            )
    refuse_open(session, owner)


def _round_row(session: Session, round_id: int) -> tuple[RoundRow, ProjectRow]:
    found = session.execute(
        select(RoundRow, ProjectRow)
        .join(ProjectRow, RoundRow.project_id == ProjectRow.id)
        .where(RoundRow.id == round_id)
    ).first()
    if found is None:
        raise NotFoundError(f"No round with id {round_id}", code="no-such-round")
    return found[0], found[1]


def _run_row(session: Session, deployment: str, run_id: str, dag_id: str | None) -> RoundRow | None:
    query = select(RoundRow).where(RoundRow.deployment == deployment, RoundRow.run_id == run_id)
    if dag_id is not None:
        query = query.where(RoundRow.dag_id == dag_id)
    return session.scalar(query.order_by(RoundRow.id.desc()).limit(1))


def _next_number(session: Session, owner: ProjectRow, first: int) -> int:
    query = select(RoundRow.number).where(RoundRow.project_id == owner.id)
    last = session.scalar(query.order_by(RoundRow.number.desc()).limit(1))
    return first if last is None else last + 1


def _round(row: RoundRow, project: ProjectRow) -> Round:
    return Round(
        id=row.id,
        project=project.name,
        project_key=project.key,
        number=row.number,
        deployment=row.deployment,
        dag_id=row.dag_id,
        run_id=row.run_id,
        state=row.state,  # type: ignore[arg-type]
        spec=read_project(row.spec),
        conf=row.conf,
        reason=row.reason,
        record=row.record,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
    )
