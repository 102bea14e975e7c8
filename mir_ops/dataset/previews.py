"""What a change would make of a version, before anything is committed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from mir_ops.store import Stats, Version, rows
from mir_ops.store.changesets import ChangeSet
from mir_ops.store.counts import to_stats
from mir_ops.store.lookups import count_assets
from mir_ops.store.manifests import write_manifest
from mir_ops.store.objects import MemoryObjects, ObjectStore


def preview(base: Version, changes: ChangeSet) -> Version:
    """The version that these changes make of `base`; what they write stays in memory."""
    objects = _Above(base.objects)
    manifest, stats = changes.apply(objects, base.manifest, base.stats)
    written = write_manifest(objects, manifest)
    return Version(objects, replace(base.commit, manifest=written, stats=stats))


def stats_of_part(version: Version, kept: pa.Array) -> Stats:
    """Exact counts of a version with these of its images alone (ids ascending)."""
    if len(kept) == version.stats.assets:
        return version.stats
    tables = {name: version.table(name) for name in (rows.ASSETS, *version.layers())}
    return to_stats(
        {name: count_assets(version.objects, table, kept)[0] for name, table in tables.items()}
    )


class _Above(MemoryObjects):
    """New objects in memory, the others where they are."""

    def __init__(self, under: ObjectStore) -> None:
        super().__init__(under.url)
        self._under = under

    def find(self, key: str) -> bytes | None:
        body = super().find(key)
        return self._under.find(key) if body is None else body

    def local_path(self, key: str) -> Path | None:
        return None if super().find(key) is not None else self._under.local_path(key)
