"""Mean average precision at IoU 0.5, quickly: the host measures the model properly. Needs NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Found(Protocol):
    """The boxes that a model found on one image, best first."""

    @property
    def corners(self) -> np.ndarray:
        """x1, y1, x2, y2 of each."""

    @property
    def classes(self) -> np.ndarray:
        """The class of each, counted as in the settings."""

    @property
    def scores(self) -> np.ndarray:
        """How sure the model is of each."""


def mean_average_precision(
    found: Sequence[Found], truth: Sequence[np.ndarray], classes: int
) -> float:
    """Mean over the classes that occur; `truth` is class, x, y, w, h per image."""
    values = [
        _average_precision(found, truth, class_id)
        for class_id in range(classes)
        if any((boxes[:, 0] == class_id).any() for boxes in truth)
    ]
    return float(np.mean(values)) if values else 0.0


def _average_precision(found: Sequence[Found], truth: Sequence[np.ndarray], class_id: int) -> float:
    scores: list[float] = []
    hits: list[bool] = []
    objects = 0
    for seen, boxes in zip(found, truth, strict=True):
        wanted = boxes[boxes[:, 0] == class_id, 1:]
        objects += len(wanted)
        mine = seen.classes == class_id
        scores += seen.scores[mine].tolist()
        hits += _matches(seen.corners[mine], wanted)
    if not scores:
        return 0.0
    order = np.argsort(-np.array(scores), kind="stable")
    good = np.array(hits)[order]
    precision = np.cumsum(good) / np.arange(1, len(good) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * good).sum() / objects)


def _matches(corners: np.ndarray, wanted: np.ndarray) -> list[bool]:
    """Whether each box, best first, covers an object that no better one took."""
    if len(wanted) == 0:
        return [False] * len(corners)
    low = np.maximum(corners[:, None, :2], wanted[None, :, :2])
    high = np.minimum(corners[:, None, 2:], wanted[None, :, :2] + wanted[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    overlaps = shared / (areas[:, None] + wanted[:, 2:].prod(axis=1)[None] - shared)
    matches = []
    for row in overlaps:
        best = int(row.argmax())
        matches.append(bool(row[best] >= 0.5))
        if matches[-1]:
            overlaps[:, best] = 0.0
    return matches
