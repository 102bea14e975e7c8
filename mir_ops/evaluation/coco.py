"""COCO's metrics of boxes, equal to those of COCO's own tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa

from mir_ops.errors import InvalidInputError
from mir_ops.evaluation.columns import Floats
from mir_ops.evaluation.curves import Curves, curves_of
from mir_ops.evaluation.matching import AREAS, MOST, match
from mir_ops.evaluation.metrics import ClassMetrics, Metrics
from mir_ops.evaluation.sides import Sides, read_sides

_IOU_50: Final = 0  # positions among 0.50, 0.55, ... 0.95
_IOU_75: Final = 5
_ALL: Final = 0  # positions in AREAS
_SIZED: Final = tuple(enumerate(AREAS))[1:]


def evaluate(
    *,
    ground_truth: pa.Table,
    predictions: pa.Table,
    assets: pa.Table,
    classes: Mapping[int, str],
) -> Metrics:
    """Compare predictions with ground truth on every asset of `assets`.

    An asset without predictions counts: its boxes are missed. An asset without ground truth
    counts: its predictions are wrong. Crowd boxes are neither found nor missed, and a prediction
    inside one is not wrong. The best 100 predictions per asset and class take part. Shapes other
    than boxes are compared by the box around them. The order of rows does not matter.
    """
    sides = read_sides(
        ground_truth=ground_truth, predictions=predictions, assets=assets, classes=classes
    )
    return metrics_of(sides, curves_of(match(sides.truth, sides.found)))


def metrics_of(sides: Sides, curves: Curves) -> Metrics:
    """The numbers to keep, from curves over all thresholds and area ranges.

    Without a box that could be found there is no answer: an `InvalidInputError`.
    """
    boxes = curves.positives[:, _ALL]
    if not boxes.any():
        raise InvalidInputError(
            "There is no ground truth to evaluate against",
            code="no-ground-truth",
            hint="Give a validation set whose images have boxes of the project's classes",
        )
    predictions = np.bincount(sides.found.label, minlength=len(sides.names))
    precision = curves.precision.mean(axis=1)  # T x K x A
    per_class = {
        sides.names[label]: _of_class(label, curves, precision[:, label], int(predictions[label]))
        for label in np.flatnonzero(boxes).tolist()
    }
    return Metrics(
        map50=_mean([each["ap50"] for each in per_class.values()]),
        map50_95=_mean([each["ap"] for each in per_class.values()]),
        map75=_mean([each["ap75"] for each in per_class.values()]),
        recall50=_mean([each["recall50"] for each in per_class.values()]),
        per_class=per_class,
        unmeasured=tuple(name for name, count in zip(sides.names, boxes, strict=True) if not count),
        images=len(sides.asset_ids),
        boxes=int(boxes.sum()),
        predictions=int(predictions.sum()),
        left_out=sides.left_out,
        coco=summary_of(curves),
    )


def summary_of(curves: Curves) -> dict[str, float | None]:
    """COCO's twelve numbers; None where nothing can be measured."""
    precision, recall = curves.precision, curves.recall
    summary = {
        "AP": _number(precision[..., _ALL]),
        "AP50": _number(precision[_IOU_50, ..., _ALL]),
        "AP75": _number(precision[_IOU_75, ..., _ALL]),
    }
    summary |= {f"AP_{size}": _number(precision[..., area]) for area, size in _SIZED}
    summary |= {f"AR_{most}": _number(recall[..., _ALL, n]) for n, most in enumerate(MOST)}
    return summary | {f"AR_{size}": _number(recall[:, :, area, -1]) for area, size in _SIZED}


def _of_class(label: int, curves: Curves, precision: Floats, predictions: int) -> ClassMetrics:
    ap = precision[:, _ALL]
    small, medium, large = (_number(precision[:, area]) for area, _ in _SIZED)
    return ClassMetrics(
        ap=float(ap.mean()),
        ap50=float(ap[_IOU_50]),
        ap75=float(ap[_IOU_75]),
        recall50=float(curves.recall[_IOU_50, label, _ALL, -1]),
        boxes=int(curves.positives[label, _ALL]),
        predictions=predictions,
        ap_small=small,
        ap_medium=medium,
        ap_large=large,
    )


def _number(values: Floats) -> float | None:
    """The mean over what can be measured."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
