"""Executors as real containers, started by tasks of a real Airflow."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from processes import task_processes
from round_worlds import RoundWorld

from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.executor import bundled_image
from mir_ops.executor.reaping import YOUNG_SECONDS
from mir_ops.rounds.airflow_api import DagRun
from mir_ops.rounds.steps import STEPS

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.docker,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("sample_image"),
]

ROOT = Path(__file__).resolve().parents[2]
DAG = "container_round"
SECONDS = 200.0
GONE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Left:
    """Containers that ended and living runs and nobody left, and when the last one was made."""

    containers: dict[str, Any]
    over: DagRun
    alive: DagRun
    since: float


@pytest.fixture(scope="module")
def left(airflow: LocalAirflow, world: RoundWorld, engine: Any) -> Left:
    """Made before other tests run: what is young is not reaped."""
    world.apply("boxed-alive", config={"idle_seconds": 600}, time_seconds=900)
    alive = airflow.client.trigger(DAG, conf={"project": "boxed-alive"})
    over = airflow.client.trigger("dataset_import", conf={"path": "/nowhere", "branch": "nothing"})
    airflow.client.wait_for_run("dataset_import", over.run_id, timeout=SECONDS)
    owners = {"over": over, "alive": alive, "nobody": None}
    containers = {name: _left_container(engine, world, run) for name, run in owners.items()}
    _until(lambda: len(_containers(engine, alive)) == 2)
    return Left(containers=containers, over=over, alive=alive, since=time.monotonic())


def test_a_killed_worker_finds_its_container_again(
    airflow: LocalAirflow, world: RoundWorld, engine: Any
) -> None:
    world.apply("boxed", config={"idle_seconds": 12})
    run = airflow.client.trigger(DAG, conf={"project": "boxed"})
    _until(lambda: bool(_containers(engine, run)))

    for pid in task_processes(world.root):
        os.kill(pid, signal.SIGKILL)
    done = airflow.client.wait_for_run(DAG, run.run_id, timeout=SECONDS)

    assert done.state == "success"
    assert airflow.client.task_states(DAG, run.run_id) == {
        **dict.fromkeys(STEPS, "success"),
        **dict.fromkeys(("plan_shards", "approve_model"), "success"),
        **dict.fromkeys(("mine_shard", "train_last", "evaluate_last", "promote_model"), "skipped"),
    }
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


def test_a_hanging_container_is_removed(
    airflow: LocalAirflow, world: RoundWorld, engine: Any
) -> None:
    world.apply("boxed-hang", config={"hang": True}, time_seconds=3)

    run = airflow.client.trigger(DAG, conf={"project": "boxed-hang"})
    done = airflow.client.wait_for_run(DAG, run.run_id, timeout=SECONDS)

    log = airflow.client.log(DAG, run.run_id, "train")
    assert done.state == "failed"
    assert "Executor `sample` reached its time limit and was ended" in log
    assert _containers(engine, run) == []


@pytest.mark.usefixtures("left")  # it grows old meanwhile
@pytest.mark.parametrize("ended_by", ["mark", "clear", "cancel"])
def test_a_running_task_that_somebody_ends_loses_its_container(
    airflow: LocalAirflow,
    world: RoundWorld,
    engine: Any,
    ended_by: str,
    record_property: Callable[[str, object], None],
) -> None:
    project = f"boxed-{ended_by}"
    world.apply(project, config={"idle_seconds": 600}, time_seconds=900)
    run = airflow.client.trigger(DAG, conf={"project": project})
    _until(lambda: bool(_containers(engine, run)))
    (container,) = _containers(engine, run)
    _until(lambda: _state(airflow, run, "train") == "running")

    start = time.monotonic()
    if ended_by == "mark":
        _mark_failed(airflow, run, "train")
    elif ended_by == "cancel":
        airflow.client.cancel(DAG, run.run_id)
    else:
        airflow.client.clear(DAG, run.run_id, ["train"])
    _until(lambda: container.id not in [one.id for one in _containers(engine, run)])
    seconds = time.monotonic() - start

    record_property("figure", f"{ended_by}: the container was gone after {seconds:.1f} s")
    assert seconds < GONE_SECONDS
    state = "restarting" if ended_by == "clear" else "failed"
    words = f"The task was ended from outside: its state is `{state}`"
    _until_logged(airflow, run, "train", words)
    airflow.client.cancel(DAG, run.run_id)
    _until(lambda: not _containers(engine, run))
    _until(lambda: world.workspace.catalog.rounds.list(project)[0].state == "failed")


def test_a_task_out_of_time_says_so_and_loses_its_container(
    airflow: LocalAirflow, world: RoundWorld, engine: Any
) -> None:
    world.apply("boxed-timed", config={"idle_seconds": 600}, time_seconds=900)

    run = airflow.client.trigger("timed_round", conf={"project": "boxed-timed"})
    done = airflow.client.wait_for_run("timed_round", run.run_id, timeout=SECONDS)

    assert done.state == "failed"
    assert "404" not in _until_logged(airflow, run, "train", "AirflowTaskTimeout")
    assert _containers(engine, run) == []


def test_the_reaper_removes_what_no_task_owns(
    airflow: LocalAirflow, world: RoundWorld, engine: Any, left: Left
) -> None:
    time.sleep(max(0.0, left.since + YOUNG_SECONDS - time.monotonic()))

    reaped = airflow.client.trigger("container_reaper")
    done = airflow.client.wait_for_run("container_reaper", reaped.run_id, timeout=SECONDS)

    assert done.state == "success", airflow.client.log("container_reaper", reaped.run_id, "reap")
    for name, owner in (("over", f"dataset_import/{left.over.run_id}"), ("nobody", "")):
        words = f"Removed container {left.containers[name].name} of {owner}"
        _until_logged(airflow, reaped, "reap", words)
    assert len(_containers(engine, left.alive)) == 2
    left.containers["alive"].remove(force=True)
    airflow.client.cancel(DAG, left.alive.run_id)
    _until(lambda: not _containers(engine, left.alive))


def _left_container(engine: Any, world: RoundWorld, run: DagRun | None) -> Any:
    """A container as a task of that run would leave it, that hangs."""
    dag_id, run_id = (run.dag_id, run.run_id) if run else (DAG, "gone")
    labels = {
        "mir.deployment": world.workspace.deployment,
        "mir.dag": dag_id,
        "mir.run": run_id,
        "mir.task": "import_dataset" if dag_id == "dataset_import" else "train",
        "mir.map-index": "-1",
    }
    image = bundled_image("sample").image
    return engine.containers.run(
        image, ["sleep", "900"], labels=labels, network_mode="none", detach=True
    )


def _state(airflow: LocalAirflow, run: DagRun, task: str) -> str:
    return airflow.client.task_states(run.dag_id, run.run_id)[task]


def _mark_failed(airflow: LocalAirflow, run: DagRun, task: str) -> None:
    path = f"/dags/{run.dag_id}/dagRuns/{quote(run.run_id, safe='')}/taskInstances/{task}"
    airflow.client._call("PATCH", path, json={"new_state": "failed"})


def _until_logged(airflow: LocalAirflow, run: DagRun, task: str, words: str) -> str:
    """A task's log once it says these words: its last lines arrive after its state."""
    _until(lambda: words in airflow.client.log(run.dag_id, run.run_id, task))
    return airflow.client.log(run.dag_id, run.run_id, task)


def _containers(engine: Any, run: DagRun) -> list[Any]:
    """Also those that have ended."""
    label = f"mir.run={run.run_id}"
    found: list[Any] = engine.containers.list(
        all=True, filters={"label": label}, ignore_removed=True
    )
    return found


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.2)
