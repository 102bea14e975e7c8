"""Pascal VOC's masks: `SegmentationObject` numbers the objects of an image, `SegmentationClass`
says what each pixel is.

The mask with number n belongs to the object that says so (`<mask>n</mask>`, as our exports do), to
the n-th object of the image's XML file, or to the one whose box it fills. A mask without an object
gets its class from `SegmentationClass`, whose colours `labelmap.txt` explains, or else the order of
VOC's own twenty classes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.formats import rle
from mir_ops.formats.mask_images import MAX_PIXELS
from mir_ops.formats.parsed import OBJECTS, Collected, Finding, ImageRow, ObjectRow, Parsed
from mir_ops.formats.voc import MASK_PLACE
from mir_ops.formats.voc_palette import PALETTE, VOID, Codes, codes, colours

OBJECT_FOLDER: Final = "segmentationobject"
LABEL_MAP: Final = "labelmap.txt"
VOC_CLASSES: Final = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
_MAX_MASKS: Final = 10_000  # in one image
_MAX_RUNS: Final = 2**22
_LEAST_OVERLAP: Final = 0.5
_ALIKE: Final = ("kind", "rle", "rle_width", "rle_height")

Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[Any]
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
    if not masks and not _names_masks(parsed):
        return parsed
    merging = _Merging(parsed, names)
    for stem, entry in sorted(masks.items()):
        merging.add(stem, entry)
    return merging.result()


def without_masks(parsed: Parsed) -> Parsed:
    """The objects as they are; masks that they name and do not hold are counted as left out."""
    rles = parsed.objects["rle"].to_pylist() if _names_masks(parsed) else []
    left = sum(rles[row] is None for row in stated_masks(parsed).values()) if rles else 0
    if not left:
        return parsed
    source = parsed.images["source"][0].as_py()
    finding = Finding(code="shape-left-out", example=source, count=left)
    return replace(parsed, findings=(*parsed.findings, finding))


def _names_masks(parsed: Parsed) -> bool:
    return bool(parsed.objects["place"].null_count < parsed.objects.num_rows)


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
        self._stated = stated_masks(parsed)

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
            stated = self._stated.pop((image, mask.number), None) if masks.instances else None
            if stated is not None:
                free.remove(stated)
                self._attach(stated, mask)
                continue
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
        sources = self._parsed.images["source"]
        for (image, number), row in self._stated.items():
            if self._changed["rle"][row] is None:
                self._new.find("mask-missing", f"{sources[image]}: mask {number}")
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
        if self._changed["rle"][row] is not None:
            return  # the file's own run lengths: other masks may hide a part of this one
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
                    f"{MASK_PLACE}{mask.number}",
                    mask.class_name or "",
                    "mask",
                    *mask.box,
                    rle=mask.text,
                    rle_width=mask.width,
                    rle_height=mask.height,
                )
            ]
        )


def stated_masks(parsed: Parsed) -> dict[tuple[int | None, int], int]:
    """The rows of the objects that say which mask is theirs, by image and number."""
    places = parsed.objects["place"].to_pylist()
    images = parsed.objects["image"].to_pylist()
    return {
        (images[row], int(place.removeprefix(MASK_PLACE))): row
        for row, place in enumerate(places)
        if place and place.startswith(MASK_PLACE)
    }


def _masks_of(masks: _Masks, names: Mapping[int, str]) -> list[_Found]:
    classes = _decoded(masks.classes[1]) if masks.classes else None
    instances = _decoded(masks.instances[1]) if masks.instances else classes
    if instances is None:
        return []
    pixels = instances[0]
    if classes is not None and classes[0].shape != pixels.shape:
        raise _BadMaskError("its size is not that of the other mask")
    height, width = pixels.shape
    values, runs = _runs_of(pixels)
    boxes = rle.bounding_boxes(runs, np.full(len(runs), height)).tolist()
    texts = rle.write_runs(runs).to_pylist()
    kinds = _most_frequent(pixels, values, classes[0]) if classes else [0] * len(values)
    return [
        _Found(
            number=number,
            class_name=_name_of(kind, classes[1], names) if classes else None,
            width=width,
            height=height,
            text=text,
            box=(box[0], box[1], box[2], box[3]),
        )
        for number, kind, text, box in zip(values.tolist(), kinds, texts, boxes, strict=True)
    ]


def _runs_of(pixels: Pixels) -> tuple[Ints, rle.Runs]:
    """The numbers in a picture, and the runs of each."""
    flat = pixels.T.ravel()  # runs go down the columns
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if len(changes) > _MAX_RUNS:
        raise _BadMaskError(f"its masks are in {len(changes)} pieces")
    edges = np.concatenate([[0], changes, [len(flat)]]).astype(np.int64)
    numbers = flat[edges[:-1]].astype(np.int64)
    kept = np.flatnonzero((numbers != 0) & (numbers != VOID))
    order = kept[np.argsort(numbers[kept], kind="stable")]
    values, first = np.unique(numbers[order], return_index=True)
    if len(values) > _MAX_MASKS:
        raise _BadMaskError(f"it has {len(values)} masks")
    bounds = np.stack([edges[:-1][order], edges[1:][order]], axis=1)
    counts = []
    for group in np.split(bounds, first[1:]) if len(values) else []:
        run = np.diff(np.concatenate([[0], group.ravel(), [len(flat)]]))
        counts.append(run if run[-1] else run[:-1])
    return values, rle.runs_of(counts)


def _most_frequent(pixels: Pixels, values: Ints, classes: Pixels) -> list[int]:
    """For each number the class that most of its pixels have; 0 where none has one."""
    inside = (pixels != 0) & (pixels != VOID) & (classes != 0) & (classes != VOID)
    number = np.searchsorted(values, pixels[inside])
    kind = classes[inside].astype(np.int64)
    most = int(kind.max(initial=0)) + 1
    pairs, counts = np.unique(number * most + kind, return_counts=True)
    found = np.zeros(len(values), np.int64)
    last = np.argsort(counts, kind="stable")  # the most frequent is written last
    found[pairs[last] // most] = pairs[last] % most
    return [int(each) for each in found]


def _name_of(number: int, table: Codes, names: Mapping[int, str]) -> str | None:
    if number == 0:
        return None
    if names:
        return names.get(int(table[number])) if number < len(table) else None
    return VOC_CLASSES[number - 1] if number <= len(VOC_CLASSES) else None


def _decoded(data: bytes) -> tuple[Pixels, Codes]:
    """Numbers of pixels, and the colour of each number."""
    from PIL.PngImagePlugin import PngImageFile

    try:
        image = PngImageFile(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise _BadMaskError("it has too many pixels")
        if image.mode in ("P", "L", "1"):
            palette = image.getpalette("RGB") if image.mode == "P" else None
            values = np.asarray(image).astype(np.uint8)
            shades = np.asarray(palette or (), np.int32).reshape(-1, 3)
            return values, codes(shades) if palette else _colour_map()
        return _numbered(codes(np.asarray(image.convert("RGB"))))
    except _BadMaskError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything on hostile bytes
        raise _BadMaskError(str(error)) from None


def _numbered(found: Codes) -> tuple[Pixels, Codes]:
    """Colours as the numbers that VOC's palette gives them; colours of others come behind."""
    table = _colour_map().tolist()
    known = {colour: number for number, colour in enumerate(table)}
    distinct, places = np.unique(found, return_inverse=True)
    numbers = np.zeros(len(distinct), np.int32)
    for row, colour in enumerate(distinct.tolist()):
        if colour not in known:
            known[colour] = len(table)
            table.append(colour)
        numbers[row] = known[colour]
    return numbers[places].reshape(found.shape), np.asarray(table, np.int32)


def _colour_map() -> Codes:
    return codes(colours(np.arange(PALETTE)))


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
