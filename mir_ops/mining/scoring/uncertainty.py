"""Pick the images whose boxes the model is least sure about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field

from mir_ops.mining.candidates import Boxes, Candidates, Floats, Integers, sum_by
from mir_ops.mining.registry import Scored, register

Aggregate = Literal["max", "mean", "sum", "top"]
Top = Annotated[int, Field(ge=1)]

_TINY: Final = 1e-300  # 0 times its logarithm is 0


@register("entropy", "Prefer images with a box that the model is unsure about")
def entropy(candidates: Candidates, *, aggregate: Aggregate = "max", top: Top = 3) -> Scored:
    """Shannon entropy in bits of each box, as Settles and Craven (EMNLP 2008) use it.

    A box's outcomes are its class probabilities, or its confidence alone, and one more: none of
    these. Over the boxes of an image it is the largest (`max`), the mean, the sum, or the mean of
    the `top` largest. The sum picks crowded and noisy images. Needs predictions; images without any
    are placed by chance among the others.
    """
    return score_boxes(candidates, box_entropy, "entropy", "bits", aggregate, top)


@register("least-confidence", "Prefer images with a box whose best class is doubtful")
def least_confidence(
    candidates: Candidates, *, aggregate: Aggregate = "max", top: Top = 3
) -> Scored:
    """What the likeliest outcome of a box leaves of 1 (Lewis and Gale, SIGIR 1994).

    Outcomes, `aggregate` and images without boxes are as for `entropy`.
    """
    return score_boxes(candidates, _doubt, "doubt", "", aggregate, top)


@register("margin", "Prefer images with a box torn between two classes")
def margin(candidates: Candidates, *, aggregate: Aggregate = "max", top: Top = 3) -> Scored:
    """1 less the lead of a box's likeliest outcome on the second (Scheffer et al., IDA 2001).

    Outcomes, `aggregate` and images without boxes are as for `entropy`.
    """
    return score_boxes(candidates, _closeness, "closeness", "", aggregate, top)


def score_boxes(
    candidates: Candidates,
    measure: Callable[[Boxes], Floats],
    name: str,
    unit: str,
    aggregate: Aggregate,
    top: int,
) -> Scored:
    """Score images by what `measure` says of each of their boxes."""
    boxes, counts = candidates.boxes, candidates.box_counts()
    values = measure(boxes)
    image = over_boxes(boxes.owner, values, counts, aggregate, top)
    text = {"max": "highest", "mean": "mean", "sum": "sum", "top": f"mean over the top {top}"}
    start = np.cumsum(counts) - counts

    def reason(one: int) -> str:
        if not counts[one]:
            return f"nothing found: placed by chance with seed {candidates.seed}"
        first = int(start[one] + values[start[one] : start[one] + counts[one]].argmax())
        class_id = int(boxes.class_id[first])
        return (
            f"{name} {image[one]:.3f}{' ' + unit if unit else ''}, {text[aggregate]} of "
            f"{counts[one]} boxes; least certain: `{candidates.classes[class_id]}` "
            f"at {boxes.confidence[first]:.2f}"
        )

    return Scored(
        score=candidates.place_unseen(image, counts > 0),
        reason=reason,
        components={name: np.where(counts > 0, image, np.nan), "boxes": counts},
    )


def over_boxes(
    owner: Integers, values: Floats, counts: Integers, aggregate: Aggregate, top: int = 1
) -> Floats:
    """One value per image; 0 where it has no box. `owner` ascends."""
    size = len(counts)
    if aggregate in ("sum", "mean"):
        total = sum_by(owner, values, size)
        return total if aggregate == "sum" else total / np.maximum(counts, 1)
    result, seen = np.zeros(size), counts > 0
    start = (np.cumsum(counts) - counts)[seen]
    if aggregate == "max":
        if len(start):
            result[seen] = np.maximum.reduceat(values, start)
        return result
    order = np.lexsort((-values, owner))
    place = np.arange(len(values)) - np.repeat(start, counts[seen])
    chosen = order[place < top]
    return sum_by(owner[chosen], values[chosen], size) / np.maximum(np.minimum(counts, top), 1)


def box_entropy(boxes: Boxes) -> Floats:
    """Entropy of each box in bits."""
    shares, rest = _outcomes(boxes)
    named = sum_by(boxes.share_owner(), _terms(shares), len(boxes))
    alone = np.diff(boxes.share_start) == 0
    return np.where(alone, _terms(boxes.confidence), named) + _terms(rest)


def binary_entropy(shares: Floats) -> Floats:
    """Of a yes with this probability, in bits."""
    return _terms(shares) + _terms(1.0 - shares)


def _doubt(boxes: Boxes) -> Floats:
    first, _ = _leaders(boxes)
    return 1.0 - first


def _closeness(boxes: Boxes) -> Floats:
    first, second = _leaders(boxes)
    return 1.0 - (first - second)


def _outcomes(boxes: Boxes) -> tuple[Floats, Floats]:
    """Class probabilities that add up to at most 1, and what is left for "none of these"."""
    owner, given = boxes.share_owner(), np.diff(boxes.share_start)
    total = sum_by(owner, boxes.shares, len(boxes))
    # Independent class probabilities (sigmoids) may add up to more than 1.
    shares = boxes.shares / np.maximum(total, 1.0)[owner]
    named = np.where(given == 0, boxes.confidence, np.minimum(total, 1.0))
    return shares, 1.0 - named


def _leaders(boxes: Boxes) -> tuple[Floats, Floats]:
    """The probabilities of the likeliest outcome of each box and of the second."""
    shares, rest = _outcomes(boxes)
    given = np.diff(boxes.share_start)
    some = given > 0
    first = np.where(some, 0.0, boxes.confidence)
    second = np.zeros(len(boxes))
    if some.any():
        start = boxes.share_start[:-1][some]
        first[some] = np.maximum.reduceat(shares, start)
        # Without one of the largest: the second may be as large.
        order = np.lexsort((-shares, boxes.share_owner()))
        several = given > 1
        second[several] = shares[order[boxes.share_start[:-1][several] + 1]]
    return np.maximum(first, rest), np.maximum(second, np.minimum(first, rest))


def _terms(shares: Floats) -> Floats:
    terms: Floats = shares * -np.log2(np.maximum(shares, _TINY))
    return terms
