"""What the templates of a version's images are given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from mir_ops.console.images import facets
from mir_ops.console.images.facets import Choice
from mir_ops.console.images.gallery import PAGE_SIZE, Card, Page, cards_at, read_page
from mir_ops.console.images.matching import (
    TRUTH,
    drawable_layers,
    evaluated,
    matching_places,
    score_layer,
)
from mir_ops.console.images.objects import read_annotations, read_facts
from mir_ops.console.images.selecting import Selection
from mir_ops.console.sources import NO_PROJECT, Sources
from mir_ops.store import Version

CONFIDENCES: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)


def with_layers(version: Version, selection: Selection) -> Selection:
    """The layers that were asked for and exist; else ground truth and the version's own model."""
    known = drawable_layers(version)
    if selection.layers is None:
        truth = [name for name in known if name == TRUTH]
        own = f"predictions:{version.commit.operation.parameters.get('model')}"
        models = sorted((name for name in known if name not in truth), key=lambda name: name != own)
        return replace(selection, layers=(*truth, *models[:1]))
    wanted = set(selection.layers)
    return replace(selection, layers=tuple(name for name in known if name in wanted))


def find_page(sources: Sources, version: Version, selection: Selection) -> Page:
    """One page of the images that a selection, its layers known, names."""
    matching = matching_places(sources.indexes, version, selection)
    return read_page(sources.indexes, version, selection, matching)


def grid_page(
    sources: Sources, project: str, version: Version, selection: Selection
) -> dict[str, Any]:
    """The grid with its filters."""
    selection = with_layers(version, selection)
    return {
        **_grid(sources, project, version, selection),
        "layers": _layer_choices(version, selection),
        "classes": facets.class_choices(version, selection),
        "splits": facets.split_choices(version, selection),
        "attributes": facets.attribute_choices(sources.indexes, version, selection),
        "sorts": facets.sort_choices(version, selection),
        "evaluated": any(evaluated(version, name) for name in drawable_layers(version)[1:]),
        "confidences": CONFIDENCES,
        "has_scores": score_layer(version) is not None,
        "clear": "?",
    }


def tags(sources: Sources, version: Version, selection: Selection) -> dict[str, Any]:
    """The tags that boxes have: what the page's module asks for before somebody chooses one."""
    shown = with_layers(version, selection)
    return {"tags": facets.tag_choices(sources.indexes, version, shown)}


def tiles(sources: Sources, project: str, version: Version, selection: Selection) -> dict[str, Any]:
    """One page of the grid alone: what the page's module asks for while scrolling."""
    return _grid(sources, project, version, with_layers(version, selection))


def _grid(sources: Sources, project: str, version: Version, selection: Selection) -> dict[str, Any]:
    page = find_page(sources, version, selection)
    return {
        **_about(project, version),
        "selection": selection,
        "page": page,
        "previous": selection.address(page=page.number - 1) if page.number > 1 else None,
        "next": selection.address(page=page.number + 1) if page.number < page.pages else None,
        "numbers": [
            Choice(text=str(n), address=selection.address(page=n), active=n == page.number)
            for n in _near(page.number, page.pages)
        ],
        "query": selection.address(page=1),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Where an image is among those that are selected; `number` is None where it is not."""

    number: int | None
    total: int
    page: int
    previous: str | None
    next: str | None


def image_page(
    sources: Sources, project: str, version: Version, asset_id: str, selection: Selection
) -> dict[str, Any]:
    """One image with its objects, its history, and the way to the next one."""
    selection = with_layers(version, selection)
    lookup = sources.lookup(asset_id)
    card = card_of(sources, version, asset_id, selection)
    annotations = [
        one
        for one in read_annotations(lookup, version, selection.layers or ())
        if (one.shape.confidence or 1.0) >= selection.confidence
    ]
    around = find_around(sources, version, asset_id, selection)
    return {
        **_about(project, version),
        "card": replace(card, shapes=tuple(one.shape for one in annotations[: len(card.shapes)])),
        "annotations": annotations,
        "facts": read_facts(lookup, version),
        "history": sources.history(project, version, lookup),
        "layers": _layer_choices(version, selection),
        "selection": selection,
        "around": around,
        "query": selection.address(page=1),
        "back": selection.address(page=around.page),
        "confidences": CONFIDENCES,
    }


def card_of(sources: Sources, version: Version, asset_id: str, selection: Selection) -> Card:
    """An image of the version with all that is drawn on it, whatever the filters of boxes."""
    place = np.array([sources.indexes.assets(version).find(asset_id)])
    shown = Selection(layers=selection.layers, confidence=selection.confidence)
    (card,) = cards_at(sources.indexes, version, place, shown)
    return card


def find_around(sources: Sources, version: Version, asset_id: str, selection: Selection) -> Around:
    """The images before and after this one in the selection, whose layers are known."""
    assets = sources.indexes.assets(version)
    matching = matching_places(sources.indexes, version, selection)
    found = np.flatnonzero(matching == assets.find(asset_id))
    if not len(found):
        return Around(number=None, total=len(matching), page=1, previous=None, next=None)
    at = int(found[0])

    def named(index: int) -> str | None:
        inside = 0 <= index < len(matching)
        return assets.ids[int(matching[index])].as_py().hex() if inside else None

    return Around(
        number=at + 1,
        total=len(matching),
        page=at // PAGE_SIZE + 1,
        previous=named(at - 1),
        next=named(at + 1),
    )


def _about(project: str, version: Version) -> dict[str, Any]:
    stats = version.stats
    truth = stats.layers.get(TRUTH)
    return {
        "project": project,
        "commit": version.commit,
        "images": stats.assets,
        "labelled": truth.assets if truth else 0,
        "boxes": truth.rows if truth else 0,
        "class_count": len(version.taxonomy.ids),
        "no_project": NO_PROJECT,
    }


def _near(number: int, pages: int) -> list[int]:
    """First, last, and the pages around this one."""
    return sorted({1, pages, *range(max(1, number - 2), min(pages, number + 2) + 1)})


def _layer_choices(version: Version, selection: Selection) -> list[Choice]:
    return [
        Choice(
            text=name,
            value=name,
            count=version.stats.layers[name].rows if name in version.stats.layers else 0,
            active=name in (selection.layers or ()),
        )
        for name in drawable_layers(version)
    ]
