"""COCO's evaluation read plainly from its definition: loops, one image and one class at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
STEPS = np.linspace(0, 1, 101)
AREAS = [(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)]
MOST = [1, 10, 100]


@dataclass(frozen=True, slots=True)
class Truth:
    image: int
    label: int
    box: tuple[float, float, float, float]
    area: float
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    image: int
    label: int
    box: tuple[float, float, float, float]
    score: float


Curves = tuple[np.ndarray, np.ndarray, np.ndarray]


def slow_curves(truth: list[Truth], found: list[Found], images: int, labels: int) -> Curves:
    """Precision and score (T x 101 x K x A), recall (T x K x A x M); NaN where not measured."""
    precision = np.full((10, 101, labels, 4), np.nan)
    scores = precision.copy()
    recall = np.full((10, labels, 4, 3), np.nan)
    for label in range(labels):
        for number, area in enumerate(AREAS):
            for t, threshold in enumerate(THRESHOLDS):
                positives, marks = 0, []
                for image in range(images):
                    here = [g for g in truth if (g.image, g.label) == (image, label)]
                    guesses = [f for f in found if (f.image, f.label) == (image, label)]
                    guesses = sorted(guesses, key=lambda f: -f.score)[: MOST[-1]]
                    positives += sum(not _ignored(g, area) for g in here)
                    marks += _marks(here, guesses, threshold, area)
                if not positives:
                    continue
                for m, most in enumerate(MOST):
                    hits = sum(mark == "tp" for rank, _, mark in marks if rank < most)
                    recall[t, label, number, m] = hits / positives
                marks = sorted(marks, key=lambda mark: -mark[1])
                curve = _curve(marks, positives)
                precision[t, :, label, number], scores[t, :, label, number] = curve
    return precision, scores, recall


def _marks(
    here: list[Truth], guesses: list[Found], threshold: float, area: tuple[float, float]
) -> list[tuple[int, float, str]]:
    """Rank, score and `tp`, `fp` or `ignored` of each guess in one image."""
    here = sorted(here, key=lambda g: _ignored(g, area))
    taken: set[int] = set()
    marks = []
    for rank, guess in enumerate(guesses):
        best, least = None, min(threshold, 1 - 1e-10)
        for n, g in enumerate(here):
            if n in taken and not g.crowd:
                continue
            if best is not None and not _ignored(here[best], area) and _ignored(g, area):
                break
            if (overlap := iou(guess.box, g)) >= least:
                best, least = n, overlap
        if best is not None:
            taken.add(best)
            mark = "ignored" if _ignored(here[best], area) else "tp"
        else:
            inside = area[0] <= guess.box[2] * guess.box[3] <= area[1]
            mark = "fp" if inside else "ignored"
        marks.append((rank, guess.score, mark))
    return marks


def _curve(marks: list[tuple[int, float, str]], positives: int) -> tuple[np.ndarray, np.ndarray]:
    hits = np.cumsum([mark == "tp" for _, _, mark in marks])
    wrong = np.cumsum([mark == "fp" for _, _, mark in marks])
    precision, score = np.zeros(101), np.zeros(101)
    for step, recall in enumerate(STEPS):
        reached = [n for n in range(len(marks)) if hits[n] / positives >= recall]
        if reached:
            later = range(reached[0], len(marks))
            precision[step] = max(hits[n] / (wrong[n] + hits[n] + np.spacing(1)) for n in later)
            score[step] = marks[reached[0]][1]
    return precision, score


def iou(box: tuple[float, float, float, float], g: Truth) -> float:
    """Intersection over union; with a crowd, over the guess alone."""
    w = min(box[0] + box[2], g.box[0] + g.box[2]) - max(box[0], g.box[0])
    h = min(box[1] + box[3], g.box[1] + g.box[3]) - max(box[1], g.box[1])
    if w <= 0 or h <= 0:
        return 0.0
    own = box[2] * box[3]
    return w * h / (own if g.crowd else own + g.box[2] * g.box[3] - w * h)


def _ignored(g: Truth, area: tuple[float, float]) -> bool:
    return g.crowd or not area[0] <= g.area <= area[1]
