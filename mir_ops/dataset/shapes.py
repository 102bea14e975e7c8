"""Polygons and masks of many objects at once: checked, turned, measured, hashed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.formats import rle
from mir_ops.formats.images import TURNED
from mir_ops.store import schema

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]

_FARTHEST: Final = 1e7  # pixels; a coordinate beyond is no coordinate
_SNAP: Final = 1e-7
_POLYGON: Final = schema.GROUND_TRUTH.field("polygon").type
_FEWEST: Final = 6  # numbers in a ring: three points
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """For each object its polygon or its mask, if it has one that can be used.

    `values` are x, y, x, y, ... of all polygons; `rings` bounds the rings in it, `owners` the
    objects among the rings.
    """

    kinds: npt.NDArray[np.str_]  # "polygon", "mask", or ""
    bad: Mask  # it has one that cannot be used
    values: Floats
    rings: Ints
    owners: Ints
    rle: pa.Array
    bounds: Floats  # x, y, w, h around the shape
    areas: Floats

    @property
    def present(self) -> Mask:
        return np.asarray(self.kinds != "", np.bool_)

    def polygons(self) -> pa.Array:
        """The polygons as they are stored; null where there is none."""
        rings = pa.ListArray.from_arrays(
            pa.array(self.rings, pa.int32()), pa.array(self.values.astype(np.float32))
        )
        missing = pa.array(self.kinds != "polygon")
        lists = pa.ListArray.from_arrays(pa.array(self.owners, pa.int32()), rings)
        return pc.if_else(missing, pa.scalar(None, _POLYGON), lists.cast(_POLYGON))

    def without_any(self) -> Shapes:
        count = len(self.kinds)
        return replace(
            self,
            kinds=np.full(count, "", self.kinds.dtype),
            values=np.zeros(0),
            rings=np.zeros(1, np.int64),
            owners=np.zeros(count + 1, np.int64),
            rle=pa.nulls(count, pa.binary()),
        )

    def clip(self, width: Floats, height: Floats, overhang: float) -> Mask:
        """Move points to the edge of their image that lie farther out; whose had to be."""
        owner, is_x = self._points()
        limit = np.where(is_x, width[owner], height[owner])
        far = (self.values < 0) | (self.values > limit + overhang)
        self.values[far] = np.clip(self.values[far], 0, limit[far])
        moved = np.zeros(len(self.kinds), np.bool_)
        moved[owner[far]] = True
        return moved

    def _points(self) -> tuple[Ints, Mask]:
        """For each value the object that it is of, and whether it is an x."""
        ring_owner = np.repeat(np.arange(len(self.kinds)), np.diff(self.owners))
        return np.repeat(ring_owner, np.diff(self.rings)), _number(self.rings) % 2 == 0


def read_shapes(
    objects: pa.Table, width: Floats, height: Floats, turn: npt.NDArray[Any], *, relative: bool
) -> Shapes:
    """The shapes of objects in images of these displayed sizes."""
    count = objects.num_rows
    values, rings, owners, bad_polygon = _polygons(objects)
    runs, rle_texts, bad_mask = _masks(objects, width, height, turn)
    kinds = np.full(count, "", "<U7")
    kinds[np.diff(owners) > 0] = "polygon"
    kinds[~np.asarray(pc.is_null(rle_texts).to_numpy(zero_copy_only=False), np.bool_)] = "mask"
    shapes = Shapes(
        kinds=kinds,
        bad=(bad_polygon | bad_mask) & (kinds == ""),
        values=values,
        rings=rings,
        owners=owners,
        rle=rle_texts,
        bounds=np.zeros((count, 4)),
        areas=np.zeros(count),
    )
    _place_points(shapes, width, height, turn, relative)
    _measure_polygons(shapes)
    if runs is not None:
        masks = kinds == "mask"
        shapes.bounds[masks] = rle.bounding_boxes(runs, height.astype(np.int64))[masks]
        shapes.areas[masks] = runs.areas[masks]
    return shapes


def place_hashes(box: Floats, angle: Floats, shapes: Shapes) -> Hashes:
    """A number for where each object is, the same everywhere: of its shape, else of its box."""
    found = np.full(len(box), _GOLDEN)
    for column in (*box.T, np.nan_to_num(angle)):
        found = _mixed(found + _bits(column))
    if len(shapes.values):
        starts = shapes.rings[shapes.owners]
        ring_start = np.zeros(len(shapes.values), np.uint64)
        ring_start[shapes.rings[:-1]] = 1
        at = _number(starts).astype(np.uint64) * np.uint64(2) + ring_start
        sums = _sums(_mixed(_bits(shapes.values) + _mixed(at)), starts)
        found = np.where(shapes.kinds == "polygon", _mixed(sums + _GOLDEN), found)
    data, starts = _bytes(shapes.rle)
    if len(data):
        at = _number(starts).astype(np.uint64)
        sums = _sums(_mixed(data.astype(np.uint64) + np.uint64(1) + _mixed(at)), starts)
        found = np.where(shapes.kinds == "mask", _mixed(sums ^ _GOLDEN), found)
    return found


def _polygons(objects: pa.Table) -> tuple[Floats, Ints, Ints, Mask]:
    """Values, bounds of rings and of objects; and whose polygon cannot be used."""
    lists = objects["polygon"].combine_chunks()
    count = len(lists)
    stated = np.asarray(pc.is_valid(lists).to_numpy(zero_copy_only=False), np.bool_)
    if not stated.any():
        none = np.zeros(1, np.int64)
        return np.zeros(0), none, np.zeros(count + 1, np.int64), np.zeros(count, np.bool_)
    rings = lists.flatten()
    values = np.array(rings.flatten().to_numpy(zero_copy_only=False), np.float64)
    sizes = _lengths(rings)
    owner = np.repeat(np.arange(count), _lengths(lists))
    wrong = ~(np.abs(values) < _FARTHEST)
    bad_ring = (sizes < _FEWEST) | (sizes % 2 == 1) | (_sums(wrong, _bounds(sizes)) > 0)
    bad = np.zeros(count, np.bool_)
    bad[owner[bad_ring]] = True
    bad |= stated & (_lengths(lists) == 0)
    kept = ~bad[owner]
    values = values[np.repeat(kept, sizes)]
    owners = _bounds(np.bincount(owner[kept], minlength=count))
    return values, _bounds(sizes[kept]), owners, bad


def _masks(
    objects: pa.Table, width: Floats, height: Floats, turn: npt.NDArray[Any]
) -> tuple[rle.Runs | None, pa.Array, Mask]:
    texts = objects["rle"].combine_chunks()
    stated = np.asarray(pc.is_valid(texts).to_numpy(zero_copy_only=False), np.bool_)
    if not stated.any():
        return None, texts, stated
    runs, good = rle.read_runs(texts)
    turning = np.isin(turn, TURNED)
    # A mask has the size of the image before it is turned.
    across, down = np.where(turning, (height, width), (width, height))
    for side, real in (("rle_width", across), ("rle_height", down)):
        if side in objects.column_names:
            said = pc.fill_null(objects[side], 0).to_numpy()
            good &= (said == 0) | (said == real)
    good &= (runs.totals == across * down) & (runs.areas > 0)
    texts = pc.if_else(pa.array(good), texts, pa.scalar(None, pa.binary()))
    if (good & turning).any():
        runs = rle.runs_of(
            [
                _turned_mask(runs.of(row), int(width[row]), int(height[row]), int(turn[row]))
                if good[row] and turning[row]
                else runs.of(row)
                for row in range(len(runs))
            ]
        )
        texts = pc.if_else(pa.array(good), rle.write_runs(runs), pa.scalar(None, pa.binary()))
    return runs, texts, stated & ~good


def _turned_mask(counts: Ints, width: int, height: int, turn: int) -> Ints:
    """A mask of the image before EXIF turns it to `width` x `height`."""
    bitmap = rle.to_bitmap(counts, height, width).T
    bitmap = bitmap[:, ::-1] if turn in (6, 7) else bitmap
    return rle.from_bitmap(bitmap[::-1] if turn in (7, 8) else bitmap)


def _place_points(
    shapes: Shapes, width: Floats, height: Floats, turn: npt.NDArray[Any], relative: bool
) -> None:
    """Points in pixels of the displayed image, in place."""
    if not len(shapes.values):
        return
    owner, is_x = shapes._points()
    values = shapes.values
    if relative:
        values *= np.where(is_x, width[owner], height[owner])
        whole = np.round(values)
        values[:] = np.where(np.abs(values - whole) < _SNAP, whole, values)
    turning = np.isin(turn, TURNED)[owner]
    if turning.any():
        x, y, of = values[0::2], values[1::2], owner[0::2]
        left = np.where(np.isin(turn[of], (6, 7)), width[of] - y, y)
        top = np.where(np.isin(turn[of], (7, 8)), height[of] - x, x)
        moved = np.stack([left, top], axis=1).ravel()
        values[:] = np.where(turning, moved, values)


def _measure_polygons(shapes: Shapes) -> None:
    """Bounds and areas; a ring inside another one is taken as a part, as COCO's tools do."""
    if not len(shapes.values):
        return
    x, y = shapes.values[0::2], shapes.values[1::2]
    ring = shapes.rings // 2
    following = np.arange(1, len(x) + 1)
    following[ring[1:] - 1] = ring[:-1]
    doubled = x * y[following] - x[following] * y
    of_ring = np.abs(np.add.reduceat(doubled, ring[:-1])) / 2
    chosen = np.flatnonzero(np.diff(shapes.owners) > 0)
    first_ring = shapes.owners[:-1][chosen]
    shapes.areas[chosen] = np.add.reduceat(of_ring, first_ring)
    first = ring[first_ring]
    left, top = np.minimum.reduceat(x, first), np.minimum.reduceat(y, first)
    right, bottom = np.maximum.reduceat(x, first), np.maximum.reduceat(y, first)
    shapes.bounds[chosen] = np.stack([left, top, right - left, bottom - top], axis=1)


