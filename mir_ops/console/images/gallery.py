"""What is drawn of the images on a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.console.images.indexes import Entries, Indexes, Ints, LayerIndex
from mir_ops.console.images.matching import (
    TRUTH,
    bounded,
    drawable_layers,
    evaluations,
    matching_places,
    score_layer,
    score_layers,
)
from mir_ops.console.images.selecting import Selection
from mir_ops.evaluation.marks import MARK
from mir_ops.store import Version
from mir_ops.store.schema import KINDS

__all__ = ["Selection", "drawable_layers", "matching_assets", "read_cards", "score_layer"]

PAGE_SIZE = 48
MOST_SHAPES = 200  # drawn on one image; the rest is counted

_POLYGON, _MASK = KINDS.index("polygon"), KINDS.index("mask")
Numbers = npt.NDArray[np.int64]


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
    rings: tuple[str, ...] = ()
    mark: str | None = None  # tp, fp or fn, where an evaluation says it and it was asked for

    @property
    def predicted(self) -> bool:
        return self.confidence is not None

    @property
    def label(self) -> str:
        text = self.name if self.confidence is None else f"{self.name} {self.confidence:.2f}"
        return f"{self.mark.upper()} {text}" if self.mark else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Why mining chose an image."""

    rank: int
    score: float
    reason: str
    arm: str | None = None


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
    score: float | None = None  # of the layer that the page is sorted by

    @property
    def squarish(self) -> bool:
        """Nearer to a square than to the usual 4 : 3."""
        return abs(self.width / max(1, self.height) - 1) < 0.15

    @property
    def masked(self) -> bool:
        """Whether something on it is a mask, which is drawn as an image of its own."""
        return any(shape.kind == "mask" for shape in self.shapes)

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
    first: int = 0

    @property
    def last(self) -> int:
        return self.first + len(self.cards) - 1


