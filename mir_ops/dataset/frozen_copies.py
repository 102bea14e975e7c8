"""What is frozen in one store stays frozen in the copy of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mir_ops.dataset.filtering import keep
from mir_ops.dataset.previews import preview
from mir_ops.errors import ConflictError
from mir_ops.evaluation.frozen import freeze, frozen_images, frozen_sets
from mir_ops.store import Operation, operation_id, rows

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store, Version
    from mir_ops.store.changesets import ChangeSet

Changes = Callable[["Version", "Commit | None"], "ChangeSet"]


def copy_frozen(
    source: Store, version: Version, store: Store, changes: Changes, *, op_id: str
) -> list[str]:
    """Freeze the images of a version that `source` has frozen, before a branch here has them.

    Each set's part is a version of its own, on a branch `frozen-sets/NAME`; the tags are returned.
    `changes` makes what puts a version of `source` here, in place of a commit.
    """
    sets = frozen_sets(source)
    if not sets:
        return []
    known = frozen_images(store, frozen_sets(store).values())
    tags = []
    for name, commit in sets.items():
        part = rows.common(version.asset_ids(), frozen_images(source, [commit]))
        if not len(rows.without(part, known)):
            continue
        whole = len(part) == version.stats.assets
        frozen = version if whole else preview(version, keep(version, part))
        made = _commit(store, name, commit, frozen, changes, operation_id(op_id, {"set": commit}))
        tags.append(_freeze(store, name, made))
    return tags


def _commit(
    store: Store, name: str, commit: str, frozen: Version, changes: Changes, op_id: str
) -> Commit:
    branch = f"frozen-sets/{name.replace('@', '-')}"  # a tag may have what a branch may not
    if done := store.find_operation(branch, op_id):
        return done
    tip = store.branch(branch).find_tip()
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(kind="copy", parameters={"frozen": name, "commit": commit}),
        message=f"Copy frozen test set {name}",
        start=tip,
    ) as edit:
        edit.take(changes(frozen, tip))
    return edit.commit


def _freeze(store: Store, name: str, commit: Commit) -> str:
    """Under the name that it has there, or one of its own where that means other images here."""
    try:
        return freeze(store, name, commit)
    except ConflictError:
        return freeze(store, f"{name}-{commit.id[:8]}", commit)
