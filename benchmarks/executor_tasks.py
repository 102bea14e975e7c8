"""Tasks of a real Airflow: the round's training, and a bare DockerOperator on the same inputs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from datasets_children import generate

from mir_ops.catalog import apply_project
from mir_ops.dataset import import_dataset
from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.errors import StoreError
from mir_ops.executor import (
    AssetCache,
    Job,
    Limits,
    bundled_image,
    collect_training,
    docker_settings,
    prepare_training,
    remove_job,
)
from mir_ops.store import Store
from mir_ops.workspace import Workspace

CLASSES = [f"class{number:02}" for number in range(20)]
PARTS = {"training": 24, "validation": 8, "pool": 8}
RUN_SECONDS = 300.0

DAGS = """
import json
from pathlib import Path

from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import DAG
from docker.types import Mount
from mir_airflow.operators.executor import TrainOperator
from mir_airflow.operators.opening import OpenRoundOperator
from mir_airflow.operators.rounds import ImportDataOperator, MergeTrainingOperator

with DAG("ours", schedule=None, params={"project": ""}):
    start = OpenRoundOperator(task_id="open_round", project="{{ params.project }}")
    of_round = {"round_id": "{{ ti.xcom_pull(task_ids='open_round')['round_id'] }}"}
    data = ImportDataOperator(task_id="import_data", **of_round)
    merged = MergeTrainingOperator(task_id="merge_training", **of_round)
    start >> data >> merged >> TrainOperator(task_id="train", **of_round)

for number, job in enumerate(json.loads(Path(__file__).with_name("jobs.json").read_text())):
    with DAG(f"bare_{number}", schedule=None):
        DockerOperator(
            task_id="train",
            image=job["image"],
            user=job["user"],
            mounts=[
                Mount("/in", job["in"], type="bind", read_only=True),
                Mount("/out", job["out"], type="bind"),
            ],
            mount_tmp_dir=False,
            auto_remove="force",
            network_mode="none",
        )
"""


def run_tasks(root: Path, times: int) -> tuple[list[float], list[float]]:
    """Seconds of our training task and of the bare one, as Airflow has them, run in turn."""
    workspace = _make_workspace(root, times)
    jobs = [_make_job(workspace, number) for number in range(times)]
    dags = root / "dags"
    dags.mkdir()
    (dags / "jobs.json").write_text(json.dumps([_told(job) for job in jobs]))
    (dags / "tasks.py").write_text(DAGS)
    ours, bare = [], []
    with LocalAirflow(root / "home", dags=dags, connections=_connections(workspace)) as airflow:
        airflow.wait_for_dag("ours")
        airflow.wait_for_dag(f"bare_{times - 1}")
        for number, job in enumerate(jobs):
            bare.append(_seconds(airflow, f"bare_{number}", {}))
            collect_training(job)  # it did what ours does
            remove_job(job)
            ours.append(_seconds(airflow, "ours", {"project": f"project-{number}"}))
    return ours, bare


def _seconds(airflow: LocalAirflow, dag_id: str, conf: dict[str, Any]) -> float:
    """How long the task `train` of a new run took."""
    run = airflow.client.trigger(dag_id, conf=conf)
    done = airflow.client.wait_for_run(dag_id, run.run_id, timeout=RUN_SECONDS)
    if done.state != "success":
        log = airflow.client.log(dag_id, run.run_id, "train")
        raise StoreError(f"Run `{run.run_id}` of `{dag_id}` failed: {log[-2000:]}")
    path = f"/dags/{dag_id}/dagRuns/{run.run_id}/taskInstances/train"
    return float(airflow.client._call("GET", path)["duration"])


def _make_workspace(root: Path, projects: int) -> Workspace:
    for part, images in PARTS.items():
        generate(str(root / part), str(images), str(len(CLASSES)))
    Store.open((root / "store").as_uri(), create=True)
    workspace = Workspace(
        store_url=(root / "store").as_uri(),
        catalog_url=f"sqlite:///{root / 'catalog.db'}",
        work_dir=root / "work",
        deployment="benchmark",
    )
    for number in range(projects):
        mapping = {
            "name": f"project-{number}",
            "classes": CLASSES,
            "sources": {part: str(root / part) for part in PARTS},
            "executor": {"name": "sample"},
            "labels": {"backend": "folder"},
        }
        apply_project(workspace.catalog, mapping)
    return workspace


def _make_job(workspace: Workspace, number: int) -> Job:
    """The inputs of a bare task, as ours has them."""
    store = workspace.store
    store.register_classes(CLASSES)
    for part, split in (("training", "train"), ("validation", "val")):
        source = Path(workspace.work_dir).parent / part
        import_dataset(store, source, "bare", op_id=f"bare {part}", split=split)
    return prepare_training(
        store,
        store.branch("bare").read(),
        op_id=hashlib.sha256(f"bare {number}".encode()).hexdigest(),
        image=bundled_image("sample"),
        class_names=CLASSES,
        config={},
        jobs_dir=workspace.jobs_dir,
        cache=AssetCache(workspace.cache_dir),
        limits=Limits(),
        labels={},
    )


def _told(job: Job) -> dict[str, str]:
    settings = docker_settings(job)
    folders = {mount.target[1:]: str(mount.source) for mount in settings.mounts}
    return {"image": settings.image, "user": settings.user, **folders}


def _connections(workspace: Workspace) -> dict[str, dict[str, Any]]:
    extra = {
        "store_url": workspace.store_url,
        "catalog_url": workspace.catalog_url,
        "work_dir": str(workspace.work_dir),
        "deployment": workspace.deployment,
        "runner": "docker",
    }
    return {"mir_default": {"conn_type": "mir", "extra": extra}}
