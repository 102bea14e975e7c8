"""Segments: Parquet files of rows, written once, read by column, asset and row group."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mir_ops.store import keys, overlays, rows, sidecars
from mir_ops.store.manifests import Segment, TableSegments
from mir_ops.store.objects import ObjectStore, corrupt_object, read_object
from mir_ops.store.sidecars import Wanted

PARTITION_ROWS: Final = 65_536
_ROW_GROUP: Final = 8_192  # a few images are read without much else; all of them as fast
_LARGE: Final = 65_536  # a delta of so many rows has a sidecar, like every base segment
_KEYS: Final = 1 << 64
_THREADS: Final = 16
_AHEAD: Final = 8
_NO_DICTIONARY: Final = frozenset({"annotation_id", "ymir_sha1", "perceptual_hash", "vector"})
# Other columns without a value in any row are left out of a file.
_ALWAYS: Final = frozenset({*rows.KEYS, rows.STATE, "class_id", "split", "vector"})


def write_segment(objects: ObjectStore, table: pa.Table) -> Segment:
    """Store rows that are sorted by asset id and carry their state."""
    return _write(objects, table, with_sidecar=table.num_rows >= _LARGE)


def write_base(
    objects: ObjectStore, table: pa.Table, low: int = 0, high: int = _KEYS
) -> tuple[Segment, ...]:
    """Store rows whose keys are from `low` to below `high` as base segments.

    Ranges split at powers of two of the hash, so that equal rows give equal segments in every
    version; each has about 64k rows and a key sidecar.
    """
    if table.num_rows == 0:
        return ()
    return _write_cut(objects, table, _width(table.num_rows, high - low), low, high)


def write_base_parts(
    objects: ObjectStore, parts: Iterable[pa.Table], count: int
) -> tuple[Segment, ...]:
    """The segments of `count` rows that come part by part, one part after the other in memory.

    Each part is sorted, and no key in it comes before those of the last one.
    """
    width, written = _width(count, _KEYS), list[Segment]()
    rest: pa.Table | None = None
    for part in parts:
        table = part if rest is None else joined([rest, part])
        keys_ = rows.prefixes(rows.one_array(table["asset_id"]))
        cut = int(np.searchsorted(keys_, np.uint64(int(keys_[-1]) // width * width)))
        if cut:
            written += _write_cut(objects, table.slice(0, cut), width)
        rest = table.slice(cut)
    if rest is not None:
        written += _write_cut(objects, rest, width)
    return tuple(written)


def _width(count: int, span: int) -> int:
    """The range of keys of a segment, where `count` rows have `span` keys."""
    parts = -(-count * _KEYS // span // PARTITION_ROWS)  # were all keys as dense
    return _KEYS >> max(0, parts - 1).bit_length()


def _write_cut(
    objects: ObjectStore, table: pa.Table, width: int, low: int = 0, high: int = _KEYS
) -> tuple[Segment, ...]:
    prefixes = rows.prefixes(rows.one_array(table["asset_id"]))
    bounds = np.array(range(-(-(low + 1) // width) * width, high, width), np.uint64)
    starts = [0, *np.searchsorted(prefixes, bounds).tolist(), table.num_rows]
    slices = [table.slice(a, b - a) for a, b in itertools.pairwise(starts) if b > a]
    with _pool(objects) as pool:
        return tuple(pool.map(lambda part: _write(objects, part, with_sidecar=True), slices))


def read_table(
    objects: ObjectStore,
    table: TableSegments,
    columns: Sequence[str] | None = None,
    ids: pa.Array | None = None,
) -> pa.Table | None:
    """The rows of a table with their state, sorted; None when it has no segment for these ids."""
    if ids is not None:
        return _read_some(objects, table, columns, Wanted.of(rows.sorted_unique([ids])))
    parts = [part.rows for part in read_partitions(objects, table, columns)]
    return joined(parts) if parts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The current rows of a range of keys; `segment` when a base segment alone holds them."""

    rows: pa.Table
    low: int
    high: int
    segment: Segment | None


