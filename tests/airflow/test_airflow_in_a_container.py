"""Airflow itself in a container: its executors are siblings that the engine of the host starts."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from round_worlds import RoundWorld, make_world

pytestmark = [
    pytest.mark.docker,
    pytest.mark.long,
    pytest.mark.usefixtures("sample_image"),
    pytest.mark.skipif(
        sys.version_info[:2] != (3, 11),
        reason="the base image's Python 3.11 shall use our packages",
    ),
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).resolve().parents[2]
SOCKET = "/var/run/docker.sock"

DAGS = """
from airflow.sdk import DAG
from mir_airflow.operators.executor import TrainOperator
from mir_airflow.operators.opening import OpenRoundOperator
from mir_airflow.operators.rounds import ImportDataOperator, MergeTrainingOperator

for connection in ("shared", "elsewhere"):
    of_round = {
        "round_id": "{{ ti.xcom_pull(task_ids='open_round')['round_id'] }}",
        "mir_conn_id": connection,
    }
    with DAG(f"on_{connection}", schedule=None, params={"project": connection}):
        (
            OpenRoundOperator(
                task_id="open_round", project="{{ params.project }}", mir_conn_id=connection
            )
            >> ImportDataOperator(task_id="import_data", **of_round)
            >> MergeTrainingOperator(task_id="merge_training", **of_round)
            >> TrainOperator(task_id="train", **of_round)
        )
"""
COMMANDS = """
python3 -m airflow db migrate >/dev/null 2>&1 &&
python3 -m airflow dags reserialize >/dev/null 2>&1
for dag in on_shared on_elsewhere; do
    echo "== $dag"
    python3 -m airflow dags test $dag 2>&1
done
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> RoundWorld:
    world = make_world(tmp_path_factory.mktemp("contained"))
    world.apply("shared")
    world.apply("elsewhere")
    (world.root / "dags").mkdir()
    (world.root / "dags/contained.py").write_text(DAGS)
    return world


@pytest.fixture(scope="module")
def said(engine: Any, world: RoundWorld) -> dict[str, str]:
    """What an Airflow with the engine's socket and the world's folder says of each DAG."""
    packages, root = sysconfig.get_paths()["purelib"], world.root
    connection = world.connections()["containers"]
    elsewhere = {**connection, "extra": {**connection["extra"], "work_dir": "/srv/work"}}
    airflow = engine.containers.run(
        "mir-ops/base:bookworm",
        ["sh", "-c", COMMANDS],
        environment={
            "PYTHONPATH": f"{ROOT}:{ROOT}/plugins:{packages}",
            "AIRFLOW_HOME": f"{root}/home",
            "AIRFLOW__CORE__DAGS_FOLDER": f"{root}/dags",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_CONN_SHARED": json.dumps(connection),
            "AIRFLOW_CONN_ELSEWHERE": json.dumps(elsewhere),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        volumes=[
            f"{SOCKET}:{SOCKET}",
            f"{ROOT}:{ROOT}:ro",
            f"{packages}:{packages}:ro",
            f"{root}:{root}",
        ],
        network_mode="none",
        detach=True,
    )
    try:
        airflow.wait(timeout=500)
        logs = airflow.logs().decode(errors="replace")
    finally:
        airflow.remove(force=True)
    _, shared, elsewhere_said = logs.split("== ")
    return {"shared": shared, "elsewhere": elsewhere_said}


def test_its_task_trains_in_a_container_beside_it(
    said: dict[str, str], world: RoundWorld, engine: Any
) -> None:
    assert "Reached: committed" in said["shared"], said["shared"][-4000:]
    (model,) = world.workspace.catalog.models.list("shared")
    assert (model.stage, model.training_metrics) == ("best", {"mAP": 0.6})
    label = f"mir.deployment={world.workspace.deployment}"
    assert engine.containers.list(all=True, filters={"label": [label, "mir.dag=on_shared"]}) == []


def test_work_folder_that_the_host_does_not_have_is_refused_with_a_hint(
    said: dict[str, str], world: RoundWorld
) -> None:
    assert "work-dir-not-shared" in said["elsewhere"], said["elsewhere"][-4000:]
    assert "hint: " in said["elsewhere"]
    assert "Reached: prepared" not in said["elsewhere"]
    assert world.workspace.catalog.models.list("elsewhere") == []
