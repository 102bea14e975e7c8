"""Pascal VOC: one XML file for each image, read as hostile and written back with the same boxes.

Corners are inclusive: w = xmax - xmin + 1. YMIR's additions are kept: `rotate_angle` (in units of
pi), `confidence`, `box_quality`, `tags`, and for the image `cks` and `image_quality`. So are
`score`, `robndbox` and `polygon`, as other tools write them, and our own `mask` (its number in
`SegmentationObject`), `rle`, `area`, `iscrowd`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree as Tree
from xml.sax.saxutils import escape

from mir_ops.formats.parsed import (
    Collected,
    ImageRow,
    ObjectRow,
    Parsed,
    RefusedError,
    Rings,
    TextPairs,
)
from mir_ops.formats.voc_plain import PlainObjects, read_plain
from mir_ops.formats.xml_trees import root_of

MAX_BYTES: Final = 16 * 2**20
_PIECE: Final = 1 << 16  # objects that become columns at once
POSE: Final = "pose"  # kept among the tags of the object
MASK_PLACE: Final = "mask "  # an object that names its mask is called by it
IMAGE_QUALITY: Final = "image_quality"  # kept among the attributes of the image
_DEGREES: Final = 180.0
_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_FLAGS: Final = {"": None, "0": False, "1": True, "false": False, "true": True}
_NO_POSE: Final = ("", "unknown", "unspecified")
_NOT_XML: Final = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# What nearly every object has, and nothing else.
_MASK: Final = re.compile(r"[0-9]{1,3}")
_PLAIN: Final = frozenset(("name", POSE, "truncated", "occluded", "difficult", "bndbox"))


Box = tuple[float | None, float | None, float | None, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class VocObject:
    """One object. `box` is x, y, w, h; a coordinate that is no number is NaN; None: no bndbox."""

    name: str
    box: tuple[float, float, float, float] | None
    angle: float | None = None  # degrees
    confidence: float | None = None
    quality: float | None = None
    difficult: bool | None = None
    truncated: bool | None = None
    occluded: bool | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VocFile:
    """What one annotation file says."""

    filename: str = ""
    size: tuple[int, int] | None = None
    channels: int = 3
    objects: tuple[VocObject, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


def parse_voc(files: Iterable[tuple[str, bytes]]) -> Parsed:
    """Parse files (name, bytes) to columns; what is refused is among the findings."""
    collected = Collected()
    plain = PlainObjects()
    for name, data in files:
        found = read_plain(name, data) if len(data) <= MAX_BYTES else None
        if found is not None:
            plain.add(len(collected.images), found.objects)
            collected.images.append(found.row)
            if len(plain) >= _PIECE:
                collected.add_table(plain.table())
                plain = PlainObjects()
            continue
        try:
            root = root_of(data, "annotation", most=MAX_BYTES)
        except RefusedError as error:
            collected.find(error.code, f"{name}: {error}" if str(error) else name)
            continue
        image = len(collected.images)
        collected.images.append(_image_row(name, root))
        objects = root.findall("object")
        collected.add_objects([_object_row(element, image) for element in objects])
        if any(element.find("part") is not None for element in objects):
            collected.find("object-part", name)
    collected.add_table(plain.table())
    return collected.parsed()


def read_voc(data: bytes) -> VocFile:
    """Parse one file; raises `RefusedError`."""
    root = root_of(data, "annotation", most=MAX_BYTES)
    image = _image_row("", root)
    known = image.width is not None and image.height is not None
    return VocFile(
        filename=image.file_name,
        size=(image.width or 0, image.height or 0) if known else None,
        objects=tuple(_voc_object(_object_row(each, 0)) for each in root.findall("object")),
        attributes=dict(image.attributes or ()),
    )


def object_row(image: int, entry: VocObject) -> ObjectRow:
    """One object as a row of `OBJECTS`."""
    x, y, w, h = entry.box or (None, None, None, None)
    return ObjectRow(
        image=image,
        place=None,
        class_name=entry.name,
        kind="rotated_box" if entry.angle else "box",
        x=x,
        y=y,
        w=w,
        h=h,
        angle=entry.angle,
        difficult=entry.difficult,
        truncated=entry.truncated,
        occluded=entry.occluded,
        quality=entry.quality,
        confidence=entry.confidence,
        tags=list(entry.tags.items()) or None,
    )


def write_voc(file: VocFile) -> bytes:
    """The XML of one file, as YMIR writes it; floats keep their digits."""
    width, height = file.size or (0, 0)
    attributes = dict(file.attributes)
    quality = attributes.pop(IMAGE_QUALITY, None)
    lines = [
        "<annotation>",
        "  <folder>folder</folder>",
        f"  <filename>{escaped(file.filename)}</filename>",
        "  <source><database>unknown</database><annotation>unknown</annotation>"
        "<image>unknown</image></source>",
        f"  <size><width>{width}</width><height>{height}</height>"
        f"<depth>{file.channels}</depth></size>",
        "  <segmented>0</segmented>",
        *map_lines("cks", attributes, "  "),
        *([f"  <{IMAGE_QUALITY}>{escaped(quality)}</{IMAGE_QUALITY}>"] if quality else []),
    ]
    for entry in file.objects:
        lines += _object_lines(entry)
    lines.append("</annotation>\n")
    return "\n".join(lines).encode()


def is_xml_name(name: str) -> bool:
    """Whether a key can be an element name of its own; a colon would be a namespace."""
    head, tail = name[:1], name[1:]
    return (head.isalpha() or head == "_") and all(c.isalnum() or c in "_-." for c in tail)


def _image_row(name: str, root: Tree.Element) -> ImageRow:
    attributes = dict(_text_pairs(root.find("cks")))
    quality = (root.findtext(IMAGE_QUALITY) or "").strip()
    if _at_least_zero(quality) is not None:
        attributes[IMAGE_QUALITY] = quality
    size = root.find("size")
    width = None if size is None else _extent(size.findtext("width"))
    height = None if size is None else _extent(size.findtext("height"))
    return ImageRow(
        source=name,
        file_name=(root.findtext("filename") or "").strip(),
        width=width if height else None,
        height=height if width else None,
        attributes=list(attributes.items()) or None,
    )


def _object_row(element: Tree.Element, image: int) -> ObjectRow:
    return _plain_row(element, image) or _full_row(element, image)


def _plain_row(element: Tree.Element, image: int) -> ObjectRow | None:
    """An upright box with numbers as corners and flags at most: None where there is more."""
    texts = {child.tag: child.text for child in element}
    bounds = element.find("bndbox")
    if not texts.keys() <= _PLAIN or len(texts) < len(element) or bounds is None:
        return None
    corners = {corner.tag: corner.text for corner in bounds}
    try:
        left, top, right, bottom = [float(corners.pop(name)) for name in _CORNERS]  # type: ignore[arg-type]
        difficult = _FLAGS[texts.get("difficult", "")]  # type: ignore[index]
        truncated = _FLAGS[texts.get("truncated", "")]  # type: ignore[index]
        occluded = _FLAGS[texts.get("occluded", "")]  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return None
    pose = texts.get(POSE)
    if corners or (pose is not None and pose.lower() not in _NO_POSE):
        return None
    return ObjectRow(
        image,
        None,
        (texts.get("name") or "").strip(),
        "box",
        left,
        top,
        right - left + 1,
        bottom - top + 1,
        difficult=difficult,
        truncated=truncated,
        occluded=occluded,
    )


def _full_row(element: Tree.Element, image: int) -> ObjectRow:
    texts: dict[str, str | None] = {}
    parts: dict[str, Tree.Element] = {}
    for child in element:
        if len(child):
            parts.setdefault(child.tag, child)
        else:
            texts.setdefault(child.tag, child.text)
    box, angle = _place(parts, "bndbox" in texts)
    rings = _rings(element) if "polygon" in parts else None
    rle = (texts.get("rle") or "").strip()
    kind = "mask" if rle else "polygon" if rings else "rotated_box" if angle else "box"
    width, height = _rle_size(element) if rle else (None, None)
    unstated = (texts.get("unstated") or "").split()
    confidence = _at_least_zero(texts.get("confidence"))
    mask = (texts.get("mask") or "").strip()
    return ObjectRow(
        image,
        f"{MASK_PLACE}{int(mask)}" if _MASK.fullmatch(mask) else None,
        (texts.get("name") or "").strip(),
        kind,
        *box,
        angle,
        rings,
        rle.encode() if rle else None,
        width,
        height,
        _at_least_zero(texts.get("area")),
        _flag(texts.get("iscrowd")),
        None if "difficult" in unstated else _flag(texts.get("difficult")),
        _flag(texts.get("truncated")),
        None if "occluded" in unstated else _flag(texts.get("occluded")),
        _at_least_zero(texts.get("box_quality")),
        _at_least_zero(texts.get("score")) if confidence is None else confidence,
        _tags(parts.get("tags"), texts.get(POSE)),
    )


def _voc_object(row: ObjectRow) -> VocObject:
    stated = row.x is not None and row.y is not None and row.w is not None and row.h is not None
    return VocObject(
        name=row.class_name,
        box=(row.x, row.y, row.w, row.h) if stated else None,  # type: ignore[arg-type]
        angle=row.angle,
        confidence=row.confidence,
        quality=row.quality,
        difficult=row.difficult,
        truncated=row.truncated,
        occluded=row.occluded,
        tags=dict(row.tags or ()),
    )


def _place(parts: Mapping[str, Tree.Element], empty_box: bool) -> tuple[Box, float | None]:
    """x, y, w, h, and the angle in degrees."""
    if (bounds := parts.get("bndbox")) is not None:
        texts = {corner.tag: corner.text for corner in bounds}
        left, top, right, bottom = [_number(texts.get(corner)) for corner in _CORNERS]
        angle = _optional(texts["rotate_angle"]) if "rotate_angle" in texts else None
        box = (left, top, right - left + 1, bottom - top + 1)
        return box, None if angle is None else angle * _DEGREES
    if (bounds := parts.get("robndbox")) is not None:
        x, y, w, h, turn = [
            _number(bounds.findtext(name)) for name in ("cx", "cy", "w", "h", "angle")
        ]
        return (x - w / 2, y - h / 2, w, h), math.degrees(turn) if abs(turn) < 1e6 else None
    nowhere = math.nan if empty_box else None
    return (nowhere, nowhere, nowhere, nowhere), None


def _rings(element: Tree.Element) -> Rings:
    """`<polygon><x1>..<y1>..<x2>..`, one element for each ring."""
    rings: Rings = []
    for polygon in element.findall("polygon"):
        texts = {point.tag: point.text for point in polygon}
        count = len(texts) // 2
        names = [f"{axis}{number}" for number in range(1, count + 1) for axis in "xy"]
        rings.append([_number(texts.get(name)) for name in names])
    return rings


def _rle_size(element: Tree.Element) -> tuple[int | None, int | None]:
    rle = element.find("rle")
    assert rle is not None
    return _extent(rle.get("width")), _extent(rle.get("height"))


def _tags(element: Tree.Element | None, pose: str | None) -> TextPairs | None:
    tags = dict(_text_pairs(element))
    if pose and pose.strip().lower() not in _NO_POSE:
        tags.setdefault(POSE, pose.strip())
    return list(tags.items()) or None


def _text_pairs(element: Tree.Element | None) -> TextPairs:
    if element is None:
        return []
    return [(item.tag, (item.text or "").strip()) for item in element]


def _number(text: str | None) -> float:
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _extent(text: str | None) -> int | None:
    value = _number(text)
    return int(value) if 0 < value < 2**31 else None


def _optional(text: str | None) -> float | None:
    value = _number(text)
    return value if abs(value) < 1e6 else None  # false for NaN as well


def _at_least_zero(text: str | None) -> float | None:
    if text is None:
        return None
    value = _optional(text)
    return value if value is not None and value >= 0 else None  # YMIR writes -1 for "not stated"


def _flag(text: str | None) -> bool | None:
    return None if text is None else _FLAGS.get(text.strip().lower())


def _object_lines(entry: VocObject) -> Iterable[str]:
    x, y, w, h = entry.box or (0.0, 0.0, 0.0, 0.0)
    corners = zip(("xmin", "ymin", "xmax", "ymax"), (x, y, x + w - 1, y + h - 1), strict=True)
    yield "  <object>"
    yield f"    <name>{escaped(entry.name)}</name>"
    yield "    <pose>unknown</pose>"
    yield f"    <truncated>{_flag_text(entry.truncated, 'unknown')}</truncated>"
    # Readers take the number of these two without asking.
    yield f"    <occluded>{_flag_text(entry.occluded, '0')}</occluded>"
    yield f"    <difficult>{_flag_text(entry.difficult, '0')}</difficult>"
    yield "    <bndbox>"
    for name, value in corners:
        yield f"      <{name}>{_decimal(value)}</{name}>"
    if entry.angle is not None:
        yield f"      <rotate_angle>{_decimal(entry.angle / _DEGREES)}</rotate_angle>"
    yield "    </bndbox>"
    yield from map_lines("tags", entry.tags, "    ")
    if entry.quality is not None:
        yield f"    <box_quality>{_decimal(entry.quality)}</box_quality>"
    if entry.confidence is not None:
        yield f"    <confidence>{_decimal(entry.confidence)}</confidence>"
    yield "  </object>"


def map_lines(name: str, values: Mapping[str, str], indent: str) -> Iterable[str]:
    named = {key: value for key, value in values.items() if is_xml_name(key)}
    if not named:
        return
    yield f"{indent}<{name}>"
    for key, value in named.items():
        yield f"{indent}  <{key}>{escaped(value)}</{key}>"
    yield f"{indent}</{name}>"


def _flag_text(flag: bool | None, unknown: str) -> str:
    return unknown if flag is None else str(int(flag))


def _decimal(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def escaped(text: str) -> str:
    """Text of an element; characters that XML cannot hold at all are replaced."""
    return escape(_NOT_XML.sub("�", text))
