"""Which GPUs a child process gets: those that no other executor of this user holds.

Each GPU is a locked file in the folder for temporary files. The keeper of an executor inherits the
lock, so that it goes when the executor has ended, however that comes about.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mir_ops.errors import StoreError
from mir_ops.executor.jobs import Limits

_DEVICES: Final = Path("/dev")


@contextmanager
def taken_gpus(limits: Limits) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    """The GPUs of a job, and the locks that whoever uses them must inherit.

    Named ones are taken as they are. Where all that this machine has are in use they are shared:
    the pool of a deployment is there to wait in.
    """
    if not limits.gpus:
        yield (), ()
        return
    wanted = limits.gpu_ids or present_gpus(limits.gpus)
    locks: dict[str, int] = {}
    try:
        for name in wanted:
            if len(locks) < limits.gpus and (handle := _lock(name)) is not None:
                locks[name] = handle
        free_first = (*locks, *(name for name in wanted if name not in locks))
        yield limits.gpu_ids or free_first[: limits.gpus], tuple(locks.values())
    finally:
        for handle in locks.values():
            os.close(handle)


def present_gpus(count: int) -> tuple[str, ...]:
    """The numbers of this machine's GPUs; where it does not say of enough, the first `count`."""
    found = [re.fullmatch(r"nvidia(\d+)", path.name) for path in _DEVICES.glob("nvidia*")]
    numbers = sorted(int(one[1]) for one in found if one)
    return tuple(map(str, numbers if len(numbers) >= count else range(count)))


def _lock(name: str) -> int | None:
    """A lock that nobody else has; inherited by who is told to."""
    path = _folder() / f"{re.sub('[^a-zA-Z0-9-]', '-', name)}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"mir-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise StoreError(
            f"`{folder}` belongs to somebody else", code="bad-folder", hint="Remove it"
        )
    return folder
