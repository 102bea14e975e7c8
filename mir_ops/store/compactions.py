"""Compaction: the same rows in fewer segments, as a commit of its own."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from mir_ops.store import segments
from mir_ops.store.commits import Stats
from mir_ops.store.manifests import Manifest, TableSegments
from mir_ops.store.objects import ObjectStore
from mir_ops.taxonomy import Taxonomy

_MOST_DELTAS: Final = 32
_LARGEST_SHARE: Final = 0.1


def is_due(table: TableSegments) -> bool:
    """More than 32 deltas, or deltas with more than a tenth of the base's rows."""
    rows = sum(segment.rows for segment in table.deltas)
    base = sum(segment.rows for segment in table.base)
    return len(table.deltas) > _MOST_DELTAS or rows > base * _LARGEST_SHARE


class Compaction:
    """Rewrites the tables that need it as base segments; says nothing new."""

    taxonomy: Taxonomy | None = None
    dropped: frozenset[str] = frozenset()
    equivalent = True

    def touched(self) -> dict[str, pa.Array]:
        """No asset: it can be replayed over anything."""
        return {}

    def apply(
        self, objects: ObjectStore, manifest: Manifest, stats: Stats
    ) -> tuple[Manifest, Stats]:
        """Merge base and deltas of each table that is due."""
        tables = {
            name: _compacted(objects, table) if is_due(table) else table
            for name, table in manifest.tables.items()
        }
        return Manifest(tables=tables, taxonomy=manifest.taxonomy), stats


def _compacted(objects: ObjectStore, table: TableSegments) -> TableSegments:
    read = segments.read_table(objects, table)
    assert read is not None
    return TableSegments(base=segments.write_base(objects, read))
