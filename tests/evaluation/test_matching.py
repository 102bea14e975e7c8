"""The matcher against COCO's definition, and against what pycocotools answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_coco import Found, Truth, slow_curves

from mir_ops.errors import InvalidInputError
from mir_ops.evaluation import columns, overlaps
from mir_ops.evaluation.coco import summary_of
from mir_ops.evaluation.columns import boxes_of
from mir_ops.evaluation.curves import Curves, curves_of
from mir_ops.evaluation.matching import AREAS, match

GOLDEN = json.loads((Path(__file__).parent / "pycocotools.json").read_text())["cases"]


def ours(truth: np.ndarray, found: np.ndarray, labels: int) -> Curves:
    sides = (
        boxes_of(
            truth[:, 0], truth[:, 1], truth[:, 2:6],
            labels=labels, area=truth[:, 6], crowd=truth[:, 7] > 0,
        ),
        boxes_of(found[:, 0], found[:, 1], found[:, 2:6], labels=labels, score=found[:, 6]),
    )  # fmt: skip
    return curves_of(match(*sides))


def known(values: Any) -> np.ndarray:
    """pycocotools writes -1 for what cannot be measured."""
    array = np.asarray(values, np.float64)
    return np.where(array == -1, np.nan, array)


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_pycocotools_gave_the_same_answers(case: dict[str, Any]) -> None:
    truth = np.array(case["truth"], np.float64).reshape(-1, 8)
    found = np.array(case["found"], np.float64).reshape(-1, 7)

    curves = ours(truth, found, case["labels"])

    np.testing.assert_allclose(curves.precision.mean(axis=1), known(case["ap"]), rtol=0, atol=1e-9)
    np.testing.assert_allclose(curves.recall, known(case["recall"]), rtol=0, atol=1e-9)
    summary = [-1.0 if value is None else value for value in summary_of(curves).values()]
    np.testing.assert_allclose(summary, case["stats"], rtol=0, atol=1e-9)


def test_the_summary_has_the_twelve_numbers_in_cocos_order() -> None:
    curves = ours(np.zeros((0, 8)), np.zeros((0, 7)), 1)

    assert list(summary_of(curves)) == [
        *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
        *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
    ]
    assert set(summary_of(curves).values()) == {None}


# Few distinct places, sizes and scores: ties everywhere, boxes without width, boxes that coincide.
_place = st.sampled_from([0.0, 10.0, 12.5, 40.0, 47.3])
_size = st.sampled_from([0.0, 10.0, 31.0, 32.0, 33.7, 96.0, 120.0])
_box = st.tuples(_place, _place, _size, _size)
_image, _label = st.integers(0, 1), st.integers(0, 1)
_truths = st.lists(
    st.builds(
        Truth,
        _image,
        _label,
        _box,
        st.sampled_from([0.0, 100.0, 1024.0, 5000.0, 9216.0, 2e4]),
        st.booleans(),
    ),
    max_size=8,
)
_founds = st.lists(
    st.builds(Found, _image, _label, _box, st.sampled_from([0.1, 0.5, 0.5000001, 0.9])),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(truth=_truths, found=_founds)
def test_equals_the_definition_read_plainly(truth: list[Truth], found: list[Found]) -> None:
    check_against_the_definition(truth, found)


@pytest.mark.long
@pytest.mark.timeout(1200)
@settings(max_examples=1000, deadline=None)
@given(truth=_truths, found=_founds)
def test_equals_the_definition_on_thousands_of_sets(truth: list[Truth], found: list[Found]) -> None:
    check_against_the_definition(truth, found)


def check_against_the_definition(truth: list[Truth], found: list[Found]) -> None:
    precision, scores, recall = slow_curves(truth, found, images=2, labels=2)

    curves = ours(
        np.array([(g.image, g.label, *g.box, g.area, g.crowd) for g in truth]).reshape(-1, 8),
        np.array([(f.image, f.label, *f.box, f.score) for f in found]).reshape(-1, 7),
        2,
    )

    np.testing.assert_allclose(curves.precision, precision, rtol=0, atol=1e-9)
    np.testing.assert_allclose(curves.scores, scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(curves.recall, recall, rtol=0, atol=1e-9)


def test_many_small_blocks_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    case = GOLDEN[0]
    truth, found = np.array(case["truth"]), np.array(case["found"])
    whole = ours(truth, found, case["labels"])

    monkeypatch.setattr(overlaps, "_BLOCK", 3)
    monkeypatch.setattr("mir_ops.evaluation.curves._CELLS", 7)

    np.testing.assert_array_equal(ours(truth, found, case["labels"]).precision, whole.precision)


def test_images_can_be_chosen_after_matching() -> None:
    case = GOLDEN[2]
    truth, found = np.array(case["truth"]), np.array(case["found"])
    chosen = np.arange(case["images"]) % 2 == 0
    sides = (
        boxes_of(truth[:, 0], truth[:, 1], truth[:, 2:6], labels=3, crowd=truth[:, 7] > 0),
        boxes_of(found[:, 0], found[:, 1], found[:, 2:6], labels=3, score=found[:, 6]),
    )

    after = curves_of(match(*sides), images=chosen)
    before = curves_of(match(*[side.only(chosen[side.image]) for side in sides]))

    np.testing.assert_array_equal(after.precision, before.precision)
    np.testing.assert_array_equal(after.recall, before.recall)


def test_the_hundred_and_first_prediction_of_an_image_takes_no_part() -> None:
    truth = boxes_of([0], [0], [[0, 0, 10, 10]], labels=1)
    box = [[50, 50, 10, 10]] * 100 + [[0, 0, 10, 10]]
    found = boxes_of([0] * 101, [0] * 101, box, labels=1, score=np.linspace(1, 0.5, 101))

    assert curves_of(match(truth, found)).recall[0, 0, 0, -1] == 0.0
    assert curves_of(match(truth, found, most=101), most=[101]).recall[0, 0, 0, -1] == 1.0


def test_partners_and_overlaps_are_of_the_first_combination() -> None:
    truth = boxes_of([0, 0], [0, 0], [[0, 0, 10, 10], [20, 0, 10, 10]], labels=1)
    box = [[20, 0, 10, 8], [0, 0, 10, 10], [0, 0, 10, 10]]
    found = boxes_of([0, 0, 0], [0, 0, 0], box, labels=1, score=[0.9, 0.8, 0.7])

    matches = match(truth, found, thresholds=[0.5], areas=[AREAS["all"]])

    assert matches.partner.tolist() == [1, 0, -1]
    assert matches.overlap.tolist() == [0.8, 1.0, 0.0]


@pytest.mark.parametrize("wrong", [[], [0.0], [1.1], [float("nan")], np.linspace(0.1, 0.9, 17)])
def test_thresholds_that_cannot_be_are_refused(wrong: list[float]) -> None:
    nothing = boxes_of([], [], [], labels=1)
    with pytest.raises(InvalidInputError) as caught:
        match(nothing, nothing, thresholds=list(wrong))
    assert caught.value.code == "bad-threshold"


def test_an_area_that_is_no_number_is_the_boxs_own() -> None:
    boxes = boxes_of([0, 0], [0, 0], [[0, 0, 4, 5], [0, 0, 2, 2]], labels=1, area=[np.nan, 7])

    assert boxes.area.tolist() == [20.0, 7.0]


def test_ranks_start_anew_in_each_group() -> None:
    assert columns.rank_in(np.array([3, 3, 5, 7, 7, 7])).tolist() == [0, 1, 0, 0, 1, 2]
    assert columns.rank_in(np.zeros(0, np.int64)).tolist() == []
