"""Where a task stands, and how it speaks when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mir_airflow.hooks.mir import MirHook
from mir_ops.errors import MirError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import Logger

    from mir_ops.rounds.place import Place
    from mir_ops.workspace import Workspace


def open_workspace(context: Context, mir_conn_id: str) -> Workspace:
    """The connection's; commits name who started the run, where a person did."""
    workspace = MirHook(mir_conn_id).workspace()
    person = context["dag_run"].triggering_user_name
    return replace(workspace, author=person) if person else workspace


def place_of(context: Context, deployment: str) -> Place:
    """This task instance, whichever try it is."""
    from mir_ops.rounds.place import Place

    ti = context["ti"]
    return Place(
        deployment=deployment,
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
    )


@contextmanager
def explained(log: Logger) -> Iterator[None]:
    """Log what went wrong and what to do next, ahead of Airflow's traceback."""
    try:
        yield
    except MirError as error:
        log.error("%s (%s)", error, error.code)
        if error.hint:
            log.error("hint: %s", error.hint)
        raise
