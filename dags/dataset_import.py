"""Import a folder or a zip as a dataset version."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param
from mir_airflow.operators.datasets import ImportDatasetOperator

PARAMS = {
    "path": Param(
        type="string",
        minLength=1,
        title="Path",
        description="Folder, zip or tar archive in the sharing folder of this deployment, or the "
        "archive at a `https://` or `s3://` URL: `images/` (or `JPEGImages/`), and `annotations/` "
        "(or `gt/`, `labels/`) beside it.",
    ),
    "branch": Param(
        type="string",
        minLength=1,
        title="Dataset",
        description="Branch to commit to, such as `street/import/night`.",
    ),
    "annotations": Param(
        "auto",
        type="string",
        enum=["auto", "voc", "coco", "yolo", "none"],
        title="Annotations",
        description="`auto` takes what the files are, `none` the images alone.",
    ),
    "unknown_classes": Param(
        "stop",
        type="string",
        enum=["stop", "ignore", "add"],
        title="Unknown classes",
        description="What to do with boxes of classes that the dataset does not know.",
    ),
    "split": Param(
        None,
        type=["null", "string"],
        enum=[None, "train", "val", "test"],
        title="Split",
        description="What the images are for. Empty: open.",
    ),
}

with DAG(
    dag_id="dataset_import",
    description="Import a folder or an archive as a dataset version",
    schedule=None,
    catchup=False,
    params=PARAMS,
    tags=["mir", "dataset"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    doc_md="Imports images and their annotations. The log of `import_dataset` lists every image "
    "and box that was not taken, with the reason.",
):
    ImportDatasetOperator(
        task_id="import_dataset",
        source="{{ params.path }}",
        branch="{{ params.branch }}",
        annotations="{{ params.annotations }}",
        unknown_classes="{{ params.unknown_classes }}",
        split="{{ params.split or '' }}",
    )
