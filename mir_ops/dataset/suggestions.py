"""What is worth a look in a version: YMIR's three suggestions, and what spoils a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.perceptual import NO_CONTRAST

if TYPE_CHECKING:
    from mir_ops.dataset.histograms import Analysis, LayerAnalysis
    from mir_ops.store import Version

FEW_BOXES: Final = 500
_SMALL_SHARE: Final = 0.1
_TINY: Final = 50  # pixels: about 7 by 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Something worth a look; `code` is stable. `names` and `count` are what it is about."""

    code: str
    text: str
    layer: str = ""
    names: tuple[str, ...] = ()
    count: int = 0


def suggestions(version: Version, analysis: Analysis) -> Iterator[Suggestion]:
    """Of the images first, then of each layer."""
    yield from _of_labels(version)
    yield from _of_splits(version)
    for layer in analysis.layers:
        if layer.boxes:
            yield from _of_layer(layer)


def _of_labels(version: Version) -> Iterator[Suggestion]:
    truth = version.stats.layers.get("ground_truth")
    left = version.stats.assets - truth.assets if truth else 0
    if left:
        text = f"not labelled: {left} of {version.stats.assets} images"
        yield Suggestion(code="unlabelled-images", text=text, count=left)


def _of_splits(version: Version) -> Iterator[Suggestion]:
    splits = version.stats.splits
    without = splits.get("", 0)
    if 0 < without < version.stats.assets:
        text = f"in no split, as others are: {without} of {version.stats.assets} images"
        yield Suggestion(code="images-without-split", text=text, count=without)
    if len([name for name, count in splits.items() if name and count]) < 2:
        return
    table = version.assets(columns=["split", "group_id", "perceptual_hash"])
    if count := _crossing(table, "group_id"):
        text = f"groups of images in more than one split: {count}"
        yield Suggestion(code="groups-cross-splits", text=text, count=count)
    seen = table.filter(pc.not_equal(table["perceptual_hash"], NO_CONTRAST))
    if count := _crossing(seen, "perceptual_hash"):
        text = f"looks that images of more than one split share: {count}"
        yield Suggestion(code="twins-cross-splits", text=text, count=count)


def _crossing(table: pa.Table, column: str) -> int:
    """How many values are on images of more than one split."""
    if table[column].null_count == table.num_rows:
        return 0
    found = table.filter(pc.and_(table[column].is_valid(), table["split"].is_valid()))
    counted = found.group_by(column).aggregate([("split", "count_distinct")])
    return int(pc.sum(pc.greater(counted["split_count_distinct"], 1)).as_py() or 0)


def _of_layer(layer: LayerAnalysis) -> Iterator[Suggestion]:
    few = [one.name for one in layer.classes if one.boxes < FEW_BOXES]
    if few:
        text = f"{layer.name}: fewer than {FEW_BOXES} annotations of {_named(few)}"
        yield Suggestion(code="few-annotations", text=text, layer=layer.name, names=tuple(few))
    most = max(one.boxes for one in layer.classes)
    small = [one.name for one in layer.classes if one.boxes < most * _SMALL_SHARE]
    if small:
        text = f"{layer.name}: less than a tenth of the largest class: {_named(small)}"
        yield Suggestion(code="unbalanced-classes", text=text, layer=layer.name, names=tuple(small))
    yield from _of_density(layer)
    yield from _of_sizes(layer)


def _of_density(layer: LayerAnalysis) -> Iterator[Suggestion]:
    density = layer.histograms[-1]
    images = sum(density.counts)
    rare = [
        label
        for label, count in zip(density.labels, density.counts, strict=True)
        if count < images * _SMALL_SHARE
    ]
    if rare:
        said = _named([f"{label} annotations" for label in rare])
        text = f"{layer.name}: less than a tenth of the images have {said}"
        yield Suggestion(code="rare-density", text=text, layer=layer.name, names=tuple(rare))


def _of_sizes(layer: LayerAnalysis) -> Iterator[Suggestion]:
    sizes = next(each for each in layer.histograms if each.name == "box area")
    pairs = zip(sizes.bounds, sizes.counts, strict=True)
    tiny = sum(count for bound, count in pairs if bound < _TINY)
    if tiny >= layer.boxes * _SMALL_SHARE:
        text = f"{layer.name}: fewer than {_TINY} pixels: {tiny} of {layer.boxes} boxes"
        yield Suggestion(code="tiny-boxes", text=text, layer=layer.name, count=tiny)


def _named(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
