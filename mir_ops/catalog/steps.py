"""Reads and writes of what a round's steps did: progress, results, models, label tasks, gates."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Engine, Select, or_, select, update
from sqlalchemy.orm import Session

from mir_ops.catalog.connections import reading, writing
from mir_ops.catalog.project_rows import project_row
from mir_ops.catalog.tables import (
    GateReportRow,
    LabelTaskRow,
    ModelRow,
    ProjectRow,
    RoundRow,
    RoundStepRow,
    utc_now,
)
from mir_ops.catalog.values import GateReport, LabelTask, Model, RoundStep
from mir_ops.errors import NotFoundError

Value = TypeVar("Value", RoundStep, LabelTask, GateReport)


@dataclass(frozen=True, slots=True)
class Steps:
    """What happened in each round; the newest operation of a step is its current one."""

    engine: Engine

    def list(self, round_id: int) -> list[RoundStep]:
        """The current operation of each step, in the order in which they first started."""
        query = _steps(round_id).where(RoundStepRow.current).order_by(RoundStepRow.id)
        with reading(self.engine) as session:
            return [copy_of(RoundStep, row) for row in session.scalars(query)]

    def find(self, round_id: int, step: str) -> RoundStep | None:
        """The current operation of a step, if it has begun."""
        query = _steps(round_id, step).where(RoundStepRow.current)
        with reading(self.engine) as session:
            row = session.scalar(query)
            return copy_of(RoundStep, row) if row else None

    def result(self, round_id: int, step: str) -> Mapping[str, Any]:
        """What a finished step left to the next ones."""
        found = self.find(round_id, step)
        if found is None or found.state != "done" or found.result is None:
            raise NotFoundError(
                f"Step `{step}` of this round is not done",
                code="step-not-done",
                hint=f"Run `{step}` first",
            )
        return found.result

    def take_done(self, round_id: int, step: str, op_id: str) -> Mapping[str, Any] | None:
        """The result of this very operation if it is done; it becomes the current one."""
        with writing(self.engine) as session:
            row: RoundStepRow | None = session.scalar(_steps(round_id, step, op_id))
            if row is None or row.state != "done":
                return None
            _make_current(session, row)
            return row.result

    def start(self, round_id: int, step: str, op_id: str) -> None:
        """The operation runs (again)."""
        with writing(self.engine) as session:
            row: RoundStepRow | None = session.scalar(_steps(round_id, step, op_id))
            if row is None:
                row = RoundStepRow(round_id=round_id, step=step, op_id=op_id, current=True)
                session.add(row)
            row.state, row.started_at, row.finished_at = "running", utc_now(), None
            row.percent, row.message, row.result = 0.0, None, None
            _make_current(session, row)

    def progress(
        self, round_id: int, step: str, op_id: str, *, percent: float | None, message: str | None
    ) -> None:
        self._set(round_id, step, op_id, percent=percent, message=message)

    def finish(
        self, round_id: int, step: str, op_id: str, result: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The operation is done, and this is what it leaves: what is read back later, exactly."""
        kept: dict[str, Any] = json.loads(json.dumps(dict(result), allow_nan=False))
        self._set(
            round_id, step, op_id,
            state="done", percent=100.0, finished_at=utc_now(), result=kept, message=None,
        )  # fmt: skip
        return kept

    def fail(self, round_id: int, step: str, op_id: str, message: str) -> None:
        self._set(round_id, step, op_id, state="failed", finished_at=utc_now(), message=message)

    def fail_running(self, round_id: int, message: str) -> None:
        """Nothing of this round runs any more."""
        with writing(self.engine) as session:
            session.execute(
                update(RoundStepRow)
                .where(RoundStepRow.round_id == round_id, RoundStepRow.state == "running")
                .values(state="failed", finished_at=utc_now(), message=message)
            )

    def _set(self, round_id: int, step: str, op_id: str, **values: object) -> None:
        with writing(self.engine) as session:
            row = session.scalar(_steps(round_id, step, op_id))
            if row is None:
                raise NotFoundError(f"Step `{step}` was never started", code="step-not-started")
            for name, value in values.items():
                setattr(row, name, value)


