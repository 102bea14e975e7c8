"""The folder that a demo works in: one demo at a time, and never somebody else's files."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mir_ops.errors import ConflictError, InvalidInputError, StoreError

MARKER: Final = "THIS-FOLDER-IS-REMOVED-BY-THE-NEXT-RUN"
ROOM: Final = 1 << 30
ENOUGH: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Paths of one demo. Everything that it makes is below `root`."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def oracle(self) -> Path:
        return self.root / "oracle"

    @property
    def airflow(self) -> Path:
        return self.root / "airflow"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def project_file(self) -> Path:
        return self.root / "digits.yaml"

    @property
    def report(self) -> Path:
        return self.root / "report.html"


@contextmanager
def claim(root: Path) -> Iterator[DemoFolder]:
    """Empty the folder of what an earlier run left there and hold it until the block ends."""
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root, os.O_RDONLY)
    try:
        _lock(descriptor, root)
        _empty(root)
        (root / MARKER).touch()
        require_space(root, ROOM)
        yield DemoFolder(root)
    finally:
        os.close(descriptor)


def require_space(folder: Path, wanted: int = ENOUGH) -> None:
    """Say that the disk is full before everything on it fails in its own way."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise StoreError(
            f"The disk of `{folder}` is full: {free >> 20} MiB free, {wanted >> 20} MiB wanted",
            code="disk-full",
            hint="Make room, or choose another place with `--folder`",
        )


def _lock(descriptor: int, root: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConflictError(
            f"Another run is using `{root}`",
            code="folder-in-use",
            hint="Let it end, or choose another place with `--folder`",
        ) from None


def _empty(root: Path) -> None:
    content = list(root.iterdir())
    if content and not (root / MARKER).exists():
        raise InvalidInputError(
            f"`{root}` holds files that are not ours: {content[0].name}",
            code="folder-not-empty",
            hint="Name an empty folder or a new one",
        )
    for path in content:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARKER:
            path.unlink()
