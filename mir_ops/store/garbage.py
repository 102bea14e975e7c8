"""What a garbage collection would remove, and why. Nothing is deleted here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from mir_ops.errors import StoreError
from mir_ops.proto import store_pb2
from mir_ops.store.audits import batches
from mir_ops.store.blob_checks import blobs_among, digest_of, needed_blobs
from mir_ops.store.objects import Entry, corrupt_object
from mir_ops.store.pins import read_pin
from mir_ops.store.reachability import (
    Problem,
    Reached,
    Start,
    Walk,
    kind_of,
    object_id,
    read_refs,
    starts_of_pins,
    starts_of_reflog,
    starts_of_refs,
)
from mir_ops.store.roots import sharing_stores

if TYPE_CHECKING:
    from mir_ops.store.store import Store

DAY: Final = 24 * 3600.0
GRACE: Final = 7 * DAY  # what is younger may belong to a writer that has not committed yet
REFLOG_KEPT: Final = 90 * DAY
_BATCH: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """An object that nothing keeps. A `ripe` one is old enough to be removed."""

    kind: str
    key: str
    byte_size: int
    age: float  # seconds, by the server's clock
    why: str
    ripe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How much of one kind is dead."""

    count: int = 0
    byte_size: int = 0
    ripe_count: int = 0
    ripe_bytes: int = 0

    def plus(self, dead: Dead) -> Kind:
        """With one more."""
        return Kind(
            count=self.count + 1,
            byte_size=self.byte_size + dead.byte_size,
            ripe_count=self.ripe_count + dead.ripe,
            ripe_bytes=self.ripe_bytes + dead.byte_size * dead.ripe,
        )


@dataclass(slots=True)
class Garbage:
    """Totals by kind, and why nothing is said about blobs in some places."""

    kinds: dict[str, Kind] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, dead: Dead) -> None:
        """Count one."""
        self.kinds[dead.kind] = self.kinds.get(dead.kind, Kind()).plus(dead)


def find_garbage(
    store: Store,
    *,
    keep: Collection[str] | None = None,
    grace: float = GRACE,
    reflog_kept: float = REFLOG_KEPT,
    on_dead: Callable[[Dead], None] | None = None,
) -> Garbage:
    """Mark what refs, the reflog of `reflog_kept` seconds and pins lead to; the rest is dead.

    `keep` are blobs that others name: model packages, logs and reports of the catalog. Without it
    (None) no blob is called dead. Blobs in a shared root are never called dead, because other
    stores may need them. Raises StoreError when a living version is damaged.
    """
    found = Garbage()
    now = store.objects.clock()
    marking = _Marking(store, now, reflog_kept)

    def add(kind: str, entry: Entry, why: str) -> None:
        age = now - entry.modified
        dead = Dead(
            kind=kind,
            key=entry.key,
            byte_size=entry.size,
            age=age,
            why=why,
            ripe=age >= grace,
        )
        found.add(dead)
        if on_dead is not None:
            on_dead(dead)

    for kind, entry, why in marking.dead():
        add(kind, entry, why)
    for entry in _dead_blobs(store, marking.living, keep, found):
        add("blob", entry, "no version names it")
    return found