def read_partitions(
    objects: ObjectStore, table: TableSegments, columns: Sequence[str] | None = None
) -> Iterator[Partition]:
    """The rows of a table, range by range as its base is cut, tombstones left out.

    What is between the ranges of two base segments belongs to the one before.
    """
    over = read_deltas(objects, table.deltas, columns, None)
    if not table.base:
        if over is not None:
            yield Partition(rows=rows.covered_only(over), low=0, high=_KEYS, segment=None)
        return
    lows = [0, *(segment.min_key for segment in table.base[1:]), _KEYS]
    bounds = np.array(lows[1:-1], np.uint64)
    ids = rows.as_ids([]) if over is None else rows.one_array(over["asset_id"])
    cuts = [0, *np.searchsorted(rows.prefixes(ids), bounds).tolist(), len(ids)]

    def read(index: int) -> Partition:
        found = _read_file(objects, table.base[index], columns, None)
        low, high, changes = lows[index], lows[index + 1], cuts[index + 1] - cuts[index]
        if over is None or not changes:
            return Partition(rows=found, low=low, high=high, segment=table.base[index])
        found = overlays.overlay(found, over.slice(cuts[index], changes))
        return Partition(rows=rows.covered_only(found), low=low, high=high, segment=None)

    with _pool(objects) as pool:
        ahead = deque[Future[Partition]]()
        for index in range(len(table.base)):
            ahead.append(pool.submit(read, index))
            if len(ahead) > _AHEAD:
                yield ahead.popleft().result()
        for future in ahead:
            yield future.result()


def read_deltas(
    objects: ObjectStore,
    deltas: Sequence[Segment],
    columns: Sequence[str] | None,
    wanted: Wanted | None = None,
) -> pa.Table | None:
    """What deltas say together, oldest first, of all assets or these; tombstones included."""
    held = [segment for segment in deltas if wanted is None or _may_hold(segment, wanted)]
    if not held:
        return None
    ids = None if wanted is None else wanted.ids
    with _pool(objects) as pool:
        read = pool.map(lambda one: read_segment(objects, one, columns, ids), held)
        return overlays.newest(list(read))


def read_segment(
    objects: ObjectStore,
    segment: Segment,
    columns: Sequence[str] | None = None,
    ids: pa.Array | None = None,
) -> pa.Table:
    """The rows of one segment, of all assets or of these (ascending)."""
    wanted = None if ids is None else Wanted.of(ids)
    table = _read_file(objects, segment, columns, wanted)
    return table if ids is None else overlays.select(table, ids)


def read_schema(objects: ObjectStore, segment: Segment) -> pa.Schema:
    """The columns of a segment's file."""
    path = objects.local_path(segment.key)
    return pq.read_schema(str(path) if path else pa.BufferReader(_verified(objects, segment)))


def segment_ids(objects: ObjectStore, segments: Sequence[Segment]) -> list[pa.Array]:
    """The asset ids that each segment names, also those it removes."""
    with _pool(objects) as pool:
        read = pool.map(lambda one: read_segment(objects, one, ["asset_id"]), segments)
        return [rows.distinct(table) for table in read]


def _pool(objects: ObjectStore) -> ThreadPoolExecutor:
    """Requests wait for a server, files for a processor: more threads would only take memory."""
    remote = objects.url.startswith("s3:")
    return ThreadPoolExecutor(_THREADS if remote else min(_THREADS, os.cpu_count() or 1))


def _write(objects: ObjectStore, table: pa.Table, *, with_sidecar: bool) -> Segment:
    table = table.combine_chunks()
    body = _parquet(table)
    digest = hashlib.sha256(body).hexdigest()
    objects.create(keys.segment(digest), body)
    sidecar = sidecars.build(table) if with_sidecar else None
    beside = None if sidecar is None else hashlib.sha256(sidecar).hexdigest()
    if sidecar is not None and beside is not None:
        objects.create(keys.sidecar(beside), sidecar)
    ids = rows.distinct(table)
    state = rows.one_array(table[rows.STATE]).to_numpy()
    return Segment(
        id=digest,
        byte_size=len(body),
        rows=table.num_rows,
        assets=len(ids),
        markers=int((state == rows.MARKER).sum()),
        tombstones=int((state == rows.TOMBSTONE).sum()),
        min_key=rows.key_of(ids[0].as_py()),
        max_key=rows.key_of(ids[-1].as_py()),
        sidecar=beside,
    )


def _read_some(
    objects: ObjectStore, table: TableSegments, columns: Sequence[str] | None, wanted: Wanted
) -> pa.Table | None:
    """The rows of these assets: base segments are read for what no delta says, if they have it."""
    over = read_deltas(objects, table.deltas, columns, wanted)
    if over is not None and over.num_rows:
        wanted = wanted.filter(~rows.is_in(wanted.ids, rows.distinct(over)))
    cuts = [
        (
            int(np.searchsorted(wanted.keys, np.uint64(segment.min_key), "left")),
            int(np.searchsorted(wanted.keys, np.uint64(segment.max_key), "right")),
        )
        for segment in table.base
    ]
    asked = [
        (segment, part)
        for segment, (first, last) in zip(table.base, cuts, strict=True)
        if first < last and _names_any(objects, segment, part := wanted.slice(first, last))
    ]
    with _pool(objects) as pool:
        read = list(pool.map(lambda one: _select(objects, one[0], columns, one[1]), asked))
    base = joined(read) if read else None
    if over is None:
        return base
    return rows.covered_only(over if base is None else overlays.overlay(base, over))


