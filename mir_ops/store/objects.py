"""What a dataset store needs of the place its bytes live in, and that place in memory."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from mir_ops.errors import ConflictError, MirError, NotFoundError, StoreError


class PreconditionError(ConflictError):
    """A compare-and-swap found another body than the expected one: nothing was written."""

    code = "precondition-failed"


class OutcomeUnknownError(StoreError):
    """A write may or may not have landed: read back before anything else."""

    code = "outcome-unknown"


@dataclass(frozen=True, slots=True)
class Versioned:
    """A mutable object as it was read. `etag` is what makes the next swap safe."""

    body: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What a listing says about one object. `modified` is seconds since 1970, by the server."""

    key: str
    size: int
    modified: float


class ObjectStore(Protocol):
    """Immutable objects are created once under a key; mutable ones move by compare-and-swap.

    An object that `create` or `create_all` reported is durable after the next `sync`, also when
    it was there before. A swap is durable when it returns.
    """

    @property
    def url(self) -> str:
        """Where it is, without credentials."""

    def find(self, key: str) -> bytes | None:
        """The body, or None when there is no such object."""

    def size(self, key: str) -> int | None:
        """The body's length, or None when there is no such object."""

    def local_path(self, key: str) -> Path | None:
        """The file that holds the object, when there is one to be mapped into memory."""

    def fetch(self, key: str, destination: Path) -> bool:
        """Copy the body into the file `destination`; False when there is no such object."""

    def create(self, key: str, body: bytes | Path) -> bool:
        """Write the object unless the key is taken; True when this call wrote it."""

    def create_all(self, items: Sequence[tuple[str, bytes | Path]]) -> None:
        """Create many, concurrently; keys that are taken stay as they are."""

    def sync(self) -> None:
        """Make everything created so far survive a power cut."""

    def find_versioned(self, key: str) -> Versioned | None:
        """A mutable object with what is needed to swap it."""

    def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
        """Replace the object read as `expected` (None: must not exist).

        Raises PreconditionError, or OutcomeUnknownError when the answer was lost.
        """

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix`, ascending."""

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Objects whose keys start with `prefix`, a page at a time, in no promised order."""

    def leftovers(self) -> Iterator[Entry]:
        """Files of killed writers, which no key names."""

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def clock(self) -> float:
        """Seconds since 1970 by the server's clock, as far as we know it."""


@runtime_checkable
class SignsUrls(Protocol):
    """An object store that browsers can read from, object by object, for a while."""

    def signed_url(self, key: str, *, seconds: int, media_type: str) -> str:
        """An address that needs no keys."""


@runtime_checkable
class KeepsNear(Protocol):
    """An object store far away, of which a process that reads much can keep a part here."""

    def keep_near(self) -> None:
        """From now on keep what is read of segments as files on this host."""


class MemoryObjects:
    """Objects in this process, for tests and experiments."""

    def __init__(self, url: str = "memory:") -> None:
        self.url = url
        self._bodies: dict[str, bytes] = {}
        self._etags: dict[str, str] = {}
        self._times: dict[str, float] = {}
        self._counter = itertools.count(1)
        self._lock = threading.Lock()

    def find(self, key: str) -> bytes | None:
        return self._bodies.get(key)

    def size(self, key: str) -> int | None:
        body = self._bodies.get(key)
        return None if body is None else len(body)

    def local_path(self, key: str) -> Path | None:  # noqa: ARG002 - no files here
        return None

    def fetch(self, key: str, destination: Path) -> bool:
        body = self._bodies.get(key)
        if body is None:
            return False
        destination.write_bytes(body)
        return True

    def create(self, key: str, body: bytes | Path) -> bool:
        content = body if isinstance(body, bytes) else body.read_bytes()
        with self._lock:
            if key in self._bodies:
                return False
            self._put(key, content)
            return True

    def create_all(self, items: Sequence[tuple[str, bytes | Path]]) -> None:
        for key, body in items:
            self.create(key, body)

    def sync(self) -> None:
        return None

    def find_versioned(self, key: str) -> Versioned | None:
        with self._lock:
            body = self._bodies.get(key)
            return None if body is None else Versioned(body, self._etags[key])

    def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
        with self._lock:
            found = self._etags.get(key)
            if found != (expected.etag if expected else None):
                raise PreconditionError(f"Object `{key}` moved")
            self._put(key, body)

    def list(self, prefix: str) -> Iterator[str]:
        return iter(sorted(key for key in self._bodies if key.startswith(prefix)))

    def entries(self, prefix: str) -> Iterator[Entry]:
        for key in self.list(prefix):
            yield Entry(key, len(self._bodies[key]), self._times[key])

    def leftovers(self) -> Iterator[Entry]:
        return iter(())

    def delete(self, key: str) -> None:
        with self._lock:
            self._bodies.pop(key, None)
            self._etags.pop(key, None)

    def clock(self) -> float:
        return time.time()

    def _put(self, key: str, body: bytes) -> None:
        self._bodies[key] = body
        self._times[key] = self.clock()
        self._etags[key] = str(next(self._counter))


def read_object(objects: ObjectStore, key: str) -> bytes:
    """The body of an object that must be there."""
    body = objects.find(key)
    if body is None:
        raise NotFoundError(
            f"Object `{key}` is missing from `{objects.url}`",
            code="missing-object",
            hint="Restore it from a copy of the store; its name is the hash of its content",
        )
    return body


@contextmanager
def referred_by(referrer: str) -> Iterator[None]:
    """Lets the error of a missing or damaged object say what refers to it."""
    try:
        yield
    except (NotFoundError, StoreError) as error:
        if error.code not in ("missing-object", "corrupt-object"):
            raise
        kind: type[MirError] = NotFoundError if isinstance(error, NotFoundError) else StoreError
        message = f"{error}; {referrer} refers to it"
        raise kind(message, code=error.code, hint=error.hint) from error


def check_same_size(objects: ObjectStore, key: str, body: bytes | Path, found: int | None) -> None:
    """What is stored under the hash of `body` already must at least be as long."""
    if not key.startswith(("blobs/", "seg/")):
        return  # the same commit may be compressed into another number of bytes
    size = len(body) if isinstance(body, bytes) else body.stat().st_size
    if found is not None and found != size:
        raise corrupt_object(objects, key, f"it has {found} bytes, expected {size}")


def corrupt_object(objects: ObjectStore, key: str, reason: str) -> StoreError:
    """The error for an object whose content is not what its name promises."""
    return StoreError(
        f"Object `{key}` in `{objects.url}` is corrupt: {reason}",
        code="corrupt-object",
        hint="Restore it from a copy of the store; its name is the hash of its content",
    )
