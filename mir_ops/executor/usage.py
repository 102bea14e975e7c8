"""What a job used of its host, written down beside it until its results are collected."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mir_ops.executor.jobs import Job

_FILE: Final = "usage.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """`seconds` is how long the executor ran, `gpu_seconds` that for each GPU it held.

    `cpu_seconds` is what it and its children computed; None of a container, of which the engine
    does not say it once it has ended.
    """

    seconds: float
    gpu_seconds: float
    cpu_seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def keep_usage(job: Job, seconds: float, *, cpu_seconds: float | None = None) -> None:
    """Write down what a job used that has ended."""
    used = Usage(
        seconds=round(seconds, 3),
        gpu_seconds=round(seconds * job.limits.gpus, 3),
        cpu_seconds=None if cpu_seconds is None else round(cpu_seconds, 3),
    )
    if job.folder.is_dir():
        (job.folder / _FILE).write_text(json.dumps(used.to_dict()), encoding="utf-8")


def read_usage(job: Job) -> dict[str, Any] | None:
    """What the job used, None when nobody wrote it down."""
    try:
        read: dict[str, Any] = json.loads((job.folder / _FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return read
