"""Merge, filter and sample datasets into a new version."""

from __future__ import annotations

from airflow.sdk import Param
from mir_airflow.operators.datasets import PrepareDatasetOperator
from mir_airflow.step_dag import MERGE_STRATEGY, branch, names, step_dag

FILTER = "Filter"
SAMPLE = "Sample"

PARAMS = {
    "datasets": names(
        "Datasets",
        "What to take; several are merged. `tr:`, `va:` or `te:` before a name puts its images "
        "into that split.",
        least=1,
    ),
    "branch": branch("street/prepared"),
    "merge_strategy": MERGE_STRATEGY,
    "exclude": names("Without", "Datasets whose images are left out."),
    "include_classes": names(
        "With classes", "Images that have one of these, or all.", section=FILTER
    ),
    "match": Param(
        "any",
        type="string",
        enum=["any", "all"],
        title="Any or all",
        section=FILTER,
        description="Whether an image needs `any` or `all` of the classes above.",
    ),
    "exclude_classes": names("Without classes", "Images that have none of these.", section=FILTER),
    "annotation_source": Param(
        "any",
        type="string",
        enum=["any", "gt", "pred"],
        title="Looked for in",
        section=FILTER,
        description="Where classes count: in the ground truth (`gt`), in predictions (`pred`), or "
        "in either.",
    ),
    "attributes": names(
        "With attributes", "Images that have all of these: `key` or `key=value`.", section=FILTER
    ),
    "exclude_attributes": names(
        "Without attributes", "Images that have none of these.", section=FILTER
    ),
    "splits": Param(
        None,
        type=["null", "array"],
        items={"type": "string", "enum": ["train", "val", "test", "none"]},
        examples=["train", "val", "test", "none"],
        title="Splits",
        section=FILTER,
        description="Images of these splits; `none` are those in no split. Empty: all.",
    ),
    "least_boxes": Param(
        None,
        type=["null", "integer"],
        minimum=0,
        title="At least so many boxes",
        section=FILTER,
        description="Where classes are looked for. Empty: any number.",
    ),
    "count": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Images to draw",
        section=SAMPLE,
        description="So many of those that are left. Empty: all of them.",
    ),
    "rate": Param(
        None,
        type=["null", "number"],
        minimum=0,
        maximum=1,
        title="Or share to draw",
        section=SAMPLE,
        description="From 0 to 1, instead of a number.",
    ),
    "stratify": Param(
        None,
        type=["null", "string"],
        examples=["class", "split"],
        title="Keep the mix of",
        section=SAMPLE,
        description="`class`, `split` or `attribute:NAME`. Empty: each image counts the same.",
    ),
    "seed": Param(
        0,
        type="integer",
        minimum=0,
        maximum=2**31 - 1,
        title="Seed",
        section=SAMPLE,
        description="The same seed draws the same images.",
    ),
}

with step_dag(
    "dataset_prepare",
    "Merge, filter and sample datasets into a new version",
    params=PARAMS,
    doc="Merges the datasets, leaves out the images of others, keeps what fulfils all conditions, "
    "and draws of it: one commit. The images' annotations stay whole.",
) as dag:
    PrepareDatasetOperator(
        task_id="prepare_dataset",
        datasets=dag.param("datasets"),
        branch=dag.param("branch"),
        merge_strategy=dag.param("merge_strategy"),
        exclude=dag.param("exclude"),
        conditions={
            "include_classes": dag.param("include_classes"),
            "match": dag.param("match"),
            "exclude_classes": dag.param("exclude_classes"),
            "annotation_source": dag.param("annotation_source"),
            "attributes": dag.param("attributes"),
            "exclude_attributes": dag.param("exclude_attributes"),
            "splits": dag.param("splits"),
            "boxes": dag.param("least_boxes"),
        },
        count=dag.param("count"),
        rate=dag.param("rate"),
        stratify=dag.param("stratify"),
        seed=dag.param("seed"),
    )
