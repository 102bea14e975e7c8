"""Keep hosts clean, and let the store know the catalog."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param
from mir_airflow.operators.housekeeping import CleanOperator, KeepCatalogOperator
from mir_airflow.workers import each_machine

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
    "label_days": Param(
        90,
        type="number",
        minimum=1,
        title="Label folder",
        description="For how many days after its end the images of a label task stay in the label "
        "folder. What people put there stays.",
    ),
    "images": Param(
        False,
        type="boolean",
        title="Old builds of executors",
        description="Also remove builds that nothing uses and nobody named from the engine. "
        "Replays of old rounds want them.",
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
    "go, so do images that were labelled long ago, the cache of images keeps its limit, and the "
    "store gets to know what was changed in the catalog outside of rounds. What running tasks and "
    "open rounds need stays.",
):
    for task_id, where in each_machine("clean").items():
        CleanOperator(
            task_id=task_id,
            job_days="{{ params.job_days }}",
            log_days="{{ params.log_days }}",
            label_days="{{ params.label_days }}",
            images="{{ params.images }}",
            dry_run_only="{{ params.dry_run }}",
            doc_md="Looks at the host of the worker that it runs on.",
            **where,
        )
    KeepCatalogOperator(
        task_id="keep_catalog",
        doc_md="Writes the pages that `mir catalog rebuild` reads, where they are missing or old.",
    )
