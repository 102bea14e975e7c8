"""What an evaluation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypedDict


class ClassMetrics(TypedDict):
    ap: float  # mean over IoU 0.50, 0.55, ... 0.95
    ap50: float
    ap75: float
    recall50: float  # share of boxes found at IoU 0.50 with the best 100 predictions per image
    boxes: int  # ground truth, without crowds
    predictions: int
    ap_small: float | None  # boxes of less than 32 x 32 pixels; None: there are none
    ap_medium: float | None
    ap_large: float | None  # more than 96 x 96 pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Means over the classes that have ground truth.

    A class without ground truth cannot be measured: it is in `unmeasured` and in no mean.
    `left_out` counts the boxes on other images or of other classes than were asked for. `coco`
    has the twelve numbers that COCO's tools print, None where nothing can be measured.
    """

    map50: float
    map50_95: float
    map75: float
    recall50: float
    per_class: Mapping[str, ClassMetrics]
    unmeasured: tuple[str, ...]
    images: int
    boxes: int
    predictions: int
    left_out: Mapping[str, int]
    coco: Mapping[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
