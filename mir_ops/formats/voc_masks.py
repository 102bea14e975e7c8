"""Pascal VOC's masks: `SegmentationObject` numbers the objects of an image, `SegmentationClass`
says what each pixel is.

The mask with number n belongs to the n-th object of the image's XML file, or to the one whose box
it fills. A mask without an object gets its class from `SegmentationClass`, whose colours
`labelmap.txt` explains, or else the order of VOC's own twenty classes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.formats import rle
from mir_ops.formats.parsed import OBJECTS, Collected, ImageRow, ObjectRow, Parsed

OBJECT_FOLDER: Final = "segmentationobject"
LABEL_MAP: Final = "labelmap.txt"
VOC_CLASSES: Final = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
_MAX_PIXELS: Final = 2**25
_MAX_MASKS: Final = 10_000  # in one image
_LEAST_OVERLAP: Final = 0.5
_VOID: Final = 255
_ALIKE: Final = ("kind", "rle", "rle_width", "rle_height")

Codes = npt.NDArray[np.int64]
Box = tuple[float, float, float, float]


@dataclass(slots=True)
class _Masks:
    """The masks of one image."""

    instances: tuple[str, bytes] | None = None
    classes: tuple[str, bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A mask, on its way to an object."""

    number: int
    class_name: str | None
    width: int
    height: int
    text: bytes  # compressed run lengths
    box: Box


class _BadMaskError(Exception):
    """The bytes are no mask that we take."""


def with_masks(parsed: Parsed, files: Iterable[tuple[str, bytes]]) -> Parsed:
    """The objects of VOC files with their masks; masks that have no object become objects."""
    masks: dict[str, _Masks] = {}
    names: dict[int, str] = {}
    for name, data in files:
        path = PurePosixPath(name)
        if path.name.lower() == LABEL_MAP:
            names = _label_map(data)
        elif path.suffix.lower() == ".png":
            entry = masks.setdefault(path.stem, _Masks())
            if path.parent.name.lower() == OBJECT_FOLDER:
                entry.instances = (name, data)
            else:
                entry.classes = (name, data)
    if not masks:
        return parsed
    merging = _Merging(parsed, names)
    for stem, entry in sorted(masks.items()):
        merging.add(stem, entry)
    return merging.result()


class _Merging:
    def __init__(self, parsed: Parsed, names: Mapping[int, str]) -> None:
        self._parsed = parsed
        self._names = names
        self._new = Collected()
        self._changed = {name: parsed.objects[name].to_pylist() for name in _ALIKE}
        sources = parsed.images["source"].to_pylist()
        self._images = {PurePosixPath(source).stem: row for row, source in enumerate(sources)}
        self._objects: dict[int, list[int]] = {}
        for row, image in enumerate(parsed.objects["image"].to_pylist()):
            self._objects.setdefault(image, []).append(row)
        corners = [parsed.objects[side].to_pylist() for side in "xywh"]
        self._boxes = list(zip(*corners, strict=True))

    def add(self, stem: str, masks: _Masks) -> None:
        name = (masks.instances or masks.classes or ("", b""))[0]
        try:
            found = _masks_of(masks, self._names)
        except _BadMaskError as error:
            self._new.find("annotation-unreadable", f"{name}: {error}")
            return
        image = self._images.get(stem)
        free = list(self._objects.get(image, ())) if image is not None else []
        order = list(free)
        for mask in found:
            row = self._object_of(mask, order, free) if masks.instances else None
            if row is not None:
                free.remove(row)
                self._attach(row, mask)
            elif mask.class_name is None:
                self._new.find("mask-without-class", f"{name}: {mask.number}")
            else:
                self._append(stem, name, mask)

    def result(self) -> Parsed:
        objects = self._parsed.objects
        for name, values in self._changed.items():
            at = objects.schema.get_field_index(name)
            kind = OBJECTS.field(name)
            objects = objects.set_column(at, kind, pa.array(values, kind.type))
        new = self._new.parsed()
        # Images that have no XML file come behind those that have.
        return replace(
            self._parsed,
            images=pa.concat_tables([self._parsed.images, new.images]),
            objects=pa.concat_tables([objects, new.objects]),
            findings=(*self._parsed.findings, *new.findings),
        )

    def _object_of(self, mask: _Found, order: Sequence[int], free: Sequence[int]) -> int | None:
        named = order[mask.number - 1 : mask.number] if mask.number else []
        for row in (*named, *free):
            if row in free and _overlap(self._boxes[row], mask.box) >= _LEAST_OVERLAP:
                return row
        return None

    def _attach(self, row: int, mask: _Found) -> None:
        values = ("mask", mask.text, mask.width, mask.height)
        for name, value in zip(_ALIKE, values, strict=True):
            self._changed[name][row] = value

    def _append(self, stem: str, name: str, mask: _Found) -> None:
        if stem not in self._images:
            self._images[stem] = self._parsed.images.num_rows + len(self._new.images)
            self._new.images.append(ImageRow(source=name))
        self._new.add_objects(
            [
                ObjectRow(
                    self._images[stem],
                    f"mask {mask.number}",
                    mask.class_name or "",
                    "mask",
                    *mask.box,
                    rle=mask.text,
                    rle_width=mask.width,
                    rle_height=mask.height,
                )
            ]
        )


