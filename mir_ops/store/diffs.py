"""Comparing two dataset versions: only segments that one of them lacks are read."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa

from mir_ops.store import rows, segments
from mir_ops.store.manifests import TableSegments
from mir_ops.store.versions import Version


def candidates(old: Version | None, new: Version, table: str) -> pa.Array:
    """Ids of the assets that may differ: those in segments which only one version has."""
    before = TableSegments() if old is None else old.table(table)
    now = new.table(table)
    shared = 0
    for one, other in zip(before.deltas, now.deltas, strict=False):
        if one.id != other.id:
            break
        shared += 1
    bases = {segment.id for segment in before.base} & {segment.id for segment in now.base}
    unshared = [segment for segment in before.base + now.base if segment.id not in bases]
    unshared += [*before.deltas[shared:], *now.deltas[shared:]]
    return rows.sorted_unique(segments.segment_ids(new.objects, unshared))


def changed_assets(
    old: Version | None, new: Version, touched: Mapping[str, pa.Array], dropped: Collection[str]
) -> dict[str, int]:
    """How many of the touched assets of each table changed between two versions."""
    both = {}
    for name, ids in touched.items():
        changed = candidates(old, new, name)
        amount = len(changed) if name in dropped else len(rows.common(changed, ids))
        if amount:
            both[name] = amount
    return both
