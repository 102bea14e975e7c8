"""Images that are alike: found by hash, taken out, and reported where they cross splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.filtering import keep
from mir_ops.dataset.pace import Progress
from mir_ops.dataset.perceptual import (
    NO_CONTRAST,
    Hashed,
    Hashes,
    Neighbours,
    check_distance,
    distances,
    find_neighbours,
    perceptual_hashes,
)
from mir_ops.store import Operation, rows, schema

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store, Version

Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

DISTANCE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Images to take out, ids ascending: each is like the one at the same place in `originals`.

    `distance` is in how many of 64 bits the hashes differ. `hashed` is None where only the bytes
    were compared.
    """

    asset_ids: pa.Array
    originals: pa.Array
    distance: npt.NDArray[np.uint8]
    hashed: Hashed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """An image of one split that is like one of another."""

    asset_id: bytes
    split: str
    like: bytes
    like_split: str
    distance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leakage:
    """Images that cross splits, and groups (by `group_id`) that are in more than one."""

    leaks: tuple[Leak, ...]
    groups: tuple[str, ...]


def find_duplicates(
    store: Store,
    version: Version,
    *,
    distance: int | None = DISTANCE,
    against: Sequence[Version] = (),
    on_progress: Progress = lambda _share, _message: None,
) -> Duplicates:
    """Images of a version that are like another one of it, or like one of the versions `against`.

    `distance` None compares bytes: within a version equal bytes are one image already. Of images
    that are alike stays the one with ground truth, with more pixels, with the smaller id. No two
    that stay are alike, and each that goes is like one that stays.
    """
    check_distance(distance)
    ids = version.asset_ids()
    others = rows.sorted_unique([other.asset_ids() for other in against])
    same = rows.common(ids, others)
    if distance is None:
        none = np.zeros(len(same), np.uint8)
        return Duplicates(asset_ids=same, originals=same, distance=none)
    hashed = perceptual_hashes(store, version, on_progress)
    other_hashes = [perceptual_hashes(store, other, on_progress).hashes for other in against]
    hashes = np.concatenate([hashed.hashes, *other_hashes])
    everything = pa.concat_arrays([ids, *(other.asset_ids() for other in against)])
    near = find_neighbours(hashes, distance)
    fixed = np.arange(len(everything)) >= len(ids)
    order = np.concatenate([_order(version, ids), np.full(int(fixed.sum()), -1)])
    like = _originals(near, order, fixed)[: len(ids)]
    like = np.where(rows.is_in(ids, same), _index(everything, ids, len(ids)), like)
    gone = like != np.arange(len(ids))
    originals = everything.take(pa.array(like[gone]))
    return Duplicates(
        asset_ids=ids.filter(pa.array(gone)),
        originals=originals,
        distance=distances(hashes[: len(ids)][gone], hashes[like[gone]]),
        hashed=hashed,
    )


def remove_duplicates(
    store: Store,
    rev: str,
    branch: str,
    *,
    distance: int | None = DISTANCE,
    against: Sequence[str] = (),
    op_id: str,
    message: str | None = None,
    on_progress: Progress = lambda _share, _message: None,
) -> Commit:
    """Commit a version without its duplicates; hashes that were computed are stored with it.

    The same operation removes once.
    """
    if done := store.find_operation(branch, op_id):
        return done
    version = store.read(rev)
    others = [store.read(other) for other in against]
    found = find_duplicates(
        store, version, distance=distance, against=others, on_progress=on_progress
    )
    kept = rows.without(version.asset_ids(), found.asset_ids)
    parameters = {"distance": distance, "against": list(against), "removed": len(found.asset_ids)}
    inputs = (version.id, *(other.id for other in others))
    changes = keep(version, kept)
    if found.hashed is not None:
        changes.put_assets(_with_hashes(version, found.hashed, kept))
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(kind="dedup", parameters=parameters, inputs=inputs),
        message=message or f"Remove {len(found.asset_ids)} duplicates from {rev}",
        base=version,
        start=version.commit if rev == branch else None,
    ) as edit:
        edit.take(changes)
    return edit.commit


