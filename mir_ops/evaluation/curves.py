"""Precision and recall from matches, as COCO defines them: 101 steps of recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mir_ops.evaluation.columns import Flags, Floats, Ints, rank_in
from mir_ops.evaluation.matching import MOST, Matches

STEPS: Final = np.linspace(0.0, 1.0, 101)
_CELLS: Final = 1 << 22  # predictions times combinations worked on together
_EPSILON: Final = float(np.spacing(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Means are over what is there: NaN where a class has no ground truth in the area range.

    T thresholds, 101 steps of recall, K classes, A area ranges, M bounds on predictions an image.
    """

    precision: Floats  # T x 101 x K x A, with the most predictions
    scores: Floats  # T x 101 x K x A: the score at which a step is reached; 0 where it never is
    recall: Floats  # T x K x A x M
    positives: Ints  # K x A: ground truth that counts


def curves_of(
    matches: Matches, *, images: Flags | None = None, most: Sequence[int] = MOST
) -> Curves:
    """The curves of all images, or of those that `images` chooses."""
    found, labels = matches.found, matches.found.labels
    thresholds, areas = len(matches.thresholds), len(matches.areas)
    positives = _positives(matches, images)
    shape = (areas, thresholds, labels)
    precision = np.full((*shape, len(STEPS)), np.nan)
    scores = np.full((*shape, len(STEPS)), np.nan)
    recall = np.full((*shape, len(most)), np.nan)
    rank = rank_in(found.group)
    place = np.lexsort((-found.score, found.label))
    if images is not None:
        place = place[images[found.image[place]]]
    bounds = np.searchsorted(found.label[place], np.arange(labels + 1))
    for label in np.flatnonzero(positives.any(axis=1)).tolist():
        mine = place[bounds[label] : bounds[label + 1]]
        wide = max(1, _CELLS // max(1, len(mine) * thresholds))
        for low in range(0, areas, wide):
            part = slice(low, min(areas, low + wide))
            rows = _Rows(matches, mine, part.start * thresholds, part.stop * thresholds)
            count = np.repeat(positives[label, part], thresholds)
            steps = rows.steps(count)
            size = (part.stop - part.start, thresholds, -1)
            precision[part, :, label] = steps[0].reshape(size)
            scores[part, :, label] = steps[1].reshape(size)
            recall[part, :, label] = rows.recall(count, rank[mine], most).reshape(size)
    return Curves(
        precision=precision.transpose(1, 3, 2, 0),
        scores=scores.transpose(1, 3, 2, 0),
        recall=recall.transpose(1, 2, 0, 3),
        positives=positives,
    )


class _Rows:
    """The predictions of one class by falling score; a row for each combination."""

    def __init__(self, matches: Matches, mine: Ints, first: int, end: int) -> None:
        hit = unpacked(matches.hit[mine], first, end)
        counted = ~unpacked(matches.aside[mine], first, end)
        self.right: Flags = hit & counted
        self.score = matches.found.score[mine]
        self.found = np.cumsum(self.right, axis=1, dtype=np.int32)
        self.all = np.cumsum(counted, axis=1, dtype=np.int32)

    def steps(self, positives: Ints) -> tuple[Floats, Floats]:
        """Precision and score at each step of recall, for each row; NaN without positives."""
        rows = len(positives)
        precision, score = np.zeros((rows, len(STEPS))), np.zeros((rows, len(STEPS)))
        height = self.found / (self.all + _EPSILON)
        height = np.maximum.accumulate(height[:, ::-1], axis=1)[:, ::-1]
        for row in range(rows):
            if not positives[row]:
                precision[row] = score[row] = np.nan
                continue
            at = np.searchsorted(self.found[row] / positives[row], STEPS, side="left")
            reached = int(np.searchsorted(at, len(self.score)))
            precision[row, :reached] = height[row, at[:reached]]
            score[row, :reached] = self.score[at[:reached]]
        return precision, score

    def recall(self, positives: Ints, rank: Ints, most: Sequence[int]) -> Floats:
        with np.errstate(invalid="ignore"):
            return np.stack(
                [self.right[:, rank < bound].sum(axis=1) / positives for bound in most], axis=1
            )


def unpacked(bits: npt.NDArray[np.uint64], first: int, end: int) -> Flags:
    """Bits `first` to `end` of each number: a row for each bit."""
    single = np.unpackbits(bits.astype("<u8").view(np.uint8).reshape(-1, 8), 1, bitorder="little")
    return np.ascontiguousarray(single[:, first:end].T).view(np.bool_)


def _positives(matches: Matches, images: Flags | None) -> Ints:
    truth, count = matches.truth, len(matches.thresholds)
    chosen: Any = slice(None) if images is None else images[truth.image]
    counted = np.zeros((truth.labels, len(matches.areas)), np.int64)
    for area in range(len(matches.areas)):
        real = (matches.ignored[chosen] >> np.uint64(area * count)) & np.uint64(1) == 0
        counted[:, area] = np.bincount(truth.label[chosen][real], minlength=truth.labels)
    return counted


def average_precisions(label: Ints, score: Floats, right: Flags, positives: Ints) -> Floats:
    """AP of each class by 101 steps, from predictions that all count; NaN without positives.

    Predictions of one score stay in their order.
    """
    ap = np.full(len(positives), np.nan)
    place = np.lexsort((-score, label))
    bounds = np.searchsorted(label[place], np.arange(len(positives) + 1))
    for each in np.flatnonzero(positives > 0).tolist():
        hits = right[place[bounds[each] : bounds[each + 1]]]
        found = np.cumsum(hits)
        height = found / (np.arange(1, len(hits) + 1) + _EPSILON)
        height = np.maximum.accumulate(height[::-1])[::-1]
        at = np.searchsorted(found / positives[each], STEPS, side="left")
        ap[each] = height[at[at < len(hits)]].sum() / len(STEPS)
    return ap
