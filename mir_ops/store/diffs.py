"""Comparing two dataset versions: only segments that one of them lacks are read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mir_ops.store import rows, segments
from mir_ops.store.comparisons import Comparison, compare
from mir_ops.store.manifests import TableSegments
from mir_ops.store.versions import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What version B has that A has not, and the other way round.

    `layers` counts boxes per class id as (added, removed, changed); a box whose class changed was
    removed from one and added to the other. Layers without classes are not in it.
    `layer_assets` counts assets as (newly covered, no longer covered, with other rows).
    """

    assets_added: int
    assets_removed: int
    assets_changed: int
    split_moved: int
    layers: Mapping[str, Mapping[int, tuple[int, int, int]]]
    layer_assets: Mapping[str, tuple[int, int, int]]
    taxonomy_changed: bool
    added_ids: pa.Array
    removed_ids: pa.Array
    changed_ids: pa.Array
    moved_ids: pa.Array


def diff(a: Version, b: Version) -> Diff:
    """What changed from version A to version B."""
    assets = compare_versions(a, b, rows.ASSETS)
    moved = _moved(assets)
    names = sorted({*a.layers(), *b.layers()})
    layers = {name: compare_versions(a, b, name) for name in names}
    return Diff(
        assets_added=len(assets.added),
        assets_removed=len(assets.removed),
        assets_changed=len(assets.changed),
        split_moved=len(moved),
        layers={
            name: _by_class(change)
            for name, change in layers.items()
            if "class_id" in change.new.column_names
        },
        layer_assets={
            name: (len(change.added), len(change.removed), len(change.changed))
            for name, change in layers.items()
        },
        taxonomy_changed=a.taxonomy != b.taxonomy,
        added_ids=assets.added,
        removed_ids=assets.removed,
        changed_ids=assets.changed,
        moved_ids=moved,
    )


def compare_versions(
    old: Version | None,
    new: Version,
    table: str,
    ids: pa.Array | None = None,
    ignore: Collection[str] = (),
) -> Comparison:
    """Compare one table of two versions, of all assets or of these; `old` None: it was empty."""
    differing = candidates(old, new, table)
    if ids is not None:
        differing = rows.common(differing, ids)
    before = None if old is None else read_covered(old, table, differing)
    now = read_covered(new, table, differing)
    if now is None and before is None:
        before = now = rows.with_state(rows.schema_of(table).empty_table(), rows.ROW)
    elif now is None or before is None:
        known = before if now is None else now
        assert known is not None
        before = known.slice(0, 0) if before is None else before
        now = known.slice(0, 0) if now is None else now
    return compare(before, now, ignore)


def read_covered(version: Version, table: str, ids: pa.Array | None) -> pa.Table | None:
    """Rows and markers of these assets, with their state."""
    if ids is not None and len(ids) == 0:
        return None
    return segments.read_table(version.objects, version.table(table), None, ids)


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
    for name in sorted({*touched, *dropped}):
        ids = None if name in dropped else touched[name]
        if amount := len(compare_versions(old, new, name, ids).assets()):
            both[name] = amount
    return both


def _moved(assets: Comparison) -> pa.Array:
    before = assets.old["split"].take(pa.array(assets.changed_old)).fill_null("")
    now = assets.new.take(pa.array(assets.changed_new))
    other = np.asarray(before.to_numpy() != now["split"].fill_null("").to_numpy(), bool)
    return rows.as_ids(now["asset_id"].filter(pa.array(other)))


def _by_class(change: Comparison) -> dict[int, tuple[int, int, int]]:
    old, new = change.old["class_id"].to_numpy(), change.new["class_id"].to_numpy()
    was, now = old[change.changed_old], new[change.changed_new]
    same = was == now
    added = np.concatenate([new[change.row_added], now[~same]])
    removed = np.concatenate([old[change.row_removed], was[~same]])
    counted = [_counted(classes) for classes in (added, removed, now[same])]
    return {
        class_id: (
            counted[0].get(class_id, 0),
            counted[1].get(class_id, 0),
            counted[2].get(class_id, 0),
        )
        for class_id in sorted({*counted[0], *counted[1], *counted[2]})
    }


def _counted(classes: np.typing.NDArray[np.int32]) -> dict[int, int]:
    values, amounts = np.unique(classes, return_counts=True)
    return dict(zip(values.tolist(), amounts.tolist(), strict=True))
