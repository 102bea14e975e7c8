"""Manifests: which segments make up each table of a dataset version, and its taxonomy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from mir_ops.proto import store_pb2
from mir_ops.store import keys, wire
from mir_ops.store.objects import ObjectStore, corrupt_object, read_object

if TYPE_CHECKING:
    from mir_ops.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One immutable Parquet file of rows, sorted by asset id.

    `min_key` and `max_key` are the first 8 bytes of its smallest and largest asset id.
    """

    id: str
    byte_size: int
    rows: int
    assets: int
    markers: int = 0
    tombstones: int = 0
    min_key: int
    max_key: int
    sidecar: str | None = None  # the hash of its key sidecar, which large segments have

    @property
    def key(self) -> str:
        """Where the file is in the store."""
        return keys.segment(self.id)

    @property
    def plain(self) -> bool:
        """Whether every row of the file is one."""
        return not self.markers and not self.tombstones


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSegments:
    """The segments of one table: disjoint base ranges, then deltas, the newest last."""

    base: tuple[Segment, ...] = ()
    deltas: tuple[Segment, ...] = ()

    @property
    def all(self) -> tuple[Segment, ...]:
        """Oldest first."""
        return self.base + self.deltas


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of a dataset version: tables by name, `assets` and the layers."""

    tables: Mapping[str, TableSegments] = field(default_factory=dict)
    taxonomy: str | None = None


def write_manifest(objects: ObjectStore, manifest: Manifest) -> str:
    """Store a manifest and return its id."""
    message = wire.Message()
    for name, table in sorted(manifest.tables.items()):
        entry = wire.Message().text(1, name)
        for segment in table.base:
            entry.element(2, _segment_message(segment))
        for segment in table.deltas:
            entry.element(3, _segment_message(segment))
        message.element(1, entry)
    message.data(2, bytes.fromhex(manifest.taxonomy or ""))
    manifest_id, stored = wire.frame(wire.MANIFEST, message)
    objects.create(keys.stored_object(manifest_id), stored)
    return manifest_id


def read_manifest(objects: ObjectStore, manifest_id: str) -> Manifest:
    """Read a manifest and check that it is the one asked for."""
    read = store_pb2.Manifest()
    _read(objects, wire.MANIFEST, manifest_id, read)
    return Manifest(
        tables={
            table.name: TableSegments(
                base=tuple(_segment(entry) for entry in table.base),
                deltas=tuple(_segment(entry) for entry in table.deltas),
            )
            for table in read.tables
        },
        taxonomy=read.taxonomy.hex() or None,
    )


def write_taxonomy(objects: ObjectStore, taxonomy: Taxonomy) -> str:
    """Store the names and aliases of classes and return the id of that object."""
    message = wire.Message()
    for entry in sorted(taxonomy.classes, key=lambda entry: entry.id):
        written = wire.Message().uint(1, entry.id).text(2, entry.name)
        for alias in entry.aliases:
            written.element(3, alias.encode())
        message.element(1, written)
    taxonomy_id, stored = wire.frame(wire.TAXONOMY, message)
    objects.create(keys.stored_object(taxonomy_id), stored)
    return taxonomy_id


def read_taxonomy(objects: ObjectStore, taxonomy_id: str | None) -> Taxonomy:
    """Read a taxonomy; a version without one has no classes."""
    from mir_ops.taxonomy import ClassName, Taxonomy

    if taxonomy_id is None:
        return Taxonomy(classes=())
    read = store_pb2.Taxonomy()
    _read(objects, wire.TAXONOMY, taxonomy_id, read)
    return Taxonomy(
        classes=tuple(
            ClassName(id=entry.id, name=entry.name, aliases=tuple(entry.aliases))
            for entry in read.classes
        )
    )


def _read(
    objects: ObjectStore,
    kind: int,
    object_id: str,
    into: store_pb2.Manifest | store_pb2.Taxonomy,
) -> None:
    key = keys.stored_object(object_id)
    stored = read_object(objects, key)
    try:
        into.ParseFromString(wire.unframe(kind, object_id, stored))
    except (wire.FramingError, DecodeError) as error:
        raise corrupt_object(objects, key, str(error)) from None


def _segment_message(segment: Segment) -> wire.Message:
    message = wire.Message().data(1, bytes.fromhex(segment.id)).uint(2, segment.byte_size)
    message.uint(3, segment.rows).uint(4, segment.assets)
    message.uint(5, segment.markers).uint(6, segment.tombstones)
    message.fixed(7, segment.min_key).fixed(8, segment.max_key)
    return message.data(9, bytes.fromhex(segment.sidecar or ""))


def _segment(read: store_pb2.Segment) -> Segment:
    return Segment(
        id=read.id.hex(),
        byte_size=read.byte_size,
        rows=read.rows,
        assets=read.assets,
        markers=read.markers,
        tombstones=read.tombstones,
        min_key=read.min_key,
        max_key=read.max_key,
        sidecar=read.sidecar.hex() or None,
    )
