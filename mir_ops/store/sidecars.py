"""Key sidecars: which assets a segment names, where its rows are, and what to count of them.

A sidecar is a small file of plain arrays beside a large segment. It is mapped into memory, so that
looking up a few hundred assets among a million touches a few pages and reads no row. Layout, all
numbers little-endian, each array aligned to 8 bytes:

    "MIRK", version, width of a class code, 2 bytes zero, and as uint32: assets, rows, classes,
    bytes of split names (0-separated)
    uint64  keys[assets]        the first 8 bytes of each asset id as a number, ascending
    uint64  checks[assets]      the next 8 bytes
    uint32  starts[assets + 1]  where each asset's rows start in the segment
    uint8   kinds[assets]       0 tombstone, 1 marker, 2 rows; in the table of assets 3 a row
                                without a split, 4 + n a row in the n-th split
    int32   classes[classes]    class ids
    uint8, 16 or 32  codes[rows]  which of them each row has; only where there are classes
    bytes   split names

Two assets whose ids agree in 8 bytes are told apart by `checks`; a segment with two that are both
in one table has no sidecar, and one without a sidecar is read by its columns.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import threading
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.store import keys, rows
from mir_ops.store.objects import ObjectStore, corrupt_object, read_object

MAGIC: Final = b"MIRK"
VERSION: Final = 1
GONE: Final = 0
EMPTY: Final = 1
PRESENT: Final = 2
UNSPLIT: Final = 3

_HEADER: Final = struct.Struct("<4sBB2xIIII")
_CACHED: Final = 512
_MOST_SPLITS: Final = 250

_open: dict[str, Sidecar] = {}
_lock = threading.Lock()

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """The arrays of one sidecar."""

    keys: npt.NDArray[np.uint64]
    checks: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.uint32]
    kinds: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int32]
    codes: npt.NDArray[Any]
    splits: tuple[str, ...]

    def find(self, wanted: Wanted) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """Where each wanted asset would be, and whether it is there."""
        places = np.searchsorted(self.keys, wanted.keys)
        inside = np.minimum(places, len(self.keys) - 1)
        found = (self.keys[inside] == wanted.keys) & (self.checks[inside] == wanted.checks)
        return inside, found


@dataclass(frozen=True, slots=True)
class Wanted:
    """Asset ids, ascending, as the two numbers by which sidecars know them."""

    ids: pa.Array
    keys: npt.NDArray[np.uint64]
    checks: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, ids: pa.Array) -> Wanted:
        """The ids must be ascending."""
        return cls(ids, rows.prefixes(ids, 0), rows.prefixes(ids, 1))

    def __len__(self) -> int:
        return len(self.ids)

    def slice(self, start: int, stop: int) -> Wanted:
        """Some of them, in order."""
        return Wanted(self.ids[start:stop], self.keys[start:stop], self.checks[start:stop])

    def filter(self, kept: npt.NDArray[np.bool_]) -> Wanted:
        """Those where `kept` is true."""
        return Wanted(self.ids.filter(pa.array(kept)), self.keys[kept], self.checks[kept])


def build(table: pa.Table) -> bytes | None:
    """The sidecar of rows sorted by key with their state; None where there can be none."""
    ids = rows.one_array(table["asset_id"])
    starts = rows.run_starts(ids)
    wanted = Wanted.of(ids.take(pa.array(starts)))
    if (wanted.keys[1:] == wanted.keys[:-1]).any():
        return None
    kinds, splits = _kinds(table, starts)
    if kinds is None:
        return None
    classes, codes = _classes(table)
    names = b"\0".join(name.encode() for name in splits)
    counts = (len(starts), table.num_rows, len(classes), len(names))
    head = _HEADER.pack(MAGIC, VERSION, codes.dtype.itemsize, *counts)
    bounds = np.append(starts, table.num_rows).astype(np.uint32)
    arrays = (wanted.keys, wanted.checks, bounds, kinds, classes, codes)
    parts = [head, *(array.tobytes() for array in arrays), names]
    return b"".join(part + bytes(-len(part) % 8) for part in parts)


def read(objects: ObjectStore, sidecar: str) -> Sidecar:
    """The sidecar of this hash, checked against it once per process."""
    found = _open.get(sidecar)
    if found is None:
        found = _read(objects, sidecar)
        with _lock:
            while len(_open) >= _CACHED:
                del _open[next(iter(_open))]
            _open[sidecar] = found
    return found


def _read(objects: ObjectStore, sidecar: str) -> Sidecar:
    key = keys.sidecar(sidecar)
    path = objects.local_path(key)
    body: bytes | mmap.mmap
    if path is None:
        body = read_object(objects, key)
    else:
        with path.open("rb") as file:
            try:
                body = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            except ValueError:
                raise corrupt_object(objects, key, "it is empty") from None
    if hashlib.sha256(body).hexdigest() != sidecar:
        raise corrupt_object(objects, key, "its content does not have this hash")
    try:
        return _parse(body)
    except (struct.error, ValueError) as error:
        raise corrupt_object(objects, key, str(error)) from None


def _parse(body: bytes | mmap.mmap) -> Sidecar:
    magic, version, width, assets, amount, classes, names = _HEADER.unpack_from(body)
    if magic != MAGIC or version != VERSION:
        raise ValueError(f"it starts with {magic!r}, version {version}")
    offset = _HEADER.size

    def array(kind: Any, length: int) -> npt.NDArray[Any]:
        nonlocal offset
        found = np.frombuffer(body, kind, length, offset)
        offset += found.nbytes + -found.nbytes % 8
        return found

    return Sidecar(
        keys=array("<u8", assets),
        checks=array("<u8", assets),
        starts=array("<u4", assets + 1),
        kinds=array("<u1", assets),
        classes=array("<i4", classes),
        codes=array(f"<u{width}", amount if classes else 0),
        splits=tuple(bytes(array("<u1", names)).decode().split("\0")) if names else (),
    )


def _kinds(
    table: pa.Table, starts: Numbers
) -> tuple[npt.NDArray[np.uint8] | None, tuple[str, ...]]:
    state = rows.one_array(table[rows.STATE]).to_numpy()[starts]
    kinds = np.select([state == rows.TOMBSTONE, state == rows.MARKER], [GONE, EMPTY], PRESENT)
    if "split" not in table.column_names:
        return kinds.astype(np.uint8), ()
    encoded = rows.one_array(table["split"]).dictionary_encode()
    names = tuple(encoded.dictionary.to_pylist())
    if len(names) > _MOST_SPLITS or any(not name or "\0" in name for name in names):
        return None, ()
    order = sorted(names)  # equal rows make equal bytes
    place = np.array([order.index(name) + 1 for name in names] + [0])
    codes = encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)[starts]
    split = np.where(kinds == PRESENT, place[codes] + UNSPLIT - PRESENT, 0)
    return (kinds + split).astype(np.uint8), tuple(order)


def _classes(table: pa.Table) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    if "class_id" not in table.column_names:
        return np.zeros(0, np.int32), np.zeros(0, np.uint8)
    column = rows.one_array(table["class_id"]).fill_null(0)  # markers have none, nobody asks
    encoded = column.dictionary_encode()
    unsorted = encoded.dictionary.to_numpy(zero_copy_only=False)
    rank = np.argsort(np.argsort(unsorted))
    size = len(unsorted)
    width = np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.uint32
    codes = rank[encoded.indices.to_numpy(zero_copy_only=False)]
    return np.sort(unsorted).astype(np.int32), codes.astype(width)
