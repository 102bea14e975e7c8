"""The forms of single steps: what they ask for is described, and their files load fast."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mir_ops.mining import strategies

DAGS = Path(__file__).resolve().parents[2] / "dags"
STEPS = {
    "dataset_import", "dataset_prepare", "dataset_label", "dataset_infer", "dataset_mine",
    "model_train", "model_import", "model_evaluate", "model_verify",
}  # fmt: skip

# Airflow and the provider of containers are there before any of our files is read.
DESCRIBE = """
import json, runpy, sys
from pathlib import Path
import airflow.sdk, airflow.providers.docker.operators.docker
heavy = {"pyarrow", "boto3", "torch", "great_expectations", "numpy", "pandas", "PIL", "sqlalchemy"}
brought = set(sys.modules)
found = {}
for name in STEPS:
    dag = runpy.run_path(f"DAGS/{name}.py")["dag"]
    found[dag.dag_id] = {
        "params": {
            name: dag.params.get_param(name).schema for name in dag.params
        },
        "required": [
            name
            for name in dag.params
            for param in [dag.params.get_param(name)]
            if not param.has_value and "null" not in param.schema["type"]
        ],
        "doc": dag.doc_md,
        "templates": [
            value
            for task in dag.tasks
            for field in task.template_fields
            if isinstance(value := getattr(task, field), str) and "params" in value
        ],
    }
print("\\n" + json.dumps({"dags": found, "ours": sorted(heavy & (set(sys.modules) - brought))}))
"""


@pytest.fixture(scope="module")
def described(in_airflow: Callable[..., str]) -> dict[str, Any]:
    code = DESCRIBE.replace("DAGS", str(DAGS)).replace("STEPS", repr(sorted(STEPS)))
    found: dict[str, Any] = json.loads(in_airflow(code).splitlines()[-1])
    return found


def test_every_parameter_is_described(described: dict[str, Any]) -> None:
    assert set(described["dags"]) == STEPS
    for dag in described["dags"].values():
        assert dag["doc"]
        for schema in dag["params"].values():
            assert schema["type"]
            assert schema["title"]
            assert schema["description_md"]


def test_what_is_needed_has_no_default(described: dict[str, Any]) -> None:
    needed = {name: dag["required"] for name, dag in described["dags"].items()}

    assert needed["dataset_mine"] == ["dataset", "model", "count", "branch", "executor"]
    assert needed["model_train"] == ["training", "branch", "executor"]
    assert needed["model_evaluate"] == ["dataset", "branch"]


def test_the_strategies_that_are_offered_are_those_that_there_are(
    described: dict[str, Any],
) -> None:
    offered = described["dags"]["dataset_mine"]["params"]["strategy"]["examples"]

    assert sorted(offered) == sorted(strategies())


def test_a_file_brings_no_heavy_package(described: dict[str, Any]) -> None:
    assert described["ours"] == []


def test_only_an_address_of_ours_is_a_template(described: dict[str, Any]) -> None:
    templates = [each for dag in described["dags"].values() for each in dag["templates"]]

    assert templates == [
        "{{ (ti.xcom_pull('infer_dataset') or {'commit': params.dataset})['commit'] }}"
    ]
