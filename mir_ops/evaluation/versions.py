"""Everything that an evaluation tells, and keeping it with a dataset version."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mir_ops.evaluation.coco import metrics_of
from mir_ops.evaluation.confusion import confusion_of
from mir_ops.evaluation.curves import STEPS, Curves, curves_of
from mir_ops.evaluation.marks import MISTAKES, Marks, marks_of, score_rows, tagged
from mir_ops.evaluation.matching import AREAS, Matches, match
from mir_ops.evaluation.materials import Material, Origin
from mir_ops.evaluation.metrics import Metrics
from mir_ops.evaluation.operating import counts_at, operating_curve
from mir_ops.evaluation.sides import Sides
from mir_ops.evaluation.slices import check_slice, slices_of
from mir_ops.evaluation.voc import evaluate_voc
from mir_ops.store import Operation

if TYPE_CHECKING:
    from mir_ops.store import Commit, Edit, Store, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is asked besides COCO's metrics.

    `iou` and `confidence` are of marks, mistakes, confusion and YMIR's numbers; without a
    confidence it is the one of the best F1 over all classes. `counts` asks for hits and wrong
    predictions at a hundred confidences. `voc` has YMIR's IoUs, None for none.
    `masks` and `semantic` need material that was read with shapes.
    """

    iou: float = 0.5
    confidence: float | None = None
    by: tuple[str, ...] = ()
    precision: tuple[float, ...] = (0.9,)
    recall: tuple[float, ...] = (0.9,)
    curves: bool = False
    counts: bool = False
    voc: tuple[float, ...] | None = None
    masks: bool = False
    semantic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was measured, and the mark of every box."""

    origin: Origin
    metrics: Metrics
    marks: Marks
    report: Mapping[str, Any]  # everything as plain values for JSON


def evaluate_material(material: Material, settings: Settings | None = None) -> Evaluation:
    """Measure everything that the settings ask for."""
    asked = settings or Settings()
    for by in asked.by:
        check_slice(by)
    sides, origin = material.sides, material.origin
    matches = match(sides.truth, sides.found)
    curves = curves_of(matches)
    metrics = metrics_of(sides, curves)
    near = match(sides.truth, sides.found, thresholds=[asked.iou], areas=[AREAS["all"]])
    marks = marks_of(
        sides,
        material.ground_truth.num_rows,
        material.predictions.num_rows,
        iou=asked.iou,
        confidence=_confidence(near) if asked.confidence is None else asked.confidence,
    )
    confidence = marks.at_confidence
    slices = [
        each.to_dict()
        for by in asked.by
        for each in slices_of(matches, material.assets, sides.asset_ids, by)
    ]
    report = {
        "origin": origin.to_dict(),
        "iou": asked.iou,
        "confidence": confidence,
        "metrics": metrics.to_dict(),
        "per_iou": _per_iou(curves, matches.thresholds, sides.names),
        "thresholds": _thresholds(near, sides.names, asked),
        "marks": marks.counts(),
        "mistakes": marks.mistakes.to_dict(),
        "confusion": confusion_of(sides, iou=asked.iou, confidence=confidence).to_dict(),
        "slices": slices,
    }
    if asked.counts:
        report["counts"] = counts_at(near, sides.names)
    report |= _more(material, asked, curves, confidence)
    return Evaluation(origin=origin, metrics=metrics, marks=marks, report=report)


def commit_marks(
    store: Store,
    truth: Version,
    material: Material,
    evaluation: Evaluation,
    *,
    branch: str,
    op_id: str,
    message: str,
    project: str | None = None,
    run: str | None = None,
) -> Commit:
    """A version with the predictions' marks as tags, and each image's mistakes as scores.

    Its operation names the commits, the model, the thresholds and the numbers.
    """
    origin, ids = evaluation.origin, material.sides.asset_ids
    found = truth if origin.predictions == truth.id else store.read(origin.predictions)
    predictions = found.layer(origin.layer, ids=ids)
    with store.edit(
        branch,
        base=truth,
        op_id=op_id,
        operation=_operation(evaluation),
        message=message,
        project=project,
        run=run,
    ) as edit:
        put_marked(edit, origin.layer, ids, evaluation.marks, material.ground_truth, predictions)
    return edit.commit


def _operation(evaluation: Evaluation) -> Operation:
    origin, report = evaluation.origin, evaluation.report
    return Operation(
        kind="evaluate",
        parameters={
            "model": origin.model,
            "stage": origin.stage,
            "layer": origin.layer,
            "split": origin.split,
            "classes": list(origin.classes),
            "iou": report["iou"],
            "confidence": report["confidence"],
            "coco": dict(evaluation.metrics.coco),
            "marks": report["marks"],
            "mistakes": report["mistakes"],
        },
        inputs=tuple(dict.fromkeys((origin.ground_truth, origin.predictions))),
    )


def keep_report(store: Store, report: Mapping[str, Any]) -> str:
    """Keep what was measured as a blob, whose name is the answer: the same numbers, the same blob.

    Of which commits it is says who names it.
    """
    told = {name: value for name, value in report.items() if name != "origin"}
    return store.put_blob(json.dumps(told, sort_keys=True, allow_nan=False).encode())


def mark_best(sides: Sides, ground_truth: pa.Table, predictions: pa.Table) -> Marks:
    """Marks at IoU 0.5 and the confidence of the best F1, for the rows of both tables."""
    near = match(sides.truth, sides.found, thresholds=[0.5], areas=[AREAS["all"]])
    return marks_of(
        sides, ground_truth.num_rows, predictions.num_rows, confidence=_confidence(near)
    )


def put_marked(
    edit: Edit,
    layer: str,
    ids: pa.Array,
    marks: Marks,
    ground_truth: pa.Table,
    predictions: pa.Table,
) -> None:
    """Put the predictions of these images with their marks, and each image's mistakes."""
    scores = score_rows(ids, marks, ground_truth, predictions)
    edit.put_layer(layer, tagged(predictions, marks, ground_truth), assets=ids)
    edit.put_layer(scores_layer(layer), scores, assets=ids)


