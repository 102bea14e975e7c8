"""Intervals of a few numbers."""

from __future__ import annotations

from typing import Final

# 95 % of Student's t distribution lies below, for 1, 2, … degrees of freedom.
_T95: Final = (
    6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812,
    1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725,
    1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697,
)  # fmt: skip


def student(values: int) -> float:
    """How many standard errors a 90 % interval of the mean of so many values reaches either way."""
    return _T95[min(values - 1, len(_T95)) - 1]
