"""Label tasks by the JSON API: how far they are; ask the tool now, or go on with what is done."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel

from mir_ops.catalog import Catalog
from mir_ops.console.access import ProjectKey, needs
from mir_ops.console.frame import Kept, Opened
from mir_ops.console.labels.views import LabelTaskView, find_task, label_tasks
from mir_ops.errors import ConflictError

api = APIRouter(prefix="/projects/{project}/labels")

_TAKEN_BY: Final = ("import_labels", "take_labels")  # in a round, outside of one


class LabelTasks(BaseModel):
    tasks: list[LabelTaskView]


@api.get("", dependencies=[needs("read")])
def list_label_tasks(catalog: Kept, project: ProjectKey) -> LabelTasks:
    """What people were asked, in rounds and by runs of `dataset_label`, the newest first."""
    return LabelTasks(tasks=label_tasks(catalog, catalog.projects.get(project)))


@api.get("/{task}", dependencies=[needs("read")])
def show_label_task(catalog: Kept, project: ProjectKey, task: str) -> LabelTaskView:
    """One of them, as the catalog last heard of it."""
    return find_task(catalog, catalog.projects.get(project), task)


@api.post("/{task}/fetch", status_code=202, dependencies=[needs("operate")])
def fetch_labels(sources: Opened, catalog: Kept, project: ProjectKey, task: str) -> LabelTaskView:
    """Let what waits ask the label tool now, within seconds."""
    _waiting(catalog, project, task)
    sources.note_activity(task)
    return find_task(catalog, catalog.projects.get(project), task)


@api.post("/{task}/enough", status_code=202, dependencies=[needs("operate")])
def end_wait(sources: Opened, catalog: Kept, project: ProjectKey, task: str) -> LabelTaskView:
    """Let what waits go on with what is labelled, within seconds."""
    found = _waiting(catalog, project, task)
    if not found.done:
        raise ConflictError(
            "Nothing is labelled yet", code="nothing-labelled", hint="Stop the run instead"
        )
    catalog.label_tasks.update(task, enough_at=datetime.now(UTC))
    sources.note_activity(task)
    return find_task(catalog, catalog.projects.get(project), task)


def _waiting(catalog: Catalog, project: str, task: str) -> LabelTaskView:
    found = find_task(catalog, catalog.projects.get(project), task)
    if not found.waits:
        raise ConflictError(
            "Nothing waits for these labels any more",
            code="not-waiting",
            hint=f"Clear `{_TAKEN_BY[found.round is None]}` of its run in Airflow to take what was "
            "labelled later",
        )
    return found
