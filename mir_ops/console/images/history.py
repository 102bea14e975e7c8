"""What became of one image from version to version: which commits changed it, and how."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from mir_ops.console.images.lookups import Lookup
from mir_ops.store import Commit, Store, rows
from mir_ops.store.ancestry import read_line
from mir_ops.store.comparisons import compare
from mir_ops.store.manifests import Segment, TableSegments, read_manifest, read_taxonomy
from mir_ops.store.schema import layer_kind

MOST_COMMITS: Final = 256  # looked through at a time
_THREADS: Final = 16
_EACH: Final = 600  # bytes of a segment or a commit in memory, about
_LAYERS: Final = ("ground_truth", "predictions")
_FACTS: Final = ("split", "attributes", "source_names", "group_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """Boxes of a layer by class name: how many came, went, and are not as they were.

    `covered` is True where the layer had not looked at the image before, False where it does no
    more, and None otherwise.
    """

    layer: str
    covered: bool | None
    added: Mapping[str, int]
    removed: Mapping[str, int]
    changed: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A commit that changed the image. `came` and `gone`: it was added to the data, or removed.

    `merged` are the other versions that a merge took, as far as they have the image: what changed
    it there is their history.
    """

    commit: Commit
    came: bool
    gone: bool
    facts: Mapping[str, tuple[Any, Any]]  # name: before, after
    layers: tuple[LayerChange, ...]
    merged: tuple[Commit, ...] = ()

    @staticmethod
    def text(value: Any) -> str:
        """A fact as a person reads it."""
        if isinstance(value, list):
            pairs = (one if isinstance(one, str) else "=".join(map(str, one)) for one in value)
            return ", ".join(pairs) or "–"
        return "–" if value is None else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Changes, the newest first, in so many commits; `before` is where to look further back."""

    changes: tuple[Change, ...]
    commits: int
    before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A commit on the line of first parents, and the segments of its tables."""

    commit: Commit
    tables: Mapping[str, TableSegments]
    taxonomy: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Commits, the newest first, and about how many bytes that is: they share most of it."""

    steps: list[Step]
    segments: list[Segment]
    nbytes: int


def history_of(
    store: Store,
    lookup: Lookup,
    commit_id: str,
    *,
    most: int = MOST_COMMITS,
    told: Callable[[Commit], bool] = lambda _: True,
) -> History:
    """What changed the image on the way to this commit, along first parents.

    Of versions that are not `told` nothing is said.
    """
    kept = lookup.memory.get(("line", commit_id, most), lambda: _line(store, commit_id, most))
    lookup.prepare(kept.segments)
    line = kept.steps

    def names(step: Step) -> Mapping[int, str]:
        """Of the classes of that version."""
        taxonomy = lookup.memory.get(
            ("taxonomy", step.taxonomy), lambda: read_taxonomy(store.objects, step.taxonomy)
        )
        return dict(zip(taxonomy.ids, taxonomy.names, strict=True))

    steps = [*line, None] if len(line) <= most else line  # the last has nothing before it
    found = [
        replace(change, merged=tuple(_merged(store, lookup, change.commit, told)))
        for now, before in itertools.pairwise(steps)
        if now is not None and told(now.commit)
        if (change := _change(lookup, before, now, names)) is not None
    ]
    last = line[-1].commit if len(line) > most else None
    before = last.id if last is not None and told(last) else None
    return History(changes=tuple(found), commits=min(most, len(line)), before=before)


def _line(store: Store, commit_id: str, most: int) -> Line:
    """The commits along first parents, one more than `most` if there is one."""
    commits = read_line(store, commit_id, most + 1)
    known: dict[object, Any] = {}  # what commits share is kept once

    def step(commit: Commit) -> Step:
        manifest = read_manifest(store.objects, commit.manifest)
        tables = {name: _shared(known, table) for name, table in manifest.tables.items()}
        return Step(commit=commit, tables=tables, taxonomy=manifest.taxonomy)

    with ThreadPoolExecutor(_THREADS) as pool:
        steps = list(pool.map(step, commits))
    tables = [one for one in known.values() if isinstance(one, TableSegments)]
    size = _EACH * (len(known) + len(steps)) + sum(8 * len(table.deltas) for table in tables)
    segments = [one for one in known.values() if isinstance(one, Segment)]
    return Line(steps=steps, segments=segments, nbytes=size)


def _shared(known: dict[object, Any], table: TableSegments) -> TableSegments:
    base, deltas = (
        tuple(known.setdefault(one.id, one) for one in part) for part in (table.base, table.deltas)
    )
    base = known.setdefault(base, base)
    found: TableSegments = known.setdefault((base, deltas), TableSegments(base=base, deltas=deltas))
    return found


def _change(
    lookup: Lookup, before: Step | None, now: Step, names: Callable[[Step], Mapping[int, str]]
) -> Change | None:
    pairs = list(_deciders(lookup, before, now))
    if not pairs:
        return None
    facts: dict[str, tuple[Any, Any]] = {}
    came = gone = False
    layers = []
    for name, old, new in pairs:
        one, other = _covered(lookup, old), _covered(lookup, new)
        if name == rows.ASSETS:
            came, gone = one is None and other is not None, other is None and one is not None
            facts = _facts(one, other)
        elif layer_kind(name) in _LAYERS:
            change = _layer_change(name, one, other, names(now))
            layers += [change] if change is not None else []
    if not (came or gone or facts or layers):
        return None
    return Change(commit=now.commit, came=came, gone=gone, facts=facts, layers=tuple(layers))


def _merged(
    store: Store, lookup: Lookup, commit: Commit, told: Callable[[Commit], bool]
) -> Iterator[Commit]:
    """The parents but the first that have the image."""
    for parent in map(store.commit, commit.parents[1:]):
        if told(parent):
            tables = read_manifest(store.objects, parent.manifest).tables
            if lookup.read(tables.get(rows.ASSETS, TableSegments())) is not None:
                yield parent


def _deciders(
    lookup: Lookup, before: Step | None, now: Step
) -> Iterator[tuple[str, Segment | None, Segment | None]]:
    """The tables in which another segment decides than before."""
    tables = before.tables if before is not None else {}
    for name in sorted({*tables, *now.tables}):
        one, other = tables.get(name, TableSegments()), now.tables.get(name, TableSegments())
        if one is other:
            continue
        old, new = lookup.decider(one), lookup.decider(other)
        if (old and old.id) != (new and new.id):
            yield name, old, new


def _covered(lookup: Lookup, segment: Segment | None) -> pa.Table | None:
    if segment is None:
        return None
    table = rows.covered_only(lookup.rows(segment))
    return table if table.num_rows else None


def _facts(one: pa.Table | None, other: pa.Table | None) -> dict[str, tuple[Any, Any]]:
    if one is None or other is None:
        return {}
    old, new = one.to_pylist()[0], other.to_pylist()[0]
    pairs = {name: (old.get(name), new.get(name)) for name in _FACTS}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _layer_change(
    name: str, one: pa.Table | None, other: pa.Table | None, names: Mapping[int, str]
) -> LayerChange | None:
    known = one if one is not None else other
    if known is None:
        return None
    nothing = known.slice(0, 0)
    found = compare(nothing if one is None else one, nothing if other is None else other)

    def counted(table: pa.Table, picked: pa.Array) -> Mapping[str, int]:
        classes: Sequence[int] = table["class_id"].filter(picked).to_pylist()
        counts = Counter(names.get(class_id, f"class {class_id}") for class_id in classes)
        return dict(counts.most_common())

    changed = pa.array([row in set(found.changed_new) for row in range(found.new.num_rows)])
    change = LayerChange(
        layer=name,
        covered=None if (one is None) == (other is None) else one is None,
        added=counted(found.new, pa.array(found.row_added)),
        removed=counted(found.old, pa.array(found.row_removed)),
        changed=counted(found.new, changed.cast(pa.bool_())),
    )
    nothing_said = change.covered is None and not (change.added or change.removed or change.changed)
    return None if nothing_said else change
