"""Ground truth and predictions of the same images, from tables of a dataset version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.evaluation.columns import Boxes, Flags, Ints, boxes_of

BOX: Final = ("x", "y", "w", "h")
_HINT: Final = "Look for it with the gate's rules, and correct or remove it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The two sides of an evaluation. Image n is `asset_ids[n]`, label n is `names[n]`."""

    asset_ids: pa.Array  # ascending
    class_ids: tuple[int, ...]  # ascending
    names: tuple[str, ...]
    truth: Boxes
    found: Boxes
    left_out: Mapping[str, int]  # boxes on other images or of other classes


def read_sides(
    *,
    ground_truth: pa.Table,
    predictions: pa.Table,
    assets: pa.Table,
    classes: Mapping[int, str],
) -> Sides:
    """The boxes on `assets` of `classes` (id to name); the order of rows does not matter.

    Shapes other than boxes are taken as the box around them. A number that is none, in a box or
    a confidence, is an `InvalidInputError`; boxes elsewhere are counted and left out.
    """
    if len(set(classes.values())) < len(classes):
        raise InvalidInputError(
            "Two classes have the same name",
            code="duplicate-class",
            hint="Give each class its own name",
        )
    ids = pc.unique(assets.column("asset_id"))
    ids = ids.take(pc.sort_indices(ids))
    class_ids = tuple(sorted(classes))
    truth = _read(ground_truth, ids, class_ids, "ground truth")
    found = _read(predictions, ids, class_ids, "predictions")
    return Sides(
        asset_ids=ids,
        class_ids=class_ids,
        names=tuple(classes[class_id] for class_id in class_ids),
        truth=truth,
        found=found,
        left_out={
            "ground_truth": ground_truth.num_rows - len(truth),
            "predictions": predictions.num_rows - len(found),
        },
    )


def _read(table: pa.Table, ids: pa.Array, class_ids: tuple[int, ...], what: str) -> Boxes:
    image = _positions(table["asset_id"], ids)
    label = _positions(table["class_id"], pa.array(class_ids, pa.int32()))
    row = np.flatnonzero((image >= 0) & (label >= 0))
    chosen = table.take(pa.array(row)) if len(row) < table.num_rows else table
    box = np.column_stack([chosen[name].to_numpy() for name in BOX])
    for number, name in enumerate(BOX):
        _check(box[:, number], chosen, f"The {what} has a box whose `{name}`", "bad-box", _HINT)
    score = area = None
    if what == "predictions":
        score = chosen["confidence"].to_numpy().astype(np.float64)
        hint = "Check the executor that made these predictions"
        _check(score, chosen, "A prediction's confidence", "bad-confidence", hint)
    elif "area" in chosen.column_names:
        area = chosen["area"].to_numpy().astype(np.float64)
    boxes = boxes_of(
        image[row],
        label[row],
        box,
        labels=len(class_ids),
        area=area,
        crowd=_crowd(chosen) if what == "ground truth" else None,
        score=score,
        order=chosen["annotation_id"].to_numpy(),
    )
    boxes.row[:] = row[boxes.row]
    return boxes


def _positions(column: pa.ChunkedArray, among: pa.Array) -> Ints:
    """For each value its position, -1 for one that is not there."""
    found = pc.fill_null(pc.index_in(column, value_set=among), -1)
    return np.asarray(found.to_numpy(), np.int64)


def _check(
    values: npt.NDArray[np.floating[Any]], rows: pa.Table, what: str, code: str, hint: str
) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        first = rows["asset_id"][int(np.argmax(bad))].as_py().hex()
        raise InvalidInputError(
            f"{what} is not a finite number: {bad.sum()} in all, the first on image {first[:12]}",
            code=code,
            hint=hint,
        )


def _crowd(truth: pa.Table) -> Flags:
    if "iscrowd" not in truth.column_names:
        return np.zeros(truth.num_rows, dtype=np.bool_)
    crowd = pc.fill_null(truth.column("iscrowd"), pa.scalar(False))
    return np.asarray(crowd, dtype=np.bool_)
