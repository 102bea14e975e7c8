"""Comparing rows of one table by key and by value, column by column."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.store import rows

Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What became of the rows of one table, and of the assets they belong to.

    `old` and `new` hold rows only; the masks and indices point into them.
    """

    old: pa.Table
    new: pa.Table
    row_removed: Mask  # of old
    row_added: Mask  # of new
    changed_old: Index  # same key, other value
    changed_new: Index
    added: pa.Array  # ids of the assets that only `new` covers
    removed: pa.Array  # that only `old` covers
    changed: pa.Array  # that both cover, with other rows

    def assets(self) -> pa.Array:
        """The ids of all assets that differ, ascending."""
        return rows.sorted_unique([self.added, self.removed, self.changed])


def compare(old: pa.Table, new: pa.Table, ignore: Collection[str] = ()) -> Comparison:
    """Compare two sorted tables with state; values in the columns `ignore` do not matter."""
    old_covered, new_covered = rows.distinct(old), rows.distinct(new)
    old, new = rows.rows_only(old), rows.rows_only(new)
    in_old, in_new = _pairs(old, new)
    names = dict.fromkeys([*old.column_names, *new.column_names])
    columns = [name for name in names if name not in {*ignore, rows.STATE}]
    equal = _equal_rows(old.take(pa.array(in_old)), new.take(pa.array(in_new)), columns)
    row_removed, row_added = np.ones(old.num_rows, bool), np.ones(new.num_rows, bool)
    row_removed[in_old] = False
    row_added[in_new] = False
    changed_old, changed_new = in_old[~equal], in_new[~equal]
    touched = [
        old["asset_id"].filter(pa.array(row_removed)).combine_chunks(),
        new["asset_id"].filter(pa.array(row_added)).combine_chunks(),
        new["asset_id"].take(pa.array(changed_new)).combine_chunks(),
    ]
    added = rows.without(new_covered, old_covered)
    removed = rows.without(old_covered, new_covered)
    changed = rows.without(rows.without(rows.sorted_unique(touched), added), removed)
    return Comparison(
        old=old,
        new=new,
        row_removed=row_removed,
        row_added=row_added,
        changed_old=changed_old,
        changed_new=changed_new,
        added=added,
        removed=removed,
        changed=changed,
    )


def _pairs(old: pa.Table, new: pa.Table) -> tuple[Index, Index]:
    """Positions of the rows that have the same key in both tables."""
    ids = pa.concat_arrays(
        [rows.as_ids(old["asset_id"]), rows.as_ids(new["asset_id"])]
    ).dictionary_encode()
    ordinals = ids.indices.to_numpy().astype(np.int64)
    numbers = np.zeros(len(ordinals), np.uint64)
    if "annotation_id" in old.column_names:
        numbers[: old.num_rows] = old["annotation_id"].to_numpy()
        numbers[old.num_rows :] = new["annotation_id"].to_numpy()
    order = np.lexsort((np.arange(len(ordinals)), numbers, ordinals))
    first, second = order[:-1], order[1:]
    same = (ordinals[first] == ordinals[second]) & (numbers[first] == numbers[second])
    return first[same], second[same] - old.num_rows


def _equal_rows(left: pa.Table, right: pa.Table, columns: list[str]) -> Mask:
    equal = np.ones(left.num_rows, bool)
    for name in columns:
        found = [_array(table[name]) for table in (left, right) if name in table.column_names]
        # A table without the column has no value in it.
        equal &= equal_values(*found) if len(found) == 2 else _mask(found[0].is_null())
    return equal


def equal_values(left: pa.Array, right: pa.Array) -> Mask:
    """Where two arrays of one type and length hold the same; null equals null, NaN equals NaN."""
    nulls, others = _mask(left.is_null()), _mask(right.is_null())
    kind = left.type
    if pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        equal = _equal_lists(left, right)
    elif pa.types.is_struct(kind):
        equal = np.ones(len(left), bool)
        for one, other in zip(left.flatten(), right.flatten(), strict=True):
            equal &= equal_values(one, other)
    else:
        equal = _mask(pc.fill_null(pc.equal(left, right), False))
        if pa.types.is_floating(kind):
            nan = pc.and_(pc.is_nan(left), pc.is_nan(right))
            equal |= _mask(pc.fill_null(nan, False))
    return np.where(nulls | others, nulls & others, equal)


def _equal_lists(left: pa.Array, right: pa.Array) -> Mask:
    if pa.types.is_map(left.type):  # a map is a list of key and value
        entries = pa.list_(pa.struct([("key", left.type.key_type), ("value", left.type.item_type)]))
        left, right = left.cast(entries), right.cast(entries)
    lengths = pc.fill_null(pc.list_value_length(left), 0).to_numpy()
    equal: Mask = lengths == pc.fill_null(pc.list_value_length(right), 0).to_numpy()
    some = equal & (lengths > 0) & ~_mask(left.is_null()) & ~_mask(right.is_null())
    chosen = np.flatnonzero(some)
    if len(chosen) == 0:
        return equal
    items = equal_values(
        left.take(pa.array(chosen)).flatten(), right.take(pa.array(chosen)).flatten()
    )
    starts = np.concatenate([[0], np.cumsum(lengths[chosen])[:-1]])
    equal[chosen] = np.logical_and.reduceat(items, starts)
    return equal


def _mask(values: pa.Array) -> Mask:
    return np.asarray(values.to_numpy(zero_copy_only=False), bool)


def _array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
