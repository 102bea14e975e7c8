"""Keep a part of a dataset version: by conditions, by chance, or by a list of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.conditions import Conditions, class_ids_of, matching_assets
from mir_ops.dataset.sampling import Sampling, sampled_assets
from mir_ops.errors import InvalidInputError
from mir_ops.store import Operation, rows, schema
from mir_ops.store.changesets import ChangeSet
from mir_ops.store.diffs import read_covered
from mir_ops.taxonomy import ClassName, Taxonomy

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store, Version


def filter_dataset(
    store: Store,
    rev: str,
    branch: str,
    conditions: Conditions,
    *,
    taxonomy: Taxonomy | None = None,
    op_id: str,
    message: str | None = None,
    project: str | None = None,
) -> Commit:
    """Keep the images that fulfil the conditions, with all of their annotations.

    `taxonomy` adds names and aliases to those of the version. The same operation filters once:
    again, it returns the first commit.
    """
    if done := store.find_operation(branch, op_id):
        return done
    version = store.read(rev)
    kept = matching_assets(version, conditions, taxonomy)
    parameters = recorded_conditions(version, conditions, taxonomy)
    operation = Operation(kind="filter", parameters=parameters, inputs=(version.id,))
    with store.edit(
        branch,
        op_id=op_id,
        operation=operation,
        message=message or f"Filter {rev}",
        base=version,
        start=version.commit if rev == branch else None,
        project=project,
    ) as edit:
        edit.take(keep(version, kept))
    return edit.commit


def sample(
    store: Store,
    rev: str,
    branch: str,
    sampling: Sampling,
    *,
    op_id: str,
    message: str | None = None,
    project: str | None = None,
) -> Commit:
    """Keep as many images as asked, drawn by the seed. The same operation samples once."""
    if done := store.find_operation(branch, op_id):
        return done
    version = store.read(rev)
    ids = version.asset_ids()
    kept = sampled_assets(version, ids, sampling)
    operation = Operation(
        kind="sample",
        parameters=sampling.to_parameters(),
        inputs=(version.id,),
        seed=sampling.seed,
    )
    with store.edit(
        branch,
        op_id=op_id,
        operation=operation,
        message=message or f"Sample {len(kept)} of {len(ids)} images of {rev}",
        base=version,
        start=version.commit if rev == branch else None,
        project=project,
    ) as edit:
        edit.take(keep(version, kept))
    return edit.commit


def subset(
    store: Store,
    rev: str,
    branch: str,
    *,
    asset_ids: pa.Array,
    op_id: str,
    message: str | None = None,
    project: str | None = None,
    round: int | str | None = None,  # noqa: A002 - the word of the commit
    run: str | None = None,
) -> Commit:
    """Keep the images of `asset_ids`, which must all be there."""
    if done := store.find_operation(branch, op_id):
        return done
    version = store.read(rev)
    wanted = pa.array(asset_ids, schema.ASSET_ID)
    missing = wanted.filter(pc.invert(pc.is_in(wanted, version.asset_ids())))
    if len(missing):
        raise InvalidInputError(
            f"{len(missing)} images are not in `{rev}`, such as {missing[0].as_py().hex()[:12]}",
            code="no-such-asset",
            hint="Take the images from the version that they are in",
        )
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(
            kind="subset", parameters={"assets": len(wanted)}, inputs=(version.id,)
        ),
        message=message or f"Keep {len(wanted)} images of {rev}",
        base=version,
        start=version.commit if rev == branch else None,
        project=project,
        round=round,
        run=run,
    ) as edit:
        edit.take(keep(version, rows.sorted_unique([wanted])))
    return edit.commit


def selected_again(version: Version, operation: Operation) -> pa.Array:
    """Ids of the images that a recorded filter, sampling or fusion keeps of another version.

    Classes are found by their recorded ids, whatever they are called there. Any other kind of
    operation keeps everything.
    """
    parameters: dict[str, Any] = dict(operation.parameters)
    if operation.kind == "fuse":
        found = selected_again(version, _part(operation, "filter"))
        if parameters["sample"] is None:
            return found
        return sampled_assets(
            version, found, Sampling.from_parameters(parameters["sample"], operation.seed)
        )
    if operation.kind == "filter":
        return matching_assets(version, *_conditions_there(version, parameters))
    ids = version.asset_ids()
    if operation.kind == "sample":
        sampling = Sampling.from_parameters(parameters, operation.seed)
        return sampled_assets(version, ids, sampling)
    return ids


def recorded_conditions(
    version: Version, conditions: Conditions, taxonomy: Taxonomy | None
) -> dict[str, Any]:
    """What a commit's operation records of a filter: the conditions, and the ids of its classes."""
    known = version.taxonomy.joined(taxonomy) if taxonomy else version.taxonomy
    names = (*conditions.include_classes, *conditions.exclude_classes)
    ids = dict(zip(names, class_ids_of(known, names), strict=True))
    return conditions.to_parameters() | {"class_ids": ids}


def _conditions_there(
    version: Version, parameters: Mapping[str, Any]
) -> tuple[Conditions, Taxonomy]:
    """Recorded conditions with the names that another version has for the classes."""
    conditions = Conditions.from_parameters(parameters)
    ids: Mapping[str, int] = parameters.get("class_ids", {})
    known = version.taxonomy
    names = {n: known.name_of(i) if i in known.ids else f"class {i}" for n, i in ids.items()}
    lacking = {i: ClassName(i, f"class {i}") for i in ids.values() if i not in known.ids}
    return replace(
        conditions,
        include_classes=tuple(names.get(name, name) for name in conditions.include_classes),
        exclude_classes=tuple(names.get(name, name) for name in conditions.exclude_classes),
    ), Taxonomy(tuple(lacking.values()))


def keep(
    version: Version, kept: pa.Array, *, base: Version | None = None, made: ChangeSet | None = None
) -> ChangeSet:
    """The change that leaves these images of a version (ids ascending).

    It applies to the version itself, or to the `base` of which the changes `made` the version.
    Where what stays is the smaller part it is written anew: marks of what goes would be more.
    """
    changes = made or ChangeSet()
    if version.stats.assets <= 2 * len(kept):
        changes.remove_assets(rows.without(version.asset_ids(), kept))
        return changes
    layers = {*version.layers(), *(base or version).layers()}
    fresh = ChangeSet(taxonomy=changes.taxonomy, dropped={rows.ASSETS, *layers})
    for name in sorted(fresh.dropped):
        part = read_covered(version, name, kept)
        if part is not None:
            fresh.add(name, part)
    return fresh


def _part(operation: Operation, kind: str) -> Operation:
    return Operation(kind=kind, parameters=operation.parameters[kind], seed=operation.seed)
