"""COCO's metrics of boxes, computed by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.evaluation.metrics import ClassMetrics, Metrics

_BOX = ("x", "y", "w", "h")
_COLUMNS = ("annotation_id", "class_id", *_BOX, "iscrowd", "confidence")
_IOU_50, _IOU_75 = 0, 5  # positions among 0.50, 0.55, ... 0.95


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
    _refuse_same_names(classes)
    asset_ids = _sorted_ids(assets)
    truth = _select(ground_truth, asset_ids, classes, "ground truth")
    found = _select(predictions, asset_ids, classes, "predictions")
    crowd = _crowd(truth)
    _refuse_nothing_to_find(len(crowd) - int(crowd.sum()))
    _refuse_bad_confidence(found)
    precision, recall = _run(_truth_rows(truth, crowd), _found_rows(found), len(asset_ids), classes)
    boxes = _count(truth.filter(pa.array(~crowd)), classes)
    return _to_metrics(
        precision,
        recall,
        classes=classes,
        boxes=boxes,
        predictions=_count(found, classes),
        images=len(asset_ids),
        left_out={
            "ground_truth": ground_truth.num_rows - truth.num_rows,
            "predictions": predictions.num_rows - found.num_rows,
        },
    )


def _to_metrics(
    precision: npt.NDArray[np.float64],
    recall: npt.NDArray[np.float64],
    *,
    classes: Mapping[int, str],
    boxes: Mapping[int, int],
    predictions: Mapping[int, int],
    images: int,
    left_out: Mapping[str, int],
) -> Metrics:
    per_class: dict[str, ClassMetrics] = {}
    for position, class_id in enumerate(sorted(classes)):
        if boxes[class_id] == 0:
            continue
        ap = precision[:, :, position].mean(axis=1)
        per_class[classes[class_id]] = ClassMetrics(
            ap=float(ap.mean()),
            ap50=float(ap[_IOU_50]),
            ap75=float(ap[_IOU_75]),
            recall50=float(recall[_IOU_50, position]),
            boxes=boxes[class_id],
            predictions=predictions[class_id],
        )
    return Metrics(
        map50=_mean([each["ap50"] for each in per_class.values()]),
        map50_95=_mean([each["ap"] for each in per_class.values()]),
        map75=_mean([each["ap75"] for each in per_class.values()]),
        recall50=_mean([each["recall50"] for each in per_class.values()]),
        per_class=per_class,
        unmeasured=tuple(classes[one] for one in sorted(classes) if boxes[one] == 0),
        images=images,
        boxes=sum(boxes.values()),
        predictions=sum(predictions.values()),
        left_out=left_out,
    )


def _run(
    truth: list[dict[str, Any]],
    found: list[dict[str, Any]],
    images: int,
    classes: Mapping[int, str],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision by IoU, recall step and class; recall by IoU and class."""
    from faster_coco_eval import COCO, COCOeval_faster

    dataset = {
        "images": [{"id": number} for number in range(1, images + 1)],
        "categories": [{"id": one, "name": name} for one, name in sorted(classes.items())],
    }
    run = COCOeval_faster(
        COCO({**dataset, "annotations": truth}),
        COCO({**dataset, "annotations": found}),
        iouType="bbox",
    )
    # Metrics by size of object are not asked for, and three quarters of the work.
    run.params.areaRng = run.params.areaRng[:1]
    run.params.areaRngLbl = run.params.areaRngLbl[:1]
    run.params.maxDets = [100]
    run.evaluate()
    run.accumulate()
    return np.asarray(run.eval["precision"])[..., 0, 0], np.asarray(run.eval["recall"])[..., 0, 0]


def _sorted_ids(assets: pa.Table) -> pa.Array:
    ids = pc.unique(assets.column("asset_id"))
    return ids.take(pc.sort_indices(ids))


def _select(
    table: pa.Table, asset_ids: pa.Array, classes: Mapping[int, str], what: str
) -> pa.Table:
    image = pc.index_in(table.column("asset_id"), value_set=asset_ids)
    known = pc.is_in(table.column("class_id"), value_set=pa.array(sorted(classes), pa.int32()))
    columns = [name for name in _COLUMNS if name in table.column_names]
    table = table.select(columns).append_column("image", image)
    table = table.filter(pc.and_(pc.is_valid(image), known))
    table = table.sort_by([("image", "ascending"), ("annotation_id", "ascending")])
    for name in _BOX:
        if not np.isfinite(np.asarray(table.column(name))).all():
            raise InvalidInputError(
                f"The {what} has a box whose `{name}` is not a finite number",
                code="bad-box",
                hint="Look for it with the gate's rules, and correct or remove it",
            )
    return table


def _crowd(truth: pa.Table) -> npt.NDArray[np.bool_]:
    if "iscrowd" not in truth.column_names:
        return np.zeros(truth.num_rows, dtype=np.bool_)
    crowd = pc.fill_null(truth.column("iscrowd"), pa.scalar(False))
    return np.asarray(crowd, dtype=np.bool_)


def _truth_rows(truth: pa.Table, crowd: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    rows = _rows(truth)
    for row, is_crowd in zip(rows, crowd.tolist(), strict=True):
        row["iscrowd"] = int(is_crowd)
    return rows


def _found_rows(found: pa.Table) -> list[dict[str, Any]]:
    rows = _rows(found)
    scores = np.asarray(found.column("confidence"), dtype=np.float64).tolist()
    for row, score in zip(rows, scores, strict=True):
        row["score"] = score
        row["iscrowd"] = 0
    return rows


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """The library takes one dictionary per box, with ids from 1 (it takes 0 for "no match")."""
    boxes = np.column_stack([np.asarray(table.column(name), dtype=np.float64) for name in _BOX])
    areas = boxes[:, 2] * boxes[:, 3]
    images = np.asarray(table.column("image")) + 1
    class_ids = np.asarray(table.column("class_id"))
    columns = zip(images.tolist(), class_ids.tolist(), boxes.tolist(), areas.tolist(), strict=True)
    return [
        {"id": number, "image_id": image, "category_id": class_id, "bbox": box, "area": area}
        for number, (image, class_id, box, area) in enumerate(columns, start=1)
    ]


def _count(table: pa.Table, classes: Mapping[int, str]) -> dict[int, int]:
    counts = dict.fromkeys(classes, 0)
    for each in pc.value_counts(table.column("class_id")).to_pylist():
        counts[each["values"]] = each["counts"]
    return counts


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _refuse_same_names(classes: Mapping[int, str]) -> None:
    if len(set(classes.values())) < len(classes):
        raise InvalidInputError(
            "Two classes have the same name",
            code="duplicate-class",
            hint="Give each class its own name",
        )


def _refuse_nothing_to_find(boxes: int) -> None:
    if boxes == 0:
        raise InvalidInputError(
            "There is no ground truth to evaluate against",
            code="no-ground-truth",
            hint="Give a validation set whose images have boxes of the project's classes",
        )


def _refuse_bad_confidence(found: pa.Table) -> None:
    if not np.isfinite(np.asarray(found.column("confidence"), dtype=np.float64)).all():
        raise InvalidInputError(
            "A prediction's confidence is not a finite number",
            code="bad-confidence",
            hint="Check the executor that made these predictions",
        )
