"""Checking a store: that everything is there, is what its name promises, and can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from google.protobuf.message import DecodeError

from mir_ops.errors import MirError
from mir_ops.proto import store_pb2
from mir_ops.store import keys, registry
from mir_ops.store.reachability import (
    Problem,
    ProblemKind,
    Use,
    Walk,
    object_id,
    read_refs,
    starts_of_pins,
    starts_of_reflog,
    starts_of_refs,
)

if TYPE_CHECKING:
    from mir_ops.store.store import Store

T = TypeVar("T")

# `quick`: refs, commits, manifests, taxonomies. `meta`: also segments, sidecars, records, and what
# nothing refers to. `deep`: also every blob.
Depth = Literal["quick", "meta", "deep"]
DEPTHS: Final = ("quick", "meta", "deep")
# Of the exit code; orphans are normal.
BITS: Final[dict[ProblemKind, int]] = {"missing": 4, "corrupt": 8, "dangling": 16}

_THREADS: Final = 8
_LISTED: Final = 1000


@dataclass(slots=True)
class AuditReport:
    """What an audit found. `problems` holds the first thousand, `found` counts all of them."""

    depth: Depth
    problems: list[Problem] = field(default_factory=list)
    found: Counter[ProblemKind] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        """Nothing is missing, corrupt or dangling; orphans wait for garbage collection."""
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0, or the sum of 4 (missing), 8 (corrupt) and 16 (dangling)."""
        return sum(bit for kind, bit in BITS.items() if self.found[kind])

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is one of the first."""
        self.found[problem.kind] += 1
        if len(self.problems) < _LISTED:
            self.problems.append(problem)


def audit(
    store: Store, depth: Depth = "quick", *, on_problem: Callable[[Problem], None] | None = None
) -> AuditReport:
    """Check a store that may be in use; writes nothing. `on_problem` is told each as it is found.

    A problem names the object and what refers to it. Memory grows with the number of objects, and
    by 40 bytes for each asset when `deep`, never with the number of rows.
    """
    report = AuditReport(depth=depth)

    def add(problem: Problem) -> None:
        report.add(problem)
        if on_problem is not None:
            on_problem(problem)

    walk = _check_history(store, report, add)
    if depth != "quick":
        _check_segments(store, walk, report, add)
        _check_records(store, walk, report, add)
        _find_orphans(store, walk, report, add)
    if depth == "deep":
        from mir_ops.store.blob_checks import check_blobs

        check_blobs(store, walk.reached, report, add)
    return report


def _check_history(store: Store, report: AuditReport, add: Callable[[Problem], None]) -> Walk:
    objects = store.objects
    try:
        registry.read_classes(objects)
    except MirError as error:
        if error.code != "corrupt-object":
            raise
        reason = str(error)
        add(Problem(kind="corrupt", key=keys.CLASSES, reason=reason, referrer="the store"))
    refs = read_refs(objects, add)
    report.seen["refs"] = len(refs)
    walk = Walk(objects, add)
    walk.follow(starts_of_refs(refs))
    if report.depth != "quick":
        walk.follow(starts_of_reflog(objects, refs))
        walk.follow(starts_of_pins(objects, now=objects.clock()))
    reached = walk.reached
    report.seen["commits"] = len(reached.commits)
    report.seen["manifests"] = len(reached.manifests)
    report.seen["taxonomies"] = len(reached.taxonomies)
    return walk


def _check_segments(
    store: Store, walk: Walk, report: AuditReport, add: Callable[[Problem], None]
) -> None:
    from mir_ops.store.segment_checks import DamageError, check_segment

    def check(use: Use) -> Problem | None:
        key, kind = use.segment.key, "corrupt"
        try:
            check_segment(store.objects, use.segment, use.table, is_base=use.is_base)
        except FileNotFoundError:
            kind, reason = "missing", "the segment is not there"
        except DamageError as error:
            reason = str(error)
        except MirError as error:
            if error.code != "missing-object" or use.segment.sidecar is None:
                raise
            key, kind = keys.sidecar(use.segment.sidecar), "missing"
            reason = "the key sidecar of a segment is not there"
        else:
            return None
        damage: ProblemKind = "missing" if kind == "missing" else "corrupt"
        return Problem(kind=damage, key=key, reason=reason, referrer=use.referrer)

    with ThreadPoolExecutor(_THREADS) as pool:
        for some in batches(walk.reached.segments.values(), 4 * _THREADS):
            for problem in pool.map(check, some):
                if problem is not None:
                    add(problem)
    report.seen["segments"] = len(walk.reached.segments)
    report.seen["sidecars"] = len(walk.reached.sidecars)


def _check_records(
    store: Store, walk: Walk, report: AuditReport, add: Callable[[Problem], None]
) -> None:
    """Each record of an operation names a commit that is there."""
    for key in store.objects.list("ops/"):
        report.seen["operations"] += 1
        body = store.objects.find(key)
        if body is None:
            continue
        try:
            record = store_pb2.OpRecord.FromString(body)
        except DecodeError as error:
            reason = str(error)
            add(Problem(kind="corrupt", key=key, reason=reason, referrer="an operation"))
            continue
        commit = record.commit.hex()
        gone = commit not in walk.reached.commits and (
            store.objects.size(keys.stored_object(commit)) is None
        )
        if gone:
            reason = f"it names commit {commit[:12]}, which is not there"
            add(Problem(kind="dangling", key=key, reason=reason, referrer=f"ref `{record.ref}`"))


def _find_orphans(
    store: Store, walk: Walk, report: AuditReport, add: Callable[[Problem], None]
) -> None:
    """Count what nothing leads to: rests of writers that were killed, or running ones' work."""
    reached = walk.reached
    for entry in store.objects.entries("obj/"):
        if not reached.has_object(object_id(entry.key)):
            _orphan(report, add, entry.key, entry.size)
    for entry in store.objects.entries("seg/"):
        known = reached.sidecars if entry.key.endswith(".keys") else reached.segments
        if object_id(entry.key) not in known:
            _orphan(report, add, entry.key, entry.size)
    for entry in store.objects.leftovers():
        _orphan(report, add, entry.key, entry.size)


def _orphan(report: AuditReport, add: Callable[[Problem], None], key: str, byte_size: int) -> None:
    report.seen["orphan bytes"] += byte_size
    add(Problem(kind="orphan", key=key, reason="nothing leads to it", referrer="nothing"))


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most `size`."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
