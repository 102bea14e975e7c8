"""YMIR's numbers, kinds of mistakes, confusion and thresholds, against plain readings of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_coco import Found, Truth
from slow_peers import slow_tide, slow_voc

from mir_ops.evaluation.columns import Boxes, boxes_of
from mir_ops.evaluation.confusion import confusion_of
from mir_ops.evaluation.marks import _texts, marks_of, with_entries
from mir_ops.evaluation.matching import AREAS, Matches, match
from mir_ops.evaluation.mistakes import KINDS, mistakes_of
from mir_ops.evaluation.operating import operating_curve
from mir_ops.evaluation.sides import Sides
from mir_ops.evaluation.voc import VocNumbers, evaluate_voc
from mir_ops.store import schema

LABELS = 2
YMIR = json.loads((Path(__file__).parent / "ymir_voc.json").read_text())["cases"]


def sides_of(truth: list[Truth], found: list[Found]) -> Sides:
    return Sides(
        asset_ids=pa.array(range(8)),
        class_ids=tuple(range(LABELS)),
        names=("cat", "dog"),
        truth=boxes_of(
            [g.image for g in truth],
            [g.label for g in truth],
            [g.box for g in truth],
            labels=LABELS,
            crowd=[g.crowd for g in truth],
        ),
        found=boxes_of(
            [f.image for f in found],
            [f.label for f in found],
            [f.box for f in found],
            labels=LABELS,
            score=[f.score for f in found],
        ),
        left_out={},
    )


def matches_of(sides: Sides, iou: float = 0.5) -> Matches:
    return match(sides.truth, sides.found, thresholds=[iou], areas=[AREAS["all"]])


def drawn(seed: int, whole: bool = False) -> tuple[list[Truth], list[Found]]:
    """Boxes and guesses near them, sizes and scores all different."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(int(rng.integers(1, 12))):
        box = rng.uniform(0, 40, 2).tolist() + rng.uniform(5, 30, 2).tolist()
        truth.append((int(rng.integers(3)), int(rng.integers(LABELS)), box))
    for _ in range(int(rng.integers(0, 25))):
        image, label, box = truth[rng.integers(len(truth))]
        moved = np.array(box) + rng.normal(0, rng.choice([1, 5, 15]), 4)
        moved[2:] = np.maximum(moved[2:], 1)
        label = label if rng.random() < 0.7 else int(rng.integers(LABELS))
        found.append((image, label, moved.tolist()))
    scores = rng.permutation(len(found)) / (len(found) + 1)

    def tidy(box: list[float]) -> tuple[float, float, float, float]:
        x, y, w, h = (float(int(v)) for v in box) if whole else map(float, box)
        return (x, y, w, h)

    return (
        [Truth(i, c, tidy(b), 1.0) for i, c, b in truth],
        [
            Found(i, c, tidy(b), float(np.float32(s)))
            for (i, c, b), s in zip(found, scores, strict=True)
        ],
    )


seeds = st.integers(0, 10**6)


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds, iou=st.sampled_from([0.3, 0.5, 0.75]), confidence=st.sampled_from([0.005, 0.3, 0.5])
)
def test_ymirs_numbers_are_had_again(seed: int, iou: float, confidence: float) -> None:
    truth, found = drawn(seed, whole=True)

    metrics = evaluate_voc(sides_of(truth, found), ious=[iou], confidence=confidence)

    for label, name in enumerate(("cat", "dog")):
        ap, ar, tp, fp, fn = slow_voc(truth, found, label, iou, confidence)
        numbers = metrics.per_iou[f"{iou:.2f}"][name]
        assert numbers["ap"] == pytest.approx(ap, abs=1e-12)
        assert numbers["ar"] == pytest.approx(ar, abs=1e-12)
        assert (numbers["tp"], numbers["fp"], numbers["fn"]) == (tp, fp, fn)


@pytest.mark.parametrize("case", YMIR, ids=range(len(YMIR)))
def test_ymirs_own_code_gave_the_same_numbers(case: dict[str, Any]) -> None:
    """Boxes on few places, so that equal overlaps, taken boxes and exact bounds abound."""
    names = [str(label) for label in range(case["labels"])]
    sides = Sides(
        asset_ids=pa.array(range(case["images"])),
        class_ids=tuple(range(case["labels"])),
        names=tuple(names),
        truth=columns_of(case["truth"], case["labels"]),
        found=columns_of(case["found"], case["labels"]),
        left_out={},
    )

    metrics = evaluate_voc(sides, ious=case["ious"], confidence=case["confidence"])

    def check(ours: list[VocNumbers], theirs: list[list[float]]) -> None:
        told = [[each[name] for name in VocNumbers.__annotations__] for each in ours]
        np.testing.assert_allclose(told, theirs, rtol=0, atol=1e-12)

    for of_class, theirs in zip(metrics.per_iou.values(), case["per_iou"], strict=True):
        check([of_class[name] for name in names], theirs)
    check(list(metrics.mean_by_iou.values()), case["mean_by_iou"])
    check([metrics.mean_by_class[name] for name in names], case["mean_by_class"])
    check([metrics.mean], [case["mean"]])


