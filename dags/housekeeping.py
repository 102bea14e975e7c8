"""Keep hosts clean, and let the store know the catalog."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param
from mir_airflow.operators.housekeeping import CleanOperator, KeepCatalogOperator

PARAMS = {
    "job_days": Param(
        14,
        type="number",
        minimum=1,
        title="Jobs",
        description="For how many days the job folder of a failed step is kept.",
    ),
    "log_days": Param(
        180,
        type="number",
        minimum=1,
        title="Logs",
        description="For how many days the task logs of a run are kept. Those of open rounds stay.",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Only look",
        description="Log what would be removed, and remove nothing.",
    ),
}

with DAG(
    dag_id="housekeeping",
    description="Remove what failed steps and killed processes left; keep the catalog in the store",
    schedule=timedelta(days=1),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    tags=["mir", "maintenance"],
    default_args={"retries": 1, "retry_delay": timedelta(minutes=5)},
    doc_md="Once a day: job folders of failed steps, files of killed processes and old task logs "
    "go, the cache of images keeps its limit, and the store gets to know what was changed in the "
    "catalog outside of rounds. What running tasks and open rounds need stays.",
):
    CleanOperator(
        task_id="clean",
        job_days="{{ params.job_days }}",
        log_days="{{ params.log_days }}",
        dry_run_only="{{ params.dry_run }}",
        doc_md="Looks at the host of the worker that it runs on.",
    )
    KeepCatalogOperator(
        task_id="keep_catalog",
        doc_md="Writes the pages that `mir catalog rebuild` reads, where they are missing or old.",
    )