def scores_layer(layer: str) -> str:
    """Where the mistakes in each image are, for a layer of predictions."""
    return f"{MISTAKES}{layer.partition(':')[2] or 'predictions'}"


def _confidence(near: Matches) -> float:
    best = operating_curve(near).best_f1()
    return best["confidence"] if best else 0.0


def _thresholds(near: Matches, names: Sequence[str], asked: Settings) -> dict[str, Any]:
    """Best F1, precision at recall and recall at precision, of all and of each class."""

    def points(label: int | None) -> dict[str, Any]:
        curve = operating_curve(near, label)
        return {
            "best_f1": curve.best_f1(),
            "precision_at_recall": {f"{r:g}": curve.precision_at(r) for r in asked.recall},
            "recall_at_precision": {f"{p:g}": curve.recall_at(p) for p in asked.precision},
        }

    return {
        "all": points(None),
        "per_class": {name: points(label) for label, name in enumerate(names)},
    }


def _more(material: Material, asked: Settings, curves: Curves, confidence: float) -> dict[str, Any]:
    """What is told only when it is asked for."""
    more: dict[str, Any] = {}
    if asked.masks or asked.semantic:
        more |= _by_masks(material, asked)
    if asked.curves:
        more["curves"] = _curves(curves, material.sides.names)
    if asked.voc is not None:
        voc = evaluate_voc(material.sides, ious=asked.voc, confidence=confidence)
        more["voc"] = voc.to_dict()
    return more


def _by_masks(material: Material, asked: Settings) -> dict[str, Any]:
    """COCO's metrics of masks, and pixels by class."""
    from mir_ops.evaluation.masks import rles_of, semantic_of, with_masks

    sides, found = material.sides, {}
    tables = (material.ground_truth, material.predictions)
    masks = [rles_of(table, material.assets) for table in tables]
    if asked.masks:
        shaped, measure = with_masks(sides, *masks)
        matches = match(shaped.truth, shaped.found, measure=measure)
        found["masks"] = metrics_of(shaped, curves_of(matches)).to_dict()
    if asked.semantic:
        found["semantic"] = semantic_of(sides, *masks).to_dict()
    return found


def _per_iou(
    curves: Curves, thresholds: Sequence[float], names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """AP at each IoU, over all measured classes and of each."""
    by_class = curves.precision[..., 0].mean(axis=1)
    measured = np.flatnonzero(curves.positives[:, 0]).tolist()
    return {
        f"{iou:.2f}": {
            "ap": float(row[measured].mean()),
            "per_class": {names[label]: float(row[label]) for label in measured},
        }
        for iou, row in zip(thresholds, by_class, strict=True)
    }


def _curves(curves: Curves, names: Sequence[str]) -> dict[str, Any]:
    """Precision and confidence at each step of recall, at IoU 0.50, of measured classes."""
    return {
        "recall": STEPS.tolist(),
        "per_class": {
            name: {
                "precision": curves.precision[0, :, label, 0].tolist(),
                "confidence": curves.scores[0, :, label, 0].tolist(),
            }
            for label, name in enumerate(names)
            if curves.positives[label, 0]
        },
    }
