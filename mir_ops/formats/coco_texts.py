"""COCO's lists of images and annotations, of many images at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.formats.texts import (
    ExportedImages,
    Part,
    joined_texts,
    of_maps,
    of_stated,
    of_unique,
    polygon_texts,
    shortest,
    where,
    whole,
)

CARRIED: Final = frozenset(
    {"class_id", "kind", "x", "y", "w", "h", "angle", "polygon", "rle", "area", "iscrowd"}
    | {"difficult", "truncated", "occluded", "quality", "tags", "confidence"}
)
FILE: Final = "coco-annotations.json"
_UNSTATED: Final = ', "iscrowd": 0, "iscrowd_stated": false'
_FLAGS: Final = ("difficult", "truncated", "occluded")


def image_texts(images: ExportedImages, first: int) -> pa.Array:
    """The entry of each image; the first gets the id `first`."""
    assets = images.assets
    return joined_texts(
        '{"id": ',
        whole(np.arange(first, first + assets.num_rows)),
        ', "file_name": ',
        pa.array([_quoted(name) for name in images.file_names.to_pylist()], pa.string()),
        ', "width": ',
        whole(assets["width"]),
        ', "height": ',
        whole(assets["height"]),
        of_stated(assets["split"], ', "split": "', lambda: assets["split"].combine_chunks(), '"'),
        of_maps(assets["attributes"], lambda pairs: f', "attributes": {_mapping(pairs)}'),
        "}",
    )


def annotation_texts(
    images: ExportedImages, numbers: npt.NDArray[np.int64], *, first_image: int, first: int
) -> pa.Array:
    """The entry of each object; `numbers` are the ids of their categories."""
    rows = images.objects
    if rows.num_rows == 0:
        return pa.array([], pa.string())
    x, y, w, h = (shortest(rows[side]) for side in "xywh")
    return joined_texts(
        '{"id": ',
        whole(np.arange(first, first + rows.num_rows)),
        ', "image_id": ',
        whole(images.owners + first_image),
        ', "category_id": ',
        whole(numbers),
        ', "bbox": [',
        *(x, ", ", y, ", ", w, ", ", h),
        '], "area": ',
        shortest(rows["area"]),
        _iscrowd(rows["iscrowd"]),
        ', "segmentation": ',
        _segmentations(images),
        _attributes(rows),
        _number(rows, "quality", ', "box_quality": '),
        of_maps(rows["tags"], lambda pairs: f', "tags": {_mapping(pairs)}'),
        # `score` is COCO's word, `confidence` YMIR's.
        _number(rows, "confidence", ', "score": '),
        _number(rows, "confidence", ', "confidence": '),
        "}",
    )


def categories_text(names: Sequence[str]) -> str:
    """The list of categories, numbered from 1."""
    entries = (
        f'{{"id": {number}, "name": {_quoted(name)}, "supercategory": "object"}}'
        for number, name in enumerate(names, 1)
    )
    return "[" + ",\n".join(entries) + "]"


def _segmentations(images: ExportedImages) -> Part:
    rows = images.objects
    found: Part = "[]"
    if rows["polygon"].null_count < rows.num_rows:
        found = polygon_texts(rows["polygon"])
    if rows["rle"].null_count < rows.num_rows:
        owners = pa.array(images.owners)
        width, height = (whole(images.assets[s].take(owners)) for s in ("width", "height"))
        texts = pc.fill_null(rows["rle"].combine_chunks(), b"").cast(pa.string())
        counts = of_unique(texts, _quoted)
        masks = joined_texts('{"size": [', height, ", ", width, '], "counts": ', counts, "}")
        found = where(rows["rle"].combine_chunks().is_valid(), masks, found)
    return found


def _iscrowd(column: pa.ChunkedArray) -> Part:
    """COCO's tools want the key: where nobody said, it is 0, and a key of ours says so."""
    if column.null_count == len(column):
        return _UNSTATED
    texts = where(column.combine_chunks(), ', "iscrowd": 1', ', "iscrowd": 0')
    return pc.fill_null(texts, _UNSTATED)


def _attributes(rows: pa.Table) -> Part:
    """Flags and rotation in CVAT's words."""
    parts: list[Part] = []
    for name in _FLAGS:
        column = rows[name].combine_chunks()
        if column.null_count < len(column):
            texts = where(column, f', "{name}": true', f', "{name}": false')
            parts.append(pc.fill_null(texts, ""))
    if rows["angle"].null_count < rows.num_rows:
        parts.append(_number(rows, "angle", ', "rotation": '))
    if not parts:
        return ""
    inner = parts[0] if len(parts) == 1 else joined_texts(*parts)
    body = joined_texts(', "attributes": {', pc.utf8_slice_codeunits(inner, 2), "}")
    return where(pc.equal(inner, ""), "", body)


def _number(rows: pa.Table, name: str, before: str) -> Part:
    if name not in rows.column_names:
        return ""
    column = rows[name]
    return of_stated(column, before, lambda: shortest(column), "")


def _mapping(pairs: Sequence[tuple[str, str]]) -> str:
    return json.dumps(dict(pairs), ensure_ascii=False)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
