"""Datasets for everybody who uses a store: published as `public/NAME`, copied by reference."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.importing import ImportResult
from mir_ops.dataset.report import Report
from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.store import Operation, Store, operation_id, schema

if TYPE_CHECKING:
    from mir_ops.store import Commit, Edit, Version

_BRANCHES = "public/"
_LABELS = ("ground_truth", "predictions")


def publish(store: Store, version: Commit, name: str, *, message: str | None = None) -> Commit:
    """Offer a version as `public:NAME`; publishing the same one again changes nothing."""
    if not re.fullmatch(r"[\w.-]{1,100}", name):
        raise InvalidInputError(
            f"`{name}` cannot be the name of a published dataset",
            code="bad-name",
            hint="Use letters, digits, `.`, `_` and `-`",
        )
    branch = store.branch(f"{_BRANCHES}{name}")
    tip = branch.find_tip()
    if tip is not None and tip.operation.inputs == (version.id,):
        return tip
    op_id = operation_id(f"publish/{name}", {"version": version.id, "after": branch.seq})
    with store.edit(
        branch.name,
        op_id=op_id,
        operation=Operation(kind="publish", inputs=(version.id,)),
        message=message or f"Publish {version.id[:12]} as {name}",
        base=version,
    ) as edit:
        pass
    return edit.commit


def list_published(store: Store) -> list[str]:
    """The names of published datasets."""
    names = (branch.name for branch in store.branches())
    return [name.removeprefix(_BRANCHES) for name in names if name.startswith(_BRANCHES)]


def read_published(store: Store, name: str) -> Commit:
    """The newest version of a published dataset."""
    known = list_published(store)
    if name not in known:
        raise NotFoundError(
            f"No dataset is published as `{name}`",
            code="no-such-public-dataset",
            hint=f"Published are {', '.join(f'`public:{each}`' for each in known)}"
            if known
            else "Publish one with `mir publish REV NAME`",
        )
    return store.branch(f"{_BRANCHES}{name}").tip()


def import_public(
    store: Store,
    name: str,
    branch: str,
    *,
    op_id: str,
    labels: bool = True,
    split: str | None = None,
    message: str | None = None,
    project: str | None = None,
    run: str | None = None,
) -> ImportResult:
    """Add a published dataset to a branch, with its labels or its images alone.

    Images are not copied: both datasets name the same ones.
    """
    if done := store.find_operation(branch, op_id):
        return ImportResult(commit=done, report=_report(done))
    published = store.read(read_published(store, name))
    tip = store.branch(branch).find_tip()
    before = store.read(tip) if tip else None
    layers = [layer for layer in published.layers() if schema.layer_kind(layer) in _LABELS]
    taken = layers if labels else []
    report = Report(taken={"images": published.stats.assets} | _rows(published, taken))
    said = {"source": f"public:{name}", "labels": labels, "split": split}
    parameters = said | {"report": report.to_dict(), "new_classes": []}
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(kind="import", inputs=(published.id,), parameters=parameters),
        message=message or f"Import public:{name}",
        base=published if before is None else None,
        parents=[published.commit],
        project=project,
        run=run,
    ) as edit:
        _take_over(edit, published, before, taken)
        if before is not None or split is not None:
            edit.put_assets(_assets(published, before, split))
    return ImportResult(commit=edit.commit, report=report)


def _take_over(edit: Edit, published: Version, before: Version | None, layers: list[str]) -> None:
    """These layers: of the version that a new branch starts from, or onto what is there."""
    if before is None:
        for layer in published.layers():
            if layer not in layers:
                edit.clear_layer(layer)
        return
    edit.put_taxonomy(before.taxonomy.joined(published.taxonomy))
    for layer in layers:
        edit.put_layer(layer, published.layer(layer), assets=published.layer_assets(layer))


def _assets(published: Version, before: Version | None, split: str | None) -> pa.Table:
    """Rows of the published images; what the branch knows of them already stays."""
    table = published.assets()
    if before is not None:
        known = before.assets(ids=table["asset_id"].combine_chunks())
        fresh = table.filter(pc.invert(pc.is_in(table["asset_id"], known["asset_id"])))
        table = pa.concat_tables([known, fresh])
    if split is not None:
        at = table.schema.get_field_index("split")
        table = table.set_column(at, schema.ASSETS.field("split"), pa.repeat(split, len(table)))
    return table


def _rows(version: Version, layers: list[str]) -> dict[str, int]:
    return {f"{layer} annotations": version.stats.layers[layer].rows for layer in layers}


def _report(commit: Commit) -> Report:
    return Report.from_dict(commit.operation.parameters["report"])
