"""From the tables of a version to the columns that strategies see."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.mining.candidates import (
    Boxes,
    Candidates,
    Floats,
    Integers,
    Labelled,
    Matrix,
    Vectors,
    words_of,
)

_COLUMNS = ("class_id", "confidence", "class_probs")
SCORED = ("asset_id", "annotation_id", *_COLUMNS)  # what is read of predictions


def read_candidates(
    assets: pa.Table,
    predictions: pa.Table,
    *,
    classes: Mapping[int, str],
    wanted: int,
    seed: int,
    embeddings: pa.Table | None = None,
    labelled: Labelled | None = None,
    ranking: pa.Table | None = None,
) -> Candidates:
    """Predictions on other assets and of other classes are left out."""
    asset_ids = sorted_ids(assets)
    return Candidates(
        asset_ids=asset_ids,
        boxes=read_boxes(asset_ids, predictions, classes),
        classes=dict(sorted(classes.items())),
        wanted=wanted,
        seed=seed,
        vectors=None if embeddings is None else read_vectors(asset_ids, embeddings),
        labelled=labelled,
        ranking=None if ranking is None else _read_ranking(asset_ids, ranking),
    )


def read_labelled(annotations: pa.Table, embeddings: pa.Table | None = None) -> Labelled:
    """What strategies know of the labelled images: rows of `ground_truth`, and their vectors."""
    counts = pc.value_counts(annotations["class_id"].combine_chunks())
    boxes = {entry["values"]: entry["counts"] for entry in counts.to_pylist()}
    if embeddings is None or embeddings.num_rows == 0:
        return Labelled(boxes=boxes)
    ordered = embeddings.sort_by("asset_id")
    return Labelled(boxes=boxes, asset_ids=whole(ordered["asset_id"]), vectors=_matrix(ordered))


def sorted_ids(assets: pa.Table) -> pa.Array:
    """The ids in ascending order; one that is there twice is refused."""
    ids = whole(assets.column("asset_id"))
    first = words_of(ids)[:, 0]
    if not (first[1:] > first[:-1]).all():
        ids = ids.take(pc.sort_indices(ids))
    words = words_of(ids)
    if (words[1:] == words[:-1]).all(axis=1).any():
        raise InvalidInputError(
            "An asset is listed twice among the candidates",
            code="duplicate-candidate",
            hint="Pass each candidate once",
        )
    return ids


def locate(asset_ids: pa.Array, wanted: pa.Array) -> Integers:
    """The position of each wanted id among the sorted ones, or -1."""
    if len(wanted) == 0 or len(asset_ids) == 0:
        return np.full(len(wanted), -1, np.int64)
    here, asked = words_of(asset_ids), words_of(wanted)
    first = here[:, 0].astype(np.uint64)
    if (first[1:] == first[:-1]).any():  # no hash does that: somebody chose these ids
        found = pc.index_in(wanted, value_set=asset_ids)
        return np.asarray(pc.fill_null(found, -1)).astype(np.int64)
    # Rows of one asset follow each other, as a rule: look each run up once.
    start = np.flatnonzero(np.concatenate([[True], (asked[1:] != asked[:-1]).any(axis=1)]))
    asked = asked[start]
    at = np.minimum(np.searchsorted(first, asked[:, 0].astype(np.uint64)), len(first) - 1)
    at[(here[at] != asked).any(axis=1)] = -1
    return np.repeat(at, np.diff(np.append(start, len(wanted)))).astype(np.int64)


def read_boxes(asset_ids: pa.Array, predictions: pa.Table, classes: Mapping[int, str]) -> Boxes:
    """The boxes of these classes on these images, in the order of a layer."""
    known = np.array(sorted(classes), dtype=np.int32)
    owner = locate(asset_ids, whole(predictions.column("asset_id")))
    table = predictions.select([name for name in _COLUMNS if name in predictions.column_names])
    chosen = np.flatnonzero((owner >= 0) & np.isin(_column(table, "class_id"), known))
    # Sums of floating point numbers depend on the order of their terms.
    place = _layer_order(owner[chosen], _numbers(predictions)[chosen])
    chosen = chosen if place is None else chosen[place]
    if len(chosen) < len(owner) or place is not None:
        owner, table = owner[chosen], table.take(pa.array(chosen))
    confidence = _column(table, "confidence").astype(np.float64)
    refuse_bad_shares(confidence, "confidence")
    share_start, shares, share_class = _read_shares(table, known)
    refuse_bad_shares(shares, "class probability")
    return Boxes(
        owner=owner,
        class_id=_column(table, "class_id").astype(np.int64),
        confidence=confidence,
        share_start=share_start,
        shares=shares,
        share_class=share_class,
    )


def read_vectors(asset_ids: pa.Array, embeddings: pa.Table) -> Vectors:
    """The vectors of these images; those of others are not looked at."""
    at = locate(asset_ids, whole(embeddings["asset_id"]))
    rows = np.full(len(asset_ids), -1, np.int64)
    rows[at[at >= 0]] = np.flatnonzero(at >= 0)
    return Vectors(matrix=_matrix(embeddings), rows=rows)


def refuse_bad_shares(values: Floats, what: str) -> None:
    """Refuse what is not between 0 and 1."""
    bad = ~((values >= 0) & (values <= 1))  # a NaN is neither
    if bad.any():
        raise InvalidInputError(
            f"A {what} is not between 0 and 1: {values[bad][0]} ({int(bad.sum())} such values)",
            code="bad-confidence",
            hint="Check the executor that made these predictions",
        )


def whole(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece."""
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def _layer_order(owner: Integers, numbers: npt.NDArray[np.uint64]) -> Integers | None:
    """The order by owner and number; None where the rows have it already."""
    later = owner[1:] > owner[:-1]
    again = (owner[1:] == owner[:-1]) & (numbers[1:] >= numbers[:-1])
    return None if (later | again).all() else np.lexsort((numbers, owner))


