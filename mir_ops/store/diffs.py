"""Comparing two dataset versions: only segments that one of them lacks are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from mir_ops.store import layouts, rows, segments
from mir_ops.store.comparisons import Comparison, compare
from mir_ops.store.manifests import TableSegments
from mir_ops.store.tallies import AssetChanges, LayerChanges
from mir_ops.store.versions import Version

_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What version B has that A has not, and the other way round.

    `layers` counts boxes per class id as (added, removed, changed); a box whose class changed was
    removed from one and added to the other. Layers without classes are not in it.
    `layer_assets` counts assets as (newly covered, no longer covered, with other rows), `layer_ids`
    are theirs, ascending.
    `splits` counts assets in both by (old, new) split, `""` for none, where the two differ;
    `attributes` counts assets in both per key as (added, removed, changed).
    """

    assets_added: int
    assets_removed: int
    assets_changed: int
    split_moved: int
    splits: Mapping[tuple[str, str], int]
    attributes: Mapping[str, tuple[int, int, int]]
    layers: Mapping[str, Mapping[int, tuple[int, int, int]]]
    layer_assets: Mapping[str, tuple[int, int, int]]
    layer_ids: Mapping[str, pa.Array]
    taxonomy_changed: bool
    classes_added: Mapping[int, str]
    classes_removed: Mapping[int, str]
    classes_renamed: Mapping[int, tuple[str, str]]
    added_ids: pa.Array
    removed_ids: pa.Array
    changed_ids: pa.Array
    moved_ids: pa.Array


def diff(a: Version, b: Version) -> Diff:
    """What changed from version A to version B; rows that both share are not read."""
    assets = AssetChanges()
    for part in comparisons(a, b, rows.ASSETS):
        assets.add(part)
    layers = {name: LayerChanges() for name in sorted({*a.layers(), *b.layers()})}
    for name, changes in layers.items():
        for part in comparisons(a, b, name):
            changes.add(part)
    before, after = ({one.id: one.name for one in v.taxonomy.classes} for v in (a, b))
    return Diff(
        assets_added=len(assets.added),
        assets_removed=len(assets.removed),
        assets_changed=len(assets.changed),
        split_moved=len(assets.moved),
        splits=dict(sorted(assets.splits.items())),
        attributes=dict(sorted(assets.attributes.items())),
        layers={name: found.by_class() for name, found in layers.items() if found.classed},
        layer_assets={name: found.assets for name, found in layers.items()},
        layer_ids={name: found.ids for name, found in layers.items()},
        taxonomy_changed=a.taxonomy != b.taxonomy,
        classes_added={key: after[key] for key in sorted(after.keys() - before.keys())},
        classes_removed={key: before[key] for key in sorted(before.keys() - after.keys())},
        classes_renamed={
            key: (before[key], after[key])
            for key in sorted(before.keys() & after.keys())
            if before[key] != after[key]
        },
        added_ids=assets.added,
        removed_ids=assets.removed,
        changed_ids=assets.changed,
        moved_ids=assets.moved,
    )


def comparisons(a: Version, b: Version, table: str) -> Iterator[Comparison]:
    """Compare one table of two versions, some ten thousand assets at a time."""
    for ids in chunks(candidates(a, b, table)):
        yield compare_assets(a, b, table, ids)


def chunks(ids: pa.Array) -> Iterator[pa.Array]:
    """So many assets at a time that all their rows fit into memory; once for none."""
    for start in range(0, max(1, len(ids)), _CHUNK):
        yield ids.slice(start, _CHUNK)


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
    return compare_assets(old, new, table, differing, ignore)


def compare_assets(
    old: Version | None,
    new: Version,
    table: str,
    differing: pa.Array,
    ignore: Collection[str] = (),
) -> Comparison:
    """Compare one table of two versions, of these assets, whichever segments hold them."""
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
    if old is not None and before.base and now.base and before.base != now.base:
        now = layouts.on_base(new, table, before.base) or now
        before = layouts.on_base(old, table, now.base) or before
    shared = _shared_deltas(before, now)
    bases = {segment.id for segment in before.base} & {segment.id for segment in now.base}
    unshared = [segment for segment in before.base + now.base if segment.id not in bases]
    unshared += [*before.deltas[shared:], *now.deltas[shared:]]
    return rows.sorted_unique(segments.segment_ids(new.objects, unshared))


def named_since(
    start: Version | None, version: Version, table: str, ignore: Collection[str] = ()
) -> pa.Array:
    """Ids of the assets that a version may have changed since the start, ascending.

    Where both are laid out on other segments their rows are compared.
    """
    if start is None:
        return version.layer_assets(table)
    found = candidates(start, version, table)
    if len(found) <= _CHUNK:
        return found
    compared = (
        compare_assets(start, version, table, ids, ignore).assets() for ids in chunks(found)
    )
    return rows.sorted_unique(list(compared))


def shares(one: Version, other: Version, table: str) -> bool:
    """Whether two versions have a segment of the table in common."""
    known = {segment.id for segment in one.table(table).all}
    return any(segment.id in known for segment in other.table(table).all)


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


def _shared_deltas(one: TableSegments, other: TableSegments) -> int:
    shared = 0
    for first, second in zip(one.deltas, other.deltas, strict=False):
        if first.id != second.id:
            break
        shared += 1
    return shared
