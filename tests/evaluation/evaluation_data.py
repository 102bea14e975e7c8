"""Dataset versions with ground truth and predictions, written straight into a store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from mir_ops.store import Commit, Operation, Store, schema

Box = tuple[float, float, float, float]
MODEL = "m" * 8


def asset_id(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def assets(names: Sequence[str], **more: Sequence[Any]) -> pa.Table:
    count = len(names)
    columns: dict[str, Any] = {
        "asset_id": pa.array([asset_id(name) for name in names], schema.ASSET_ID),
        "media_type": ["image/png"] * count,
        "width": [100] * count,
        "height": [100] * count,
        "channels": [3] * count,
        "byte_size": [10] * count,
        "orientation": [1] * count,
        "source_names": [[f"day/{name}.png"] for name in names],
        "split": ["val"] * count,
        "added_at": [datetime(2026, 1, 1, tzinfo=UTC)] * count,
        "ymir_sha1": [hashlib.sha1(name.encode()).digest() for name in names],
    }
    columns |= more
    return pa.table(
        {name: pa.array(value, schema.ASSETS.field(name).type) for name, value in columns.items()}
    )


def rows(found: Sequence[tuple[str, int, Box]], **more: Sequence[Any]) -> pa.Table:
    """Boxes: image, class id, box; `more` are other columns."""
    columns: dict[str, Any] = {
        "asset_id": pa.array([asset_id(row[0]) for row in found], schema.ASSET_ID),
        "annotation_id": pa.array(range(len(found)), pa.uint64()),
        "class_id": pa.array([row[1] for row in found], pa.int32()),
        "kind": pa.array(["box"] * len(found), pa.string()),
    }
    for position, name in enumerate("xywh"):
        columns[name] = pa.array([row[2][position] for row in found], pa.float32())
    for name, values in more.items():
        columns[name] = pa.array(values, schema.PREDICTIONS.field(name).type)
    return pa.table(columns)


def commit(
    store: Store, branch: str, layers: Mapping[str, pa.Table], images: pa.Table, **more: Any
) -> Commit:
    """A version whose layers cover all images."""
    with store.edit(
        branch,
        op_id=f"test-{branch}-{store.branch(branch).seq}",
        operation=Operation(kind="import", parameters=more),
        message="Test",
    ) as edit:
        edit.put_assets(images)
        for name, table in layers.items():
            edit.put_layer(name, table, assets=images["asset_id"])
    return edit.commit


def random_sides(
    seed: int, images: int = 20, classes: Sequence[int] = (0, 1)
) -> tuple[list[str], pa.Table, pa.Table]:
    """Names of images, their boxes, and predictions of which some are near a box."""
    rng = np.random.default_rng(seed)
    names = [f"image{n:03}" for n in range(images)]
    truth: list[tuple[str, int, Box]] = []
    found: list[tuple[str, int, Box]] = []
    for name in names:
        for _ in range(int(rng.integers(0, 4))):
            box = (*rng.integers(0, 60, 2).tolist(), *rng.integers(8, 40, 2).tolist())
            label = int(rng.choice(classes))
            truth.append((name, label, box))
            for _ in range(int(rng.integers(0, 3))):
                moved = tuple(
                    float(v + d) for v, d in zip(box, rng.integers(-3, 4, 4), strict=True)
                )
                other = label if rng.random() < 0.8 else int(rng.choice(classes))
                found.append((name, other, moved))  # type: ignore[arg-type]
        if rng.random() < 0.5:
            found.append((name, int(rng.choice(classes)), (70.0, 70.0, 9.0, 9.0)))
    confidence = rng.random(len(found)).astype(np.float32)
    return names, rows(truth), rows(found, confidence=confidence)
