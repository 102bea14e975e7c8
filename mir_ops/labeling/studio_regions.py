"""Regions as Label Studio keeps them: percent of the image, corners before they are turned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from mir_ops.formats import rle
from mir_ops.formats.parsed import ObjectRow
from mir_ops.labeling.brush import BrushError, read_brush, write_brush

MOST_REGIONS: Final = 20_000  # of one image
_MOST_POINTS: Final = 100_000  # of one polygon
_MOST_PIXELS: Final = 1 << 32  # of all masks of one image; 178 of 24 megapixels
_MOST_ENCODED: Final = 16 << 20  # bytes of the same
_SNAP: Final = 1e-6  # pixels


class RegionError(ValueError):
    """A region cannot be taken; `code` is the issue to count, the text is for the annotator."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The image of a region: its place in a table, and its size as it is displayed."""

    row: int
    width: int
    height: int
    turned: bool = False  # EXIF turns it by a quarter

    def as_drawn(self, result: object) -> Frame:
        """The image as people saw it: a browser that ignores EXIF shows it unturned."""
        first = result[0] if isinstance(result, list) and result else None
        if not self.turned or not isinstance(first, dict):
            return self
        size = (first.get("original_width"), first.get("original_height"))
        if size == (self.height, self.width) and self.width != self.height:
            return replace(self, width=self.height, height=self.width)
        return self


def read_regions(result: object, frame: Frame) -> Iterator[ObjectRow]:
    """The objects of an annotation, labels as class names, in pixels of the frame as drawn."""
    if not isinstance(result, list) or len(result) > MOST_REGIONS:
        raise RegionError("region-unreadable", "its regions are no list")
    _check_masks(result, frame)
    for number, region in enumerate(result):
        if not isinstance(region, dict):
            raise RegionError("region-unreadable", f"region {number + 1} cannot be read")
        kind, value = region.get("type"), region.get("value")
        if kind == "relation":
            continue
        read = _READERS.get(str(kind))
        if read is None or not isinstance(value, dict):
            raise RegionError("region-unsupported", f"region {number + 1} is of type `{kind}`")
        if region.get("image_rotation"):
            raise RegionError("image-rotated", "the image was rotated while it was labelled")
        labels = value.get(str(kind))
        if not isinstance(labels, list) or not labels:
            raise RegionError("region-without-label", f"region {number + 1} has no label")
        row = read(value, frame, f"region {number + 1}")
        for label in labels:
            yield row._replace(class_name=str(label))


def write_region(
    row: Mapping[str, Any], label: str, frame: Frame, *, shapes: tuple[str, ...]
) -> dict[str, Any]:
    """A prediction of the store as a region that people can correct."""
    kind, value = _value(row, frame, shapes)
    return {
        "id": f"mir-{row['annotation_id']:016x}",
        "type": kind,
        "from_name": kind,
        "to_name": "image",
        "original_width": frame.width,
        "original_height": frame.height,
        "image_rotation": 0,
        "score": row["confidence"],
        "value": {**value, kind: [label]},
    }


def _value(
    row: Mapping[str, Any], frame: Frame, shapes: tuple[str, ...]
) -> tuple[str, dict[str, Any]]:
    rings = row["polygon"]
    if row["kind"] == "polygon" and "polygon" in shapes and rings and len(rings) == 1:
        points = [
            [100 * x / frame.width, 100 * y / frame.height]
            for x, y in zip(rings[0][::2], rings[0][1::2], strict=True)
        ]
        return "polygonlabels", {"points": points, "closed": True}
    if row["kind"] == "mask" and "mask" in shapes:
        return "brushlabels", {"format": "rle", "rle": _brush(row["rle"], frame)}
    return "rectanglelabels", _rectangle(row, frame)


def _rectangle(row: Mapping[str, Any], frame: Frame) -> dict[str, Any]:
    """Turned about its corner, where the store turns it about its centre."""
    angle, half_w, half_h = row["angle"] or 0.0, row["w"] / 2, row["h"] / 2
    sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    x = row["x"] + half_w - (half_w * cos - half_h * sin)
    y = row["y"] + half_h - (half_w * sin + half_h * cos)
    return {
        "x": 100 * x / frame.width,
        "y": 100 * y / frame.height,
        "width": 100 * row["w"] / frame.width,
        "height": 100 * row["h"] / frame.height,
        "rotation": angle % 360,
    }


