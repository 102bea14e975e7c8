"""Flushing whole file systems: one call for the thousands of files that an import writes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from functools import lru_cache
from types import TracebackType
from typing import Any, Self


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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


@lru_cache(1)
def _syncfs() -> Any:
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
