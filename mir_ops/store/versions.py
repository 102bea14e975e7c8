"""Reading one dataset version: its assets, its layers, its classes, its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mir_ops.store.commits import Commit, Stats
from mir_ops.store.manifests import Manifest, Segment, TableSegments, read_manifest, read_taxonomy
from mir_ops.store.objects import ObjectStore, referred_by

if TYPE_CHECKING:
    import pyarrow as pa

    from mir_ops.taxonomy import Taxonomy

_KEYS = ("asset_id", "annotation_id", "row_state")


@dataclass(frozen=True)
class Version:
    """One snapshot. Nothing that happens to the branch afterwards changes what is read here."""

    objects: ObjectStore
    commit: Commit

    @property
    def id(self) -> str:
        """The commit's id."""
        return self.commit.id

    @property
    def stats(self) -> Stats:
        """Exact counts, without reading a row."""
        return self.commit.stats

    @cached_property
    def manifest(self) -> Manifest:
        """Which segments make up each table."""
        with referred_by(f"commit {self.id[:12]}"):
            return read_manifest(self.objects, self.commit.manifest)

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """Names and aliases of the classes."""
        with referred_by(f"the manifest of commit {self.id[:12]}"):
            return read_taxonomy(self.objects, self.manifest.taxonomy)

    def layers(self) -> list[str]:
        """Names of the layers that cover at least one asset."""
        return sorted(name for name in self.manifest.tables if name != "assets")

    def segments(self) -> dict[str, tuple[Segment, ...]]:
        """The Parquet files of each table, oldest first."""
        return {name: table.all for name, table in sorted(self.manifest.tables.items())}

    def assets(
        self,
        columns: Sequence[str] | None = None,
        ids: pa.Array | pa.ChunkedArray | Sequence[bytes] | None = None,
    ) -> pa.Table:
        """One row per asset, sorted by asset id."""
        return self._read("assets", columns, ids)

    def layer(
        self,
        name: str,
        columns: Sequence[str] | None = None,
        ids: pa.Array | pa.ChunkedArray | Sequence[bytes] | None = None,
    ) -> pa.Table:
        """The rows of a layer, sorted by asset id and annotation id; none when it is absent."""
        return self._read(name, columns, ids)

    def asset_ids(self) -> pa.Array:
        """The ids of all assets, ascending."""
        return self.layer_assets("assets")

    def layer_assets(self, name: str) -> pa.Array:
        """The ids of the assets that a layer covers, also those with zero rows."""
        from mir_ops.store import rows, segments

        if name != "assets":
            rows.check_layer(name)
        held = self.table(name)
        with referred_by(f"table `{name}` of commit {self.id[:12]}"):
            table = segments.read_table(self.objects, held, ["asset_id", "row_state"])
        return rows.as_ids([]) if table is None else rows.distinct(table)

    def table(self, name: str) -> TableSegments:
        """The segments of one table."""
        return self.manifest.tables.get(name, TableSegments())

    def _read(
        self,
        name: str,
        columns: Sequence[str] | None,
        ids: pa.Array | pa.ChunkedArray | Sequence[bytes] | None,
    ) -> pa.Table:
        import pyarrow as pa

        from mir_ops.store import rows, segments

        wanted = None if ids is None else rows.as_ids(ids)
        needed = None if columns is None else [*columns, *_KEYS]
        held = self.table(name)
        with referred_by(f"table `{name}` of commit {self.id[:12]}"):
            found = segments.read_table(self.objects, held, needed, wanted)
        wanted_schema = rows.schema_of(name, found.schema if found is not None else None)
        if columns is not None:
            rows.check_columns(name, wanted_schema, columns)
            wanted_schema = pa.schema([wanted_schema.field(column) for column in columns])
        if found is None:
            return wanted_schema.empty_table()
        return rows.typed(rows.rows_only(found), wanted_schema)
