"""Frozen test sets: versions whose images no training may read.

A frozen set is a tag `frozen/NAME`. Tags never move and are never deleted, so what is frozen
stays frozen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from mir_ops.errors import InvalidInputError, NotFoundError
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


def find_frozen(store: Store, names: Iterable[str]) -> dict[str, str]:
    """Commit ids by the names of these sets, in their order."""
    known = frozen_sets(store)
    asked = [name.removeprefix(FROZEN) for name in names]
    for name in asked:
        if name not in known:
            raise NotFoundError(
                f"No test set is frozen under the name `{name}`",
                code="no-such-test-set",
                hint=f"Freeze one with `mir tag {name} REV --frozen`"
                + (f"; there are: {', '.join(known)}" if known else ""),
            )
    return {name: known[name] for name in asked}


def frozen_images(store: Store, commits: Iterable[str]) -> pa.Array:
    """The ids of all images in these versions, each once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = [store.read_commit_version(commit).asset_ids() for commit in commits]
    return pc.unique(pa.concat_arrays([pa.array([], schema.ASSET_ID), *ids]))


def refuse_frozen(store: Store, version: Version) -> None:
    """Refuse a version for training that has an image of a frozen set in any split."""
    if sets := frozen_sets(store):
        hint = "Leave them out: `mir merge REV --ex-src-revs {tag} --to BRANCH`"
        _refuse(store, _readable(version), sets, of=f"commit {version.id[:12]}", hint=hint)


def refuse_frozen_images(store: Store, version: Version, *, of: str, hint: str) -> None:
    """Refuse a version whose images are to be trained on, whatever split they are in now."""
    if sets := frozen_sets(store):
        _refuse(store, version.asset_ids(), sets, of=of, hint=hint)


def _readable(version: Version) -> pa.Array:
    """The images that a training is given: those in a split."""
    import pyarrow as pa
    import pyarrow.compute as pc

    assets = version.assets(columns=["asset_id", "split"])
    in_split = pc.is_in(assets["split"], value_set=pa.array(schema.SPLITS))
    return assets.filter(in_split)["asset_id"]


def _refuse(store: Store, ids: pa.Array, sets: Mapping[str, str], *, of: str, hint: str) -> None:
    import pyarrow.compute as pc

    for name, commit in sets.items():
        frozen = store.read_commit_version(commit).asset_ids()
        shared = ids.filter(pc.is_in(ids, value_set=frozen))
        if len(shared):
            raise InvalidInputError(
                f"{len(shared)} images of {of} are in the frozen test set "
                f"`{name}`, the first {shared[0].as_py().hex()[:12]}: no training may read them",
                code="frozen-test-set",
                hint=hint.format(tag=FROZEN + name),
            )
