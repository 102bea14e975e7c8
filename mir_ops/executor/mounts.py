"""Whether the engine sees our folders where we see them.

With Airflow itself in a container and the engine's socket mounted, executors are its siblings: the
engine takes the paths of their folders as paths of its own host.
"""

from __future__ import annotations

import re
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from docker import APIClient

_CONTAINER_ID: Final = re.compile(r"[0-9a-f]{64}")


def check_work_dir(work_dir: Path, engine: APIClient) -> None:
    """Refuse a work folder that lies elsewhere on the engine's host, before anything runs."""
    container = own_container(engine)
    if container is None:
        return
    mounts = [
        mount for mount in container["Mounts"] if _is_below(work_dir, Path(mount["Destination"]))
    ]
    mount = max(mounts, key=lambda one: len(one["Destination"]), default=None)
    hint = (
        f"Mount the folder at the same absolute path on both sides, as in "
        f"`-v {work_dir}:{work_dir}`, or name another `work_dir` in the connection"
    )
    if mount is None:
        raise InvalidInputError(
            f"Work folder `{work_dir}` is inside this container only: the engine does not see it",
            code="work-dir-not-shared",
            hint=hint,
        )
    if mount["Type"] != "bind" or mount["Source"] != mount["Destination"]:
        raise InvalidInputError(
            f"Work folder `{work_dir}` is `{mount['Source']}` on the engine's host: "
            "executors would find nothing in it",
            code="work-dir-elsewhere",
            hint=hint,
        )


def check_work_volume(work_dir: Path) -> None:
    """The same in a cluster: refuse a work folder that pods of executors cannot mount."""
    from mir_ops.executor.cluster import open_cluster
    from mir_ops.executor.pods import find_work_volume

    with closing(open_cluster()) as cluster:
        find_work_volume(cluster.own_pod(), work_dir)


def own_container(engine: APIClient) -> dict[str, Any] | None:
    """The container that this process runs in, if the engine started it."""
    from docker.errors import APIError

    for name in _own_names():
        try:
            found: dict[str, Any] = engine.inspect_container(name)
        except APIError:
            continue
        return found
    return None


def _own_names() -> list[str]:
    """What this container may be called: the id in its mounts, and its host name."""
    if not (Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()):
        return []
    try:
        ids = _CONTAINER_ID.findall(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    except OSError:
        ids = []
    return [*dict.fromkeys(ids), socket.gethostname()]


def _is_below(path: Path, parent: Path) -> bool:
    return path == parent or parent in path.parents
