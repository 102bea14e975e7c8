"""What simulated rounds say: curves, differences with their intervals, what it would have saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from mir_ops.mining.candidates import Floats
from mir_ops.mining.intervals import student
from mir_ops.mining.simulation import CONTROL, Cell

AS_GOOD: Final = 0.02  # a gain that is surely less is none worth having


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds that a person needs. Drawing a box took 25 to 35 for ILSVRC (Su et al., 2012)."""

    per_image: float = 3.0
    per_box: float = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The mean over seeds, and the interval that holds it with 90 %: none from one seed."""

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]

    @property
    def sign(self) -> int:
        """1 or -1 where the interval says so, else 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One round of a strategy: means over the seeds."""

    number: int
    images: int
    boxes: float
    map50: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """A strategy against the control, paired by seed.

    Differences of mAP50 are means over the rounds. Saved is what the strategy needed less to reach
    the control's last mAP50; None where not every seed reached it.
    """

    strategy: str
    control: str
    at_equal_images: Estimate
    at_equal_boxes: Estimate
    saved_images: Estimate | None
    saved_boxes: Estimate | None
    saved_hours: Estimate | None
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    curves: dict[str, tuple[Point, ...]]
    against: tuple[Against, ...]
    seeds: tuple[int, ...]
    cost: Cost
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    images: Floats
    boxes: Floats
    map50: Floats


def weigh(cells: Sequence[Cell], strategies: Sequence[str], cost: Cost) -> Worth:
    """What all models of a simulation say together; every seed has to be complete."""
    seeds = tuple(sorted({cell.seed for cell in cells}))
    by = {strategy: [_curve(cells, seed, strategy) for seed in seeds] for strategy in strategies}
    control = CONTROL if CONTROL in strategies else strategies[0]
    return Worth(
        curves={strategy: _points(curves) for strategy, curves in by.items()},
        against=tuple(
            _against(strategy, by[strategy], control, by[control], cost)
            for strategy in strategies
            if strategy != control
        ),
        seeds=seeds,
        cost=cost,
        notes=tuple(dict.fromkeys(note for cell in cells for note in cell.notes)),
    )


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of a few numbers, by Student's t."""
    known = np.array(values, np.float64)
    mean = float(known.mean())
    if len(known) < 2:
        return Estimate(mean=mean, low=None, high=None, values=tuple(values))
    half = student(len(known)) * float(known.std(ddof=1)) / len(known) ** 0.5
    return Estimate(mean=mean, low=mean - half, high=mean + half, values=tuple(values))


def told(found: Estimate | None, digits: int) -> str:
    """An estimate and its interval, for people."""
    if found is None:
        return "–"
    text = f"{found.mean:+.{digits}f}"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def _curve(cells: Sequence[Cell], seed: int, strategy: str) -> _Curve:
    mine = [cell for cell in cells if cell.seed == seed and cell.strategy in (None, strategy)]
    mine.sort(key=lambda cell: cell.number)
    return _Curve(
        images=np.array([cell.images for cell in mine], np.float64),
        boxes=np.array([cell.boxes for cell in mine], np.float64),
        map50=np.array([cell.map50 for cell in mine], np.float64),
    )


def _points(curves: Sequence[_Curve]) -> tuple[Point, ...]:
    reached = np.stack([curve.map50 for curve in curves])
    boxes = np.stack([curve.boxes for curve in curves]).mean(axis=0)
    return tuple(
        Point(
            number=number,
            images=int(curves[0].images[number]),
            boxes=float(boxes[number]),
            map50=float(column.mean()),
            lowest=float(column.min()),
            highest=float(column.max()),
        )
        for number, column in enumerate(reached.T)
    )


def _against(
    strategy: str, mine: Sequence[_Curve], control: str, other: Sequence[_Curve], cost: Cost
) -> Against:
    pairs = list(zip(mine, other, strict=True))
    images = estimate([float((a.map50 - b.map50)[1:].mean()) for a, b in pairs])
    boxes = estimate([_at_equal_boxes(a, b) for a, b in pairs])
    saved = [_saved(a, b) for a, b in pairs]
    reached = [one for one in saved if one is not None]
    whole = len(reached) == len(saved)
    hours = [(i * cost.per_image + b * cost.per_box) / 3600 for i, b in reached]
    return Against(
        strategy=strategy,
        control=control,
        at_equal_images=images,
        at_equal_boxes=boxes,
        saved_images=estimate([i for i, _ in reached]) if whole else None,
        saved_boxes=estimate([b for _, b in reached]) if whole else None,
        saved_hours=estimate(hours) if whole else None,
        verdict=_verdict(strategy, control, images, boxes),
    )


def _at_equal_boxes(mine: _Curve, other: _Curve) -> float:
    """The mean difference over the boxes that both have had labelled after the first model."""
    end = min(mine.boxes[-1], other.boxes[-1])
    at = np.linspace(mine.boxes[0], end, 21)[1:]
    return float((np.interp(at, *_rising(mine)) - np.interp(at, *_rising(other))).mean())


def _rising(curve: _Curve) -> tuple[Floats, Floats]:
    return curve.boxes, curve.map50


def _saved(mine: _Curve, other: _Curve) -> tuple[float, float] | None:
    """Images and boxes fewer than the control had, where its last mAP50 is first reached."""
    target = other.map50[-1]
    above = np.flatnonzero(mine.map50 >= target)
    if len(above) == 0:
        return None
    last = int(above[0])
    if last == 0:
        images, boxes = mine.images[0], mine.boxes[0]
    else:
        step = (target - mine.map50[last - 1]) / (mine.map50[last] - mine.map50[last - 1])
        images = mine.images[last - 1] + step * (mine.images[last] - mine.images[last - 1])
        boxes = mine.boxes[last - 1] + step * (mine.boxes[last] - mine.boxes[last - 1])
    return float(other.images[-1] - images), float(other.boxes[-1] - boxes)


def _verdict(strategy: str, control: str, images: Estimate, boxes: Estimate) -> str:
    seeds = len(images.values)
    if seeds < 2:
        return f"cannot tell: one seed says nothing of chance; `{strategy}` had {images.mean:+.3f}"
    if images.sign < 0 and boxes.sign < 0:
        return f"`{strategy}` is worse than `{control}` on this data"
    if images.sign > 0 and boxes.sign > 0:
        return f"`{strategy}` is better than `{control}`, for the same images and the same boxes"
    if images.sign > 0:
        return (
            f"`{strategy}` is better than `{control}` for the same images, and labels more boxes "
            f"for it: for the same boxes {_told(boxes, control)}"
        )
    if boxes.sign > 0:
        return f"`{strategy}` is better than `{control}` for the same boxes, not for as many images"
    if images.sign < 0 or boxes.sign < 0:
        what = "images" if images.sign < 0 else "boxes"
        return f"`{strategy}` is worse than `{control}` for the same {what}"
    if max(images.high or 0.0, boxes.high or 0.0) < AS_GOOD:
        within = f"to within {AS_GOOD:g} of mAP50"
        return f"`{control}` is as good as `{strategy}` on this data, {within}"
    return (
        f"cannot tell `{strategy}` from `{control}` with {seeds} seeds: for the same images "
        f"{told(images, 3)}; more seeds narrow this"
    )


def _told(found: Estimate, control: str) -> str:
    return f"`{control}` is better" if found.sign < 0 else "it cannot be told"