@dataclass(frozen=True, slots=True)
class Models:
    """What trainings left, one row for each operation."""

    engine: Engine

    def add(
        self,
        *,
        round_id: int,
        op_id: str,
        model_id: str,
        stage: str,
        classes: tuple[str, ...],
        package: str,
        log: str | None,
        training: str,
        image: Mapping[str, Any],
        config: Mapping[str, Any],
        seed: int,
        training_metrics: Mapping[str, Any],
    ) -> Model:
        """The model of this operation; the first answer stays."""
        with writing(self.engine) as session:
            if session.scalar(select(ModelRow.id).where(ModelRow.op_id == op_id)) is None:
                owner = session.get_one(RoundRow, round_id).project_id
                session.add(
                    ModelRow(
                        project_id=owner,
                        round_id=round_id,
                        op_id=op_id,
                        model_id=model_id,
                        stage=stage,
                        classes=[*classes],
                        package=package,
                        log=log,
                        training=training,
                        image=dict(image),
                        config=dict(config),
                        seed=seed,
                        training_metrics=dict(training_metrics),
                        created_at=utc_now(),
                    )
                )
        return self.get(op_id)

    def set_evaluation(self, op_id: str, *, metrics: Mapping[str, Any], predictions: str) -> None:
        with writing(self.engine) as session:
            row = session.scalar(select(ModelRow).where(ModelRow.op_id == op_id))
            if row is not None:
                row.metrics, row.predictions = dict(metrics), predictions

    def find(self, op_id: str) -> Model | None:
        found = self._all(_models().where(ModelRow.op_id == op_id))
        return found[0] if found else None

    def get(self, op_id: str) -> Model:
        if (found := self.find(op_id)) is None:
            raise NotFoundError(f"No model of operation `{op_id[:12]}`", code="no-such-model")
        return found

    def list(
        self, project: str | None = None, *, round_id: int | None = None
    ) -> builtins.list[Model]:
        """Models in the order of their training."""
        query = _models()
        if project is not None:
            query = query.where(or_(ProjectRow.name == project, ProjectRow.key == project))
        if round_id is not None:
            query = query.where(ModelRow.round_id == round_id)
        return self._all(query.order_by(ModelRow.id))

    def of_id(self, model_id: str, *, project: str | None = None) -> builtins.list[Model]:
        """The trainings that left this very model, in their order."""
        query = _models().where(ModelRow.model_id == model_id)
        if project is not None:
            query = query.where(or_(ProjectRow.name == project, ProjectRow.key == project))
        return self._all(query.order_by(ModelRow.id))

    def _all(self, query: Select[Any, Any, Any]) -> builtins.list[Model]:
        with reading(self.engine) as session:
            return [_model(*found) for found in session.execute(query)]


@dataclass(frozen=True, slots=True)
class LabelTasks:
    """What people (or the oracle) were asked, one row for each request."""

    engine: Engine

    def add(
        self, *, round_id: int, op_id: str, backend: str, external_id: str, requested: int
    ) -> LabelTask:
        """The request of a round; the first answer stays."""
        with writing(self.engine) as session:
            return _asked(
                session, op_id, round_id=round_id, backend=backend, external_id=external_id,
                requested=requested,
            )  # fmt: skip

    def add_outside(
        self, *, project: str | None, branch: str, dag_id: str, run_id: str, op_id: str,
        backend: str, external_id: str, requested: int,
    ) -> LabelTask:  # fmt: skip
        """The request of a run for a dataset; of a project, if the branch is one of it."""
        with writing(self.engine) as session:
            owner = project_row(session, project).id if project else None
            return _asked(
                session, op_id, project_id=owner, branch=branch, dag_id=dag_id, run_id=run_id,
                backend=backend, external_id=external_id, requested=requested,
            )  # fmt: skip

    def update(self, op_id: str, **values: object) -> None:
        """Set `state`, `done`, `skipped`, `message`, `by`, `page`, `last_activity`, `enough_at`."""
        with writing(self.engine) as session:
            row = session.scalar(select(LabelTaskRow).where(LabelTaskRow.op_id == op_id))
            if row is None:
                raise NotFoundError("No such label task", code="no-such-label-task")
            for name, value in values.items():
                setattr(row, name, value)

    def find(self, op_id: str) -> LabelTask | None:
        found = self._all(LabelTaskRow.op_id == op_id)
        return found[0] if found else None

    def list(self, round_id: int) -> builtins.list[LabelTask]:
        """Requests of a round, oldest first."""
        return self._all(LabelTaskRow.round_id == round_id)

    def list_outside(self, project_id: int) -> builtins.list[LabelTask]:
        """Requests for a project's datasets that no round made, oldest first."""
        return self._all(LabelTaskRow.project_id == project_id)

    def _all(self, wanted: ColumnElement[bool]) -> builtins.list[LabelTask]:
        query = select(LabelTaskRow).where(wanted).order_by(LabelTaskRow.id)
        with reading(self.engine) as session:
            return [copy_of(LabelTask, row) for row in session.scalars(query)]


