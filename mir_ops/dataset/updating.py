"""Take over what another branch gained, through the filters and samplings that made this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from mir_ops.dataset.filtering import keep, selected_again
from mir_ops.errors import InvalidInputError
from mir_ops.store import Operation, rows
from mir_ops.store.ancestry import find_merge_base
from mir_ops.store.changesets import ChangeSet
from mir_ops.store.diffs import named_since, read_covered

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store, Version

# Operations that keep a part of one version, which `selected_again` can do to another one.
_SELECTIONS: Final = ("filter", "sample", "fuse")
# What cannot be repeated on a part: an update says so, and leaves it to people.
_LEFT_TO_PEOPLE: Final = ("dedup", "split")
# Picks without which an update would take everything.
_PICKS: Final = ("mine", "subset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Increment:
    """What `source` gained since `base`, the newest version of it that `tip`, at `rev`, came from.

    Of the recorded operations that made the tip, the oldest first, `replayed` are the selections
    that an update repeats, `left` those that it does not.
    """

    rev: str
    tip: Commit
    source: Commit
    base: Commit
    replayed: tuple[Operation, ...]
    left: tuple[Operation, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the source is where it was."""
        return self.base.id == self.source.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Branches for what an update merges; interrupted, the same operation finds its commits."""

    store: Store
    name: str
    op_id: str

    def commit(self, part: str, step: str, base: Version, changes: ChangeSet) -> Version:
        """A version that nobody asked for, which the commit of the update will have as parent."""
        with self.store.edit(
            f"{self.name}/{part}",
            op_id=f"{self.op_id}-{part}-{step}",
            operation=Operation(kind="increment", inputs=(base.id,)),
            message=f"A step of an update: {part} {step}",
            base=base,
        ) as edit:
            edit.take(changes)
        return self.store.read(edit.commit)

    def clear(self) -> None:
        """Delete the branches; what they hold is the update's."""
        for part in ("gained", "host"):
            branch = self.store.branch(f"{self.name}/{part}")
            if branch.exists:
                branch.delete()


def find_increment(store: Store, rev: str, source: str) -> Increment:
    """What an update of `rev` from `source` would take over."""
    tip, newest = store.resolve(rev), store.resolve(source)
    base = find_merge_base(store.commit, tip, newest)
    if base is None:
        raise InvalidInputError(
            f"`{rev}` does not come from `{source}`: they have no version in common",
            code="no-common-version",
            hint="Merge them instead, with `mir merge`",
        )
    recorded = _recorded_operations(store, tip, newest)
    return Increment(
        rev=rev,
        tip=tip,
        source=newest,
        base=base,
        replayed=tuple(one for one in recorded if one.kind in _SELECTIONS),
        left=tuple(one for one in recorded if one.kind in (*_LEFT_TO_PEOPLE, *_PICKS)),
    )


def update(
    store: Store,
    increment: Increment,
    branch: str,
    *,
    strategy: str = "stop",
    op_id: str,
    message: str | None = None,
) -> Commit:
    """Merge the increment into the tip, and commit it to `branch`.

    Images that are new for the tip pass the recorded filters and samplings again, with the same
    parameters and seeds. Of the images that the tip has, what changed in the source is taken
    over, and those that the source removed go: both unless the tip changed them as well, which
    `strategy` decides. The same operation updates once. What mining picked is refused: nobody can
    say which of the new images it would have picked.
    """
    work = Scratch(store=store, name=f"{branch}/update-{op_id[:12]}", op_id=op_id)
    if done := store.find_operation(branch, op_id):
        work.clear()
        return done
    _refuse_picks(increment)
    source, base, tip = map(store.read, (increment.source, increment.base, increment.tip))
    gained = _gained(base, source, tip)
    taken = _replayed(work, source, gained, increment.replayed)
    guest = _without(work, source, rows.without(gained, taken))
    host = _with_returning(work, tip, base, taken)
    commit = store.merge(
        branch,
        host,
        [guest],
        start=increment.tip if increment.rev == branch else None,
        strategy=strategy,
        op_id=op_id,
        operation=_recorded_update(increment, gained=len(gained), taken=len(taken)),
        message=message or f"Take over {len(taken)} of {len(gained)} new images",
    )
    work.clear()
    return commit


def _recorded_update(increment: Increment, *, gained: int, taken: int) -> Operation:
    parameters = {
        "base": increment.base.id,
        "gained": gained,
        "taken": taken,
        "replayed": [_record(one) for one in increment.replayed],
        "not_replayed": [_record(one) for one in increment.left],
    }
    inputs = (increment.tip.id, increment.source.id)
    return Operation(kind="update", parameters=parameters, inputs=inputs)


def _record(operation: Operation) -> dict[str, Any]:
    return {
        "kind": operation.kind,
        "parameters": dict(operation.parameters),
        "seed": operation.seed,
    }


def _refuse_picks(increment: Increment) -> None:
    picked = next((one for one in increment.left if one.kind in _PICKS), None)
    if picked is None or increment.is_empty:
        return
    how = "mining picked" if picked.kind == "mine" else "were named one by one"
    raise InvalidInputError(
        f"`{increment.rev}` holds images that {how}: an update cannot choose from new ones so",
        code="unrepeatable-selection",
        hint="Choose from the new images yourself, with `mir mining` or `mir filter`, and merge "
        "them with `mir merge`",
    )


def _recorded_operations(store: Store, tip: Commit, source: Commit) -> tuple[Operation, ...]:
    """The operations on the way from the source's history to the tip, the oldest first."""
    found: list[Operation] = []
    commit: Commit | None = tip
    while commit is not None and not _descends(store, source, commit):
        found.append(commit.operation)
        before = commit.operation.inputs or commit.parents
        known = (store.commit(commit_id) for commit_id in (*before, *commit.parents))
        commit = next((one for one in known if find_merge_base(store.commit, one, source)), None)
    return tuple(reversed(found))


def _descends(store: Store, commit: Commit, ancestor: Commit) -> bool:
    base = find_merge_base(store.commit, commit, ancestor)
    return base is not None and base.id == ancestor.id


def _gained(base: Version, source: Version, tip: Version) -> pa.Array:
    """Ids of the images that the source added, or says something new about, and the tip lacks."""
    tables = [rows.ASSETS, *source.layers()]
    named = rows.sorted_unique([named_since(base, source, table) for table in tables])
    return rows.without(rows.common(named, source.asset_ids()), tip.asset_ids())


def _replayed(
    work: Scratch, source: Version, gained: pa.Array, selections: Sequence[Operation]
) -> pa.Array:
    """Which of the gained images the selections keep, one after the other."""
    kept, version = gained, source
    for step, selection in enumerate(selections if len(gained) else ()):
        version = work.commit("gained", f"{step}", version, keep(version, kept))
        kept = selected_again(version, selection)
    return kept


def _without(work: Scratch, source: Version, left_out: pa.Array) -> Version:
    """The source without the gained images that were not taken."""
    if len(left_out) == 0:
        return source
    changes = ChangeSet()
    changes.remove_assets(left_out)
    return work.commit("gained", "taken", source, changes)


def _with_returning(work: Scratch, tip: Version, base: Version, taken: pa.Array) -> Version:
    """The tip with those taken images that were left out of it before, as they were then.

    Otherwise the tip would have removed what the source changed, which is a conflict.
    """
    returning = rows.common(taken, base.asset_ids())
    if len(returning) == 0:
        return tip
    changes = ChangeSet()
    for name in (rows.ASSETS, *base.layers()):
        part = read_covered(base, name, returning)
        if part is not None:
            changes.add(name, part)
    return work.commit("host", "returning", tip, changes)
