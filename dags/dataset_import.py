"""Import a folder or an archive as a dataset version."""

from __future__ import annotations

from airflow.sdk import Param
from mir_airflow.operators.datasets import ImportDatasetOperator
from mir_airflow.step_dag import branch, step_dag, unknown_classes

PARAMS = {
    "path": Param(
        type="string",
        minLength=1,
        title="Path",
        description="Folder, zip or tar archive in the sharing folder of this deployment, or the "
        "archive at a `https://` or `s3://` URL: `images/` (or `JPEGImages/`), and `annotations/` "
        "(or `gt/`, `labels/`) beside it. Or a published dataset, `public:NAME`.",
    ),
    "branch": branch("street/import/night"),
    "annotations": Param(
        "auto",
        type="string",
        enum=["auto", "voc", "coco", "yolo", "none"],
        title="Annotations",
        description="`auto` takes what the files are, `none` the images alone.",
    ),
    "unknown_classes": unknown_classes(
        "Boxes of classes that the dataset does not know: `stop` and list them, `ignore` the "
        "boxes, or `add` the classes."
    ),
    "split": Param(
        None,
        type=["null", "string"],
        enum=[None, "train", "val", "test"],
        title="Split",
        description="What the images are for. Empty: open.",
    ),
}

with step_dag(
    "dataset_import",
    "Import a folder or an archive as a dataset version",
    params=PARAMS,
    doc="Imports images and their annotations. The log of `import_dataset` lists every image and "
    "box that was not taken, with the reason.",
) as dag:
    ImportDatasetOperator(
        task_id="import_dataset",
        source=dag.param("path"),
        branch=dag.param("branch"),
        annotations=dag.param("annotations"),
        unknown_classes=dag.param("unknown_classes"),
        split=dag.param("split"),
    )
