"""Where downloads lie until they were used: one that was interrupted goes on where it was."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_KEPT: Final = 7 * 24 * 3600  # seconds that what nobody went on with is kept
_LOCK: Final = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A file that is being fetched: `tag` names its version on the server, `length` its bytes."""

    path: Path
    tag: str | None = None
    length: int | None = None

    @property
    def size(self) -> int:
        """The bytes that are here, and of use: without a tag nobody knows what they belong to."""
        return self.path.stat().st_size if self.tag and self.path.exists() else 0

    @property
    def is_whole(self) -> bool:
        return self.length is not None and self.size == self.length

    def start(self, tag: str | None, length: int | None) -> Unfinished:
        """Forget what is here; the file is of this version now."""
        self.path.unlink(missing_ok=True)
        begun = Unfinished(path=self.path, tag=tag, length=length)
        temporary = self._notes.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(begun), default=str), encoding="utf-8")
        temporary.replace(self._notes)
        return begun

    @property
    def _notes(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


def find_unfinished(path: Path) -> Unfinished:
    """What an earlier process left of this file."""
    try:
        notes = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
        return Unfinished(path=path, tag=notes["tag"], length=notes["length"])
    except (OSError, ValueError, KeyError, TypeError):
        return Unfinished(path=path)


@contextmanager
def download_place(url: str, folder: Path | None) -> Iterator[Path]:
    """A folder for what comes from a URL; gone after its use, kept below `folder` after a failure.

    Where another process fetches from the same URL, or without a `folder`, it is a temporary one.
    """
    lock = place = None
    if folder is not None:
        forget_old(folder)
        place = folder / hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        lock = _lock(place)
    if lock is None or place is None:
        with tempfile.TemporaryDirectory(prefix="mir-import-") as temporary:
            yield Path(temporary)
        return
    try:
        yield place
        shutil.rmtree(place, ignore_errors=True)
    finally:
        os.close(lock)


def forget_old(folder: Path) -> None:
    """Remove what nobody went on with for a week, and nobody fetches now."""
    for place in folder.glob("*/"):
        lock = place / _LOCK
        if lock.exists() and time.time() - lock.stat().st_mtime > _KEPT:
            held = _lock(place)
            if held is not None:
                shutil.rmtree(place, ignore_errors=True)
                os.close(held)


def _lock(place: Path) -> int | None:
    """Hold the place until the process ends, however it ends; None if another one holds it."""
    while True:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            lock = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # whoever was done with it removed it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(place / _LOCK).st_ino == os.fstat(lock).st_ino:
                os.utime(lock)
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except FileNotFoundError:
            pass
        os.close(lock)
