"""COCO: one JSON file for many images, read an object at a time; files of a gigabyte are usual.

Boxes, polygons of any number of rings, run lengths compressed or not, and lists of results, whose
ids another file explains. Kept besides: `score` or `confidence`, `box_quality`, `tags`, and the
`attributes` of CVAT (`occluded`, `rotation`, others as tags), for images as well.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from mir_ops.formats import rle
from mir_ops.formats.parsed import (
    Collected,
    Finding,
    ImageRow,
    ObjectRow,
    Parsed,
    RefusedError,
    Rings,
    TextPairs,
    joined,
)
from mir_ops.store.schema import SPLITS

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_decode: Final = json.JSONDecoder().raw_decode
_FLAGS: Final = ("difficult", "truncated", "occluded")
_LONGEST: Final = 2**31
_UNREADABLE: Final = b""  # run lengths that are none: counted when shapes are checked


def parse_coco(files: Iterable[tuple[str, bytes]], *, like: Parsed | None = None) -> Parsed:
    """Parse files (name, bytes) to columns; `like` explains the ids of lists of results."""
    parts: list[Parsed] = []
    findings: list[Finding] = []
    for name, data in files:
        try:
            parts.append(_File(name).read(data, like))
        except RefusedError as error:
            findings.append(Finding(code=error.code, example=f"{name}: {error}"))
    parsed = joined(parts)
    return replace(parsed, findings=(*findings, *parsed.findings))


class _File:
    """One file on its way to columns. Ids get numbers as they are met; names come at the end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._collected = Collected()
        self._image_numbers: dict[str, int] = {}
        self._image_rows: dict[int, int] = {}
        self._class_numbers: dict[str, int] = {}
        self._class_names: dict[int, str] = {}
        self._classes_used = array("q")
        self._ids = array("q")

    def read(self, data: bytes, like: Parsed | None) -> Parsed:
        is_list = _walk(
            _text_of(data),
            {
                "images": self._add_image,
                "categories": self._add_class,
                "annotations": self._add_object,
            },
        )
        if is_list and like is not None:
            self._explain(like)
        return self._resolved()

    def _add_image(self, entry: Any) -> None:
        key = _key(entry, "id")
        file_name = entry.get("file_name") if isinstance(entry, dict) else None
        if key is None or not isinstance(file_name, str):
            self._find("object-malformed", f"image {len(self._image_rows) + 1}")
            return
        number = _number_of(self._image_numbers, key)
        if number in self._image_rows:
            self._find("id-twice", f"image {key}")
            return
        self._image_rows[number] = len(self._collected.images)
        split = entry.get("split")
        self._collected.images.append(
            ImageRow(
                source=self._name,
                file_name=_clean(file_name),
                image_id=key,
                width=_extent(entry.get("width")),
                height=_extent(entry.get("height")),
                split=split if split in SPLITS else None,
                attributes=_pairs(entry.get("attributes")) or None,
            )
        )

    def _add_class(self, entry: Any) -> None:
        key = _key(entry, "id")
        name = entry.get("name") if isinstance(entry, dict) else None
        if key is None or not isinstance(name, str):
            self._find("object-malformed", f"category {len(self._class_names) + 1}")
        elif (number := _number_of(self._class_numbers, key)) in self._class_names:
            self._find("id-twice", f"category {key}")
        else:
            self._class_names[number] = _clean(name)

    def _add_object(self, entry: Any) -> None:
        image, category = _key(entry, "image_id"), _key(entry, "category_id")
        if image is None or category is None:
            self._find("object-malformed", f"annotation {_key(entry, 'id') or '?'}")
            return
        number = entry.get("id")
        if type(number) is int and abs(number) < 2**63:
            self._ids.append(number)
        self._classes_used.append(_number_of(self._class_numbers, category))
        row = _object_row(entry, _number_of(self._image_numbers, image))
        self._collected.add_objects((row,))

    def _explain(self, like: Parsed) -> None:
        """Take the images that a list of results names, and its classes, from another file."""
        ids = like.images["image_id"].to_pylist()
        rows = like.images.to_pylist() if self._image_numbers else []
        for key, row in zip(ids, rows, strict=False):
            number = self._image_numbers.get(key or "")
            if number is not None and number not in self._image_rows:
                self._image_rows[number] = len(self._collected.images)
                row |= {"source": self._name, "attributes": None}
                self._collected.images.append(ImageRow(**row))
        for key, name in like.classes.items():
            self._class_names.setdefault(_number_of(self._class_numbers, key), name)

    def _resolved(self) -> Parsed:
        """Numbers replaced by rows of images and by names; what has neither is left out."""
        keys = {number: key for key, number in self._class_numbers.items()}
        classes = {keys[number]: name for number, name in self._class_names.items()}
        self._count_repeated_ids()
        parsed = self._collected.parsed(classes=classes)
        rows = np.full(len(self._image_numbers) + 1, -1, np.int64)
        for number, row in self._image_rows.items():
            rows[number] = row
        image = rows[parsed.objects["image"].to_numpy()]
        names = pa.array(
            [self._class_names.get(number) for number in range(len(self._class_numbers))],
            pa.string(),
        ).take(pa.array(np.frombuffer(self._classes_used, np.int64)))
        known = np.asarray(names.is_valid().to_numpy(zero_copy_only=False), np.bool_)
        places = parsed.objects["place"]
        lost = [("image-unknown", image < 0), ("category-unknown", (image >= 0) & ~known)]
        findings = [
            Finding(code=code, example=f"{self._name}: {places[row].as_py() or 'an object'}")
            for code, chosen in lost
            for row in np.flatnonzero(chosen).tolist()
        ]
        kept = pa.array((image >= 0) & known)
        objects = parsed.objects.set_column(0, parsed.objects.field(0), pa.array(image))
        objects = objects.filter(kept)
        named = objects.field("class_name")
        at = objects.schema.get_field_index("class_name")
        objects = objects.set_column(at, named, names.filter(kept))
        return replace(parsed, objects=objects, findings=(*parsed.findings, *findings))

    def _count_repeated_ids(self) -> None:
        ids, counts = np.unique(np.frombuffer(self._ids, np.int64), return_counts=True)
        for number in ids[counts > 1].tolist():
            self._find("id-twice", f"annotation {number}")

    def _find(self, code: str, example: str) -> None:
        self._collected.find(code, f"{self._name}: {example}")


