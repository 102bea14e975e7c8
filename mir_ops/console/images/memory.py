"""What is kept in memory between requests: bounded in bytes, each thing made once."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Any, Final, TypeVar, cast

MOST_BYTES: Final = 640 << 20
_LEAST: Final = 256  # bytes that an entry takes besides its content

T = TypeVar("T")


class Memory:
    """Values by key. Those not used for longest go first; what is too large is not kept at all.

    Several threads that ask for the same wait for the one that makes it.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self.held = 0
        self._kept: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._made: dict[Hashable, Future[Any]] = {}
        self._lock = Lock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of this key, made if it is not there."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return cast("T", self._kept[key][0])
            found, first = self._made.get(key), False
            if found is None:
                found, first = self._made.setdefault(key, Future()), True
        return self._make(key, make, found) if first else cast("T", found.result())

    def _make(self, key: Hashable, make: Callable[[], T], future: Future[T]) -> T:
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._made[key]
            future.set_exception(error)
            raise
        size = size_of(value) + _LEAST
        with self._lock:
            del self._made[key]
            if size <= self.most:
                self._kept[key] = (value, size)
                self.held += size
            while self.held > self.most:
                self.held -= self._kept.popitem(last=False)[1][1]
        future.set_result(value)
        return value


def size_of(value: object) -> int:
    """Bytes of arrays and texts in it, through dataclasses, sequences and mappings."""
    if (size := getattr(value, "nbytes", None)) is not None:
        return int(size)
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, dict):
        return sum(size_of(one) for pair in value.items() for one in pair) + 64 * len(value)
    if isinstance(value, tuple | list):
        return sum(map(size_of, value)) + 64 * len(value)
    if dataclasses.is_dataclass(value):
        return sum(size_of(getattr(value, field.name)) for field in dataclasses.fields(value))
    return 32
