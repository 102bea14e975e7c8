"""What the templates of a version and its images are given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa

from mir_ops.console.images.gallery import (
    UNASSIGNED,
    Selection,
    drawable_layers,
    read_cards,
    read_page,
    score_layer,
)
from mir_ops.console.sources import NO_PROJECT, Sources
from mir_ops.store import Version
from mir_ops.store.schema import SPLITS

CONFIDENCES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One value of a filter: where it leads, how much it would show."""

    text: str
    address: str
    count: int | None = None
    boxes: int | None = None
    share: int = 0  # of the largest count, in hundredths
    value: str = ""
    class_id: int | None = None
    active: bool = False


def version_page(
    sources: Sources, project: str, version: Version, selection: Selection
) -> dict[str, Any]:
    selection = _with_layers(version, selection)
    page = read_page(version, selection, sources.matching(version, selection))
    sources.remember(version, page.cards)
    return {
        **_about(project, version),
        "branches": _branches(sources, project, version),
        "origins": sources.origins(project, version),
        "selection": selection,
        "page": page,
        "previous": _address(selection, page=page.number - 1) if page.number > 1 else None,
        "next": _address(selection, page=page.number + 1) if page.number < page.pages else None,
        "numbers": [
            Choice(text=str(n), address=_address(selection, page=n), active=n == page.number)
            for n in _near(page.number, page.pages)
        ],
        "layers": _layer_choices(version, selection),
        "classes": _class_choices(version, selection),
        "splits": _split_choices(version, selection),
        "confidences": CONFIDENCES,
        "has_scores": score_layer(version) is not None,
        "clear": "?",
        "query": _address(selection, page=1),
    }


def image_page(
    project: str, version: Version, asset_id: str, selection: Selection
) -> dict[str, Any]:
    selection = replace(_with_layers(version, selection), class_id=None)
    ids = pa.array([bytes.fromhex(asset_id)], pa.binary(32))
    (card,) = read_cards(version, ids, selection)
    return {
        **_about(project, version),
        "card": card,
        "selection": selection,
        "back": _address(selection),
    }


def _branches(sources: Sources, project: str, version: Version) -> list[str]:
    """Names of the branches whose newest version this is."""
    tips = sources.tips(None if project == NO_PROJECT else project)
    return [name for name, tip in tips if tip.id == version.commit.id]


def _about(project: str, version: Version) -> dict[str, Any]:
    stats = version.stats
    truth = stats.layers.get("ground_truth")
    return {
        "project": project,
        "commit": version.commit,
        "images": stats.assets,
        "labelled": truth.assets if truth else 0,
        "boxes": truth.rows if truth else 0,
        "class_count": len(version.taxonomy.ids),
        "no_project": NO_PROJECT,
    }


def _with_layers(version: Version, selection: Selection) -> Selection:
    """The layers that were asked for and exist; else ground truth and the version's own model."""
    known = drawable_layers(version)
    if selection.layers is None:
        truth = [name for name in known if name == "ground_truth"]
        own = f"predictions:{version.commit.operation.parameters.get('model')}"
        models = sorted((name for name in known if name not in truth), key=lambda name: name != own)
        return replace(selection, layers=(*truth, *models[:1]))
    wanted = set(selection.layers)
    return replace(selection, layers=tuple(name for name in known if name in wanted))


def _address(selection: Selection, **changes: Any) -> str:
    chosen = replace(selection, **changes)
    pairs: list[tuple[str, object]] = [("layer", name) for name in chosen.layers or ("",)]
    if chosen.class_id is not None:
        pairs.append(("class", chosen.class_id))
    if chosen.split:
        pairs.append(("split", chosen.split))
    if chosen.picked:
        pairs.append(("picked", 1))
    pairs.append(("confidence", f"{chosen.confidence:g}"))
    if chosen.page > 1:
        pairs.append(("page", chosen.page))
    return "?" + urlencode(pairs)


def _near(number: int, pages: int) -> list[int]:
    """First, last, and the pages around this one."""
    return sorted({1, pages, *range(max(1, number - 2), min(pages, number + 2) + 1)})


def _layer_choices(version: Version, selection: Selection) -> list[Choice]:
    return [
        Choice(
            text=name,
            address="",
            value=name,
            count=version.stats.layers[name].rows if name in version.stats.layers else 0,
            active=name in (selection.layers or ()),
        )
        for name in drawable_layers(version)
    ]


def _class_choices(version: Version, selection: Selection) -> list[Choice]:
    """Counts come from the commit's statistics, of ground truth or the first layer shown."""
    layers = [name for name in (selection.layers or ()) if name in version.stats.layers]
    stats = version.stats.layers[layers[0]] if layers else None
    images = stats.class_assets if stats else {}
    boxes = stats.classes if stats else {}
    most = max(images.values(), default=0) or 1
    return [
        Choice(
            text=name,
            address=_address(selection, class_id=class_id, page=1),
            class_id=class_id,
            count=images.get(class_id, 0),
            boxes=boxes.get(class_id, 0),
            share=round(100 * images.get(class_id, 0) / most),
            active=class_id == selection.class_id,
        )
        for class_id, name in zip(version.taxonomy.ids, version.taxonomy.names, strict=True)
    ]


def _split_choices(version: Version, selection: Selection) -> list[Choice]:
    counts = version.stats.splits
    names = {**dict.fromkeys(SPLITS), UNASSIGNED: None}
    return [
        Choice(
            text="not assigned" if name == UNASSIGNED else name,
            address=_address(selection, split=name, page=1),
            value=name,
            count=counts.get("" if name == UNASSIGNED else name, 0),
            active=name == selection.split,
        )
        for name in names
        if counts.get("" if name == UNASSIGNED else name, 0)
    ]
