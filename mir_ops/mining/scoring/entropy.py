"""Pick the images whose boxes the model is least sure about."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.mining.candidates import Boxes, Candidates, Floats, Integers, sum_by
from mir_ops.mining.registry import Scored, register


@register("entropy", "Prefer images with a box that the model is unsure about")
def entropy(candidates: Candidates) -> Scored:
    """Score an image by the entropy (in bits) of its least certain box.

    A box's shares are its class probabilities, or its confidence alone; what they leave of 1 is
    one more outcome, "none of these". The sum over the boxes would pick the noisiest images, full
    of faint boxes. An image without boxes has no entropy, and may hold what the model misses: it
    takes the score found at its own random draw among the images with boxes, so such images are
    picked about as often as they occur.
    """
    bits, counts = box_entropy(candidates.boxes), candidates.box_counts()
    seen = counts > 0
    least_certain = _least_certain(candidates.boxes, bits, counts[seen])
    highest = np.zeros(len(candidates))
    highest[seen] = bits[least_certain]
    draw = candidates.draws()
    score = highest.copy()
    # Without any box anywhere there is nothing to be uncertain about: pick at random.
    score[~seen] = np.quantile(highest[seen], draw[~seen]) if seen.any() else draw
    return Scored(
        score=score,
        reason=_reasons(candidates, counts, bits, least_certain),
        components={
            "entropy": highest,
            "total": sum_by(candidates.boxes.owner, bits, len(candidates)),
            "boxes": counts,
        },
    )


def box_entropy(boxes: Boxes) -> Floats:
    """Entropy of each box in bits."""
    given = np.diff(boxes.share_start)
    owner = np.repeat(np.arange(len(boxes)), given)
    total = sum_by(owner, boxes.shares, len(boxes))
    # Independent class probabilities (sigmoids) may add up to more than 1.
    shares = boxes.shares / np.maximum(total, 1.0)[owner]
    named = sum_by(owner, _terms(shares), len(boxes))
    alone = given == 0
    certain = np.where(alone, boxes.confidence, np.minimum(total, 1.0))
    return np.where(alone, _terms(boxes.confidence), named) + _terms(1.0 - certain)


def _terms(shares: Floats) -> Floats:
    positive = np.where(shares > 0, shares, 1.0)
    terms: Floats = -positive * np.log2(positive)
    return terms


def _least_certain(boxes: Boxes, bits: Floats, counts: Integers) -> Integers:
    """The position of one box per image that has any; `counts` says how many each has."""
    order = np.lexsort((bits, boxes.owner))  # by image, then entropy: the last of each image
    positions: Integers = order[np.cumsum(counts) - 1]
    return positions


def _reasons(
    candidates: Candidates, counts: Integers, bits: Floats, least_certain: Integers
) -> pa.Array:
    boxes, seen = candidates.boxes, counts > 0
    text = pc.binary_join_element_wise(
        "entropy",
        _text(bits[least_certain], 3),
        "bits: class",
        pa.array(boxes.class_id[least_certain]).cast(pa.string()),
        "at confidence",
        _text(boxes.confidence[least_certain], 3),
        "is the least certain of",
        pa.array(counts[seen]).cast(pa.string()),
        "boxes",
        " ",
    )
    position = np.cumsum(seen) - 1
    reasons = pa.array(text).take(pa.array(position, mask=~seen))
    unseen = f"no predicted boxes: placed by chance with seed {candidates.seed}"
    return pc.fill_null(reasons, unseen)


def _text(values: npt.NDArray[np.float64], decimals: int) -> pa.Array:
    return pc.cast(pc.round(pa.array(values), decimals), pa.string())
