"""What a run of Airflow is doing, as lines on a terminal or in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TextIO

from mir_ops.errors import MirError, StoreError

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog, RoundStep
    from mir_ops.rounds.airflow_api import AirflowClient, DagRun, TaskState

DAG: Final = "active_learning_round"
LOG_LINES: Final = 12
_WORDS: Final = {
    "": "waits",
    "scheduled": "waits",
    "queued": "waits for a worker",
    "deferred": "waits for labels",
    "up_for_retry": "failed, will be tried again",
    "restarting": "starts again",
}


class Display:
    """Lines that stay, and on a terminal one line that changes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._shown = 0
        self._started = time.monotonic()

    @property
    def live(self) -> bool:
        return self._stream.isatty()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def heading(self, text: str) -> None:
        self.line("")
        self.line(f"[{self.seconds:4.0f} s] {text}")

    def line(self, text: str) -> None:
        self._clear()
        print(text, file=self._stream, flush=True)

    def status(self, text: str) -> None:
        """Replace the line that changes; where nobody looks, print nothing."""
        if self.live:
            text = text[:110]
            self._clear()
            self._stream.write(text)
            self._stream.flush()
            self._shown = len(text)

    def _clear(self) -> None:
        if self._shown:
            self._stream.write("\r" + " " * self._shown + "\r")
            self._shown = 0


@dataclass(kw_only=True)
class RoundFollower:
    """Follows one run: prints each task when it ends, and how far the running one is."""

    client: AirflowClient
    catalog: Catalog
    deployment: str
    run: DagRun
    display: Display
    check: Callable[[], None]
    _printed: set[str] = field(default_factory=set)

    def follow(self, *, timeout: float) -> DagRun:
        """Wait for the end of the run. A failed one raises, with what its task said."""
        try:
            ended = self.client.wait_for_run(
                self.run.dag_id, self.run.run_id, timeout=timeout, poll=1.0, on_poll=self._look
            )
        except StoreError:
            self.check()  # a full disk is why Airflow no longer answers
            raise
        self._look()
        if ended.state != "success":
            raise self._failure()
        return ended

    def _look(self) -> None:
        self.check()
        tasks = self.client.tasks(self.run.dag_id, self.run.run_id)
        steps = self._steps()
        for task in tasks:
            if task.state in ("success", "failed", "skipped") and task.task_id not in self._printed:
                self._printed.add(task.task_id)
                self.display.line(_ended_line(task, steps.get(task.task_id)))
        self.display.status(_now_line(tasks, steps))

    def _steps(self) -> dict[str, RoundStep]:
        found = self.catalog.rounds.find_run(self.deployment, self.run.run_id)
        if found is None:
            return {}
        return {step.step: step for step in self.catalog.steps.list(found.id)}

    def _failure(self) -> StoreError:
        tasks = self.client.tasks(self.run.dag_id, self.run.run_id)
        failed = [task for task in tasks if task.state == "failed"]
        where = self.client.run_url(self.run.dag_id, self.run.run_id)
        if not failed:
            return StoreError(f"The run ended without success: {where}", code="round-failed")
        # What ran last is what stopped the round; a last task that gives the round up fails too.
        task = next((task for task in failed if task.task_id in self._steps()), failed[0])
        self._print_log(task)
        said = self._reason(task.task_id)
        return StoreError(
            f"Task `{task.task_id}` failed" + (f": {said}" if said else ""), code="round-failed"
        )

    def _reason(self, task_id: str) -> str:
        step = self._steps().get(task_id)
        if step is not None and step.message:
            return step.message
        # A task that failed before it began its step left its words with the round.
        found = self.catalog.rounds.find_run(self.deployment, self.run.run_id)
        reason = (found.reason if found is not None else None) or ""
        return reason.removeprefix(f"Task `{task_id}` failed: ")

    def _print_log(self, task: TaskState) -> None:
        try:
            log = self.client.log(
                self.run.dag_id, self.run.run_id, task.task_id, try_number=task.try_number
            )
        except MirError as error:
            self.display.line(f"  (its log cannot be read: {error})")
            return
        self.display.line("")
        self.display.line(f"  The last lines of its log, try {task.try_number}:")
        for line in log.strip().splitlines()[-LOG_LINES:]:
            self.display.line(f"  | {line[:400]}")


def _ended_line(task: TaskState, step: RoundStep | None) -> str:
    mark = {"success": "done", "failed": "FAILED", "skipped": "skipped"}[task.state]
    seconds = ""
    if step is not None and step.finished_at is not None:
        seconds = f"{(step.finished_at - step.started_at).total_seconds():6.1f} s"
    told = summary(task.task_id, step.result) if step and step.result else ""
    return f"  {task.task_id:<18} {mark:<8}{seconds:>9}  {told}".rstrip()


def _now_line(tasks: list[TaskState], steps: Mapping[str, RoundStep]) -> str:
    for task in tasks:
        if task.state == "running":
            step = steps.get(task.task_id)
            return f"  {task.task_id:<18} {_how_far(step)}"
    for task in tasks:
        if task.state in _WORDS and task.state:
            return f"  {task.task_id:<18} {_WORDS[task.state]}"
    return "  ..."


def _how_far(step: RoundStep | None) -> str:
    if step is None or not step.percent:
        return "running"
    message = f"  {step.message}" if step.message else ""
    return f"{step.percent:3.0f} %{message}"


def summary(task_id: str, result: Mapping[str, Any]) -> str:
    """The few numbers of a step that a person wants to see pass by."""
    metrics = result.get("metrics")
    if task_id.startswith("evaluate") and isinstance(metrics, Mapping):
        return f"mAP50 {metrics['map50']:.3f}, mAP50:95 {metrics['map50_95']:.3f}"
    told = [
        f"{result[key]} {word}"
        for key, word in (("images", "images"), ("boxes", "boxes"), ("candidates", "candidates"),
                          ("picked", "picked"), ("done", "labelled"), ("issues", "issues"))
        if isinstance(result.get(key), int)
    ]  # fmt: skip
    if isinstance(result.get("commit"), str):
        told.append(f"commit {result['commit'][:12]}")
    if isinstance(result.get("reason"), str):
        told.append(result["reason"])
    return ", ".join(told)
