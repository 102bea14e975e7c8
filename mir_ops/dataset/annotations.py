"""Objects as files state them, checked against their images, and made an annotation table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.report import Tally
from mir_ops.dataset.shapes import Shapes, place_hashes, read_shapes
from mir_ops.formats.images import TURNED
from mir_ops.store import schema
from mir_ops.store.rows import as_ids

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_FARTHEST: Final = 1e7  # pixels; a coordinate beyond is no coordinate
# A file that counts pixels from one puts the last one at the image's width: not worth a cut.
_OVERHANG: Final = 1.0
_SNAP: Final = 1e-7  # pixels that a whole number may be off after it was a share of the image
_CORNERS: Final = ("x", "y", "w", "h")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFrames:
    """Displayed size of each image of an import, and how its boxes have to be turned to fit it."""

    asset_ids: Sequence[bytes] | pa.Array
    widths: Sequence[int] | npt.NDArray[Any]
    heights: Sequence[int] | npt.NDArray[Any]
    turns: (
        Sequence[int] | npt.NDArray[Any]
    )  # EXIF orientation 5..8 where boxes are of the unturned image, else 1
    sources: Sequence[str] | npt.NDArray[Any]  # the annotation file of each, for the report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Of the image of each object."""

    width: Floats
    height: Floats
    turn: npt.NDArray[Any]


@np.errstate(invalid="ignore", over="ignore")  # files may say anything; what is no number shows
def annotation_table(
    objects: pa.Table,
    class_ids: npt.NDArray[np.int32],
    frames: ImageFrames,
    tally: Tally,
    *,
    relative: bool = False,
    boxes_only: bool = False,
    predictions: bool = False,
) -> pa.Table:
    """The table of the objects that are usable; the others are counted and listed.

    `objects` has the columns of `OBJECTS`, where `image` is the number of the image in `frames`;
    coordinates are shares of the image where `relative`. `boxes_only` leaves shapes out.
    """
    wanted = schema.PREDICTIONS if predictions else schema.GROUND_TRUTH
    if objects.num_rows == 0:
        return wanted.empty_table()
    objects = objects.combine_chunks()
    report = _Reporter(objects, frames, tally)
    image = report.image
    sizes = _Sizes(
        width=np.asarray(frames.widths, np.float64)[image],
        height=np.asarray(frames.heights, np.float64)[image],
        turn=np.asarray(frames.turns)[image],
    )
    shapes = read_shapes(objects, sizes.width, sizes.height, sizes.turn, relative=relative)
    report.add("shape-unreadable", shapes.bad)
    box, angle = _boxes(objects, shapes, sizes, relative)
    missing = _null(objects, "x") & ~shapes.present
    report.add("object-without-box", missing)
    box, kept = _usable(box, angle, sizes, report, missing)
    if boxes_only:
        report.add("shape-left-out", kept & shapes.present)
        shapes = shapes.without_any()
    report.add("shape-clipped", kept & shapes.clip(sizes.width, sizes.height, _OVERHANG))
    fitted = _fitted(box, sizes, upright=~_is_rotated(angle))
    place = place_hashes(fitted, angle, shapes)
    rows = _first_of_each(image, class_ids, place, kept, report)
    return _table(objects, class_ids, frames, rows, fitted, angle, shapes, place, wanted)


def derived_values(
    rows: pa.Table, owners: Ints, widths: Floats, heights: Floats
) -> tuple[npt.NDArray[np.uint64], Floats]:
    """The ids and areas that stored rows get when they are imported and nobody states them."""
    unturned = np.ones(rows.num_rows)
    shapes = read_shapes(rows, widths[owners], heights[owners], unturned, relative=False)
    box = np.stack([_floats(rows, corner) for corner in _CORNERS], axis=1)
    place = place_hashes(box, _floats(rows, "angle"), shapes)
    order = np.lexsort((rows["class_id"].to_numpy(), owners))
    ids = np.zeros(rows.num_rows, np.uint64)
    ids[order] = _annotation_ids(owners[order], place[order])
    return ids, np.where(shapes.present, shapes.areas, box[:, 2] * box[:, 3])