def _text_of(data: bytes) -> str:
    try:
        encoding = json.detect_encoding(data[:4])
        return data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        raise RefusedError("annotation-unreadable", str(error)) from None


def _walk(text: str, takers: Mapping[str, Callable[[Any], None]]) -> bool:
    """Give each element of the named lists to its taker; whether the file is one list of objects.

    The values are decoded one by one, so that memory holds the text and one of them.
    """
    try:
        at = _skip(text, 0)
        is_list = text[at] == "["
        take_objects = takers["annotations"]
        at = _elements(text, at, take_objects) if is_list else _members(text, at, takers)
        if _skip(text, at) != len(text):
            raise ValueError(f"something follows the end at character {at}")
    except IndexError:
        raise RefusedError("annotation-unreadable", "it is not complete JSON") from None
    except (ValueError, RecursionError) as error:
        raise RefusedError("annotation-unreadable", str(error)) from None
    return is_list


def _members(text: str, at: int, takers: Mapping[str, Callable[[Any], None]]) -> int:
    at = _skip(text, _expect(text, at, "{"))
    if text[at] == "}":
        return at + 1
    while True:
        key, at = _decode(text, at)
        at = _skip(text, _expect(text, _skip(text, at), ":"))
        taker = takers.get(key) if isinstance(key, str) else None
        if taker is not None and text[at] == "[":
            at = _elements(text, at, taker)
        else:
            _, at = _decode(text, at)
        at = _skip(text, at)
        if text[at] == "}":
            return at + 1
        at = _skip(text, _expect(text, at, ","))


def _elements(text: str, at: int, taker: Callable[[Any], None]) -> int:
    at = _skip(text, at + 1)
    if text[at] == "]":
        return at + 1
    skip = _SPACE.match
    while True:
        value, at = _decode(text, at)
        taker(value)
        if text[at] not in ",]":
            at = _skip(text, at)
        if text[at] == "]":
            return at + 1
        found = skip(text, _expect(text, at, ","))
        at = found.end() if found else at


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _expect(text: str, at: int, character: str) -> int:
    if text[at] != character:
        raise ValueError(f"`{character}` expected at character {at}")
    return at + 1


