"""Label tasks for people: how far they are, who labels, where, in rounds and outside of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from mir_ops.catalog import Catalog, LabelTask, Project
from mir_ops.console.rounds.views import FoundRound, round_view
from mir_ops.errors import NotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTaskView:
    """One request; `by` counts the images that each annotator answered.

    Of a round, or else of the run that labels a dataset onto `branch`. `page` is where they label,
    `waits` whether the round or the run waits for it now.
    """

    id: str
    round: int | None
    branch: str | None
    dag_id: str
    run_id: str
    backend: str
    external_id: str
    state: str
    requested: int
    done: int
    skipped: int
    by: Mapping[str, int]
    asked: tuple[str, ...]
    page: str | None
    message: str | None
    created_at: datetime
    last_activity: datetime | None
    waits: bool

    @property
    def percent(self) -> int:
        return round(100 * (self.done + self.skipped) / self.requested) if self.requested else 0


def task_view(found: FoundRound, task: LabelTask) -> LabelTaskView:
    """Of a round."""
    waiting = found.view.waiting is not None and found.view.waiting.what == "labels"
    return _view(
        task,
        round=found.line.number,
        dag_id=found.line.dag_id,
        run_id=found.line.run_id,
        asked=found.project.spec.labels.annotators,
        waits=waiting and task is found.line.tasks[-1],
    )


def _view(task: LabelTask, **more: Any) -> LabelTaskView:
    return LabelTaskView(
        id=task.op_id,
        branch=task.branch,
        backend=task.backend,
        external_id=task.external_id,
        state=task.state,
        requested=task.requested,
        done=task.done,
        skipped=task.skipped,
        by=task.by or {},
        page=_safe(task.page),
        message=task.message,
        created_at=task.created_at,
        last_activity=task.last_activity,
        **more,
    )


def label_tasks(catalog: Catalog, project: Project) -> list[LabelTaskView]:
    """All requests of a project, the newest first."""
    found = [
        FoundRound(project=project, line=line, view=round_view(line, project.spec))
        for line in catalog.overviews.rounds(project.id)
        if line.tasks
    ]
    tasks = [task_view(each, task) for each in found for task in each.line.tasks]
    tasks += [_outside(task) for task in catalog.label_tasks.list_outside(project.id)]
    return sorted(tasks, key=lambda task: task.created_at, reverse=True)


def _outside(task: LabelTask) -> LabelTaskView:
    return _view(
        task,
        round=None,
        dag_id=task.dag_id or "",
        run_id=task.run_id or "",
        asked=(),
        waits=task.state == "open",
    )


def find_task(catalog: Catalog, project: Project, op_id: str) -> LabelTaskView:
    """One request of this project."""
    for task in label_tasks(catalog, project):
        if task.id == op_id:
            return task
    raise NotFoundError(
        f"Project `{project.name}` has no label task `{op_id[:12]}`", code="no-such-label-task"
    )


def labels_page(catalog: Catalog, project: Project) -> dict[str, Any]:
    return {"project": project, "key": project.key, "tasks": label_tasks(catalog, project)}


def _safe(address: str | None) -> str | None:
    """A tool's page, if it is one: a link runs whatever its scheme says."""
    scheme = urlsplit(address).scheme if address else ""
    return address if scheme in ("http", "https") else None