def _brush(text: bytes, frame: Frame) -> list[int]:
    import pyarrow as pa

    runs, _ = rle.read_runs(pa.array([text], pa.binary()))
    return write_brush(rle.to_bitmap(runs.of(0), frame.width, frame.height))


def _read_rectangle(value: Mapping[str, Any], frame: Frame, place: str) -> ObjectRow:
    w, h = _number(value, "width") * frame.width, _number(value, "height") * frame.height
    left, top = _number(value, "x") * frame.width, _number(value, "y") * frame.height
    angle = math.fmod(_finite(value.get("rotation") or 0.0, "`rotation`"), 360.0)
    sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    x = left + (w / 2 * cos - h / 2 * sin) - w / 2
    y = top + (w / 2 * sin + h / 2 * cos) - h / 2
    corners = (_snapped(x), _snapped(y), _snapped(w), _snapped(h))
    kind = "rotated_box" if angle else "box"
    return ObjectRow(frame.row, place, "", kind, *corners, angle or None)


def _read_polygon(value: Mapping[str, Any], frame: Frame, place: str) -> ObjectRow:
    points = value.get("points")
    if not isinstance(points, list) or not 3 <= len(points) <= _MOST_POINTS:
        raise RegionError("polygon-too-short", f"{place} has fewer than three points")
    ring: list[float] = []
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            raise RegionError("region-unreadable", f"{place} has a point that cannot be read")
        x, y = (_finite(number, place) for number in point)
        ring += (_snapped(x / 100 * frame.width), _snapped(y / 100 * frame.height))
    return ObjectRow(frame.row, place, "", "polygon", None, None, None, None, polygon=[ring])


def _check_masks(result: list[object], frame: Frame) -> None:
    """What a few bytes of an answer can cost is bounded before any of it is read."""
    values = [region.get("value") for region in result if isinstance(region, dict)]
    masks = [value.get("rle") for value in values if isinstance(value, dict)]
    encoded = [len(mask) for mask in masks if isinstance(mask, list)]
    pixels = len(encoded) * frame.width * frame.height
    if sum(encoded) > _MOST_ENCODED or pixels > _MOST_PIXELS:
        raise RegionError("mask-unreadable", f"it has more than can be read: {len(encoded)} masks")


def _read_brush(value: Mapping[str, Any], frame: Frame, place: str) -> ObjectRow:
    encoded = value.get("rle")
    if not isinstance(encoded, list):
        raise RegionError("mask-unreadable", f"{place} has no mask")
    try:
        mask = read_brush(encoded, frame.width, frame.height)
    except BrushError as error:
        raise RegionError("mask-unreadable", f"the mask of {place} is {error}") from None
    if not mask.any():
        raise RegionError("mask-empty", f"{place} has no pixels")
    text = rle.write_runs(rle.runs_of([np.asarray(rle.from_bitmap(mask))]))[0].as_py()
    return ObjectRow(
        frame.row, place, "", "mask", None, None, None, None,
        rle=text, rle_width=frame.width, rle_height=frame.height,
    )  # fmt: skip


def _number(value: Mapping[str, Any], name: str) -> float:
    """A share of the image, from percent."""
    return _finite(value.get(name), f"`{name}`") / 100


def _snapped(pixels: float) -> float:
    """A whole number of pixels stays one on its way through percent."""
    whole = round(pixels)
    return float(whole) if abs(pixels - whole) < _SNAP else pixels


def _finite(number: object, place: str) -> float:
    if not isinstance(number, int | float) or isinstance(number, bool):
        raise RegionError("region-unreadable", f"{place} is no number")
    try:
        found = float(number)
    except OverflowError:
        found = math.inf
    if not abs(found) < 1e9:
        raise RegionError("region-unreadable", f"{place} is no number")
    return found


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any], Frame, str], ObjectRow]]] = {
    "rectanglelabels": _read_rectangle,
    "polygonlabels": _read_polygon,
    "brushlabels": _read_brush,
}
