"""Remove executor containers that no task owns any more."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from mir_airflow.operators.reaper import ReapContainersOperator
from mir_airflow.workers import each_machine

with DAG(
    dag_id="executor_reaper",
    description="Remove executor containers that no task owns any more",
    schedule=timedelta(minutes=10),
    catchup=False,
    max_active_runs=1,
    tags=["mir", "maintenance"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=30)},
    doc_md="A task that is killed with its machine cannot end its container. Every ten minutes "
    "this looks at the containers of this deployment and removes those whose task is over.",
):
    for task_id, where in each_machine("reap").items():
        ReapContainersOperator(
            task_id=task_id,
            doc_md="Removes the containers of its worker's engine whose task instance is no "
            "longer running.",
            **where,
        )
