"""Pascal VOC: one XML file for each image, read as hostile and written back with the same boxes.

Corners are inclusive: w = xmax - xmin + 1. YMIR's additions are kept: `rotate_angle` (in units of
pi), `confidence`, `box_quality`, `tags`, and for the image `cks` and `image_quality`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree as Tree
from xml.parsers import expat
from xml.sax.saxutils import escape

MAX_BYTES: Final = 16 * 2**20
IMAGE_QUALITY: Final = "image_quality"  # kept among the attributes of the image
_DEGREES: Final = 180.0


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


class VocRefusedError(Exception):
    """The bytes are no annotation that we take; `code` is the issue to count."""

    def __init__(self, code: str, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code


def read_voc(data: bytes) -> VocFile:
    """Parse one file; raises `VocRefusedError`."""
    if len(data) > MAX_BYTES:
        raise VocRefusedError("file-too-large")
    _refuse_doctype(data)
    try:
        root = Tree.fromstring(data)
    except (Tree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise VocRefusedError("annotation-unreadable", str(error)) from None
    if root.tag != "annotation":
        raise VocRefusedError("annotation-unreadable", f"its root is `{root.tag}`")
    attributes = _text_map(root.find("cks"))
    quality = _text(root, IMAGE_QUALITY)
    if _number(quality, -1.0) >= 0:
        attributes[IMAGE_QUALITY] = quality
    return VocFile(
        filename=_text(root, "filename"),
        size=_size(root.find("size")),
        objects=tuple(_read_object(element) for element in root.iterfind("object")),
        attributes=attributes,
    )


def write_voc(file: VocFile) -> bytes:
    """The XML of one file, as YMIR writes it; floats keep their digits."""
    width, height = file.size or (0, 0)
    attributes = dict(file.attributes)
    quality = attributes.pop(IMAGE_QUALITY, None)
    lines = [
        "<annotation>",
        "  <folder>folder</folder>",
        f"  <filename>{_escaped(file.filename)}</filename>",
        "  <source><database>unknown</database><annotation>unknown</annotation>"
        "<image>unknown</image></source>",
        f"  <size><width>{width}</width><height>{height}</height>"
        f"<depth>{file.channels}</depth></size>",
        "  <segmented>0</segmented>",
        *_map_lines("cks", attributes, "  "),
        *([f"  <{IMAGE_QUALITY}>{_escaped(quality)}</{IMAGE_QUALITY}>"] if quality else []),
    ]
    for entry in file.objects:
        lines += _object_lines(entry)
    lines.append("</annotation>\n")
    return "\n".join(lines).encode()


def is_xml_name(name: str) -> bool:
    """Whether a key can be an element name of its own; a colon would be a namespace."""
    head, tail = name[:1], name[1:]
    return (head.isalpha() or head == "_") and all(c.isalnum() or c in "_-." for c in tail)


def _refuse_doctype(data: bytes) -> None:
    # Markup is ASCII in every encoding expat reads, but for UTF-16, which has zero bytes. Only
    # what may hold a DOCTYPE is parsed twice: a comment may well mention one.
    if b"<!DOCTYPE" not in data and b"\0" not in data:
        return

    def refuse(*_: object) -> None:
        raise VocRefusedError("annotation-doctype")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise VocRefusedError("annotation-unreadable", str(error)) from None


def _read_object(element: Tree.Element) -> VocObject:
    bounds = element.find("bndbox")
    angle = _optional(None if bounds is None else bounds.findtext("rotate_angle"))
    return VocObject(
        name=_text(element, "name"),
        box=None if bounds is None else _box(bounds),
        angle=None if angle is None else angle * _DEGREES,
        confidence=_at_least_zero(element.findtext("confidence")),
        quality=_at_least_zero(element.findtext("box_quality")),
        difficult=_flag(element.findtext("difficult")),
        truncated=_flag(element.findtext("truncated")),
        occluded=_flag(element.findtext("occluded")),
        tags=_text_map(element.find("tags")),
    )


def _box(bounds: Tree.Element) -> tuple[float, float, float, float]:
    left, top, right, bottom = (
        _number(bounds.findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax")
    )
    return left, top, right - left + 1, bottom - top + 1


def _size(element: Tree.Element | None) -> tuple[int, int] | None:
    if element is None:
        return None
    width, height = (_number(element.findtext(name), 0.0) for name in ("width", "height"))
    return (int(width), int(height)) if 0 < width < 2**31 and 0 < height < 2**31 else None


def _text(element: Tree.Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _text_map(element: Tree.Element | None) -> dict[str, str]:
    return {} if element is None else {item.tag: (item.text or "").strip() for item in element}


def _number(text: str | None, default: float = float("nan")) -> float:
    try:
        return float(text) if text is not None else default
    except ValueError:
        return default


def _optional(text: str | None) -> float | None:
    value = _number(text)
    return value if abs(value) < 1e6 else None  # false for NaN as well


def _at_least_zero(text: str | None) -> float | None:
    value = _optional(text)
    return value if value is not None and value >= 0 else None  # YMIR writes -1 for "not stated"


def _flag(text: str | None) -> bool | None:
    return {"0": False, "1": True, "false": False, "true": True}.get((text or "").strip().lower())


def _object_lines(entry: VocObject) -> Iterable[str]:
    x, y, w, h = entry.box or (0.0, 0.0, 0.0, 0.0)
    corners = zip(("xmin", "ymin", "xmax", "ymax"), (x, y, x + w - 1, y + h - 1), strict=True)
    yield "  <object>"
    yield f"    <name>{_escaped(entry.name)}</name>"
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
    yield from _map_lines("tags", entry.tags, "    ")
    if entry.quality is not None:
        yield f"    <box_quality>{_decimal(entry.quality)}</box_quality>"
    if entry.confidence is not None:
        yield f"    <confidence>{_decimal(entry.confidence)}</confidence>"
    yield "  </object>"


def _map_lines(name: str, values: Mapping[str, str], indent: str) -> Iterable[str]:
    named = {key: value for key, value in values.items() if is_xml_name(key)}
    if not named:
        return
    yield f"{indent}<{name}>"
    for key, value in named.items():
        yield f"{indent}  <{key}>{_escaped(value)}</{key}>"
    yield f"{indent}</{name}>"


def _flag_text(flag: bool | None, unknown: str) -> str:
    return unknown if flag is None else str(int(flag))


def _decimal(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    """Text of an element; characters that XML cannot hold at all are replaced."""
    return escape("".join(char if _is_xml_char(char) else "�" for char in text))


def _is_xml_char(char: str) -> bool:
    surrogate = "\ud800" <= char <= "\udfff"
    return char in "\t\n" or (char >= " " and not surrogate and char not in "\ufffe\uffff")
