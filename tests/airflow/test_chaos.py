"""Whatever is killed, and whenever: one container, one model, one commit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from chaos import (
    CELLS,
    QUICK_TO_NOTICE,
    SECONDS,
    Cell,
    ChaosAirflow,
    Stage,
    Tunnel,
    stopping_dag,
    strike,
    tunnel,
    until,
)
from processes import processes_below
from rotation import chosen
from round_worlds import CLASSES, RoundWorld, make_world

from mir_ops.catalog import apply_project
from mir_ops.demo.local_airflow import LocalAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.docker, pytest.mark.timeout(1200)]

DAG = "chaos_round"
TASKS = ("train", "evaluate")
FIXED = Cell(target="task", boundary="ended")


@dataclass(frozen=True, kw_only=True)
class Theatre:
    """Airflow, the world it works on, and all containers that were created meanwhile."""

    airflow: ChaosAirflow
    world: RoundWorld
    stage: Stage
    way: Tunnel
    engine: Any
    created: list[dict[str, str]]  # the labels of each


@pytest.fixture(scope="module")
def theatre(engine: Any, sample_image: str) -> Iterator[Theatre]:
    with tempfile.TemporaryDirectory(prefix="mir-chaos-", dir="/tmp") as folder:
        root = Path(folder)
        world, stage = make_world(root / "world"), Stage(root / "stage")
        stage.folder.mkdir()
        with tunnel(root / "engine.sock") as way:
            (root / "dags").mkdir()
            code = stopping_dag(
                DAG, stage, retries=4, retry_seconds=1, connection="containers", engine_url=way.url
            )
            (root / "dags" / "chaos_round.py").write_text(code)
            created: list[dict[str, str]] = []
            events = engine.events(filters={"event": "create", "type": "container"}, decode=True)
            watcher = Thread(target=_watch, args=(events, created), daemon=True)
            watcher.start()
            with ChaosAirflow(
                root / "airflow",
                dags=root / "dags",
                connections=world.connections(),
                env=QUICK_TO_NOTICE,
            ) as airflow:
                airflow.wait_for_dag(DAG)
                yield Theatre(
                    airflow=airflow, world=world, stage=stage, way=way, engine=engine,
                    created=created,
                )  # fmt: skip
            events.close()
            watcher.join()


@pytest.mark.parametrize("cell", [FIXED, chosen(CELLS, "chaos")], ids=["fixed", "of-this-commit"])
def test_a_kill_is_survived(theatre: Theatre, cell: Cell) -> None:
    survive(theatre, cell)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_every_kill_is_survived(
    theatre: Theatre, record_property: Callable[[str, object], None]
) -> None:
    broken = {}
    for cell in CELLS:
        try:
            survive(theatre, cell)
        except Exception as error:  # noqa: BLE001 - the other cells are run too
            broken[str(cell)] = repr(error)
    kept = len(CELLS) - len(broken)
    record_property("figure", f"{kept} of {len(CELLS)} kills: one container, one model, one commit")
    assert broken == {}


def test_two_airflows_do_not_disturb_one_another(theatre: Theatre, airflow: LocalAirflow) -> None:
    """The last one here: it ends the theatre's."""
    other = theatre.airflow
    assert other.url != airflow.url
    assert other.client.dag_ids() == [DAG]
    assert "active_learning_round" in airflow.client.dag_ids()

    other.stop()

    assert processes_below(other.home) == {}
    assert airflow.client.health()["scheduler"] == "healthy"


def survive(theatre: Theatre, cell: Cell) -> None:
    airflow, world = theatre.airflow, theatre.world
    project = f"{cell}-{len(world.workspace.catalog.projects.list())}"
    _apply(world, project)
    theatre.stage.arm(dict.fromkeys(TASKS, cell.boundary))
    run = airflow.client.trigger(DAG, conf={"project": project})

    for task in TASKS:
        strike(cell, task, stage=theatre.stage, airflow=airflow, way=theatre.way)
    done = airflow.client.wait_for_run(DAG, run.run_id, timeout=SECONDS)

    logs = {task: _logs(airflow, run.run_id, task) for task in TASKS}
    assert done.state == "success", logs
    for task in TASKS:
        told = [line for log in logs[task] for line in log.splitlines() if "Reached: " in line]
        # The kill came there: the first try that stood there said so.
        assert any(line.endswith(f"Reached: {cell.boundary}") for line in told), logs[task]
        if cell.target in ("task", "supervisor"):
            assert len(logs[task]) > 1, "nothing was killed"
    made = [labels for labels in theatre.created if labels.get("mir.run") == run.run_id]
    assert sorted(labels["mir.task"] for labels in made) == sorted(TASKS), logs
    assert len(world.workspace.catalog.models.list(project)) == 1
    assert len(list(world.workspace.store.branch(f"{project}/evaluation").log())) == 1
    label = f"mir.run={run.run_id}"
    until(
        lambda: theatre.engine.containers.list(all=True, filters={"label": label}) == [],
        "no container is left",
        60,
    )


def _apply(world: RoundWorld, project: str) -> None:
    """A project that has arrived after its evaluation, with an executor that takes its time."""
    sources = ("training", "validation", "pool")
    config = {"idle_seconds": 4}
    mapping = {
        "name": project,
        "classes": list(CLASSES),
        "sources": {role: str(world.root / "data" / role) for role in sources},
        "executor": {"name": "sample", "config": {"train": config, "infer": config}},
        "labels": {"backend": "oracle"},
        "stop": {"labelled_images": 1},
    }
    apply_project(world.workspace.catalog, mapping)


def _logs(airflow: ChaosAirflow, run_id: str, task: str) -> list[str]:
    """The log of each try."""
    tries = next(
        each.try_number for each in airflow.client.tasks(DAG, run_id) if each.task_id == task
    )
    return [
        airflow.client.log(DAG, run_id, task, try_number=number) for number in range(1, tries + 1)
    ]


def _watch(events: Any, created: list[dict[str, str]]) -> None:
    for event in events:
        created.append(event["Actor"]["Attributes"])  # noqa: PERF401 - one by one, as they come
