"""YOLO label files, and YMIR's ARK files, of many images at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.formats.texts import (
    ExportedImages,
    by_image,
    decimals,
    floats,
    joined_texts,
    of_stated,
    shortest,
    whole,
)

CARRIED: Final = frozenset({"class_id", "kind", "x", "y", "w", "h", "polygon", "confidence"})
ARK_CARRIED: Final = frozenset({"class_id", "kind", "x", "y", "w", "h", "angle", "quality"})
Floats = npt.NDArray[np.float64]


def yolo_texts(images: ExportedImages, numbers: npt.NDArray[np.int64]) -> pa.Array:
    """The label file of each image; `numbers` are the objects' class numbers.

    A polygon has its first ring, a rotated box its corners, and a mask its box.
    """
    rows, owners = images.objects, images.owners
    if rows.num_rows == 0:
        return pa.array([""] * images.assets.num_rows, pa.string())
    width, height = (floats(images.assets[side])[owners] for side in ("width", "height"))
    x, y, w, h = (floats(rows[side]) for side in "xywh")
    centre = (x + w / 2) / width, (y + h / 2) / height, w / width, h / height
    places = joined_texts(*_spaced([decimals(each) for each in centre]))
    shaped = np.flatnonzero(_outlined(rows)).tolist()
    if shaped:
        points = rows.select(["x", "y", "w", "h", "angle", "polygon"]).take(pa.array(shaped))
        outlines = [
            _shares(_outline(row), width[at], height[at])
            for at, row in zip(shaped, points.to_pylist(), strict=True)
        ]
        mask = np.zeros(rows.num_rows, np.bool_)
        mask[shaped] = True
        places = pc.replace_with_mask(places, pa.array(mask), pa.array(outlines, pa.string()))
    confidence = ""
    if "confidence" in rows.column_names:
        scores = rows["confidence"]
        confidence = of_stated(scores, " ", lambda: shortest(scores), "")
    lines = joined_texts(whole(numbers), " ", places, confidence, "\n")
    return by_image(lines, images.starts)


def ark_texts(images: ExportedImages, numbers: npt.NDArray[np.int64]) -> pa.Array:
    """YMIR's `class, xmin, ymin, xmax, ymax, quality, angle in units of pi`, corners inclusive."""
    rows = images.objects
    if rows.num_rows == 0:
        return pa.array([""] * images.assets.num_rows, pa.string())
    x, y, w, h = (floats(rows[side]) for side in "xywh")
    corners = [np.floor(each + 0.5).astype(np.int64) for each in (x, y, x + w - 1, y + h - 1)]
    quality = pc.fill_null(rows["quality"], -1.0)
    numbers_of = [decimals(floats(quality)), decimals(floats(rows["angle"]) / 180.0)]
    lines = joined_texts(*_spaced([whole(numbers), *map(whole, corners), *numbers_of], ", "), "\n")
    return by_image(lines, images.starts)


def yolo_data(names: Sequence[str], splits: Mapping[str, str]) -> str:
    """`data.yaml`: where each split is, and the names in the order of their numbers."""
    folders = "".join(f"{split}: {json.dumps(folder)}\n" for split, folder in splits.items())
    listed = "".join(
        f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in enumerate(names)
    )
    # Without a `path`, folders are relative to this file.
    return f"{folders}names:\n{listed}" if listed else f"{folders}names: []\n"


def outline_losses(rows: pa.Table) -> dict[str, int]:
    """What of these objects' shapes a label file does not hold, by what it is."""
    rings = pc.fill_null(pc.list_value_length(rows["polygon"]), 0).to_numpy()
    angles = floats(rows["angle"])
    return {
        "further rings of polygons": int((rings > 1).sum()),
        "masks, written as boxes": len(rows) - rows["rle"].null_count,
        "rotated boxes, written as polygons": int((angles != 0).sum()),
    }


def _outlined(rows: pa.Table) -> npt.NDArray[np.bool_]:
    polygon = rows["polygon"].combine_chunks().is_valid().to_numpy(zero_copy_only=False)
    outlined: npt.NDArray[np.bool_] = np.asarray(polygon, np.bool_) | (floats(rows["angle"]) != 0)
    return outlined


def _outline(row: Mapping[str, float]) -> Floats:
    rings: list[list[float]] | None = row["polygon"]  # type: ignore[assignment]
    if rings:
        return np.asarray(rings[0], np.float64)
    turn = np.radians(row["angle"])
    across = np.array([-1, 1, 1, -1]) * row["w"] / 2
    down = np.array([-1, -1, 1, 1]) * row["h"] / 2
    x = row["x"] + row["w"] / 2 + across * np.cos(turn) - down * np.sin(turn)
    y = row["y"] + row["h"] / 2 + across * np.sin(turn) + down * np.cos(turn)
    return np.stack([x, y], axis=1).ravel()


def _shares(points: Floats, width: float, height: float) -> str:
    return " ".join(decimals(points / np.resize([width, height], len(points))).to_pylist())


def _spaced(texts: Sequence[pa.Array], between: str = " ") -> list[str | pa.Array]:
    spaced: list[str | pa.Array] = []
    for text in texts:
        spaced += [between, text] if spaced else [text]
    return spaced
