"""What the catalog hands out: frozen copies of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from mir_ops.catalog.projects import ProjectSpec

RoundState = Literal["open", "closed", "failed"]
StepState = Literal["running", "done", "failed"]

PROJECT_DAG: Final = "round__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project as it stands now; `spec` is its file.

    `key` is the name that it was created with. Its branches, commits, DAG and addresses go by the
    key, so that renaming moves none of them. A deleted project has no DAG and opens no rounds.
    """

    id: int
    key: str
    spec: ProjectSpec
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def dag_id(self) -> str:
        """Of the DAG that runs this project's rounds."""
        return f"{PROJECT_DAG}{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One turn of the loop. `spec` is the project as this round took it, its run's conf applied.

    `project` is what the project is called now, `project_key` what its branches go by.
    """

    id: int
    project: str
    project_key: str
    number: int
    deployment: str
    dag_id: str
    run_id: str
    state: RoundState
    spec: ProjectSpec
    conf: Mapping[str, Any]
    reason: str | None
    record: str | None  # blob: the round's record, once it is closed
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStep:
    """Where one step of a round is, and what it left."""

    round_id: int
    step: str
    op_id: str
    state: StepState
    percent: float | None  # 0 to 100
    message: str | None
    result: Mapping[str, Any] | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One training's outcome, and its evaluation once there is one."""

    project: str
    round_id: int
    round_number: int
    op_id: str
    model_id: str
    stage: str
    classes: tuple[str, ...]
    package: str  # blob: YMIR's tar.gz
    log: str | None  # blob
    training: str  # commit
    image: Mapping[str, Any]
    config: Mapping[str, Any]
    seed: int
    training_metrics: Mapping[str, Any]
    metrics: Mapping[str, Any] | None
    predictions: str | None  # commit
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A model in the store, trained here or imported. `state` is `ready`, or `failed` where the
    training that wrote these stages ended with an error. `title` and `description` are for people;
    one that was deleted is in no list, and jobs do not take it."""

    model_id: str
    package: str  # blob: YMIR's tar.gz
    classes: tuple[str, ...]
    object_type: int
    stages: Mapping[str, Mapping[str, float]]  # metrics by name
    best_stage: str
    state: str
    origin: Mapping[str, Any]
    created_at: datetime
    title: str = ""
    description: str = ""
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """What a name such as `production` means now."""

    name: str
    model_id: str
    stage: str
    promoted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorCheck:
    """What the conformance kit said of an executor. `clauses`: name to state and detail."""

    at: datetime
    digest: str | None  # of what was checked
    clauses: Mapping[str, tuple[str, str]]

    @property
    def failed(self) -> tuple[str, ...]:
        return tuple(name for name, (state, _) in self.clauses.items() if state == "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """A registered executor image. `templates`: object type to kind of job to settings."""

    name: str
    image: str
    folder: str | None
    digest: str | None
    network: bool
    run_as_root: bool
    protocol: str
    templates: Mapping[int, Mapping[str, Mapping[str, Any]]]
    added_at: datetime
    checked: ExecutorCheck | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTask:
    """A request to people (or the oracle), and how far they are.

    `by` counts the images that each of them answered; `page` is where they label, if that has an
    address. Since `enough_at` nobody is waited for. One that no round asked for is of a run, which
    labels a dataset onto `branch`.
    """

    round_id: int | None
    branch: str | None
    dag_id: str | None
    run_id: str | None
    op_id: str
    backend: str
    external_id: str
    state: str
    requested: int
    done: int
    skipped: int
    message: str | None
    by: Mapping[str, int] | None
    page: str | None
    last_activity: datetime | None
    enough_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """What a gate found; both blobs hold the same report."""

    round_id: int
    stage: str
    op_id: str
    blocked: bool
    message: str
    json_blob: str
    html_blob: str
    created_at: datetime
