"""What kind of mistake each wrong prediction is, and what mending each kind would gain.

The kinds and their order are TIDE's (Bolya et al., "TIDE: A General Toolbox for Identifying Object
Detection Errors", ECCV 2020). The gain of a kind is by how much mAP at the first threshold would
rise if its mistakes alone were mended: those of place and class become hits, one for each box
that nobody found, and the rest of the kind disappears.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mir_ops.evaluation.columns import Boxes, Flags, Floats, Ints
from mir_ops.evaluation.curves import average_precisions
from mir_ops.evaluation.matching import Matches
from mir_ops.evaluation.overlaps import Pairs, pairs_of

RIGHT: Final = ""
KINDS: Final = ("classification", "localisation", "both", "duplicate", "background")
MISSED: Final = "missed"
BACKGROUND: Final = 0.1
_CLASS, _PLACE, _BOTH, _DUPLICATE, _BACKGROUND, _NONE = range(6)
_ONE = np.uint64(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistakes:
    """`kind` has for each prediction of the matches one of `KINDS`, or nothing.

    `missed` says for each box that nobody found it and no mistake is about it.
    """

    kind: npt.NDArray[np.str_]
    missed: Flags
    counts: Mapping[str, int]
    gains: Mapping[str, float]  # also of all false positives, and of all false negatives
    map: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without what is told of each box."""
        return {"map": self.map, "counts": dict(self.counts), "gains": dict(self.gains)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Points:
    """Predictions that count, by falling score, and how many boxes each class has."""

    label: Ints
    score: Floats
    right: Flags
    positives: Ints

    @classmethod
    def of(cls, found: Boxes, right: Flags, truth: Boxes) -> _Points:
        positives = np.bincount(truth.label, minlength=truth.labels)
        return cls(
            label=found.label.astype(np.int64), score=found.score, right=right, positives=positives
        )

    def map(self, measured: Flags) -> float:
        """Over the measured classes that have predictions or boxes left."""
        some = np.bincount(self.label, minlength=len(measured)) > 0
        values = np.nan_to_num(
            average_precisions(self.label, self.score, self.right, self.positives)
        )
        kept = measured & (some | (self.positives > 0))
        return float(values[kept].mean()) if kept.any() else 0.0


def mistakes_of(matches: Matches, *, background: float = BACKGROUND) -> Mistakes:
    """The mistakes at the first threshold and area range; IoU below `background` is none.

    Predictions that do not count, such as those on crowds, are no mistakes. An mAP without any
    class to measure is 0.
    """
    found, truth, bound = matches.found, matches.truth, matches.thresholds[0]
    counting = matches.ignored & _ONE == 0
    counted = matches.aside & _ONE == 0
    right = (matches.hit & _ONE != 0) & counted
    used = np.zeros(len(truth), np.bool_)
    used[matches.partner[right]] = True
    near = _Nearest.of(found, truth, counting, used, min(background, bound))
    kind = near.kinds(bound, background)
    kind[right | ~counted] = _NONE
    target = np.where(kind == _PLACE, near.same, np.where(kind == _CLASS, near.other, -1))
    best = _best_of_each_box(target, found.score, used)
    about = np.zeros(len(truth), np.bool_)
    about[target[target >= 0]] = True
    missed = counting & ~used & ~about
    points = _Points.of(found.only(counted), right[counted], truth.only(counting))
    measured = points.positives > 0
    base = points.map(measured)
    mended = {
        **_gains(points, kind[counted], best[counted], target[counted], truth),
        MISSED: _without(points, truth.label[missed]).map(measured),
        "false_positives": _kept(points, points.right).map(measured),
        "false_negatives": _without(points, truth.label[counting & ~used]).map(measured),
    }
    return Mistakes(
        kind=np.asarray([*KINDS, RIGHT])[kind],
        missed=missed,
        counts={
            **{name: int((kind == number).sum()) for number, name in enumerate(KINDS)},
            MISSED: int(missed.sum()),
        },
        gains={name: max(0.0, value - base) for name, value in mended.items()},
        map=base,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nearest:
    """For each prediction the box that it overlaps most, of its class and of another; and IoUs."""

    same: Ints
    same_iou: Floats
    other: Ints
    other_iou: Floats
    used_iou: Floats  # of its class, and found by another prediction

    @classmethod
    def of(cls, found: Boxes, truth: Boxes, counting: Flags, used: Flags, least: float) -> _Nearest:
        pairs = pairs_of(found, truth, least=least, any_class=True)
        pairs = pairs.only(counting[pairs.truth])
        alike = found.label[pairs.found] == truth.label[pairs.truth]
        same, same_iou = _largest(pairs.only(alike), len(found))
        other, other_iou = _largest(pairs.only(~alike), len(found))
        _, used_iou = _largest(pairs.only(alike & used[pairs.truth]), len(found))
        return cls(
            same=same, same_iou=same_iou, other=other, other_iou=other_iou, used_iou=used_iou
        )

    def kinds(self, bound: float, background: float) -> npt.NDArray[np.int64]:
        """The first kind that fits, in TIDE's order."""
        largest = np.maximum(self.same_iou, self.other_iou)
        return np.select(
            [
                (self.same_iou >= background) & (self.same_iou <= bound) & (self.same >= 0),
                (self.other_iou >= bound) & (self.other >= 0),
                (self.used_iou >= bound),
                largest <= background,
            ],
            [_PLACE, _CLASS, _DUPLICATE, _BACKGROUND],
            default=_BOTH,
        )


def _largest(pairs: Pairs, count: int) -> tuple[Ints, Floats]:
    """The first box of the largest IoU for each prediction; -1 and 0 where there is none."""
    box, iou = np.full(count, -1, np.int64), np.zeros(count)
    place = np.lexsort((pairs.truth, -pairs.iou, pairs.found))
    some, first = np.unique(pairs.found[place], return_index=True)
    box[some], iou[some] = pairs.truth[place[first]], pairs.iou[place[first]]
    return box, iou


def _best_of_each_box(target: Ints, score: Floats, used: Flags) -> Flags:
    """Which mistakes would become hits: of those about a box that is free, the most confident."""
    best = np.zeros(len(target), np.bool_)
    about = np.flatnonzero(target >= 0)
    about = about[~used[target[about]]]
    about = about[np.argsort(-score[about], kind="stable")]
    _, first = np.unique(target[about], return_index=True)
    best[about[first]] = True
    return best


def _gains(
    points: _Points, kind: Ints, best: Flags, target: Ints, truth: Boxes
) -> dict[str, float]:
    """mAP with the mistakes of each kind mended."""
    measured = points.positives > 0
    mended = {}
    for number, name in enumerate(KINDS):
        mine = kind == number
        becomes = mine & best
        label = points.label.copy()
        label[becomes] = truth.label[target[becomes]]
        changed = replace(points, label=label, right=points.right | becomes)
        mended[name] = _kept(changed, ~mine | becomes).map(measured)
    return mended


def _without(points: _Points, labels: npt.NDArray[np.int32]) -> _Points:
    """As if boxes of these classes were not there to find."""
    fewer = np.bincount(labels, minlength=len(points.positives))
    return replace(points, positives=points.positives - fewer)


def _kept(points: _Points, kept: Flags) -> _Points:
    return replace(
        points, label=points.label[kept], score=points.score[kept], right=points.right[kept]
    )
