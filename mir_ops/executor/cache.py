"""Copies of assets on this host, shared by all jobs: fetched once, verified, linked many times."""

from __future__ import annotations

import fcntl
import hashlib
import heapq
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from mir_ops.store.file_systems import write_file

if TYPE_CHECKING:
    from mir_ops.store import Store

LIMIT: Final = 64 * 2**30

_THREADS: Final = 8
_TOGETHER: Final = 64  # files that one thread looks at before it asks for more
_SMALL: Final = 2**15  # mean bytes of images below which threads only wait for each other
_IN_MEMORY: Final = 8 * 2**20  # an image of more bytes is copied from file to file
_READ_BYTES: Final = 2**20
_PARTIAL: Final = ".partial-"
_PARTIAL_SECONDS: Final = 24 * 3600.0  # then its writer is gone
_EVICTED_TO: Final = 0.9
_AT_ONCE: Final = 50_000  # of the oldest files that are known at a time: 20 MB
_BYTES: Final = ".bytes"  # how many the cache has, about, as all processes count them


@dataclass(frozen=True, slots=True)
class Wanted:
    """An asset of the store, its size in bytes, and the path at which a job is to have it."""

    asset_id: str
    size: int
    target: str


class _Cached(NamedTuple):
    used: float
    path: str
    size: int


class AssetCache:
    """A folder of files named by the SHA-256 of their bytes, for any number of processes.

    Jobs get hard links. Every file is hashed again whenever it is handed out, by the link itself:
    a job that wrote to its own in spite of the missing permission harms nobody. Times would cost
    less and prove nothing: who can write to a file can set back when it was written, and the time
    that nobody can set moves with every link.

    Above `limit` bytes the files go that were linked or unlinked longest ago. A job keeps what it
    has.
    """

    def __init__(self, directory: Path, *, limit: int = LIMIT) -> None:
        self.directory = directory
        self._limit = limit

    def link_all(self, store: Store, wanted: Sequence[Wanted]) -> None:
        """Put assets at their targets, where nothing is yet, as files never to be written to.

        Where the disk of the targets is another one, they are copies.
        """
        small = sum(one.size for one in wanted) < _SMALL * len(wanted)
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="asset-cache") as pool:
            link = map if small else pool.map
            missing = list(chain.from_iterable(link(self._link, _parts(wanted))))
            for shelf in {one.asset_id[:2] for one in missing}:
                (self.directory / shelf).mkdir(parents=True, exist_ok=True)
            fetch = map if small and store.blobs.are_local else pool.map
            for _ in fetch(lambda part: self._fetch(store, part), _parts(missing)):
                pass

    def evict(self) -> int:
        """Remove what was used longest ago until the cache fits its limit; how many bytes it has.

        One process does it at a time; the others go on.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with _alone(self.directory) as alone:
            noted = self._noted(0)
            if not alone:
                return noted
            size = sum(file.size for file in self._files())
            if size > self._limit:
                size = self._shrunk(size, int(self._limit * _EVICTED_TO))
            self._noted(size - noted)
            return size

    def _shrunk(self, size: int, wanted: int) -> int:
        """The bytes that are left of so many once the oldest files are gone."""
        while size > wanted:
            before = size
            for file in heapq.nsmallest(_AT_ONCE, self._files()):
                if size <= wanted:
                    break
                with suppress(FileNotFoundError):
                    if os.lstat(file.path).st_ctime == file.used:  # as before
                        os.unlink(file.path)
                        size -= file.size
            if size == before:
                break
        return size

    def _link(self, part: Sequence[Wanted]) -> list[Wanted]:
        """Link what is there and what its name says; returns the others."""
        missing = []
        for one in part:
            try:
                _link_or_copy(self._path(one), one.target)
            except FileNotFoundError:
                missing.append(one)
                continue
            if not _is_intact(one):
                os.unlink(one.target)
                missing.append(one)
        return missing

    def _fetch(self, store: Store, part: Sequence[Wanted]) -> None:
        for one in part:
            path = self._path(one)
            partial = f"{path[: -len(one.asset_id)]}{_PARTIAL}{secrets.token_hex(8)}"
            try:
                if one.size > _IN_MEMORY:
                    store.fetch_blob(one.asset_id, Path(partial))  # verified, as is the other
                else:
                    write_file(partial, store.get_blob(one.asset_id))
                os.chmod(partial, 0o444)
                _link_or_copy(partial, one.target)  # before anybody can evict it
                os.replace(partial, path)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(partial)
                raise
        if self._noted(sum(one.size for one in part)) > self._limit:
            self.evict()

    def _path(self, wanted: Wanted) -> str:
        return f"{self.directory}/{wanted.asset_id[:2]}/{wanted.asset_id}"

    def _noted(self, change: int) -> int:
        """The bytes of the cache after this change, about: files fetched twice count twice.

        More than the limit where nobody has counted them yet.
        """
        descriptor = os.open(self.directory / _BYTES, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            text = os.read(descriptor, 32)
            noted = (int(text) if text.isdigit() else self._limit + 1) + change
            if change or not text.isdigit():
                os.pwrite(descriptor, b"%032d" % max(0, noted), 0)
            return noted
        finally:
            os.close(descriptor)

    def _files(self) -> Iterator[_Cached]:
        now = time.time()
        for directory, _, names in os.walk(self.directory):
            for name in names:
                path = f"{directory}/{name}"
                with suppress(FileNotFoundError):
                    status = os.lstat(path)
                    if not name.startswith("."):
                        yield _Cached(status.st_ctime, path, status.st_size)
                    elif name.startswith(_PARTIAL) and now - status.st_mtime > _PARTIAL_SECONDS:
                        os.unlink(path)


def _parts(wanted: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    """Threads that took turns at every file would spend more on turns than on small files."""
    size = max(1, min(_TOGETHER, len(wanted) // (2 * _THREADS)))
    return (wanted[start : start + size] for start in range(0, len(wanted), size))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:  # another disk, a file system without links, or no more links to this file
        shutil.copyfile(source, target)
        os.utime(source)  # it was used, which a link would have told


def _is_intact(wanted: Wanted) -> bool:
    at_once = min(wanted.size + 1, _READ_BYTES)
    digest = hashlib.sha256()
    try:
        descriptor = os.open(wanted.target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        while part := os.read(descriptor, at_once):
            digest.update(part)
            if len(part) < at_once:  # its end: one call less for each small file
                break
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return digest.hexdigest() == wanted.asset_id


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
