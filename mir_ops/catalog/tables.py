"""The catalog's tables. A change here needs a new file in `migrations/versions`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    String,
    UniqueConstraint,
)
from sqlalchemy import DateTime as PlainDateTime
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """A time with its zone; SQLite would forget it."""

    impl = PlainDateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """Names of constraints are fixed, so that a later migration can drop them by name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: Final = {
        datetime: UtcTime(),
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(),
        str: String(),
    }

    id: Mapped[int] = mapped_column(primary_key=True)


class ProjectRow(Table):
    """`key` is the name that the project was created with: it stays, and nobody else gets it."""

    __tablename__ = "mir_projects"
    __table_args__ = (UniqueConstraint("name"), Index(None, "key", unique=True))

    key: Mapped[str] = mapped_column(server_default="")
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class RoundRow(Table):
    """One turn of the loop. `open_project` is the lease: unique, set while the round is open."""

    __tablename__ = "mir_rounds"
    __table_args__ = (
        UniqueConstraint("project_id", "number"),
        UniqueConstraint("deployment", "dag_id", "run_id"),
        UniqueConstraint("open_project"),
        Index(None, "run_id"),
        Index(None, "project_id", "state", "number"),
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("mir_projects.id"))
    number: Mapped[int]
    deployment: Mapped[str]
    dag_id: Mapped[str]
    run_id: Mapped[str]
    state: Mapped[str]
    open_project: Mapped[int | None]
    spec: Mapped[dict[str, Any]]  # the project's file as this round took it, conf applied
    conf: Mapped[dict[str, Any]]
    reason: Mapped[str | None]
    record: Mapped[str | None]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class RoundStepRow(Table):
    """One operation of one step. `current` is the one that the round goes on with."""

    __tablename__ = "mir_round_steps"
    __table_args__ = (UniqueConstraint("round_id", "step", "op_id"),)

    round_id: Mapped[int] = mapped_column(ForeignKey("mir_rounds.id"), index=True)
    step: Mapped[str]
    op_id: Mapped[str]
    current: Mapped[bool]
    state: Mapped[str]
    percent: Mapped[float | None]
    message: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class ModelRow(Table):
    """One training's outcome; its files are one blob of the store."""

    __tablename__ = "mir_models"
    __table_args__ = (UniqueConstraint("op_id"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("mir_projects.id"), index=True)
    round_id: Mapped[int] = mapped_column(ForeignKey("mir_rounds.id"), index=True)
    op_id: Mapped[str]
    model_id: Mapped[str] = mapped_column(index=True)
    stage: Mapped[str]
    classes: Mapped[list[str]]
    package: Mapped[str]
    log: Mapped[str | None]
    training: Mapped[str]  # the commit it was trained on
    image: Mapped[dict[str, Any]]
    config: Mapped[dict[str, Any]]
    seed: Mapped[int]
    training_metrics: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any] | None]  # of its evaluation
    predictions: Mapped[str | None]  # the commit of its evaluation
    created_at: Mapped[datetime]


class PackageRow(Table):
    """A model package in the store: what a person or a job can start from."""

    __tablename__ = "mir_packages"
    __table_args__ = (UniqueConstraint("model_id"),)

    model_id: Mapped[str]
    package: Mapped[str]
    classes: Mapped[list[str]]
    object_type: Mapped[int]
    stages: Mapped[dict[str, Any]]  # name to metrics
    best_stage: Mapped[str]
    state: Mapped[str]
    origin: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    title: Mapped[str] = mapped_column(server_default="")
    description: Mapped[str] = mapped_column(server_default="")
    deleted_at: Mapped[datetime | None]


class PromotionRow(Table):
    """A name, such as `production`, that means one stage of one model."""

    __tablename__ = "mir_promotions"
    __table_args__ = (UniqueConstraint("name"),)

    name: Mapped[str]
    model_id: Mapped[str]
    stage: Mapped[str]
    promoted_at: Mapped[datetime]


class ExecutorRow(Table):
    """An executor image, what it says of itself, and what it needs beyond the contract."""

    __tablename__ = "mir_executors"
    __table_args__ = (UniqueConstraint("name"),)

    name: Mapped[str]
    image: Mapped[str]
    folder: Mapped[str | None]
    digest: Mapped[str | None]
    network: Mapped[bool]
    run_as_root: Mapped[bool]
    protocol: Mapped[str]
    templates: Mapped[dict[str, Any]]  # object type to kind of job to settings
    added_at: Mapped[datetime]
    checked: Mapped[dict[str, Any] | None]  # what the conformance kit said last


class LabelTaskRow(Table):
    """Of a round, or of a run that labels a dataset by itself; then of a project, if of one."""

    __tablename__ = "mir_label_tasks"
    __table_args__ = (UniqueConstraint("op_id"),)

    round_id: Mapped[int | None] = mapped_column(ForeignKey("mir_rounds.id"), index=True)
    project_id: Mapped[int | None] = mapped_column(ForeignKey("mir_projects.id"), index=True)
    branch: Mapped[str | None]  # where the labels of such a run go
    dag_id: Mapped[str | None]
    run_id: Mapped[str | None]
    op_id: Mapped[str]
    backend: Mapped[str]
    external_id: Mapped[str]
    state: Mapped[str]
    requested: Mapped[int]
    done: Mapped[int]
    skipped: Mapped[int]
    message: Mapped[str | None]
    by: Mapped[dict[str, Any] | None]  # images answered, by annotator
    page: Mapped[str | None]  # where people label
    last_activity: Mapped[datetime | None]
    enough_at: Mapped[datetime | None]  # when somebody said that no more is waited for
    created_at: Mapped[datetime]


class GateReportRow(Table):
    __tablename__ = "mir_gate_reports"
    __table_args__ = (UniqueConstraint("round_id", "stage", "op_id"),)

    round_id: Mapped[int] = mapped_column(ForeignKey("mir_rounds.id"), index=True)
    stage: Mapped[str]
    op_id: Mapped[str]
    blocked: Mapped[bool]
    message: Mapped[str]
    json_blob: Mapped[str]
    html_blob: Mapped[str]
    created_at: Mapped[datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)
