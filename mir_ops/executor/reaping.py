"""Containers and pods that were left: who started them, and whether somebody still wants them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mir_ops.executor.owners import is_owned, owner_path
from mir_ops.executor.pods import GRACE_SECONDS, SELECTOR

if TYPE_CHECKING:
    from docker import APIClient
    from mir_ops.executor.cluster import Cluster

YOUNG_SECONDS: Final = 60.0
_THROWAWAY: Final = "mir.throwaway"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContainer:
    """A container, or a pod, and the task that it says it belongs to. `age` is in seconds."""

    container_id: str
    name: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    age: float
    running: bool


def throwaway_labels() -> dict[str, str]:
    """Of a job that no later command takes over: its folder and operation are new each time."""
    return {_THROWAWAY: socket.gethostname()}


def remove_orphans(engine: APIClient) -> list[str]:
    """Remove the throwaway containers of this host whose command was killed; their names.

    A command holds its job's lock from before its container is made until after it is gone.
    """
    from docker.errors import APIError

    labels = [f"{name}={value}" for name, value in throwaway_labels().items()]
    removed = []
    for found in engine.containers(all=True, filters={"label": labels}):
        if _is_owned(found):
            continue
        try:
            engine.remove_container(found["Id"], force=True, v=True)
        except APIError as error:
            if error.status_code not in (404, 409):  # somebody else was first
                raise
        removed.append(found["Names"][0].lstrip("/"))
    return removed


def abandoned(engine: APIClient) -> list[str]:
    """Containers of commands that were killed here and not repeated; their names.

    The same command would go on with its container. Those of tasks are the reaper's.
    """
    found = engine.containers(all=True, filters={"label": "mir.operation"})
    return sorted(
        one["Names"][0].lstrip("/")
        for one in found
        if not {"mir.dag", _THROWAWAY} & one["Labels"].keys()
        and any(folder.is_dir() for folder in _jobs_dirs(one))
        and not _is_owned(one)
    )


def task_pods(cluster: Cluster, deployment: str) -> Iterator[TaskContainer]:
    """The pods that tasks of one deployment started, but not those that are on their way out."""
    for found in cluster.list_pods(SELECTOR):
        meta = found["metadata"]
        said: Mapping[str, str] = meta.get("annotations", {})
        ours = said.get("mir.deployment") == deployment and "mir.dag" in said
        if ours and "deletionTimestamp" not in meta:
            made = datetime.fromisoformat(meta["creationTimestamp"])
            yield TaskContainer(
                container_id=meta["uid"],
                name=meta["name"],
                age=time.time() - made.timestamp(),
                running=found["status"].get("phase") == "Running",
                **_task(said),
            )


def _task(labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "dag_id": labels["mir.dag"],
        "run_id": labels["mir.run"],
        "task_id": labels["mir.task"],
        "map_index": int(labels.get("mir.map-index", "-1")),
    }


def _is_owned(container: Mapping[str, Any]) -> bool:
    op_id = container["Labels"].get("mir.operation", "")
    return not op_id or any(is_owned(owner_path(one, op_id)) for one in _jobs_dirs(container))


def _jobs_dirs(container: Mapping[str, Any]) -> list[Path]:
    """On the engine's host, which may be another."""
    outputs = [mount["Source"] for mount in container["Mounts"] if mount["Destination"] == "/out"]
    return [Path(one).parent.parent for one in outputs]


def task_containers(engine: APIClient, deployment: str) -> Iterator[TaskContainer]:
    """All containers that tasks of one deployment started, also those that have ended."""
    label = f"mir.deployment={deployment}"
    for found in engine.containers(all=True, filters={"label": label}):
        labels: Mapping[str, str] = found["Labels"]
        if "mir.dag" in labels:
            yield TaskContainer(
                container_id=found["Id"],
                name=found["Names"][0].lstrip("/"),
                age=time.time() - found["Created"],
                running=found["State"] == "running",
                **_task(labels),
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


def reap_pods(
    cluster: Cluster, deployment: str, *, is_wanted: Callable[[TaskContainer], bool]
) -> list[TaskContainer]:
    """The same for the pods of a cluster, whose nodes end them a little later."""
    reaped = []
    for pod in task_pods(cluster, deployment):
        if pod.age >= YOUNG_SECONDS and not is_wanted(pod):
            cluster.delete_pod(pod.name, uid=pod.container_id, grace_seconds=GRACE_SECONDS)
            reaped.append(pod)
    return reaped
