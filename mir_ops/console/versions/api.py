"""Datasets and versions by the JSON API: read, searched, compared, made, described, sent."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from mir_ops.console.access import ProjectKey, needs
from mir_ops.console.frame import Opened, OwnStore, Sent
from mir_ops.console.sources import Sources
from mir_ops.console.versions import datasets, views
from mir_ops.console.versions.imports import start_import
from mir_ops.console.versions.making import foretold, make
from mir_ops.console.versions.uploads import keep_upload
from mir_ops.dataset.counting import counts
from mir_ops.dataset.diff_records import diff_record
from mir_ops.dataset.history import Moment, Past
from mir_ops.store import Commit, Version

api = APIRouter(prefix="/projects/{project}")

_MOST: Final = 500


class DatasetAnswer(BaseModel):
    """A dataset and its newest version."""

    name: str
    version: int
    commit: str
    images: int
    boxes: int
    keywords: list[str]
    message: str
    created_at: datetime
    deleted: bool


class DatasetList(BaseModel):
    datasets: list[DatasetAnswer]


class VersionAnswer(BaseModel):
    """One version in the log; `names` are what branches call it."""

    commit: str
    names: list[str]
    tags: list[str]
    kind: str
    author: str
    message: str
    keywords: list[str]
    created_at: datetime
    images: int
    labelled: int
    boxes: int
    parents: list[str]
    inputs: list[str]
    model: str | None
    round: str | None
    run: str | None


class VersionList(BaseModel):
    """A part of the log, the newest first; `total` counts all of it."""

    total: int
    versions: list[VersionAnswer]


class Lineage(BaseModel):
    """What a version was made from, and what was made from it."""

    made_from: list[VersionAnswer]
    versions: list[VersionAnswer]
    models: list[str]


class Made(BaseModel):
    """The version that there is now."""

    commit: str
    dataset: str
    images: int


class Started(BaseModel):
    run_id: str
    address: str


class Uploaded(BaseModel):
    """Where an archive lies in the sharing folder."""

    path: str


class ImageChange(BaseModel):
    asset_id: str
    name: str
    commit: str
    kinds: list[str]
    boxes: dict[str, int]


class ImageChanges(BaseModel):
    """A page of the images that differ, and how many there are of each kind."""

    kinds: dict[str, int]
    pages: int
    images: list[ImageChange]


def _json_body(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_TEXT: Final = {"type": "string"}
_RECIPE: Final = {
    "type": "object",
    "description": "What `mir fuse` is told: sources, exclude, strategy, include_classes, "
    "exclude_classes, match, annotation_source, attributes, exclude_attributes, splits, width, "
    "height, byte_size, boxes, count, rate, seed, stratify. Lists, or texts joined by `;`.",
}


@api.get("/datasets", dependencies=[needs("read")])
def list_datasets(sources: Opened, project: ProjectKey, deleted: bool = False) -> DatasetList:
    """The datasets of a project, or those that were deleted and can be restored."""
    past = sources.past(project)
    return DatasetList(
        datasets=[
            DatasetAnswer(
                name=each.name,
                version=each.number,
                commit=each.tip.id,
                images=each.tip.images,
                boxes=each.tip.boxes,
                keywords=list(each.tip.keywords),
                message=each.tip.message,
                created_at=each.tip.created_at,
                deleted=each.deleted,
            )
            for each in (past.deleted if deleted else past.datasets)
        ]
    )


@api.patch(
    "/datasets/{dataset:path}",
    dependencies=[needs("edit")],
    openapi_extra=_json_body(name=_TEXT, message=_TEXT, keywords=_TEXT),
)
def change_dataset(
    sources: Opened, store: OwnStore, project: ProjectKey, dataset: str, sent: Sent
) -> Made:
    """Rename a dataset (`name`), or describe its newest version (`message`, `keywords`)."""
    made = datasets.change(sources, store, project, dataset, sent)
    return _made(made, datasets.name_after(sources, project, dataset, sent))


@api.delete("/datasets/{dataset:path}", dependencies=[needs("delete")])
def delete_dataset(sources: Opened, project: ProjectKey, dataset: str) -> DatasetList:
    """Delete a dataset; it can be restored until storage is cleaned up."""
    datasets.delete(sources, project, dataset)
    return list_datasets(sources, project)


@api.post("/datasets/{dataset:path}/restore", dependencies=[needs("delete")])
def restore_dataset(sources: Opened, store: OwnStore, project: ProjectKey, dataset: str) -> Made:
    """Undo a deletion."""
    made = datasets.restore(sources, store, project, dataset)
    return _made(made, dataset)


@api.get("/versions", dependencies=[needs("read")])
def list_project_versions(
    sources: Opened,
    project: ProjectKey,
    branch: str = "",
    q: str = "",
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> VersionList:
    """The log of a project or of one dataset; with `q`, the versions that are like the words."""
    past = sources.past(project)
    if q.strip():
        found = [past.moments[commit] for commit in views.search(sources, past, q.strip(), branch)]
    else:
        found = past.of_branch(branch) if branch else list(past.moments.values())
    shown = found[offset : offset + limit]
    return VersionList(total=len(found), versions=[_told(sources, past, each) for each in shown])


@api.post(
    "/versions",
    status_code=201,
    dependencies=[needs("edit")],
    openapi_extra=_json_body(recipe=_RECIPE, to=_TEXT, message=_TEXT),
)
def make_project_version(sources: Opened, store: OwnStore, project: ProjectKey, sent: Sent) -> Made:
    """Merge, filter or draw, and commit; the same again from the same versions is done once."""
    branch, commit = make(sources, store, project, sent)
    return _made(commit, branch)


@api.post(
    "/versions/preview", dependencies=[needs("read")], openapi_extra=_json_body(recipe=_RECIPE)
)
def preview_version(sources: Opened, project: ProjectKey, sent: Sent) -> dict[str, Any]:
    """The counts of what a recipe would make. Writes nothing."""
    return foretold(sources, project, sent)


@api.get("/versions/compare", dependencies=[needs("read")])
def compare_project_versions(
    sources: Opened,
    project: ProjectKey,
    old: Annotated[str, Query(alias="from")],
    new: Annotated[str, Query(alias="to")],
) -> dict[str, Any]:
    """What changed from one version to another, in counts."""
    found = views.difference(sources, project, old, new)
    return diff_record(found.old, found.new, found.diff)


@api.get("/versions/compare/images", dependencies=[needs("read")])
def compare_images(
    sources: Opened,
    project: ProjectKey,
    old: Annotated[str, Query(alias="from")],
    new: Annotated[str, Query(alias="to")],
    kind: Literal[
        "", "added", "removed", "labels", "predictions", "splits", "facts", "others"
    ] = "",
    page: Annotated[int, Query(ge=1)] = 1,
) -> ImageChanges:
    """A page of the images that differ."""
    found = views.difference(sources, project, old, new)
    return ImageChanges(
        kinds={name: len(ids) for name, ids in found.kinds.items()},
        pages=found.pages(kind or None),
        images=[
            ImageChange(
                asset_id=each.asset_id,
                name=each.name,
                commit=each.commit,
                kinds=list(each.kinds),
                boxes={state: each.count(state) for state in ("added", "removed", "changed")},
            )
            for each in found.images(kind or None, page)
        ],
    )


@api.get("/versions/{commit}", dependencies=[needs("read")])
def show_project_version(sources: Opened, project: ProjectKey, commit: str) -> dict[str, Any]:
    """A version: its line in the log, its counts, and what its operation was told."""
    version, past = sources.version(project, commit), sources.past(project)
    moment = past.moments.get(version.id)
    return {
        **counts(version),
        **(_told(sources, past, moment).model_dump(mode="json") if moment else {}),
        "parameters": dict(version.commit.operation.parameters),
    }


@api.get("/versions/{commit}/analysis", dependencies=[needs("read")])
def analyse_version(sources: Opened, project: ProjectKey, commit: str) -> dict[str, Any]:
    """Histograms, class balance and suggestions, as `mir stats --json`."""
    return sources.findings.analysis(sources.version(project, commit).id).to_dict()


@api.get("/versions/{commit}/lineage", dependencies=[needs("read")])
def show_lineage(sources: Opened, project: ProjectKey, commit: str) -> Lineage:
    """What it was made from and what was made from it, as far as the project goes."""
    version, past = sources.version(project, commit), sources.past(project)
    given = dict.fromkeys((*version.commit.parents, *version.commit.operation.inputs))
    origins = [past.moments[each] for each in given if each in past.moments]
    return Lineage(
        made_from=[_told(sources, past, each) for each in origins],
        versions=[_told(sources, past, each) for each in past.heirs.get(version.id, ())],
        models=[each.model_id for each in views.models_of(sources, version.id)],
    )


@api.post(
    "/versions/{commit}/tags",
    status_code=201,
    dependencies=[needs("edit")],
    openapi_extra=_json_body(name=_TEXT),
)
def tag_version(sources: Opened, project: ProjectKey, commit: str, sent: Sent) -> Made:
    """Give a version a fixed name, `project/…`; a tag never moves."""
    version = sources.version(project, commit)
    name = datasets.tag(sources, project, version, sent)
    return _made(version.commit, name)


@api.get("/versions/{commit}/archive", dependencies=[needs("read")])
def send_archive(
    sources: Opened,
    project: ProjectKey,
    commit: str,
    annotations: Annotated[Literal["voc", "coco", "yolo", "none"], Query(alias="format")] = "voc",
) -> StreamingResponse:
    """Images and annotations as one zip file, which can be imported again."""
    from mir_ops.dataset.archiving import archive

    version = sources.version(project, commit)
    name = _file_name(sources, project, version)
    return StreamingResponse(
        archive(sources.store, version, annotations=annotations),
        media_type="application/zip",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
        },
    )


@api.post("/uploads", status_code=201, dependencies=[needs("edit")])
async def upload_archive(
    request: Request, sources: Opened, project: ProjectKey, name: str
) -> Uploaded:
    """Send an archive as the body; then import the path that is answered."""
    return Uploaded(path=await keep_upload(sources.sharing_dir, project, name, request.stream()))


@api.post(
    "/imports",
    status_code=201,
    dependencies=[needs("edit")],
    openapi_extra=_json_body(
        path=_TEXT, to=_TEXT, annotations=_TEXT, unknown_classes=_TEXT, split=_TEXT
    ),
)
def import_data(request: Request, sources: Opened, project: ProjectKey, sent: Sent) -> Started:
    """Start a run of `dataset_import` in Airflow, with your own rights."""
    run_id, address = start_import(request, sources, project, sent)
    return Started(run_id=run_id, address=address)


def _file_name(sources: Sources, project: str, version: Version) -> str:
    title = views.title_of(sources.past(project), version.id)
    safe = "".join(
        char if char.isascii() and (char.isalnum() or char in "@._-") else "-" for char in title
    )
    return f"{safe}.zip"


def _made(commit: Commit, dataset: str) -> Made:
    return Made(commit=commit.id, dataset=dataset, images=commit.stats.assets)


def _told(sources: Sources, past: Past, moment: Moment) -> VersionAnswer:
    return VersionAnswer(
        commit=moment.id,
        names=[str(name) for name in past.names.get(moment.id, ())],
        tags=sources.findings.tags().get(moment.id, []),
        kind=moment.kind,
        author=moment.author,
        message=moment.message,
        keywords=list(moment.keywords),
        created_at=moment.created_at,
        images=moment.images,
        labelled=moment.labelled,
        boxes=moment.boxes,
        parents=list(moment.parents),
        inputs=list(moment.inputs),
        model=moment.model,
        round=moment.round,
        run=moment.run,
    )