def _select(
    objects: ObjectStore, segment: Segment, columns: Sequence[str] | None, wanted: Wanted
) -> pa.Table:
    return overlays.select(_read_file(objects, segment, columns, wanted), wanted.ids)


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Tables one after the other; what one of them lacks is null there."""
    return parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="permissive")


def _names_any(objects: ObjectStore, segment: Segment, wanted: Wanted) -> bool:
    if segment.sidecar is None or len(wanted) > segment.assets // 8:
        return True
    _, found = sidecars.read(objects, segment.sidecar).find(wanted)
    return bool(found.any())


def _read_file(
    objects: ObjectStore,
    segment: Segment,
    columns: Sequence[str] | None,
    wanted: Wanted | None,
) -> pa.Table:
    """The row groups of a segment that may hold the wanted assets."""
    path = objects.local_path(segment.key)
    try:
        source = str(path) if path else pa.BufferReader(_verified(objects, segment))
        file = pq.ParquetFile(source, memory_map=True, page_checksum_verification=True)
        with file:
            names = file.schema_arrow.names
            kept = None if columns is None else [name for name in names if name in columns]
            groups = _row_groups(objects, segment, file, wanted)
            return file.read_row_groups(groups, columns=kept, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise corrupt_object(objects, segment.key, str(error)) from None


def _parquet(table: pa.Table) -> bytes:
    kept = [n for n in table.column_names if n in _ALWAYS or table[n].null_count < table.num_rows]
    table = table.select(kept).replace_schema_metadata(None)
    large = table.num_rows >= _LARGE // 4
    unique = {"asset_id"} if "annotation_id" not in table.column_names else set()
    dictionaries = [
        field.name
        for field in table.schema
        if not pa.types.is_nested(field.type) and field.name not in _NO_DICTIONARY | unique
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=_ROW_GROUP,
        version="2.6",
        # Large files are read often: LZ4 is read twice as fast. Small ones should stay small.
        compression="lz4" if large else "zstd",
        compression_level=None if large else 3,
        use_dictionary=dictionaries,
        write_statistics=["asset_id"],
        write_page_checksum=True,
        store_schema="vector" in kept,  # Parquet itself knows no fixed-size lists
    )
    return bytes(sink.getvalue())


def _may_hold(segment: Segment, wanted: Wanted) -> bool:
    first = np.searchsorted(wanted.keys, np.uint64(segment.min_key), "left")
    return bool(first < np.searchsorted(wanted.keys, np.uint64(segment.max_key), "right"))


def _row_groups(
    objects: ObjectStore, segment: Segment, file: pq.ParquetFile, wanted: Wanted | None
) -> list[int]:
    groups = list(range(file.num_row_groups))
    if wanted is None or len(groups) < 2 or len(wanted) > segment.assets // 8:
        return groups
    if segment.sidecar is not None:
        sidecar = sidecars.read(objects, segment.sidecar)
        places, found = sidecar.find(wanted)
        sizes = [file.metadata.row_group(group).num_rows for group in groups]
        ends = np.cumsum(sizes)
        first = np.searchsorted(ends, sidecar.starts[places[found]], "right")
        last = np.searchsorted(ends, sidecar.starts[places[found] + 1] - 1, "right")
        return np.flatnonzero(np.bincount(overlays.spread(first, last + 1))).tolist()
    return [group for group in groups if _group_may_hold(file, group, wanted)]


def _group_may_hold(file: pq.ParquetFile, group: int, wanted: Wanted) -> bool:
    column = file.schema_arrow.names.index("asset_id")
    statistics = file.metadata.row_group(group).column(column).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    held = rows.to_numpy(wanted.ids)
    low = np.searchsorted(held, np.bytes_(statistics.min), "left")
    return bool(low < np.searchsorted(held, np.bytes_(statistics.max), "right"))


def _verified(objects: ObjectStore, segment: Segment) -> bytes:
    body = read_object(objects, segment.key)
    if hashlib.sha256(body).hexdigest() != segment.id:
        raise corrupt_object(objects, segment.key, "its content does not have this hash")
    return body
