"""Merging dataset versions three-way, per asset and table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa

from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.store import overlays, rows
from mir_ops.store.ancestry import find_merge_base
from mir_ops.store.changesets import ChangeSet
from mir_ops.store.commits import Commit
from mir_ops.store.comparisons import compare
from mir_ops.store.diffs import candidates, compare_versions, read_covered
from mir_ops.store.schema import SPLITS
from mir_ops.store.versions import Version
from mir_ops.taxonomy import Taxonomy

if TYPE_CHECKING:
    from mir_ops.store.store import Store

Strategy = Literal["stop", "host", "guest", "union"]
STRATEGIES: Final = ("stop", "host", "guest", "union")
# When and under which name an image came in is no disagreement about it.
_PROVENANCE: Final = ("added_at", "source_names")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A version to merge, and the split that all of its assets get."""

    version: Version
    split: str | None = None

    def rows(self, table: str, ids: pa.Array | None) -> pa.Table | None:
        """Its rows and markers of these assets, the split set."""
        read = read_covered(self.version, table, ids)
        if read is None or table != rows.ASSETS or self.split is None:
            return read
        column = pa.array([self.split], pa.string()).take(pa.array([0] * read.num_rows, pa.int32()))
        return read.set_column(read.column_names.index("split"), "split", column)


