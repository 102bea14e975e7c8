"""Pick at random: what every other strategy has to beat."""

from __future__ import annotations

from mir_ops.mining.candidates import Candidates
from mir_ops.mining.registry import Scored, register


@register("random", "Draw images at random, by seed")
def random_draw(candidates: Candidates) -> Scored:
    """Needs nothing but asset ids. Every candidate is as likely as any other."""
    draw = candidates.draws()

    def reason(one: int) -> str:
        return f"random draw {draw[one]:.4f} with seed {candidates.seed}"

    return Scored(score=draw, reason=reason, components={"draw": draw})
