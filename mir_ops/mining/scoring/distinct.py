"""Pick by another strategy's scores, and leave out what looks like a pick already."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field

from mir_ops.mining.candidates import Candidates, Flags, Floats, Integers, Matrix
from mir_ops.mining.registry import Scored, find_strategy, register
from mir_ops.mining.scoring.k_center import NO_VECTORS
from mir_ops.mining.vectors import Grid, squared_distances

Similarity = Annotated[float, Field(gt=0, le=1)]
By = Literal["entropy", "least-confidence", "margin", "class-rarity", "random", "executor"]

_BLOCK: Final = 512


@register(
    "distinct",
    "Pick by score, but no image that is nearly one picked or labelled already",
    needs=("vectors", "labelled vectors", "ranking"),
)
def distinct(
    candidates: Candidates, *, by: By = "entropy", similarity: Similarity = 0.95
) -> Scored:
    """Near-duplicate suppression, as Brinker (ICML 2003) adds diversity to a ranking.

    In the order of the scores of `by`, an image is passed over when the cosine between its vector
    and that of a pick, or of a labelled image, is `similarity` or more. What was passed over
    follows when nothing else is left. Needs embeddings; without them it is `by`.
    """
    found = find_strategy(by).score(candidates)
    if candidates.vectors is None:
        notes = (*found.notes, f"{NO_VECTORS}; picked by {by} alone")
        return Scored(
            score=found.score, reason=found.reason, components=found.components, notes=notes
        )
    order, passed = _apart(candidates, found.score, similarity)
    components: dict[str, Any] = {**found.components}
    if len(passed):
        marks = np.full(len(candidates), np.nan)
        marks[passed] = 1.0
        components["passed_over"] = marks
    return Scored(
        score=found.score,
        order=order,
        reason=found.reason,
        components=components,
        notes=found.notes,
    )


def _apart(candidates: Candidates, score: Floats, similarity: float) -> tuple[Integers, Integers]:
    """The picks in their order, and what was passed over on the way."""
    from mir_ops.mining.selection import by_score

    vectors, labelled = candidates.vectors, candidates.labelled
    assert vectors is not None
    falling = by_score(score)
    grid = Grid.over(vectors.matrix, distance="cosine")
    near = 2.0 * (1.0 - similarity) * grid.scale**2
    kept = _numbers(grid, labelled.vectors if labelled is not None else None, vectors.matrix)
    picks, passed, count = [falling[:0]], [falling[:0]], 0
    for low in range(0, len(falling), _BLOCK):
        block = falling[low : low + _BLOCK]
        mine = grid.numbers(vectors.matrix[vectors.rows[block]])
        known = vectors.rows[block] >= 0
        good = _far(mine, known, kept, near)
        picks.append(block[good][: candidates.wanted - count])
        passed.append(block[~good])
        count += len(picks[-1])
        if count >= candidates.wanted:
            break
        kept = np.concatenate([kept, mine[good & known]])
    return np.concatenate(picks), np.concatenate(passed)


def _far(mine: Floats, known: Flags, kept: Floats, near: float) -> Flags:
    """Which of these are far from all that is kept, and from those among them that come before."""
    good = np.ones(len(mine), bool)
    if len(kept):
        good = squared_distances(mine, kept).min(axis=1) > near
    close = squared_distances(mine, mine) <= near
    close[:, ~known] = False
    good |= ~known
    for one in range(len(mine)):
        if good[one] and known[one]:
            close[one, one] = False
            good[one + 1 :] &= ~close[one, one + 1 :] | ~known[one + 1 :]
    return good


def _numbers(grid: Grid, vectors: Matrix | None, like: Matrix) -> Floats:
    return np.zeros((0, like.shape[1])) if vectors is None else grid.numbers(vectors)