@dataclass(slots=True)
class Merge:
    """Guests are merged into the host one after the other; `changes` grows on top of the host."""

    store: Store
    host: Source
    strategy: Strategy
    excluded: pa.Array
    changes: ChangeSet = field(default_factory=ChangeSet)
    conflicts: dict[str, list[pa.Array]] = field(default_factory=dict)

    def set_host_split(self) -> None:
        """Give the host's own assets their split, where it is another."""
        if self.host.split is None:
            return
        ids = self.host.version.asset_ids()
        before = read_covered(self.host.version, rows.ASSETS, ids)
        after = self.host.rows(rows.ASSETS, ids)
        if before is not None and after is not None:
            moved = compare(before, after)
            self._put(rows.ASSETS, rows.only(after, moved.changed))

    def add(self, guest: Source) -> None:
        """Apply what the guest changed since it and the host parted."""
        base = find_merge_base(self.store.commit, self.host.version.commit, guest.version.commit)
        start = None if base is None else self.store.read(base)
        names = {*self.host.version.layers(), *guest.version.layers(), rows.ASSETS}
        if start is not None:
            names |= set(start.layers())
        for name in sorted(names):
            self._add_table(name, start, guest)
        self._add_taxonomy(start, guest.version)

    def check(self) -> None:
        """Under `stop`, say what both sides changed."""
        if not self.conflicts:
            return
        found = {name: rows.sorted_unique(ids) for name, ids in sorted(self.conflicts.items())}
        counts = ", ".join(f"{len(ids)} in `{name}`" for name, ids in found.items())
        first = [f"`{name}` {i.as_py().hex()[:12]}" for name, ids in found.items() for i in ids[:5]]
        raise ConflictError(
            f"Both sides changed the same assets, {counts}: {', '.join(first)}",
            code="merge-conflict",
            hint="Choose whose changes win: strategy `host`, `guest` or `union`",
        )

    def _add_table(self, name: str, start: Version | None, guest: Source) -> None:
        theirs = rows.without(self._guest_changes(name, start, guest), self.excluded)
        if len(theirs) == 0:
            return
        ours = [compare_versions(start, self.host.version, name, theirs, _ignored(name)).assets()]
        ours += [part["asset_id"].combine_chunks() for part in self.changes.parts.get(name, [])]
        both = rows.common(theirs, rows.sorted_unique(ours))
        self._take(name, guest, rows.without(theirs, both))
        if len(both):
            self._settle(name, guest, both)

    def _guest_changes(self, name: str, start: Version | None, guest: Source) -> pa.Array:
        if guest.split is None or name != rows.ASSETS:
            return compare_versions(start, guest.version, name, None, _ignored(name)).assets()
        # Its own split counts as a change of each of its assets that has another one at the start.
        ids = rows.sorted_unique(
            [guest.version.asset_ids(), candidates(start, guest.version, name)]
        )
        before = None if start is None else read_covered(start, name, ids)
        after = guest.rows(name, ids)
        if before is None or after is None:
            return ids
        return compare(before, after, _ignored(name)).assets()

    def _settle(self, name: str, guest: Source, both: pa.Array) -> None:
        """Both changed these assets: no conflict where they agree."""
        ours, theirs = self._current(name, both), guest.rows(name, both)
        if ours is None or theirs is None:
            known = ours if theirs is None else theirs
            if known is None:
                return
            differing = rows.distinct(known)
        else:
            differing = compare(ours, theirs, _ignored(name)).assets()
        if len(differing) == 0 or self.strategy == "host":
            return
        if self.strategy == "stop":
            self.conflicts.setdefault(name, []).append(differing)
        elif self.strategy == "guest":
            self._take(name, guest, differing)
        else:
            self._unite(name, ours, theirs, differing)

    def _unite(
        self, name: str, ours: pa.Table | None, theirs: pa.Table | None, ids: pa.Array
    ) -> None:
        """Per box: ours, and theirs under annotation ids that we do not have."""
        if theirs is None or (ours is not None and "annotation_id" not in theirs.column_names):
            return
        if ours is None:
            self._put(name, rows.only(theirs, ids))
            return
        ours, theirs = rows.only(ours, ids), rows.only(theirs, ids)
        comparison = compare(ours, theirs)
        new = comparison.new.filter(pa.array(comparison.row_added))
        united = rows.sort(pa.concat_tables([comparison.old, new], promote_options="permissive"))
        empty = rows.without(ids, rows.distinct(united))
        marked = rows.only(ours, empty)
        self._put(name, united)
        self._put(name, marked)

    def _take(self, name: str, guest: Source, ids: pa.Array) -> None:
        """The guest's rows of these assets, or their absence."""
        if len(ids) == 0:
            return
        taken = guest.rows(name, ids)
        if taken is not None:
            self._put(name, taken)
        gone = ids if taken is None else rows.without(ids, rows.distinct(taken))
        self.changes.forget(name, gone)

    def _current(self, name: str, ids: pa.Array) -> pa.Table | None:
        """What the merge says so far about these assets."""
        parts = [] if (read := self.host.rows(name, ids)) is None else [read]
        parts += [rows.only(part, ids) for part in self.changes.parts.get(name, [])]
        parts = [part for part in parts if part.num_rows]
        return rows.covered_only(overlays.newest(parts)) if parts else None

    def _put(self, name: str, part: pa.Table) -> None:
        self.changes.add(name, part)

    def _add_taxonomy(self, start: Version | None, guest: Version) -> None:
        ours = self.changes.taxonomy or self.host.version.taxonomy
        theirs = guest.taxonomy
        if theirs == ours or (start is not None and theirs == start.taxonomy):
            return
        if start is not None and ours == start.taxonomy:
            self.changes.taxonomy = theirs
            return
        first, second = (theirs, ours) if self.strategy == "guest" else (ours, theirs)
        known = {entry.id for entry in first.classes}
        added = tuple(entry for entry in second.classes if entry.id not in known)
        self.changes.taxonomy = Taxonomy((*first.classes, *added))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a merge commits: changes on top of a version, and the other parents."""

    base: Version
    parents: Sequence[Commit]
    changes: ChangeSet


def plan_merge(
    store: Store,
    sources: Sequence[Version],
    *,
    strategy: str,
    splits: Sequence[str | None] | None,
    exclude: Sequence[Version],
) -> Plan:
    """How the first source, the host, comes to hold the changes of the others."""
    given = list(splits) if splits is not None else [None] * len(sources)
    _check(strategy, given, len(sources))
    host, guests = sources[0], sources[1:]
    if not any(given) and not exclude and len(guests) == 1 and _descends(store, guests[0], host):
        return Plan(base=guests[0], parents=[host.commit], changes=ChangeSet())
    excluded = rows.sorted_unique([version.asset_ids() for version in exclude])
    merge = Merge(store, Source(version=host, split=given[0]), _strategy(strategy), excluded)
    merge.set_host_split()
    for guest, split in zip(guests, given[1:], strict=True):
        merge.add(Source(version=guest, split=split))
    merge.check()
    if len(excluded):
        merge.changes.remove_assets(excluded)
    return Plan(base=host, parents=[guest.commit for guest in guests], changes=merge.changes)


def _descends(store: Store, version: Version, ancestor: Version) -> bool:
    base = find_merge_base(store.commit, ancestor.commit, version.commit)
    return base is not None and base.id == ancestor.id


def _check(strategy: str, splits: Sequence[str | None], sources: int) -> None:
    if strategy not in STRATEGIES:
        raise InvalidInputError(
            f"There is no merge strategy `{strategy}`",
            code="unknown-strategy",
            hint=f"Use one of {', '.join(STRATEGIES)}",
        )
    if len(splits) != sources or any(split not in (None, *SPLITS) for split in splits):
        raise InvalidInputError(
            f"{sources} sources need {sources} splits, each one of {', '.join(SPLITS)} or none",
            code="invalid-split",
        )


def _strategy(name: str) -> Strategy:
    found: dict[str, Strategy] = {"host": "host", "guest": "guest", "union": "union"}
    return found.get(name, "stop")


def _ignored(table: str) -> tuple[str, ...]:
    return _PROVENANCE if table == rows.ASSETS else ()
