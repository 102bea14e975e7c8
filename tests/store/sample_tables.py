"""Tables of made-up assets and boxes for the tests of the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from mir_ops.store import Commit, Operation, Store, Version

OPERATION = Operation(kind="test", code_version="0")
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def asset_ids(count: int, seed: int = 0) -> pa.Array:
    rng = np.random.default_rng(seed)
    return pa.array(sorted(rng.bytes(32) for _ in range(count)), pa.binary(32))


def asset_rows(ids: pa.Array, split: str | None = None, name: str = "image") -> pa.Table:
    count = len(ids)
    return pa.table(
        {
            "asset_id": ids,
            "media_type": ["image/png"] * count,
            "width": [64] * count,
            "height": [48] * count,
            "channels": [3] * count,
            "byte_size": [1000] * count,
            "orientation": [1] * count,
            "source_names": [[f"{name}{index}.png"] for index in range(count)],
            "split": pa.array([split] * count, pa.string()),
            "added_at": pa.array([TIME] * count, pa.timestamp("us", tz="UTC")),
            "ymir_sha1": [value.as_py()[:20] for value in ids],
        }
    )


def box_rows(ids: pa.Array, each: int = 1, class_id: int = 0, x: float = 1.0) -> pa.Table:
    count = len(ids) * each
    return pa.table(
        {
            "asset_id": ids.take(pa.array(np.repeat(np.arange(len(ids)), each))),
            "annotation_id": pa.array(np.tile(np.arange(each), len(ids)), pa.uint64()),
            "class_id": pa.array([class_id] * count, pa.int32()),
            "kind": ["box"] * count,
            "x": [x] * count,
            "y": [2.0] * count,
            "w": [3.0] * count,
            "h": [4.0] * count,
            "tags": pa.array([[("colour", "red")]] * count, pa.map_(pa.string(), pa.string())),
        }
    )


def commit_assets(
    store: Store,
    branch: str,
    ids: pa.Array,
    *,
    op_id: str | None = None,
    split: str | None = None,
    boxes: int = 0,
    class_id: int = 0,
) -> Commit:
    op_id = op_id or f"add-{branch}-{ids[0].as_py().hex()[:16]}"
    with store.edit(branch, op_id=op_id, operation=OPERATION, message="Add assets") as edit:
        edit.put_assets(asset_rows(ids, split))
        if boxes:
            edit.put_layer("ground_truth", box_rows(ids, boxes, class_id), assets=ids)
    return edit.commit


def hex_ids(ids: pa.Array | pa.ChunkedArray | Sequence[bytes]) -> list[str]:
    values = ids.to_pylist() if isinstance(ids, pa.Array | pa.ChunkedArray) else ids
    return [value.hex() for value in values]


def recount(version: Version) -> None:
    """The incremental numbers of a commit are those of its rows."""
    assets = version.assets()
    assert version.stats.assets == assets.num_rows
    splits = assets["split"].fill_null("").value_counts().to_pylist()
    assert dict(version.stats.splits) == {one["values"]: one["counts"] for one in splits}
    assert sorted(version.stats.layers) == version.layers()
    for name, stats in version.stats.layers.items():
        rows = version.layer(name)
        assert stats.rows == rows.num_rows
        assert stats.assets == len(version.layer_assets(name))
        if "class_id" in rows.column_names:
            classes = rows["class_id"].value_counts().to_pylist()
            assert dict(stats.classes) == {one["values"]: one["counts"] for one in classes}
            pairs = rows.group_by(["asset_id", "class_id"]).aggregate([])["class_id"]
            assets_by_class = pairs.value_counts().to_pylist()
            assert dict(stats.class_assets) == {
                one["values"]: one["counts"] for one in assets_by_class
            }
