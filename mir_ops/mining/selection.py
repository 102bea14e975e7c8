"""From scores to a pick: who is chosen, in which order, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mir_ops.mining.arms import Control, Division
from mir_ops.mining.candidates import Candidates, Floats, Integers, Labelled
from mir_ops.mining.limits import Limits
from mir_ops.mining.reading import read_candidates
from mir_ops.mining.registry import Column, Scored, score_candidates
from mir_ops.mining.vectors import Grid, nearest
from mir_ops.store.schema import ASSET_ID, SCORES

# Scores that differ less are equal, on every processor.
_DECIMALS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """`scores` is a table like `schema.SCORES`, a row for each candidate.

    Of those picked it says the rank, the reason and the nearest labelled image. `notes` say what
    the strategy had to do without, and which quotas could not be kept.
    """

    scores: pa.Table
    notes: tuple[str, ...] = ()


def select(
    strategy: str,
    *,
    assets: pa.Table,
    predictions: pa.Table,
    classes: Mapping[int, str],
    budget: int,
    seed: int,
    parameters: Mapping[str, Any] | None = None,
    embeddings: pa.Table | None = None,
    labelled: Labelled | None = None,
    ranking: pa.Table | None = None,
    limits: Limits | None = None,
    control: Control | None = None,
) -> Selection:
    """Score every asset and pick among them within the budget, a slice of it at random.

    The same inputs and seed give the same selection, whatever the order of their rows. Candidates
    that are as good are picked in the order of their asset ids. `ranking` is the executor's own:
    `asset_id` and `score`.
    """
    limits = limits or Limits()
    limits.check(budget)
    candidates = read_candidates(
        assets,
        predictions,
        classes=classes,
        wanted=limits.wanted(budget, assets.num_rows),
        seed=seed,
        embeddings=embeddings,
        labelled=labelled,
        ranking=ranking,
    )
    scored = score_candidates(strategy, candidates, parameters or {})
    if len(candidates) == 0:
        return Selection(scores=SCORES.empty_table(), notes=scored.notes)
    score = np.round(scored.score, _DECIMALS)
    order = _order(score, scored)
    if control is not None and control.share:
        division = control.divide(order, candidates, assets, budget, limits)
    else:
        picks, notes = limits.cut(order, candidates, assets, budget)
        division = Division(mined=picks, drawn=picks[:0], alone=picks[:0], notes=notes)
    return Selection(
        scores=_to_table(candidates, scored, score, division),
        notes=(*scored.notes, *division.notes),
    )


def by_score(score: Floats) -> Integers:
    """Positions by falling score; equal ones by asset id, in whose order the candidates are."""
    return np.argsort(-np.round(score, _DECIMALS), kind="stable")


def _order(score: Floats, scored: Scored) -> Integers:
    falling = by_score(score)
    if scored.order is None:
        return falling
    named = np.zeros(len(score), bool)
    named[scored.order] = True
    return np.concatenate([scored.order, falling[~named[falling]]])


def _to_table(
    candidates: Candidates, scored: Scored, score: Floats, division: Division
) -> pa.Table:
    size, picks = len(candidates), division.picks
    rank = np.full(size, -1, np.int64)
    rank[picks] = np.arange(len(picks))
    near, apart = _nearest_labelled(candidates, picks)
    components = {**scored.components, **({} if apart is None else {"nearest_labelled": apart})}
    if len(division.drawn):
        components |= division.components(size)
    reasons = division.reasons(scored.reason)
    mask = rank < 0
    return pa.table(
        [
            candidates.asset_ids,
            pa.array(score),
            pa.array(rank, mask=mask),
            _maps(components, size),
            _at(pa.array(reasons, pa.string()), rank),
            near if near is not None else pa.nulls(size, ASSET_ID),
        ],
        schema=SCORES,
    )


def _nearest_labelled(
    candidates: Candidates, picks: Integers
) -> tuple[pa.Array | None, Floats | None]:
    """Of each pick the labelled image that looks most like it, and how far that is."""
    vectors, labelled = candidates.vectors, candidates.labelled
    if vectors is None or labelled is None or labelled.vectors is None:
        return None, None
    known = picks[vectors.rows[picks] >= 0]
    mine = vectors.of(known)
    found, apart = nearest(mine, labelled.vectors, Grid.over(mine, labelled.vectors))
    size = len(candidates)
    distances, place = np.full(size, np.nan), np.full(size, -1, np.int64)
    distances[known], place[known] = apart, found
    return _at(labelled.asset_ids, place), distances


def _at(values: pa.Array, place: Integers) -> pa.Array:
    """The values at these places; -1 is null."""
    return values.take(pa.array(place, mask=place < 0))


def _maps(components: Mapping[str, Column], rows: int) -> pa.Array:
    """A map for each row, of the components that it has."""
    values = (
        np.stack(
            [np.round(column.astype(np.float64), _DECIMALS) for column in components.values()],
            axis=1,
        )
        if components
        else np.zeros((rows, 0))
    )
    there = ~np.isnan(values)
    offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    numbers = np.tile(np.arange(values.shape[1], dtype=np.int32), rows)[there.ravel()]
    keys = pa.array(list(components), pa.string()).take(pa.array(numbers))
    return pa.MapArray.from_arrays(pa.array(offsets), keys, pa.array(values[there]))
