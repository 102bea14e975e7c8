"""The images of a version as JSON: those of a selection, one, and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from mir_ops.console.access import ProjectKey, needs
from mir_ops.console.frame import Opened
from mir_ops.console.images import views
from mir_ops.console.images.gallery import PAGE_SIZE, Card, Shape, read_page
from mir_ops.console.images.history import Change
from mir_ops.console.images.matching import matching_places
from mir_ops.console.images.objects import Annotation, read_annotations, read_facts
from mir_ops.console.images.selecting import FromQuery

api = APIRouter(prefix="/projects/{project}/versions/{commit}/images")


class BoxAnswer(BaseModel):
    """An annotation, in pixels of the displayed image; `mark` is tp, fp or fn where it is known."""

    class_id: int
    class_name: str
    kind: str
    x: float
    y: float
    w: float
    h: float
    angle: float
    confidence: float | None
    mark: str | None


class AnnotationAnswer(BoxAnswer):
    """An annotation with everything that is known of it. `flags`: crowd, difficult and so on."""

    layer: str
    annotation_id: int
    area: float
    flags: list[str]
    quality: float | None
    tags: dict[str, str]
    annotator: str | None


class PickAnswer(BaseModel):
    """Why mining chose an image; rank 1 was first."""

    rank: int
    score: float
    reason: str
    arm: str | None


class ImageAnswer(BaseModel):
    """An image, and what of its annotations passes the filters."""

    asset_id: str
    name: str
    media_type: str
    width: int
    height: int
    byte_size: int
    split: str | None
    labelled: bool
    picked: PickAnswer | None
    score: float | None
    truths: int
    predictions: int
    boxes: list[BoxAnswer]


class ImageList(BaseModel):
    """A page of the images that pass the filters; the first page is 1."""

    page: int
    pages: int
    total: int
    images: list[ImageAnswer]


class OneImage(BaseModel):
    """One image of a version, and those before and after it in the selection."""

    asset_id: str
    name: str
    media_type: str
    width: int
    height: int
    byte_size: int
    split: str | None
    attributes: dict[str, str]
    names: list[str]
    annotations: list[AnnotationAnswer]
    number: int | None
    total: int
    previous: str | None
    next: str | None


class LayerChangeAnswer(BaseModel):
    """Boxes by class name; `covered` says whether the layer began or ceased to look at it."""

    layer: str
    covered: bool | None
    added: dict[str, int]
    removed: dict[str, int]
    changed: dict[str, int]


class ChangeAnswer(BaseModel):
    """A version that changed the image; `merged` are others with it, which a merge took."""

    commit: str
    message: str
    author: str
    created_at: datetime
    operation: str
    came: bool
    gone: bool
    facts: list[str]
    layers: list[LayerChangeAnswer]
    merged: list[str]


class HistoryAnswer(BaseModel):
    """Changes in the newest `commits` versions; `before` is the one to ask for older ones."""

    commits: int
    before: str | None
    changes: list[ChangeAnswer]


@api.get("", dependencies=[needs("read")])
def list_images(
    sources: Opened,
    project: ProjectKey,
    commit: str,
    selection: FromQuery,
    size: Annotated[int, Query(ge=1, le=200)] = PAGE_SIZE,
) -> ImageList:
    """Images of a version, by the filters of the console's grid."""
    version = sources.version(project, commit)
    chosen = views.with_layers(version, selection)
    matching = matching_places(sources.indexes, version, chosen)
    page = read_page(sources.indexes, version, chosen, matching, size=size)
    return ImageList(
        page=page.number,
        pages=page.pages,
        total=page.total,
        images=[_image(card) for card in page.cards],
    )


@api.get("/{asset_id}", dependencies=[needs("read")])
def show_one_image(
    sources: Opened, project: ProjectKey, commit: str, asset_id: str, selection: FromQuery
) -> OneImage:
    """One image with all annotations of the chosen layers."""
    version = sources.version(project, commit)
    asset = sources.asset(version, asset_id)
    chosen = views.with_layers(version, selection)
    card = views.card_of(sources, version, asset_id, chosen)
    lookup = sources.lookup(asset_id)
    facts = read_facts(lookup, version)
    found = read_annotations(lookup, version, chosen.layers or ())
    around = views.find_around(sources, version, asset_id, chosen)
    return OneImage(
        asset_id=asset.asset_id,
        name=card.name,
        media_type=card.media_type,
        width=card.width,
        height=card.height,
        byte_size=card.byte_size,
        split=card.split,
        attributes=dict(facts.attributes),
        names=list(facts.source_names),
        annotations=[_annotation(one) for one in found],
        number=around.number,
        total=around.total,
        previous=around.previous,
        next=around.next,
    )


@api.get("/{asset_id}/history", dependencies=[needs("read")])
def show_image_history(
    sources: Opened, project: ProjectKey, commit: str, asset_id: str
) -> HistoryAnswer:
    """The versions that changed an image, the newest first, along first parents."""
    version = sources.version(project, commit)
    sources.asset(version, asset_id)
    found = sources.history(project, version, sources.lookup(asset_id))
    return HistoryAnswer(
        commits=found.commits, before=found.before, changes=[_change(one) for one in found.changes]
    )


def _box(shape: Shape) -> dict[str, object]:
    plain = ("class_id", "kind", "x", "y", "w", "h", "angle", "confidence", "mark")
    return {"class_name": shape.name} | {name: getattr(shape, name) for name in plain}


def _image(card: Card) -> ImageAnswer:
    picked = card.picked
    plain = ("asset_id", "name", "media_type", "width", "height", "byte_size", "split", "labelled")
    return ImageAnswer(
        **{name: getattr(card, name) for name in (*plain, "score", "truths", "predictions")},
        picked=None
        if picked is None
        else PickAnswer(rank=picked.rank, score=picked.score, reason=picked.reason, arm=picked.arm),
        boxes=[BoxAnswer.model_validate(_box(shape)) for shape in card.shapes],
    )


def _annotation(one: Annotation) -> AnnotationAnswer:
    return AnnotationAnswer.model_validate(
        _box(one.shape)
        | {
            "layer": one.layer,
            "annotation_id": one.annotation_id,
            "area": one.area,
            "flags": list(one.flags),
            "quality": one.quality,
            "tags": dict(one.tags),
            "annotator": one.annotator,
        }
    )


def _change(change: Change) -> ChangeAnswer:
    commit = change.commit
    return ChangeAnswer(
        commit=commit.id,
        message=commit.message,
        author=commit.author,
        created_at=commit.created_at,
        operation=commit.operation.kind,
        came=change.came,
        gone=change.gone,
        facts=list(change.facts),
        merged=[one.id for one in change.merged],
        layers=[
            LayerChangeAnswer(
                layer=one.layer,
                covered=one.covered,
                added=dict(one.added),
                removed=dict(one.removed),
                changed=dict(one.changed),
            )
            for one in change.layers
        ],
    )
