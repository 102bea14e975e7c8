"""CVAT for images 1.1: one XML file for many images; boxes, rotated boxes, polygons and masks.

A box has its corners before it is rotated about its centre. A mask has run lengths of the rows of
its box, background first. Other shapes are counted and left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final
from xml.etree import ElementTree as Tree

import numpy as np
import pyarrow as pa

from mir_ops.formats import rle
from mir_ops.formats.parsed import Collected, ImageRow, ObjectRow, Parsed, RefusedError
from mir_ops.formats.voc import escaped
from mir_ops.formats.xml_trees import root_of

MAX_BYTES: Final = 256 * 2**20
_MOST_SIDE: Final = 1 << 16
_SHAPES: Final = ("box", "polygon", "mask")
_OTHERS: Final = ("polyline", "points", "ellipse", "cuboid", "skeleton")


def parse_cvat(files: Iterable[tuple[str, bytes]]) -> Parsed:
    """Parse files (name, bytes) to columns; what is refused is among the findings."""
    collected = Collected()
    for name, data in files:
        try:
            root = root_of(data, "annotations", most=MAX_BYTES)
        except RefusedError as error:
            collected.find(error.code, f"{name}: {error}" if str(error) else name)
            continue
        for element in root.iter("image"):
            _take_image(collected, name, element)
    return collected.parsed()


def is_cvat(data: bytes) -> bool:
    """Whether XML looks like CVAT's, and not like one image's Pascal VOC."""
    return b"<annotations" in data[:4096]


def write_cvat(images: Iterable[tuple[ImageRow, Iterable[ObjectRow]]]) -> bytes:
    """A file that CVAT imports: boxes, rotated ones, masks, and the first ring of polygons."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    for number, (image, objects) in enumerate(images):
        lines.append(
            f'  <image id="{number}" name="{_quoted(image.file_name)}" '
            f'width="{image.width}" height="{image.height}">'
        )
        lines += [f"    {_shape_text(each)}" for each in objects]
        lines.append("  </image>")
    return "\n".join([*lines, "</annotations>", ""]).encode()


def _shape_text(row: ObjectRow) -> str:
    start = f'label="{_quoted(row.class_name)}" source="auto" occluded="0"'
    if row.polygon:
        ring = row.polygon[0]
        points = ";".join(f"{x:.2f},{y:.2f}" for x, y in zip(ring[::2], ring[1::2], strict=True))
        return f'<polygon {start} points="{points}" z_order="0"></polygon>'
    if row.rle is not None:
        return f'<mask {start} {_mask_text(row)} z_order="0"></mask>'
    x, y, w, h = (value or 0.0 for value in (row.x, row.y, row.w, row.h))
    turned = f' rotation="{row.angle:.2f}"' if row.angle else ""
    corners = f'xtl="{x:.2f}" ytl="{y:.2f}" xbr="{x + w:.2f}" ybr="{y + h:.2f}"'
    return f'<box {start} {corners}{turned} z_order="0"></box>'


def _mask_text(row: ObjectRow) -> str:
    """Run lengths of the rows of a mask's box; one without pixels has its image's first pixel."""
    runs, _ = rle.read_runs(pa.array([row.rle], pa.binary()))
    bitmap = rle.to_bitmap(runs.of(0), row.rle_width or 0, row.rle_height or 0)
    down, across = (np.flatnonzero(bitmap.any(axis=axis)) for axis in (1, 0))
    top, bottom = (down[0], down[-1] + 1) if len(down) else (0, 1)
    left, right = (across[0], across[-1] + 1) if len(across) else (0, 1)
    counts = rle.from_bitmap(bitmap[top:bottom, left:right].T)  # which go down columns
    return (
        f'rle="{", ".join(str(count) for count in counts)}" left="{left}" top="{top}" '
        f'width="{right - left}" height="{bottom - top}"'
    )


def _quoted(text: str) -> str:
    return escaped(text).replace('"', "&quot;")


def _take_image(collected: Collected, source: str, element: Tree.Element) -> None:
    width, height = (_extent(element.get(side)) for side in ("width", "height"))
    image = len(collected.images)
    collected.images.append(
        ImageRow(source=source, file_name=element.get("name", ""), width=width, height=height)
    )
    for number, shape in enumerate(element, 1):
        place = f"{element.get('name', '')[:100]}: shape {number}"
        if shape.tag in _SHAPES:
            collected.add_objects(_rows(shape, image, place, width or 0, height or 0))
        elif shape.tag in _OTHERS:
            collected.find("shape-unsupported", f"{source}: {place}: {shape.tag}")


def _rows(
    shape: Tree.Element, image: int, place: str, width: int, height: int
) -> Iterator[ObjectRow]:
    label, occluded = shape.get("label", ""), shape.get("occluded") == "1"
    if shape.tag == "polygon":
        ring = [_number(part) for part in shape.get("points", "").replace(";", ",").split(",")]
        yield ObjectRow(
            image, place, label, "polygon", None, None, None, None, polygon=[ring],
            occluded=occluded,
        )  # fmt: skip
    elif shape.tag == "mask":
        yield ObjectRow(
            image, place, label, "mask", None, None, None, None, rle=_mask(shape, width, height),
            rle_width=width, rle_height=height, occluded=occluded,
        )  # fmt: skip
    else:
        left, top, right, bottom = (_number(shape.get(n)) for n in ("xtl", "ytl", "xbr", "ybr"))
        angle = _number(shape.get("rotation", "0"))
        yield ObjectRow(
            image, place, label, "rotated_box" if angle else "box", left, top, right - left,
            bottom - top, angle or None, occluded=occluded,
        )  # fmt: skip


def _mask(shape: Tree.Element, width: int, height: int) -> bytes:
    """COCO's run lengths of a mask; empty where it does not fit its image."""
    left, top, w, h = (_whole(shape.get(name)) for name in ("left", "top", "width", "height"))
    counts = [_whole(part) for part in shape.get("rle", "").split(",")]
    inside = left + w <= width and top + h <= height and w > 0 and h > 0
    if not inside or min(counts) < 0 or sum(counts) != w * h:
        return b""
    bitmap = np.zeros((height, width), np.bool_)
    filled = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    bitmap[top : top + h, left : left + w] = filled.reshape(h, w)
    text: bytes = rle.write_runs(rle.runs_of([rle.from_bitmap(bitmap)]))[0].as_py()
    return text


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def _whole(text: str | None) -> int:
    value = _number(text)
    return int(value) if 0 <= value < 2**31 and value == int(value) else -(2**31)


def _extent(text: str | None) -> int | None:
    value = _whole(text)
    return value if 0 < value <= _MOST_SIDE else None
