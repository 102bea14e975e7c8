"""What refs, the reflog and pins lead to: commits, manifests, taxonomies, segments, sidecars."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from google.protobuf.message import DecodeError

from mir_ops.errors import MirError
from mir_ops.proto import store_pb2
from mir_ops.store import keys, wire
from mir_ops.store.commits import read_commit
from mir_ops.store.manifests import (
    Manifest,
    Segment,
    TableSegments,
    read_manifest,
    read_taxonomy,
)
from mir_ops.store.objects import ObjectStore, corrupt_object
from mir_ops.store.pins import read_pin
from mir_ops.store.refs import Ref, logged_name, read_ref

ProblemKind = Literal["missing", "corrupt", "dangling", "orphan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, where, and what refers to it."""

    kind: ProblemKind
    key: str
    reason: str
    referrer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A commit that something keeps. Only a `strong` one, of a ref, must be there."""

    commit: str
    referrer: str
    strong: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A segment, and where it was first seen."""

    segment: Segment
    table: str
    manifest: str
    is_base: bool

    @property
    def referrer(self) -> str:
        """What to name when the segment is damaged."""
        return f"table `{self.table}` of manifest {self.manifest[:12]}"


@dataclass(slots=True)
class Reached:
    """Everything that was reached, by id, with the first thing that refers to it.

    It grows with the number of stored objects, not with the number of rows.
    """

    commits: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    taxonomies: dict[str, str] = field(default_factory=dict)
    segments: dict[str, Use] = field(default_factory=dict)
    sidecars: dict[str, str] = field(default_factory=dict)

    def has_object(self, object_id: str) -> bool:
        """Whether an object under `obj/` was reached."""
        return (
            object_id in self.commits or object_id in self.manifests or object_id in self.taxonomies
        )


class Walk:
    """Follows commits to their parents and content; says what is not as it should be."""

    def __init__(
        self,
        objects: ObjectStore,
        report: Callable[[Problem], None],
        *,
        known: Reached | None = None,
    ) -> None:
        self.reached = Reached()
        self._objects = objects
        self._report = report
        self._known = known or Reached()  # is neither entered nor reported again

    def follow(self, starts: Iterable[Start]) -> None:
        """Reach everything that these commits need."""
        for start in starts:
            key = keys.stored_object(start.commit)
            if not start.strong and self._objects.size(key) is None:
                reason = "the commit that it names is not there"
                self._report(
                    Problem(kind="dangling", key=key, reason=reason, referrer=start.referrer)
                )
                continue
            self._follow(start)

    def _follow(self, start: Start) -> None:
        waiting = [(start.commit, start.referrer)]
        while waiting:
            commit_id, referrer = waiting.pop()
            if commit_id in self.reached.commits or commit_id in self._known.commits:
                continue
            self.reached.commits[commit_id] = referrer
            try:
                commit = read_commit(self._objects, commit_id)
            except MirError as error:
                self._say(error, keys.stored_object(commit_id), referrer)
                continue
            name = f"commit {commit_id[:12]}"
            waiting += [(parent, name) for parent in commit.parents]
            self._enter(commit.manifest, name)

    def _enter(self, manifest_id: str, referrer: str) -> None:
        if manifest_id in self.reached.manifests or manifest_id in self._known.manifests:
            return
        self.reached.manifests[manifest_id] = referrer
        try:
            manifest = read_manifest(self._objects, manifest_id)
        except MirError as error:
            self._say(error, keys.stored_object(manifest_id), referrer)
            return
        self._note_segments(manifest_id, manifest)
        taxonomy = manifest.taxonomy
        if taxonomy is None or self._has_taxonomy(taxonomy):
            return
        name = f"manifest {manifest_id[:12]}"
        self.reached.taxonomies[taxonomy] = name
        try:
            read_taxonomy(self._objects, taxonomy)
        except MirError as error:
            self._say(error, keys.stored_object(taxonomy), name)

    def _has_taxonomy(self, taxonomy: str) -> bool:
        return taxonomy in self.reached.taxonomies or taxonomy in self._known.taxonomies

    def _note_segments(self, manifest_id: str, manifest: Manifest) -> None:
        reached, known = self.reached, self._known
        for name, table in manifest.tables.items():
            for number, segment in enumerate(table.all):
                base = number < len(table.base)
                before = reached.segments.get(segment.id)
                if (before is None or base > before.is_base) and segment.id not in known.segments:
                    use = Use(segment=segment, table=name, manifest=manifest_id, is_base=base)
                    reached.segments[segment.id] = use
                if segment.sidecar and segment.sidecar not in known.sidecars:
                    reached.sidecars.setdefault(segment.sidecar, f"segment {segment.id[:12]}")
            self._check_ranges(manifest_id, name, table)

    def _check_ranges(self, manifest_id: str, name: str, table: TableSegments) -> None:
        for before, after in itertools.pairwise(table.base):
            if after.min_key < before.max_key:
                reason = f"base segments {before.id[:12]} and {after.id[:12]} of `{name}` overlap"
                self._report(
                    Problem(
                        kind="corrupt",
                        key=keys.stored_object(manifest_id),
                        reason=reason,
                        referrer=self.reached.manifests[manifest_id],
                    )
                )

    def _say(self, error: MirError, key: str, referrer: str) -> None:
        if error.code not in ("missing-object", "corrupt-object"):
            raise error
        kind: ProblemKind = "missing" if error.code == "missing-object" else "corrupt"
        self._report(Problem(kind=kind, key=key, reason=str(error), referrer=referrer))


