"""Which GPUs of this host an executor gets: those that no other one has, by either runner.

A child process has a GPU by a locked file in the folder for temporary files: its keeper inherits
the lock, so that it goes when the executor has ended, however that comes about. A container has
those that its label names, while it runs. Whoever chooses looks at both, one at a time.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mir_ops.errors import InvalidInputError, StoreError
from mir_ops.executor.containers import GPU_LABEL
from mir_ops.executor.jobs import Limits
from mir_ops.executor.owners import is_owned, owning

if TYPE_CHECKING:
    from docker import APIClient

_DEVICES: Final = Path("/dev")
_PREFIX: Final = "gpu-"
_CHOOSING_SECONDS: Final = 60.0


@contextmanager
def taken_gpus(limits: Limits) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    """The GPUs of a child process, and the locks that whoever uses them must inherit.

    Named ones are taken as they are. Where all that this machine has are in use they are shared:
    the pool of a deployment is there to wait in.
    """
    if not limits.gpus:
        yield (), ()
        return
    locks: dict[str, int] = {}
    try:
        with _choosing():
            names = limits.gpu_ids or _free_first(present_gpus(limits.gpus), _gpus_of_containers())
            for name in names:
                if len(locks) < limits.gpus and (handle := _lock(name)) is not None:
                    locks[name] = handle
        free_first = (*locks, *(name for name in names if name not in locks))
        yield limits.gpu_ids or free_first[: limits.gpus], tuple(locks.values())
    finally:
        for handle in locks.values():
            os.close(handle)


@contextmanager
def chosen_gpus(limits: Limits, engine: APIClient) -> Iterator[tuple[str, ...]]:
    """The GPUs of a container, which must run, with its label, before the block ends."""
    if not limits.gpus or limits.gpu_ids:
        yield limits.gpu_ids
        return
    with _choosing():
        yield free_gpus(engine, limits.gpus)


def free_gpus(engine: APIClient, count: int) -> tuple[str, ...]:
    """The first GPUs that no executor has; where too few are seen, the pool sees to their number.

    Airflow in a container does not see the devices of the engine's host.
    """
    taken = _gpus_with(engine)
    if not _is_here(engine):
        return _not_in(taken, count)
    taken |= _locked_gpus()
    seen = _seen_gpus()
    return _free_first(seen, taken)[:count] if len(seen) >= count else _not_in(taken, count)


def present_gpus(count: int) -> tuple[str, ...]:
    """The numbers of this machine's GPUs; where it does not say of enough, the first `count`."""
    seen = _seen_gpus()
    return seen if len(seen) >= count else tuple(map(str, range(count)))


def _seen_gpus() -> tuple[str, ...]:
    found = [re.fullmatch(r"nvidia(\d+)", path.name) for path in _DEVICES.glob("nvidia*")]
    return tuple(map(str, sorted(int(one[1]) for one in found if one)))


def _free_first(names: tuple[str, ...], taken: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=taken.__contains__))


def _not_in(taken: set[str], count: int) -> tuple[str, ...]:
    free = (str(number) for number in itertools.count() if str(number) not in taken)
    return tuple(itertools.islice(free, count))


def _gpus_of_containers() -> set[str]:
    """What containers of this host have; nothing where there is no engine."""
    from mir_ops.executor.engine import open_engine

    try:
        engine = open_engine()
    except (InvalidInputError, StoreError):
        return set()
    with closing(engine):
        return _gpus_with(engine) if _is_here(engine) else set()


def _gpus_with(engine: APIClient) -> set[str]:
    running = engine.containers(filters={"label": GPU_LABEL})
    return {one for found in running for one in found["Labels"][GPU_LABEL].split(",")}


def _is_here(engine: APIClient) -> bool:
    """Whether the engine's containers use the GPUs of this machine."""
    return str(engine.base_url).startswith("http+docker://local")


def _locked_gpus() -> set[str]:
    """What child processes have."""
    paths = _folder().glob(f"{_PREFIX}*.lock")
    return {path.stem.removeprefix(_PREFIX) for path in paths if is_owned(path)}


@contextmanager
def _choosing() -> Iterator[None]:
    """One at a time on this host."""
    with owning(_folder(), "choosing", wait_seconds=_CHOOSING_SECONDS):
        yield


def _lock(name: str) -> int | None:
    """A lock that nobody else has; inherited by who is told to."""
    path = _folder() / f"{_PREFIX}{re.sub('[^a-zA-Z0-9-]', '-', name)}.lock"
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
