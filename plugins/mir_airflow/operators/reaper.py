"""Removes the containers and pods of tasks that are over: nothing keeps a GPU that no task owns."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowRuntimeError

from mir_airflow import metrics
from mir_airflow.hooks.mir import MirHook
from mir_airflow.places import explained
from mir_airflow.states import OVER, task_state

if TYPE_CHECKING:
    from airflow.sdk import Context

    from mir_ops.executor.reaping import TaskContainer
    from mir_ops.workspace import Workspace


class ReapContainersOperator(BaseOperator):
    """
    Remove this deployment's executor containers whose task instance is no longer running.

    Looks at the engine of the worker that it runs on, or at the pods of its namespace. Containers
    of tasks that run, wait for their next try, or have not begun again after a scheduler's death
    are left to them. Those of commands that were killed on this host go too, where nobody can take
    them over.

    :param mir_conn_id: Connection to the workspace.
    """

    def __init__(self, *, mir_conn_id: str = MirHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> int:
        from mir_ops.executor.engine import open_engine
        from mir_ops.executor.reaping import reap, remove_orphans

        workspace = MirHook(self.mir_conn_id).workspace()
        metrics.send_work_dir(workspace)
        if workspace.runner == "kubernetes":
            return self._reap_pods(context, workspace)
        if workspace.runner != "docker":
            self.log.info("Nothing to do: executors are child processes and end by themselves")
            return 0
        with explained(self.log), closing(open_engine()) as engine:
            reaped = reap(
                engine, workspace.deployment, is_wanted=lambda one: self._is_wanted(context, one)
            )
            orphans = remove_orphans(engine)
        self._say("container", reaped)
        for name in orphans:
            self.log.warning("Removed container %s of a command that was killed", name)
        self.log.info("Removed %d containers", len(reaped) + len(orphans))
        return len(reaped) + len(orphans)

    def _reap_pods(self, context: Context, workspace: Workspace) -> int:
        from mir_ops.executor.cluster import open_cluster
        from mir_ops.executor.reaping import reap_pods

        with explained(self.log), closing(open_cluster()) as cluster:
            reaped = reap_pods(
                cluster, workspace.deployment, is_wanted=lambda one: self._is_wanted(context, one)
            )
        self._say("pod", reaped)
        self.log.info("Removed %d pods", len(reaped))
        return len(reaped)

    def _say(self, kind: str, reaped: list[TaskContainer]) -> None:
        for one in reaped:
            task = f"{one.dag_id}/{one.run_id}/{one.task_id}"
            self.log.warning("Removed %s %s of %s", kind, one.name, task)

    def _is_wanted(self, context: Context, container: TaskContainer) -> bool:
        """When Airflow does not answer, the container is wanted."""
        ti = context["ti"]
        state = task_state(
            ti,
            dag_id=container.dag_id,
            run_id=container.run_id,
            task_id=container.task_id,
            map_index=container.map_index,
        )
        if state is not None:
            return state not in OVER
        try:
            run = ti.get_dagrun_state(dag_id=container.dag_id, run_id=container.run_id)
        except AirflowRuntimeError as error:
            self.log.warning("Could not ask for run %s: %s", container.run_id, error)
            return "not_found" not in str(error).lower()
        return run not in ("success", "failed")
