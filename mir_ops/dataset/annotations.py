"""Objects read from files, gathered in columns, checked together, and made an annotation table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.dataset.report import Tally
from mir_ops.formats.images import TURNED
from mir_ops.formats.voc import VocObject
from mir_ops.store import schema

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_FARTHEST = 1e7  # pixels; a coordinate beyond is no coordinate


def annotation_id(key: str) -> int:
    """The id of the annotation that its source names by `key`: the same on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


@dataclass(slots=True)
class ObjectColumns:
    """Objects of many images, by column. `image` is the number of the image in the import."""

    image: list[int] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    class_id: list[int] = field(default_factory=list)
    box: list[tuple[float, float, float, float]] = field(default_factory=list)
    angle: list[float | None] = field(default_factory=list)
    confidence: list[float | None] = field(default_factory=list)
    quality: list[float | None] = field(default_factory=list)
    difficult: list[bool | None] = field(default_factory=list)
    truncated: list[bool | None] = field(default_factory=list)
    occluded: list[bool | None] = field(default_factory=list)
    tags: list[list[tuple[str, str]] | None] = field(default_factory=list)

    def add(self, image: int, source: str, class_id: int, entry: VocObject) -> None:
        assert entry.box is not None
        self.image.append(image)
        self.source.append(source)
        self.class_id.append(class_id)
        self.box.append(entry.box)
        self.angle.append(entry.angle)
        self.confidence.append(entry.confidence)
        self.quality.append(entry.quality)
        self.difficult.append(entry.difficult)
        self.truncated.append(entry.truncated)
        self.occluded.append(entry.occluded)
        self.tags.append(list(entry.tags.items()) or None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFrames:
    """Displayed size of each image of an import, and how its boxes have to be turned to fit it."""

    asset_ids: Sequence[bytes]
    widths: Sequence[int]
    heights: Sequence[int]
    turns: Sequence[int]  # EXIF orientation 5..8 where boxes are of the unturned image, else 1


def annotation_table(
    columns: ObjectColumns, frames: ImageFrames, tally: Tally, *, predictions: bool = False
) -> pa.Table:
    """The table of the boxes that are usable; the others are counted and listed."""
    wanted = schema.PREDICTIONS if predictions else schema.GROUND_TRUTH
    if not columns.image:
        return wanted.empty_table()
    image = np.asarray(columns.image, dtype=np.int64)
    angle = np.asarray([np.nan if a is None else a for a in columns.angle], dtype=np.float64)
    width = np.asarray(frames.widths, dtype=np.float64)[image]
    height = np.asarray(frames.heights, dtype=np.float64)[image]
    box = np.asarray(columns.box, dtype=np.float64)
    box, angle = _turned(box, angle, np.asarray(frames.turns)[image], width, height)
    box, kept = _usable(box, angle, width, height, columns.source, tally)
    fitted = _fitted(box, width, height, upright=~_is_rotated(angle))
    kept &= _first_of_each(columns, image, fitted, angle, kept, tally)
    return _table(columns, frames, image, fitted, angle, np.flatnonzero(kept), wanted)


def _turned(
    box: Floats, angle: Floats, turn: npt.NDArray[Any], width: Floats, height: Floats
) -> tuple[Floats, Floats]:
    """Boxes of images that are displayed turned by EXIF, moved into the displayed image."""
    turning = np.isin(turn, TURNED)
    if not turning.any():
        return box, angle
    x, y, w, h = box.T
    # Columns and rows change places; 6 and 7 count columns from the right, 7 and 8 rows from below.
    with np.errstate(invalid="ignore"):
        left = np.where(np.isin(turn, (6, 7)), width - y - h, y)
        top = np.where(np.isin(turn, (7, 8)), height - x - w, x)
    turned = np.where(turning[:, None], np.stack([left, top, h, w], axis=1), box)
    return turned, np.where(np.isin(turn, (5, 7)), -angle, angle)  # mirrored: the other way round


def _is_rotated(angle: Floats) -> Mask:
    return np.asarray(np.nan_to_num(angle) != 0, dtype=np.bool_)


def _usable(
    box: Floats, angle: Floats, width: Floats, height: Floats, source: Sequence[str], tally: Tally
) -> tuple[Floats, Mask]:
    """Boxes cut at the edge of their image, and which of them can be used at all."""
    rotated = _is_rotated(angle)
    with np.errstate(invalid="ignore"):
        # Not a number, or infinite, or absurd.
        bad: Mask = ~np.all(np.abs(box) < _FARTHEST, axis=1)
        box = np.where(bad[:, None], 0.0, box)
        x, y, w, h = box.T
        empty = ~bad & ((w <= 0) | (h <= 0))
    # A rotated box may reach over the edge before it is rotated; its centre may not.
    reach_x, reach_y = np.where(rotated, w / 2, w), np.where(rotated, h / 2, h)
    start_x, start_y = np.where(rotated, x + w / 2, x), np.where(rotated, y + h / 2, y)
    outside = (start_x >= width) | (start_y >= height) | (x + reach_x <= 0) | (y + reach_y <= 0)
    outside &= ~(bad | empty)
    good = ~(bad | empty | outside)
    left, top = np.maximum(x, 0), np.maximum(y, 0)
    right, bottom = np.minimum(x + w, width), np.minimum(y + h, height)
    cut = np.stack([left, top, right - left, bottom - top], axis=1)
    over = (x < 0) | (y < 0) | (x + w > width) | (y + h > height)
    clipped = good & ~rotated & over
    for code, mask in (
        ("box-not-a-number", bad),
        ("box-empty", empty),
        ("box-outside", outside),
        ("box-clipped", clipped),
    ):
        tally.add_all(code, (source[row] for row in np.flatnonzero(mask).tolist()))
    return np.where(clipped[:, None], cut, box), good


def _fitted(box: Floats, width: Floats, height: Floats, *, upright: Mask) -> Floats:
    """As the float32 that are stored; rounding must not push a box over the edge."""
    stored = box.astype(np.float32)
    for start, extent, limit in ((0, 2, width), (1, 3, height)):
        end = stored[:, start].astype(np.float64) + stored[:, extent].astype(np.float64)
        over = upright & (end > limit) & (stored[:, extent] > 0)
        stored[over, extent] = np.nextafter(stored[over, extent], np.float32(0))
    return stored.astype(np.float64)


def _first_of_each(
    columns: ObjectColumns,
    image: npt.NDArray[np.int64],
    box: Floats,
    angle: Floats,
    kept: Mask,
    tally: Tally,
) -> Mask:
    """Marks the first of boxes that are equal in image, class, place and angle."""
    key = np.column_stack([image, columns.class_id, box, np.nan_to_num(angle), kept])
    _, first = np.unique(key, axis=0, return_index=True)
    unique = np.zeros(len(image), dtype=np.bool_)
    unique[first] = True
    again = np.flatnonzero(kept & ~unique).tolist()
    tally.add_all("box-twice", (columns.source[row] for row in again))
    return unique


def _table(
    columns: ObjectColumns,
    frames: ImageFrames,
    image: npt.NDArray[np.int64],
    box: Floats,
    angle: Floats,
    rows: npt.NDArray[np.intp],
    wanted: pa.Schema,
) -> pa.Table:
    order = rows[np.lexsort((np.asarray(columns.class_id)[rows], image[rows]))]
    taken = pa.array(order)
    angle32 = angle[order].astype(np.float32)
    rotated = _is_rotated(angle)[order]
    x, y, w, h = box[order].astype(np.float32).T
    asset_ids = pa.array(frames.asset_ids, schema.ASSET_ID).take(pa.array(image[order]))

    def column(values: Sequence[object], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(taken)

    known = {
        "asset_id": asset_ids,
        "annotation_id": pa.array(
            _annotation_ids(image[order], np.column_stack([x, y, w, h, angle32])), pa.uint64()
        ),
        "class_id": column(columns.class_id, pa.int32()),
        "kind": pa.array(np.where(rotated, "rotated_box", "box").tolist(), pa.string()),
        "x": pa.array(x),
        "y": pa.array(y),
        "w": pa.array(w),
        "h": pa.array(h),
        "angle": pa.array(angle32, from_pandas=True),  # NaN: null
        "area": pa.array(w * h),
        "difficult": column(columns.difficult, pa.bool_()),
        "truncated": column(columns.truncated, pa.bool_()),
        "occluded": column(columns.occluded, pa.bool_()),
        "quality": column(columns.quality, pa.float32()),
        "tags": column(columns.tags, schema.TEXT_MAP),
        "confidence": column([1.0 if c is None else c for c in columns.confidence], pa.float32()),
    }
    arrays = [
        known[name] if name in known else pa.nulls(len(order), wanted.field(name).type)
        for name in wanted.names
    ]
    return pa.Table.from_arrays(arrays, schema=wanted)


def _annotation_ids(image: npt.NDArray[np.int64], place: npt.NDArray[np.float32]) -> list[int]:
    """One id for one place: a box that was given another class is the same box, changed."""
    seen: dict[tuple[int, str], int] = {}
    ids: list[int] = []
    for number, row in zip(image.tolist(), place.tolist(), strict=True):
        key = f"voc:{row[0]},{row[1]},{row[2]},{row[3]},{row[4]}"
        nth = seen.get((number, key), 0)
        seen[number, key] = nth + 1
        ids.append(annotation_id(f"{key}#{nth}"))
    return ids