class _Reporter:
    """Counts objects, and names each by its file and its place there."""

    def __init__(self, objects: pa.Table, frames: ImageFrames, tally: Tally) -> None:
        self.image: Ints = objects["image"].to_numpy()
        self._places = objects["place"]
        self._sources = frames.sources
        self._tally = tally

    def add(self, code: str, chosen: Mask) -> None:
        self._tally.add_all(code, map(self._name, np.flatnonzero(chosen).tolist()))

    def _name(self, row: int) -> str:
        source, place = self._sources[self.image[row]], self._places[row].as_py()
        return f"{source}: {place}" if place else source


def _boxes(
    objects: pa.Table, shapes: Shapes, sizes: _Sizes, relative: bool
) -> tuple[Floats, Floats]:
    """x, y, w, h of each object in its displayed image, around the shape if none is stated."""
    box = np.stack([_floats(objects, corner) for corner in _CORNERS], axis=1)
    angle = _floats(objects, "angle")
    if relative:
        side = np.stack([sizes.width, sizes.height], axis=1)
        box *= np.tile(side, 2)
        whole = np.round(box)
        box = np.where(np.abs(box - whole) < _SNAP, whole, box)
    box, angle = _turned(box, angle, sizes)
    around = _null(objects, "x") & shapes.present
    return np.where(around[:, None], shapes.bounds, box), angle


def _turned(box: Floats, angle: Floats, sizes: _Sizes) -> tuple[Floats, Floats]:
    """Boxes of images that are displayed turned by EXIF, moved into the displayed image."""
    turn = sizes.turn
    turning = np.isin(turn, TURNED)
    if not turning.any():
        return box, angle
    x, y, w, h = box.T
    # Columns and rows change places; 6 and 7 count columns from the right, 7 and 8 rows from below.
    left = np.where(np.isin(turn, (6, 7)), sizes.width - y - h, y)
    top = np.where(np.isin(turn, (7, 8)), sizes.height - x - w, x)
    turned = np.where(turning[:, None], np.stack([left, top, h, w], axis=1), box)
    return turned, np.where(np.isin(turn, (5, 7)), -angle, angle)  # mirrored: the other way round


def _is_rotated(angle: Floats) -> Mask:
    return np.asarray(np.nan_to_num(angle) != 0, dtype=np.bool_)


def _usable(
    box: Floats, angle: Floats, sizes: _Sizes, report: _Reporter, missing: Mask
) -> tuple[Floats, Mask]:
    """Boxes cut at the edge of their image, and which of them can be used at all."""
    width, height = sizes.width, sizes.height
    rotated = _is_rotated(angle)
    # Not a number, or infinite, or absurd.
    bad: Mask = ~np.all(np.abs(box) < _FARTHEST, axis=1) & ~missing
    box = np.where((bad | missing)[:, None], 0.0, box)
    x, y, w, h = box.T
    empty = ~bad & ~missing & ((w <= 0) | (h <= 0))
    # A rotated box may reach over the edge before it is rotated; its centre may not.
    reach_x, reach_y = np.where(rotated, w / 2, w), np.where(rotated, h / 2, h)
    start_x, start_y = np.where(rotated, x + w / 2, x), np.where(rotated, y + h / 2, y)
    outside = (start_x >= width) | (start_y >= height) | (x + reach_x <= 0) | (y + reach_y <= 0)
    outside &= ~(bad | empty | missing)
    good = ~(bad | empty | missing | outside)
    left, top = np.maximum(x, 0), np.maximum(y, 0)
    right, bottom = np.minimum(x + w, width), np.minimum(y + h, height)
    cut = np.stack([left, top, right - left, bottom - top], axis=1)
    over = (x < 0) | (y < 0) | (x + w > width + _OVERHANG) | (y + h > height + _OVERHANG)
    clipped = good & ~rotated & over
    report.add("box-not-a-number", bad)
    report.add("box-empty", empty)
    report.add("box-outside", outside)
    report.add("box-clipped", clipped)
    return np.where(clipped[:, None], cut, box), good


def _fitted(box: Floats, sizes: _Sizes, *, upright: Mask) -> Floats:
    """As the float32 that are stored; rounding must not push a box over the edge."""
    stored = box.astype(np.float32)
    for start, extent, limit in ((0, 2, sizes.width), (1, 3, sizes.height)):
        inside = box[:, start] + box[:, extent] <= limit
        end = stored[:, start].astype(np.float64) + stored[:, extent].astype(np.float64)
        over = upright & inside & (end > limit) & (stored[:, extent] > 0)
        stored[over, extent] = np.nextafter(stored[over, extent], np.float32(0))
    return stored.astype(np.float64) + 0.0  # no negative zero


