"""Merging dataset versions three-way, per asset and table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError, MergeConflictError
from mir_ops.store import overlays, rows
from mir_ops.store.ancestry import find_merge_base
from mir_ops.store.changesets import ChangeSet
from mir_ops.store.commits import Commit
from mir_ops.store.comparisons import Mask, compare
from mir_ops.store.counts import of_stats
from mir_ops.store.diffs import candidates, chunks, named_since, read_covered, shares
from mir_ops.store.lookups import count_assets
from mir_ops.store.schema import SPLITS
from mir_ops.store.versions import Version

if TYPE_CHECKING:
    from mir_ops.store.store import Store

Strategy = Literal["stop", "host", "guest", "union"]
STRATEGIES: Final = ("stop", "host", "guest", "union")
_NAMED: Final = 10
# When and under which name an image came in, and whether it was hashed, is no disagreement.
_PROVENANCE: Final = ("added_at", "source_names", "perceptual_hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A version to merge, and the split that all of its assets get."""

    version: Version
    split: str | None = None

    def moves(self, table: str) -> bool:
        """Whether its split is another one than some of its assets have."""
        stats = self.version.stats
        return (
            table == rows.ASSETS
            and self.split is not None
            and stats.splits.get(self.split, 0) != stats.assets
        )

    def rows(self, table: str, ids: pa.Array | None) -> pa.Table | None:
        """Its rows and markers of these assets, the split set."""
        read = read_covered(self.version, table, ids)
        return read if read is None or not self.moves(table) else self._moved(read)

    def moved_rows(self) -> pa.Table | None:
        """Its rows of the images whose split is another, with their new one."""
        read = read_covered(self.version, rows.ASSETS, None)
        if read is None or not self.moves(rows.ASSETS):
            return None
        other = pc.fill_null(pc.not_equal(read["split"], self.split), True)
        return self._moved(read if pc.all(other).as_py() else read.filter(other))

    def _moved(self, read: pa.Table) -> pa.Table:
        column = pa.repeat(pa.scalar(self.split, pa.string()), read.num_rows)
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
    adopting: bool = True

    def set_host_split(self) -> None:
        """Give the host's own assets their split, where it is another."""
        if self.host.moves(rows.ASSETS) and (moved := self.host.moved_rows()) is not None:
            self.changes.add(rows.ASSETS, moved)

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
        if self.conflicts:
            found = {name: rows.sorted_unique(ids) for name, ids in sorted(self.conflicts.items())}
            raise _conflict(found)

    def forget_orphans(self) -> None:
        """What one side removed stays out of every layer, whatever the other said about it."""
        gone = self._absent()
        names = {*self.host.version.layers(), *self.changes.parts, *self.changes.adopted}
        for name in sorted(names - {rows.ASSETS}) if len(gone) else ():
            held = gone.filter(pa.array(self._holds(name, gone)))
            self.changes.forget(name, held)

    def _absent(self) -> pa.Array:
        """Ids that the changes name, and that are no images of the result."""
        parts = [part for name in self.changes.parts for part in self.changes.parts[name]]
        named = rows.sorted_unique([part["asset_id"].combine_chunks() for part in parts])
        if said := self.changes.parts.get(rows.ASSETS):  # most are here: no need to look them up
            named = rows.without(named, rows.distinct(rows.covered_only(overlays.newest(said))))
        return named.filter(pa.array(~self._holds(rows.ASSETS, named)))

    def _holds(self, name: str, ids: pa.Array) -> Mask:
        """Which of these assets a table of the result covers so far."""
        host, adopted = self.host.version, self.changes.adopted
        table = adopted[name][0] if name in adopted else host.table(name)
        _, held = count_assets(host.objects, table, ids)
        if said := self.changes.parts.get(name):
            told = overlays.newest(said)
            held = np.where(
                rows.is_in(ids, rows.distinct(told)),
                rows.is_in(ids, rows.distinct(rows.covered_only(told))),
                held,
            )
        return held

    def _add_table(self, name: str, start: Version | None, guest: Source) -> None:
        if self._adopt(name, start, guest):
            return
        theirs = self._named(name, start, guest)
        if len(theirs) == 0:
            return
        both = self._ours(name, start, theirs)
        self._take(name, guest, theirs.filter(pa.array(~both)))
        if both.any():
            self._settle(name, start, guest, theirs.filter(pa.array(both)))

    def _adopt(self, name: str, start: Version | None, guest: Source) -> bool:
        """A table that only the guest has is taken over as it is, segment by segment."""
        known = [self.host.version, *([] if start is None else [start])]
        if not self.adopting or any(version.table(name).all for version in known):
            return False
        if guest.moves(name) or len(self.excluded):
            return False
        self.changes.adopt(name, guest.version.table(name), of_stats(guest.version.stats)[name])
        return True

    def _named(self, name: str, start: Version | None, guest: Source) -> pa.Array:
        """Ids of the assets about which the guest may say something else than the host."""
        theirs = named_since(start, guest.version, name, _ignored(name))
        if guest.moves(name):
            if start is not None:  # its own split counts as a change of each of its assets
                theirs = rows.sorted_unique([theirs, guest.version.asset_ids()])
        elif shares(self.host.version, guest.version, name):
            theirs = rows.common(theirs, candidates(self.host.version, guest.version, name))
        return rows.without(theirs, self.excluded)

    def _ours(self, name: str, start: Version | None, theirs: pa.Array) -> Mask:
        """Which of these assets the host, or a guest before, says something about as well."""
        ours = [part["asset_id"].combine_chunks() for part in self.changes.parts.get(name, [])]
        host = self.host.version
        if start is not None:
            ours.append(named_since(start, host, name, _ignored(name)))
            return rows.is_in(theirs, rows.sorted_unique(ours))
        _, covered = count_assets(host.objects, host.table(name), theirs)
        return covered | rows.is_in(theirs, rows.sorted_unique(ours)) if ours else covered

    def _settle(self, name: str, start: Version | None, guest: Source, both: pa.Array) -> None:
        """Both sides name these assets: no conflict where they agree or one changed nothing."""
        if self.strategy == "host" and start is None:
            return
        for ids in chunks(both):
            ours, theirs = self._current(name, ids), guest.rows(name, ids)
            differing = _differing(name, ours, theirs)
            if start is not None and len(differing):
                before = read_covered(start, name, differing)
                kept = _differing(name, before, theirs, differing)
                taken = rows.without(kept, _differing(name, before, ours, kept))
                self._take(name, guest, taken)
                differing = rows.without(kept, taken)
            if len(differing):
                self._resolve(name, guest, ours, theirs, differing)

    def _resolve(
        self,
        name: str,
        guest: Source,
        ours: pa.Table | None,
        theirs: pa.Table | None,
        differing: pa.Array,
    ) -> None:
        if self.strategy == "stop":
            self.conflicts.setdefault(name, []).append(differing)
        elif self.strategy == "guest":
            self._take(name, guest, differing)
        elif self.strategy == "union":
            self._unite(name, ours, theirs, differing)

    def _unite(
        self, name: str, ours: pa.Table | None, theirs: pa.Table | None, ids: pa.Array
    ) -> None:
        """Per box: ours, and theirs under annotation ids that we do not have."""
        if theirs is None or (ours is not None and "annotation_id" not in theirs.column_names):
            return
        theirs = rows.only(theirs, ids)
        if ours is None:
            self.changes.add(name, theirs)
            return
        ours = rows.only(ours, ids)
        comparison = compare(ours, theirs)
        new = comparison.new.filter(pa.array(comparison.row_added))
        united = rows.sort(pa.concat_tables([comparison.old, new], promote_options="permissive"))
        self.changes.add(name, united)
        self.changes.add(name, rows.only(ours, rows.without(ids, rows.distinct(united))))

    def _take(self, name: str, guest: Source, ids: pa.Array) -> None:
        """The guest's rows of these assets, or their absence."""
        if len(ids) == 0:
            return
        taken = guest.rows(name, ids)
        if taken is not None:
            self.changes.add(name, taken)
        gone = ids if taken is None else rows.without(ids, rows.distinct(taken))
        self.changes.forget(name, gone)

    def _current(self, name: str, ids: pa.Array) -> pa.Table | None:
        """What the merge says so far about these assets."""
        parts = [] if (read := self.host.rows(name, ids)) is None else [read]
        parts += [rows.only(part, ids) for part in self.changes.parts.get(name, [])]
        parts = [part for part in parts if part.num_rows]
        return rows.covered_only(overlays.newest(parts)) if parts else None

    def _add_taxonomy(self, start: Version | None, guest: Version) -> None:
        ours = self.changes.taxonomy or self.host.version.taxonomy
        theirs = guest.taxonomy
        if theirs == ours or (start is not None and theirs == start.taxonomy):
            return
        if start is not None and ours == start.taxonomy:
            self.changes.taxonomy = theirs
            return
        first, second = (theirs, ours) if self.strategy == "guest" else (ours, theirs)
        self.changes.taxonomy = first.over(second)


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
    merge.adopting = len(guests) == 1
    merge.set_host_split()
    for guest, split in zip(guests, given[1:], strict=True):
        merge.add(Source(version=guest, split=split))
    merge.check()
    merge.forget_orphans()
    if len(excluded):
        merge.changes.remove_assets(excluded)
    return Plan(base=host, parents=[guest.commit for guest in guests], changes=merge.changes)


def _conflict(found: Mapping[str, pa.Array]) -> MergeConflictError:
    """The message names a few of them."""
    counts = ", ".join(f"{len(ids)} in `{name}`" for name, ids in found.items())
    first = [f"`{name}` {i.as_py().hex()[:12]}" for name, ids in found.items() for i in ids[:5]]
    return MergeConflictError(
        f"Both sides changed the same assets, {counts}: {', '.join(first[:_NAMED])}",
        {name: [i.hex() for i in ids.to_pylist()] for name, ids in found.items()},
    )


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


def _differing(
    name: str, one: pa.Table | None, other: pa.Table | None, ids: pa.Array | None = None
) -> pa.Array:
    """Ids of the assets about which two tables do not say the same."""
    if ids is not None:
        one, other = (None if table is None else rows.only(table, ids) for table in (one, other))
    if one is None or other is None:
        known = one if other is None else other
        return rows.as_ids([]) if known is None else rows.distinct(known)
    return compare(one, other, _ignored(name)).assets()


def _ignored(table: str) -> tuple[str, ...]:
    return _PROVENANCE if table == rows.ASSETS else ()
