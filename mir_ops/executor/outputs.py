"""The folder that an executor writes into."""

from __future__ import annotations

import os
import shutil
import stat
from typing import Final

from mir_ops.executor.jobs import Job

# Containers never run as root; where the host side does, they run as this user instead.
UNPRIVILEGED: Final = 65_534


def container_user(job: Job) -> tuple[int, int]:
    """The user and group of the job's container: the ones of this process, but never root."""
    if job.image.run_as_root:
        return 0, 0
    return os.getuid() or UNPRIVILEGED, os.getgid() or UNPRIVILEGED


def clear_outputs(job: Job) -> None:
    """Empty `out` before a fresh start. Never for a container that is still running on it."""
    shutil.rmtree(job.outputs, ignore_errors=True)
    (job.outputs / "models").mkdir(parents=True)
    (job.outputs / "tensorboard").mkdir()
    if os.geteuid() == 0:
        user, group = container_user(job)
        for path in (job.outputs, job.outputs / "models", job.outputs / "tensorboard"):
            os.chown(path, user, group)


def settle_log(job: Job) -> bool:
    """Whether the job has a log that is a plain file; anything else in its place is removed."""
    try:
        mode = job.log_path.lstat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISREG(mode):
        return True
    if stat.S_ISDIR(mode):
        shutil.rmtree(job.log_path, ignore_errors=True)
    else:
        job.log_path.unlink()
    return False


def remove_job(job: Job) -> None:
    """Forget a job's folder once its results are stored."""
    shutil.rmtree(job.folder, ignore_errors=True)