def _bits(values: Floats) -> Hashes:
    """The bits of the float32 that is stored; zero has no sign."""
    return (values.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.uint64)


def _mixed(values: Hashes) -> Hashes:
    """Splitmix64's finaliser: every bit of the input reaches every bit of the result."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _bytes(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], Ints]:
    texts = pc.fill_null(texts, b"")
    _, offsets, data = texts.buffers()
    at = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4).astype(np.int64)
    flat = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    return flat[at[0] : at[-1]], at - at[0]


def _lengths(lists: pa.Array) -> Ints:
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(), np.int64)


def _bounds(sizes: npt.NDArray[Any]) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]).astype(np.int64)


def _number(bounds: Ints) -> Ints:
    """0, 1, 2, ... within each part."""
    return np.arange(bounds[-1]) - np.repeat(bounds[:-1], np.diff(bounds))


def _sums(values: npt.NDArray[Any], bounds: Ints) -> npt.NDArray[Any]:
    """The sum of each part, modulo 2^64 for hashes; 0 where a part is empty."""
    kind = np.uint64 if values.dtype == np.uint64 else np.int64
    total = np.concatenate([np.zeros(1, kind), np.cumsum(values, dtype=kind)])
    return np.asarray(total[bounds[1:]] - total[bounds[:-1]])
