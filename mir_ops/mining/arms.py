"""The control arm: a slice of the budget drawn at random, beside what a strategy picks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.mining.candidates import Candidates, Floats, Integers, draws_of
from mir_ops.mining.limits import Limits

MINED: Final = "arm_mined"
RANDOM: Final = "arm_random"
MOST: Final = 0.5  # more of a budget is no slice of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Which share of the budget is drawn at random, and by which number."""

    share: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.share <= MOST:
            raise InvalidInputError(
                f"The control arm's share is {self.share}",
                code="bad-control",
                hint=f"It is between 0 and {MOST:g} of the budget",
            )

    def divide(
        self, order: Integers, candidates: Candidates, assets: pa.Table, budget: int, limits: Limits
    ) -> Division:
        """Draw from all candidates, then let the strategy fill the budget up.

        How many are drawn is settled before anything is drawn, and who is drawn depends neither on
        the strategy nor on quotas and caps, which bind the mined arm alone. The strategy's picks
        are the beginning of its own order, as long as fits beside what only chance chose: an
        image that both choose is in both arms and costs one label. So, whatever the overlap, the
        drawn images that the strategy did not pick are a simple random sample of all those that it
        did not pick: what `mir_ops.mining.control` estimates from.
        """
        cost = _costs(candidates, limits)
        drawn = self._draw(candidates, budget, float(cost.mean()) if len(cost) else 1.0)
        alone, room = drawn, (0, 0)
        while (left := _left(budget, cost[alone])) != room:
            room = left
            picks, notes = limits.cut(order, candidates, assets, room[0], most=room[1])
            alone = drawn[~np.isin(drawn, picks)]
        return Division(mined=picks, drawn=drawn, alone=alone, notes=notes)

    def _draw(self, candidates: Candidates, budget: int, cost: float) -> Integers:
        wanted = int(self.share * budget / max(cost, 1.0) + 0.5)
        draws = draws_of(candidates.asset_ids, self.seed)
        first = np.argsort(-draws, kind="stable")
        return first[: min(wanted, max(0, budget - 1), len(candidates))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Positions among the candidates: the strategy's, all that were drawn, drawn by chance only."""

    mined: Integers
    drawn: Integers
    alone: Integers
    notes: tuple[str, ...]

    @property
    def picks(self) -> Integers:
        """The mined by rank, then those that only chance chose."""
        return np.concatenate([self.mined, self.alone])

    def components(self, size: int) -> dict[str, Floats]:
        """The mark of each arm for each candidate; NaN where it is not in the arm."""
        marks = {MINED: np.full(size, np.nan), RANDOM: np.full(size, np.nan)}
        marks[MINED][self.mined] = 1.0
        marks[RANDOM][self.drawn] = 1.0
        return marks

    def reasons(self, mined: Callable[[int], str]) -> list[str]:
        """Why each pick is picked, given what the strategy says of its own."""
        both = set(self.drawn.tolist())
        said = [
            f"{mined(one)}; also drawn for the control arm" if one in both else mined(one)
            for one in self.mined.tolist()
        ]
        return said + ["drawn at random for the control arm"] * len(self.alone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Picked images by arm, sorted; those that both chose are in both."""

    mined: pa.Array
    random: pa.Array

    @property
    def alone(self) -> pa.Array:
        """Those that only chance chose."""
        return self.random.filter(pc.invert(pc.is_in(self.random, value_set=self.mined)))


def read_arms(scores: pa.Table) -> Arms:
    """The arms of a table of mining scores; without marks all picks are mined."""
    picked = scores.filter(pc.is_valid(scores["rank"])).sort_by("asset_id")
    ids = picked["asset_id"].combine_chunks()
    marks = [pc.map_lookup(picked["components"], name, "first") for name in (MINED, RANDOM)]
    mined, drawn = (pc.is_valid(column).combine_chunks() for column in marks)
    if not pc.any(mined).as_py():
        return Arms(mined=ids, random=ids.slice(0, 0))
    return Arms(mined=ids.filter(mined), random=ids.filter(drawn))


def arm_of(components: dict[str, Any]) -> str | None:
    """`mined`, `random` or `both`; None where there was no control arm."""
    here = (MINED in components, RANDOM in components)
    return {(True, True): "both", (True, False): "mined", (False, True): "random"}.get(here)


def control_seed(seed: int, number: int) -> int:
    """The seed of a round's draw: none that a strategy draws by, and another one each round."""
    said = hashlib.sha256(f"mir control arm/{seed}/{number}".encode()).digest()
    return int.from_bytes(said[:8], "big")


def _left(budget: int, cost: Floats) -> tuple[int, int]:
    """What images of this cost leave of the budget, and how many images may still be picked."""
    return max(1, int(budget - cost.sum())), max(1, budget - len(cost))


def _costs(candidates: Candidates, limits: Limits) -> Floats:
    """What each image takes of the budget."""
    if limits.unit == "boxes":
        return limits.expected_boxes(candidates)
    return np.ones(len(candidates))