def columns_of(rows: list[list[float]], labels: int) -> Boxes:
    table = np.array(rows, np.float64).reshape(len(rows), -1 if rows else 6)
    score = table[:, 6] if table.shape[1] > 6 else None
    return boxes_of(table[:, 0], table[:, 1], table[:, 2:6], labels=labels, score=score)


def test_ymirs_bounds_are_strict_and_its_boxes_a_pixel_larger() -> None:
    # (9 + 1) x (9 + 1) against (9 + 1) x (4 + 1): an inclusive IoU of exactly 0.5.
    truth = [Truth(0, 0, (0, 0, 9, 9), 81.0)]
    found = [Found(0, 0, (0, 0, 9, 4), 0.5)]
    sides = sides_of(truth, found)

    def right(iou: float, confidence: float) -> int:
        return evaluate_voc(sides, ious=[iou], confidence=confidence).mean["tp"]

    assert right(0.5, 0.1) == 0
    assert right(0.49, 0.1) == 1
    assert right(0.49, 0.5) == 0


def test_ymir_counts_a_class_without_ground_truth_as_zero_and_sums_over_ious() -> None:
    truth = [Truth(0, 0, (0, 0, 9, 9), 81.0)]
    found = [Found(0, 0, (0, 0, 9, 9), 0.9), Found(0, 1, (0, 0, 9, 9), 0.9)]

    metrics = evaluate_voc(sides_of(truth, found), ious=[0.5, 0.6])

    assert metrics.mean_by_iou["0.50"] == {"ap": 0.5, "ar": 0.5, "tp": 1, "fp": 1, "fn": 0}
    assert metrics.mean == {"ap": 0.5, "ar": 0.5, "tp": 2, "fp": 2, "fn": 0}
    assert metrics.mean_by_class["cat"] == {"ap": 1.0, "ar": 1.0, "tp": 2, "fp": 0, "fn": 0}


def test_ymirs_prediction_claims_the_box_it_overlaps_most_though_it_is_taken() -> None:
    truth = [Truth(0, 0, (0, 0, 20, 20), 400.0), Truth(0, 0, (4, 0, 20, 20), 400.0)]
    found = [Found(0, 0, (0, 0, 20, 20), 0.9), Found(0, 0, (1, 0, 20, 20), 0.8)]
    sides = sides_of(truth, found)

    assert evaluate_voc(sides).mean["tp"] == 1
    assert int((matches_of(sides).hit != 0).sum()) == 2


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_kinds_and_gains_are_tides(seed: int) -> None:
    truth, found = drawn(seed)
    tide = slow_tide(truth, found, LABELS)
    sides = sides_of(truth, found)

    mistakes = mistakes_of(matches_of(sides))

    by_row = dict(zip(sides.found.row.tolist(), mistakes.kind.tolist(), strict=True))
    assert [by_row[n] for n in range(len(found))] == tide.kinds
    assert mistakes.counts["missed"] == tide.missed
    for kind, gain in tide.gains.items():
        assert mistakes.gains[kind] == pytest.approx(gain, abs=1e-9), kind
    assert set(mistakes.counts) == {*KINDS, "missed"}


@settings(max_examples=60, deadline=None)
@given(seed=seeds, confidence=st.sampled_from([0.0, 0.4]))
def test_the_confusion_matrix_adds_up_and_its_diagonal_is_the_hits(
    seed: int, confidence: float
) -> None:
    truth, found = drawn(seed)
    sides = sides_of(truth, found)

    counts = confusion_of(sides, confidence=confidence).counts

    marks = marks_of(sides, len(truth), len(found), confidence=confidence)
    sure = [f for f in found if f.score >= confidence]
    assert counts[:LABELS].sum(axis=1).tolist() == [
        sum(g.label == label for g in truth) for label in range(LABELS)
    ]
    assert counts[:, :LABELS].sum(axis=0).tolist() == [
        sum(f.label == label for f in sure) for label in range(LABELS)
    ]
    assert np.trace(counts[:LABELS, :LABELS]) == marks.counts()["tp"]
    assert counts[LABELS, LABELS] == 0


