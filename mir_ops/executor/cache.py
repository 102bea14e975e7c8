"""Copies of assets on this host, shared by all jobs: fetched once, verified, linked many times."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mir_ops.store import Store

LIMIT: Final = 64 * 2**30
KEPT_SECONDS: Final = 15 * 60.0

_THREADS: Final = 8
_TOGETHER: Final = 64  # files that one thread looks at before it asks for more
_READ_BYTES: Final = 1 << 20
_PARTIAL: Final = ".partial-"
_PARTIAL_SECONDS: Final = 24 * 3600.0  # then its writer is gone
_EVICTED_TO: Final = 0.9
_UNCOUNTED: Final = 16  # a process counts again after fetching this part of the limit


@dataclass(frozen=True, slots=True)
class _Cached:
    path: Path
    size: int
    used: float


class AssetCache:
    """A folder of files named by the SHA-256 of their bytes, for any number of processes.

    Every file is hashed again whenever it is handed out: a job that wrote to its link in spite of
    the missing permission harms nobody. Above `limit` bytes the files that were used longest ago
    go. What was handed out in the last `kept_seconds` stays, so that its job can link it.
    """

    def __init__(
        self, directory: Path, *, limit: int = LIMIT, kept_seconds: float = KEPT_SECONDS
    ) -> None:
        self.directory = directory
        self._limit = limit
        self._kept_seconds = kept_seconds
        self._uncounted: int | None = None  # bytes fetched since the last count; None: never did
        self._lock = threading.Lock()

    def get(self, store: Store, asset_id: str) -> Path:
        """The asset as a read-only local file. Link or copy it, never write to it."""
        return Path(self._ready(store, asset_id))

    def get_all(self, store: Store, asset_ids: Sequence[str]) -> list[str]:
        """The paths of many assets, several fetched at a time, in their order."""
        if len(asset_ids) < 2 * _THREADS:
            return [self._ready(store, asset_id) for asset_id in asset_ids]
        # Threads that took turns at every file would spend more on turns than on small files.
        size = max(1, min(_TOGETHER, len(asset_ids) // (2 * _THREADS)))
        parts = [asset_ids[start : start + size] for start in range(0, len(asset_ids), size)]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="asset-cache") as pool:
            done = pool.map(lambda part: [self._ready(store, one) for one in part], parts)
            return list(chain.from_iterable(done))

    def evict(self) -> int:
        """Remove what was used longest ago until the cache fits its limit; how many bytes it has.

        One process does it at a time; the others go on.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with _alone(self.directory) as alone:
            files = list(self._files())
            size = sum(file.size for file in files)
            if not alone or size <= self._limit:
                return size
            before = time.time() - self._kept_seconds
            for file in sorted(files, key=lambda file: file.used):
                if size <= self._limit * _EVICTED_TO or file.used > before:
                    break
                with suppress(FileNotFoundError):
                    if file.path.stat().st_mtime == file.used:  # nobody took it since
                        file.path.unlink()
                        size -= file.size
            return size

    def _ready(self, store: Store, asset_id: str) -> str:
        path = f"{self.directory}/{asset_id[:2]}/{asset_id}"
        if not _is_intact(path, asset_id):
            self._fetch(store, asset_id, Path(path))
        return path

    def _fetch(self, store: Store, asset_id: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=_PARTIAL, delete=False) as file:
            partial = Path(file.name)
        try:
            store.fetch_blob(asset_id, partial)  # verified
            partial.chmod(0o444)
            size = partial.stat().st_size
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        self._note(size)

    def _note(self, size: int) -> None:
        with self._lock:
            self._uncounted = None if self._uncounted is None else self._uncounted + size
            due = self._uncounted is None or self._uncounted > self._limit // _UNCOUNTED
            if due:
                self._uncounted = 0
        if due:
            self.evict()

    def _files(self) -> Iterator[_Cached]:
        now = time.time()
        for directory, _, names in os.walk(self.directory):
            for name in names:
                path = Path(directory, name)
                with suppress(FileNotFoundError):
                    status = path.stat(follow_symlinks=False)
                    if not name.startswith("."):
                        yield _Cached(path, status.st_size, status.st_mtime)
                    elif name.startswith(_PARTIAL) and now - status.st_mtime > _PARTIAL_SECONDS:
                        path.unlink(missing_ok=True)


def _is_intact(path: str, asset_id: str) -> bool:
    """Whether the file is what its name says; it then counts as used now."""
    try:
        os.utime(path, follow_symlinks=False)  # first, so that nobody removes it meanwhile
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        digest = hashlib.sha256()
        while part := os.read(descriptor, _READ_BYTES):
            digest.update(part)
        return digest.hexdigest() == asset_id and os.path.lexists(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    """Whether no other process evicts at this moment."""
    descriptor = os.open(directory / ".evicting", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
