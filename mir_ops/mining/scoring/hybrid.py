"""The default: uncertain images, rare classes first, that do not look alike."""

from __future__ import annotations

from typing import Annotated, Final

import numpy as np
from pydantic import Field

from mir_ops.mining.candidates import Candidates, Floats, Integers
from mir_ops.mining.registry import Column, Scored, register
from mir_ops.mining.scoring.k_center import NO_VECTORS, distances, spread, told
from mir_ops.mining.scoring.rarity import NOT_LABELLED, Power, class_places, class_weights
from mir_ops.mining.scoring.uncertainty import Aggregate, Top, binary_entropy, over_boxes
from mir_ops.mining.vectors import Distance

Shortlist = Annotated[float, Field(ge=1, le=100)]
Share = Annotated[float, Field(ge=0, lt=1)]

_DIGITS: Final = 9


@register(
    "hybrid",
    "Class-weighted uncertainty, then the most different of the best",
    needs=("vectors", "labelled vectors"),
)
def hybrid(
    candidates: Candidates,
    *,
    shortlist: Shortlist = 20.0,
    power: Power = 0.5,
    aggregate: Aggregate = "sum",
    top: Top = 3,
    least: Share = 0.05,
    distance: Distance = "euclidean",
) -> Scored:
    """Two stages, after PPAL (Yang et al., CVPR 2024).

    First the binary entropy of every class probability of the boxes at confidence `least` or more,
    weighted by class as `class-rarity` does; then, of the `shortlist` times as many images as are
    wanted that score highest, those that k-center picks, the square of a distance times the
    score. Images without such boxes are placed by chance in the first stage. Without embeddings
    there is no second stage.
    """
    score, doubt, counts = weighted_uncertainty(candidates, power, aggregate, top, least)
    notes = () if candidates.labelled else (NOT_LABELLED,)
    components: dict[str, Column] = {"uncertainty": doubt, "boxes": counts}

    def certain(one: int) -> str:
        if not counts[one]:
            return f"nothing found: placed by chance with seed {candidates.seed}"
        return f"class-weighted uncertainty {doubt[one]:.3f} over {counts[one]} boxes"

    if candidates.vectors is None:
        notes = (*notes, f"{NO_VECTORS}; picked by uncertainty and class alone")
        return Scored(score=score, reason=certain, components=components, notes=notes)
    first = _shortlist(candidates, score, shortlist)
    weights = _weights(score[first])
    order, apart, more = spread(candidates, first, distance, first=score, weights=weights)
    column = distances(candidates, order, apart)
    return Scored(
        score=score,
        order=order,
        reason=lambda one: f"{certain(one)}; {told(column[one])}",
        components={**components, "distance": column},
        notes=(*notes, *more),
    )


def weighted_uncertainty(
    candidates: Candidates, power: float, aggregate: Aggregate, top: int, least: float
) -> tuple[Floats, Floats, Integers]:
    """The score of each image, its uncertainty (NaN where nothing was found), and its boxes."""
    boxes = candidates.boxes
    weights = class_weights(candidates, power)
    own = binary_entropy(boxes.confidence) * weights[class_places(candidates, boxes.class_id)]
    shares = binary_entropy(boxes.shares)
    shares *= weights[class_places(candidates, boxes.share_class)]
    given = np.diff(boxes.share_start) > 0
    named = np.bincount(boxes.share_owner(), shares, minlength=len(boxes))
    values = np.where(given, named, own)
    sure = boxes.confidence >= least
    counts = np.bincount(boxes.owner[sure], minlength=len(candidates)).astype(np.int64)
    image = over_boxes(boxes.owner[sure], values[sure], counts, aggregate, top)
    score = candidates.place_unseen(image, counts > 0)
    return score, np.where(counts > 0, image, np.nan), counts


def _shortlist(candidates: Candidates, score: Floats, times: float) -> Integers:
    """The best, in the order of their ids, of those that have a vector."""
    from mir_ops.mining.selection import by_score

    assert candidates.vectors is not None
    falling = by_score(score)
    falling = falling[candidates.vectors.rows[falling] >= 0]
    return np.sort(falling[: round(times * candidates.wanted)])


def _weights(score: Floats) -> Floats:
    """Scores as shares of the largest, so coarse that every processor rounds them alike."""
    largest = score.max(initial=0.0)
    shares = np.round(score / largest, _DIGITS) if largest > 0 else np.zeros(len(score))
    return np.maximum(shares, 10.0**-_DIGITS)