def read_refs(objects: ObjectStore, report: Callable[[Problem], None]) -> list[Ref]:
    """All branches and tags, also deleted ones."""
    found = []
    for prefix in (keys.HEADS, keys.TAGS):
        for key in objects.list(prefix):
            try:
                found.append(read_ref(objects, key))
            except MirError as error:
                if error.code != "corrupt-object":
                    raise
                report(Problem(kind="corrupt", key=key, reason=str(error), referrer="a name"))
    return found


def starts_of_refs(refs: Iterable[Ref]) -> Iterator[Start]:
    """Where the refs point."""
    for ref in refs:
        if ref.commit is not None:
            yield Start(commit=ref.commit, referrer=f"ref `{logged_name(ref.key)}`")


def starts_of_reflog(
    objects: ObjectStore, refs: Iterable[Ref], *, since: float = 0
) -> Iterator[Start]:
    """What deleted and recreated names pointed to, in moves after `since`.

    Every other move made a commit on top of the one before, so that its ref leads to it.
    """
    first = {logged_name(ref.key): ref.first_seq for ref in refs if ref.commit is not None}
    for key in objects.list("reflog/"):
        name, seq = _logged(key)
        if seq >= first.get(name, 1 << 62) or (body := objects.find(key)) is None:
            continue
        try:
            move = store_pb2.RefMove.FromString(body)
        except DecodeError as error:
            raise corrupt_object(objects, key, str(error)) from None
        if move.server_time_us / 1_000_000 >= since:
            for commit in (move.old_commit, move.new_commit):
                if commit:
                    referrer = f"reflog of `{name}`, move {seq}"
                    yield Start(commit=commit.hex(), referrer=referrer, strong=False)


def starts_of_pins(objects: ObjectStore, *, now: float) -> Iterator[Start]:
    """What running operations started from."""
    for key in objects.list("pins/"):
        pin = read_pin(objects, key)
        if pin is not None and pin.expires_at >= now:
            for base in pin.bases:
                yield Start(commit=base, referrer=f"pin of operation {pin.op_id}", strong=False)


def object_id(key: str) -> str:
    """The hash in the key of an immutable object."""
    return key.rpartition("/")[2].partition(".")[0]


def kind_of(stored: bytes) -> str:
    """`commit`, `manifest`, `taxonomy` or `plan`, by the header of a stored object."""
    kinds = {
        wire.COMMIT: "commit",
        wire.MANIFEST: "manifest",
        wire.TAXONOMY: "taxonomy",
        wire.GC_PLAN: "plan",
    }
    if stored[:4] != wire.MAGIC or len(stored) < 6:
        return "object"
    return kinds.get(stored[4], "object")


def _logged(key: str) -> tuple[str, int]:
    """The ref and the number of a move, from the key of its entry in the reflog."""
    _, encoded, entry = key.split("/", 2)
    number = entry.partition("-")[0]
    return keys.decode(encoded), int(number) if number.isdecimal() else 0
