"""Which predictions overlap which boxes of ground truth, and how much: sparse pairs, in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from mir_ops.evaluation.columns import Boxes, Flags, Floats, Ints

_BLOCK: Final = 1 << 19  # pairs looked at together

Measure = Callable[[Boxes, Ints, Boxes, Ints], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Positions of predictions and of ground truth, and their IoU; ascending by prediction."""

    found: Ints
    truth: Ints
    iou: Floats

    def __len__(self) -> int:
        return len(self.found)

    def only(self, chosen: Flags) -> Pairs:
        return Pairs(found=self.found[chosen], truth=self.truth[chosen], iou=self.iou[chosen])


def pairs_of(
    found: Boxes,
    truth: Boxes,
    *,
    least: float,
    any_class: bool = False,
    measure: Measure | None = None,
) -> Pairs:
    """The pairs in the same image, and of the same class, whose IoU is `least` or more.

    Both must be sorted by image and class. `measure` computes the IoU otherwise than of boxes.
    """
    measured = measure or box_iou
    chosen = [
        Pairs(found=f[kept], truth=t[kept], iou=iou[kept])
        for f, t in _candidates(found, truth, any_class)
        for iou in [measured(found, f, truth, t)]
        for kept in [iou >= least]
    ]
    if not chosen:
        none = np.zeros(0, np.int64)
        return Pairs(found=none, truth=none, iou=np.zeros(0))
    return Pairs(
        found=np.concatenate([each.found for each in chosen]),
        truth=np.concatenate([each.truth for each in chosen]),
        iou=np.concatenate([each.iou for each in chosen]),
    )


def box_iou(found: Boxes, f: Ints, truth: Boxes, t: Ints) -> Floats:
    """Intersection over union; with a crowd, over the prediction alone.

    The order of operations is COCO's, so that the last bit is the same. A box without width or
    height overlaps nothing.
    """
    one = found.box[f].astype(np.float64)
    other = truth.box[t].astype(np.float64)
    far = np.minimum(one[:, :2] + one[:, 2:], other[:, :2] + other[:, 2:])
    side = far - np.maximum(one[:, :2], other[:, :2])
    shared = side[:, 0] * side[:, 1]
    shared[(side <= 0).any(axis=1)] = 0.0
    own = one[:, 2] * one[:, 3]
    whole = np.where(truth.crowd[t], own, own + other[:, 2] * other[:, 3] - shared)
    iou: Floats = np.divide(shared, whole, out=np.zeros(len(f)), where=shared > 0)
    return iou


def _candidates(found: Boxes, truth: Boxes, any_class: bool) -> Iterator[tuple[Ints, Ints]]:
    """All pairs in the same image (and of the same class), some at a time."""
    wanted = found.image if any_class else found.group
    there = truth.image if any_class else truth.group
    start = np.searchsorted(there, wanted, side="left")
    count = np.searchsorted(there, wanted, side="right") - start
    some = np.flatnonzero(count)
    start, count = start[some], count[some]
    ends = np.cumsum(count)
    first = 0
    while first < len(some):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        sizes = count[first:last]
        before = np.repeat(ends[first:last] - sizes - start[first:last], sizes)
        yield (
            np.repeat(some[first:last], sizes),
            np.arange(done, done + sizes.sum()) - before,
        )
        first = last
