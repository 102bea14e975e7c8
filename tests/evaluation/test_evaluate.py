"""COCO's metrics against cases worked out by hand."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops.errors import InvalidInputError
from mir_ops.evaluation import Metrics, evaluate
from mir_ops.store import schema

CLASSES = {3: "car", 5: "person", 9: "dog"}
Box = tuple[float, float, float, float]


def asset(name: object) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def truth(rows: Sequence[tuple[str, int, Box]], crowd: Sequence[int] = ()) -> pa.Table:
    table = _boxes(rows)
    return table.append_column(
        "iscrowd", pa.array([n in crowd or None for n in range(len(rows))], pa.bool_())
    )


def found(rows: Sequence[tuple[str, int, Box, float]]) -> pa.Table:
    table = _boxes([row[:3] for row in rows])
    return table.append_column("confidence", pa.array([row[3] for row in rows], pa.float32()))


def _boxes(rows: Sequence[tuple[str, int, Box]]) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "asset_id": pa.array([asset(row[0]) for row in rows], schema.ASSET_ID),
        "annotation_id": pa.array(range(len(rows)), pa.uint64()),
        "class_id": pa.array([row[1] for row in rows], pa.int32()),
    }
    for position, name in enumerate("xywh"):
        columns[name] = pa.array([row[2][position] for row in rows], pa.float32())
    return pa.table(columns)


def run(ground_truth: pa.Table, predictions: pa.Table, images: Sequence[str]) -> Metrics:
    assets = pa.table({"asset_id": pa.array([asset(x) for x in images], schema.ASSET_ID)})
    return evaluate(
        ground_truth=ground_truth, predictions=predictions, assets=assets, classes=CLASSES
    )


ONE: Box = (10, 10, 20, 20)
TWO: Box = (60, 60, 20, 20)
FAR: Box = (100, 100, 20, 20)


def test_a_case_worked_out_by_hand() -> None:
    # Four cars. By confidence: a hit, a miss, a hit, a hit at IoU 0.6; one car is never found.
    # Precision after each prediction: 1, 1/2, 2/3, 3/4; made monotone: 1, 3/4, 3/4, 3/4.
    # Recall: 1/4, 1/4, 1/2, 3/4. Of the 101 recall steps, 0..25 have precision 1 (26 steps),
    # 26..75 have 3/4 (50 steps), the rest 0: AP50 = (26 + 37.5) / 101.
    ground_truth = truth([("a", 3, ONE), ("a", 3, TWO), ("b", 3, ONE), ("b", 3, TWO)])
    predictions = found(
        [
            ("a", 3, ONE, 0.9),
            ("a", 3, FAR, 0.8),
            ("b", 3, ONE, 0.7),
            ("b", 3, (60, 60, 20, 12), 0.6),  # 240 of 400 pixels: IoU 0.6
        ]
    )

    metrics = run(ground_truth, predictions, ["a", "b"])

    car = metrics.per_class["car"]
    assert car["ap50"] == pytest.approx((26 + 50 * 0.75) / 101, abs=1e-9)
    # Above IoU 0.6 only two of four are found: 26 steps of 1, 25 steps (26..50) of 2/3.
    strict = (26 + 25 * 2 / 3) / 101
    loose = (26 + 50 * 0.75) / 101
    assert car["ap75"] == pytest.approx(strict, abs=1e-9)
    assert car["ap"] == pytest.approx((3 * loose + 7 * strict) / 10, abs=1e-9)
    assert car["recall50"] == 0.75
    assert (car["boxes"], car["predictions"]) == (4, 4)
    assert metrics.map50 == car["ap50"]
    assert metrics.unmeasured == ("person", "dog")
    assert (metrics.images, metrics.boxes, metrics.predictions) == (2, 4, 4)


def test_means_are_over_classes_not_over_boxes() -> None:
    ground_truth = truth([("a", 3, ONE), ("a", 3, TWO), ("a", 3, FAR), ("b", 5, ONE)])

    metrics = run(ground_truth, found([("b", 5, ONE, 0.5)]), ["a", "b"])

    assert metrics.per_class["car"]["ap50"] == 0.0
    assert metrics.per_class["person"]["ap50"] == pytest.approx(1.0)
    assert metrics.map50 == pytest.approx(0.5)


def test_images_without_predictions_count_as_missed() -> None:
    ground_truth = truth([("a", 3, ONE), ("b", 3, ONE)])

    metrics = run(ground_truth, found([("a", 3, ONE, 0.9)]), ["a", "b"])

    assert metrics.map50 == pytest.approx(51 / 101)
    assert metrics.recall50 == 0.5


def test_predictions_on_images_where_nothing_is_count_as_wrong() -> None:
    ground_truth = truth([("a", 3, ONE)])
    predictions = found([("a", 3, ONE, 0.5), ("empty", 3, ONE, 0.9)])

    assert run(ground_truth, predictions, ["a"]).map50 == pytest.approx(1.0)
    assert run(ground_truth, predictions, ["a", "empty"]).map50 == pytest.approx(0.5)


def test_crowd_boxes_are_neither_missed_nor_do_they_make_a_prediction_wrong() -> None:
    ground_truth = truth([("a", 3, ONE), ("a", 3, (50, 50, 100, 100))], crowd=[1])
    inside = [("a", 3, TWO, 0.95), ("a", 3, FAR, 0.93), ("a", 3, ONE, 0.9)]

    metrics = run(ground_truth, found(inside), ["a"])

    assert metrics.map50 == pytest.approx(1.0)
    assert metrics.boxes == 1


def test_a_second_prediction_of_the_same_box_is_wrong() -> None:
    ground_truth = truth([("a", 3, ONE), ("a", 3, TWO)])
    twice = found([("a", 3, ONE, 0.9), ("a", 3, ONE, 0.8), ("a", 3, TWO, 0.7)])

    # 51 steps at precision 1, 50 at 2/3.
    assert run(ground_truth, twice, ["a"]).map50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_boxes_elsewhere_are_left_out_and_counted() -> None:
    ground_truth = truth([("a", 3, ONE), ("elsewhere", 3, ONE)])
    predictions = found([("a", 3, ONE, 0.9), ("elsewhere", 3, ONE, 0.9), ("a", 77, ONE, 0.99)])

    metrics = run(ground_truth, predictions, ["a"])

    assert metrics.map50 == pytest.approx(1.0)
    assert metrics.left_out == {"ground_truth": 1, "predictions": 2}


def test_a_class_without_ground_truth_lowers_no_mean() -> None:
    metrics = run(truth([("a", 3, ONE)]), found([("a", 3, ONE, 0.9), ("a", 9, TWO, 0.9)]), ["a"])

    assert metrics.map50 == pytest.approx(1.0)
    assert list(metrics.per_class) == ["car"]
    assert metrics.unmeasured == ("person", "dog")


boxes = st.builds(
    lambda x, y, w, h: (float(x), float(y), float(w), float(h)),
    *[st.integers(0, 200)] * 2,
    *[st.integers(1, 100)] * 2,
)
annotated = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(sorted(CLASSES)), boxes),
    min_size=1,
    max_size=12,
    unique=True,
)


@settings(max_examples=50)
@given(rows=annotated)
def test_perfect_predictions_score_one_and_none_score_zero(
    rows: list[tuple[str, int, Box]],
) -> None:
    perfect = found([(*row, 0.9) for row in rows])

    right = run(truth(rows), perfect, "abcd")
    nothing = run(truth(rows), found([]), "abcd")

    assert right.map50 == pytest.approx(1.0)
    assert right.map50_95 == pytest.approx(1.0)
    assert nothing.map50 == 0.0
    assert nothing.map50_95 == 0.0
    assert set(right.per_class) == {CLASSES[row[1]] for row in rows}


@settings(max_examples=50)
@given(rows=annotated, guesses=annotated, seed=st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(
    rows: list[tuple[str, int, Box]], guesses: list[tuple[str, int, Box]], seed: int
) -> None:
    shuffled = random.Random(seed)
    ground_truth = truth(rows)
    predictions = found([(*row, 0.1 * (n % 4)) for n, row in enumerate(guesses)])

    def mixed(table: pa.Table) -> pa.Table:
        return table.take(shuffled.sample(range(table.num_rows), table.num_rows))

    first = run(ground_truth, predictions, "abc")
    second = run(mixed(ground_truth), mixed(predictions), "cba")

    assert first == second
    assert 0.0 <= first.map50_95 <= first.map50 <= 1.0


def test_metrics_are_plain_json() -> None:
    metrics = run(truth([("a", 3, ONE)]), found([]), ["a"])

    again = json.loads(json.dumps(metrics.to_dict(), allow_nan=False))

    assert again["per_class"]["car"]["boxes"] == 1
    assert again["unmeasured"] == ["person", "dog"]


def test_no_ground_truth_at_all_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        run(truth([]), found([("a", 3, ONE, 0.5)]), ["a"])
    assert caught.value.code == "no-ground-truth"


def test_only_crowds_is_nothing_to_find() -> None:
    with pytest.raises(InvalidInputError, match="no ground truth"):
        run(truth([("a", 3, ONE)], crowd=[0]), found([]), ["a"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(InvalidInputError, match="box whose `w` is not a finite number"):
        run(truth([("a", 3, (0, 0, bad, 1))]), found([]), ["a"])
    with pytest.raises(InvalidInputError, match="confidence is not a finite number"):
        run(truth([("a", 3, ONE)]), found([("a", 3, ONE, bad)]), ["a"])


def test_agrees_with_a_plain_reading_of_the_definition() -> None:
    rng = np.random.default_rng(5)
    names = [f"image {n}" for n in range(12)]
    rows = [
        (names[rng.integers(12)], 3, tuple(map(float, rng.integers(5, 40, 4)))) for _ in range(40)
    ]
    guesses = [
        (name, 3, tuple(float(v + rng.integers(-6, 7)) for v in box), round(rng.random(), 4))
        for name, _, box in rows
        for _ in range(2)
    ]
    guesses = [g for g in guesses if g[2][2] > 0 and g[2][3] > 0]

    metrics = run(truth(rows), found(guesses), names)  # type: ignore[arg-type]

    assert metrics.map50 == pytest.approx(_plain_ap50(rows, guesses), abs=1e-9)


def _plain_ap50(rows: list, guesses: list) -> float:  # type: ignore[type-arg]
    """Average precision at IoU 0.5, as the COCO paper says it, slowly."""
    taken: set[int] = set()
    hits = []
    for name, _, box, _ in sorted(guesses, key=lambda g: -np.float32(g[3])):
        overlaps = [
            (_iou(box, other), n)
            for n, (image, _, other) in enumerate(rows)
            if image == name and n not in taken
        ]
        best = max(overlaps, default=(0.0, -1))
        hits.append(best[0] >= 0.5)
        if hits[-1]:
            taken.add(best[1])
    true = np.cumsum(hits)
    precision = true / np.arange(1, len(hits) + 1)
    recall = true / len(rows)
    steps = np.linspace(0, 1, 101)
    return float(np.mean([max(precision[recall >= step - 1e-12], default=0.0) for step in steps]))


def _iou(a: Box, b: Box) -> float:
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(high, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
