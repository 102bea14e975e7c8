"""Pick images that leave no image of the pool far from everything labelled."""

from __future__ import annotations

import numpy as np

from mir_ops.mining.candidates import Candidates, Floats, Integers
from mir_ops.mining.registry import Scored, register
from mir_ops.mining.scoring.random_draw import random_draw
from mir_ops.mining.vectors import Distance, Grid, k_center

NO_VECTORS = "no embeddings: nothing is known of which images are alike"
NO_LABELLED = "no embeddings of the labelled images: picks keep apart from each other only"


@register(
    "k-center",
    "Cover the pool: pick what is farthest from all that is labelled or picked",
    needs=("vectors", "labelled vectors"),
)
def k_center_picks(candidates: Candidates, *, distance: Distance = "euclidean") -> Scored:
    """The greedy core-set of Sener and Savarese (ICLR 2018).

    Needs embeddings; without them images are drawn at random. Without embeddings of the labelled
    images the first pick is drawn. Images without a vector come last.
    """
    if candidates.vectors is None:
        drawn = random_draw(candidates)
        return Scored(
            score=drawn.score,
            reason=lambda one: f"{drawn.reason(one)}: no embeddings",
            components=drawn.components,
            notes=(f"{NO_VECTORS}; drawn at random",),
        )
    known = candidates.vectors.known()
    order, apart, notes = spread(candidates, known, distance, first=candidates.draws())
    column = distances(candidates, order, apart)
    return Scored(
        score=np.nan_to_num(column),
        order=order,
        reason=lambda one: told(column[one]),
        components={"distance": column},
        notes=notes,
    )


def spread(
    candidates: Candidates,
    images: Integers,
    distance: Distance,
    *,
    first: Floats,
    weights: Floats | None = None,
) -> tuple[Integers, Floats, tuple[str, ...]]:
    """As many as are wanted of these images, by k-center; each one's distance when it was picked.

    Without labelled vectors the image with the highest `first` is picked first. `weights` are of
    these images.
    """
    assert candidates.vectors is not None
    mine = candidates.vectors.of(images)
    labelled = candidates.labelled.vectors if candidates.labelled is not None else None
    parts = (mine,) if labelled is None else (mine, labelled)
    picks, apart = k_center(
        mine,
        candidates.wanted,
        grid=Grid.over(*parts, distance=distance),
        centers=labelled,
        first=int(first[images].argmax()) if len(images) else 0,
        weights=weights,
    )
    return images[picks], apart, (NO_LABELLED,) if labelled is None else ()


def distances(candidates: Candidates, order: Integers, apart: Floats) -> Floats:
    """For each candidate how far it was when it was picked; NaN where it was not, or was first."""
    column = np.full(len(candidates), np.nan)
    column[order] = np.where(np.isfinite(apart), apart, np.nan)
    return column


def told(apart: float) -> str:
    """The distance of a pick, for people."""
    if np.isnan(apart):
        return "nothing to be far from"
    return f"{apart:.4g} away from all that was labelled or picked before"
