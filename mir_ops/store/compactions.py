"""Compaction: the same rows in fewer segments, as a commit of its own."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from mir_ops.store import segments
from mir_ops.store.commits import Stats
from mir_ops.store.manifests import Manifest, Segment, TableSegments
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
    """Rewrites the tables that need it as base segments; says nothing new.

    Segments that no delta touches are shared. Replayed over others' appends, it keeps what it
    wrote and leaves their deltas on top.
    """

    taxonomy: Taxonomy | None = None
    dropped: frozenset[str] = frozenset()
    equivalent = True

    def __init__(self) -> None:
        self._written: dict[str, tuple[TableSegments, tuple[Segment, ...]]] = {}

    def touched(self) -> dict[str, pa.Array]:
        """No asset: it can be replayed over anything."""
        return {}

    def apply(
        self, objects: ObjectStore, manifest: Manifest, stats: Stats
    ) -> tuple[Manifest, Stats]:
        """Merge base and deltas of each table that is due."""
        tables = {
            name: self._compacted(objects, name, table) if is_due(table) else table
            for name, table in manifest.tables.items()
        }
        return Manifest(tables=tables, taxonomy=manifest.taxonomy), stats

    def _compacted(self, objects: ObjectStore, name: str, table: TableSegments) -> TableSegments:
        if name in self._written:
            before, base = self._written[name]
            amount = len(before.deltas)
            if table.base == before.base and table.deltas[:amount] == before.deltas:
                return TableSegments(base=base, deltas=table.deltas[amount:])
        base = write_compacted(objects, table)
        self._written[name] = (table, base)
        return TableSegments(base=base)


def write_compacted(objects: ObjectStore, table: TableSegments) -> tuple[Segment, ...]:
    """The rows of a table as base segments, range by range, so that one range is in memory."""
    written: list[Segment] = []
    for part in segments.read_partitions(objects, table):
        if part.segment is not None:
            written.append(part.segment)
        else:
            written += segments.write_base(objects, part.rows, part.low, part.high)
    return tuple(written)
