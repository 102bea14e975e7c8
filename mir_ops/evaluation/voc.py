"""Average precision as YMIR computes it, so that its numbers can be had again.

It differs from COCO's: boxes are whole pixels and one pixel larger, IoU and confidence must be
above their bounds and not at them, each prediction claims the box that it overlaps most even
where that is taken, AP is the area under the curve, and a class without ground truth counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import numpy as np

from mir_ops.evaluation.columns import Boxes, Flags, Floats, Ints
from mir_ops.evaluation.overlaps import pairs_of
from mir_ops.evaluation.sides import Sides


class VocNumbers(TypedDict):
    ap: float
    ar: float  # mean of the recall after each prediction: YMIR's, not COCO's
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VocMetrics:
    """By IoU (`"0.50"`), and over all; counts add up over classes and over IoUs."""

    confidence: float
    per_iou: dict[str, dict[str, VocNumbers]]  # IoU to class
    mean_by_iou: dict[str, VocNumbers]
    mean_by_class: dict[str, VocNumbers]
    mean: VocNumbers

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def evaluate_voc(
    sides: Sides, *, ious: Sequence[float] = (0.5,), confidence: float = 0.005
) -> VocMetrics:
    """YMIR's numbers of all classes. Ties of confidence stay in the order of the rows.

    YMIR knows no crowds and no bound on predictions: every box is ground truth.
    """
    # YMIR keeps both numbers as 32-bit floats: 0.3 is not above 0.3.
    confident = sides.found.score.astype(np.float32) > np.float32(confidence)
    found = sides.found.only(confident)
    best, overlap = _claims(found, sides.truth)
    place = np.lexsort((-found.score, found.label))
    positives = np.bincount(sides.truth.label, minlength=len(sides.names))
    per_iou = {}
    for iou in ious:
        right = np.zeros(len(found), np.bool_)
        claimed = place[overlap[place] > iou]
        _, first = np.unique(best[claimed], return_index=True)
        right[claimed[first]] = True
        per_iou[f"{iou:.2f}"] = {
            name: _numbers(right[place[found.label[place] == label]], int(positives[label]))
            for label, name in enumerate(sides.names)
        }
    by_iou = {iou: _averaged(list(of_class.values())) for iou, of_class in per_iou.items()}
    return VocMetrics(
        confidence=confidence,
        per_iou=per_iou,
        mean_by_iou=by_iou,
        mean_by_class={
            name: _averaged([of_class[name] for of_class in per_iou.values()])
            for name in sides.names
        },
        mean=_averaged(list(by_iou.values())),
    )


def _claims(found: Boxes, truth: Boxes) -> tuple[Ints, Floats]:
    """For each prediction the box that it overlaps most, the first of equals, and the IoU."""
    best = np.full(len(found), -1, np.int64)
    overlap = np.full(len(found), -np.inf)
    pairs = pairs_of(found, truth, least=-np.inf, measure=_inclusive_iou)
    place = np.lexsort((pairs.truth, -pairs.iou, pairs.found))
    some, first = np.unique(pairs.found[place], return_index=True)
    best[some] = pairs.truth[place[first]]
    overlap[some] = pairs.iou[place[first]]
    return best, overlap


def _inclusive_iou(found: Boxes, f: Ints, truth: Boxes, t: Ints) -> Floats:
    """IoU of boxes whose far edges belong to them, as if they were a pixel larger."""
    one, other = np.trunc(found.box[f].astype(float)), np.trunc(truth.box[t].astype(float))
    far = np.minimum(one[:, :2] + one[:, 2:], other[:, :2] + other[:, 2:])
    side = np.maximum(far - np.maximum(one[:, :2], other[:, :2]) + 1.0, 0.0)
    shared = side[:, 0] * side[:, 1]
    own = (one[:, 2] + 1.0) * (one[:, 3] + 1.0)
    others = (other[:, 2] + 1.0) * (other[:, 3] + 1.0)
    iou: Floats = shared / (own + others - shared)
    return iou


def _numbers(right: Flags, positives: int) -> VocNumbers:
    count = len(right)
    if not count or not positives:
        return VocNumbers(ap=0.0, ar=0.0, tp=0, fp=count, fn=positives)
    hits = np.cumsum(right).astype(np.float64)
    recall = hits / positives
    precision = hits / np.arange(1, count + 1)
    steps = np.concatenate([[0.0], recall, [1.0]])
    height = np.concatenate([[0.0], precision, [0.0]])
    height = np.maximum.accumulate(height[::-1])[::-1]
    moved = np.flatnonzero(steps[1:] != steps[:-1])
    found = int(hits[-1])
    return VocNumbers(
        ap=float(((steps[moved + 1] - steps[moved]) * height[moved + 1]).sum()),
        ar=float(recall.mean()),
        tp=found,
        fp=count - found,
        fn=positives - found,
    )


def _averaged(several: Sequence[VocNumbers]) -> VocNumbers:
    count = max(1, len(several))
    return VocNumbers(
        ap=sum(each["ap"] for each in several) / count,
        ar=sum(each["ar"] for each in several) / count,
        tp=sum(each["tp"] for each in several),
        fp=sum(each["fp"] for each in several),
        fn=sum(each["fn"] for each in several),
    )
