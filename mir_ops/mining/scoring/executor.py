"""Pick what the executor image itself ranks highest."""

from __future__ import annotations

import numpy as np

from mir_ops.errors import InvalidInputError
from mir_ops.mining.candidates import Candidates
from mir_ops.mining.registry import Scored, register


@register("executor", "Take the executor image's own ranking", needs=("ranking",))
def executor(candidates: Candidates) -> Scored:
    """The scores of `result.tsv`, as YMIR's images write them: higher is picked first.

    Needs an executor that mines; without its scores there is nothing to pick by, and it is refused.
    An image that it gave no score is placed by chance among the others.
    """
    if candidates.ranking is None:
        raise InvalidInputError(
            "Mining strategy `executor` needs the executor's own scores, and there are none",
            code="no-ranking",
            hint="Choose another strategy, or an image that mines (`mir executor check`)",
        )
    given = ~np.isnan(candidates.ranking)
    score = candidates.place_unseen(candidates.ranking, given)

    def reason(one: int) -> str:
        if not given[one]:
            return f"the executor gave no score: placed by chance with seed {candidates.seed}"
        return f"the executor scored it {candidates.ranking[one]:.6g}"  # type: ignore[index]

    return Scored(score=score, reason=reason, components={"executor": candidates.ranking})
