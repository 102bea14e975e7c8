"""What became of each box: found or missed, right or wrong, and how; kept with a version.

A prediction's mark is in its tags. What concerns the ground truth is in a layer of scores, a row
an image, so that the ground truth itself stays as people left it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.evaluation.columns import Floats, Ints
from mir_ops.evaluation.confusion import Across
from mir_ops.evaluation.matching import AREAS, MOST, Matches, match
from mir_ops.evaluation.mistakes import Mistakes, mistakes_of
from mir_ops.evaluation.sides import Sides
from mir_ops.store import rows, schema

MARK: Final = "eval_mark"  # tp, fp, ignored
PARTNER: Final = "eval_match"  # annotation id of the ground truth that was found
IOU: Final = "eval_iou"
MISTAKE: Final = "eval_mistake"  # TIDE's kind of a wrong prediction
THERE: Final = "eval_there"  # class id of the box that a wrong prediction lies on, or `none`
NOTHING: Final = "none"
MISTAKES: Final = "scores:evaluation:"  # layers, and the model's id
MISSED: Final = "missed/"  # and the annotation id: a component of the image's scores
_LISTS: Final = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))

Texts = npt.NDArray[np.str_]
Entries = tuple[npt.NDArray[Any], str, pa.Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """For each row of both tables its mark: tp, fp or ignored; mtp (found), fn or ignored.

    `partner` is the row of ground truth that a prediction found, or -1; `mistake` its kind. Wrong
    predictions are `about` the row that the confusion matrix matches them with, or -1.
    """

    truth: Texts
    found: Texts
    partner: Ints
    iou: Floats
    mistake: Texts
    about: Ints
    mistakes: Mistakes
    at_iou: float
    at_confidence: float

    def counts(self) -> dict[str, int]:
        """Predictions that are right, wrong and of no account; boxes that were missed."""
        return {
            "tp": int((self.found == "tp").sum()),
            "fp": int((self.found == "fp").sum()),
            "fn": int((self.truth == "fn").sum()),
            "ignored": int((self.found == "ignored").sum()),
        }


def marks_of(
    sides: Sides,
    truth_rows: int,
    found_rows: int,
    *,
    iou: float = 0.5,
    confidence: float = 0.0,
    most: int = MOST[-1],
) -> Marks:
    """Marks at one IoU of the predictions of at least this confidence, in tables of so many rows.

    Ignored are rows that take no part: of other images or classes, below the confidence, beyond
    the best `most` of an image and class, crowds and predictions on them.
    """
    sure = sides.found.only(sides.found.score >= confidence)
    matches = match(sides.truth, sure, thresholds=[iou], areas=[AREAS["all"]], most=most)
    return _by_row(matches, mistakes_of(matches), truth_rows, found_rows, confidence)


def tagged(predictions: pa.Table, marks: Marks, truth: pa.Table) -> pa.Table:
    """The rows of predictions with their marks as tags; other tags stay."""
    hits, wrong = np.flatnonzero(marks.partner >= 0), np.flatnonzero(marks.mistake != "")
    partners = rows.one_array(truth["annotation_id"]).take(pa.array(marks.partner[hits]))
    new = [
        (np.arange(len(marks.found)), MARK, _texts(marks.found)),
        (hits, PARTNER, partners.cast(pa.string())),
        (hits, IOU, pa.array(np.round(marks.iou[hits], 4)).cast(pa.string())),
        (wrong, MISTAKE, _texts(marks.mistake[wrong])),
        (wrong, THERE, _there(truth, marks.about[wrong])),
    ]
    if "tags" not in predictions.column_names:
        return predictions.append_column("tags", with_entries(_no_tags(predictions), new))
    tags = with_entries(rows.one_array(predictions["tags"]), new)
    return predictions.set_column(predictions.schema.get_field_index("tags"), "tags", tags)


def score_rows(
    asset_ids: pa.Array, marks: Marks, truth: pa.Table, predictions: pa.Table
) -> pa.Table:
    """A row of scores for each image: how many mistakes, their counts, and each missed box."""
    count = len(asset_ids)
    sides = ((predictions, marks.found), (truth, marks.truth))
    places = [np.asarray(pc.index_in(table["asset_id"], value_set=asset_ids)) for table, _ in sides]
    number = {
        name: np.bincount(place[mark == name].astype(np.int64), minlength=count)
        for (_, mark), place in zip(sides, places, strict=True)
        for name in ("tp", "fp", "fn")
        if (mark == name).any()
    }
    none = np.zeros(count, np.int64)
    mistakes = number.get("fp", none) + number.get("fn", none)
    missed = np.flatnonzero(marks.truth == "fn")
    ids = rows.one_array(truth["annotation_id"]).take(pa.array(missed)).cast(pa.string())
    image = [np.arange(count)] * 3 + [places[1][missed].astype(np.int64)]
    keys = [pa.repeat(pa.scalar(name), count) for name in ("tp", "fp", "fn")]
    keys.append(pc.binary_join_element_wise(MISSED, ids, ""))
    values = [*(number.get(name, none) for name in ("tp", "fp", "fn")), np.ones(len(missed))]
    order = np.argsort(np.concatenate(image), kind="stable")
    components = pa.MapArray.from_arrays(
        _offsets(np.bincount(np.concatenate(image), minlength=count)),
        pa.concat_arrays(keys).take(pa.array(order)),
        pa.array(np.concatenate(values).astype(np.float64)[order]),
    )
    return pa.table(
        {
            "asset_id": asset_ids,
            "score": pa.array(mistakes.astype(np.float64)),
            "components": components,
        }
    )


def with_entries(tags: pa.Array, new: Sequence[Entries]) -> pa.Array:
    """Maps with more entries: of each key the positions that have it, and the values there.

    Entries of these keys that were there before are gone.
    """
    lists = tags.cast(_LISTS)
    sizes = np.asarray(pc.fill_null(pc.list_value_length(lists), 0), np.int64)
    keys, values = (pc.struct_field(lists.flatten(), name) for name in ("key", "value"))
    kept = ~np.asarray(
        pc.is_in(keys, value_set=pa.array([key for _, key, _ in new], pa.string())), np.bool_
    )
    row = np.concatenate([np.repeat(np.arange(len(tags)), sizes)[kept], *(at for at, _, _ in new)])
    names = [pa.repeat(pa.scalar(key, pa.string()), len(at)) for at, key, _ in new]
    texts = [text for _, _, text in new]
    place = pa.array(np.argsort(row, kind="stable"))
    return pa.MapArray.from_arrays(
        _offsets(np.bincount(row, minlength=len(tags))),
        pa.concat_arrays([keys.filter(pa.array(kept)), *names]).take(place),
        pa.concat_arrays([values.filter(pa.array(kept)), *texts]).take(place),
    )


def _by_row(
    matches: Matches, mistakes: Mistakes, truth_rows: int, found_rows: int, confidence: float
) -> Marks:
    one = np.uint64(1)
    hit = (matches.hit & ~matches.aside & one) != 0
    partner = matches.partner[hit]
    truth = np.where(matches.ignored & one, "ignored", "fn")
    truth[partner] = "mtp"
    here, there = matches.found.row, matches.truth.row
    marks = Marks(
        truth=np.full(truth_rows, "ignored"),
        found=np.full(found_rows, "ignored"),
        partner=np.full(found_rows, -1, np.int64),
        iou=np.zeros(found_rows),
        mistake=np.full(found_rows, "", mistakes.kind.dtype),
        about=np.full(found_rows, -1, np.int64),
        mistakes=mistakes,
        at_iou=matches.thresholds[0],
        at_confidence=confidence,
    )
    marks.truth[there] = truth
    marks.found[here] = np.where(hit, "tp", np.where(matches.aside & one, "ignored", "fp"))
    marks.partner[here[hit]] = there[partner]
    marks.iou[here[hit]] = matches.overlap[hit]
    marks.mistake[here] = mistakes.kind
    across = Across.of(matches)
    marks.about[here[across.found]] = np.append(there, -1)[across.truth]
    return marks


def _there(truth: pa.Table, about: Ints) -> pa.Array:
    """The class ids of these rows, `none` for -1."""
    ids = rows.one_array(truth["class_id"]).cast(pa.string())
    return pc.fill_null(ids.take(pa.array(about, mask=about < 0)), NOTHING)


def _no_tags(table: pa.Table) -> pa.Array:
    return pa.nulls(table.num_rows, schema.TEXT_MAP)


def _texts(values: Texts) -> pa.Array:
    """Arrow makes several pieces of very many."""
    found = pa.array(values, pa.string())
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _offsets(counts: npt.NDArray[np.intp]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
