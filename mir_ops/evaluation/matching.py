"""COCO's matching, for all IoU thresholds and area ranges of all images at once.

What COCO's tools decide box by box is decided here for the n-th prediction of every image and
class together. A combination of area range and threshold is one bit, so that one operation on a
column of 64-bit numbers decides for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mir_ops.errors import InvalidInputError
from mir_ops.evaluation.columns import Bits, Boxes, Floats, Ints, best_of_each, rank_in
from mir_ops.evaluation.overlaps import Measure, Pairs, pairs_of

THRESHOLDS: Final = tuple(np.linspace(0.5, 0.95, 10).tolist())
_FAR: Final = float(1e5**2)
AREAS: Final = {
    "all": (0.0, _FAR),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, _FAR),
}
MOST: Final = (1, 10, 100)
_BITS: Final = 64
_CERTAIN: Final = 1 - 1e-10  # COCO: an IoU threshold of 1 is met by this


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """What became of each prediction and each box, a bit for each combination.

    Bit `a * len(thresholds) + t` is for area range `a` and threshold `t`. `partner` and `overlap`
    are of the first combination: position of the ground truth, -1 for none, and the IoU.
    """

    truth: Boxes
    found: Boxes
    thresholds: tuple[float, ...]
    areas: tuple[tuple[float, float], ...]
    hit: Bits  # prediction has a partner
    aside: Bits  # prediction does not count: on a crowd, or out of the area range
    ignored: Bits  # ground truth does not count: a crowd, or out of the area range
    partner: Ints
    overlap: Floats

    @property
    def combinations(self) -> int:
        return len(self.areas) * len(self.thresholds)


def match(
    truth: Boxes,
    found: Boxes,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    areas: Sequence[tuple[float, float]] = tuple(AREAS.values()),
    most: int = MOST[-1],
    measure: Measure | None = None,
) -> Matches:
    """Match the best `most` predictions of each image and class with the ground truth.

    By falling score each takes the free box that it overlaps most; of equals the last. Boxes that
    do not count are taken only where no other is free, and a crowd by any number.
    """
    _check(thresholds, areas)
    found = best_of_each(found, most)
    every = np.uint64(2 ** (len(areas) * len(thresholds)) - 1)
    ignored = _outside(truth.area, areas, len(thresholds))
    ignored[truth.crowd] = every
    limits = np.minimum(np.sort(thresholds), _CERTAIN)
    pairs = pairs_of(found, truth, least=float(limits[0]), measure=measure)
    passed = _passed(pairs.iou, limits, len(areas))
    hit, aside, partner, overlap = resolve(pairs, passed, found.group, truth, ignored, every)
    aside |= _outside(found.area, areas, len(thresholds)) & ~hit
    return Matches(
        truth=truth,
        found=found,
        thresholds=tuple(sorted(thresholds)),
        areas=tuple(areas),
        hit=hit,
        aside=aside,
        ignored=ignored,
        partner=partner,
        overlap=overlap,
    )


def resolve(
    pairs: Pairs, passed: Bits, group: Ints, truth: Boxes, ignored: Bits, every: np.uint64
) -> tuple[Bits, Bits, Ints, Floats]:
    """Let predictions choose in turn: hits and asides by bit, partner and IoU of the first bit.

    `passed` says for each pair in which combinations it is close enough. Predictions of a `group`
    choose one after the other, in their order; groups share no ground truth.
    """
    hit = np.zeros(len(group), np.uint64)
    aside = np.zeros(len(group), np.uint64)
    partner = np.full(len(group), -1, np.int64)
    overlap = np.zeros(len(group))
    taken = np.zeros(len(truth), np.uint64)
    open_to_all = np.where(truth.crowd, every, np.uint64(0))
    for f, t, allowed, iou in _turns(pairs, passed, group, ignored):
        free = allowed & ~hit[f] & (~taken[t] | open_to_all[t])
        hit[f] |= free
        taken[t] |= free
        aside[f] |= free & ignored[t]
        first = (free & np.uint64(1)) != 0
        partner[f[first]] = t[first]
        overlap[f[first]] = iou[first]
    return hit, aside, partner, overlap


def _turns(
    pairs: Pairs, passed: Bits, group: Ints, ignored: Bits
) -> Iterator[tuple[Ints, Ints, Bits, Floats]]:
    """The pairs that may be decided together, in the order of decision.

    First by the prediction's turn in its group, then boxes that count before those that do not,
    then by falling IoU; of equals the last box comes first.
    """
    with_pairs, first = np.unique(pairs.found, return_index=True)
    turn = np.repeat(rank_in(group[with_pairs]), np.diff(np.append(first, len(pairs))))
    place = np.lexsort((-pairs.truth, -pairs.iou, pairs.found))
    preference = rank_in(pairs.found)  # of the pairs in the order of `place`: found is unmoved
    f, t, iou = pairs.found, pairs.truth[place], pairs.iou[place]
    counting, others = passed[place] & ~ignored[t], passed[place] & ignored[t]
    width = int(preference.max(initial=0)) + 1
    step = np.concatenate([turn * 2 * width + preference, (turn * 2 + 1) * width + preference])
    allowed = np.concatenate([counting, others])
    kept = np.flatnonzero(allowed)
    kept = kept[np.argsort(step[kept], kind="stable")]
    pair = kept % max(1, len(pairs))
    f, t, iou, allowed, step = f[pair], t[pair], iou[pair], allowed[kept], step[kept]
    bounds = np.flatnonzero(np.concatenate([[True], step[1:] != step[:-1], [True]]))
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        part = slice(start, end)
        yield f[part], t[part], allowed[part], iou[part]


def _passed(iou: Floats, limits: Floats, areas: int) -> Bits:
    """For each IoU the bits of the thresholds that it reaches, in every area range."""
    count = len(limits)
    reached = np.searchsorted(limits, iou, side="right")
    masks = [sum(((1 << n) - 1) << (a * count) for a in range(areas)) for n in range(count + 1)]
    return np.asarray(masks, np.uint64)[reached]


def _outside(
    area: Floats, areas: Sequence[tuple[float, float]], thresholds: int
) -> npt.NDArray[np.uint64]:
    bits = np.zeros(len(area), np.uint64)
    for number, (low, high) in enumerate(areas):
        mask = np.uint64(((1 << thresholds) - 1) << (number * thresholds))
        bits[(area < low) | (area > high)] |= mask
    return bits


def _check(thresholds: Sequence[float], areas: Sequence[tuple[float, float]]) -> None:
    if not thresholds or not all(0 < each <= 1 for each in thresholds):
        raise InvalidInputError(
            f"IoU thresholds are {', '.join(map(str, thresholds)) or 'none'}",
            code="bad-threshold",
            hint="Each is above 0 and at most 1",
        )
    if len(thresholds) * len(areas) > _BITS:
        raise InvalidInputError(
            f"{len(thresholds)} IoU thresholds in {len(areas)} area ranges are too many",
            code="bad-threshold",
            hint=f"Thresholds times area ranges may be {_BITS}",
        )
