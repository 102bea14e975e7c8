"""Pick the images of a dataset that are worth labelling most."""

from __future__ import annotations

from airflow.sdk import Param
from mir_airflow.operators.jobs import MineDatasetOperator
from mir_airflow.step_dag import (
    JOB,
    UNKNOWN_TO_DATASET,
    branch,
    dataset,
    job_of,
    model,
    names,
    step_dag,
)

PARAMS = {
    "dataset": dataset("The images to pick from."),
    "model": model("What looks at them."),
    "count": Param(
        type="integer",
        minimum=1,
        title="How many",
        description="So many images are kept, or all when there are not more.",
    ),
    "branch": branch("street/picked"),
    "exclude": names(
        "Without", "Datasets whose images are not picked, such as those labelled already."
    ),
    "strategy": Param(
        "hybrid",
        type="string",
        minLength=1,
        examples=[
            *("hybrid", "entropy", "least-confidence", "margin", "class-rarity", "k-center"),
            *("distinct", "random", "executor"),
        ],
        title="Strategy",
        description="How to pick; `executor` takes the executor's own ranking. The `seed` of the "
        "settings decides where chance does.",
    ),
    "parameters": Param(
        {},
        type=["object", "null"],
        title="Parameters",
        description='Of the strategy, such as `{"diversity": 2}`. Empty: its defaults.',
    ),
    "predictions": Param(
        True,
        type="boolean",
        title="Keep predictions",
        description="Whether what the model found on the picked images is kept with them.",
    ),
    "unknown_classes": UNKNOWN_TO_DATASET,
    **JOB,
}

with step_dag(
    "dataset_mine",
    "Pick the images of a dataset that are worth labelling most",
    params=PARAMS,
    doc="The result is a version of the picked images. Their scores are a layer of it: the rank, "
    "the reason, and what the score is made of.",
) as dag:
    MineDatasetOperator(
        task_id="mine_dataset",
        dataset=dag.param("dataset"),
        model=dag.param("model"),
        count=dag.param("count"),
        branch=dag.param("branch"),
        exclude=dag.param("exclude"),
        strategy=dag.param("strategy"),
        parameters=dag.param("parameters"),
        predictions=dag.param("predictions"),
        unknown_classes=dag.param("unknown_classes"),
        **job_of(dag),
    )
