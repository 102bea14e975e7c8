"""Reading files that a container wrote: no links, no devices, never more than a bound."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from mir_ops.executor.failures import ExecutorOutputError

_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[^\n\t\x20-\x7e\u00a0-\uffff]")


def read_bounded(path: Path, *, limit: int, root: Path) -> bytes | None:
    """The bytes of a regular file under `root`, or None when there is none."""
    check_inside(path, root=root)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(path, root, f"cannot be opened: {error.strerror}") from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):  # Python opens no folder as a file
        os.close(handle)
        raise _refused(path, root, "is not a regular file")
    with os.fdopen(handle, "rb") as file:
        if status.st_size > limit:
            raise _refused(path, root, f"has {status.st_size} bytes, the bound is {limit}")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _refused(path, root, f"grew past the bound of {limit} bytes")
    return content


def check_inside(path: Path, *, root: Path) -> None:
    """Refuse a path that leaves `root`, by its spelling or by a link on the way."""
    if ".." in path.relative_to(root).parts:
        raise _refused(path, root, "leaves the output folder")
    for parent in path.relative_to(root).parents:
        if (root / parent).is_symlink():
            raise _refused(root / parent, root, "is a symbolic link")


def read_tail(path: Path, *, lines: int = 5, limit: int = 16_384) -> list[str]:
    """The last lines of a log, printable and bounded; nothing when there is no such file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        return []
    with os.fdopen(handle, "rb") as file:
        file.seek(max(0, status.st_size - limit))
        text = file.read(limit).decode("utf-8", errors="replace")
    return [printable(line) for line in text.splitlines() if line.strip()][-lines:]


def printable(text: str, *, limit: int = 500) -> str:
    """One line that a terminal or a log page shows as text and nothing else."""
    return _CONTROL.sub("", text.replace("\r", " ")).strip()[:limit]


def _refused(path: Path, root: Path, rule: str) -> ExecutorOutputError:
    return ExecutorOutputError(f"Output `{path.relative_to(root)}` {rule}", code="executor-output")
