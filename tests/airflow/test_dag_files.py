"""The DAG files: they load, they load fast, and they ask for what they need."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"

LOAD = """
import json, runpy, sys, time
import airflow.sdk, airflow.providers.docker.operators.docker
heavy = {"pyarrow", "boto3", "torch", "great_expectations", "numpy", "pandas", "PIL", "sqlalchemy"}
brought = set(sys.modules)
start = time.perf_counter()
for name in ("active_learning_round", "dataset_import", "executor_reaper"):
    runpy.run_path(f"DAGS/{name}.py")
seconds = time.perf_counter() - start
ours = sorted(heavy & (set(sys.modules) - brought))
print(json.dumps({"seconds": seconds, "ours": ours, "airflow": sorted(heavy & brought)}))
"""

DESCRIBE = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag("DAGS")
dag = bag.dags["active_learning_round"]
print("\\n" + json.dumps({
    "errors": {str(k): v for k, v in bag.import_errors.items()},
    "dags": sorted(bag.dags),
    "tasks": {name: sorted(task.downstream_task_ids) for name, task in dag.task_dict.items()},
    "undocumented": [name for name, task in dag.task_dict.items() if not task.doc_md],
    "params": {name: dag.params.get_param(name).schema for name in dag.params},
}))
"""

QUEUES = """
import json
from airflow.dag_processing.dagbag import DagBag
dags = (DagBag(f"DAGS/{name}.py").dags[name] for name in ("housekeeping", "executor_reaper"))
tasks = {name: task.queue for dag in dags for name, task in dag.task_dict.items()}
print("\\n" + json.dumps(tasks))
"""

ORDER = [
    "open_round", "import_data", "gate_data", "merge_training", "check_start", "train",
    "evaluate",
    "check_targets", "prepare_pool", "plan_shards", "mine_shard", "mine", "create_label_task",
    "wait_for_labels", "import_labels", "gate_labels", "merge_labels", "check_end", "train_last",
    "evaluate_last", "approve_model", "promote_model", "close_round",
]  # fmt: skip


# A catalog that nobody has written yet has no projects.
WORKSPACE = {"store_url": "file:///none", "catalog_url": "sqlite:////none.db", "work_dir": "/none"}
CONNECTED = {"AIRFLOW_CONN_MIR_DEFAULT": json.dumps({"conn_type": "mir", "extra": WORKSPACE})}


def test_dag_files_bring_no_heavy_package(in_airflow: Callable[..., str]) -> None:
    loaded = json.loads(in_airflow(LOAD.replace("DAGS", str(DAGS))))

    sys.stdout.write(f"{loaded['seconds']:.2f} s for all; Airflow's own: {loaded['airflow']}")
    assert loaded["ours"] == []


@pytest.fixture(scope="module")
def described(
    in_airflow: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    home = str(tmp_path_factory.mktemp("home"))  # no catalog has answered there before
    out = in_airflow(DESCRIBE.replace("DAGS", str(DAGS)), **CONNECTED, AIRFLOW_HOME=home)
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def test_the_round_is_one_chain_with_a_way_past_mining(described: dict[str, Any]) -> None:
    assert described["errors"] == {}
    assert set(described["dags"]) >= {"active_learning_round", "executor_reaper"}
    chain = {name: [after] for name, after in itertools.pairwise(ORDER)}
    expected = {
        **chain,
        "check_start": ["prepare_pool", "train"],
        "open_round": ["close_round", "import_data"],
        "check_targets": ["approve_model", "prepare_pool"],
        "plan_shards": ["mine", "mine_shard"],
        "check_end": ["approve_model", "train_last"],
        "close_round": [],
    }
    assert described["tasks"] == expected
    assert described["undocumented"] == []


def test_every_parameter_of_a_round_is_described(described: dict[str, Any]) -> None:
    params = described["params"]

    assert sorted(params) == [
        "as_project", "budget", "control", "label", "mine", "model", "new_data", "prepare_pool",
        "pretrained", "project", "seed", "strategy", "train_after_merge",
    ]  # fmt: skip
    assert all(schema.get("title") and schema.get("type") for schema in params.values())
    assert params["budget"]["type"] == ["null", "integer"]


def test_each_machine_is_cleaned_from_its_own_queue(in_airflow: Callable[..., str]) -> None:
    out = in_airflow(QUEUES.replace("DAGS", str(DAGS)), AIRFLOW__MIR__MACHINES="10.7.0.2 t4")

    assert json.loads(out.splitlines()[-1]) == {
        "clean": "default", "clean__10.7.0.2": "10.7.0.2", "clean__t4": "t4",
        "keep_catalog": "default",
        "reap": "default", "reap__10.7.0.2": "10.7.0.2", "reap__t4": "t4",
    }  # fmt: skip
