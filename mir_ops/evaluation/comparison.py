"""Is one model better than another? A paired bootstrap over images answers with an interval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from mir_ops.errors import InvalidInputError
from mir_ops.evaluation.columns import Flags, Floats, Ints, Shorts
from mir_ops.evaluation.curves import STEPS, unpacked
from mir_ops.evaluation.matching import AREAS, THRESHOLDS, Matches, match
from mir_ops.evaluation.sides import Sides

Metric = Literal["map50", "map50_95"]
METRICS: Final[dict[str, tuple[float, ...]]] = {"map50": (0.5,), "map50_95": THRESHOLDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`difference` is b less a; `low` to `high` is where it lies with probability `level`.

    `b_better` is the share of resamples in which b is ahead.
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    level: float
    b_better: float
    images: int
    resamples: int
    seed: int

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `cannot tell` where the interval spans 0: of b."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "cannot tell"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "verdict": self.verdict}


def compare(
    a: Sides,
    b: Sides,
    *,
    metric: str = "map50",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Compare two models' predictions on the same images with the same ground truth.

    Each resample draws as many images as there are, with repetition, the same ones for both; the
    interval is the percentiles of the differences. A resample without a box to find is left out.
    """
    _check(a, b, metric, resamples, level)
    sides = [Weighted.of(match_for(side, metric)) for side in (a, b)]
    count = len(a.asset_ids)
    every = np.ones(count, np.int64)
    ours, theirs = (side.map(every) for side in sides)
    if np.isnan(ours) or np.isnan(theirs):
        raise InvalidInputError(
            "There is no ground truth to compare against",
            code="no-ground-truth",
            hint="Compare on images that have boxes of these classes",
        )
    differences = _resampled(sides[0], sides[1], count, resamples, seed)
    tail = (1 - level) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return Comparison(
        metric=metric,
        a=ours,
        b=theirs,
        difference=theirs - ours,
        low=float(low),
        high=float(high),
        level=level,
        b_better=float((differences > 0).mean()),
        images=count,
        resamples=len(differences),
        seed=seed,
    )


def _resampled(a: Weighted, b: Weighted, images: int, resamples: int, seed: int) -> Floats:
    """The difference of b to a in each resample that has a box to find."""
    rng = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for number in range(resamples):
        weights = np.bincount(rng.integers(0, images, images), minlength=images)
        differences[number] = b.map(weights) - a.map(weights)
    return differences[~np.isnan(differences)]


def match_for(sides: Sides, metric: str) -> Matches:
    """The matches that a metric needs."""
    return match(sides.truth, sides.found, thresholds=METRICS[metric], areas=[AREAS["all"]])


@dataclass(frozen=True, slots=True)
class Weighted:
    """mAP where image n counts as much as its weight says: none below 0."""

    truth_image: Shorts
    truth_label: Shorts
    labels: int
    ranked: tuple[_Ranked, ...]  # one for each threshold

    @classmethod
    def of(cls, matches: Matches) -> Weighted:
        found, truth, count = matches.found, matches.truth, len(matches.thresholds)
        place = np.lexsort((-found.score, found.label))
        counting = matches.ignored & np.uint64(1) == 0
        counted = ~unpacked(matches.aside[place], 0, count)
        hits = unpacked(matches.hit[place], 0, count) & counted
        image, label = found.image[place], found.label[place]
        return cls(
            truth.image[counting],
            truth.label[counting],
            truth.labels,
            tuple(
                _Ranked.of(image[row], label[row], hit[row])
                for row, hit in zip(counted, hits, strict=True)
            ),
        )

    def map(self, weights: Ints | Floats) -> float:
        """NaN where no class has ground truth. No loop over classes: one pass for all of them."""
        share = weights.take(self.truth_image).astype(np.float64)
        positives = np.bincount(self.truth_label, share, self.labels).astype(np.float64)
        measured = positives > 0
        if not measured.any():
            return float("nan")
        positives[~measured] = 1
        values = [row.precision(weights, positives)[measured].mean() for row in self.ranked]
        return float(np.mean(values))


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Predictions by class and falling score, and which of them are hits at one threshold."""

    image: Shorts
    hits: Shorts  # where the hits are
    label: Shorts  # of each hit
    first: Flags  # whether a hit is the first of its class
    before: Shorts  # for each hit: predictions of the classes before
    behind: Shorts  # for each hit: hits of the classes before

    @classmethod
    def of(cls, image: Shorts, label: Shorts, hit: Flags) -> _Ranked:
        hits = np.flatnonzero(hit)
        own = label[hits]
        first = np.concatenate([[True], own[1:] != own[:-1]])[: len(own)]
        places = (np.searchsorted(label, own), np.searchsorted(own, own))
        before, behind = (each.astype(np.int32) for each in places)
        return cls(image, hits.astype(np.int32), own, first, before, behind)

    def precision(self, weights: Ints | Floats, positives: Floats) -> Floats:
        """AP of each class: the mean of the best precision from each step of recall on."""
        if not len(self.hits):
            return np.zeros(len(positives))
        exact = weights.dtype.kind != "f"
        weight = (weights.astype(np.int32) if exact else weights).take(self.image)
        everything, found = _sums(weight), _sums(weight.take(self.hits))
        reached = everything.take(self.hits + 1) - everything.take(self.before)
        right = (found[1:] - found.take(self.behind)).astype(np.float64)
        height = np.divide(right, reached, out=np.zeros(len(right)), where=reached > 0)
        recall = right / positives.take(self.label)
        if not exact:
            recall *= 1 + 1e-12  # sums of shares are not exact
        steps = _steps(recall)
        steps[1:] -= np.where(self.first[1:], 0, steps[:-1])
        # A class above the one before: the best so far from the end begins anew at each.
        best = np.maximum.accumulate((height - self.label)[::-1])[::-1] + self.label
        mean: Floats = np.bincount(self.label, best * steps, len(positives)) / len(STEPS)
        return mean


def _sums(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums of the first 0, 1, … values."""
    sums = np.zeros(len(values) + 1, values.dtype)
    np.cumsum(values, out=sums[1:])
    return sums


def _steps(recall: Floats) -> Ints:
    """How many steps of recall are reached, compared as COCO's tools do: to the bit."""
    last = len(STEPS) - 1
    reached = np.minimum((recall * last).astype(np.int64), last)
    reached -= STEPS.take(reached) > recall
    reached += (reached < last) & (STEPS.take(np.minimum(reached + 1, last)) <= recall)
    return reached + 1


def _check(a: Sides, b: Sides, metric: str, resamples: int, level: float) -> None:
    if metric not in METRICS:
        raise InvalidInputError(
            f"No metric is called `{metric}`",
            code="bad-metric",
            hint=f"Choose one of {', '.join(METRICS)}",
        )
    if resamples < 1 or not 0 < level < 1:
        raise InvalidInputError(
            f"{resamples} resamples at level {level} give no interval",
            code="bad-resamples",
            hint="Ask for one resample or more, and a level between 0 and 1",
        )
    same = a.asset_ids.equals(b.asset_ids) and a.class_ids == b.class_ids
    if not same or not _same_boxes(a, b):
        raise InvalidInputError(
            "The two are not measured against the same ground truth",
            code="different-ground-truth",
            hint="Name one version whose ground truth counts for both: `--ground-truth REV`",
        )


def _same_boxes(a: Sides, b: Sides) -> bool:
    one, other = a.truth, b.truth
    return (
        np.array_equal(one.group, other.group)
        and np.array_equal(one.box, other.box)
        and np.array_equal(one.crowd, other.crowd)
    )
