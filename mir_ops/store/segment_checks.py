"""Checking one segment against what its manifest says about it, and its sidecar against both."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mir_ops.store import keys, rows, sidecars
from mir_ops.store.manifests import Segment
from mir_ops.store.objects import ObjectStore, read_object


class DamageError(Exception):
    """Something is not what its name or its manifest promises; the message says what."""


@contextmanager
def local_file(objects: ObjectStore, key: str) -> Iterator[Path | None]:
    """The object as a file, fetched for as long as it is needed; None when there is none."""
    path = objects.local_path(key)
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="mir-check-") as folder:
        fetched = Path(folder) / "object"
        yield fetched if objects.fetch(key, fetched) else None


def check_segment(objects: ObjectStore, segment: Segment, table: str, *, is_base: bool) -> None:
    """Raise DamageError unless the file is complete, sorted, and as its manifest says."""
    with local_file(objects, segment.key) as path:
        if path is None:
            raise FileNotFoundError(segment.key)
        size = path.stat().st_size
        if size != segment.byte_size:
            raise DamageError(f"it has {size} bytes, its manifest says {segment.byte_size}")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != segment.id:
                raise DamageError("its content does not have this hash")
        try:
            keyed = _read_keys(path, table)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DamageError(f"its rows cannot be read: {error}") from None
    _check_rows(keyed, segment, is_base=is_base)
    if segment.sidecar:
        _check_sidecar(objects, segment, keyed)


def check_sidecar_exists(objects: ObjectStore, sidecar: str) -> bool:
    """Whether the file is there at all."""
    return objects.size(keys.sidecar(sidecar)) is not None


def _read_keys(path: Path, table: str) -> pa.Table:
    """The columns that say which rows these are. The footer says what is in the file."""
    wanted = ("asset_id", "annotation_id", "class_id", "split", rows.STATE)
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        known = {*rows.schema_of(table, file.schema_arrow).names, rows.STATE}
        if unknown := sorted(set(names) - known):
            raise DamageError(f"it has an unknown column `{unknown[0]}`")
        return file.read(columns=[name for name in names if name in wanted])


def _check_rows(table: pa.Table, segment: Segment, *, is_base: bool) -> None:
    found = {"rows": table.num_rows}
    if table.num_rows == 0:
        raise DamageError("it has no rows")
    column = table["asset_id"].combine_chunks()
    if column.null_count or column.type != pa.binary(32):
        raise DamageError("its asset ids are not 32 bytes each")
    ids = rows.to_numpy(column)
    _check_order(table, ids)
    state = table[rows.STATE].to_numpy()
    found["assets"] = int(np.count_nonzero(ids[1:] != ids[:-1])) + 1
    found["markers"] = int((state == rows.MARKER).sum())
    found["tombstones"] = int((state == rows.TOMBSTONE).sum())
    found["min_key"] = rows.key_of(column[0].as_py())
    found["max_key"] = rows.key_of(column[-1].as_py())
    for name, amount in found.items():
        if amount != getattr(segment, name):
            said = getattr(segment, name)
            raise DamageError(f"its {name} is {amount}, its manifest says {said}")
    if is_base and found["tombstones"]:
        raise DamageError(f"it has {found['tombstones']} tombstones in a base segment")


def _check_order(table: pa.Table, ids: npt.NDArray[np.bytes_]) -> None:
    """Ascending by asset id, then annotation id, without repeats; markers stand alone."""
    if (ids[1:] < ids[:-1]).any():
        raise DamageError("its rows are not sorted by asset id")
    same = ids[1:] == ids[:-1]
    state = table[rows.STATE].to_numpy()
    if ((state < rows.ROW) | (state > rows.TOMBSTONE)).any():
        raise DamageError("a row has an unknown state")
    if (same & ((state[1:] != rows.ROW) | (state[:-1] != rows.ROW))).any():
        raise DamageError("an asset has a marker or a tombstone beside other rows")
    if "annotation_id" not in table.column_names:
        repeated = same
    else:
        numbers = table["annotation_id"].fill_null(0).to_numpy()
        if (same & (numbers[1:] < numbers[:-1])).any():
            raise DamageError("the rows of an asset are not sorted by annotation id")
        repeated = same & (numbers[1:] == numbers[:-1])
    if repeated.any():
        first = table["asset_id"][int(np.argmax(repeated))].as_py().hex()
        raise DamageError(f"{int(repeated.sum())} keys are repeated, the first of asset {first}")


def _check_sidecar(objects: ObjectStore, segment: Segment, table: pa.Table) -> None:
    assert segment.sidecar is not None
    body = read_object(objects, keys.sidecar(segment.sidecar))
    if hashlib.sha256(body).hexdigest() != segment.sidecar:
        raise DamageError(f"its sidecar {segment.sidecar[:12]} does not have this hash")
    if sidecars.build(table) != body:
        raise DamageError(f"its sidecar {segment.sidecar[:12]} says something else than its rows")
