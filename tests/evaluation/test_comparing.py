"""The resamples of a comparison, against mAP read plainly: class by class, step by step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops.evaluation.columns import boxes_of
from mir_ops.evaluation.comparison import Weighted
from mir_ops.evaluation.curves import STEPS, curves_of, unpacked
from mir_ops.evaluation.matching import AREAS, Matches, match

LABELS, IMAGES = 3, 6


def matches_of(seed: int, truths: int, founds: int) -> Matches:
    """Few places and scores, so that hits, crowds and ties abound; class 2 may have no boxes."""
    dice = np.random.default_rng(seed)
    places = np.array([[0, 0, 10, 10], [4, 0, 10, 10], [30, 30, 8, 8]], np.float64)

    def columns(count: int, labels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        box = places[dice.integers(0, 3, count)]
        return dice.integers(0, IMAGES, count), dice.integers(0, labels, count), box

    truth = boxes_of(*columns(truths, 2), labels=LABELS, crowd=dice.random(truths) < 0.15)
    score = dice.integers(1, 6, founds) / 5
    found = boxes_of(*columns(founds, LABELS), labels=LABELS, score=score)
    return match(truth, found, thresholds=[0.5, 0.75], areas=[AREAS["all"]])


def plain(matches: Matches, weights: np.ndarray, within: float = 0.0) -> float:
    """The mean over thresholds and classes of AP, where image n counts as its weight says.

    A step of recall is reached `within` so much: sums of shares are not exact.
    """
    truth, found, count = matches.truth, matches.found, len(matches.thresholds)
    aside, hit = unpacked(matches.aside, 0, count), unpacked(matches.hit, 0, count)
    values = []
    for row in range(count):
        for label in range(LABELS):
            real = (truth.label == label) & (matches.ignored & np.uint64(1) == 0)
            boxes = weights[truth.image[real]].sum()
            if boxes > 0:
                mine = np.flatnonzero((found.label == label) & ~aside[row])
                mine = mine[np.argsort(-found.score[mine], kind="stable")]
                weight = weights[found.image[mine]]
                values.append(average_precision(weight, hit[row][mine], boxes, within))
    return float(np.mean(values)) if values else float("nan")


def average_precision(weight: np.ndarray, hit: np.ndarray, boxes: float, within: float) -> float:
    right, all_ = np.cumsum(np.where(hit, weight, 0)), np.cumsum(weight)
    points = [(r / boxes, r / n) for r, n, h in zip(right, all_, hit, strict=True) if h and n]
    return (
        sum(max((p for r, p in points if r >= step - within), default=0.0) for step in STEPS) / 101
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), truths=st.integers(0, 20), founds=st.integers(0, 40),
    weights=st.lists(st.integers(0, 4), min_size=IMAGES, max_size=IMAGES),
)  # fmt: skip
def test_a_weighted_mean_is_the_definition_read_plainly(
    seed: int, truths: int, founds: int, weights: list[int]
) -> None:
    matches = matches_of(seed, truths, founds)
    times = np.array(weights)

    ours = Weighted.of(matches).map(times)

    np.testing.assert_allclose(ours, plain(matches, times), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_weights_may_be_shares(seed: int) -> None:
    matches = matches_of(seed, 20, 40)
    weighted = Weighted.of(matches)

    assert weighted.map(np.zeros(IMAGES)) != weighted.map(np.zeros(IMAGES))  # NaN: no boxes
    shares = np.random.default_rng(seed).random(IMAGES)
    assert weighted.map(shares) == pytest.approx(plain(matches, shares, 1e-11), abs=1e-9)


def test_steps_of_recall_are_reached_as_in_cocos_tools() -> None:
    """Every share of up to 300 boxes, where a product with the step would round the other way."""
    for boxes in (*range(1, 120), 200, 290, 300):
        truth = boxes_of(
            np.zeros(boxes), np.zeros(boxes), [[9.0 * n, 0, 5, 5] for n in range(boxes)], labels=1
        )
        found = truth.only(np.arange(boxes - boxes // 3))
        matches = match(truth, found, thresholds=[0.5], areas=[AREAS["all"]])
        expected = float(np.nanmean(curves_of(matches, most=[300]).precision))

        assert Weighted.of(matches).map(np.ones(1, np.int64)) == pytest.approx(expected, abs=1e-12)
