"""Tasks as Label Studio imports them: an image's address, our key, and what the model sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.labeling.backend import ImageAddresses, LabelRequest
from mir_ops.labeling.studio_projects import short_key
from mir_ops.labeling.studio_regions import Frame, write_region
from mir_ops.store.schema import ASSET_ID

_COLUMNS = [
    "asset_id", "annotation_id", "class_id", "kind", "x", "y", "w", "h", "angle", "polygon",
    "rle", "confidence",
]  # fmt: skip


def describe_tasks(
    request: LabelRequest, names: Sequence[str], addresses: ImageAddresses
) -> list[dict[str, Any]]:
    """One task for each of these assets, in their order."""
    ids = pa.array([bytes.fromhex(name) for name in names], ASSET_ID)
    chosen = request.assets.filter(pc.is_in(request.assets["asset_id"], value_set=ids))
    assets = {row["asset_id"].hex(): row for row in chosen.to_pylist()}
    regions = _regions(request, ids, assets)
    tasks = []
    for name in names:
        sources = assets[name]["source_names"]
        data = {
            "image": addresses.urls[name],
            "image_until": int(addresses.until.timestamp()),
            "asset_id": name,
            "request": short_key(request.key),
            "name": sources[0] if sources else name,
        }
        found = regions.get(name, [])
        task: dict[str, Any] = {"data": data}
        if request.model_id:
            task["predictions"] = [_prediction(request.model_id, found)]
        tasks.append(task)
    return tasks


def _regions(
    request: LabelRequest, ids: pa.Array, assets: dict[str, dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    table = request.predictions
    asked = pa.array(list(request.classes), pa.int32())
    kept = table.filter(
        pc.and_(
            pc.is_in(table["asset_id"], value_set=ids),
            pc.is_in(table["class_id"], value_set=asked),
        )
    ).sort_by([("asset_id", "ascending"), ("confidence", "descending")])
    found: dict[str, list[dict[str, Any]]] = {}
    for row in kept.select(_COLUMNS).to_pylist():  # as many as people are to look through
        name = row["asset_id"].hex()
        frame = Frame(row=0, width=assets[name]["width"], height=assets[name]["height"])
        region = write_region(row, request.classes[row["class_id"]], frame, shapes=request.shapes)
        found.setdefault(name, []).append(region)
    return found


def _prediction(model_id: str, regions: list[dict[str, Any]]) -> dict[str, Any]:
    best = max((region["score"] for region in regions), default=0.0)
    return {"model_version": model_id, "score": best, "result": regions}