def _object_row(entry: Mapping[str, Any], image: int) -> ObjectRow:
    x, y, w, h = _box(entry.get("bbox"))
    polygon, text, (width, height) = _shape(entry.get("segmentation"))
    attributes = entry.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    angle = _number(attributes.get("rotation"))
    confidence = _at_least_zero(entry.get("score"))
    difficult, truncated, occluded = (
        _flag(attributes.get(name, entry.get(name))) for name in _FLAGS
    )
    others = {k: v for k, v in attributes.items() if k not in (*_FLAGS, "rotation")}
    tags = _pairs(others) + _pairs(entry.get("tags")) if others or "tags" in entry else []
    key = _key(entry, "id")
    return ObjectRow(
        image,
        None if key is None else f"annotation {key}",
        "",
        "polygon" if polygon else "box" if text is None else "mask",
        x,
        y,
        w,
        h,
        angle if abs(angle) < 1e6 else None,
        polygon,
        text,
        width,
        height,
        _at_least_zero(entry.get("area")),
        None if entry.get("iscrowd_stated") is False else _flag(entry.get("iscrowd")),
        difficult,
        truncated,
        occluded,
        _at_least_zero(entry.get("box_quality")),
        _at_least_zero(entry.get("confidence")) if confidence is None else confidence,
        list(dict(tags).items()) or None,
    )


def _box(value: Any) -> tuple[float | None, float | None, float | None, float | None]:
    if not isinstance(value, list) or len(value) < 4:
        return None, None, None, None
    return _number(value[0]), _number(value[1]), _number(value[2]), _number(value[3])


Size = tuple[int | None, int | None]


def _shape(value: Any) -> tuple[Rings | None, bytes | None, Size]:
    """The polygon, or the run lengths with their width and height."""
    if isinstance(value, list):
        flat = bool(value) and not isinstance(value[0], list)
        rings = [_ring(ring) for ring in ([value] if flat else value) if ring != []]
        return (rings or None), None, (None, None)
    if not isinstance(value, dict) or not value:
        return None, None, (None, None)
    size = value.get("size")
    height, width = size if isinstance(size, list) and len(size) == 2 else (None, None)
    sides = _extent(width), _extent(height)
    return None, _run_lengths(value.get("counts")), sides


def _ring(values: Any) -> list[float]:
    try:
        return array("d", values).tolist() if isinstance(values, list) else []
    except (TypeError, OverflowError):
        return [math.nan]


def _run_lengths(counts: Any) -> bytes:
    if isinstance(counts, str):
        return counts.encode() if counts.isascii() else _UNREADABLE
    try:
        values = np.asarray(counts if isinstance(counts, list) else ["?"])
    except (ValueError, OverflowError, RecursionError):
        return _UNREADABLE
    if values.ndim != 1 or values.dtype.kind != "i" or not ((values >= 0) & (values < 2**31)).all():
        return _UNREADABLE
    text: bytes = rle.write_runs(rle.runs_of([values.astype(np.int64)]))[0].as_py()
    return text


def _key(entry: Any, name: str) -> str | None:
    """An id as text: files mix numbers and texts."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if type(value) is int:
        return str(value)
    return _clean(value) if isinstance(value, str) else None


def _number_of(numbers: dict[str, int], key: str) -> int:
    return numbers.setdefault(key, len(numbers))


def _number(value: Any) -> float:
    try:
        return float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        return math.inf


def _at_least_zero(value: Any) -> float | None:
    number = _number(value)
    return number if 0 <= number < math.inf else None  # YMIR writes -1 for "not stated"


def _extent(value: Any) -> int | None:
    number = _number(value)
    return int(number) if 1 <= number < _LONGEST else None


def _flag(value: Any) -> bool | None:
    return bool(value) if type(value) in (bool, int) and value in (0, 1) else None


def _pairs(values: Any) -> TextPairs:
    """A mapping as texts; lists and mappings inside it are none."""
    if not isinstance(values, dict):
        return []
    return [
        (_clean(key), _clean(value) if isinstance(value, str) else json.dumps(value))
        for key, value in values.items()
        if value is None or isinstance(value, str | int | float)
    ]


def _clean(text: str) -> str:
    """JSON can spell half of a surrogate pair, which no column can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
