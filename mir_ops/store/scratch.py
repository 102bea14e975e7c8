"""Objects over those of another store: what is there is read, what is new is written elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mir_ops.store import keys
from mir_ops.store.objects import Entry, ObjectStore, PreconditionError, Versioned

# Never looked up below.
_OWN: Final = (
    keys.HEADS,
    keys.TAGS,
    keys.PAGES,
    "ops/",
    "reflog/",
    "pins/",
    "gc/",
)


@dataclass(frozen=True, slots=True)
class ScratchObjects:
    """Nothing of `base` is ever written. Its branches, tags and operations are not seen."""

    base: ObjectStore
    own: ObjectStore

    @property
    def url(self) -> str:
        return self.own.url

    def find(self, key: str) -> bytes | None:
        found = self.own.find(key)
        return self.base.find(key) if found is None and _shared(key) else found

    def size(self, key: str) -> int | None:
        found = self.own.size(key)
        return self.base.size(key) if found is None and _shared(key) else found

    def local_path(self, key: str) -> Path | None:
        found = self.own.local_path(key)
        return self.base.local_path(key) if found is None and _shared(key) else found

    def fetch(self, key: str, destination: Path) -> bool:
        if self.own.fetch(key, destination):
            return True
        return _shared(key) and self.base.fetch(key, destination)

    def create(self, key: str, body: bytes | Path) -> bool:
        return not self._below(key) and self.own.create(key, body)

    def create_all(self, items: Sequence[tuple[str, bytes | Path]]) -> None:
        with ThreadPoolExecutor(16) as pool:
            below = pool.map(self._below, [key for key, _ in items])
            self.own.create_all(
                [item for item, there in zip(items, below, strict=True) if not there]
            )

    def sync(self) -> None:
        self.own.sync()

    def find_versioned(self, key: str) -> Versioned | None:
        found = self.own.find_versioned(key)
        return self.base.find_versioned(key) if found is None and _shared(key) else found

    def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
        if self.own.find_versioned(key) is None:
            if self.find_versioned(key) != expected:
                raise PreconditionError(f"`{key}` is not what was read")
            expected = None  # the first body of our own
        self.own.swap(key, body, expected)

    def list(self, prefix: str) -> Iterator[str]:
        below = (key for key in self.base.list(prefix) if _shared(key))
        return iter(sorted({*self.own.list(prefix), *below}))

    def entries(self, prefix: str) -> Iterator[Entry]:
        mine = {entry.key: entry for entry in self.own.entries(prefix)}
        yield from mine.values()
        for entry in self.base.entries(prefix):
            if _shared(entry.key) and entry.key not in mine:
                yield entry

    def leftovers(self) -> Iterator[Entry]:
        return self.own.leftovers()

    def delete(self, key: str) -> None:
        self.own.delete(key)

    def clock(self) -> float:
        return self.own.clock()

    def _below(self, key: str) -> bool:
        return _shared(key) and self.base.size(key) is not None


def _shared(key: str) -> bool:
    return not key.startswith(_OWN)
