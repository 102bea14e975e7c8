"""YMIR's average precision and TIDE's kinds of mistakes, read plainly from their definitions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from slow_coco import Found, Truth, iou


def slow_voc(
    truth: list[Truth], found: list[Found], label: int, bound: float, confidence: float
) -> tuple[float, float, int, int, int]:
    """AP, mean recall, right, wrong, missed of one class, as YMIR's evaluation has them."""
    boxes = [g for g in truth if g.label == label]
    sure = [f for f in found if f.label == label and np.float32(f.score) > np.float32(confidence)]
    sure = sorted(sure, key=lambda f: -f.score)
    if not boxes or not sure:
        return 0.0, 0.0, 0, len(sure), len(boxes)
    taken: set[int] = set()
    hits = []
    for guess in sure:
        here = [n for n, g in enumerate(boxes) if g.image == guess.image]
        overlaps = [_inclusive(guess.box, boxes[n].box) for n in here]
        best = int(np.argmax(overlaps)) if overlaps else -1
        hits.append(bool(overlaps) and overlaps[best] > bound and here[best] not in taken)
        if hits[-1]:
            taken.add(here[best])
    right = np.cumsum(hits)
    recall, precision = right / len(boxes), right / np.arange(1, len(hits) + 1)
    ap, before = 0.0, 0.0
    for n, value in enumerate(recall):
        ap += (value - before) * precision[n:].max()
        before = value
    return ap, float(recall.mean()), int(right[-1]), len(hits) - int(right[-1]), len(boxes) - int(right[-1])  # fmt: skip  # noqa: E501


def _inclusive(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    a, b = tuple(map(int, a)), tuple(map(int, b))
    w = max(0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + 1)
    h = max(0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + 1)
    return w * h / ((a[2] + 1) * (a[3] + 1) + (b[2] + 1) * (b[3] + 1) - w * h)


@dataclass
class Tide:
    """Of all predictions their kind; how many boxes each class misses; mAP mended by kind."""

    kinds: list[str]
    missed: int
    gains: dict[str, float] = field(default_factory=dict)


def slow_tide(truth: list[Truth], found: list[Found], labels: int, bound: float = 0.5) -> Tide:
    """No crowds, no equal overlaps. A class without ground truth is in no mean."""
    user = _users(truth, found, bound)
    right = set(user.values())
    told = [
        ("", -1) if n in right else _kind(truth, guess, user, bound)
        for n, guess in enumerate(found)
    ]
    best: dict[int, int] = {}
    for n in sorted(range(len(found)), key=lambda n: -found[n].score):
        if told[n][1] >= 0 and told[n][1] not in user:
            best.setdefault(told[n][1], n)
    lost = [m for m in range(len(truth)) if m not in user and m not in best]
    tide = Tide([kind for kind, _ in told], len(lost))
    points = [(f.label, f.score, n in right) for n, f in enumerate(found)]
    every = [sum(g.label == label for g in truth) for label in range(labels)]
    base = _map(points, every, every)
    for kind in ("classification", "localisation", "both", "duplicate", "background"):
        kept = [point for point, (own, _) in zip(points, told, strict=True) if own != kind]
        kept += [
            (truth[m].label, found[n].score, True) for m, n in best.items() if told[n][0] == kind
        ]
        tide.gains[kind] = max(0.0, _map(kept, every, every) - base)
    fewer = [every[label] - sum(truth[m].label == label for m in lost) for label in range(labels)]
    tide.gains["missed"] = max(0.0, _map(points, fewer, every) - base)
    return tide


def _users(truth: list[Truth], found: list[Found], bound: float) -> dict[int, int]:
    """Which guess found which box."""
    user: dict[int, int] = {}
    for n in sorted(range(len(found)), key=lambda n: (found[n].image, -found[n].score)):
        guess = found[n]
        free = [
            (iou(guess.box, g), m)
            for m, g in enumerate(truth)
            if (g.image, g.label) == (guess.image, guess.label) and m not in user
        ]
        if free and max(free)[0] >= bound:
            user[max(free)[1]] = n
    return user


def _kind(truth: list[Truth], guess: Found, user: dict[int, int], bound: float) -> tuple[str, int]:
    """The kind of a wrong guess, and the box that it is about."""
    overlaps = [(iou(guess.box, g), m) for m, g in enumerate(truth) if g.image == guess.image]
    none = (0.0, -1)
    same = max((o for o in overlaps if truth[o[1]].label == guess.label), default=none)
    other = max((o for o in overlaps if truth[o[1]].label != guess.label), default=none)
    if 0.1 <= same[0] <= bound:
        return "localisation", same[1]
    if other[0] >= bound:
        return "classification", other[1]
    if any(o[0] >= bound and o[1] in user and truth[o[1]].label == guess.label for o in overlaps):
        return "duplicate", -1
    return ("background" if max(same[0], other[0]) <= 0.1 else "both"), -1


def _map(points: list[tuple[int, float, bool]], positives: list[int], every: list[int]) -> float:
    values = []
    for label, count in enumerate(positives):
        mine = sorted((p for p in points if p[0] == label), key=lambda p: -p[1])
        if not every[label] or (not mine and not count):
            continue
        right = np.cumsum([p[2] for p in mine])
        precision = right / (np.arange(1, len(mine) + 1) + np.spacing(1))
        steps = [
            max((precision[n] for n in range(len(mine)) if right[n] / count >= step), default=0.0)
            for step in (np.linspace(0, 1, 101) if count else [])
        ]
        values.append(float(np.mean(steps)) if count else 0.0)
    return float(np.mean(values)) if values else 0.0
