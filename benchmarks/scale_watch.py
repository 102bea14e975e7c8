"""What each task of an Airflow used: a plugin that its task processes load.

They append a JSON line to the file that `MIR_SCALE_MARKS` names. Bytes and requests are those of
the S3 server, a Ceph gateway whose socket `MIR_SCALE_GATEWAY` names: of all that ran meanwhile.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

COUNTED = ("put", "put_b", "get", "get_b")
_started: dict[str, Any] = {}


@hookimpl
def on_task_instance_running() -> None:
    """A task begins: what its process had at the fork does not count as its peak."""
    Path("/proc/self/clear_refs").write_text("5")
    _started.update(_now())


@hookimpl
def on_task_instance_success(task_instance: Any) -> None:
    """A task ended well."""
    _keep(task_instance, "success")


@hookimpl
def on_task_instance_failed(task_instance: Any) -> None:
    """A task ended badly."""
    _keep(task_instance, "failed")


def _keep(task: Any, state: str) -> None:
    mark = {
        "dag": task.dag_id,
        "run": task.run_id,
        "task": task.task_id,
        "shard": task.map_index,
        "state": state,
        "start": dict(_started),
        "end": _now(),
        "peak": _memory("VmHWM"),
    }
    with Path(os.environ["MIR_SCALE_MARKS"]).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(mark)}\n")


def _now() -> dict[str, Any]:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "time": time.time(),
        "cpu": sum(one.ru_utime + one.ru_stime for one in used),
        "memory": _memory("VmRSS"),
        "server": _server(os.environ.get("MIR_SCALE_GATEWAY", "")),
    }


def _memory(name: str) -> float:
    """MiB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def _server(path: str) -> dict[str, int]:
    """How often and how much was written to and read from the gateway since it started."""
    if not path:
        return {}
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(path)
        asked.sendall(b'{"prefix": "perf dump", "logger": "rgw", "format": "json"}\0')
        (size,) = struct.unpack(">I", _exactly(asked, 4))
        counters = json.loads(_exactly(asked, size))["rgw"]
    return {name: counters[name] for name in COUNTED}


def _exactly(asked: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        parts.append(asked.recv(size))
        size -= len(parts[-1])
    return b"".join(parts)


class ScaleWatch(AirflowPlugin):
    """Registers the listener, in tasks and elsewhere."""

    name = "mir_scale_watch"
    listeners = (sys.modules[__name__],)
