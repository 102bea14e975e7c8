"""Immutable objects of a far store as files on this host, for a process that reads many again."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 2 << 30
_PREFIX: Final = f"mir-near-{os.getuid()}-"
_LOCK: Final = "lock"
_SPARED: Final = 120.0  # seconds: whoever was given a path is about to open it


class NearFiles:
    """Files named by the SHA-256 of their bytes, in a temporary folder of this process.

    Above `most` bytes those go that were not asked for longest. What processes left that were
    killed, the next one removes.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._held: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        _remove_abandoned()
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._open = (self._folder / _LOCK).open("w")
        fcntl.flock(self._open, fcntl.LOCK_EX)
        self._end = weakref.finalize(self, _remove, self._folder, self._open.close)

    def path(self, key: str, fetch: Callable[[str, Path], bool]) -> Path | None:
        """The file of an object whose key ends in its hash; None where it cannot be had.

        What is fetched is checked against its name.
        """
        name = key.rpartition("/")[2]
        with self._lock:
            if name in self._held:
                self._held[name] = self._held.pop(name)[0], time.monotonic()
                return self._folder / name
        partial = self._folder / f"{name}.{secrets.token_hex(8)}"
        try:
            if not fetch(key, partial) or _hash(partial) != name.partition(".")[0]:
                return None  # the caller reads it itself, and says what is wrong
            size = partial.stat().st_size
            partial.replace(self._folder / name)
        except OSError:  # no room here
            return None
        finally:
            partial.unlink(missing_ok=True)
        self._note(name, size)
        return self._folder / name

    def _note(self, name: str, size: int) -> None:
        with self._lock:
            self._size += 0 if name in self._held else size
            self._held[name] = size, time.monotonic()
            while self._size > self._most:
                oldest, (size, used) = next(iter(self._held.items()))
                if time.monotonic() - used < _SPARED:
                    break
                del self._held[oldest]
                self._size -= size
                (self._folder / oldest).unlink(missing_ok=True)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / _LOCK).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path, unlock: Callable[[], None]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    unlock()