@dataclass(frozen=True, slots=True)
class Gates:
    """What gates found, one row for each content that they looked at."""

    engine: Engine

    def add(
        self, *, round_id: int, stage: str, op_id: str, blocked: bool, message: str,
        json_blob: str, html_blob: str,
    ) -> GateReport:  # fmt: skip
        with writing(self.engine) as session:
            row = session.scalar(
                select(GateReportRow).where(
                    GateReportRow.round_id == round_id,
                    GateReportRow.stage == stage,
                    GateReportRow.op_id == op_id,
                )
            )
            if row is None:
                row = GateReportRow(round_id=round_id, stage=stage, op_id=op_id)
                session.add(row)
            row.blocked, row.message, row.created_at = blocked, message, utc_now()
            row.json_blob, row.html_blob = json_blob, html_blob
            session.flush()
            return copy_of(GateReport, row)

    def list(self, round_id: int) -> list[GateReport]:
        """Reports of a round, oldest first."""
        query = select(GateReportRow).where(GateReportRow.round_id == round_id)
        with reading(self.engine) as session:
            rows = session.scalars(query.order_by(GateReportRow.created_at, GateReportRow.id))
            return [copy_of(GateReport, row) for row in rows]


def _asked(session: Session, op_id: str, **values: object) -> LabelTask:
    row = session.scalar(select(LabelTaskRow).where(LabelTaskRow.op_id == op_id))
    if row is None:
        fresh = {"state": "open", "done": 0, "skipped": 0, "created_at": utc_now()}
        row = LabelTaskRow(op_id=op_id, **fresh, **values)
        session.add(row)
        session.flush()
    return copy_of(LabelTask, row)


def _steps(round_id: int, step: str | None = None, op_id: str | None = None) -> Select[Any]:
    query = select(RoundStepRow).where(RoundStepRow.round_id == round_id)
    if step is not None:
        query = query.where(RoundStepRow.step == step)
    return query if op_id is None else query.where(RoundStepRow.op_id == op_id)


def _make_current(session: Session, row: RoundStepRow) -> None:
    row.current = True
    session.flush()
    session.execute(
        update(RoundStepRow)
        .where(
            RoundStepRow.round_id == row.round_id,
            RoundStepRow.step == row.step,
            RoundStepRow.id != row.id,
        )
        .values(current=False)
    )


def _models() -> Select[Any, Any, Any]:
    return (
        select(ModelRow, ProjectRow.name, RoundRow.number)
        .join(ProjectRow, ModelRow.project_id == ProjectRow.id)
        .join(RoundRow, ModelRow.round_id == RoundRow.id)
    )


def _model(row: ModelRow, project: str, number: int) -> Model:
    return Model(
        project=project, round_id=row.round_id, round_number=number, op_id=row.op_id,
        model_id=row.model_id, stage=row.stage, classes=tuple(row.classes), package=row.package,
        log=row.log, training=row.training, image=row.image, config=row.config, seed=row.seed,
        training_metrics=row.training_metrics, metrics=row.metrics, predictions=row.predictions,
        created_at=row.created_at,
    )  # fmt: skip


def copy_of(kind: type[Value], row: object) -> Value:
    return kind(**{field.name: getattr(row, field.name) for field in fields(kind)})
