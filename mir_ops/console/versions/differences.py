"""Two versions beside each other: counts, then the images that differ and the boxes on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from mir_ops.store import Version, rows
from mir_ops.store.diffs import Diff, compare_assets, diff
from mir_ops.store.schema import layer_kind

if TYPE_CHECKING:
    from mir_ops.store import Store
    from mir_ops.store.comparisons import Comparison

PAGE_SIZE: Final = 48
_MOST_MARKS: Final = 200  # drawn on one image
_COLUMNS: Final = ("asset_id", "media_type", "width", "height", "split", "source_names")
_SIDES: Final = ("x", "y", "w", "h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A box on an image, in pixels. `state` is `added`, `removed`, `changed` or `same`."""

    state: str
    name: str
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """An image that differs. `commit` is the version to look at it in."""

    asset_id: str
    media_type: str
    width: int
    height: int
    commit: str
    name: str
    kinds: tuple[str, ...]
    splits: tuple[str, str] | None
    marks: tuple[Mark, ...]
    hidden: int

    def count(self, state: str) -> int:
        return sum(mark.state == state for mark in self.marks)


@dataclass(frozen=True)
class Difference:
    """What changed from version `old` to version `new`."""

    old: Version
    new: Version
    diff: Diff

    @classmethod
    def of(cls, store: Store, old: str, new: str) -> Difference:
        one, other = (store.read_commit_version(commit) for commit in (old, new))
        return cls(one, other, diff(one, other))

    @cached_property
    def kinds(self) -> Mapping[str, pa.Array]:
        """Images by what happened to them, ids ascending; an image may be in several.

        `added` and `removed` ones are in no other; `facts` are attributes, names and the like.
        """
        found = self.diff
        gone = rows.sorted_unique([found.added_ids, found.removed_ids])
        by_layer: dict[str, list[pa.Array]] = {}
        for name, ids in found.layer_ids.items():
            kind = _KINDS.get(layer_kind(name), "others")
            by_layer.setdefault(kind, []).append(rows.without(ids, gone))
        kinds = {
            "added": found.added_ids,
            "removed": found.removed_ids,
            "labels": rows.sorted_unique(by_layer.get("labels", [])),
            "predictions": rows.sorted_unique(by_layer.get("predictions", [])),
            "splits": found.moved_ids,
            "facts": rows.without(found.changed_ids, found.moved_ids),
            "others": rows.sorted_unique(by_layer.get("others", [])),
        }
        return {name: ids for name, ids in kinds.items() if len(ids)}

    @cached_property
    def ids(self) -> pa.Array:
        """All images that differ."""
        return rows.sorted_unique(list(self.kinds.values()))

    def images(self, kind: str | None, page: int) -> list[Changed]:
        """One page of the images that differ, or of those of one kind."""
        ids = self.ids if kind is None else self.kinds.get(kind, rows.as_ids([]))
        return list(self._read(ids.slice((page - 1) * PAGE_SIZE, PAGE_SIZE), kind))

    def pages(self, kind: str | None) -> int:
        ids = self.ids if kind is None else self.kinds.get(kind, ())
        return max(1, -(-len(ids) // PAGE_SIZE))

    def _read(self, ids: pa.Array, kind: str | None) -> Iterator[Changed]:
        before, now = (_facts(version, ids) for version in (self.old, self.new))
        marks, hidden = self._marks(ids, "predictions" if kind == "predictions" else "labels")
        held = {name: _members(found, ids) for name, found in self.kinds.items()}
        for place, asset_id in enumerate(ids.to_pylist()):
            old, new = before.get(asset_id), now.get(asset_id)
            row = new or old
            if row is None:  # only a layer names it
                continue
            splits = (old["split"] or "", new["split"] or "") if old and new else None
            yield Changed(
                asset_id=asset_id.hex(),
                media_type=row["media_type"],
                width=row["width"],
                height=row["height"],
                commit=(self.new if new else self.old).id,
                name=row["source_names"][0] if row["source_names"] else asset_id.hex()[:12],
                kinds=tuple(name for name, found in held.items() if found[place]),
                splits=splits if splits and splits[0] != splits[1] else None,
                marks=tuple(marks.get(asset_id, ())),
                hidden=hidden.get(asset_id, 0),
            )

    def _marks(self, ids: pa.Array, kind: str) -> tuple[dict[bytes, list[Mark]], dict[bytes, int]]:
        marks: dict[bytes, list[Mark]] = {}
        hidden: dict[bytes, int] = {}
        for layer in self.diff.layer_ids:
            if _KINDS.get(layer_kind(layer)) != kind:
                continue
            for asset_id, mark in self._changes(layer, ids):
                drawn = marks.setdefault(asset_id, [])
                if len(drawn) < _MOST_MARKS:
                    drawn.append(mark)
                else:
                    hidden[asset_id] = hidden.get(asset_id, 0) + 1
        return marks, hidden

    def _changes(self, layer: str, ids: pa.Array) -> Iterator[tuple[bytes, Mark]]:
        differing = rows.common(self.diff.layer_ids[layer], ids)
        found = compare_assets(self.old, self.new, layer, differing)
        for version, table, states in _stated(self.old, self.new, found):
            names = dict(zip(version.taxonomy.ids, version.taxonomy.names, strict=True))
            wanted = table.select(["asset_id", "class_id", *_SIDES]).to_pylist()
            for row, state in zip(wanted, states, strict=True):
                if state:
                    sides = {side: round(float(row[side] or 0), 2) for side in _SIDES}
                    name = names.get(row["class_id"], f"#{row['class_id']}")
                    yield row["asset_id"], Mark(state=state, name=name, **sides)


_KINDS: Final = {"ground_truth": "labels", "predictions": "predictions"}


def _stated(
    old: Version, new: Version, found: Comparison
) -> Iterator[tuple[Version, pa.Table, Sequence[str]]]:
    """The rows to draw of each version, with what became of them; `""`: drawn as the other's."""
    gone = np.where(found.row_removed, "removed", "")
    now = np.where(found.row_added, "added", "same").astype(object)
    now[found.changed_new] = "changed"
    yield new, found.new, now.tolist()
    yield old, found.old, gone.tolist()


def _facts(version: Version, ids: pa.Array) -> dict[bytes, dict[str, Any]]:
    table = version.assets(columns=list(_COLUMNS), ids=ids)
    return {row["asset_id"]: row for row in table.to_pylist()}


def _members(found: pa.Array, ids: pa.Array) -> list[bool]:
    held: list[bool] = rows.is_in(ids, found).tolist()
    return held
