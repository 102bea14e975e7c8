"""Newest wins: laying parts of a table over one another, asset by asset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.store import rows

Index = npt.NDArray[np.int64]


def newest(parts: Sequence[pa.Table]) -> pa.Table:
    """Merge sorted parts, oldest first: the newest that names an asset decides all of its rows."""
    merged = list(parts)
    while len(merged) > 1:  # neighbours first, so that every row is copied a few times only
        paired = [overlay(*pair) for pair in zip(merged[::2], merged[1::2], strict=False)]
        merged = paired + merged[len(merged) & ~1 :]
    return merged[0]


def overlay(older: pa.Table, newer: pa.Table) -> pa.Table:
    """The rows of `newer`, and those of `older` whose assets `newer` does not name."""
    if newer.num_rows == 0 or older.num_rows == 0:
        return older if newer.num_rows == 0 else newer
    under = rows.to_numpy(rows.one_array(older["asset_id"]))
    over_ids = rows.one_array(newer["asset_id"])
    starts = rows.run_starts(over_ids)
    lows, highs = ranges(under, rows.to_numpy(over_ids)[starts])
    kept = np.flatnonzero(~_covered(lows, highs, len(under)))
    each = np.diff(np.append(starts, len(over_ids)))
    places = np.repeat(np.searchsorted(kept, lows), each)
    order = np.insert(kept, places, np.arange(len(under), len(under) + len(over_ids)))
    both = pa.concat_tables([older, newer], promote_options="permissive")
    return both.take(pa.array(order))


def select(table: pa.Table, ids: pa.Array) -> pa.Table:
    """The rows of these assets (ids ascending) of a sorted table."""
    held, wanted = rows.to_numpy(rows.one_array(table["asset_id"])), rows.to_numpy(ids)
    if len(wanted) > len(held):  # the shorter are looked up among the longer
        places = np.minimum(np.searchsorted(wanted, held), len(wanted) - 1)
        chosen = np.flatnonzero(wanted[places] == held)
    else:
        chosen = spread(*ranges(held, wanted))
    return table if len(chosen) == table.num_rows else table.take(pa.array(chosen))


def ranges(held: npt.NDArray[np.bytes_], wanted: npt.NDArray[np.bytes_]) -> tuple[Index, Index]:
    """Where the rows of each wanted id start and end."""
    return np.searchsorted(held, wanted, "left"), np.searchsorted(held, wanted, "right")


def spread(lows: Index, highs: Index) -> Index:
    """All positions of the ranges, one after the other."""
    lengths = highs - lows
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    places: Index = np.arange(total) + np.repeat(lows - (ends - lengths), lengths)
    return places


def _covered(lows: Index, highs: Index, size: int) -> npt.NDArray[np.bool_]:
    change = np.bincount(lows, minlength=size + 1) - np.bincount(highs, minlength=size + 1)
    return np.cumsum(change)[:size] > 0