def _read_shares(
    table: pa.Table, known: npt.NDArray[np.int32]
) -> tuple[Integers, Floats, Integers]:
    rows = table.num_rows
    none = np.zeros(0, np.int64)
    if "class_probs" not in table.column_names or table["class_probs"].null_count == rows:
        return np.zeros(rows + 1, dtype=np.int64), np.zeros(0, dtype=np.float64), none
    maps = whole(table.column("class_probs"))
    start = np.asarray(maps.offsets, dtype=np.int64)
    # `keys` and `items` are whole, `offsets` point into them.
    first, last = int(start[0]), int(start[-1])
    classes = np.asarray(maps.keys)[first:last]
    items = np.asarray(maps.items)[first:last].astype(np.float64)
    kept = np.isin(classes, known)
    kept_before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return kept_before[start - first], items[kept], classes[kept].astype(np.int64)


def _read_ranking(asset_ids: pa.Array, ranking: pa.Table) -> Floats:
    at = locate(asset_ids, whole(ranking["asset_id"]))
    scores = np.full(len(asset_ids), np.nan)
    scores[at[at >= 0]] = _column(ranking, "score").astype(np.float64)[at >= 0]
    return scores


def _matrix(embeddings: pa.Table) -> Matrix:
    vectors = whole(embeddings["vector"])
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    if not np.isfinite(flat).all():
        raise InvalidInputError(
            "A vector has a number that is not finite",
            code="bad-vector",
            hint="Check the executor that made these embeddings",
        )
    matrix: Matrix = flat.astype(np.float32, copy=False).reshape(len(vectors), -1)
    return matrix


def _numbers(predictions: pa.Table) -> npt.NDArray[np.uint64]:
    return _column(predictions, "annotation_id").astype(np.uint64, copy=False)


def _column(table: pa.Table, name: str) -> npt.NDArray[np.generic]:
    return np.asarray(whole(table.column(name)))
