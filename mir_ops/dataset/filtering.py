"""Keep a part of a dataset version: by class, by chance, or by a list of images."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.store import Operation, schema
from mir_ops.taxonomy import Taxonomy, normalise

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store, Version

AnnotationSource = Literal["any", "gt", "pred"]


def filter_dataset(
    store: Store,
    rev: str,
    branch: str,
    *,
    include_classes: Sequence[str] = (),
    exclude_classes: Sequence[str] = (),
    annotation_source: AnnotationSource = "any",
    taxonomy: Taxonomy | None = None,
    op_id: str,
    message: str | None = None,
    project: str | None = None,
    round: int | str | None = None,  # noqa: A002 - the word of the commit
    run: str | None = None,
) -> Commit:
    """Keep images with any of the included classes and none of the excluded ones.

    Names compare without case, aliases count. The annotations of a kept image stay whole. The same
    operation filters once: again, it returns the first commit.
    """
    if done := store.find_operation(branch, op_id):
        return done
    version = store.read(rev)
    known = taxonomy.joined(version.taxonomy) if taxonomy else version.taxonomy
    kept = version.asset_ids()
    if include_classes:
        wanted = class_ids_of(known, include_classes)
        kept = kept.filter(pc.is_in(kept, _assets_with(version, wanted, annotation_source)))
    if exclude_classes:
        unwanted = class_ids_of(known, exclude_classes)
        hit = pc.is_in(kept, _assets_with(version, unwanted, annotation_source))
        kept = kept.filter(pc.invert(hit))
    parameters = {
        "include_classes": list(include_classes),
        "exclude_classes": list(exclude_classes),
        "annotation_source": annotation_source,
    }
    operation = Operation(kind="filter", parameters=parameters, inputs=(version.id,))
    said = message or f"Filter {rev}"
    return _keep(store, version, branch, kept, operation, op_id, said, project, round, run)


def sample(
    store: Store,
    rev: str,
    branch: str,
    *,
    count: int | None = None,
    rate: float | None = None,
    seed: int = 0,
    op_id: str,
    message: str | None = None,
    project: str | None = None,
    round: int | str | None = None,  # noqa: A002 - the word of the commit
    run: str | None = None,
) -> Commit:
    """Keep `count` images, or the share `rate` of them, drawn with `seed` in order of asset id."""
    if done := store.find_operation(branch, op_id):
        return done
    _check_amount(count, rate)
    version = store.read(rev)
    ids = version.asset_ids().sort()
    amount = count if count is not None else int(len(ids) * (rate or 0.0))
    drawn = np.random.default_rng(seed).choice(len(ids), min(amount, len(ids)), replace=False)
    kept = ids.take(pa.array(np.sort(drawn), pa.int64()))
    parameters = {"count": count, "rate": rate}
    operation = Operation(kind="sample", parameters=parameters, inputs=(version.id,), seed=seed)
    said = message or f"Sample {len(kept)} of {len(ids)} images of {rev}"
    return _keep(store, version, branch, kept, operation, op_id, said, project, round, run)


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
    parameters = {"assets": len(wanted)}
    operation = Operation(kind="subset", parameters=parameters, inputs=(version.id,))
    said = message or f"Keep {len(wanted)} images of {rev}"
    return _keep(store, version, branch, wanted, operation, op_id, said, project, round, run)


def _keep(
    store: Store,
    version: Version,
    branch: str,
    kept: pa.Array,
    operation: Operation,
    op_id: str,
    message: str,
    project: str | None,
    round: int | str | None,  # noqa: A002 - the word of the commit
    run: str | None,
) -> Commit:
    ids = version.asset_ids()
    with store.edit(
        branch,
        op_id=op_id,
        operation=operation,
        message=message,
        base=version,
        project=project,
        round=round,
        run=run,
    ) as edit:
        edit.remove_assets(ids.filter(pc.invert(pc.is_in(ids, kept))))
    return edit.commit


def _assets_with(version: Version, class_ids: list[int], source: AnnotationSource) -> pa.Array:
    """Assets that have an annotation of any of these classes."""
    found = [pa.array([], schema.ASSET_ID)]
    for layer in version.layers():
        kind = {"ground_truth": "gt", "predictions": "pred"}.get(schema.layer_kind(layer))
        if kind is not None and source in ("any", kind):
            table = version.layer(layer, columns=["asset_id", "class_id"])
            hit = pc.is_in(table["class_id"], pa.array(class_ids, pa.int32()))
            found += table["asset_id"].filter(hit).chunks
    return pa.concat_arrays(found).unique()


def class_ids_of(taxonomy: Taxonomy, names: Sequence[str]) -> list[int]:
    """The ids of classes by name or alias; names nobody knows are an error."""
    unknown = [name for name in names if taxonomy.id_of(name) is None]
    if unknown:
        raise _no_such_class(unknown, taxonomy)
    return [found for name in names if (found := taxonomy.id_of(name)) is not None]


def _no_such_class(unknown: list[str], taxonomy: Taxonomy) -> InvalidInputError:
    close = difflib.get_close_matches(normalise(unknown[0]), taxonomy.names, n=1)
    known = ", ".join(taxonomy.names[:20]) or "none"
    return InvalidInputError(
        f"No class is called {', '.join(f'`{name}`' for name in unknown)}",
        code="unknown-classes",
        hint=f"Did you mean `{close[0]}`?" if close else f"The classes are: {known}",
    )


def _check_amount(count: int | None, rate: float | None) -> None:
    if (count is None) == (rate is None):
        raise InvalidInputError(
            "Sampling needs either a count or a rate",
            code="bad-sample",
            hint="Give one of `--count N` and `--rate 0.1`",
        )
    if count is not None and count < 0:
        raise InvalidInputError(
            f"Cannot sample {count} images", code="bad-sample", hint="Give a count of 0 or more"
        )
    if rate is not None and not 0 <= rate <= 1:
        raise InvalidInputError(
            f"Cannot sample at the rate {rate}", code="bad-sample", hint="Give a rate from 0 to 1"
        )
