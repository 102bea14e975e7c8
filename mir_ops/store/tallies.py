"""Adding up what comparisons found, part by part."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.store import rows, schema
from mir_ops.store.comparisons import Comparison


@dataclass(slots=True)
class AssetChanges:
    """What became of images: which are new, gone, changed, moved to another split."""

    added: pa.Array = field(default_factory=lambda: rows.as_ids([]))
    removed: pa.Array = field(default_factory=lambda: rows.as_ids([]))
    changed: pa.Array = field(default_factory=lambda: rows.as_ids([]))
    moved: pa.Array = field(default_factory=lambda: rows.as_ids([]))
    splits: Counter[tuple[str, str]] = field(default_factory=Counter)
    attributes: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def add(self, part: Comparison) -> None:
        """Count one comparison, of later assets than the ones before."""
        self.added = pa.concat_arrays([self.added, part.added])
        self.removed = pa.concat_arrays([self.removed, part.removed])
        self.changed = pa.concat_arrays([self.changed, part.changed])
        old = part.old.take(pa.array(part.changed_old))
        new = part.new.take(pa.array(part.changed_new))
        was, now = (table["split"].fill_null("").combine_chunks() for table in (old, new))
        other = pc.not_equal(was, now)
        moved = rows.as_ids(new["asset_id"].filter(other))
        self.moved = pa.concat_arrays([self.moved, moved])
        pairs = pa.table({"was": was.filter(other), "now": now.filter(other)})
        for row in pairs.group_by(["was", "now"]).aggregate([([], "count_all")]).to_pylist():
            self.splits[row["was"], row["now"]] += row["count_all"]
        for key, found in _attributes(old, new).items():
            known = self.attributes.get(key, (0, 0, 0))
            self.attributes[key] = (known[0] + found[0], known[1] + found[1], known[2] + found[2])


@dataclass(slots=True)
class LayerChanges:
    """What became of the rows of a layer, by class."""

    assets: tuple[int, int, int] = (0, 0, 0)
    ids: pa.Array = field(default_factory=lambda: rows.as_ids([]))
    classed: bool = False
    added: Counter[int] = field(default_factory=Counter)
    removed: Counter[int] = field(default_factory=Counter)
    changed: Counter[int] = field(default_factory=Counter)

    def add(self, part: Comparison) -> None:
        """Count one comparison, of later assets than the ones before."""
        self.ids = pa.concat_arrays([self.ids, part.assets()])
        found = (len(part.added), len(part.removed), len(part.changed))
        known = self.assets
        self.assets = (known[0] + found[0], known[1] + found[1], known[2] + found[2])
        if "class_id" not in part.new.column_names:
            return
        self.classed = True
        old, new = part.old["class_id"].to_numpy(), part.new["class_id"].to_numpy()
        was, now = old[part.changed_old], new[part.changed_new]
        same = was == now
        self.added.update(_counted(np.concatenate([new[part.row_added], now[~same]])))
        self.removed.update(_counted(np.concatenate([old[part.row_removed], was[~same]])))
        self.changed.update(_counted(now[same]))

    def by_class(self) -> dict[int, tuple[int, int, int]]:
        """Per class id: rows added, removed, changed."""
        return {
            class_id: (self.added[class_id], self.removed[class_id], self.changed[class_id])
            for class_id in sorted({*self.added, *self.removed, *self.changed})
        }


def _counted(classes: npt.NDArray[np.int32]) -> dict[int, int]:
    values, amounts = np.unique(classes, return_counts=True)
    return dict(zip(values.tolist(), amounts.tolist(), strict=True))


def _attributes(old: pa.Table, new: pa.Table) -> dict[str, tuple[int, int, int]]:
    """Per key: in how many images, given in the same order, it came, went, or changed its value."""
    was, now = _entries(old, "was"), _entries(new, "now")
    if was.num_rows == 0 and now.num_rows == 0:
        return {}
    both = was.join(now, ["place", "key"], join_type="full outer")
    came = pc.is_null(both["was"])
    went = pc.is_null(both["now"])
    other = pc.fill_null(pc.not_equal(both["was"], both["now"]), False)
    counted = pa.table({"key": both["key"], "came": came, "went": went, "other": other})
    summed = counted.group_by("key").aggregate([("came", "sum"), ("went", "sum"), ("other", "sum")])
    return {
        row["key"]: found
        for row in summed.to_pylist()
        if any(found := (row["came_sum"], row["went_sum"], row["other_sum"]))
    }


def _entries(table: pa.Table, name: str) -> pa.Table:
    if "attributes" not in table.column_names:  # no image of this part has any
        table = rows.typed(table, schema.ASSETS)
    maps = rows.one_array(table["attributes"])
    lengths = np.diff(maps.offsets.to_numpy()) if len(maps) else np.zeros(0, np.int64)
    lengths = np.where(maps.is_valid().to_numpy(zero_copy_only=False), lengths, 0)
    entries = maps.cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])))
    flat = entries.flatten()
    keys, values = flat.flatten()
    return pa.table(
        {
            "place": pa.array(np.repeat(np.arange(len(maps)), lengths)),
            "key": keys,
            name: values.fill_null(""),
        }
    )
