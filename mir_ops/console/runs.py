"""DAG runs as the console sees them: started, ended and approved with the caller's own rights.

Whoever mounts the console in Airflow gives an implementation; under `mir view` there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from fastapi import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A task that waits for a person's word."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    subject: str
    body: str
    options: tuple[str, ...]
    asked_at: datetime


class Runs(Protocol):
    """What a caller may do with runs. Each raises `MirError`, or 403 where Airflow refuses."""

    def start(self, dag_id: str, conf: Mapping[str, Any], *, run_id: str | None = None) -> str:
        """Start a run, of a given id where starting it twice must not be; its id."""
        ...

    def cancel(self, dag_id: str, run_id: str) -> None:
        """End the run as failed, with all its tasks; one that has ended stays as it is."""
        ...

    def state(self, dag_id: str, run_id: str) -> str:
        """`queued`, `running`, `success` or `failed`."""
        ...

    def result(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task of the run returned."""
        ...

    def approvals(self, dag_id: str, run_id: str) -> Sequence[Approval]:
        """The questions that this run waits with."""
        ...

    def answer(self, approval: Approval, option: str) -> None:
        """Answer a question with one of its options."""
        ...

    def run_address(self, dag_id: str, run_id: str) -> str:
        """The run's page in Airflow."""
        ...

    def task_address(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
        """The task's page in Airflow."""
        ...


def runs_of(request: Request) -> Runs | None:
    """The caller's; `None` where there is no Airflow."""
    open_runs = request.app.state.open_runs
    return open_runs(request) if open_runs else None
