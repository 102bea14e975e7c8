"""Finding a version's rows in the segments that they were in before a compaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mir_ops.store.commits import Commit, read_commit
from mir_ops.store.manifests import Segment, TableSegments, read_manifest
from mir_ops.store.objects import ObjectStore
from mir_ops.store.versions import Version

_FARTHEST: Final = 256


def on_base(version: Version, table: str, base: tuple[Segment, ...]) -> TableSegments | None:
    """The table as segments on top of `base`, if the history says which; the same rows."""
    current = version.table(table)
    for compaction in _compactions(version.objects, version.commit):
        if current.base == base:
            return current
        after = _table(version.objects, compaction, table)
        length = len(after.deltas)
        if current.base != after.base or current.deltas[:length] != after.deltas:
            return None
        before = read_commit(version.objects, compaction.equivalent_to or "")
        known = _table(version.objects, before, table)
        current = TableSegments(base=known.base, deltas=(*known.deltas, *current.deltas[length:]))
    return current if current.base == base else None


def _compactions(objects: ObjectStore, commit: Commit) -> Iterator[Commit]:
    """The compactions among the newest commits, newest first."""
    for _ in range(_FARTHEST):
        if commit.equivalent_to:
            yield commit
        if not commit.parents:
            return
        commit = read_commit(objects, commit.parents[0])


def _table(objects: ObjectStore, commit: Commit, table: str) -> TableSegments:
    return read_manifest(objects, commit.manifest).tables.get(table, TableSegments())
