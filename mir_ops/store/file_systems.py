"""Files as the thousands that an import writes want them: few calls each, one flush for all."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self

_GUESS: Final = 2**16  # bytes to read at once of a file whose size nobody knows


@lru_cache(1)
def can_flush() -> bool:
    """Whether this system has `syncfs`: Linux does."""
    return _syncfs() is not None


class FileSystems:
    """The file systems of some directories. Enter before writing: errors since then count."""

    def __init__(self, directories: Iterable[str] = ()) -> None:
        self._descriptors: dict[int, int] = {}
        for directory in directories:
            self.add(directory)

    def add(self, directory: str) -> None:
        device = os.stat(directory).st_dev
        if device not in self._descriptors:
            self._descriptors[device] = os.open(directory, os.O_RDONLY)

    def flush(self) -> None:
        """Put everything written so far, names included, on disk."""
        for descriptor in self._descriptors.values():
            if _syncfs()(descriptor) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_file(path: str, size: int = _GUESS) -> bytes:
    """The bytes of a file that had `size` when it was looked at; `open` asks for much more."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, size + 1)
        if len(data) == size:
            return data
        parts = [data]
        while parts[-1]:
            parts.append(os.read(descriptor, _GUESS))
        return b"".join(parts)
    finally:
        os.close(descriptor)


def write_file(
    path: str, data: bytes | memoryview, *, flush: Callable[[int], None] = lambda _: None
) -> None:
    """Write a new file; one that exists is left as it is, and an error."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        flush(file)
    except OSError as error:
        error.filename = path  # a write says only that the disk is full, not which
        raise
    finally:
        os.close(file)


@lru_cache(1)
def _syncfs() -> Any:
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
