"""Masks of many images as Pascal VOC's two PNGs: what object each pixel is of, and what class.

A pixel has one object: where masks overlap the later one shows. What the pixels do not show
exactly is for the XML file to say.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.formats import rle
from mir_ops.formats.texts import ExportedImages
from mir_ops.formats.voc_palette import PALETTE, VOID, colours

MAX_PIXELS: Final = 2**25  # of an image whose masks are written, or read
_SIDES: Final = ("width", "height")
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Write = Callable[[int, bytes, bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintedMasks:
    """For each object its number in the PNG, or 0, and whether the pixels are exactly its mask."""

    numbers: Ints
    whole: Mask

    @classmethod
    def none(cls, count: int) -> PaintedMasks:
        return cls(numbers=np.zeros(count, np.int64), whole=np.zeros(count, np.bool_))


def paint_masks(
    images: ExportedImages, classes: Ints, write: Write, pool: ThreadPoolExecutor
) -> PaintedMasks:
    """Call `write(image, PNG of objects, PNG of classes)` for each image that has masks.

    An object's number is its place among those of its image, from 1; `classes` are its classes'
    numbers, from 0. Numbers from 255 on, and images of more than `MAX_PIXELS`, are left out.
    """
    texts = images.objects["rle"].combine_chunks()
    if texts.null_count == len(texts):
        return PaintedMasks.none(len(texts))
    runs, good = rle.read_runs(texts)
    owners, starts = images.owners, images.starts
    width, height = (images.assets[name].to_numpy().astype(np.int64) for name in _SIDES)
    pixels = (width * height)[owners]
    place = np.arange(len(owners)) - starts[:-1][owners] + 1
    painted = good & (place < VOID) & (pixels <= MAX_PIXELS) & (runs.totals == pixels)
    rows = np.flatnonzero(painted)
    chosen, first = np.unique(owners[rows], return_index=True)
    groups = np.split(rows, first[1:]) if len(rows) else []
    kinds = class_numbers(classes)

    def paint(image: int, group: Ints) -> Ints:
        size = (int(width[image]), int(height[image]))
        masks = [runs.of(row) for row in group.tolist()]
        objects, shades = _painted(size, masks, place[group], kinds[group])
        write(image, _png(objects.T), _png(shades.T))
        counted: Ints = np.bincount(objects.ravel(), minlength=PALETTE)[place[group]]
        return counted

    shown = np.zeros(len(texts), np.int64)
    for group, counted in zip(groups, pool.map(paint, chosen.tolist(), groups), strict=True):
        shown[group] = counted
    whole = painted & (shown == runs.areas) & _is_plain(texts, runs)
    return PaintedMasks(numbers=np.where(painted, place, 0), whole=whole)


def _painted(
    size: tuple[int, int], masks: list[Ints], numbers: Ints, kinds: Ints
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """The number, and the class, of each pixel of a picture of this size, column by column."""
    objects = np.zeros(size[0] * size[1], np.uint8)
    shades = np.zeros(len(objects), np.int32)
    for counts, number, kind in zip(masks, numbers, kinds, strict=True):
        inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        objects[inside], shades[inside] = number, kind
    return objects.reshape(size), shades.reshape(size)


def class_numbers(classes: npt.NDArray[Any]) -> Ints:
    """The numbers that classes have in the PNG: from 1, without the one that means no object."""
    numbers = np.asarray(classes, np.int64) + 1
    return numbers + (numbers >= VOID)


def label_map(names: tuple[str, ...]) -> str:
    """`labelmap.txt`: which colour a class has, as CVAT writes it."""
    shades = colours(class_numbers(np.arange(len(names)))).tolist()
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    for name, (red, green, blue) in zip(names, shades, strict=True):
        lines.append(f"{name.replace(':', ' ')}:{red},{green},{blue}::")
    return "\n".join([*lines, ""])


def _is_plain(texts: pa.Array, runs: rle.Runs) -> Mask:
    """Whether the text is the one that anybody would write for these pixels."""
    behind = np.ones(len(runs.counts), np.bool_)
    behind[runs.starts[:-1][np.diff(runs.starts) > 0]] = False
    total = np.concatenate([[0], np.cumsum(behind & (runs.counts == 0))])
    empty = total[runs.starts[1:]] - total[runs.starts[:-1]]
    same = pc.fill_null(pc.equal(texts, rle.write_runs(runs)), False)
    plain: Mask = np.asarray(same.to_numpy(zero_copy_only=False), np.bool_) & (empty == 0)
    return plain


def _png(numbers: npt.NDArray[Any]) -> bytes:
    """Numbers as a picture with VOC's palette; those that no palette has, as their colours."""
    from PIL import Image

    if numbers.max() < PALETTE:
        image = Image.fromarray(np.ascontiguousarray(numbers, np.uint8))
        image.putpalette(colours(np.arange(PALETTE)).tobytes())
    else:
        image = Image.fromarray(colours(numbers))
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()
