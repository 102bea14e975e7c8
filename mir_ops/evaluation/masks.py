"""Masks instead of boxes: COCO's metrics of instances, and pixels of classes.

Polygons become run lengths, and run lengths are compared, by COCO's own code in faster-coco-eval.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.evaluation.columns import Boxes, Floats, Ints
from mir_ops.evaluation.overlaps import Measure, box_iou
from mir_ops.evaluation.sides import BOX, Sides
from mir_ops.formats.rle import read_runs, to_bitmap
from mir_ops.store import rows

_FARTHEST: Final = 1e6  # pixels; a polygon's point beyond is none
_FEWEST: Final = 6  # numbers in a ring: three points

Rle = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Semantic:
    """Pixels of each class over all images; pixels that nobody labelled are not measured.

    None is where there are no pixels to measure.
    """

    aacc: float | None  # share of labelled pixels that are right
    macc: float | None  # mean over classes of the share of their pixels that are right
    miou: float | None
    iou: dict[str, float | None]
    accuracy: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def rles_of(table: pa.Table, assets: pa.Table) -> list[Rle]:
    """The mask of each row as run lengths of its image's size; a box is its rectangle.

    Run lengths that do not cover their image, or points that are no numbers, are refused.
    """
    place = np.asarray(pc.index_in(table["asset_id"], value_set=rows.one_array(assets["asset_id"])))
    height, width = (assets[name].to_numpy()[place] for name in ("height", "width"))
    texts = rows.one_array(table["rle"])
    _check_runs(texts, table, height.astype(np.int64) * width)
    boxes = np.column_stack([table[name].to_numpy() for name in BOX]).astype(np.float64)
    polygons = table["polygon"].to_pylist()
    return [
        {"size": [h, w], "counts": text}
        if text is not None
        else _polygon(rings or [_rectangle(box)], h, w, number)
        for number, (text, rings, box, h, w) in enumerate(
            zip(texts.to_pylist(), polygons, boxes, height.tolist(), width.tolist(), strict=True)
        )
    ]


def with_masks(sides: Sides, truth: list[Rle], found: list[Rle]) -> tuple[Sides, Measure]:
    """Sides to match by their masks, and the measure to match them with.

    A prediction's area is its mask's, as in COCO's tools; ground truth keeps the recorded one.
    """
    masks = (
        [truth[row] for row in sides.truth.row.tolist()],
        [found[row] for row in sides.found.row.tolist()],
    )
    around = [_bounds(side) for side in masks]
    areas = np.asarray(_tools().area(masks[1]) if masks[1] else [], np.float64)
    changed = replace(
        sides,
        truth=replace(sides.truth, box=around[0]),
        found=replace(sides.found, box=around[1], area=areas),
    )

    def measure(guesses: Boxes, f: Ints, boxes: Boxes, t: Ints) -> Floats:
        iou = np.zeros(len(f))
        near = np.flatnonzero(box_iou(guesses, f, boxes, t) > 0)
        group = boxes.group[t[near]]
        bounds = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1], [True]]))
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            part = near[start:end]
            some, at = np.unique(f[part], return_inverse=True)
            others, other_at = np.unique(t[part], return_inverse=True)
            table = _tools().iou(
                [found[row] for row in guesses.row[some].tolist()],
                [truth[row] for row in boxes.row[others].tolist()],
                boxes.crowd[others].astype(int).tolist(),
            )
            iou[part] = np.asarray(table, np.float64).reshape(len(some), -1)[at, other_at]
        return iou

    return changed, measure


def semantic_of(sides: Sides, truth: list[Rle], found: list[Rle]) -> Semantic:
    """Every pixel by the class that is painted over it last, in the order of the rows."""
    count = len(sides.names)
    pixels = np.zeros((count, count + 1), np.int64)  # truth by prediction; the last is none
    starts = [
        np.searchsorted(side.image, np.arange(len(sides.asset_ids) + 1))
        for side in (sides.truth, sides.found)
    ]
    for image in range(len(sides.asset_ids)):
        here = [slice(at[image], at[image + 1]) for at in starts]
        if here[0].start == here[0].stop:
            continue
        real = _painted(sides.truth, here[0], truth, count)
        guessed = _painted(sides.found, here[1], found, count, like=real)
        labelled = real < count
        cells = real[labelled].astype(np.int64) * (count + 1) + guessed[labelled]
        pixels += np.bincount(cells, minlength=pixels.size).reshape(pixels.shape)
    right = np.diagonal(pixels).astype(np.float64)
    there, claimed = pixels.sum(axis=1), pixels[:, :count].sum(axis=0)
    with np.errstate(invalid="ignore"):
        accuracy, iou = right / there, right / (there + claimed - right)
    total = there.sum()
    return Semantic(
        aacc=float(right.sum() / total) if total else None,
        macc=_mean(accuracy),
        miou=_mean(iou),
        iou=dict(zip(sides.names, map(_known, iou.tolist()), strict=True)),
        accuracy=dict(zip(sides.names, map(_known, accuracy.tolist()), strict=True)),
    )


def _painted(
    side: Boxes,
    here: slice,
    masks: list[Rle],
    nobody: int,
    like: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """The class of each pixel of an image, `nobody` where there is none."""
    order = np.argsort(side.row[here])  # in the order in which they came
    mine = side.row[here][order].tolist()
    size = masks[mine[0]]["size"] if like is None else like.shape
    painted: npt.NDArray[np.int64] = np.full(size, nobody, np.int64)
    runs, _ = read_runs(pa.array([masks[row]["counts"] for row in mine], pa.binary()))
    high, wide = size
    for number, label in enumerate(side.label[here][order].tolist()):
        painted[to_bitmap(runs.of(number), wide, high)] = label
    return painted


def _check_runs(texts: pa.Array, table: pa.Table, pixels: npt.NDArray[np.int64]) -> None:
    given = np.asarray(pc.is_valid(texts), np.bool_)
    runs, good = read_runs(texts)
    bad = given & (~good | (runs.totals != pixels))
    if bad.any():
        first = table["asset_id"][int(np.argmax(bad))].as_py().hex()
        raise _bad_mask(f"{bad.sum()} masks do not fit their image, the first on {first[:12]}")


def _polygon(rings: list[list[float]], height: int, width: int, number: int) -> Rle:
    if any(
        len(ring) < _FEWEST or len(ring) % 2 or not all(abs(v) < _FARTHEST for v in ring)
        for ring in rings
    ):
        raise _bad_mask(f"The polygon of row {number} has a ring that is none")
    parts = _tools().frPyObjects(rings, height, width)
    merged: Rle = parts[0] if len(parts) == 1 else _tools().merge(parts)
    return merged


def _rectangle(box: Floats) -> list[float]:
    x, y, w, h = box.tolist()
    return [x, y, x, y + h, x + w, y + h, x + w, y]


def _bounds(masks: list[Rle]) -> Floats:
    return np.asarray(_tools().toBbox(masks) if masks else [], np.float64).reshape(-1, 4)


def _bad_mask(text: str) -> InvalidInputError:
    return InvalidInputError(
        text, code="bad-mask", hint="Look for it with the gate's rules, and correct or remove it"
    )


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _tools() -> Any:
    from faster_coco_eval.core import mask

    return mask
