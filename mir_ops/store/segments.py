"""Segments: Parquet files of rows, written once, read by column, asset and row group."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mir_ops.store import keys, rows
from mir_ops.store.manifests import Segment, TableSegments
from mir_ops.store.objects import ObjectStore, corrupt_object, read_object

PARTITION_ROWS: Final = 65_536
_ROW_GROUP: Final = 16_384
_NO_DICTIONARY: Final = frozenset({"ymir_sha1", "perceptual_hash", "vector"})


def write_segment(objects: ObjectStore, table: pa.Table) -> Segment:
    """Store rows that are sorted by asset id and carry their state."""
    body = _parquet(table)
    digest = hashlib.sha256(body).hexdigest()
    objects.create(keys.segment(digest), body)
    ids = rows.distinct(table)
    state = table[rows.STATE].to_numpy()
    return Segment(
        id=digest,
        byte_size=len(body),
        rows=table.num_rows,
        assets=len(ids),
        markers=int((state == rows.MARKER).sum()),
        tombstones=int((state == rows.TOMBSTONE).sum()),
        min_key=rows.key_of(ids[0].as_py()),
        max_key=rows.key_of(ids[-1].as_py()),
        classes=rows.class_counts(rows.rows_only(table)),
    )


def write_base(objects: ObjectStore, table: pa.Table) -> tuple[Segment, ...]:
    """Store a whole table as base segments: ranges of the hash, about 64k rows each.

    Ranges split at powers of two, so that equal rows give equal segments in every version.
    """
    parts = max(1, -(-table.num_rows // PARTITION_ROWS))
    bits = (parts - 1).bit_length()
    ids = rows.to_numpy(table["asset_id"].combine_chunks())
    bounds = [
        (index << (64 - bits)).to_bytes(8, "big") if bits else b"" for index in range(1 << bits)
    ]
    starts = [*np.searchsorted(ids, np.array(bounds, "S32")).tolist(), table.num_rows]
    slices = [
        table.slice(start, stop - start)
        for start, stop in itertools.pairwise(starts)
        if stop > start
    ]
    with ThreadPoolExecutor(4) as pool:
        return tuple(pool.map(lambda part: write_segment(objects, part), slices))


def read_table(
    objects: ObjectStore,
    table: TableSegments,
    columns: Sequence[str] | None = None,
    ids: pa.Array | None = None,
    *,
    tombstones: bool = False,
) -> pa.Table | None:
    """The rows of a table with their state, sorted; None when it has no segment for these ids."""
    wanted = None if ids is None else np.sort(rows.to_numpy(ids))
    held = [segment for segment in table.base if _may_hold(segment, wanted)]
    # By place, not by id: a delta with the bytes of a base segment is still newer than it.
    segments = held + [segment for segment in table.deltas if _may_hold(segment, wanted)]
    if not segments:
        return None
    with ThreadPoolExecutor(min(8, len(segments))) as pool:
        read = list(
            pool.map(lambda segment: read_segment(objects, segment, columns, ids), segments)
        )
    base, deltas = read[: len(held)], read[len(held) :]
    parts = [_joined(base), *deltas] if base else deltas
    merged = rows.newest(parts)
    return merged if tombstones else rows.covered_only(merged)


def read_segment(
    objects: ObjectStore,
    segment: Segment,
    columns: Sequence[str] | None = None,
    ids: pa.Array | None = None,
) -> pa.Table:
    """The rows of one segment, of all assets or of these."""
    path = objects.local_path(segment.key)
    try:
        source = str(path) if path else pa.BufferReader(_verified(objects, segment))
        file = pq.ParquetFile(source, memory_map=True, page_checksum_verification=True)
        with file:
            names = file.schema_arrow.names
            kept = None if columns is None else [name for name in names if name in columns]
            groups = _row_groups(file, ids)
            table = file.read_row_groups(groups, columns=kept, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise corrupt_object(objects, segment.key, str(error)) from None
    return table if ids is None else rows.only(table, ids)


def read_schema(objects: ObjectStore, segment: Segment) -> pa.Schema:
    """The columns of a segment's file."""
    path = objects.local_path(segment.key)
    return pq.read_schema(str(path) if path else pa.BufferReader(_verified(objects, segment)))


def segment_ids(objects: ObjectStore, segments: Sequence[Segment]) -> list[pa.Array]:
    """The asset ids that each segment names, also those it removes."""
    with ThreadPoolExecutor(8) as pool:
        read = pool.map(lambda one: read_segment(objects, one, ["asset_id"]), segments)
        return [rows.distinct(table) for table in read]


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    unique = {"asset_id"} if "annotation_id" not in table.column_names else set()
    dictionaries = [
        field.name
        for field in table.schema
        if not pa.types.is_nested(field.type) and field.name not in _NO_DICTIONARY | unique
    ]
    pq.write_table(
        table.replace_schema_metadata(None).combine_chunks(),
        sink,
        row_group_size=_ROW_GROUP,
        version="2.6",
        compression="zstd",
        compression_level=3,
        use_dictionary=dictionaries,
        write_statistics=["asset_id"],
        write_page_checksum=True,
    )
    return bytes(sink.getvalue())


def _may_hold(segment: Segment, wanted: npt.NDArray[np.bytes_] | None) -> bool:
    if wanted is None:
        return True
    low = np.bytes_(segment.min_key.to_bytes(8, "big"))
    high = np.bytes_(segment.max_key.to_bytes(8, "big") + b"\xff" * 24)
    return bool(np.searchsorted(wanted, low, "left") < np.searchsorted(wanted, high, "right"))


def _row_groups(file: pq.ParquetFile, ids: pa.Array | None) -> list[int]:
    groups = list(range(file.num_row_groups))
    if ids is None or len(groups) < 2:
        return groups
    wanted = np.sort(rows.to_numpy(ids))
    column = file.schema_arrow.names.index("asset_id")
    kept = []
    for group in groups:
        statistics = file.metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_min_max:
            return groups
        low = np.searchsorted(wanted, np.bytes_(statistics.min), "left")
        if low < np.searchsorted(wanted, np.bytes_(statistics.max), "right"):
            kept.append(group)
    return kept


def _verified(objects: ObjectStore, segment: Segment) -> bytes:
    body = read_object(objects, segment.key)
    if hashlib.sha256(body).hexdigest() != segment.id:
        raise corrupt_object(objects, segment.key, "its content does not have this hash")
    return body


def _joined(base: list[pa.Table]) -> pa.Table:
    return base[0] if len(base) == 1 else pa.concat_tables(base, promote_options="permissive")
