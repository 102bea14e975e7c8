"""What an edit wants to change, and applying it to the manifest of a version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.store import overlays, rows, segments
from mir_ops.store.commits import Stats
from mir_ops.store.counts import Counts, count, of_stats, to_stats
from mir_ops.store.lookups import count_assets
from mir_ops.store.manifests import Manifest, TableSegments, write_taxonomy
from mir_ops.store.objects import ObjectStore
from mir_ops.taxonomy import Taxonomy

Part = tuple[pa.Table, pa.Array | None]  # rows of a layer, and the assets that they cover


@dataclass(slots=True)
class ChangeSet:
    """Changes in the order they were made; a later one of the same asset and table wins."""

    parts: dict[str, list[pa.Table]] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    removed: list[pa.Array] = field(default_factory=list)
    adopted: dict[str, tuple[TableSegments, Counts]] = field(default_factory=dict)
    taxonomy: Taxonomy | None = None
    equivalent: bool = False  # a new commit, not another layout of the same rows

    def put_assets(self, table: pa.Table) -> None:
        """Whole rows, new or in place of the ones with the same id."""
        self.add(rows.ASSETS, rows.with_state(rows.conform(table, rows.ASSETS), rows.ROW))

    def remove_assets(self, ids: pa.Array) -> None:
        """Out of the assets and out of every layer, known here or not."""
        self.removed.append(ids)
        for name in self.parts:
            self.add(name, _tombstones(name, ids))

    def put_layer(self, name: str, table: pa.Table, assets: pa.Array | None) -> None:
        """The whole set of rows of each asset; none for an asset means nothing is there."""
        rows.check_layer(name)
        conformed = rows.conform(table, name)
        present = rows.distinct(conformed)
        if assets is not None and not present.equals(assets):
            stray = rows.without(present, assets)
            if len(stray):
                raise InvalidInputError(
                    f"Layer `{name}` has rows of {len(stray)} assets that are not in `assets`, "
                    f"the first {stray[0].as_py().hex()}",
                    code="stray-rows",
                    hint="`assets` names every asset whose rows this call replaces",
                )
            empty = rows.sorted_unique([rows.without(assets, present)])
            self.add(name, rows.markers(empty, conformed.schema, rows.MARKER))
        self.add(name, rows.with_state(conformed, rows.ROW))

    def clear_layer(self, name: str, assets: pa.Array | None) -> None:
        """Forget a layer, of these assets or as a whole."""
        rows.check_layer(name)
        if assets is None:
            self.dropped.add(name)
            self.parts[name] = []
        else:
            self.forget(name, assets)

    def adopt(self, name: str, table: TableSegments, counts: Counts) -> None:
        """Take a table as another version has it, in place of what is there."""
        self.dropped.add(name)
        self.adopted[name] = (table, counts)

    def write_layer(
        self, objects: ObjectStore, name: str, parts: Iterable[Part], size: int
    ) -> None:
        """A whole layer, stored now, part by part: rows, and the assets that they cover.

        Parts ascend, and an asset is in one of them; `size` is about how many rows there are.
        """
        counts, last = Counts(), b""

        def checked() -> Iterator[pa.Table]:
            nonlocal counts, last
            for table, assets in parts:
                part = ChangeSet()
                part.put_layer(name, table, assets)
                if not part.parts:
                    continue
                change = overlays.newest(part.parts[name]).combine_chunks()
                if change["asset_id"][0].as_py() <= last:
                    raise InvalidInputError(f"Parts of `{name}` do not ascend", code="stray-rows")
                counts, last = (
                    counts.replaced(Counts(), count(change)),
                    change["asset_id"][-1].as_py(),
                )
                yield change

        base = segments.write_base_parts(objects, checked(), size)
        self.adopt(name, TableSegments(base=base), counts)

    def forget(self, table: str, ids: pa.Array) -> None:
        """These assets are no longer in the table."""
        if len(ids):
            self.add(table, _tombstones(table, ids))

    def touched(self) -> dict[str, pa.Array]:
        """Per table: the ids of the assets that are changed, ascending."""
        names = self.parts.keys() | ({rows.ASSETS} if self.removed else set())
        return {
            name: rows.sorted_unique([p["asset_id"].combine_chunks() for p in self._parts(name)])
            for name in sorted(names)
        }

    def apply(
        self, objects: ObjectStore, manifest: Manifest, stats: Stats
    ) -> tuple[Manifest, Stats]:
        """Write the segments of these changes on top of a version; nothing of it is rewritten."""
        tables = {name: t for name, t in manifest.tables.items() if name not in self.dropped}
        counted = of_stats(stats)
        counts = {name: c for name, c in counted.items() if name not in self.dropped}
        tables |= {name: table for name, (table, _) in self.adopted.items()}
        counts |= {name: known for name, (_, known) in self.adopted.items()}
        names = sorted(self.parts.keys() | (tables.keys() if self.removed else set()))

        def applied(name: str) -> tuple[TableSegments, Counts]:
            current = tables.get(name, TableSegments())
            return _apply(objects, name, current, counts.get(name, Counts()), self._parts(name))

        with ThreadPoolExecutor(4) as pool:
            for name, (table, count_) in zip(names, list(pool.map(applied, names)), strict=True):
                tables[name], counts[name] = table, count_
        kept = {name: table for name, table in tables.items() if counts[name].assets}
        taxonomy = manifest.taxonomy
        if self.taxonomy is not None:
            taxonomy = write_taxonomy(objects, self.taxonomy)
        return Manifest(tables=kept, taxonomy=taxonomy), to_stats(counts)

    def _parts(self, name: str) -> list[pa.Table]:
        """The changes of one table, oldest first."""
        # Puts after a removal are newer than it; puts before it had a tombstone added there.
        removed = [_tombstones(name, rows.sorted_unique(self.removed))] if self.removed else []
        return removed + self.parts.get(name, [])

    def add(self, name: str, part: pa.Table) -> None:
        """Rows with their state, newer than everything added before."""
        if part.num_rows:
            self.parts.setdefault(name, []).append(part)


def _apply(
    objects: ObjectStore,
    name: str,
    current: TableSegments,
    counts: Counts,
    parts: list[pa.Table],
) -> tuple[TableSegments, Counts]:
    if not parts:
        return current, counts
    change = overlays.newest(parts).combine_chunks()  # once: all that follows wants one piece
    _check_vectors(objects, name, current, change)
    touched = rows.distinct(change)
    old, covered = count_assets(objects, current, touched)
    left = counts.assets - old.assets
    counts = counts.replaced(old, count(change))
    # A tombstone of an asset that was not covered would say nothing.
    change = _without_tombstones_of(change, touched.filter(pa.array(~covered)))
    if change.num_rows == 0:
        return current, counts
    if change.num_rows >= sum(segment.rows for segment in current.all):
        # The change is the larger part: writing both as base costs no more than twice the change.
        before = segments.read_table(objects, current) if left else None
        both = change if before is None else overlays.overlay(before, change)
        return TableSegments(base=segments.write_base(objects, rows.covered_only(both))), counts
    delta = segments.write_segment(objects, change)
    return replace(current, deltas=(*current.deltas, delta)), counts


def _without_tombstones_of(change: pa.Table, ids: pa.Array) -> pa.Table:
    tombstones = pc.equal(change[rows.STATE], rows.TOMBSTONE)
    if len(ids) == 0 or not pc.any(tombstones).as_py():
        return change
    idle = pc.and_(tombstones, pc.is_in(change["asset_id"], value_set=ids))
    return change.filter(pc.invert(idle))


def _tombstones(name: str, ids: pa.Array) -> pa.Table:
    unique = rows.sorted_unique([ids])
    wanted = rows.schema_of(name)
    if "vector" in wanted.names:  # how long vectors are is not known here
        wanted = pa.schema([wanted.field("asset_id")])
    return rows.markers(unique, wanted, rows.TOMBSTONE)


def _check_vectors(
    objects: ObjectStore, name: str, current: TableSegments, change: pa.Table
) -> None:
    if "vector" not in change.column_names or not current.all:
        return
    before = segments.read_schema(objects, current.all[0]).field("vector").type.list_size
    size = change.schema.field("vector").type.list_size
    if before != size:
        raise InvalidInputError(
            f"Layer `{name}` has vectors of {before} numbers, not {size}",
            code="vector-size",
            hint="Clear the layer first, or use another name",
        )
