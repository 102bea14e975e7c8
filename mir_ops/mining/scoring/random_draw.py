"""Pick at random: what every other strategy has to beat."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.mining.candidates import Candidates
from mir_ops.mining.registry import Scored, register


@register("random", "Draw images at random, by seed")
def random_draw(candidates: Candidates) -> Scored:
    draw = candidates.draws()
    text = pc.cast(pc.round(pa.array(draw), 4), pa.string())
    reason = pc.binary_join_element_wise("random draw", text, f"with seed {candidates.seed}", " ")
    return Scored(score=draw, reason=reason, components={"draw": draw})
