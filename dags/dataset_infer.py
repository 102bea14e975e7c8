"""Predict on every image of a dataset."""

from __future__ import annotations

from mir_airflow.operators.jobs import InferDatasetOperator
from mir_airflow.step_dag import JOB, UNKNOWN_TO_DATASET, branch, dataset, job_of, model, step_dag

PARAMS = {
    "dataset": dataset("The images to look at."),
    "model": model("What looks at them."),
    "branch": branch("street/predicted"),
    "unknown_classes": UNKNOWN_TO_DATASET,
    **JOB,
}

with step_dag(
    "dataset_infer",
    "Predict on every image of a dataset",
    params=PARAMS,
    doc="The predictions become a layer of a new version, named by the model; what was there "
    "stays.",
) as dag:
    InferDatasetOperator(
        task_id="infer_dataset",
        dataset=dag.param("dataset"),
        model=dag.param("model"),
        branch=dag.param("branch"),
        unknown_classes=dag.param("unknown_classes"),
        **job_of(dag),
    )
