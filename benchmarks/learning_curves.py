"""What the cells say together: differences to random, paired by seed, and whether they are enough.

At equal images two models of as many images are compared. At equal boxes a strategy's model is
compared with random's curve, read off between its two nearest models at just as many boxes. Random
is trained on more images for that; where even its last model has fewer boxes, there is no answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
from learning_cells import ALL, CONTROL, FIRST, TESTS, Cell
from learning_pools import SETTINGS
from lines import Line

from mir_ops.console.simulations import write_simulation
from mir_ops.mining.worth import Against, Cost, Estimate, Point, Worth, estimate, told

DEFAULT: Final = "hybrid"
LONG_TAIL: Final = "long-tail"
JUDGED: Final = "balanced"  # the test that bars are about
POINTS: Final = 100.0  # a mAP50 of 1 is so many points

# Of the long tail, in points: what has to be gained, and what is hoped for.
_GAINS: Final = {
    "must": {"short": {"images": 4.0, "boxes": 2.5}, "converged": {"images": 3.0, "boxes": 1.5}},
    "target": {"short": {"images": 6.0, "boxes": 4.0}, "converged": {"images": 5.0, "boxes": 3.0}},
}
_SHARE_OF_ALL, _FIFTH = 0.95, 0.2
_WORST_LOSS, _SEEDS_FOR_LOSS = 1.0, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A pool and a length: the cells that are planned there, by strategy, and their results."""

    pool: str
    length: str
    cells: Sequence[Cell]
    lines: Mapping[Cell, Mapping[str, Any]]

    @property
    def name(self) -> str:
        return f"{self.pool}, {self.length}"

    @property
    def strategies(self) -> list[str]:
        return list(dict.fromkeys(cell.strategy for cell in self.cells if cell.mined))

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(cell.seed for cell in self.cells))

    def chain(self, strategy: str, seed: int) -> list[Mapping[str, Any]] | None:
        """The results from the first model on; None before all of them are there."""
        mine = [c for c in self.cells if c.seed == seed and c.strategy in (FIRST, strategy)]
        done = [self.lines[cell] for cell in mine if cell in self.lines]
        return sorted(done, key=lambda line: line["number"]) if len(done) == len(mine) else None

    def whole(self, strategy: str) -> list[int]:
        """The seeds of which all models of the strategy and of random are there."""
        return [s for s in self.seeds if self.chain(strategy, s) and self.chain(CONTROL, s)]

    def gains(self, strategy: str, test: str, equal: str) -> dict[int, list[float]]:
        """By seed, the points that each model is better by; those that can be compared."""
        found = {}
        for seed in self.whole(strategy):
            mine, other = self.chain(strategy, seed) or [], self.chain(CONTROL, seed) or []
            at = np.array([line[equal] for line in mine[1:]], np.float64)
            known = at <= other[-1][equal]
            reached = np.array([line["tests"][test]["map50"] for line in mine[1:]])
            other_reached = [line["tests"][test]["map50"] for line in other]
            control = np.interp(at, [line[equal] for line in other], other_reached)
            if known.any():
                found[seed] = ((reached - control)[known] * POINTS).tolist()
        return found

    def gain(self, strategy: str, test: str, equal: str) -> Estimate | None:
        """The mean over rounds and seeds, and its interval."""
        found = self.gains(strategy, test, equal)
        return estimate([fmean(values) for values in found.values()]) if found else None


def judge(groups: Sequence[Group]) -> Iterator[Line]:
    """Every bar, also where nothing was measured, and below them what is not judged."""
    by = {(group.pool, group.length): group for group in groups}
    for wish, lengths in _GAINS.items():
        for length, bars in lengths.items():
            for equal, points in bars.items():
                yield from _gained(by.get((LONG_TAIL, length)), wish, length, equal, points)
    yield _share_of_all(by.get((LONG_TAIL, "converged")))
    yield from _lost(by)
    for group in groups:
        yield from _reported(group)


def _gained(
    group: Group | None, wish: str, length: str, equal: str, points: float
) -> Iterator[Line]:
    name = f"{wish}: {LONG_TAIL}, {length}, {DEFAULT} - {CONTROL} at equal {equal}"
    gain = group.gain(DEFAULT, JUDGED, equal) if group else None
    ours, note = (None, "not measured") if gain is None else (gain.mean, _note(group, gain, equal))
    yield Line(name=f"{name}, points", ours=ours, other=points, bar=1.0, sense=">=", note=note)
    if wish == "must":
        below = None if gain is None else float(sum(value <= 0 for value in gain.values))
        yield Line(name=f"{name}, seeds not above 0", ours=below, limit=0.0, note=note)


def _note(group: Group | None, gain: Estimate, equal: str) -> str:
    interval = "" if gain.low is None else f"90 % {gain.low:+.1f} to {gain.high:+.1f}, "
    by_seed = ", ".join(f"{value:+.1f}" for value in gain.values)
    note = f"{interval}by seed {by_seed}"
    if group is None:
        return note
    untold = _untold(group, equal)
    missing = len(group.seeds) - len(gain.values)
    note += f"; {missing} of {len(group.seeds)} seeds not measured" if missing else ""
    return note + (f"; {untold} models beyond {CONTROL}'s last" if untold else "")


