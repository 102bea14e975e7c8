"""Dataset versions made from numbers: quick, without images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256

import pyarrow as pa

from mir_ops.store import Commit, Operation, Store
from mir_ops.taxonomy import Taxonomy


def asset_id(number: int) -> bytes:
    return sha256(str(number).encode()).digest()


def numbers_of(store: Store, rev: str, upto: int = 100) -> list[int]:
    """Which numbers' images are in a version."""
    known = {asset_id(number): number for number in range(upto)}
    return sorted(known[one] for one in store.read(rev).asset_ids().to_pylist())


def classes_of(store: Store, rev: str, number: int) -> list[str]:
    version = store.read(rev)
    rows = version.layer("ground_truth", ["class_id"], ids=[asset_id(number)])
    return sorted(version.taxonomy.name_of(class_id) for class_id in rows["class_id"].to_pylist())


def put(
    store: Store,
    branch: str,
    images: Mapping[int, Iterable[str]],
    *,
    op_id: str,
    remove: Iterable[int] = (),
    message: str = "Import",
) -> Commit:
    """Commit images by number, each with one box of each class; take others out."""
    names = sorted({name for classes in images.values() for name in classes} | {"cat", "dog"})
    ids = store.register_classes(names)
    boxes = [(asset_id(n), i, ids[name]) for n, c in images.items() for i, name in enumerate(c)]
    with store.edit(
        branch, op_id=op_id, operation=Operation(kind="import"), message=message
    ) as edit:
        edit.put_taxonomy(Taxonomy.from_names(ids))
        if images:
            edit.put_assets(_assets(images))
            edit.put_layer("ground_truth", _boxes(boxes), assets=[asset_id(n) for n in images])
        edit.remove_assets([asset_id(number) for number in remove])
    return edit.commit


def _assets(numbers: Iterable[int]) -> pa.Table:
    found = list(numbers)
    count = len(found)
    return pa.table(
        {
            "asset_id": [asset_id(number) for number in found],
            "media_type": ["image/png"] * count,
            "width": [64] * count,
            "height": [48] * count,
            "channels": [3] * count,
            "byte_size": [100] * count,
            "orientation": [1] * count,
            "source_names": [[f"{number}.png"] for number in found],
            "added_at": [datetime(2026, 1, 1, tzinfo=UTC)] * count,
            "ymir_sha1": [asset_id(number)[:20] for number in found],
        }
    )


def _boxes(boxes: list[tuple[bytes, int, int]]) -> pa.Table:
    count = len(boxes)
    return pa.table(
        {
            "asset_id": pa.array([box[0] for box in boxes], pa.binary(32)),
            "annotation_id": pa.array([box[1] for box in boxes], pa.uint64()),
            "class_id": pa.array([box[2] for box in boxes], pa.int32()),
            "kind": pa.array(["box"] * count, pa.string()),
            **{side: pa.array([10.0] * count, pa.float32()) for side in ("x", "y", "w", "h")},
        }
    )
