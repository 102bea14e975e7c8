"""How a job becomes a container: the one place that says what it may see and use."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mir_ops.errors import InvalidInputError
from mir_ops.executor.jobs import Job
from mir_ops.executor.outputs import container_user

GPU_LABEL: Final = "mir.gpus"

_CPU_PERIOD: Final = 100_000
_LOG_BOUNDS: Final = {"max-size": "20m", "max-file": "3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A folder of the host inside the container."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """Everything about the container. No command, no entry point, no environment: the image's own.

    The name comes from the operation id, so that the next try finds the container of a killed one.
    """

    name: str
    image: str
    user: str
    mounts: tuple[BindMount, ...]
    labels: Mapping[str, str]
    network_mode: str
    memory_bytes: int
    shm_bytes: int
    pids: int
    cpus: float
    gpu_ids: tuple[str, ...]
    time_seconds: float
    init: bool = True
    cap_drop: tuple[str, ...] = ("ALL",)
    security_opt: tuple[str, ...] = ("no-new-privileges",)

    def host_config(self) -> dict[str, object]:
        """The keyword arguments of docker-py's `APIClient.create_host_config`."""
        from docker.types import DeviceRequest, LogConfig, Mount

        config: dict[str, object] = {
            "mounts": [
                Mount(
                    target=mount.target,
                    source=str(mount.source),
                    type="bind",
                    read_only=mount.read_only,
                )
                for mount in self.mounts
            ],
            "network_mode": self.network_mode,
            "mem_limit": self.memory_bytes,
            "memswap_limit": self.memory_bytes,
            "shm_size": self.shm_bytes,
            "pids_limit": self.pids,
            "cpu_period": _CPU_PERIOD,
            "cpu_quota": int(self.cpus * _CPU_PERIOD),
            "init": self.init,
            "cap_drop": list(self.cap_drop),
            "security_opt": list(self.security_opt),
            "auto_remove": False,
            # What an executor prints must not fill the disk of the engine's host.
            "log_config": LogConfig(type="json-file", config=dict(_LOG_BOUNDS)),
        }
        if self.gpu_ids:
            config["device_requests"] = [
                DeviceRequest(device_ids=list(self.gpu_ids), capabilities=[["gpu"]])
            ]
        return config


def docker_settings(job: Job) -> DockerSettings:
    """The container of a job."""
    user, group = container_user(job)
    limits = job.limits
    gpu_ids = limits.gpu_ids or tuple(str(number) for number in range(limits.gpus))
    return DockerSettings(
        name=container_name(job.op_id),
        image=check_image(job.image.image),
        user=f"{user}:{group}",
        mounts=(
            BindMount(source=job.inputs.resolve(), target="/in", read_only=True),
            BindMount(source=job.outputs.resolve(), target="/out", read_only=False),
        ),
        labels={
            **{key: str(value) for key, value in job.labels.items()},
            "mir.operation": job.op_id,
            "mir.kind": job.kind,
            **({GPU_LABEL: ",".join(gpu_ids)} if gpu_ids else {}),
        },
        network_mode="bridge" if job.image.network else "none",
        memory_bytes=limits.memory_bytes,
        shm_bytes=limits.shm_bytes,
        pids=limits.pids,
        cpus=limits.cpus or _own_cpus(),
        gpu_ids=gpu_ids,
        time_seconds=limits.time_seconds,
        # Root without its capabilities could not even write to `/out`.
        cap_drop=() if job.image.run_as_root else ("ALL",),
    )


def with_gpus(settings: DockerSettings, gpu_ids: tuple[str, ...]) -> DockerSettings:
    """The same container with these GPUs of the host, which its label names."""
    labels = {**settings.labels, GPU_LABEL: ",".join(gpu_ids)}
    return replace(settings, gpu_ids=gpu_ids, labels=labels)


def container_name(op_id: str) -> str:
    """The same name for every try of one operation: a second container cannot start."""
    return f"mir-{re.sub('[^a-zA-Z0-9_.-]', '-', op_id)[:40]}"


def _own_cpus() -> int:
    """How many processors this process may use: no more for the executors that it starts."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def check_image(image: str) -> str:
    name = image.rpartition("/")[2]
    if "@sha256:" not in image and (":" not in name or name.endswith(":latest")):
        raise InvalidInputError(
            f"Image `{image}` does not name a version",
            code="image-without-version",
            hint="Name a tag other than `latest`, or a digest: `name@sha256:…`",
        )
    return image
