"""Containers that tasks left: who started them, and whether that task still wants them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from docker import APIClient

YOUNG_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContainer:
    """A container and the task that it says it belongs to. `age` is in seconds."""

    container_id: str
    name: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    age: float
    running: bool


def task_containers(engine: APIClient, deployment: str) -> Iterator[TaskContainer]:
    """All containers that tasks of one deployment started, also those that have ended."""
    label = f"mir.deployment={deployment}"
    for found in engine.containers(all=True, filters={"label": label}):
        labels: Mapping[str, str] = found["Labels"]
        if "mir.dag" in labels:
            yield TaskContainer(
                container_id=found["Id"],
                name=found["Names"][0].lstrip("/"),
                dag_id=labels["mir.dag"],
                run_id=labels["mir.run"],
                task_id=labels["mir.task"],
                map_index=int(labels.get("mir.map-index", "-1")),
                age=time.time() - found["Created"],
                running=found["State"] == "running",
            )


def reap(
    engine: APIClient, deployment: str, *, is_wanted: Callable[[TaskContainer], bool]
) -> list[TaskContainer]:
    """Remove the containers whose task does not want them; returns them.

    A container that was just made is left alone: Airflow may not know of its task's start yet.
    """
    from docker.errors import NotFound

    reaped = []
    for container in task_containers(engine, deployment):
        if container.age < YOUNG_SECONDS or is_wanted(container):
            continue
        try:
            engine.remove_container(container.container_id, force=True, v=True)
        except NotFound:
            continue
        reaped.append(container)
    return reaped
