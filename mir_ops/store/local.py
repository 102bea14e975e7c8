"""A store in a local directory: hard links make objects, `flock` and `os.replace` move refs."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from mir_ops.errors import InvalidInputError, StoreError
from mir_ops.store.file_systems import FileSystems, can_flush, read_file, write_file
from mir_ops.store.objects import (
    Entry,
    OutcomeUnknownError,
    PreconditionError,
    Versioned,
    check_same_size,
)

_THREADS: Final = 8
_MANY: Final = 32  # from here on, one flush of the file system costs less than one for each file
_CANNOT_LINK: Final = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK)
_TEMPORARY: Final = ".tmp-"
_LOCK: Final = ".lock"


class LocalObjects:
    """Objects as files below `root`.

    A file appears under its name only when it is complete and on disk; the directories that name
    it reach the disk with the next `sync`, one call per directory and commit.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = str(root)
        self.url = root.as_uri()
        self._unsynced: set[str] = set()
        self._made: set[str] = set()  # directories that are there
        self._lock = threading.Lock()
        self._syncing = threading.Lock()

    def find(self, key: str) -> bytes | None:
        try:
            return read_file(f"{self._root}/{_checked(key)}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise access_error(f"`{key}`", error) from error

    def size(self, key: str) -> int | None:
        with _errors(key):
            try:
                return self._path(key).stat().st_size
            except FileNotFoundError:
                return None

    def local_path(self, key: str) -> Path | None:
        path = self._path(key)
        return path if path.exists() else None

    def fetch(self, key: str, destination: Path) -> bool:
        with _errors(key):
            try:
                shutil.copyfile(self._path(key), destination)
            except FileNotFoundError:
                if not destination.parent.is_dir():
                    raise
                return False
            return True

    def create(self, key: str, body: bytes | Path) -> bool:
        path = self._path(key)
        with _errors(key):
            self._prepare(path.parent)
            # Also when it is there already: its first writer may not have synced it yet.
            with self._lock:
                self._unsynced.add(str(path.parent))
            if (found := self.size(key)) is not None:
                check_same_size(self, key, body, found)
                return False
            temporary = path.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
            try:
                _write(temporary, body)
                os.link(temporary, path)
            except FileExistsError:
                return False
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()
            return True

    def create_all(self, items: Sequence[tuple[str, bytes | Path]]) -> None:
        if len(items) >= _MANY and can_flush():
            with self.stage(items) as staged:
                staged.flush()
                staged.name()
            return
        # Concurrent fsyncs share one journal commit: many times faster than one after another.
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(lambda item: self.create(*item), items):
                pass

    def stage(self, items: Sequence[tuple[str, bytes | Path]]) -> Staged:
        """Write many whose keys say what they hold; those that are there stay as they are.

        They have no names yet: the caller flushes them, which may be in another thread.
        """
        staged = Staged(self._file_systems())
        mark, key = f"{_TEMPORARY}{secrets.token_hex(8)}", ""
        try:
            for number, (key, body) in enumerate(items):
                target = self._target(key)
                try:
                    check_same_size(self, key, body, os.stat(target).st_size)
                except FileNotFoundError:
                    _fill(staged.beside(target, f"{mark}-{number}"), body)
        except OSError as error:
            staged.discard()
            raise access_error(f"`{key}`", error) from error
        except BaseException:
            staged.discard()
            raise
        return staged

    def link_all(self, items: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Make files of this file system, by their paths, objects without a copy of their bytes.

        Returns those that have to be copied. Who writes into such a file changes the object.
        """
        left, key = [], ""
        try:
            for key, source in items:
                try:
                    os.link(source, self._target(key))
                except FileExistsError:
                    check_same_size(self, key, Path(source), self.size(key))
                except OSError as error:
                    if error.errno not in _CANNOT_LINK:
                        raise
                    left.append((key, source))
        except OSError as error:
            raise access_error(f"`{key}`", error) from error
        return left

    def sync(self) -> None:
        # One at a time: a thread that finds nothing to sync must not overtake the one that does it.
        with self._syncing:
            with self._lock:
                directories, self._unsynced = self._unsynced, set()
            try:
                with _errors("directories"):
                    self._sync_all(directories)
            except BaseException:
                with self._lock:
                    self._unsynced |= directories
                raise

    def find_versioned(self, key: str) -> Versioned | None:
        body = self.find(key)
        return None if body is None else Versioned(body, "")  # the whole body is compared

    def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
        path = self._path(key)
        with _errors(key):
            self._prepare(path.parent)
            self.sync()
        with _locked(path):
            found = self.find(key)
            if found != (expected.body if expected else None):
                raise PreconditionError(f"Object `{key}` moved")
            temporary = path.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
            with _errors(key):
                try:
                    _write(temporary, body)
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise
            try:
                os.replace(temporary, path)
                _sync_directory(path.parent)
            except OSError as error:
                raise OutcomeUnknownError(f"Cannot tell whether `{key}` moved: {error}") from error

    def list(self, prefix: str) -> Iterator[str]:
        folder = self._path(prefix.rpartition("/")[0])
        found = []
        for directory, _, names in os.walk(folder):
            parent = Path(directory).relative_to(self.root).as_posix()
            found += [f"{parent}/{name}" for name in names if not name.startswith(".")]
        return iter(sorted(key for key in found if key.startswith(prefix)))

    def entries(self, prefix: str) -> Iterator[Entry]:
        for entry in self._walk(prefix.rpartition("/")[0]):
            if entry.key.startswith(prefix) and not entry.key.rpartition("/")[2].startswith("."):
                yield entry

    def leftovers(self) -> Iterator[Entry]:
        for entry in self._walk(""):
            if entry.key.rpartition("/")[2].startswith(_TEMPORARY):
                yield entry

    def delete(self, key: str) -> None:
        with _errors(key):
            self._path(key).unlink(missing_ok=True)
            _lock_of(self._path(key)).unlink(missing_ok=True)

    def clock(self) -> float:
        return time.time()

    def _sync_all(self, directories: set[str]) -> None:
        if len(directories) >= _MANY and can_flush():
            with self._file_systems() as systems:
                systems.flush()
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(_sync_directory, directories):
                pass

    def _file_systems(self) -> FileSystems:
        """That of the root, and of what may be mounted in it."""
        with os.scandir(self.root) as entries:
            inside = [entry.path for entry in entries if entry.is_dir()]
        return FileSystems([str(self.root), *inside])

    def _target(self, key: str) -> str:
        """The path of a key, in a directory that is there and is on disk after the next `sync`."""
        path = f"{self._root}/{_checked(key)}"
        directory = path.rpartition("/")[0]
        if directory not in self._made:
            self._make(directory)
        with self._lock:
            self._unsynced.add(directory)
        return path

    def _path(self, key: str) -> Path:
        return self.root / _checked(key)

    def _walk(self, folder: str) -> Iterator[Entry]:
        """Every file below a folder, also temporary ones; others may remove some meanwhile."""
        for directory, _, names in os.walk(self.root / folder):
            parent = Path(directory).relative_to(self.root)
            for name in names:
                with suppress(FileNotFoundError):
                    status = os.stat(os.path.join(directory, name))
                    yield Entry((parent / name).as_posix(), status.st_size, status.st_mtime)

    def _make(self, directory: str) -> None:
        try:
            os.mkdir(directory)
        except FileExistsError:
            pass
        except FileNotFoundError:
            self._prepare(Path(directory))
        with self._lock:
            self._unsynced.add(directory.rpartition("/")[0])
        self._made.add(directory)

    def _prepare(self, directory: Path) -> None:
        """Make the directory; each new one's name must reach the disk with its parent."""
        missing = []
        while not directory.is_dir():
            missing.append(directory)
            directory = directory.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            with self._lock:
                self._unsynced.add(str(new.parent))


class Staged:
    """Objects of many keys, whole and without names: kept by `flush` and then `name`, or lost."""

    def __init__(self, systems: FileSystems) -> None:
        self._systems = systems
        self._written: list[tuple[str, str]] = []

    def beside(self, target: str, name: str) -> str:
        """Where to write the file that is to be called `target`."""
        path = f"{target.rpartition('/')[0]}/{name}"
        self._written.append((path, target))
        return path

    def flush(self) -> None:
        """Put what was written on disk. Without it a power cut could leave half a file a name."""
        if self._written:
            with _errors("files"):
                self._systems.flush()

    def name(self) -> None:
        """Give the files their names; who was faster wrote the same, for the name says what."""
        self._written.reverse()
        target = ""
        try:
            while self._written:
                path, target = self._written[-1]
                os.rename(path, target)
                self._written.pop()
        except OSError as error:
            raise access_error(f"`{target}`", error) from error

    def discard(self) -> None:
        """Remove what has no name yet."""
        self._systems.close()
        for path, _ in self._written:
            with suppress(FileNotFoundError):
                os.unlink(path)
        self._written = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def _checked(key: str) -> str:
    if (".." in key and ".." in key.split("/")) or key.startswith("/"):
        raise InvalidInputError(f"`{key}` is not a key of a store", code="invalid-key")
    return key


def _lock_of(path: Path) -> Path:
    return path.parent / f".{path.name}{_LOCK}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with _errors(path.name):
        descriptor = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, body: bytes | Path) -> None:
    _fill(str(path), body, flush=os.fsync)


def _fill(path: str, body: bytes | Path, flush: Callable[[int], None] = lambda _: None) -> None:
    if isinstance(body, bytes):
        write_file(path, body, flush=flush)
        return
    try:
        with open(path, "xb") as target, body.open("rb") as source:
            shutil.copyfileobj(source, target, 1024 * 1024)
            target.flush()
            flush(target.fileno())
    except OSError as error:
        error.filename = error.filename or path  # of a write that found the disk full
        raise


def _sync_directory(directory: str | Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _errors(key: str) -> Iterator[None]:
    """Say which object, and what to do about it."""
    try:
        yield
    except OSError as error:
        raise access_error(f"`{key}`", error) from error


def access_error(what: str, error: OSError) -> StoreError:
    """What the file system said, as an error with something to do about it."""
    hints = {
        errno.ENOSPC: ("disk-full", "Free some space and run the same command again"),
        errno.EDQUOT: ("disk-full", "Raise the quota and run the same command again"),
        errno.EACCES: ("permission-denied", "Give this user access to the store's directory"),
        errno.EPERM: ("permission-denied", "Give this user access to the store's directory"),
        errno.EROFS: ("read-only", "Mount the file system for writing, or copy the store"),
    }
    code, hint = hints.get(error.errno or 0, ("input-output-error", "Check the disk"))
    return StoreError(f"Cannot access {what}: {error}", code=code, hint=hint)
