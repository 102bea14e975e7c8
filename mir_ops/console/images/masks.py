"""Masks of an image as one transparent PNG, each in the colour of its class."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa
from PIL import Image

from mir_ops.console.images.objects import Annotation
from mir_ops.formats import rle

SIDE: Final = 1024  # larger images have masks of this size, which the browser stretches
MOST_MASKS: Final = 200
_ALPHA: Final = 118
_EDGE: Final = 235
_COLOURS: Final = (  # those of `console.css`, k0 to k11
    0x4CC3FF, 0xFFB02E, 0x7DDF64, 0xFF7A85, 0xC9A2FF, 0x2FE0C4,
    0xFF9AD5, 0xF5E663, 0x8FB3FF, 0xFF9466, 0xB6E388, 0xE0C9A6,
)  # fmt: skip


def draw_masks(
    annotations: Iterable[Annotation], width: int, height: int, *, side: int = SIDE
) -> bytes:
    """The masks over one another, the last on top. Run lengths of another size are left out."""
    step = max(1, -(-max(width, height) // side))
    canvas = np.zeros((-(-height // step), -(-width // step), 4), np.uint8)
    drawn = [one for one in annotations if one.rle is not None][:MOST_MASKS]
    runs, good = rle.read_runs(pa.array([one.rle for one in drawn], pa.binary()))
    for number, one in enumerate(drawn):
        if not good[number] or runs.totals[number] != width * height:
            continue
        mask = rle.to_bitmap(runs.of(number), width, height)[::step, ::step]
        colour = _COLOURS[one.shape.class_id % len(_COLOURS)]
        canvas[mask] = (*colour.to_bytes(3, "big"), _ALPHA)
        canvas[mask & _edge(mask), 3] = _EDGE
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "PNG", compress_level=3)
    return file.getvalue()


def _edge(
    mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Pixels with a neighbour outside of the mask."""
    wide = np.pad(mask, 1)
    inside = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return ~inside