def find_leakage(
    store: Store,
    sources: Sequence[tuple[Version, str | None]],
    *,
    distance: int | None = DISTANCE,
    on_progress: Progress = lambda _share, _message: None,
) -> Leakage:
    """Validation and test images that are like training images, and test ones like validation's.

    Each source is a version and the split of all of its images; None: each has its own.
    """
    check_distance(distance)
    images = _Images.of(store, sources, distance, on_progress)
    leaks = [
        leak
        for split, other in (("val", "train"), ("test", "train"), ("test", "val"))
        for leak in images.leaks(split, other, distance)
    ]
    return Leakage(leaks=tuple(leaks), groups=images.crossing_groups())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Images:
    """The images of several versions, with split, hash and group."""

    ids: pa.Array
    splits: npt.NDArray[np.object_]
    hashes: Hashes
    groups: pa.Array

    @classmethod
    def of(
        cls,
        store: Store,
        sources: Sequence[tuple[Version, str | None]],
        distance: int | None,
        on_progress: Progress,
    ) -> _Images:
        ids, splits, hashes, groups = [], [], [], []
        for version, split in sources:
            table = version.assets(columns=["asset_id", "split", "group_id"])
            ids.append(rows.one_array(table["asset_id"]))
            own = table["split"].to_numpy()
            splits.append(own if split is None else np.full(len(own), split, object))
            groups.append(rows.one_array(table["group_id"]))
            if distance is None:
                hashes.append(np.zeros(len(own), np.uint64))
            else:
                hashes.append(perceptual_hashes(store, version, on_progress).hashes)
        return cls(
            ids=pa.concat_arrays(ids),
            splits=np.concatenate(splits),
            hashes=np.concatenate(hashes),
            groups=pa.concat_arrays(groups),
        )

    def leaks(self, split: str, other: str, distance: int | None) -> list[Leak]:
        """What is in `split` and like something in `other`, the same images first."""
        mine, theirs = (np.flatnonzero(self.splits == name) for name in (split, other))
        if not len(mine) or not len(theirs):
            return []
        like = _index(self.ids.take(pa.array(theirs)), self.ids.take(pa.array(mine)), 0)
        found = like >= 0
        like[found] = theirs[like[found]]
        if distance is not None:
            near = _nearest(self.hashes[mine], self.hashes[theirs], distance)
            found |= near >= 0
            like = np.where(like >= 0, like, np.where(near >= 0, theirs[near], -1))
        mine, like = mine[found], like[found]
        bits = distances(self.hashes[mine], self.hashes[like]).tolist()
        ids, likes = (self.ids.take(pa.array(place)).to_pylist() for place in (mine, like))
        return [
            Leak(asset_id=one, split=split, like=another, like_split=other, distance=bit)
            for one, another, bit in zip(ids, likes, bits, strict=True)
        ]

    def crossing_groups(self) -> tuple[str, ...]:
        """Groups with images in more than one split."""
        table = pa.table({"group": self.groups, "split": pa.array(self.splits, pa.string())})
        table = table.filter(pc.and_(table["group"].is_valid(), table["split"].is_valid()))
        counted = table.group_by("group").aggregate([("split", "count_distinct")])
        crossing = counted.filter(pc.greater(counted["split_count_distinct"], 1))
        return tuple(sorted(crossing["group"].to_pylist()))


def _order(version: Version, ids: pa.Array) -> Index:
    """The rank of each image among those that are alike: 0 stays."""
    table = version.assets(columns=["width", "height"])
    pixels = table["width"].to_numpy().astype(np.int64) * table["height"].to_numpy()
    labelled = np.zeros(len(ids), bool)
    if "ground_truth" in version.layers():
        boxes = rows.distinct(version.layer("ground_truth", columns=["asset_id"]))
        labelled = rows.is_in(ids, boxes)
    ranks = np.empty(len(ids), np.int64)
    ranks[np.lexsort((np.arange(len(ids)), -pixels, ~labelled))] = np.arange(len(ids))
    return ranks


def _originals(near: Neighbours, order: Index, fixed: Mask) -> Index:
    """For each image the one that stays for it, often itself. Fixed images all stay."""
    amount = len(near.values)
    first = np.lexsort((order, near.place))
    best = first[np.searchsorted(near.place[first], np.arange(amount))]
    stays, kept_for = _independent(near, order[best], fixed[best])
    originals = best[np.where(stays, np.arange(amount), kept_for)][near.place]
    itself = fixed | (near.values == NO_CONTRAST)[near.place]
    return np.where(itself, np.arange(len(order)), originals)


def _independent(near: Neighbours, rank: Index, fixed: Mask) -> tuple[Mask, Index]:
    """Values to keep such that no two are near (but fixed ones), and for each other a kept one.

    As if in order of rank each value were kept unless a kept one is near; in rounds over all.
    """
    amount = len(rank)
    never = np.iinfo(np.int64).max
    kept, gone = fixed.copy(), np.zeros(amount, bool)
    kept_for = np.full(amount, -1)
    one = np.concatenate([near.first, near.second])
    other = np.concatenate([near.second, near.first])
    while len(one):
        lowest = np.full(amount, never)
        np.minimum.at(lowest, one, np.where(kept[other], -1, rank[other]))
        kept |= ~gone & (lowest != never) & (rank < lowest) & (lowest >= 0)
        beside = kept[one] & ~kept[other]
        gone[other[beside]] = True
        kept_for[other[beside]] = one[beside]
        open_ = ~(kept | gone)
        left = open_[one] & open_[other]
        one, other = one[left], other[left]
    return ~gone, kept_for


def _nearest(hashes: Hashes, others: Hashes, distance: int) -> Index:
    """For each hash the place of one of the others that is near, -1 where none is."""
    near = find_neighbours(np.concatenate([hashes, others]), distance)
    amount = len(near.values)
    mine, theirs = near.place[: len(hashes)], near.place[len(hashes) :]
    holder = np.full(amount, -1)
    holder[theirs[::-1]] = np.arange(len(others))[::-1]
    holder[near.values == NO_CONTRAST] = -1
    found = holder.copy()
    for one, other in ((near.first, near.second), (near.second, near.first)):
        has = (holder[other] >= 0) & (found[one] < 0)
        found[one[has]] = holder[other[has]]
    return found[mine]


def _index(values: pa.Array, wanted: pa.Array, start: int) -> Index:
    """The place of each wanted id among the values from `start` on, -1 where there is none."""
    found = pc.index_in(wanted, value_set=values.slice(start)).fill_null(-1 - start)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64) + start


def _with_hashes(version: Version, hashed: Hashed, kept: pa.Array) -> pa.Table:
    """The rows of the images that stay and had no hash."""
    ids = version.asset_ids()
    chosen = hashed.computed & rows.is_in(ids, kept)
    table = version.assets(ids=ids.filter(pa.array(chosen)))
    place = table.column_names.index("perceptual_hash")
    field = schema.ASSETS.field("perceptual_hash")
    return table.set_column(place, field, pa.array(hashed.hashes[chosen], field.type))
