"""Made-up images and boxes by the million, for `benchmarks/store.py`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mir_ops.store import Operation, Store, Version
from mir_ops.store.schema import ASSETS, GROUND_TRUTH

BOXES = 4
CLASSES = 20
CHANGED = 200
RELABELLED = {"few": CHANGED // 2 // BOXES, "many": CHANGED}  # images on each side
DELTAS = 32
OPERATION = Operation(kind="benchmark", code_version="0")
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def random_ids(count: int, seed: int) -> pa.Array:
    """Sorted asset ids that no other seed has."""
    body = np.random.default_rng(seed).bytes(32 * count)
    ids = np.sort(np.frombuffer(body, "S32"))
    return pa.Array.from_buffers(pa.binary(32), count, [None, pa.py_buffer(ids)])


def asset_rows(ids: pa.Array, split: str | None = "train") -> pa.Table:
    """One image per id, as an import of JPEG files would describe it."""
    count = len(ids)
    words = np.frombuffer(ids.buffers()[1], "<u8", 4 * count, ids.offset * 32).reshape(-1, 4)
    hexes = pa.array((words[:, 1] % 10**9).astype(str))
    names = pc.binary_join_element_wise("images/", hexes, ".jpg", "")
    columns = {
        "asset_id": ids,
        "media_type": constant("image/jpeg", count),
        "width": pa.array(640 + (words[:, 2] % 4).astype(np.int32) * 160),
        "height": pa.array(np.full(count, 480, np.int32)),
        "channels": pa.array(np.full(count, 3, np.int8)),
        "byte_size": pa.array((words[:, 3] % 200_000).astype(np.int64)),
        "orientation": pa.array(np.full(count, 1, np.int8)),
        "source_names": pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype="i4")), names),
        "split": constant(split, count),
        "added_at": pa.array(
            np.full(count, int(TIME.timestamp() * 1e6)), pa.timestamp("us", "UTC")
        ),
        "ymir_sha1": pa.array(
            np.ascontiguousarray(words.view(np.uint8)[:, :20]).view("S20").ravel(), pa.binary(20)
        ),
    }
    return _complete(columns, ASSETS, count)


def box_rows(ids: pa.Array, seed: int = 0) -> pa.Table:
    """Four boxes per image, of twenty classes."""
    count = len(ids) * BOXES
    words = np.frombuffer(ids.buffers()[1], "<u8", 4 * len(ids), ids.offset * 32)
    numbers = np.sort(words.reshape(-1, 4) ^ np.uint64(seed), axis=1).ravel()
    place = (numbers >> np.uint64(8)) % np.uint64(400)
    columns = {
        "asset_id": ids.take(pa.array(np.repeat(np.arange(len(ids)), BOXES))),
        "annotation_id": pa.array(numbers),
        "class_id": pa.array(((numbers % np.uint64(CLASSES)) + seed % 2).astype(np.int32)),
        "kind": constant("box", count),
        "x": pa.array(place.astype(np.float32)),
        "y": pa.array((place // np.uint64(2)).astype(np.float32)),
        "w": pa.array((numbers % np.uint64(191)).astype(np.float32)),
        "h": pa.array((numbers % np.uint64(193)).astype(np.float32)),
        "difficult": pa.array(np.zeros(count, bool)),
    }
    return _complete(columns, GROUND_TRUTH, count)


def constant(value: str | None, count: int) -> pa.Array:
    return pa.array([value], pa.string()).take(pa.array(np.zeros(count, np.int32)))


def _complete(columns: dict[str, pa.Array], schema: pa.Schema, count: int) -> pa.Table:
    arrays = [
        columns[field.name] if field.name in columns else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(
        [array.cast(f.type) for array, f in zip(arrays, schema, strict=True)], schema=schema
    )


def put(
    store: Store,
    branch: str,
    ids: pa.Array,
    *,
    op_id: str = "",
    base: Version | None = None,
    seed: int = 0,
) -> None:
    """Commit these images and their boxes to a branch."""
    with store.edit(
        branch, op_id=op_id or f"put-{branch}", operation=OPERATION, message="Put", base=base
    ) as edit:
        edit.put_assets(asset_rows(ids))
        edit.put_layer("ground_truth", box_rows(ids, seed), assets=ids)


def relabel(store: Store, branch: str, base: Version, first: int, amount: int) -> None:
    """Other boxes on so many images, spread over all."""
    ids = base.asset_ids()
    places = np.linspace(first, len(ids) - 2 + first, amount).astype(int)
    chosen = ids.take(pa.array(places))
    with store.edit(
        branch, op_id=branch, operation=OPERATION, message="Relabel", base=base
    ) as edit:
        edit.put_layer("ground_truth", box_rows(chosen, seed=1), assets=chosen)


def prepare(folder: Path, size: int) -> None:
    """The store and the plain files that every operation of this size starts from."""
    folder.mkdir(parents=True)
    store = Store.open((folder / "store").as_uri(), create=True)
    ids = random_ids(size, 1)
    put(store, "base", ids)
    base = store.read("base")
    half = pa.concat_arrays([ids.take(pa.array(np.arange(0, size, 2))), random_ids(size // 2, 2)])
    put(store, "other", half.take(pc.sort_indices(half)))
    for index in range(DELTAS):
        new = random_ids(CHANGED, 100 + index)
        put(store, "deltas", new, op_id=f"delta-{index}", base=base if index == 0 else None)
    for index, branch in enumerate(("left", "right")):
        put(store, branch, random_ids(CHANGED, 50 + index), base=base)
        for name, amount in RELABELLED.items():
            relabel(store, f"{name}-{branch}", base, index, amount)
    for name in ("base", "deltas", "other"):
        version = store.read(name)
        pq.write_table(version.assets(), folder / f"{name}-assets.parquet")
        pq.write_table(version.layer("ground_truth"), folder / f"{name}-boxes.parquet")
