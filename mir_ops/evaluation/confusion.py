"""Which class is taken for which: a matrix with background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mir_ops.evaluation.columns import Ints
from mir_ops.evaluation.matching import AREAS, MOST, Matches, match, resolve
from mir_ops.evaluation.overlaps import pairs_of
from mir_ops.evaluation.sides import Sides

_ONE = np.uint64(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """`counts[i, j]`: boxes of class i that were predicted as class j.

    The last row is what was predicted where nothing is, the last column what was not found.
    """

    names: tuple[str, ...]
    counts: Ints
    iou: float
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "classes": [*self.names, "background"],
            "counts": self.counts.tolist(),
            "iou": self.iou,
            "confidence": self.confidence,
        }


def confusion_of(
    sides: Sides, *, iou: float = 0.5, confidence: float = 0.0, most: int = MOST[-1]
) -> Confusion:
    """The matrix of the predictions of at least this confidence.

    First boxes of the same class are matched, as for the metrics, so that the diagonal counts
    their hits. What is left on both sides is then matched across classes, by falling confidence.
    Crowds are in no cell, nor are predictions on them.
    """
    found = sides.found.only(sides.found.score >= confidence)
    matches = match(sides.truth, found, thresholds=[iou], areas=[AREAS["all"]], most=most)
    count = len(sides.names)
    counts = np.zeros((count + 1, count + 1), np.int64)
    hit = (matches.hit & ~matches.aside & _ONE) != 0
    same = matches.found.label[hit]
    np.add.at(counts, (same, same), 1)
    across = Across.of(matches)
    named = np.append(matches.truth.label, count)[across.truth]  # truth -1 is the background
    np.add.at(counts, (named, matches.found.label[across.found]), 1)
    counts[:count, count] = np.bincount(matches.truth.label[across.missed], minlength=count)
    return Confusion(names=sides.names, counts=counts, iou=iou, confidence=confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Across:
    """What is left after matching in each class, matched across classes, as positions.

    `truth` is for each of `found` the box that it was matched with, or -1: nothing is there.
    """

    found: Ints
    truth: Ints
    missed: Ints  # boxes that nothing was matched with

    @classmethod
    def of(cls, matches: Matches) -> Across:
        """At the first threshold and area range."""
        hit = (matches.hit & _ONE) != 0
        free = np.flatnonzero(~hit & (matches.aside & _ONE == 0))
        free = free[np.lexsort((-matches.found.score[free], matches.found.image[free]))]
        counting = matches.ignored & _ONE == 0
        counting[matches.partner[matches.partner >= 0]] = False
        left = np.flatnonzero(counting)
        partner = _partners(matches, free, left)
        missed = np.ones(len(left), np.bool_)
        missed[partner[partner >= 0]] = False
        truth = np.append(left, -1)[partner]
        return cls(found=free, truth=truth, missed=left[missed])


def _partners(matches: Matches, free: Ints, left: Ints) -> Ints:
    """For each of the free predictions the position in `left` of the box it takes, or -1."""
    found, truth = matches.found.only(free), matches.truth.only(left)
    least = min(matches.thresholds[0], 1 - 1e-10)
    pairs = pairs_of(found, truth, least=least, any_class=True)
    _, _, partner, _ = resolve(
        pairs,
        np.ones(len(pairs), np.uint64),
        found.image.astype(np.int64),
        truth,
        np.zeros(len(truth), np.uint64),
        _ONE,
    )
    return partner
