"""Import a model package, ours or YMIR's."""

from __future__ import annotations

from airflow.sdk import Param
from mir_airflow.operators.models import ImportModelOperator
from mir_airflow.step_dag import step_dag, unknown_classes

PARAMS = {
    "path": Param(
        type="string",
        minLength=1,
        title="Path",
        description="Package in the sharing folder of this deployment, or at a `https://` or "
        "`s3://` URL: as `mir models export` or YMIR writes it.",
    ),
    "unknown_classes": unknown_classes(
        "Classes of the model that no dataset knows: `stop`, take the model as it is (`ignore`), "
        "or `add` them."
    ),
    "promote": Param(
        None,
        type=["null", "string"],
        pattern="^[a-z][a-z0-9_-]{0,62}$",
        title="Promote to",
        description="A name that means this model from now on, such as `production`. Empty: none.",
    ),
}

with step_dag(
    "model_import",
    "Import a model package, ours or YMIR's",
    params=PARAMS,
    doc="The package is checked and packed again. The model's id, stages and classes are the "
    "result of `import_model`; the same package is the same model.",
) as dag:
    ImportModelOperator(
        task_id="import_model",
        source=dag.param("path"),
        unknown_classes=dag.param("unknown_classes"),
        promote=dag.param("promote"),
    )
