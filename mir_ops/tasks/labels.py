"""Labels for a dataset, as a run asks for them: ask, follow, take."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.labeling import LabelBackend, LabelProgress, LabelRequest, ShowsImages
from mir_ops.labeling.addresses import find_addresses, wake_url
from mir_ops.labeling.following import digest_of, follow, noted, read_guide, seconds_of
from mir_ops.store import Operation
from mir_ops.store.schema import PREDICTIONS
from mir_ops.tasks.asking import Task, naming, read_version
from mir_ops.tasks.jobs import told
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.store import Commit, Version

Prelabels = Literal["none", "ground_truth", "predictions"]
_TASK: Final = "request_labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsAsked:
    """What people are asked for. `prelabels` are what they start from: no annotations, those of
    the dataset, or a `model`'s predictions from `confidence` on."""

    classes: tuple[str, ...] = ()
    prelabels: Prelabels = "none"
    model: str | None = None
    confidence: float = 0.25
    shapes: tuple[str, ...] = ("box",)
    guide: str = ""
    annotators: tuple[str, ...] = ()


def request_labels(
    task: Task, backend: LabelBackend, *, dataset: str, asked: LabelsAsked
) -> dict[str, Any]:
    """Ask the backend for labels of a dataset's images; a run asks once.

    What is labelled is pinned as a version on the branch, however the dataset moves on. The result
    says all that is needed to follow the request.
    """
    pinned = _pin(task, dataset, backend)
    found = {
        "branch": task.branch,
        "version": pinned.id,
        "commit": pinned.id,
        "requested": pinned.stats.assets,
        "backend": backend.kind,
        "key": task.op_id,
        "asked_at": pinned.created_at.isoformat(),
        "asked": _plain(asked),
    }
    called = wake_url(task.ws, task.op_id)
    request = replace(_request(task.ws, found), guide=asked.guide, wake_url=called)
    if isinstance(backend, ShowsImages) and request.find_addresses is None:
        raise InvalidInputError(
            f"`branch`: `{task.branch}` is of no project, and people see images of projects alone",
            code="images-out-of-reach",
            hint="Let the branch start with a project's name, such as `street/labelled`",
        )
    external_id = backend.create(request)
    task.ws.catalog.label_tasks.add_outside(
        project=task.project,
        branch=task.branch,
        dag_id=task.place.dag_id,
        run_id=task.place.run_id,
        op_id=task.op_id,
        backend=backend.kind,
        external_id=external_id,
        requested=pinned.stats.assets,
    )
    return {**found, "task": external_id}


def follow_labels(ws: Workspace, asked: Mapping[str, Any], backend: LabelBackend) -> LabelProgress:
    """How far people are, also written into the catalog; addresses that end soon are renewed."""
    request = _request(ws, asked)
    progress = follow(backend, asked["task"], request, clear=_TASK)
    _note(ws, asked, **noted(progress))
    if isinstance(backend, ShowsImages) and request.find_addresses and not progress.complete:
        backend.renew_addresses(asked["task"], request.find_addresses)
    return progress


def take_labels(task: Task, asked: Mapping[str, Any], backend: LabelBackend) -> dict[str, Any]:
    """Commit the images that are labelled. More labels later are another operation."""
    ws = task.ws
    result = backend.fetch(asked["task"], _request(ws, asked))
    _note(ws, asked, state="closed", enough_at=None)
    counts = {
        "done": len(result.done),
        "skipped": len(result.skipped),
        "boxes": result.annotations.num_rows,
        "seconds": seconds_of(result),
        "issues": dict(result.issues),
    }
    if not len(result.done):
        return {"branch": task.branch, "commit": None, **counts}
    op_id = task.part("labels", {"task": asked["task"], "answers": digest_of(result)})
    commit = ws.store.find_operation(task.branch, op_id)
    if commit is None:
        done = result.done.take(pc.sort_indices(result.done))
        commit = _commit(task, asked, done, result.annotations, op_id)
    return {**told(task, commit), **counts}


def give_up_labels(ws: Workspace, asked: Mapping[str, Any], reason: str) -> None:
    """Nobody waits for them any more."""
    _note(ws, asked, state="closed", message=reason)


def guide_of(ws: Workspace, text: str | None, file: str | None) -> str:
    """The guide that people read: a text or the address of a page, or a file's text."""
    from mir_ops.dataset.sharing import shared_file

    if text and file:
        raise InvalidInputError(
            "`guide` and `guide_file` are both given",
            code="label-guide",
            hint="Leave one of them empty",
        )
    if not file:
        return text or ""
    with naming("guide_file"), shared_file(file, ws) as path:
        return read_guide(path)


def _note(ws: Workspace, asked: Mapping[str, Any], **values: Any) -> None:
    with suppress(NotFoundError):  # asked for when the catalog did not keep such requests yet
        ws.catalog.label_tasks.update(asked["key"], **values)


