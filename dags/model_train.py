"""Train a model on dataset versions."""

from __future__ import annotations

from airflow.sdk import Param
from mir_airflow.operators.jobs import TrainModelOperator
from mir_airflow.step_dag import JOB, MERGE_STRATEGY, branch, job_of, names, step_dag

PARAMS = {
    "training": names("Training", "Datasets to train on; several are merged.", least=1),
    "validation": names(
        "Validation",
        "Datasets that the model is measured on. Empty: the training datasets say by their splits "
        "which images are for what.",
    ),
    "branch": branch("street/trained"),
    "merge_strategy": MERGE_STRATEGY,
    "classes": names("Classes", "The classes to find. Empty: all that the datasets know."),
    "pretrained": Param(
        None,
        type=["null", "string"],
        title="Pretrained model",
        description="A model to start from: its id, `id@stage`, or a promoted name. Empty: none.",
    ),
    **JOB,
}

with step_dag(
    "model_train",
    "Train a model on dataset versions",
    params=PARAMS,
    doc="The model's id, its stages and metrics are the result of `train_model`. What it was "
    "trained on is a commit of the branch. An image in both training and validation is a conflict "
    "that the merge strategy decides.",
) as dag:
    TrainModelOperator(
        task_id="train_model",
        training=dag.param("training"),
        validation=dag.param("validation"),
        branch=dag.param("branch"),
        merge_strategy=dag.param("merge_strategy"),
        classes=dag.param("classes"),
        pretrained=dag.param("pretrained"),
        **job_of(dag),
    )
