"""How a job becomes a pod: the one place that says what it may see and use, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mir_ops.errors import InvalidInputError
from mir_ops.executor.containers import check_image
from mir_ops.executor.jobs import Job
from mir_ops.executor.outputs import container_user

COMPONENT: Final = {
    "app.kubernetes.io/part-of": "mir-ops",
    "app.kubernetes.io/component": "executor",
}
SELECTOR: Final = ",".join(f"{name}={value}" for name, value in COMPONENT.items())
CONTAINER: Final = "executor"
GRACE_SECONDS: Final = 3

# What the pod of a task hands on to the pods that it starts: which nodes, and who pulls images.
_INHERITED: Final = ("nodeSelector", "tolerations", "imagePullSecrets", "priorityClassName")
_SHAREABLE: Final = ("persistentVolumeClaim", "hostPath")
_SPARE_SECONDS: Final = 3600  # for pulling the image, and for a host that was away
_SURE_DISK: Final = 1 << 30
_NAME: Final = re.compile(r"[^a-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkVolume:
    """The volume of this pod that other pods mount, too; `node` where only this node has it."""

    source: Mapping[str, Any]
    mounted_at: PurePosixPath
    below: PurePosixPath  # the part of the volume that is mounted there
    node: str | None

    def part(self, path: Path) -> str:
        """Where a folder of ours lies in the volume."""
        return str(self.below / PurePosixPath(path).relative_to(self.mounted_at))

    def names(self, path: Path) -> str:
        """The same folder in words that no other folder of the cluster shares."""
        claim = self.source.get("persistentVolumeClaim")
        where = f"claim {claim['claimName']}" if claim else f"node {self.node}"
        base = "" if claim else f"{self.source['hostPath']['path']}/"
        return f"{where}: {base}{self.part(path)}"


def find_work_volume(own: Mapping[str, Any], work_dir: Path) -> WorkVolume:
    """The volume of this process's pod in which the work folder lies, if others can mount it."""
    spec = own["spec"]
    containers = {one["name"]: one for one in spec["containers"]}
    ours = containers.get("base", spec["containers"][0])
    mounts = [
        one for one in ours.get("volumeMounts", ()) if work_dir.is_relative_to(one["mountPath"])
    ]
    mount = max(mounts, key=lambda one: len(one["mountPath"]), default=None)
    volumes: dict[str, Any] = {one["name"]: one for one in spec.get("volumes", ())}
    volume = volumes[mount["name"]] if mount else {}
    source = {kind: volume[kind] for kind in _SHAREABLE if kind in volume}
    if mount is None or not source or "subPathExpr" in mount:
        raise InvalidInputError(
            f"Work folder `{work_dir}` is inside this pod only: executors would find nothing in it",
            code="work-dir-not-shared",
            hint="Mount a claim there, as docker/kubernetes/executors.yaml does, or a hostPath",
        )
    return WorkVolume(
        source=source,
        mounted_at=PurePosixPath(mount["mountPath"]),
        below=PurePosixPath(mount.get("subPath", "")),
        node=spec["nodeName"] if "hostPath" in source else None,
    )


def pod_name(op_id: str) -> str:
    """The same name for every try of one operation: a second pod cannot start."""
    return f"mir-{_NAME.sub('-', op_id.lower())[:40]}".rstrip("-")


def executor_pod(job: Job, own: Mapping[str, Any], volume: WorkVolume) -> dict[str, Any]:
    """The pod of a job. No command, no environment, no token, no secret: the image's own alone."""
    if job.limits.gpu_ids:
        raise InvalidInputError(
            f"The executor asks for GPUs {', '.join(job.limits.gpu_ids)}: a cluster chooses itself",
            code="gpu-ids",
            hint="Say how many with `gpus`, and which kind by the queue of the task",
        )
    inherited = {name: own["spec"][name] for name in _INHERITED if name in own["spec"]}
    spec: dict[str, Any] = {
        **inherited,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "shareProcessNamespace": True,  # somebody buries the processes that it leaves
        "activeDeadlineSeconds": int(job.limits.time_seconds) + _SPARE_SECONDS,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": _user(job),
        "containers": [_container(job, volume)],
        "volumes": [
            {"name": "work", **volume.source},
            {
                "name": "shared-memory",
                "emptyDir": {"medium": "Memory", "sizeLimit": str(job.limits.shm_bytes)},
            },
        ],
    }
    if volume.node is not None:
        spec["affinity"] = {"nodeAffinity": _on_node(volume.node)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(job.op_id),
            "labels": {
                **COMPONENT,
                "mir-ops/kind": job.kind,
                "mir-ops/network": "outside" if job.image.network else "none",
            },
            "annotations": identity(job, volume),
        },
        "spec": spec,
    }


def identity(job: Job, volume: WorkVolume) -> dict[str, str]:
    """Whose pod it is. Labels are too short for an operation's id."""
    return {
        **{key: str(value) for key, value in job.labels.items()},
        "mir.operation": job.op_id,
        "mir.outputs": volume.names(job.outputs),
    }


def _container(job: Job, volume: WorkVolume) -> dict[str, Any]:
    root = job.image.run_as_root  # without its capabilities it could not even write to `/out`
    return {
        "name": CONTAINER,
        "image": check_image(job.image.image),
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            **({} if root else {"capabilities": {"drop": ["ALL"]}}),
        },
        "resources": _resources(job),
        "volumeMounts": [
            {
                "name": "work",
                "mountPath": "/in",
                "subPath": volume.part(job.inputs),
                "readOnly": True,
            },
            {"name": "work", "mountPath": "/out", "subPath": volume.part(job.outputs)},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
    }


def _user(job: Job) -> dict[str, Any]:
    user, group = container_user(job)
    return {
        "runAsUser": user,
        "runAsGroup": group,
        "runAsNonRoot": not job.image.run_as_root,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _resources(job: Job) -> dict[str, Any]:
    """What it is sure to get, and what ends it: memory alike, of the disk of its node little."""
    limits = job.limits
    memory, disk = str(limits.memory_bytes), str(min(limits.disk_bytes, _SURE_DISK))
    gpus = {"nvidia.com/gpu": str(limits.gpus)} if limits.gpus else {}
    cpus = {} if limits.cpus is None else {"cpu": f"{round(limits.cpus * 1000)}m"}
    return {
        "requests": {"cpu": "1", **cpus, "memory": memory, "ephemeral-storage": disk, **gpus},
        "limits": {**cpus, "memory": memory, "ephemeral-storage": str(limits.disk_bytes), **gpus},
    }


def _on_node(node: str) -> dict[str, Any]:
    """As the pods of a DaemonSet: the scheduler counts GPUs, which `nodeName` would pass by."""
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    return {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [field]}]
        }
    }