def _pin(task: Task, dataset: str, backend: LabelBackend) -> Commit:
    """The version that is labelled, on the branch: found again by every try of the run."""
    store, op_id = task.ws.store, task.part("request")
    if done := store.find_operation(task.branch, op_id):
        return done
    version = read_version(task.ws, dataset)
    if not version.stats.assets:
        raise InvalidInputError(
            f"`dataset`: `{dataset}` has no images",
            code="no-images",
            hint="Name a dataset with images to label",
        )
    with store.edit(
        task.branch,
        base=version,
        op_id=op_id,
        operation=Operation(
            kind="request-labels", parameters={"backend": backend.kind}, inputs=(version.id,)
        ),
        message=f"Ask for labels of {version.stats.assets} images",
        **task.provenance,
    ) as edit:
        pass
    return edit.commit


def _request(ws: Workspace, found: Mapping[str, Any]) -> LabelRequest:
    """The request, made again from what its first task left."""
    version, asked = ws.store.read(found["version"]), found["asked"]
    project = version.commit.project
    presigned = ws.images_from == "store" and not ws.store_url.startswith("file:")
    shown = project is not None or presigned
    found_by, start = _start(version, asked)
    return LabelRequest(
        key=found["key"],
        title=f"{found['branch']} {found['key'][:6]}",
        classes=_classes(ws, version, asked["classes"]),
        assets=version.assets(),
        predictions=start,
        fetch_image=ws.store.fetch_blob,
        find_addresses=find_addresses(ws, project or "", version) if shown else None,
        model_id=found_by,
        shapes=tuple(asked["shapes"]),
        annotators=tuple(asked["annotators"]),
    )


def _plain(asked: LabelsAsked) -> dict[str, Any]:
    """What later tasks need of it, as an XCom has it."""
    found = {name: value for name, value in asdict(asked).items() if name != "guide"}
    return {n: list(value) if isinstance(value, tuple) else value for n, value in found.items()}


def _classes(ws: Workspace, version: Version, names: list[str]) -> dict[int, str]:
    """The classes to label, in the order that they were named in; new ones are registered."""
    taxonomy = version.taxonomy
    if not names and not taxonomy.names:
        raise InvalidInputError(
            "`classes`: the dataset knows no class",
            code="no-classes",
            hint="Name the classes to label",
        )
    wanted = names or list(taxonomy.names)
    unknown = [name for name in wanted if taxonomy.id_of(name) is None]
    new = ws.store.register_classes(unknown) if unknown else {}
    found: dict[int, str] = {}
    for name in wanted:
        id_ = taxonomy.id_of(name)
        if id_ is None:
            found[new[name.strip().lower()]] = name.strip().lower()
        else:
            found[id_] = taxonomy.name_of(id_)
    return found


def _start(version: Version, asked: Mapping[str, Any]) -> tuple[str, pa.Table]:
    """What people start from, as predictions, and who found it: Label Studio shows no others."""
    from mir_ops.evaluation.materials import find_layer

    if asked["prelabels"] == "none":
        return "", PREDICTIONS.empty_table()
    if asked["prelabels"] == "ground_truth":
        table = version.layer("ground_truth")
        sure = pa.repeat(pa.scalar(1.0), table.num_rows)
        columns = [
            sure.cast(column.type)
            if column.name == "confidence"
            else table[column.name].cast(column.type)
            if column.name in table.column_names
            else pa.nulls(table.num_rows, column.type)
            for column in PREDICTIONS
        ]
        return "ground truth", pa.Table.from_arrays(columns, schema=PREDICTIONS)
    with naming("model", hint="Predict with `dataset_infer` first, or choose other pre-labels"):
        layer = find_layer(version, asked["model"])
    seen = version.layer(layer)
    sure = seen.filter(pc.greater_equal(seen["confidence"], asked["confidence"]))
    return layer.partition(":")[2], sure


def _commit(
    task: Task, asked: Mapping[str, Any], done: pa.Array, annotations: pa.Table, op_id: str
) -> Commit:
    """The images that are done, with their labels and what else was known of them."""
    from mir_ops.dataset.filtering import keep
    from mir_ops.taxonomy import Taxonomy

    store, version = task.ws.store, task.ws.store.read(asked["version"])
    classes = _classes(task.ws, version, asked["asked"]["classes"])
    wanted = Taxonomy.from_names({name: id_ for id_, name in classes.items()})
    changes = keep(version, done)
    changes.put_layer("ground_truth", annotations, done)
    changes.taxonomy = version.taxonomy.joined(wanted)
    with store.edit(
        task.branch,
        base=version,
        op_id=op_id,
        operation=Operation(
            kind="label",
            parameters={"backend": asked["backend"], "labelled": len(done)},
            inputs=(version.id,),
        ),
        message=f"{len(done)} images labelled",
        **task.provenance,
    ) as edit:
        edit.take(changes)
    return edit.commit
