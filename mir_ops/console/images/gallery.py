"""Which images of a version a page shows, and what is drawn on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.evaluation.marks import MISTAKES
from mir_ops.store import Version
from mir_ops.store.schema import layer_kind

PAGE_SIZE = 48
MOST_SHAPES = 200  # drawn on one image; the rest is counted
UNASSIGNED = "none"  # in addresses: images of no split

_DRAWN_KINDS = ("ground_truth", "predictions")
_ASSET_COLUMNS = ["asset_id", "media_type", "width", "height", "split", "source_names", "byte_size"]
_SHAPE_COLUMNS = ["asset_id", "class_id", "kind", "x", "y", "w", "h", "angle", "polygon"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What of a version is looked at: the query string of the page."""

    layers: tuple[str, ...] | None = None  # none: the version's own, see `pages`
    class_id: int | None = None
    split: str | None = None
    confidence: float = 0.25
    picked: bool = False
    page: int = 1

    @property
    def filters(self) -> Selection:
        """The same filters on the first page: one key for all pages."""
        return replace(self, page=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One annotation as it is drawn, in pixels of the displayed image."""

    class_id: int
    name: str
    confidence: float | None
    kind: str
    x: float
    y: float
    w: float
    h: float
    angle: float
    rings: tuple[str, ...]

    @property
    def predicted(self) -> bool:
        return self.confidence is not None

    @property
    def label(self) -> str:
        return self.name if self.confidence is None else f"{self.name} {self.confidence:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Why mining chose an image."""

    rank: int
    score: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One image of a page."""

    asset_id: str
    media_type: str
    width: int
    height: int
    byte_size: int
    split: str | None
    name: str
    labelled: bool
    truths: int
    predictions: int
    shapes: tuple[Shape, ...]
    picked: Picked | None = None

    @property
    def squarish(self) -> bool:
        """Nearer to a square than to the usual 4 : 3."""
        return abs(self.width / max(1, self.height) - 1) < 0.15

    @property
    def hidden(self) -> int:
        """Annotations that are not drawn because there are too many."""
        return self.truths + self.predictions - len(self.shapes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of cards and where it stands."""

    cards: tuple[Card, ...]
    number: int
    pages: int
    total: int
    first: int = field(default=0)

    @property
    def last(self) -> int:
        return self.first + len(self.cards) - 1


def drawable_layers(version: Version) -> list[str]:
    """Layers that have something to draw, ground truth first."""
    layers = [name for name in version.layers() if layer_kind(name) in _DRAWN_KINDS]
    return sorted(layers, key=lambda name: (name != "ground_truth", name))


def score_layer(version: Version) -> str | None:
    """The layer that says why images were picked, if the version has one."""
    layers = (name for name in version.layers() if layer_kind(name) == "scores")
    return next((name for name in layers if not name.startswith(MISTAKES)), None)


def matching_assets(version: Version, selection: Selection) -> pa.Array:
    """Ids of the assets that pass the filters: first what mining picked, in its order."""
    picked = _picked_ids(version)
    ids = picked if selection.picked else _in_front(picked, version.asset_ids())
    if selection.split is not None:
        splits = version.assets(columns=["asset_id", "split"])
        split = splits["split"]
        wanted = (
            pc.is_null(split) if selection.split == UNASSIGNED else pc.equal(split, selection.split)
        )
        ids = _keep(ids, splits.filter(wanted)["asset_id"])
    if selection.class_id is not None:
        ids = _keep(ids, _assets_with_class(version, selection))
    return ids


def read_page(
    version: Version, selection: Selection, matching: pa.Array, *, size: int = PAGE_SIZE
) -> Page:
    """The selected page; a page past the end is the last one."""
    pages = max(1, -(-len(matching) // size))
    number = min(max(1, selection.page), pages)
    ids = matching.slice((number - 1) * size, size)
    return Page(
        cards=tuple(read_cards(version, ids, selection)),
        number=number,
        pages=pages,
        total=len(matching),
        first=(number - 1) * size + 1 if len(ids) else 0,
    )


def read_cards(version: Version, ids: pa.Array, selection: Selection) -> list[Card]:
    """Cards of the assets in `ids`, in that order; reads nothing of any other asset."""
    rows = {
        row["asset_id"]: row for row in version.assets(columns=_ASSET_COLUMNS, ids=ids).to_pylist()
    }
    names = dict(zip(version.taxonomy.ids, version.taxonomy.names, strict=True))
    drawn = [_Drawn(version, layer, ids, selection, names) for layer in selection.layers or ()]
    labelled = set(_keep(ids, version.layer_assets("ground_truth")).to_pylist())
    picked = _read_picked(version, ids)
    return [
        _card(rows[asset_id], drawn, labelled=asset_id in labelled, picked=picked.get(asset_id))
        for asset_id in ids.to_pylist()
        if asset_id in rows
    ]


def _card(
    row: dict[str, object], drawn: Sequence[_Drawn], *, labelled: bool, picked: Picked | None
) -> Card:
    asset_id = row["asset_id"]
    assert isinstance(asset_id, bytes)
    names = row["source_names"]
    return Card(
        asset_id=asset_id.hex(),
        media_type=str(row["media_type"]),
        width=_whole(row["width"]),
        height=_whole(row["height"]),
        byte_size=_whole(row["byte_size"]),
        split=None if row["split"] is None else str(row["split"]),
        name=str(names[0]) if isinstance(names, list) and names else asset_id.hex()[:12],
        labelled=labelled,
        truths=sum(layer.counts.get(asset_id, 0) for layer in drawn if not layer.predicted),
        predictions=sum(layer.counts.get(asset_id, 0) for layer in drawn if layer.predicted),
        shapes=tuple(shape for layer in drawn for shape in layer.shapes.get(asset_id, ())),
        picked=picked,
    )


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value


class _Drawn:
    """The annotations of one layer on one page of images."""

    def __init__(
        self,
        version: Version,
        layer: str,
        ids: pa.Array,
        selection: Selection,
        names: dict[int, str],
    ) -> None:
        self.predicted = layer_kind(layer) == "predictions"
        columns = [*_SHAPE_COLUMNS, "confidence"] if self.predicted else _SHAPE_COLUMNS
        table = version.layer(layer, columns=columns, ids=ids)
        if self.predicted:
            table = table.filter(pc.greater_equal(table["confidence"], selection.confidence))
        if selection.class_id is not None:
            table = table.filter(pc.equal(table["class_id"], selection.class_id))
        self.counts: dict[bytes, int] = {
            count["values"]: count["counts"]
            for count in pc.value_counts(table["asset_id"]).to_pylist()
        }
        self.shapes: dict[bytes, list[Shape]] = {}
        for row in _most_certain(table).to_pylist():
            self.shapes.setdefault(row["asset_id"], []).append(_shape(row, names))


def _most_certain(table: pa.Table) -> pa.Table:
    """At most `MOST_SHAPES` rows of each asset, the most certain predictions first."""
    if not table.num_rows:
        return table
    asset = pc.dictionary_encode(table["asset_id"].combine_chunks()).indices.to_numpy()
    doubt = (
        -table["confidence"].to_numpy()
        if "confidence" in table.column_names
        else np.zeros(len(asset))
    )
    order = np.lexsort((doubt, asset))
    place = np.arange(len(asset)) - np.searchsorted(asset[order], asset[order])
    return table.take(pa.array(order[place < MOST_SHAPES]))


def _shape(row: dict[str, object], names: dict[int, str]) -> Shape:
    class_id = _whole(row["class_id"])
    confidence = row.get("confidence")
    return Shape(
        class_id=class_id,
        name=names.get(class_id, f"class {class_id}"),
        confidence=confidence if isinstance(confidence, float) else None,
        kind=str(row["kind"]),
        x=_number(row["x"]),
        y=_number(row["y"]),
        w=_number(row["w"]),
        h=_number(row["h"]),
        angle=_number(row["angle"]),
        rings=tuple(_rings(row["polygon"])),
    )


def _number(value: object) -> float:
    return round(float(value), 2) if isinstance(value, float | int) else 0.0


def _rings(polygon: object) -> Iterator[str]:
    if isinstance(polygon, list):
        yield from (" ".join(f"{number:g}" for number in ring) for ring in polygon)


def _keep(ids: pa.Array, wanted: pa.Array | pa.ChunkedArray) -> pa.Array:
    return ids.filter(pc.is_in(ids, value_set=wanted))


def _in_front(first: pa.Array, ids: pa.Array) -> pa.Array:
    if not len(first):
        return ids
    return pa.concat_arrays([first, ids.filter(pc.invert(pc.is_in(ids, value_set=first)))])


def _assets_with_class(version: Version, selection: Selection) -> pa.Array:
    found = []
    for layer in selection.layers or ("ground_truth",):
        predicted = layer_kind(layer) == "predictions"
        columns = ["asset_id", "class_id", *(["confidence"] if predicted else [])]
        rows = version.layer(layer, columns=columns)
        rows = rows.filter(pc.equal(rows["class_id"], selection.class_id))
        if predicted:
            rows = rows.filter(pc.greater_equal(rows["confidence"], selection.confidence))
        found.append(pc.unique(rows["asset_id"]))
    return pa.concat_arrays(found)


def _picked_ids(version: Version) -> pa.Array:
    layer = score_layer(version)
    if layer is None:
        return pa.array([], pa.binary(32))
    scores = version.layer(layer, columns=["asset_id", "rank"])
    ranked = scores.filter(pc.is_valid(scores["rank"])).sort_by("rank")
    return ranked["asset_id"].combine_chunks()


def _read_picked(version: Version, ids: pa.Array) -> dict[bytes, Picked]:
    layer = score_layer(version)
    if layer is None:
        return {}
    scores = version.layer(layer, columns=["asset_id", "rank", "score", "reason"], ids=ids)
    return {
        row["asset_id"]: Picked(
            rank=row["rank"] + 1, score=row["score"], reason=row["reason"] or ""
        )
        for row in scores.filter(pc.is_valid(scores["rank"])).to_pylist()
    }
