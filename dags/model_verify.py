"""Let a model look at one picture."""

from __future__ import annotations

from airflow.sdk import Param
from mir_airflow.operators.jobs import VerifyModelOperator
from mir_airflow.step_dag import JOB, job_of, model, step_dag

PARAMS = {
    "model": model("What looks at the picture."),
    "picture": Param(
        type="string",
        minLength=1,
        title="Picture",
        description="JPEG, PNG or BMP file in the sharing folder of this deployment, or at a "
        "`https://` or `s3://` URL.",
    ),
    **JOB,
}

with step_dag(
    "model_verify",
    "Let a model look at one picture",
    params=PARAMS,
    doc="The boxes are the result of `verify_model`, beside the names of two files in the store: "
    "the picture with the boxes drawn, and the boxes as `infer-result.json`.",
) as dag:
    VerifyModelOperator(
        task_id="verify_model",
        model=dag.param("model"),
        picture=dag.param("picture"),
        **job_of(dag),
    )