def _untold(group: Group, equal: str) -> int:
    """Models of the default that cannot be compared for want of boxes of random's."""
    found = group.gains(DEFAULT, JUDGED, equal)
    models = {seed: len(group.chain(DEFAULT, seed) or ()) - 1 for seed in group.whole(DEFAULT)}
    return sum(models.values()) - sum(len(values) for values in found.values())


def _share_of_all(group: Group | None) -> Line:
    """How much of the whole pool's mAP50 the default has with a fifth of its images."""
    name = f"target: {LONG_TAIL}, converged, {DEFAULT} with 20 % of the images / whole pool, mAP50"
    shares = {DEFAULT: [], CONTROL: []} if group is None else _shares(group)
    if not shares[DEFAULT]:
        line: dict[str, Any] = {"ours": None, "note": "not measured"}
    else:
        said = ", ".join(f"{value:.3f}" for value in shares[DEFAULT])
        note = f"by seed {said}; {CONTROL} {fmean(shares[CONTROL]):.3f}"
        line = {"ours": fmean(shares[DEFAULT]), "note": note}
    return Line(name=name, other=_SHARE_OF_ALL, bar=1.0, sense=">=", **line)


def _shares(group: Group) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {DEFAULT: [], CONTROL: []}
    for seed in group.whole(DEFAULT):
        whole = [c for c in group.cells if c.seed == seed and c.strategy == ALL]
        if not whole or whole[0] not in group.lines:
            continue
        best = group.lines[whole[0]]["tests"][JUDGED]["map50"]
        for strategy, shares in found.items():
            shares += [
                line["tests"][JUDGED]["map50"] / best
                for line in group.chain(strategy, seed) or ()
                if line["images"] == round(_FIFTH * whole[0].pool_images)
            ]
    return found


def _lost(by: Mapping[tuple[str, str], Group]) -> Iterator[Line]:
    """On the other pools a loss must not be certain, over enough seeds to tell."""
    for pool in SETTINGS:
        if pool == LONG_TAIL:
            continue
        group = by.get((pool, "short"))
        for equal in ("images", "boxes"):
            gain = group.gain(DEFAULT, JUDGED, equal) if group else None
            few = gain is None or len(gain.values) < _SEEDS_FOR_LOSS
            note = "not measured" if gain is None else _note(group, gain, equal)
            yield Line(
                name=f"target: {pool}, short, {DEFAULT} at equal {equal}, certain loss in points",
                ours=None if gain is None or gain.high is None else max(0.0, -gain.high),
                limit=_WORST_LOSS,
                failed=few,
                note=f"{note}; wants {_SEEDS_FOR_LOSS} seeds" if few else note,
            )


def _reported(group: Group) -> Iterator[Line]:
    for strategy in group.strategies:
        for test in TESTS:
            for equal in ("images", "boxes"):
                gain = group.gain(strategy, test, equal)
                if gain is not None:
                    yield Line(
                        name=f"{group.name}, {test} test, {strategy} - {CONTROL}, equal {equal}",
                        ours=gain.mean,
                        note=_note(None, gain, equal),
                    )


def draw(group: Group, folder: Path, test: str) -> Path | None:
    """A page of curves by images and by boxes; None before a strategy has a whole seed."""
    shown = [strategy for strategy in group.strategies if group.whole(strategy)]
    if not shown:
        return None
    seeds = sorted(set.intersection(*(set(group.whole(strategy)) for strategy in shown)))
    if not seeds:
        return None
    worth = Worth(
        curves={name: points(group, name, seeds, test) for name in (CONTROL, *shown)},
        against=tuple(_against(group, strategy, test) for strategy in shown),
        seeds=tuple(seeds),
        cost=Cost(),
        notes=(),
    )
    folder = folder / f"{group.pool}-{group.length}-{test}"
    folder.mkdir(parents=True, exist_ok=True)
    return write_simulation(worth, folder, title=f"{group.name}: {test} test", lines=())


def points(group: Group, strategy: str, seeds: Sequence[int], test: str) -> tuple[Point, ...]:
    """A strategy's curve, each of its models in the mean over the seeds."""
    chains = [group.chain(strategy, seed) or [] for seed in seeds]
    points = []
    for number, lines in enumerate(zip(*chains, strict=True)):
        reached = [line["tests"][test]["map50"] for line in lines]
        points.append(
            Point(
                number=number,
                images=lines[0]["images"],
                boxes=fmean(line["boxes"] for line in lines),
                map50=fmean(reached),
                lowest=min(reached),
                highest=max(reached),
            )
        )
    return tuple(points)


def _against(group: Group, strategy: str, test: str) -> Against:
    images, boxes = (_share(group.gain(strategy, test, equal)) for equal in ("images", "boxes"))
    return Against(
        strategy=strategy,
        control=CONTROL,
        at_equal_images=images,
        at_equal_boxes=boxes,
        saved_images=None,
        saved_boxes=None,
        saved_hours=None,
        verdict=f"{strategy} - {CONTROL}: {told(images, 3)} at equal images, "
        f"{told(boxes, 3)} at equal boxes",
    )


def _share(gain: Estimate | None) -> Estimate:
    """In mAP50, not in points."""
    return estimate([value / POINTS for value in gain.values] if gain else [math.nan])
