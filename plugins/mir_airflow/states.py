"""What Airflow's database says of a task, asked from inside another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

# The states of a task that nobody goes on with, or that begins anew.
OVER = frozenset({"failed", "success", "restarting", "removed", "skipped", "upstream_failed"})


def task_state(
    ti: RuntimeTaskInstanceProtocol,
    *,
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: int | None,
) -> str | None:
    """The state of a task instance; None when it has none, or when there is no such one.

    A user's doing leaves `failed`, `success` or `restarting`; a scheduler that took the task from
    a dead one leaves it running, queued or without a state.
    """
    answer: Mapping[str, Any] = ti.get_task_states(
        dag_id=dag_id, task_ids=[task_id], run_ids=[run_id]
    )
    mapped = map_index is not None and map_index >= 0
    found = answer.get(run_id, {}).get(f"{task_id}_{map_index}" if mapped else task_id)
    return None if found is None else str(getattr(found, "value", found))
