"""Who runs a job: one task at a time on one host, and the next one waits its turn."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mir_ops.errors import ConflictError

WAIT_SECONDS: Final = 10.0


def owner_path(jobs_dir: Path, op_id: str) -> Path:
    """The file that the owner of an operation's job holds locked; beside the job's folder."""
    return jobs_dir / f"{op_id[:32]}.lock"


@contextmanager
def owning(jobs_dir: Path, op_id: str, *, wait_seconds: float | None = None) -> Iterator[Path]:
    """Own the job of an operation. The lock goes with this process, however it ends."""
    path = owner_path(jobs_dir, op_id)
    jobs_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + (WAIT_SECONDS if wait_seconds is None else wait_seconds)
    while (handle := _lock(path)) is None:
        if time.monotonic() > deadline:
            raise ConflictError(
                f"Job `{op_id[:12]}` is running already",
                code="job-running",
                hint="Wait for the other task, or end it",
            )
        time.sleep(0.1)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def is_owned(path: Path) -> bool:
    """Whether a process that lives holds this file locked, or may: one of another user's."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _lock(path: Path) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The owner before us removes the file: a lock on a file that is gone is none.
        if path.stat().st_ino == os.fstat(handle).st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None
