"""Pick the images whose boxes the model is least sure about."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.mining.candidates import Boxes, Candidates, Floats, Integers, sum_by
from mir_ops.mining.registry import Scored, register


@register("entropy", "Prefer images whose predicted boxes are uncertain; spread in the rest")
def entropy(candidates: Candidates) -> Scored:
    """Sum the entropies (in bits) of an image's boxes.

    A box's shares are its class probabilities, or its confidence alone; what they leave of 1 is
    one more outcome, "none of these". An image without boxes has no entropy, and may hold what
    the model misses: it takes the score found at its own random draw among the images with
    boxes, so such images are picked about as often as they occur.
    """
    bits = box_entropy(candidates.boxes)
    counts = candidates.box_counts()
    total = sum_by(candidates.boxes.owner, bits, len(candidates))
    unseen = counts == 0
    draw = candidates.draws()
    score = total.copy()
    # Without any box anywhere there is nothing to be uncertain about: pick at random.
    score[unseen] = draw[unseen] if unseen.all() else np.quantile(total[~unseen], draw[unseen])
    return Scored(
        score=score,
        reason=_reasons(candidates, total, counts, bits),
        components={"entropy": total, "boxes": counts},
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


def _reasons(candidates: Candidates, total: Floats, counts: Integers, bits: Floats) -> pa.Array:
    boxes, seen = candidates.boxes, np.flatnonzero(counts)
    # Last of each image after sorting by image, then entropy: its most uncertain box.
    order = np.lexsort((bits, boxes.owner))
    worst = order[np.cumsum(counts[seen]) - 1]
    text = pc.binary_join_element_wise(
        "entropy",
        _text(total[seen], 3),
        "bits over",
        pa.array(counts[seen]).cast(pa.string()),
        "boxes, least certain: class",
        pa.array(boxes.class_id[worst]).cast(pa.string()),
        "at confidence",
        _text(boxes.confidence[worst], 3),
        " ",
    )
    position = np.zeros(len(candidates), dtype=np.int64)
    position[seen] = np.arange(len(seen))
    reasons = pa.array(text).take(pa.array(position, mask=counts == 0))
    return pc.fill_null(
        reasons, f"no predicted boxes: placed by chance with seed {candidates.seed}"
    )


def _text(values: npt.NDArray[np.float64], decimals: int) -> pa.Array:
    return pc.cast(pc.round(pa.array(values), decimals), pa.string())
