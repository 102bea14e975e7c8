"""What a strategy sees: the candidates in order of their ids, their boxes as flat columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_COLUMNS = ("annotation_id", "class_id", "confidence", "class_probs")
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Predicted boxes of the candidates, one entry per box, sorted by `owner`.

    `owner` is the box's position among the candidates. The class shares of box `i`, if its
    executor gave any, are `shares[share_start[i]:share_start[i + 1]]`: those of the project's
    classes only.
    """

    owner: Integers
    class_id: Integers
    confidence: Floats
    share_start: Integers
    shares: Floats

    def __len__(self) -> int:
        return len(self.owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    asset_ids: pa.Array  # sorted, no repeats
    boxes: Boxes
    class_ids: tuple[int, ...]
    budget: int
    seed: int

    def __len__(self) -> int:
        return len(self.asset_ids)

    def box_counts(self) -> Integers:
        return np.bincount(self.boxes.owner, minlength=len(self)).astype(np.int64)

    def draws(self) -> Floats:
        """One number in [0, 1) per candidate, made of the seed and the asset's id alone.

        An asset keeps its draw whoever else is a candidate, on every machine and in every version
        of numpy.
        """
        words = np.frombuffer(_bytes_of(self.asset_ids), dtype=">u8").reshape(-1, 4)
        mixed = np.full(len(self), _seed_word(self.seed), dtype=np.uint64)
        for column in range(4):
            mixed = _mix(mixed ^ words[:, column].astype(np.uint64))
        return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def sum_by(owner: Integers, values: Floats, size: int) -> Floats:
    """Entry `i` is the sum of the values whose owner is `i`."""
    # Without any values numpy counts in integers.
    return np.bincount(owner, weights=values, minlength=size).astype(np.float64)


def read_candidates(
    assets: pa.Table,
    predictions: pa.Table,
    *,
    class_ids: Sequence[int],
    budget: int,
    seed: int,
) -> Candidates:
    """Predictions on other assets and of other classes are left out."""
    asset_ids = _sorted_ids(assets)
    return Candidates(
        asset_ids=asset_ids,
        boxes=_read_boxes(asset_ids, predictions, class_ids),
        class_ids=tuple(sorted(set(class_ids))),
        budget=budget,
        seed=seed,
    )


def _sorted_ids(assets: pa.Table) -> pa.Array:
    ids = _whole(assets.column("asset_id"))
    ids = ids.take(pc.sort_indices(ids))
    if len(ids) > 1 and pc.any(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))).as_py():
        raise InvalidInputError(
            "An asset is listed twice among the candidates",
            code="duplicate-candidate",
            hint="Pass each candidate once",
        )
    return ids


def _read_boxes(asset_ids: pa.Array, predictions: pa.Table, class_ids: Sequence[int]) -> Boxes:
    known = pa.array(sorted(set(class_ids)), pa.int32())
    owner = pc.index_in(predictions.column("asset_id"), value_set=asset_ids)
    wanted = pc.and_(pc.is_valid(owner), pc.is_in(predictions.column("class_id"), value_set=known))
    columns = [name for name in _COLUMNS if name in predictions.column_names]
    table = predictions.select(columns).append_column("owner", owner).filter(wanted)
    # The order of a layer: sums of floating point numbers depend on the order of their terms.
    table = table.sort_by([("owner", "ascending"), ("annotation_id", "ascending")])
    confidence = _column(table, "confidence").astype(np.float64)
    _refuse_bad_shares(confidence, "confidence")
    share_start, shares = _read_shares(table, known)
    _refuse_bad_shares(shares, "class probability")
    return Boxes(
        owner=_column(table, "owner").astype(np.int64),
        class_id=_column(table, "class_id").astype(np.int64),
        confidence=confidence,
        share_start=share_start,
        shares=shares,
    )


def _read_shares(table: pa.Table, known: pa.Array) -> tuple[Integers, Floats]:
    rows = table.num_rows
    if "class_probs" not in table.column_names or rows == 0:
        return np.zeros(rows + 1, dtype=np.int64), np.zeros(0, dtype=np.float64)
    maps = _whole(table.column("class_probs"))
    start = np.asarray(maps.offsets, dtype=np.int64)
    kept = np.asarray(pc.is_in(maps.keys, value_set=known))
    shares = np.asarray(maps.items, dtype=np.float64)
    kept_before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    # `keys` and `items` are whole, `offsets` point into them.
    first, last = int(start[0]), int(start[-1])
    return kept_before[start] - kept_before[first], shares[first:last][kept[first:last]]


def _refuse_bad_shares(values: Floats, what: str) -> None:
    bad = ~((values >= 0) & (values <= 1))  # a NaN is neither
    if bad.any():
        raise InvalidInputError(
            f"A {what} is not between 0 and 1: {values[bad][0]} ({int(bad.sum())} such values)",
            code="bad-confidence",
            hint="Check the executor that made these predictions",
        )


def _column(table: pa.Table, name: str) -> npt.NDArray[np.generic]:
    return np.asarray(_whole(table.column(name)))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks)


def _bytes_of(ids: pa.Array) -> memoryview:
    width = ids.type.byte_width
    data = memoryview(ids.buffers()[1] or b"")
    return data[ids.offset * width : (ids.offset + len(ids)) * width]


def _seed_word(seed: int) -> np.uint64:
    return np.uint64((seed * _STEP + _STEP) % (1 << 64))


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of splitmix64."""
    words = (words ^ (words >> np.uint64(30))) * _MIX[0]
    words = (words ^ (words >> np.uint64(27))) * _MIX[1]
    return words ^ (words >> np.uint64(31))