def _masks_of(masks: _Masks, names: Mapping[int, str]) -> list[_Found]:
    classes = _decoded(masks.classes[1]) if masks.classes else None
    instances = _decoded(masks.instances[1]) if masks.instances else classes
    if instances is None:
        return []
    if classes is not None and classes[0].shape != instances[0].shape:
        raise _BadMaskError("its size is not that of the other mask")
    values = np.unique(instances[0])
    values = values[(values != 0) & (values != _VOID)]
    if len(values) > _MAX_MASKS:
        raise _BadMaskError(f"it has {len(values)} masks")
    return [_found(value, instances[0] == value, classes, names) for value in values.tolist()]


def _found(
    number: int,
    bitmap: npt.NDArray[np.bool_],
    classes: tuple[Codes, Codes] | None,
    names: Mapping[int, str],
) -> _Found:
    height, width = bitmap.shape
    runs = rle.runs_of([rle.from_bitmap(bitmap)])
    x, y, w, h = rle.bounding_boxes(runs, np.array([height]))[0].tolist()
    return _Found(
        number=number,
        class_name=_class_of(bitmap, classes, names),
        width=width,
        height=height,
        text=rle.write_runs(runs)[0].as_py(),
        box=(x, y, w, h),
    )


def _class_of(
    bitmap: npt.NDArray[np.bool_],
    classes: tuple[Codes, Codes] | None,
    names: Mapping[int, str],
) -> str | None:
    """The class that most pixels of the mask have."""
    if classes is None:
        return None
    values, counts = np.unique(classes[0][bitmap], return_counts=True)
    counts[(values == 0) | (values == _VOID)] = 0
    if not counts.sum():
        return None
    value = int(values[np.argmax(counts)])
    if names:
        return names.get(int(classes[1][value])) if value < len(classes[1]) else None
    return VOC_CLASSES[value - 1] if value <= len(VOC_CLASSES) else None


def _decoded(data: bytes) -> tuple[Codes, Codes]:
    """Numbers of pixels, and the colour of each number."""
    from PIL.PngImagePlugin import PngImageFile

    try:
        image = PngImageFile(io.BytesIO(data))
        if image.width * image.height > _MAX_PIXELS:
            raise _BadMaskError("it has too many pixels")
        if image.mode in ("P", "L", "1"):
            palette = image.getpalette("RGB") if image.mode == "P" else None
            values = np.asarray(image, np.int64)
            colours = np.asarray(palette or (), np.int64).reshape(-1, 3)
            return values, _codes(colours) if palette else _colour_map()
        values = _codes(np.asarray(image.convert("RGB"), np.int64))
    except _BadMaskError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything on hostile bytes
        raise _BadMaskError(str(error)) from None
    return _numbered(values)


def _numbered(colours: Codes) -> tuple[Codes, Codes]:
    """Colours as the numbers that VOC's palette gives them; colours of others come behind."""
    known = {int(colour): number for number, colour in enumerate(_colour_map().tolist())}
    distinct, places = np.unique(colours, return_inverse=True)
    table = _colour_map().tolist()
    numbers = np.zeros(len(distinct), np.int64)
    for row, colour in enumerate(distinct.tolist()):
        if colour not in known:
            known[colour] = len(table)
            table.append(colour)
        numbers[row] = known[colour]
    return numbers[places].reshape(colours.shape), np.asarray(table, np.int64)


def _codes(colours: Codes) -> Codes:
    return (colours[..., 0] << 16) | (colours[..., 1] << 8) | colours[..., 2]


def _colour_map() -> Codes:
    """VOC's 256 colours: the bits of the number, spread over red, green and blue."""
    number = np.arange(256)
    channels = [np.zeros(256, np.int64) for _ in range(3)]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= ((number >> channel) & 1) << (7 - bit)
        number = number >> 3
    return _codes(np.stack(channels, axis=-1))


def _label_map(data: bytes) -> dict[int, str]:
    """`name:r,g,b:parts:actions` in each line, as CVAT writes it."""
    names: dict[int, str] = {}
    for line in data[: 2**22].decode("utf-8", "replace").splitlines():
        name, _, rest = line.partition(":")
        colour = rest.partition(":")[0].split(",")
        if name and not name.startswith("#") and len(colour) == 3:
            try:
                red, green, blue = (int(part) for part in colour)
            except ValueError:
                continue
            names[(red << 16) | (green << 8) | blue] = name.strip()
    return names


def _overlap(box: tuple[float | None, ...], other: Box) -> float:
    """The share of the intersection in the union; 0 where the box is none."""
    if None in box:
        return 0.0
    x, y, w, h = (float(side or 0) for side in box)
    across = min(x + w, other[0] + other[2]) - max(x, other[0])
    down = min(y + h, other[1] + other[3]) - max(y, other[1])
    if not (across > 0 and down > 0):
        return 0.0
    return across * down / (w * h + other[2] * other[3] - across * down)
