"""Evaluating predictions that are in a dataset version, bound to where everything came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.evaluation.coco import metrics_of
from mir_ops.evaluation.confusion import confusion_of
from mir_ops.evaluation.curves import STEPS, Curves, curves_of
from mir_ops.evaluation.marks import MISTAKES, Marks, marks_of, score_rows, tagged
from mir_ops.evaluation.matching import AREAS, Matches, match
from mir_ops.evaluation.metrics import Metrics
from mir_ops.evaluation.operating import operating_curve
from mir_ops.evaluation.sides import Sides, read_sides
from mir_ops.evaluation.slices import check_slice, slices_of
from mir_ops.evaluation.voc import evaluate_voc
from mir_ops.store import Operation, schema

if TYPE_CHECKING:
    from mir_ops.store import Commit, Edit, Store, Version

_TRUTH: Final = ("asset_id", "annotation_id", "class_id", "x", "y", "w", "h", "area", "iscrowd")
_FOUND: Final = ("asset_id", "annotation_id", "class_id", "x", "y", "w", "h", "confidence")
_ASSETS: Final = ("asset_id", "split", "source_names", "attributes", "width", "height")
_SHAPES: Final = ("polygon", "rle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which commits, layer and model were measured, on what."""

    ground_truth: str  # commit id
    predictions: str  # commit id
    layer: str
    model: str | None
    stage: str | None
    split: str | None
    classes: tuple[str, ...]
    images: int
    not_labelled: int  # images with predictions that nobody has labelled: left out
    not_predicted: int  # labelled images that the model has not looked at: left out

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Ground truth and the predictions of one model, on the images that both cover."""

    origin: Origin
    sides: Sides
    assets: pa.Table
    ground_truth: pa.Table
    predictions: pa.Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is asked besides COCO's metrics.

    `iou` and `confidence` are of marks, mistakes, confusion and YMIR's numbers; without a
    confidence it is the one of the best F1 over all classes. `voc` has YMIR's IoUs, None for none.
    `masks` and `semantic` need material that was read with shapes.
    """

    iou: float = 0.5
    confidence: float | None = None
    by: tuple[str, ...] = ()
    precision: tuple[float, ...] = (0.9,)
    recall: tuple[float, ...] = (0.9,)
    curves: bool = False
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


def read_material(
    truth: Version,
    predictions: Version | None = None,
    *,
    layer: str | None = None,
    classes: Mapping[int, str] | None = None,
    split: str | None = None,
    images: pa.Array | None = None,
    shapes: bool = False,
) -> Material:
    """Read both sides; `classes` is id to name, by default of all that occur on one of them.

    Images count that both have looked at, labelled and predicted, of the split and of `images`
    if these are given. With `shapes` polygons and masks are read too.
    """
    source = predictions or truth
    layer = find_layer(source, layer)
    labelled, looked_at = truth.layer_assets("ground_truth"), source.layer_assets(layer)
    both = pc.is_in(labelled, value_set=looked_at)
    ids = labelled.filter(both)
    if images is not None:
        ids = ids.filter(pc.is_in(ids, value_set=images))
    assets = truth.assets(columns=list(_ASSETS), ids=ids)
    if split is not None:
        assets = assets.filter(pc.fill_null(pc.equal(assets["split"], split), False))
        ids = assets["asset_id"].combine_chunks()
    if not len(ids):
        raise InvalidInputError(
            f"No image is labelled in commit {truth.id[:12]} and predicted on in {source.id[:12]}"
            + (f", and in split `{split}`" if split else ""),
            code="nothing-to-evaluate",
            hint="Predict on the labelled images first: `mir infer`",
        )
    more = _SHAPES if shapes else ()
    ground_truth = truth.layer("ground_truth", columns=[*_TRUTH, *more], ids=ids)
    found = source.layer(layer, columns=[*_FOUND, *more], ids=ids)
    sides = read_sides(
        ground_truth=ground_truth,
        predictions=found,
        assets=assets,
        classes=_occurring(truth, ground_truth, found) if classes is None else classes,
    )
    operation = source.commit.operation.parameters
    model = layer.partition(":")[2] or None
    return Material(
        origin=Origin(
            ground_truth=truth.id,
            predictions=source.id,
            layer=layer,
            model=model,
            stage=operation.get("stage") if operation.get("model") == model else None,
            split=split,
            classes=sides.names,
            images=len(ids),
            not_labelled=len(looked_at) - int(pc.sum(both).as_py() or 0),
            not_predicted=len(labelled) - int(pc.sum(both).as_py() or 0),
        ),
        sides=sides,
        assets=assets,
        ground_truth=ground_truth,
        predictions=found,
    )


