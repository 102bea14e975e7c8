"""What happens to a round when its run fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mir_airflow import metrics
from mir_airflow.hooks.mir import MirHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from mir_ops.workspace import Workspace


def fail_round(context: Context) -> None:
    """Mark the run's round as failed, with the reason, so that the next one may open.

    Both a callback of tasks, which knows the exception, and of the run, which also comes when a
    person or a timeout ended it.
    """
    give_up_round(MirHook().workspace(), context["run_id"], _reason(context))


def give_up_round(workspace: Workspace, run_id: str, reason: str) -> None:
    """Mark a run's round as failed; it is counted once, whoever comes first."""
    from mir_ops.rounds.steps import fail_round as fail

    found = fail(workspace, run_id, reason)
    if found["given_up"] and metrics.is_on():
        metrics.send_failed(metrics.project_of(workspace, found["round_id"]))


def _reason(context: Context) -> str:
    error = context.get("exception")
    if error is None:
        return f"The run failed: {context.get('reason') or 'ended from outside'}"
    text = str(error) or type(error).__name__
    return f"Task `{context['ti'].task_id}` failed: {text}"