class _Marking:
    """What lives, and how what does not came to be."""

    def __init__(self, store: Store, now: float, reflog_kept: float) -> None:
        self._objects = store.objects
        self._now = now
        self._oldest = now - reflog_kept
        refs = read_refs(self._objects, _refuse)
        walk = Walk(self._objects, _refuse)
        walk.follow(starts_of_refs(refs))
        walk.follow(starts_of_reflog(self._objects, refs, since=self._oldest))
        walk.follow(starts_of_pins(self._objects, now=now))
        self.living = walk.reached
        # What expired reflog entries lead to is dead, but we can say what it was.
        old = Walk(self._objects, _ignore, known=self.living)
        old.follow(starts_of_reflog(self._objects, refs))
        self._expired = old.reached

    def dead(self) -> Iterator[tuple[str, Entry, str]]:
        """Kind, object and reason of everything that nothing keeps, blobs apart."""
        unexplained: list[tuple[str, Entry]] = []
        for entry in self._objects.entries("obj/"):
            if not self.living.has_object(object_id(entry.key)):
                kind = kind_of(self._objects.find(entry.key) or b"")
                unexplained.append((kind, entry))
        self._explain([object_id(entry.key) for kind, entry in unexplained if kind == "commit"])
        for kind, entry in unexplained:
            yield kind, entry, self._why(object_id(entry.key))
        for entry in self._objects.entries("seg/"):
            sidecar = entry.key.endswith(".keys")
            known = self.living.sidecars if sidecar else self.living.segments
            if object_id(entry.key) not in known:
                yield "sidecar" if sidecar else "segment", entry, self._why(object_id(entry.key))
        yield from self._dead_records()
        for entry in self._objects.leftovers():
            yield "temporary file", entry, "its writer was killed"

    def _explain(self, commits: list[str]) -> None:
        """Walk from dead commits that no reflog entry names: writers that lost a race or died."""
        lost = Walk(self._objects, _ignore, known=_joined(self.living, self._expired))
        why = "an operation that was not committed"
        lost.follow(Start(commit=one, referrer=why, strong=False) for one in commits)
        self._lost = lost.reached

    def _why(self, digest: str) -> str:
        if self._holds(self._expired, digest):
            referrer = _referrer(self._expired, digest)
            return f"only an expired entry of the reflog leads to it: {referrer}"
        if self._holds(self._lost, digest):
            return (
                f"only a commit that no ref points to leads to it: {_referrer(self._lost, digest)}"
            )
        return "nothing leads to it: its writer died before it committed"

    @staticmethod
    def _holds(reached: Reached, digest: str) -> bool:
        return (
            reached.has_object(digest) or digest in reached.segments or digest in reached.sidecars
        )

    def _dead_records(self) -> Iterator[tuple[str, Entry, str]]:
        for entry in self._objects.entries("pins/"):
            pin = read_pin(self._objects, entry.key)
            if pin is not None and pin.expires_at < self._now:
                yield "pin", entry, "it expired"
        for entry in self._objects.entries("ops/"):
            commit = self._recorded(entry.key)
            if commit and commit not in self.living.commits:
                yield "operation record", entry, f"its commit {commit[:12]} is dead"
        for entry in self._objects.entries("reflog/"):
            if entry.modified < self._oldest:
                yield "reflog entry", entry, "it expired"

    def _recorded(self, key: str) -> str | None:
        body = self._objects.find(key)
        try:
            return store_pb2.OpRecord.FromString(body).commit.hex() if body else None
        except DecodeError as error:
            raise corrupt_object(self._objects, key, str(error)) from None


def _dead_blobs(
    store: Store, living: Reached, keep: Collection[str] | None, found: Garbage
) -> Iterator[Entry]:
    if keep is None:
        found.notes.append("Blobs are not judged: only the catalog knows which others it names")
        return
    shared = [root for root in store.blobs.roots if root is not store.objects]
    for root in shared:
        found.notes.append(f"Blobs in the shared root `{root.url}` are never called dead")
    others = sharing_stores(store.objects)
    if others:
        names = ", ".join(f"`{url}`" for url in sorted(others.values()))
        found.notes.append(f"Blobs of this store are never called dead: {names} keep theirs here")
        return
    needed, kept = needed_blobs(store.objects, living), frozenset(keep)
    for some in batches(store.objects.entries("blobs/"), _BATCH):
        blobs = blobs_among(some)
        places = needed.find([digest_of(entry) for entry in blobs])
        for entry, place in zip(blobs, places, strict=True):
            if place < 0 and digest_of(entry) not in kept:
                yield entry


def _referrer(reached: Reached, digest: str) -> str:
    for table in (reached.commits, reached.manifests, reached.taxonomies, reached.sidecars):
        if digest in table:
            return table[digest]
    return reached.segments[digest].referrer


def _joined(one: Reached, other: Reached) -> Reached:
    return Reached(
        commits=one.commits | other.commits,
        manifests=one.manifests | other.manifests,
        taxonomies=one.taxonomies | other.taxonomies,
        segments=one.segments | other.segments,
        sidecars=one.sidecars | other.sidecars,
    )


def _refuse(problem: Problem) -> None:
    if problem.kind != "dangling":
        raise StoreError(
            f"The store is damaged: {problem.reason}; {problem.referrer} refers to it",
            code="damaged-store",
            hint="Run `mir store fsck meta`, and collect garbage when it is clean",
        )


def _ignore(_: Problem) -> None:
    return None
