"""What a format cannot carry: counted, so that nothing is lost silently by an export."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.dataset.annotations import derived_values
from mir_ops.formats import coco_texts, voc_texts, yolo_texts
from mir_ops.formats.texts import floats

_CARRIED: Final = {
    "voc": voc_texts.CARRIED,
    "coco": coco_texts.CARRIED,
    "yolo": yolo_texts.CARRIED,
    "ark": yolo_texts.ARK_CARRIED,
}
_KEYS: Final = ("asset_id", "annotation_id")
_OF_IMAGES: Final = ("group_id", "parent_id", "frame_index", "capture_time")


def asset_losses(assets: pa.Table, format_name: str) -> dict[str, int]:
    """Values of images that the format has no place for, by column."""
    lost = {f"{name} of images": _stated(assets[name]) for name in _OF_IMAGES}
    attributes = assets["attributes"]
    if format_name == "voc":
        lost["attributes of images"] = voc_texts.lost_keys(attributes)
    elif format_name != "coco":
        lost["attributes of images"] = _stated(attributes)
    if format_name in ("ark", "none"):
        lost["split of images"] = _stated(assets["split"])
    return lost


def object_losses(
    objects: pa.Table, owners: npt.NDArray[np.int64], assets: pa.Table, format_name: str
) -> dict[str, int]:
    """Values of objects that the format has no place for, by column."""
    carried = _CARRIED[format_name]
    left = [name for name in objects.column_names if name not in (*carried, *_KEYS)]
    lost = {name: _stated(objects[name]) for name in left}
    if format_name == "voc":
        lost["tags"] = voc_texts.lost_keys(objects["tags"])
    if format_name == "yolo":
        lost |= yolo_texts.outline_losses(objects)
        lost.pop("rle"), lost.pop("angle")
    if objects.num_rows:
        sizes = floats(assets["width"]), floats(assets["height"])
        ids, areas = derived_values(objects, owners, *sizes)
        lost["annotation_id"] = int((ids != objects["annotation_id"].to_numpy()).sum())
        if "area" in lost:
            usual = np.isclose(floats(objects["area"]), areas, rtol=1e-6)
            unstated = objects["area"].is_null().to_numpy()
            lost["area"] = int((~usual & ~unstated).sum())
    return lost


def _stated(column: pa.ChunkedArray) -> int:
    stated: int = len(column) - column.null_count
    return stated
