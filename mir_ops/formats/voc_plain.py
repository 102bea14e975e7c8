"""Pascal VOC as nearly every tool writes it, read without a tree of elements.

Only a file that is this and nothing else is read here: no attributes, entities, comments or CDATA,
elements in the usual order, whole or decimal numbers. That is well-formed XML of which the parser
makes the same; whatever differs in a character is left to the parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.formats.parsed import OBJECTS, ImageRow
from mir_ops.formats.texts import of_unique

_Row = tuple[str, ...]  # what `_OBJECT` captures

# Nothing here backtracks: each repetition keeps what it took.
_SPACE: Final = r"[ \t\r\n]*+"
_TEXT: Final = r"[^<>&\x00-\x08\x0b-\x1f\ufffe\uffff]*+"
_NUMBER: Final = r"[ \t\n]*+(-?[0-9]{1,9}+(?:\.[0-9]{1,9}+)?+)[ \t\n]*+"
_SIDE: Final = r"([0-9]{1,9}+)"
_FLAG: Final = "(?:([01])|unknown)?+"
_END: Final = "</annotation>"


def _element(name: str, content: str) -> str:
    return f"<{name}>{content}</{name}>{_SPACE}"


def _maybe(name: str, content: str = _TEXT) -> str:
    return f"(?:{_element(name, content)})?+"


_SOURCE: Final = "|".join(_element(name, _TEXT) for name in ("database", "annotation", "image"))
_HEAD: Final = re.compile(
    r"""(?:<\?xml version=(?:"1\.0"|'1\.0')(?: encoding=(?:"(?i:utf-8)"|'(?i:utf-8)'))?+ ?+\?>)?+"""
    + f'{_SPACE}<annotation(?: verified="(?:yes|no)")?+>{_SPACE}'
    + _maybe("folder")
    + _element("filename", f"({_TEXT})")
    + _maybe("path")
    + _maybe("source", f"{_SPACE}(?:{_SOURCE})*+")
    + _element(
        "size",
        _SPACE + _element("width", _SIDE) + _element("height", _SIDE) + _maybe("depth"),
    )
    + _maybe("segmented")
)
_CORNERS: Final = "".join(_element(name, _NUMBER) for name in ("xmin", "ymin", "xmax", "ymax"))
_OBJECT: Final = re.compile(
    "<object>"
    + _SPACE
    + _element("name", f"({_TEXT})")
    + _maybe("pose", "(?i:unspecified|unknown)?+")
    + _maybe("truncated", _FLAG)
    + _maybe("occluded", _FLAG)
    + f"(?P<early>{_element('difficult', _FLAG)})?+"
    + _element("bndbox", _SPACE + _CORNERS)
    + f"(?(early)|{_maybe('difficult', _FLAG)})"
    + f"</object>{_SPACE}"
    + r"|([\s\S]++)"  # anything else, to the end
)


@dataclass(frozen=True, slots=True)
class PlainFile:
    """One file: `row` says what it is of, `objects` are what was captured of each."""

    row: ImageRow
    objects: list[_Row]


def read_plain(name: str, data: bytes) -> PlainFile | None:
    """The file, or None where a parser has to read it."""
    try:
        text = data.decode().rstrip(" \t\r\n")
    except UnicodeDecodeError:
        return None
    head = _HEAD.match(text)
    if head is None or not text.endswith(_END):
        return None
    objects = _OBJECT.findall(text, head.end(), len(text) - len(_END))
    if objects and objects[-1][-1]:
        return None
    file_name, width, height = head[1].strip(), int(head[2]), int(head[3])
    known = width > 0 and height > 0
    sides = (width, height) if known else (None, None)
    return PlainFile(ImageRow(name, file_name, None, *sides), objects)


@dataclass(slots=True)
class PlainObjects:
    """Objects of such files, on their way to columns."""

    _rows: list[_Row] = field(default_factory=list)
    _images: list[int] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, image: int, objects: list[_Row]) -> None:
        self._rows += objects
        self._images.append(image)
        self._counts.append(len(objects))

    def table(self) -> pa.Table:
        """Rows as in `OBJECTS`."""
        if not self._rows:
            return OBJECTS.empty_table()
        columns = [pa.array(texts, pa.string()) for texts in zip(*self._rows, strict=True)]
        names, truncated, occluded, _, early, *corners, late, _ = columns
        left, top, right, bottom = (corner.cast(pa.float64()) for corner in corners)
        known = {
            "image": pa.array(np.repeat(self._images, self._counts), pa.int64()),
            "class_name": of_unique(names, str.strip),
            "kind": pa.repeat("box", len(names)),
            "x": left,
            "y": top,
            "w": pc.add(pc.subtract(right, left), 1.0),
            "h": pc.add(pc.subtract(bottom, top), 1.0),
            "difficult": _flags(pc.binary_join_element_wise(early, late, "")),
            "truncated": _flags(truncated),
            "occluded": _flags(occluded),
        }
        absent = (pa.nulls(len(names), each.type) for each in OBJECTS)
        arrays = [known.get(each.name, nulls) for each, nulls in zip(OBJECTS, absent, strict=True)]
        return pa.Table.from_arrays(arrays, schema=OBJECTS)


def _flags(texts: pa.Array) -> pa.Array:
    stated = pc.not_equal(texts, "")
    return pc.if_else(stated, pc.equal(texts, "1"), pa.scalar(None, pa.bool_()))
