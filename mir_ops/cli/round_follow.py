"""What `mir round start` shows while it waits: tasks as they end, and what the run waits for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mir_ops.cli.output import Output
from mir_ops.errors import MirError, StoreError

if TYPE_CHECKING:
    from mir_ops.rounds.airflow_api import AirflowClient, DagRun, TaskState

POLL_SECONDS: Final = 2.0
_ENDED: Final = ("success", "failed", "skipped", "upstream_failed", "removed")
_WAITS: Final = {"deferred": "waits for labels", "awaiting_input": "waits for somebody to approve"}


def follow_run(client: AirflowClient, run: DagRun, output: Output) -> DagRun:
    """The run as it ended, which may be weeks away; one that failed is an error that says why."""
    follower = _Follower(client=client, run=run, output=output)
    ended = follower.follow()
    if ended.state != "success":
        raise StoreError(
            "; ".join(follower.failures()) or f"Run `{run.run_id}` ended without success",
            code="round-failed",
            hint=f"Look at its tasks: {client.run_url(run.dag_id, run.run_id)}",
        )
    return ended


@dataclass(kw_only=True)
class _Follower:
    client: AirflowClient
    run: DagRun
    output: Output
    _said: set[tuple[str, int, str]] = field(default_factory=set)
    _lost: bool = False

    def follow(self) -> DagRun:
        """While Airflow does not answer it is asked again: the run does not need us."""
        while True:
            try:
                now = self.client.run(self.run.dag_id, self.run.run_id)
                self._look()
                self._lost = False
                if now.finished:
                    return now
            except StoreError as error:
                if not self._lost:
                    self.output.warning(f"{error}; going on asking")
                self._lost = True
            time.sleep(POLL_SECONDS)

    def failures(self) -> list[str]:
        """The tasks that failed, each with the line of its log that says why."""
        tasks = self.client.tasks(self.run.dag_id, self.run.run_id)
        return [f"`{each.task_id}`: {self._why(each)}" for each in tasks if each.state == "failed"]

    def _look(self) -> None:
        tasks = self.client.tasks(self.run.dag_id, self.run.run_id)
        for task in tasks:
            self._say(task)
        ended = sum(task.state in _ENDED for task in tasks)
        running = [task.task_id for task in tasks if task.state == "running"]
        self.output.progress(ended / max(1, len(tasks)), ", ".join(running))

    def _say(self, task: TaskState) -> None:
        key = (task.task_id, task.map_index, task.state)
        if key in self._said or task.state not in (*_ENDED, *_WAITS):
            return
        self._said.add(key)
        name = task.task_id if task.map_index < 0 else f"{task.task_id} {task.map_index}"
        self.output.note(f"{name}: {_WAITS.get(task.state, task.state)}")

    def _why(self, task: TaskState) -> str:
        place = {"try_number": task.try_number, "map_index": task.map_index}
        try:
            log = self.client.log(self.run.dag_id, self.run.run_id, task.task_id, **place)
        except MirError as error:
            return f"its log cannot be read: {error}"
        lines = [line for line in log.splitlines() if "Error: " in line]
        return lines[-1].partition("Error: ")[2] if lines else "its log says why"
