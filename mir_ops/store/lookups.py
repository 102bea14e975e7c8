"""What a table says about a few assets, without reading rows of its large segments."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.store import overlays, rows, segments, sidecars
from mir_ops.store.counts import Counts, count
from mir_ops.store.manifests import Segment, TableSegments
from mir_ops.store.objects import ObjectStore
from mir_ops.store.sidecars import Sidecar, Wanted

_COUNTED = ("asset_id", "class_id", "split", rows.STATE)

Mask = npt.NDArray[np.bool_]


def count_assets(objects: ObjectStore, table: TableSegments, ids: pa.Array) -> tuple[Counts, Mask]:
    """Exact counts of these assets (ids ascending), and which of them the table covers."""
    wanted = Wanted.of(ids)
    covered = np.zeros(len(ids), bool)
    places = np.arange(len(ids))  # of what no newer segment decided
    total = Counts()
    for group in _newest_first(table):
        low, high = min(one.min_key for one in group), max(one.max_key for one in group)
        first = int(np.searchsorted(wanted.keys, np.uint64(low), "left"))
        last = int(np.searchsorted(wanted.keys, np.uint64(high), "right"))
        if first >= last:
            continue
        named, held, counts = _in_segments(objects, group, wanted.slice(first, last))
        total = total.replaced(Counts(), counts)
        covered[places[first:last]] = held
        if group[0] not in table.base and named.any():  # base segments share no asset
            kept = np.ones(len(wanted), bool)
            kept[first:last] = ~named
            wanted, places = wanted.filter(kept), places[kept]
    return total, covered


def _newest_first(table: TableSegments) -> Iterator[Sequence[Segment]]:
    """Small deltas that follow one another are read together, everything else alone."""
    for large, group in itertools.groupby(table.deltas[::-1], lambda one: one.sidecar is not None):
        found = list(group)
        yield from ([one] for one in found) if large else (found[::-1],)
    yield from ([one] for one in table.base)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRows:
    """The classes of a layer's rows: of asset i those from `starts[i]` to before `starts[i + 1]`.

    Assets without rows are not in it. The last of `starts` is the number of rows.
    """

    keys: npt.NDArray[np.uint64]  # the first 8 bytes of each asset id, ascending
    checks: npt.NDArray[np.uint64]  # and the next 8
    starts: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int32]


def find_classes(objects: ObjectStore, table: TableSegments) -> ClassRows | None:
    """The class of every row of a layer; None where the sidecars of its base do not tell.

    Of deltas the columns are read: they are the smaller part.
    """
    names = [segment.sidecar for segment in table.base]
    if not all(names):
        return None
    parts = [_classes_of(sidecars.read(objects, name)) for name in names if name]
    if table.deltas:
        over = segments.read_deltas(objects, table.deltas, _COUNTED)
        assert over is not None
        named = Wanted.of(rows.distinct(over))
        if (named.keys[1:] == named.keys[:-1]).any():
            return None  # told apart by their columns alone
        parts = [_without(part, named) for part in parts] + [_classes_of_rows(over)]
    return _in_order(parts)


def _classes_of(part: Sidecar) -> ClassRows:
    present = part.kinds >= sidecars.PRESENT
    each = part.starts[1:].astype(np.int64) - part.starts[:-1]
    coded = part.codes if present.all() else part.codes[np.repeat(present, each)]
    return ClassRows(
        keys=part.keys[present],
        checks=part.checks[present],
        starts=np.append(0, np.cumsum(each[present])),
        classes=part.classes[coded],
    )


def _classes_of_rows(table: pa.Table) -> ClassRows:
    real = rows.rows_only(table)
    ids = rows.one_array(real["asset_id"])
    starts = rows.run_starts(ids)
    held = ids.take(pa.array(starts))
    return ClassRows(
        keys=rows.prefixes(held),
        checks=rows.prefixes(held, 1),
        starts=np.append(starts, real.num_rows),
        classes=rows.one_array(real["class_id"]).to_numpy(),
    )


def _without(part: ClassRows, named: Wanted) -> ClassRows:
    """Those of other assets."""
    if not len(part.keys) or not len(named):
        return part
    places = np.minimum(np.searchsorted(named.keys, part.keys), len(named) - 1)
    kept = (named.keys[places] != part.keys) | (named.checks[places] != part.checks)
    each = np.diff(part.starts)
    return ClassRows(
        keys=part.keys[kept],
        checks=part.checks[kept],
        starts=np.append(0, np.cumsum(each[kept])),
        classes=part.classes[np.repeat(kept, each)],
    )


def _in_order(parts: Sequence[ClassRows]) -> ClassRows:
    """All of them by key: base segments already are, deltas lie between them."""
    keys = np.concatenate([np.zeros(0, np.uint64), *(part.keys for part in parts)])
    checks = np.concatenate([np.zeros(0, np.uint64), *(part.checks for part in parts)])
    each = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.starts) for part in parts)])
    classes = np.concatenate([np.zeros(0, np.int32), *(part.classes for part in parts)])
    if (keys[1:] < keys[:-1]).any():
        order = np.lexsort((checks, keys))
        ends = np.cumsum(each)
        classes = classes[overlays.spread((ends - each)[order], ends[order])]
        keys, checks, each = keys[order], checks[order], each[order]
    return ClassRows(
        keys=keys, checks=checks, starts=np.append(0, np.cumsum(each)), classes=classes
    )


def _in_segments(
    objects: ObjectStore, group: Sequence[Segment], wanted: Wanted
) -> tuple[Mask, Mask, Counts]:
    """Which assets these segments name, which of them they cover, and the counts of those."""
    if group[0].sidecar is not None:
        return _in_sidecar(sidecars.read(objects, group[0].sidecar), wanted)
    found = segments.read_deltas(objects, group, _COUNTED, wanted)
    if found is None:
        nothing = np.zeros(len(wanted), bool)
        return nothing, nothing, Counts()
    named, held = (
        _among(wanted.ids, rows.distinct(part)) for part in (found, rows.covered_only(found))
    )
    return named, held, count(found)


def _among(ids: pa.Array, some: pa.Array) -> Mask:
    """For each id (ascending): whether it is one of some of them."""
    found = np.zeros(len(ids), bool)
    found[np.searchsorted(rows.to_numpy(ids), rows.to_numpy(some))] = True
    return found


def _in_sidecar(sidecar: Sidecar, wanted: Wanted) -> tuple[Mask, Mask, Counts]:
    places, named = sidecar.find(wanted)
    held = named.copy()
    held[named] = sidecar.kinds[places[named]] != sidecars.GONE
    places = places[held]
    kinds = sidecar.kinds[places]
    with_rows = places[kinds >= sidecars.PRESENT]
    lows = sidecar.starts[with_rows].astype(np.int64)
    highs = sidecar.starts[with_rows + 1].astype(np.int64)
    amount = int((highs - lows).sum())
    by_class = {}
    if len(sidecar.classes):
        ordinals = np.repeat(np.arange(len(with_rows)), highs - lows)
        codes = sidecar.codes[overlays.spread(lows, highs)]
        by_class = dict(rows.count_codes(ordinals, codes, sidecar.classes))
    return (
        named,
        held,
        Counts(
            assets=len(places),
            rows=amount,
            classes=Counter({class_id: entry[0] for class_id, entry in by_class.items()}),
            class_assets=Counter({class_id: entry[1] for class_id, entry in by_class.items()}),
            splits=_splits(sidecar, kinds),
        ),
    )


def _splits(sidecar: Sidecar, kinds: npt.NDArray[np.uint8]) -> Counter[str]:
    amounts = np.bincount(kinds, minlength=sidecars.UNSPLIT + 1)
    names = ("", *sidecar.splits)
    counted = zip(names, amounts[sidecars.UNSPLIT :].tolist(), strict=False)  # layers: none
    return Counter({name: amount for name, amount in counted if amount})
