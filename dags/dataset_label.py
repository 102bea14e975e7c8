"""Have people label the images of a dataset."""

from __future__ import annotations

from airflow.sdk import Param
from mir_airflow.operators.labels import RequestLabelsOperator, TakeLabelsOperator
from mir_airflow.sensors.labels import LabelTaskSensor
from mir_airflow.step_dag import branch, dataset, names, step_dag

START = "What people start from"
PEOPLE = "People"

PARAMS = {
    "dataset": dataset("The images to label."),
    "branch": branch("street/labelled"),
    "backend": Param(
        "label-studio",
        type="string",
        minLength=1,
        examples=["label-studio", "folder", "oracle"],
        title="Label tool",
        description="Where people label. Its address and key are in the connection `mir_labels`.",
    ),
    "classes": names("Classes", "Those to label, in this order. Empty: all of the dataset's."),
    "shapes": Param(
        ["box"],
        type="array",
        items={"type": "string", "enum": ["box", "rotated_box", "polygon", "mask"]},
        minItems=1,
        examples=["box", "rotated_box", "polygon", "mask"],
        title="Shapes",
        description="What people draw.",
    ),
    "prelabels": Param(
        "none",
        type="string",
        enum=["none", "ground_truth", "predictions"],
        title="Pre-labels",
        section=START,
        description="Nothing, the annotations that the dataset has, or what a model found.",
    ),
    "model": Param(
        None,
        type=["null", "string"],
        title="Model",
        section=START,
        description="Whose predictions in the dataset. Empty: the only ones that there are.",
    ),
    "confidence": Param(
        0.25,
        type="number",
        minimum=0,
        maximum=1,
        title="Confidence",
        section=START,
        description="The least of predictions that are shown.",
    ),
    "guide": Param(
        None,
        type=["null", "string"],
        format="multiline",
        title="Label guide",
        section=PEOPLE,
        description="A text for the people who label, or the address of a page.",
    ),
    "guide_file": Param(
        None,
        type=["null", "string"],
        title="Or a guide's file",
        section=PEOPLE,
        description="Text file in the sharing folder of this deployment.",
    ),
    "annotators": names("Annotators", "E-mail addresses of those who label.", section=PEOPLE),
    "timeout_days": Param(
        90,
        type="number",
        exclusiveMinimum=0,
        title="Days",
        section=PEOPLE,
        description="How long they have. Then what is done is taken; clear `take_labels` later to "
        "take the rest.",
    ),
    "poll_seconds": Param(
        60,
        type="number",
        minimum=1,
        title="Look every (seconds)",
        section=PEOPLE,
        description="How often the label tool is asked how far they are.",
    ),
}

with step_dag(
    "dataset_label",
    "Have people label the images of a dataset",
    params=PARAMS,
    doc="Asks the label tool, waits for people without holding a worker, and commits the images "
    "that are labelled. `wait_for_labels` shows how far they are, and links the page where they "
    "label.",
) as dag:
    asked = RequestLabelsOperator(
        task_id="request_labels",
        dataset=dag.param("dataset"),
        branch=dag.param("branch"),
        backend=dag.param("backend"),
        classes=dag.param("classes"),
        shapes=dag.param("shapes"),
        prelabels=dag.param("prelabels"),
        model=dag.param("model"),
        confidence=dag.param("confidence"),
        guide=dag.param("guide"),
        guide_file=dag.param("guide_file"),
        annotators=dag.param("annotators"),
    )
    wait = LabelTaskSensor(
        task_id="wait_for_labels",
        asked=asked.output,
        timeout_days=dag.param("timeout_days"),
        poll_seconds=dag.param("poll_seconds"),
    )
    take = TakeLabelsOperator(task_id="take_labels", asked=asked.output, branch=dag.param("branch"))
    asked >> wait >> take