def on_the_same_images(a: Material, b: Material) -> tuple[Material, Material]:
    """Both on the images that both have, and with the classes of either."""
    common = a.sides.asset_ids.filter(pc.is_in(a.sides.asset_ids, value_set=b.sides.asset_ids))
    if not len(common):
        raise InvalidInputError(
            "The two have no image in common that is labelled and predicted on",
            code="nothing-to-evaluate",
            hint="Predict on the same images with both models",
        )
    classes = {
        class_id: name
        for each in (b, a)
        for class_id, name in zip(each.sides.class_ids, each.sides.names, strict=True)
    }
    return _limited(a, common, classes), _limited(b, common, classes)


def _limited(material: Material, ids: pa.Array, classes: Mapping[int, str]) -> Material:
    assets, truth, found = (
        table.filter(pc.is_in(table["asset_id"], value_set=ids))
        for table in (material.assets, material.ground_truth, material.predictions)
    )
    sides = read_sides(ground_truth=truth, predictions=found, assets=assets, classes=classes)
    return replace(
        material,
        origin=replace(material.origin, images=len(ids), classes=sides.names),
        sides=sides,
        assets=assets,
        ground_truth=truth,
        predictions=found,
    )


def classes_named(version: Version, names: Sequence[str]) -> dict[int, str] | None:
    """The classes with these names or aliases, by id; None, which is all, without names."""
    taxonomy = version.taxonomy
    unknown = [name for name in names if taxonomy.id_of(name) is None]
    if unknown:
        raise NotFoundError(
            f"Commit {version.id[:12]} knows no class `{unknown[0]}`",
            code="unknown-class",
            hint=f"It knows {', '.join(taxonomy.names)}",
        )
    ids = [each for name in names if (each := taxonomy.id_of(name)) is not None]
    return {each: taxonomy.name_of(each) for each in ids} or None


def find_layer(version: Version, name: str | None = None) -> str:
    """The layer of predictions with this name, or of this model; without a name the only one."""
    layers = [each for each in version.layers() if schema.layer_kind(each) == "predictions"]
    if name is not None:
        matching = [each for each in layers if each == name or each == f"predictions:{name}"]
        matching = matching or [each for each in layers if each.startswith(f"predictions:{name}")]
        if len(matching) == 1:
            return matching[0]
    elif len(layers) == 1:
        return layers[0]
    held = ", ".join(f"`{each}`" for each in layers) or "none"
    raise NotFoundError(
        f"Commit {version.id[:12]} has not one layer of predictions"
        + (f" called `{name}`" if name else "")
        + f": {held}",
        code="no-such-layer",
        hint="Predict with `mir infer`" if not layers else "Choose one with `--layer NAME`",
    )


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
    confidence = asked.confidence
    if confidence is None:
        confidence = _confidence(near)
    marks = marks_of(
        sides,
        material.ground_truth.num_rows,
        material.predictions.num_rows,
        iou=asked.iou,
        confidence=confidence,
    )
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
    if asked.masks or asked.semantic:
        report |= _by_masks(material, asked)
    if asked.curves:
        report["curves"] = _curves(curves, sides.names)
    if asked.voc is not None:
        voc = evaluate_voc(sides, ious=asked.voc, confidence=confidence)
        report["voc"] = voc.to_dict()
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
) -> Commit:
    """A version with the predictions' marks as tags, and each image's mistakes as scores.

    Its operation names the commits, the model, the thresholds and the numbers.
    """
    origin, report, ids = evaluation.origin, evaluation.report, material.sides.asset_ids
    found = truth if origin.predictions == truth.id else store.read(origin.predictions)
    predictions = found.layer(origin.layer, ids=ids)
    with store.edit(
        branch,
        base=truth,
        op_id=op_id,
        operation=Operation(
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
        ),
        message=message,
    ) as edit:
        put_marked(edit, origin.layer, ids, evaluation.marks, material.ground_truth, predictions)
    return edit.commit


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


def _occurring(truth: Version, ground_truth: pa.Table, found: pa.Table) -> dict[int, str]:
    """Every class on one of the sides; one that the version does not know has its number."""
    used = {int(each) for t in (ground_truth, found) for each in np.unique(t["class_id"])}
    names = {each: truth.taxonomy.name_of(each) for each in truth.taxonomy.ids}
    return {each: names.get(each, f"class {each}") for each in used}


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