def test_crowds_are_in_no_cell_and_no_mistake() -> None:
    truth = [Truth(0, 0, (0, 0, 50, 50), 2500.0, crowd=True), Truth(0, 1, (60, 0, 9, 9), 81.0)]
    found = [Found(0, 0, (5, 5, 10, 10), 0.9), Found(0, 0, (20, 5, 10, 10), 0.8)]
    sides = sides_of(truth, found)

    assert confusion_of(sides).counts.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert set(mistakes_of(matches_of(sides)).kind.tolist()) == {""}
    assert marks_of(sides, 2, 2).found.tolist() == ["ignored", "ignored"]
    assert marks_of(sides, 2, 2).truth.tolist() == ["ignored", "fn"]


@settings(max_examples=60, deadline=None)
@given(seed=seeds, label=st.sampled_from([None, 0, 1]))
def test_thresholds_do_what_they_promise(seed: int, label: int | None) -> None:
    truth, found = drawn(seed)
    matches = matches_of(sides_of(truth, found))
    curve = operating_curve(matches, label)

    def at(confidence: float) -> tuple[float, float]:
        chosen = matches.found.score >= confidence
        mine = chosen if label is None else chosen & (matches.found.label == label)
        there = sum(label in (None, g.label) for g in truth)
        right = int((matches.hit[mine] != 0).sum())
        return right / mine.sum(), right / there

    best = curve.best_f1()
    if best is None:
        assert not len(curve.confidence)
        return
    assert at(best["confidence"]) == pytest.approx((best["precision"], best["recall"]))
    values = [at(c) for c in curve.confidence.tolist()]
    scores = [2 * p * r / (p + r) if p + r else 0.0 for p, r in values]
    assert best["f1"] == pytest.approx(max(scores))
    if (point := curve.precision_at(0.5)) is not None:
        assert point["recall"] >= 0.5
        assert point["precision"] == pytest.approx(max(p for p, r in values if r >= 0.5))
    else:
        assert all(r < 0.5 for _, r in values)
    if (point := curve.recall_at(0.6)) is not None:
        assert point["precision"] >= 0.6
        assert point["recall"] == pytest.approx(max(r for p, r in values if p >= 0.6))


def test_predictions_of_one_confidence_are_kept_or_dropped_together() -> None:
    truth = [Truth(0, 0, (0, 0, 9, 9), 81.0)]
    found = [Found(0, 0, (0, 0, 9, 9), 0.5), Found(0, 0, (40, 0, 9, 9), 0.5)]

    curve = operating_curve(matches_of(sides_of(truth, found)))

    assert curve.confidence.tolist() == [0.5]
    assert (curve.precision.tolist(), curve.recall.tolist()) == ([0.5], [1.0])


def test_nothing_on_either_side_has_no_mistakes() -> None:
    for truth, found in (
        ([], []),
        ([Truth(0, 0, (0, 0, 9, 9), 81.0)], []),
        ([], [Found(0, 0, (0, 0, 9, 9), 0.5)]),
    ):
        sides = sides_of(truth, found)
        mistakes = mistakes_of(matches_of(sides))

        assert mistakes.map == 0.0
        assert mistakes.counts["missed"] == len(truth)
        assert mistakes.counts["background"] == len(found)
        assert confusion_of(sides).counts.sum() == len(truth) + len(found)
        assert evaluate_voc(sides).mean["tp"] == 0
        assert operating_curve(matches_of(sides)).best_f1() is None


def test_a_box_without_size_is_missed_and_a_prediction_without_size_is_wrong() -> None:
    truth = [Truth(0, 0, (5, 5, 0, 10), 0.0), Truth(0, 0, (5, 5, 10, 10), 100.0)]
    found = [Found(0, 0, (5, 5, 0, 10), 0.9), Found(0, 0, (8, 8, -3, -3), 0.8)]

    marks = marks_of(sides_of(truth, found), 2, 2)

    assert marks.counts() == {"tp": 0, "fp": 2, "fn": 2, "ignored": 0}
    assert marks.mistake.tolist() == ["background", "background"]


def test_entries_replace_those_of_their_keys_and_leave_the_rest() -> None:
    tags = pa.array([None, [("a", "1"), ("m", "old")], [("b", "2")], []], schema.TEXT_MAP)
    new = [
        (np.array([0, 1]), "m", pa.array(["x", "y"])),
        (np.array([1]), "z", pa.array(["q"])),
    ]

    assert with_entries(tags, new).to_pylist() == [
        [("m", "x")],
        [("a", "1"), ("m", "y"), ("z", "q")],
        [("b", "2")],
        [],
    ]
    assert with_entries(tags.slice(2), []).to_pylist() == [[("b", "2")], []]
    assert with_entries(tags.slice(0, 0), []).to_pylist() == []


def test_millions_of_marks_are_one_array() -> None:
    assert isinstance(_texts(np.full(3_000_000, "ignored")), pa.StringArray)
