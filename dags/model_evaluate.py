"""Measure a model on a dataset."""

from __future__ import annotations

from airflow.sdk import Param
from mir_airflow.operators.jobs import InferDatasetOperator
from mir_airflow.operators.models import EvaluateModelOperator
from mir_airflow.step_dag import (
    EXECUTOR,
    JOB,
    UNKNOWN_TO_DATASET,
    branch,
    dataset,
    job_of,
    names,
    step_dag,
)

MEASURE = "What is measured"

PARAMS = {
    "dataset": dataset("The images to measure on, with their ground truth."),
    "model": Param(
        None,
        type=["null", "string"],
        title="Model",
        description="Its id, `id@stage`, or a promoted name. Empty: the dataset has the "
        "predictions of one model, which are measured.",
    ),
    "branch": branch("street/evaluated"),
    "ground_truth": Param(
        None,
        type=["null", "string"],
        title="Ground truth",
        description="Another dataset whose ground truth counts. Empty: that of the dataset.",
        section=MEASURE,
    ),
    "split": Param(
        None,
        type=["null", "string"],
        enum=[None, "train", "val", "test"],
        title="Split",
        description="Images of this split alone. Empty: all.",
        section=MEASURE,
    ),
    "classes": names("Classes", "Those to measure. Empty: all that occur.", section=MEASURE),
    "iou": Param(
        0.5,
        type="number",
        exclusiveMinimum=0,
        maximum=1,
        title="IoU",
        description="From which overlap on a box is right, for the marks and kinds of mistakes. "
        "COCO's metrics have their own.",
        section=MEASURE,
    ),
    "confidence": Param(
        None,
        type=["null", "number"],
        minimum=0,
        maximum=1,
        title="Confidence",
        description="The least of boxes that are marked. Empty: that of the best F1.",
        section=MEASURE,
    ),
    "masks": Param(
        False,
        type="boolean",
        title="Masks",
        description="Also COCO's metrics of masks and polygons.",
        section=MEASURE,
    ),
    "semantic": Param(
        False,
        type="boolean",
        title="Pixels",
        description="Also mIoU, mAcc and aAcc.",
        section=MEASURE,
    ),
    "unknown_classes": UNKNOWN_TO_DATASET,
    **JOB,
    "executor": Param(
        None,
        **{
            **EXECUTOR.schema,
            "type": ["null", "string"],
            "description": "Which executor predicts with the model. Empty: the predictions are in "
            "the dataset already.",
        },
    ),
}

with step_dag(
    "model_evaluate",
    "Measure a model on a dataset",
    params=PARAMS,
    doc="Predicts with the model, unless its predictions are in the dataset already, and compares "
    "them with the ground truth. COCO's metrics are the result of `evaluate_model`; the mark of "
    "every box is in the version that it commits.",
) as dag:
    infer = InferDatasetOperator(
        task_id="infer_dataset",
        dataset=dag.param("dataset"),
        model=dag.param("model"),
        branch=dag.param("branch"),
        unknown_classes=dag.param("unknown_classes"),
        **job_of(dag),
    )
    evaluate = EvaluateModelOperator(
        task_id="evaluate_model",
        trigger_rule="none_failed",
        dataset="{{ (ti.xcom_pull('infer_dataset') or {'commit': params.dataset})['commit'] }}",
        model=dag.param("model"),
        branch=dag.param("branch"),
        ground_truth=dag.param("ground_truth"),
        split=dag.param("split"),
        classes=dag.param("classes"),
        iou=dag.param("iou"),
        confidence=dag.param("confidence"),
        masks=dag.param("masks"),
        semantic=dag.param("semantic"),
    )
    infer >> evaluate
