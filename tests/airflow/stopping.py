"""In the tasks of a DAG: they stop where a test's stage says, until it lets them go on.

`started` is ahead of a task's own work, `committing` just before a model or a branch is written,
and what an executor's operator reaches (`prepared`, `running`, `ended`) lies in between.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Context


def stop_tasks(dag: DAG, folder: Path, *, engine_url: str = "") -> None:
    """Have every task of the DAG look into the stage's folder, and use that engine, if any."""
    for task in dag.tasks:
        task._pre_execute_hook = lambda context: _watch(context, folder)  # type: ignore[union-attr]
        if engine_url and hasattr(task, "docker_url"):
            task.docker_url = engine_url


def _watch(context: Context, folder: Path) -> None:
    operator: Any = context["task"]

    def stop_at(boundary: str) -> None:
        _stop(context, folder, boundary)

    if reached := getattr(operator, "reached", None):

        def reach(boundary: str) -> None:
            reached(boundary)
            stop_at(boundary)
            if boundary == "ended":
                _stop_commits(operator, stop_at)

        operator.reached = reach
    else:
        _stop_commits(operator, stop_at)
    stop_at("started")


def _stop_commits(operator: Any, stop_at: Callable[[str], None]) -> None:
    from mir_ops.catalog.steps import Models
    from mir_ops.store import edits

    waiting = [True]

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if waiting:
                waiting.clear()
                operator.log.info("Reached: committing")
                stop_at("committing")
            return function(*args, **kwargs)

        return wrapped

    Models.add = before(Models.add)  # type: ignore[method-assign]
    edits.move_ref = before(edits.move_ref)


def _stop(context: Context, folder: Path, boundary: str) -> None:
    ti, stops = context["ti"], json.loads((folder / "plan.json").read_text())
    if stops.get(ti.task_id) != boundary:
        return
    stopped = folder / f"stopped-{ti.task_id}.json"
    try:
        handle = os.open(f"{stopped}.first", os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return  # this is a later try
    os.close(handle)
    told = {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "try_number")}
    told.update(pid=os.getpid(), supervisor=os.getppid())
    partial = folder / f"{ti.task_id}.partial"
    partial.write_text(json.dumps(told))
    os.replace(partial, stopped)
    while not (folder / f"go-{ti.task_id}.json").exists():
        time.sleep(0.05)
