"""Where to cut: precision and recall at each confidence, and the thresholds that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import numpy as np

from mir_ops.evaluation.columns import Flags, Floats
from mir_ops.evaluation.matching import Matches

CONFIDENCES: Final = np.linspace(0.0, 1.0, 101)
_FIRST = np.uint64(1)


class Point(TypedDict):
    """What keeping the predictions of this confidence and above gives."""

    confidence: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingCurve:
    """One point for each confidence that occurs, from high to low."""

    confidence: Floats
    precision: Floats
    recall: Floats

    @property
    def f1(self) -> Floats:
        whole = self.precision + self.recall
        shared = 2 * self.precision * self.recall
        f1: Floats = np.divide(shared, whole, out=np.zeros(len(whole)), where=whole > 0)
        return f1

    def best_f1(self) -> Point | None:
        """The point of highest F1, of equals the most confident; None without predictions."""
        return self._point(int(np.argmax(self.f1))) if len(self.confidence) else None

    def precision_at(self, recall: float) -> Point | None:
        """The most precise point that finds at least this share; None where none does."""
        return self._best(self.precision, self.recall >= recall)

    def recall_at(self, precision: float) -> Point | None:
        """The point that finds most at this precision or better; None where none has it."""
        return self._best(self.recall, self.precision >= precision)

    def _best(self, values: Floats, allowed: Flags) -> Point | None:
        if not allowed.any():
            return None
        return self._point(int(np.argmax(np.where(allowed, values, -1.0))))

    def _point(self, at: int) -> Point:
        return Point(
            confidence=float(self.confidence[at]),
            precision=float(self.precision[at]),
            recall=float(self.recall[at]),
            f1=float(self.f1[at]),
        )


def operating_curve(matches: Matches, label: int | None = None) -> OperatingCurve:
    """Of one class, or of all together, at the first threshold and area range of the matches.

    Predictions of one confidence are kept or dropped together. Without ground truth, or without
    predictions, there are no points.
    """
    found, truth = matches.found, matches.truth
    mine = matches.aside & _FIRST == 0
    there = matches.ignored & _FIRST == 0
    if label is not None:
        mine &= found.label == label
        there &= truth.label == label
    positives = int(there.sum())
    score, right = found.score[mine], (matches.hit[mine] & _FIRST).astype(np.int64)
    if not positives or not len(score):
        return OperatingCurve(confidence=np.zeros(0), precision=np.zeros(0), recall=np.zeros(0))
    place = np.argsort(-score, kind="stable")
    hits, last = np.cumsum(right[place]), np.flatnonzero(np.diff(score[place], append=-np.inf))
    return OperatingCurve(
        confidence=score[place][last],
        precision=hits[last] / (last + 1),
        recall=hits[last] / positives,
    )


def counts_at(matches: Matches, names: Sequence[str]) -> dict[str, Any]:
    """For JSON: hits and wrong predictions of at least each of `CONFIDENCES`, of each class.

    At the first threshold and area range; `boxes` are those that could be found.
    """
    found, labels, steps = matches.found, len(names), len(CONFIDENCES)
    counted = matches.aside & _FIRST == 0
    right = (matches.hit & _FIRST != 0)[counted]
    step = np.searchsorted(CONFIDENCES, found.score[counted].clip(0.0), side="right") - 1
    cell = found.label[counted].astype(np.int64) * steps + step
    tp, fp = (
        np.bincount(cell[rows], minlength=labels * steps).reshape(labels, steps)
        for rows in (right, ~right)
    )
    tp, fp = (each[:, ::-1].cumsum(axis=1)[:, ::-1] for each in (tp, fp))
    there = matches.ignored & _FIRST == 0
    boxes = np.bincount(matches.truth.label[there], minlength=labels)
    return {
        "confidence": [round(float(each), 2) for each in CONFIDENCES],
        "per_class": {
            name: {
                "boxes": int(boxes[label]),
                "tp": tp[label].tolist(),
                "fp": fp[label].tolist(),
            }
            for label, name in enumerate(names)
        },
    }
