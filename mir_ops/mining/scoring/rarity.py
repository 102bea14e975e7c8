"""Pick the images that seem to hold what few labelled images hold."""

from __future__ import annotations

from typing import Annotated, Final

import numpy as np
from pydantic import Field

from mir_ops.mining.candidates import Candidates, Floats, Integers
from mir_ops.mining.registry import Scored, register
from mir_ops.mining.scoring.uncertainty import Aggregate, Top, over_boxes

Power = Annotated[float, Field(ge=0, le=2)]

_LARGEST_TABLE: Final = 1 << 20

NOT_LABELLED = "the labelled classes are not known: rarity is that among the predictions"


@register("class-rarity", "Prefer images with boxes of classes that are seldom labelled")
def class_rarity(
    candidates: Candidates, *, power: Power = 0.5, aggregate: Aggregate = "max", top: Top = 3
) -> Scored:
    """Confidence times the class's weight, after Brust et al. (VISAPP 2019, class weighting).

    The weight falls with the `power` of how many boxes of the class are labelled; its mean over
    the classes is 1. Where that is not known it is the confidences of the class over all
    candidates. `aggregate` and images without boxes are as for `entropy`.
    """
    boxes, counts = candidates.boxes, candidates.box_counts()
    weights = class_weights(candidates, power)
    values = boxes.confidence * weights[class_places(candidates, boxes.class_id)]
    image = over_boxes(boxes.owner, values, counts, aggregate, top)
    start = np.cumsum(counts) - counts

    def reason(one: int) -> str:
        if not counts[one]:
            return f"nothing found: placed by chance with seed {candidates.seed}"
        first = int(start[one] + values[start[one] : start[one] + counts[one]].argmax())
        name = candidates.classes[int(boxes.class_id[first])]
        return f"rarity {image[one]:.3f}: `{name}` at {boxes.confidence[first]:.2f}"

    return Scored(
        score=candidates.place_unseen(image, counts > 0),
        reason=reason,
        components={"rarity": np.where(counts > 0, image, np.nan), "boxes": counts},
        notes=() if candidates.labelled else (NOT_LABELLED,),
    )


def class_weights(candidates: Candidates, power: float) -> Floats:
    """A weight for each class, in the order of `candidates.classes`, 1 in the mean."""
    if candidates.labelled is not None:
        counts = np.array([candidates.labelled.boxes.get(one, 0) for one in candidates.classes])
    else:
        boxes = candidates.boxes
        places = class_places(candidates, boxes.class_id)
        counts = np.bincount(places, boxes.confidence, minlength=len(candidates.classes))
    weights = (counts.astype(np.float64) + 1.0) ** -power
    return weights / weights.mean() if len(weights) else weights


def class_places(candidates: Candidates, class_ids: Integers) -> Integers:
    """Where each class is in `candidates.classes`."""
    known = np.array(list(candidates.classes), dtype=np.int64)
    if len(known) == 0 or known[-1] >= _LARGEST_TABLE:
        return np.searchsorted(known, class_ids)
    places = np.zeros(known[-1] + 1, np.int64)
    places[known] = np.arange(len(known))
    return places[class_ids]
