"""Boxes of many images as columns, in the order in which they are matched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Ground truth or predictions, sorted by image and class; predictions then by falling score.

    `image` counts images and `label` classes from 0. `row` is where a box is in the table that it
    came from. Ground truth has score 0; predictions are never crowds.
    """

    labels: int
    image: npt.NDArray[np.int32]
    label: npt.NDArray[np.int32]
    box: npt.NDArray[np.floating[Any]]  # n x 4: x, y, w, h in pixels
    area: Floats  # square pixels
    score: Floats
    crowd: Flags
    row: Ints

    def __len__(self) -> int:
        return len(self.image)

    @property
    def group(self) -> Ints:
        """One number for each image and class, ascending."""
        return self.image.astype(np.int64) * max(1, self.labels) + self.label

    def only(self, chosen: npt.NDArray[Any]) -> Boxes:
        """The boxes that a mask or ascending positions choose."""
        return replace(
            self,
            image=self.image[chosen],
            label=self.label[chosen],
            box=self.box[chosen],
            area=self.area[chosen],
            score=self.score[chosen],
            crowd=self.crowd[chosen],
            row=self.row[chosen],
        )


def boxes_of(
    image: npt.ArrayLike,
    label: npt.ArrayLike,
    box: npt.ArrayLike,
    *,
    labels: int,
    area: npt.ArrayLike | None = None,
    crowd: npt.ArrayLike | None = None,
    score: npt.ArrayLike | None = None,
    order: npt.ArrayLike | None = None,
) -> Boxes:
    """Columns in any order, sorted; ties of score stay in the order of `order`, or as they come.

    An area that is not given, or is not a number, is the box's own.
    """
    image = np.asarray(image, np.int32)
    label = np.asarray(label, np.int32)
    corners = np.asarray(box).reshape(len(image), 4)
    if corners.dtype.kind != "f":
        corners = corners.astype(np.float64)
    given = np.zeros(len(image)) if score is None else np.asarray(score, np.float64)
    own = corners[:, 2].astype(np.float64) * corners[:, 3]
    sizes = own if area is None else np.asarray(area, np.float64)
    group = image.astype(np.int64) * max(1, labels) + label
    keys = [group] if score is None else [-given, group]
    if order is not None:
        keys.insert(0, np.asarray(order))
    place = np.lexsort(keys)
    return Boxes(
        labels=labels,
        image=image[place],
        label=label[place],
        box=corners[place],
        area=np.where(np.isnan(sizes), own, sizes)[place],
        score=given[place],
        crowd=(np.zeros(len(image), np.bool_) if crowd is None else np.asarray(crowd, np.bool_))[
            place
        ],
        row=place.astype(np.int64),
    )


def rank_in(group: Ints) -> Ints:
    """0, 1, 2, … within each run of equal numbers."""
    if not len(group):
        return np.zeros(0, np.int64)
    place = np.arange(len(group))
    first = np.concatenate([[True], group[1:] != group[:-1]])
    return place - np.maximum.accumulate(np.where(first, place, 0))


def best_of_each(found: Boxes, most: int) -> Boxes:
    """The first `most` predictions of each image and class."""
    kept = rank_in(found.group) < most
    return found if kept.all() else found.only(kept)
