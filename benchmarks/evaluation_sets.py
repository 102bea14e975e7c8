"""Small sets of boxes made to be difficult, and how far our curves are there from pycocotools'."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """One side; `score` is None of ground truth."""

    image: Array
    label: Array
    box: Array
    area: Array
    crowd: Array
    score: Array | None = None


def draw(seed: int) -> tuple[int, int, Boxes, Boxes]:
    """Images, classes and both sides: few places, sizes and scores, so that ties, boxes that
    coincide, boxes without size, sizes at the bounds, crowds and empty sides abound."""
    dice = np.random.default_rng(seed)
    images, labels = int(dice.integers(1, 5)), int(dice.integers(1, 4))
    place, size = (
        (np.arange(0, 120, 10.0), np.array([0, 1, 10, 31, 32, 33, 96, 97, 120.0])),
        (dice.uniform(0, 100, 6), dice.uniform(0, 120, 6)),
        (np.zeros(1), np.array([1e-3, 5, 10, 20, 1e5])),
        (dice.uniform(0, 20, 50), dice.uniform(5, 110, 50)),
    )[seed % 4]
    truths, founds = int(dice.integers(0, 40)), int(dice.integers(0, 130))
    box = np.column_stack([dice.choice(place, (truths, 2)), dice.choice(size, (truths, 2))])
    guess = np.column_stack([dice.choice(place, (founds, 2)), dice.choice(size, (founds, 2))])
    if truths:
        near = dice.random(founds) < 0.6
        guess[near] = box[dice.integers(0, truths, int(near.sum()))]
        moved = near & (dice.random(founds) < 0.5)
        guess[moved] += dice.choice([0, 0, 0.5, 1, 2], (int(moved.sum()), 4))
    odd = dice.random(truths) < 0.3
    sizes = dice.choice([0, 100, 1023, 1024, 1025, 9215, 9216, 9217, 2e4], truths)
    scores = dice.random(int(dice.integers(1, 30)))

    def side(box: Array, **more: Any) -> Boxes:
        ids = {"image": images, "label": labels}
        drawn = {name: dice.integers(0, most, len(box)) for name, most in ids.items()}
        return Boxes(**drawn, box=box, **more)

    crowd = dice.random(truths) < dice.choice([0, 0.2, 0.6])
    truth = side(box, area=np.where(odd, sizes, box[:, 2] * box[:, 3]), crowd=crowd)
    found = side(
        guess,
        area=guess[:, 2] * guess[:, 3],
        crowd=np.zeros(founds, bool),
        score=dice.choice(scores, founds),
    )
    return images, labels, truth, found


def apart(seed: int) -> float:
    """The largest difference in precision, score, recall or one of the twelve numbers."""
    from mir_ops.evaluation.coco import summary_of
    from mir_ops.evaluation.columns import boxes_of
    from mir_ops.evaluation.curves import curves_of
    from mir_ops.evaluation.matching import match

    images, labels, truth, found = draw(seed)
    curves = curves_of(
        match(
            boxes_of(
                truth.image, truth.label, truth.box,
                labels=labels, area=truth.area, crowd=truth.crowd,
            ),
            boxes_of(found.image, found.label, found.box, labels=labels, score=found.score),
        )
    )  # fmt: skip
    theirs = _pycocotools(images, labels, truth, found)
    summary = [-1.0 if value is None else value for value in summary_of(curves).values()]
    pairs = (
        (curves.precision, theirs.eval["precision"][..., -1]),
        (curves.scores, theirs.eval["scores"][..., -1]),
        (curves.recall, theirs.eval["recall"]),
        (np.array(summary), theirs.stats),
    )
    return max(float(np.abs(np.nan_to_num(ours, nan=-1) - peer).max()) for ours, peer in pairs)


def _pycocotools(images: int, labels: int, truth: Boxes, found: Boxes) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset = {
        "info": {},
        "images": [{"id": number} for number in range(images)],
        "categories": [{"id": number, "name": str(number)} for number in range(labels)],
    }
    sides = []
    for each in (truth, found):
        side = COCO()
        side.dataset = {**dataset, "annotations": _rows(each)}
        side.createIndex()
        sides.append(side)
    run = COCOeval(*sides, "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return run


def _rows(side: Boxes) -> list[dict[str, Any]]:
    score = {} if side.score is None else {"score": side.score}
    columns = {
        "image_id": side.image,
        "category_id": side.label,
        "bbox": side.box,
        "area": side.area,
        "iscrowd": side.crowd.astype(int),
        **score,
    }
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [{"id": n + 1, **dict(zip(columns, row, strict=True))} for n, row in enumerate(values)]


def main(sets: int) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        worst = max(apart(seed) for seed in range(sets))
    print(json.dumps({"apart": worst}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
