"""From scores to a pick: who is chosen, in which order, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.errors import InvalidInputError
from mir_ops.mining.candidates import Candidates, Integers, read_candidates
from mir_ops.mining.registry import Scored, find_strategy
from mir_ops.store.schema import SCORES

# Scores that differ less are equal, on every processor.
_DECIMALS = 9


def select(
    strategy: str,
    *,
    assets: pa.Table,
    predictions: pa.Table,
    class_ids: Sequence[int],
    budget: int,
    seed: int,
) -> pa.Table:
    """Score every asset and pick up to `budget` of them: a table like `schema.SCORES`.

    The same assets, predictions and seed give the same table, whatever the order of their rows.
    Equal scores are picked in the order of asset ids.
    """
    score = find_strategy(strategy)
    if budget < 1:
        raise InvalidInputError(
            f"The mining budget is {budget}",
            code="bad-budget",
            hint="Ask for at least one image",
        )
    candidates = read_candidates(assets, predictions, class_ids=class_ids, budget=budget, seed=seed)
    if len(candidates) == 0:
        return SCORES.empty_table()
    return _to_table(candidates, score(candidates))


def _to_table(candidates: Candidates, scored: Scored) -> pa.Table:
    score = np.round(scored.score, _DECIMALS)
    if score.shape != (len(candidates),) or not np.isfinite(score).all():
        raise ValueError("A mining strategy must give one finite score per candidate")
    rank = _rank(score)
    return pa.table(
        [
            candidates.asset_ids,
            pa.array(score),
            pa.array(rank, mask=rank >= candidates.budget),
            _maps(scored.components, len(candidates)),
            scored.reason,
        ],
        schema=SCORES,
    )


def _rank(score: npt.NDArray[np.float64]) -> Integers:
    # Candidates are sorted by id and the sort is stable: ties go to the smaller id.
    order = np.argsort(-score, kind="stable")
    rank = np.empty(len(score), dtype=np.int64)
    rank[order] = np.arange(len(score))
    return rank


def _maps(components: Mapping[str, npt.NDArray[np.generic]], rows: int) -> pa.Array:
    size = len(components)
    keys = pa.array(list(components) * rows, pa.string())
    values = np.zeros((rows, size), dtype=np.float64)
    for position, column in enumerate(components.values()):
        values[:, position] = np.round(column.astype(np.float64), _DECIMALS)
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * size)
    return pa.MapArray.from_arrays(offsets, keys, pa.array(values.ravel()))
