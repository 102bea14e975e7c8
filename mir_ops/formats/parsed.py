"""What annotation files say, in columns: the shape that every annotation format is read to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.store import schema

# One row for each image that the files speak of, also where it has no objects.
IMAGES: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),  # the annotation file's name
        pa.field("file_name", pa.string(), nullable=False),  # the image's as stated, or ""
        pa.field("image_id", pa.string()),  # COCO's id of the image, as text
        pa.field("width", pa.int32()),  # as stated, for the check with the real size
        pa.field("height", pa.int32()),
        pa.field("split", pa.string()),
        pa.field("attributes", schema.TEXT_MAP),
    ]
)

# Pixels, or shares of the image's size where `Parsed.relative`. A coordinate that is no number is
# NaN; where a shape has no box of its own, x, y, w and h are null.
OBJECTS: Final = pa.schema(
    [
        pa.field("image", pa.int64(), nullable=False),  # row in `images`
        pa.field("place", pa.string()),  # which object of the file, for the report
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("x", pa.float64()),
        pa.field("y", pa.float64()),
        pa.field("w", pa.float64()),
        pa.field("h", pa.float64()),
        pa.field("angle", pa.float64()),  # degrees
        pa.field("polygon", pa.list_(pa.list_(pa.float64()))),
        pa.field("rle", pa.binary()),  # COCO's compressed run lengths, checked to fill its size
        pa.field("rle_width", pa.int32()),
        pa.field("rle_height", pa.int32()),
        pa.field("area", pa.float64()),
        pa.field("iscrowd", pa.bool_()),
        pa.field("difficult", pa.bool_()),
        pa.field("truncated", pa.bool_()),
        pa.field("occluded", pa.bool_()),
        pa.field("quality", pa.float64()),
        pa.field("confidence", pa.float64()),
        pa.field("tags", schema.TEXT_MAP),
    ]
)


Rings = list[list[float]]
TextPairs = list[tuple[str, str]]


class ImageRow(NamedTuple):
    """A row of `IMAGES`."""

    source: str
    file_name: str = ""
    image_id: str | None = None
    width: int | None = None
    height: int | None = None
    split: str | None = None
    attributes: TextPairs | None = None


class ObjectRow(NamedTuple):
    """A row of `OBJECTS`."""

    image: int
    place: str | None
    class_name: str
    kind: str
    x: float | None
    y: float | None
    w: float | None
    h: float | None
    angle: float | None = None
    polygon: Rings | None = None
    rle: bytes | None = None
    rle_width: int | None = None
    rle_height: int | None = None
    area: float | None = None
    iscrowd: bool | None = None
    difficult: bool | None = None
    truncated: bool | None = None
    occluded: bool | None = None
    quality: float | None = None
    confidence: float | None = None
    tags: TextPairs | None = None


class RefusedError(Exception):
    """The bytes are no annotation that we take; `code` is the issue to count."""

    def __init__(self, code: str, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something in a file that was not taken; `code` is the issue to count."""

    code: str
    example: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """Annotation files as two tables; objects are in any order."""

    images: pa.Table
    objects: pa.Table
    relative: bool = False
    boxes_only: bool = False  # polygons and masks are not wanted
    classes: Mapping[str, str] = field(default_factory=dict)  # the files' class ids: names
    findings: tuple[Finding, ...] = ()

    def source_of_class(self, name: str) -> str:
        """A file that has an object of the class, by its name as written."""
        row = pc.index(self.objects["class_name"], name).as_py()
        source: str = self.images["source"][self.objects["image"][row].as_py()].as_py()
        return source


class Collected:
    """Rows as a parser meets them; they become columns a piece at a time, to save memory."""

    _PIECE: Final = 1 << 16

    def __init__(self) -> None:
        self.images: list[ImageRow] = []
        self.findings: list[Finding] = []
        self._objects: list[ObjectRow] = []
        self._pieces: list[pa.Table] = []

    def add_objects(self, rows: Iterable[ObjectRow]) -> None:
        self._objects.extend(rows)
        if len(self._objects) >= self._PIECE:
            self._flush()

    def add_table(self, objects: pa.Table) -> None:
        self._pieces.append(objects)

    def find(self, code: str, example: str) -> None:
        self.findings.append(Finding(code=code, example=example))

    def parsed(self, *, relative: bool = False, classes: Mapping[str, str] | None = None) -> Parsed:
        self._flush()
        return Parsed(
            images=_table(self.images, IMAGES),
            objects=pa.concat_tables([OBJECTS.empty_table(), *self._pieces]),
            relative=relative,
            classes=classes or {},
            findings=tuple(self.findings),
        )

    def _flush(self) -> None:
        if self._objects:
            self._pieces.append(_table(self._objects, OBJECTS))
            self._objects = []


def _table(rows: Sequence[NamedTuple], wanted: pa.Schema) -> pa.Table:
    if not rows:
        return wanted.empty_table()
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, wanted.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=wanted)


EMPTY: Final = Parsed(images=IMAGES.empty_table(), objects=OBJECTS.empty_table())


def joined(parts: Sequence[Parsed]) -> Parsed:
    """Several parts as one; what a file says twice stays twice."""
    if len(parts) < 2:
        return parts[0] if parts else EMPTY
    starts = np.cumsum([0, *(part.images.num_rows for part in parts[:-1])])
    objects = [
        part.objects.set_column(0, OBJECTS.field(0), pc.add(part.objects["image"], int(start)))
        for part, start in zip(parts, starts, strict=True)
    ]
    classes: dict[str, str] = {}
    for part in parts:
        classes |= part.classes
    return Parsed(
        images=pa.concat_tables([part.images for part in parts]),
        objects=pa.concat_tables(objects),
        relative=parts[0].relative,
        boxes_only=parts[0].boxes_only,
        classes=classes,
        findings=tuple(finding for part in parts for finding in part.findings),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Annotations of one layer, and which of them are each image's."""

    parsed: Parsed
    rows: Mapping[str, int]  # name of an image in the source: its row in `parsed.images`

    def class_counts(self) -> dict[str, int]:
        """Objects of these images by class name as written, in the order of first use."""
        kept = np.zeros(self.parsed.images.num_rows, np.bool_)
        kept[list(self.rows.values())] = True
        objects = self.parsed.objects
        names = objects["class_name"].filter(pa.array(kept[objects["image"].to_numpy()]))
        counted = pc.value_counts(names.combine_chunks())
        texts, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
        return dict(zip(texts, counts, strict=True))
