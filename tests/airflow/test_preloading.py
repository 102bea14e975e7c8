"""A scheduler loads our library before it forks; what it forks can use it, and loads no more."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from mir_airflow.preloading import forks_tasks
from round_worlds import RoundWorld

from mir_ops.rounds.steps import Place, import_data, merge_training, open_round

FORKED = """
import json, os, sys
from pathlib import Path
sys.argv = ["airflow", "scheduler"]
LARGE = (
    "mir_ops", "numpy", "pyarrow", "pandas", "google",
    "great_expectations", "scipy", "altair", "sqlalchemy",
)
from airflow.listeners.listener import get_listener_manager
get_listener_manager().hook.on_starting(component=None)

def as_a_task():
    threads, before = len(os.listdir("/proc/self/task")), set(sys.modules)
    from mir_ops.executor import run_job
    from mir_ops.rounds.steps import Place, check_gate, training_step
    from mir_ops.workspace import Workspace
    given = json.loads(os.environ["ROUND"])
    workspace = Workspace(**{**given["workspace"], "work_dir": Path(given["work_dir"])})
    gate = check_gate(workspace, Place(**given["place"]), given["number"], stage="data")
    step = training_step(workspace, Place(**given["place"]), given["number"])
    job = step.prepare()
    run_job(job)
    trained = step.collect(job)
    loaded = {name for name in set(sys.modules) - before if name.startswith(LARGE)}
    import numpy as np
    import pyarrow as pa
    return {
        "threads": threads,
        "loaded": sorted(loaded),
        "gate": gate["message"],
        "stage": trained["stage"],
        "groups": pa.table({"a": np.arange(9) % 3}).group_by("a").aggregate([]).num_rows,
        "product": float((np.ones((300, 300)) @ np.ones((300, 300))).sum()),
    }

read, write = os.pipe()
if (child := os.fork()) == 0:
    os.write(write, json.dumps(as_a_task()).encode())
    os._exit(0)
os.close(write)
print("\\n" + os.read(read, 65536).decode())
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_task_has_all_it_needs_for_a_gate_and_training(
    in_airflow: Callable[..., str], world: RoundWorld
) -> None:
    world.apply("forked")
    places = {"deployment": "forks", "dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}
    workspace, place = world.workspace, Place(**places)
    number = open_round(workspace, place, project="forked", conf={})["round_id"]
    import_data(workspace, place, number)
    merge_training(workspace, place, number)
    told = {
        "workspace": {"store_url": workspace.store_url, "catalog_url": workspace.catalog_url},
        "work_dir": str(workspace.work_dir),
        "place": places,
        "number": number,
    }

    out = in_airflow(FORKED, ROUND=json.dumps(told))

    assert json.loads(out.splitlines()[-1]) == {
        "threads": 1,
        "loaded": [],
        "gate": "All 19 rules hold",
        "stage": "best",
        "groups": 3,
        "product": 300.0**3,
    }


@pytest.mark.parametrize(
    ("command", "executor", "expected"),
    [
        (["airflow", "scheduler"], "LocalExecutor", True),
        (["airflow", "scheduler", "-n", "1"], "CeleryExecutor,LocalExecutor", True),
        (["airflow", "scheduler"], "CeleryExecutor", False),
        (["airflow", "dag-processor"], "LocalExecutor", False),
        (["airflow", "api-server"], "LocalExecutor", False),
        (["airflow"], "LocalExecutor", False),
    ],
)
def test_only_a_scheduler_that_forks_tasks_loads_it(
    command: list[str], executor: str, expected: bool
) -> None:
    assert forks_tasks(command, executor) is expected