def read_page(
    indexes: Indexes,
    version: Version,
    selection: Selection,
    matching: Ints,
    *,
    size: int = PAGE_SIZE,
) -> Page:
    """The selected page; a page past the end is the last one."""
    pages = max(1, -(-len(matching) // size))
    number = min(max(1, selection.page), pages)
    places = matching[(number - 1) * size : number * size]
    return Page(
        cards=tuple(cards_at(indexes, version, places, selection)),
        number=number,
        pages=pages,
        total=len(matching),
        first=(number - 1) * size + 1 if len(places) else 0,
    )


def matching_assets(version: Version, selection: Selection) -> pa.Array:
    """Ids of the images that pass the filters, for who looks at the version only once."""
    indexes = Indexes()
    places = matching_places(indexes, version, selection)
    return indexes.assets(version).ids.take(pa.array(places))


def read_cards(version: Version, ids: pa.Array, selection: Selection) -> list[Card]:
    """Cards of these images, in that order, for who looks at the version only once."""
    indexes = Indexes()
    held = indexes.assets(version).ids
    places = pc.index_in(ids, value_set=held).drop_null().to_numpy()
    return cards_at(indexes, version, places, selection)


def cards_at(
    indexes: Indexes, version: Version, places: Ints | Numbers, selection: Selection
) -> list[Card]:
    """Cards of the images at these places, in that order."""
    assets = indexes.assets(version)
    names = dict(zip(version.taxonomy.ids, version.taxonomy.names, strict=True))
    drawn = [
        _Drawn(indexes, version, layer, places, selection, names)
        for layer in selection.layers or ()
    ]
    labelled = indexes.layer(version, TRUTH).covered
    picked = _read_picked(indexes, version, places)
    scores = _read_scores(indexes, version, places, selection)
    at = pa.array(places)
    texts = (
        each.take(at).to_pylist() for each in (assets.names, assets.media_types, assets.splits)
    )
    return [
        Card(
            asset_id=assets.ids[place].as_py().hex(),
            media_type=media_type,
            width=int(assets.width[place]),
            height=int(assets.height[place]),
            byte_size=int(assets.byte_size[place]),
            split=split,
            name=name or assets.ids[place].as_py().hex()[:12],
            labelled=bool(labelled[place]),
            truths=sum(layer.counts[n] for layer in drawn if not layer.predicted),
            predictions=sum(layer.counts[n] for layer in drawn if layer.predicted),
            shapes=tuple(shape for layer in drawn for shape in layer.shapes[n]),
            picked=picked.get(place),
            score=scores.get(place),
        )
        for n, (place, name, media_type, split) in enumerate(
            zip(places.tolist(), *texts, strict=True)
        )
    ]


class _Drawn:
    """The annotations of one layer on one page: of its n-th image `shapes[n]`."""

    def __init__(
        self,
        indexes: Indexes,
        version: Version,
        layer: str,
        places: Ints | Numbers,
        selection: Selection,
        names: dict[int, str],
    ) -> None:
        held = indexes.layer(version, layer)
        self.predicted = held.confidence is not None
        image, row = rows_on(held, places)
        kept = _shown(held, row, selection)
        image, row = image[kept], row[kept]
        self.counts: list[int] = np.bincount(image, minlength=len(places)).tolist()
        image, row = _most_certain(held, image, row)
        rings = _Rings(indexes, version, layer, places, image, row)
        marks = _marks(indexes, version, layer, row, selection)
        self.shapes: list[list[Shape]] = [[] for _ in range(len(places))]
        for n, one in zip(image.tolist(), row.tolist(), strict=True):
            self.shapes[n].append(_shape(held, one, names, rings.of(one), marks.get(one)))


def rows_on(held: LayerIndex, places: Ints | Numbers) -> tuple[Numbers, Numbers]:
    """All rows of the images at these places: which of the images each is on, and the row."""
    lows, highs = held.starts[places].astype(np.int64), held.starts[places + 1].astype(np.int64)
    amounts = highs - lows
    image = np.repeat(np.arange(len(places)), amounts)
    ends = np.cumsum(amounts)
    return image, np.arange(len(image)) + np.repeat(lows - (ends - amounts), amounts)


def _shown(held: LayerIndex, row: Numbers, selection: Selection) -> npt.NDArray[np.bool_]:
    confidence = None if held.confidence is None else held.confidence[row]
    kept = bounded(confidence, held.box[:, row], selection)
    if confidence is None and selection.confidence_to is not None:
        kept[:] = True  # ground truth stays beside the predictions that are asked for
    if selection.class_id is not None:
        kept &= held.classes[row] == selection.class_id
    return kept


def _most_certain(held: LayerIndex, image: Numbers, row: Numbers) -> tuple[Numbers, Numbers]:
    """At most `MOST_SHAPES` rows of each image, the most certain predictions first."""
    doubt = np.zeros(len(row)) if held.confidence is None else -held.confidence[row]
    order = np.lexsort((doubt, image))
    image, row = image[order], row[order]
    near = np.arange(len(image)) - np.searchsorted(image, image) < MOST_SHAPES
    return image[near], row[near]


def _shape(
    held: LayerIndex, row: int, names: dict[int, str], rings: tuple[str, ...], mark: str | None
) -> Shape:
    class_id = int(held.classes[row])
    x, y, w, h = (round(float(value), 2) for value in held.box[:, row])
    return Shape(
        class_id=class_id,
        name=names.get(class_id, f"class {class_id}"),
        confidence=None if held.confidence is None else float(held.confidence[row]),
        kind=KINDS[held.kinds[row]],
        x=x,
        y=y,
        w=w,
        h=h,
        angle=0.0 if held.angle is None else round(float(held.angle[row]), 2),
        rings=rings,
        mark=mark,
    )


class _Rings:
    """The polygons of the rows on a page, read for the images that have some."""

    def __init__(
        self,
        indexes: Indexes,
        version: Version,
        layer: str,
        places: Ints | Numbers,
        image: Numbers,
        row: Numbers,
    ) -> None:
        held = indexes.layer(version, layer)
        self._texts: dict[int, tuple[str, ...]] = {}
        some = np.unique(image[held.kinds[row] == _POLYGON])
        if not len(some):
            return
        chosen = np.sort(places[some])  # rows are read in the order of their images
        ids = indexes.assets(version).ids.take(pa.array(chosen))
        table = version.layer(layer, columns=["asset_id", "polygon"], ids=ids)
        _, every = rows_on(held, chosen)
        wanted = np.isin(every, row)
        polygons = table["polygon"].filter(pa.array(wanted)).to_pylist()
        for one, polygon in zip(every[wanted].tolist(), polygons, strict=True):
            self._texts[one] = tuple(ring_texts(polygon))

    def of(self, row: int) -> tuple[str, ...]:
        return self._texts.get(row, ())


def ring_texts(polygon: list[list[float]] | None) -> Iterator[str]:
    """Rings as the points of SVG polygons."""
    for ring in polygon or ():
        yield " ".join(f"{number:g}" for number in ring)


def _marks(
    indexes: Indexes, version: Version, layer: str, row: Numbers, selection: Selection
) -> dict[int, str]:
    """What an evaluation says of these rows; asked only where the selection goes by it."""
    if selection.mark is None:
        return {}
    if layer != TRUTH:
        return _tagged(indexes.tags(version, layer), row)
    found: dict[int, str] = {}
    for name in evaluations(version, selection):
        missed = row[indexes.missed(version, name)[row]]
        found |= dict.fromkeys(missed.tolist(), "fn")
    return found


def _tagged(tags: Entries, row: Numbers) -> dict[int, str]:
    owner, values = tags.of(MARK)
    first = np.searchsorted(owner, row)
    hit = owner[np.minimum(first, len(owner) - 1)] == row if len(owner) else np.zeros(0, np.bool_)
    texts = values.take(pa.array(first[hit])).to_pylist() if len(owner) else []
    pairs: Sequence[tuple[int, str]] = (
        list(zip(row[hit].tolist(), texts, strict=True)) if texts else []
    )
    return {one: text for one, text in pairs if text in ("tp", "fp")}


def _read_picked(indexes: Indexes, version: Version, places: Ints | Numbers) -> dict[int, Picked]:
    layer = score_layer(version)
    if layer is None:
        return {}
    scores = indexes.scores(version, layer)
    at = scores.place[scores.ranked]
    return {
        int(at[one]): Picked(
            rank=int(scores.rank[scores.ranked[one]]) + 1,
            score=float(scores.score[scores.ranked[one]]),
            reason=scores.reasons[one].as_py() or "",
            arm=str(scores.arms[one]) or None,
        )
        for one in np.flatnonzero(np.isin(at, places)).tolist()
    }


def _read_scores(
    indexes: Indexes, version: Version, places: Ints | Numbers, selection: Selection
) -> dict[int, float]:
    if selection.sort is None or selection.sort not in score_layers(version):
        return {}
    scores = indexes.scores(version, selection.sort)
    at = np.searchsorted(scores.place, places)
    known = scores.place[np.minimum(at, len(scores.place) - 1)] == places
    found = zip(places[known].tolist(), scores.score[at[known]].tolist(), strict=True)
    return dict(found)
