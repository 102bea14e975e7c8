"""Frozen test sets: versions whose images no training may read.

A frozen set is a tag `frozen/NAME`. Tags never move and are never deleted, so what is frozen
stays frozen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mir_ops.errors import InvalidInputError
from mir_ops.store import keys, refs, schema

if TYPE_CHECKING:
    import pyarrow as pa

    from mir_ops.store import Commit, Store, Version

FROZEN: Final = "frozen/"


def freeze(store: Store, name: str, commit: Commit) -> str:
    """Make the images of a version a test set that no training may read; the tag that says so."""
    tag = FROZEN + name.removeprefix(FROZEN)
    store.create_tag(tag, commit.id)
    return tag


def frozen_sets(store: Store) -> dict[str, str]:
    """Commit ids by the names of the frozen sets."""
    names = [
        keys.decode(key.removeprefix(keys.TAGS)) for key in store.objects.list(keys.tag(FROZEN))
    ]
    read = {name: refs.read_ref(store.objects, keys.tag(name)).commit for name in sorted(names)}
    return {name.removeprefix(FROZEN): commit for name, commit in read.items() if commit}


def refuse_frozen(store: Store, version: Version) -> None:
    """Refuse a version for training that has an image of a frozen set in any split."""
    sets = frozen_sets(store)
    if not sets:
        return
    ids = _readable(version)
    for name, commit in sets.items():
        _refuse_shared(version, ids, name, store.read_commit_version(commit).asset_ids())


def _readable(version: Version) -> pa.Array:
    """The images that a training is given: those in a split."""
    import pyarrow as pa
    import pyarrow.compute as pc

    assets = version.assets(columns=["asset_id", "split"])
    in_split = pc.is_in(assets["split"], value_set=pa.array(schema.SPLITS))
    return assets.filter(in_split)["asset_id"]


def _refuse_shared(version: Version, ids: pa.Array, name: str, frozen: pa.Array) -> None:
    import pyarrow.compute as pc

    shared = ids.filter(pc.is_in(ids, value_set=frozen))
    if len(shared):
        raise InvalidInputError(
            f"{len(shared)} images of commit {version.id[:12]} are in the frozen test set "
            f"`{name}`, the first {shared[0].as_py().hex()[:12]}: no training may read them",
            code="frozen-test-set",
            hint=f"Leave them out: `mir merge REV --ex-src-revs {FROZEN}{name} --to BRANCH`",
        )
