"""An object store that counts its steps and misbehaves at one of them, in every way we know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from mir_ops.errors import StoreError
from mir_ops.store.objects import (
    Entry,
    MemoryObjects,
    ObjectStore,
    OutcomeUnknownError,
    PreconditionError,
    Versioned,
)

T = TypeVar("T")

BEFORE: Final = ("kill before", "disk full", "input-output error", "server error", "denied")
AFTER: Final = ("kill after", "answer lost", "sent twice", "sent twice, late")
READS: Final = ("truncated", "flipped", "stale list", "vanished")
KINDS: Final = (*BEFORE, "conflict", "short write", *AFTER, *READS)


class Killed(BaseException):
    """The process is gone: nobody catches this."""


class FaultyObjects:
    """Does what `inner` does, but at step `fail_at` what `kind` says."""

    def __init__(self, inner: ObjectStore, fail_at: int = -1, kind: str = "") -> None:
        self.inner = inner
        self.url = inner.url
        self.steps = 0
        self.fail_at = fail_at
        self.kind = kind
        self.happened = False
        self._late: list[Callable[[], object]] = []

    def find(self, key: str) -> bytes | None:
        return self._read(lambda: self.inner.find(key), self._damaged)

    def size(self, key: str) -> int | None:
        return self._read(lambda: self.inner.size(key), lambda found: found)

    def local_path(self, key: str) -> Path | None:
        return self.inner.local_path(key)

    def fetch(self, key: str, destination: Path) -> bool:
        return self._read(lambda: self.inner.fetch(key, destination), lambda found: found)

    def create(self, key: str, body: bytes | Path) -> bool:
        return self._write(lambda: self.inner.create(key, body), StoreError("no answer"))

    def create_all(self, items: Sequence[tuple[str, bytes | Path]]) -> None:
        for key, body in items:
            self.create(key, body)

    def sync(self) -> None:
        self._write(self.inner.sync, StoreError("no answer"))

    def find_versioned(self, key: str) -> Versioned | None:
        def damaged(found: Versioned | None) -> Versioned | None:
            body = None if found is None else self._damaged(found.body)
            return None if found is None or body is None else Versioned(body, found.etag)

        return self._read(lambda: self.inner.find_versioned(key), damaged)

    def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
        self._write(
            lambda: self.inner.swap(key, body, expected),
            OutcomeUnknownError("no answer"),
            OutcomeUnknownError("another swap is under way"),
        )

    def list(self, prefix: str) -> Iterator[str]:
        def stale(found: Iterator[str]) -> Iterator[str]:
            return iter(()) if self.kind == "stale list" else found

        return self._read(lambda: self.inner.list(prefix), stale)

    def entries(self, prefix: str) -> Iterator[Entry]:
        return self.inner.entries(prefix)

    def leftovers(self) -> Iterator[Entry]:
        return self.inner.leftovers()

    def delete(self, key: str) -> None:
        self._write(lambda: self.inner.delete(key), StoreError("no answer"))

    def clock(self) -> float:
        return self.inner.clock()

    def arrive_late(self) -> None:
        """Requests that the network held back reach the server now."""
        for do in self._late:
            with suppress(PreconditionError):
                do()

    def _read(self, do: Callable[[], T], damaged: Callable[[T], T]) -> T:
        if not self._now():
            return do()
        if self.kind in READS:
            return damaged(do())
        if self.kind == "kill after":
            do()
        raise self._error(StoreError("no answer"))

    def _write(self, do: Callable[[], T], lost: StoreError, busy: StoreError | None = None) -> T:
        if not self._now() or self.kind in READS:
            return do()
        if self.kind in AFTER:
            result = do()
            if self.kind == "sent twice":
                self._late.append(do)
                self.arrive_late()
                return result
            if self.kind == "sent twice, late":
                self._late.append(do)
                return result
            raise self._error(lost)
        if self.kind == "conflict" and busy is not None:
            raise busy
        raise self._error(lost)

    def _now(self) -> bool:
        self.steps += 1
        self.happened |= self.steps == self.fail_at
        return self.steps == self.fail_at

    def _error(self, lost: StoreError) -> BaseException:
        codes = {
            "disk full": "disk-full",
            "short write": "disk-full",
            "input-output error": "input-output-error",
            "server error": "store-unavailable",
            "conflict": "store-refused",
            "denied": "access-denied",
        }
        if self.kind.startswith("kill"):
            return Killed()
        return StoreError(self.kind, code=codes[self.kind]) if self.kind in codes else lost

    def _damaged(self, body: bytes | None) -> bytes | None:
        if body is None or self.kind == "vanished":
            return None
        middle = len(body) // 2
        if self.kind == "truncated":
            return body[:middle]
        return body[:middle] + bytes([body[middle] ^ 0x10]) + body[middle + 1 :]


def copied(objects: MemoryObjects) -> MemoryObjects:
    """The same objects once more, to be spoilt."""
    copy = MemoryObjects(objects.url)
    for key in objects.list(""):
        seen = objects.find_versioned(key)
        assert seen is not None
        if key.startswith(("refs/", "meta/", "pins/", "gc/")):
            copy.swap(key, seen.body, None)
        else:
            copy.create(key, seen.body)
    return copy
