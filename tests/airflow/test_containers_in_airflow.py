"""Executors as real containers, started by tasks of a real Airflow."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import task_processes
from round_worlds import RoundWorld

from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.executor import bundled_image
from mir_ops.rounds.airflow_api import DagRun
from mir_ops.rounds.steps import STEPS

pytestmark = [pytest.mark.airflow, pytest.mark.docker, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
DAG = "container_round"
SECONDS = 200.0


@pytest.fixture(scope="module")
def engine() -> Any:
    docker = pytest.importorskip("docker")
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"No Docker engine: {error}")
    if not client.images.list("mir-ops/base:bookworm"):
        subprocess.run([ROOT / "docker" / "base" / "build.sh"], check=True)
    if not client.images.list(bundled_image("sample").image):
        subprocess.run([ROOT / "executors" / "build.sh", "sample"], check=True)
    yield client
    client.close()


def test_a_killed_worker_finds_its_container_again(
    airflow: LocalAirflow, world: RoundWorld, engine: Any
) -> None:
    world.apply("boxed", config={"idle_seconds": 12})
    run = airflow.client.trigger(DAG, conf={"project": "boxed"})
    _until(lambda: bool(_containers(engine, run)))
    (container,) = _containers(engine, run)

    for pid in task_processes(world.root):
        os.kill(pid, signal.SIGKILL)
    done = airflow.client.wait_for_run(DAG, run.run_id, timeout=SECONDS)

    assert done.state == "success"
    assert airflow.client.task_states(DAG, run.run_id) == dict.fromkeys(STEPS, "success")
    log = airflow.client.log(DAG, run.run_id, "train", try_number=2)
    assert "Going on with the executor of an earlier try" in log
    assert "% running" in log
    assert len(world.workspace.catalog.models.list("boxed")) == 1
    assert _containers(engine, run) == []


def test_a_crash_in_a_container_is_told_with_its_last_lines(
    airflow: LocalAirflow, world: RoundWorld, engine: Any
) -> None:
    world.apply("boxed-crash", config={"crash_code": 3})

    run = airflow.client.trigger(DAG, conf={"project": "boxed-crash"})
    done = airflow.client.wait_for_run(DAG, run.run_id, timeout=SECONDS)

    log = airflow.client.log(DAG, run.run_id, "train")
    assert done.state == "failed"
    assert "Executor `sample` exited with 3, code 3: crashed as asked" in log
    assert "crashing with 3" in log
    assert _containers(engine, run) == []


def test_hanging_and_cancelled_containers_are_removed(
    airflow: LocalAirflow, world: RoundWorld, engine: Any
) -> None:
    world.apply("boxed-hang", config={"hang": True}, time_seconds=3)
    world.apply("boxed-stuck", config={"hang": True})
    hanging, stuck = (
        airflow.client.trigger(DAG, conf={"project": name})
        for name in ("boxed-hang", "boxed-stuck")
    )
    _until(lambda: bool(_containers(engine, stuck)))

    airflow.client.cancel(DAG, stuck.run_id)
    done = airflow.client.wait_for_run(DAG, hanging.run_id, timeout=SECONDS)

    _until(lambda: not _containers(engine, stuck) + _containers(engine, hanging))
    log = airflow.client.log(DAG, hanging.run_id, "train")
    assert done.state == "failed"
    assert "Executor `sample` reached its time limit and was ended" in log
    _until(lambda: world.workspace.catalog.rounds.list("boxed-stuck")[0].state == "failed")


def _containers(engine: Any, run: DagRun) -> list[Any]:
    """Also those that have ended."""
    label = f"mir.run={run.run_id}"
    found: list[Any] = engine.containers.list(all=True, filters={"label": label})
    return found


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.2)