def _first_of_each(
    image: Ints,
    class_ids: npt.NDArray[np.int32],
    place: npt.NDArray[np.uint64],
    kept: Mask,
    report: _Reporter,
) -> Ints:
    """Rows to keep, ordered by image, class and place: the first of those equal in all three."""
    rows: Ints = np.flatnonzero(kept).astype(np.int64)
    rows = rows[np.lexsort((place[rows], class_ids[rows], image[rows]))]
    again = np.zeros(len(rows), np.bool_)
    again[1:] = _same_as_before(image[rows], class_ids[rows], place[rows])
    twice = np.zeros(len(image), np.bool_)
    twice[rows[again]] = True
    report.add("box-twice", twice)
    return rows[~again]


def _same_as_before(*keys: npt.NDArray[Any]) -> Mask:
    same = np.ones(max(0, len(keys[0]) - 1), np.bool_)
    for key in keys:
        same &= key[1:] == key[:-1]
    return same


def _table(
    objects: pa.Table,
    class_ids: npt.NDArray[np.int32],
    frames: ImageFrames,
    rows: Ints,
    box: Floats,
    angle: Floats,
    shapes: Shapes,
    place: npt.NDArray[np.uint64],
    wanted: pa.Schema,
) -> pa.Table:
    taken = pa.array(rows)
    image = objects["image"].to_numpy()[rows]
    x, y, w, h = box[rows].astype(np.float32).T
    rotated = np.where(_is_rotated(angle)[rows], "rotated_box", "box")
    confidence = pc.fill_null(objects["confidence"].take(taken), 1.0)
    known: dict[str, Any] = {
        "asset_id": as_ids(frames.asset_ids).take(pa.array(image)),
        "annotation_id": pa.array(_annotation_ids(image, place[rows])),
        "class_id": pa.array(class_ids[rows], pa.int32()),
        "kind": pa.array(np.where(shapes.kinds[rows] == "", rotated, shapes.kinds[rows]).tolist()),
        "x": pa.array(x),
        "y": pa.array(y),
        "w": pa.array(w),
        "h": pa.array(h),
        "angle": pa.array(angle[rows].astype(np.float32), from_pandas=True),  # NaN: null
        "polygon": shapes.polygons().take(taken),
        "rle": shapes.rle.take(taken),
        "area": _areas(objects, shapes, box)[rows].astype(np.float32),
        "confidence": confidence,
    }
    arrays = []
    for field in wanted:
        column = known.get(field.name)
        if column is None and field.name in objects.column_names:
            column = objects[field.name].take(taken)
        arrays.append(_typed(column, field, len(rows)))
    return pa.Table.from_arrays(arrays, schema=wanted)


def _typed(column: Any, field: pa.Field, count: int) -> pa.Array:
    if column is None:
        return pa.nulls(count, field.type)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return pa.array(column).cast(field.type, safe=False)


def _areas(objects: pa.Table, shapes: Shapes, box: Floats) -> Floats:
    """As stated, else of the shape, else of the box."""
    stated = _floats(objects, "area")
    derived = np.where(shapes.present, shapes.areas, box[:, 2] * box[:, 3])
    sensible = (stated >= 0) & (stated < _FARTHEST**2)
    return np.where(sensible, stated, derived)


def _annotation_ids(image: Ints, place: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One id for one place: a box that was given another class is the same box, changed."""
    order = np.lexsort((np.arange(len(image)), place, image))
    nth = np.zeros(len(image), np.int64)
    same = np.zeros(len(image), np.bool_)
    same[1:] = _same_as_before(image[order], place[order])
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(image))))
    nth[order] = np.arange(len(image)) - starts
    return place + nth.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def _floats(objects: pa.Table, name: str) -> Floats:
    """A column with NaN for null."""
    values = objects[name].combine_chunks().cast(pa.float64())
    return np.array(values.to_numpy(zero_copy_only=False), np.float64)


def _null(objects: pa.Table, name: str) -> Mask:
    return np.asarray(pc.is_null(objects[name]).to_numpy(), np.bool_)
