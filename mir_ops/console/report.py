"""Reports as one HTML file each: images, charts and style inside, nothing loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.console.charts import Bar, bar_chart
from mir_ops.console.images.files import shrink
from mir_ops.console.images.gallery import (
    Card,
    Selection,
    drawable_layers,
    matching_assets,
    read_cards,
)
from mir_ops.console.rendering import render, stylesheet
from mir_ops.console.rounds.charts import progress_chart, verdict
from mir_ops.console.rounds.views import ProjectView, RoundView, find_project
from mir_ops.errors import MirError, NotFoundError
from mir_ops.store import Store, Version

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog

MOST_IMAGES: Final = 24  # of one round
_IMAGE_SIDE: Final = 320
_MOST_BARS: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A card with its image inside."""

    card: Card
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MinedRound:
    """Images that one round picked, with what the model saw and what people said."""

    turn: RoundView
    pictures: tuple[Picture, ...]
    total: int


def write_report(store: Store, catalog: Catalog, project: str, path: Path) -> None:
    """What the project's rounds brought, for a person to open in any browser."""
    found = find_project(catalog, store, project)
    if found is None:
        raise NotFoundError(f"No project named `{project}`", code="no-such-project")
    html = render(
        "report.html",
        style=stylesheet(),
        written_at=datetime.now(UTC),
        project=found,
        chart=progress_chart(found.rounds),
        verdict=verdict(found.rounds),
        classes=_class_chart(store, found),
        mined=[entry for turn in found.rounds if (entry := _mined(store, turn)) is not None],
    )
    write_whole(path, html)


def write_folder_page(
    store: Store,
    version: Version,
    path: Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    images: int = 60,
) -> None:
    """Statistics of one version and its first images with their boxes; `notes` as a list."""
    layers = drawable_layers(version)
    selection = Selection(layers=tuple(layers))
    ids = matching_assets(version, selection)
    # Labelled images first: those are the ones that have something to look at.
    labelled = pc.is_in(ids, value_set=version.layer_assets("ground_truth"))
    shown = pa.concat_arrays([ids.filter(labelled), ids.filter(pc.invert(labelled))])[:images]
    truth = version.stats.layers.get("ground_truth")
    counts = _named(version, truth.classes if truth else {})
    html = render(
        "folder.html",
        style=stylesheet(),
        written_at=datetime.now(UTC),
        title=title,
        notes=notes,
        images=version.stats.assets,
        labelled=truth.assets if truth else 0,
        boxes=truth.rows if truth else 0,
        splits=version.stats.splits,
        class_count=len(counts),
        chart=bar_chart(
            [Bar(label=name, values=(count,)) for name, count in counts.items()][:_MOST_BARS],
            names=("boxes",),
            title=_bars_title("Boxes of each class", len(counts)),
            y_label="boxes",
        ),
        pictures=_pictures(store, read_cards(version, shown, selection)),
        commit=version.commit,
    )
    write_whole(path, html)


def inlined(store: Store, asset_id: str) -> str:
    """A small copy as an address; empty for an image that cannot be drawn, or is lost."""
    try:
        small = shrink(store.get_blob(asset_id), _IMAGE_SIDE)
    except (ValueError, MirError):
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(small).decode()


def write_whole(path: Path, text: str) -> None:
    """The whole file or what was there before."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _class_chart(store: Store, project: ProjectView) -> object:
    """Training boxes of each class: what the first model had, and what there is now."""
    commits = [turn.grown or turn.training for turn in project.rounds]
    first = next((turn.training for turn in project.rounds if turn.training), None)
    last = next((commit for commit in reversed(commits) if commit), None)
    if first is None or last is None:
        return None
    before, after = (_training_boxes(store.read(commit)) for commit in (first, last))
    bars = [Bar(label=name, values=(before.get(name, 0), count)) for name, count in after.items()]
    return bar_chart(
        bars[:_MOST_BARS],
        names=("before the first round", "after the last"),
        title=_bars_title("Boxes of each class in the training set", len(bars)),
        y_label="boxes",
    )


def _bars_title(text: str, count: int) -> str:
    return text if count <= _MOST_BARS else f"{text} (the first {_MOST_BARS} of {count})"


def _training_boxes(version: Version) -> dict[str, int]:
    assets = version.assets(columns=["asset_id", "split"])
    trained = assets.filter(pc.equal(assets["split"], "train"))["asset_id"]
    boxes = version.layer("ground_truth", columns=["asset_id", "class_id"])
    kept = boxes.filter(pc.is_in(boxes["asset_id"], value_set=trained))
    counts = pc.value_counts(kept["class_id"]).to_pylist()
    return _named(version, {entry["values"]: entry["counts"] for entry in counts})


def _named(version: Version, counts: Mapping[int, int]) -> dict[str, int]:
    pairs = zip(version.taxonomy.names, version.taxonomy.ids, strict=True)
    return {name: counts.get(class_id, 0) for name, class_id in pairs}


def _mined(store: Store, turn: RoundView) -> MinedRound | None:
    if turn.mined is None:
        return None
    version = store.read(turn.mined)
    models = [layer for layer in drawable_layers(version) if layer != "ground_truth"]
    own = f"predictions:{turn.model}"
    selection = Selection(layers=(own,) if own in models else tuple(models), picked=True)
    ids = matching_assets(version, selection)
    cards = read_cards(version, ids[:MOST_IMAGES], selection)
    if turn.labels:
        cards = _with_truth(store.read(turn.labels), cards)
    return MinedRound(turn=turn, pictures=tuple(_pictures(store, cards)), total=len(ids))


def _with_truth(labels: Version, cards: Sequence[Card]) -> list[Card]:
    """The same cards with the ground truth that came back for them."""
    ids = pa.array([bytes.fromhex(card.asset_id) for card in cards], pa.binary(32))
    found = read_cards(labels, ids, Selection(layers=("ground_truth",)))
    truth = {card.asset_id: card for card in found}
    return [
        replace(
            card,
            labelled=truth[card.asset_id].labelled,
            truths=truth[card.asset_id].truths,
            shapes=(*truth[card.asset_id].shapes, *card.shapes),
        )
        if card.asset_id in truth
        else card
        for card in cards
    ]


def _pictures(store: Store, cards: Sequence[Card]) -> list[Picture]:
    return [Picture(card=card, source=inlined(store, card.asset_id)) for card in cards]
