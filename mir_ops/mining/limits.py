"""What bounds a pick besides the strategy: the budget's unit, quotas of classes, source caps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.mining.candidates import Candidates, Floats, Integers, sum_by
from mir_ops.mining.reading import whole

Unit = Literal["images", "boxes"]

# A box of a class at this confidence makes an image count for the class's quota.
QUOTA_CONFIDENCE: Final = 0.25
_SPARE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`quotas` are images to pick, at least, in which a class was found, by class id.

    At most `per_source` images are picked of each source; `source` says what that is: the asset
    column `group_id` or `parent_id`, or `attributes.NAME`. An image without one is its own. A
    budget in boxes counts expected boxes: `boxes_per_confidence` times an image's confidences.
    """

    unit: Unit = "images"
    boxes_per_confidence: float = 1.0
    quotas: Mapping[int, int] = field(default_factory=dict)
    per_source: int | None = None
    source: str = "group_id"

    def check(self, budget: int) -> None:
        """Refuse what cannot be kept."""
        if budget < 1:
            raise InvalidInputError(
                f"The mining budget is {budget}",
                code="bad-budget",
                hint=f"Ask for at least one {'image' if self.unit == 'images' else 'box'}",
            )
        low = [count for count in self.quotas.values() if count < 1]
        if low or (self.unit == "images" and sum(self.quotas.values()) > budget):
            raise InvalidInputError(
                f"Quotas of {sum(self.quotas.values())} images in a budget of {budget}"
                if not low
                else f"A quota is {low[0]} images",
                code="bad-quota",
                hint="Each is at least 1, together at most the budget",
            )
        if not (math.isfinite(self.boxes_per_confidence) and self.boxes_per_confidence > 0):
            raise InvalidInputError(
                f"`boxes_per_confidence` is {self.boxes_per_confidence}", code="bad-budget"
            )
        if self.per_source is not None and self.per_source < 1:
            raise InvalidInputError(f"`per_source` is {self.per_source}", code="bad-source")

    def wanted(self, budget: int, candidates: int) -> int:
        """How many candidates a strategy should put in order."""
        spare = 1 if self.per_source is None else _SPARE
        return min(candidates, budget * spare)

    def cut(
        self,
        order: Integers,
        candidates: Candidates,
        assets: pa.Table,
        budget: int,
        *,
        most: int | None = None,
    ) -> tuple[Integers, tuple[str, ...]]:
        """The picks among the candidates in their order, and what could not be kept.

        `most` bounds the images; without it there are as many as the budget has boxes.
        """
        if self.per_source is not None:
            order = self._capped(order, _sources(assets, self.source))
        first, notes = self._reserved(order, candidates)
        sequence = np.concatenate([first, order[~np.isin(order, first)]]) if len(first) else order
        picks = sequence[: budget if most is None else most]
        if self.unit == "boxes":
            expected = np.cumsum(self.expected_boxes(candidates)[picks])
            fitting = int(np.searchsorted(np.round(expected, 6), budget, side="right"))
            picks = picks[: max(1, fitting)]
        return order[np.isin(order, picks)] if len(first) else picks, notes

    def expected_boxes(self, candidates: Candidates) -> Floats:
        """How many boxes each candidate may turn out to have."""
        boxes = candidates.boxes
        return self.boxes_per_confidence * sum_by(boxes.owner, boxes.confidence, len(candidates))

    def _capped(self, order: Integers, sources: Integers) -> Integers:
        assert self.per_source is not None
        mine = sources[order]
        by_source = np.argsort(mine, kind="stable")
        start = np.flatnonzero(np.diff(mine[by_source], prepend=-1))
        nth = np.empty(len(order), np.int64)
        nth[by_source] = np.arange(len(order)) - np.repeat(
            start, np.diff(np.append(start, len(order)))
        )
        return order[nth < self.per_source]

    def _reserved(
        self, order: Integers, candidates: Candidates
    ) -> tuple[Integers, tuple[str, ...]]:
        """The first candidates of each class with a quota; classes that few have come first."""
        boxes, notes = candidates.boxes, []
        sure = boxes.confidence >= QUOTA_CONFIDENCE
        having = {
            class_id: np.unique(boxes.owner[sure & (boxes.class_id == class_id)])
            for class_id in self.quotas
        }
        taken = np.zeros(0, np.int64)
        for class_id in sorted(having, key=lambda one: (len(having[one]), one)):
            quota = self.quotas[class_id]
            missing = max(0, quota - int(np.isin(having[class_id], taken).sum()))
            free = order[np.isin(order, having[class_id]) & ~np.isin(order, taken)]
            taken = np.concatenate([taken, free[:missing]])
            if len(free) < missing:
                name = candidates.classes.get(class_id, str(class_id))
                left = "" if self.per_source is None else " that the caps leave"
                notes.append(
                    f"class `{name}` was found in {quota - missing + len(free)} candidates{left}, "
                    f"its quota is {quota}"
                )
        return taken, tuple(notes)


def _sources(assets: pa.Table, source: str) -> Integers:
    """A number for each candidate's source, from 0; an image without a source is its own."""
    column, _, attribute = source.partition(".")
    if column not in assets.column_names or (column == "attributes") != bool(attribute):
        raise InvalidInputError(
            f"Assets have no source `{source}`",
            code="bad-source",
            hint="A source is `group_id`, `parent_id` or `attributes.NAME`",
        )
    values = whole(assets[column])
    if attribute:
        values = pc.map_lookup(values, attribute, "first")
    ids = whole(assets["asset_id"])
    values = values.take(pc.sort_indices(ids))  # as the candidates
    codes = values.dictionary_encode()
    numbers = np.asarray(pc.fill_null(codes.indices, -1)).astype(np.int64)
    alone = numbers < 0
    numbers[alone] = len(codes.dictionary) + np.arange(alone.sum())
    return numbers
