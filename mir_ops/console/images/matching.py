"""Which images of a version pass the filters, in which order."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.console.images.indexes import Flags, Indexes, Ints, ScoreIndex
from mir_ops.console.images.selecting import UNASSIGNED, Selection
from mir_ops.evaluation.marks import MARK, MISTAKES
from mir_ops.evaluation.versions import scores_layer
from mir_ops.store import Version
from mir_ops.store.schema import layer_kind

TRUTH: Final = "ground_truth"
_DRAWN_KINDS: Final = (TRUTH, "predictions")


def drawable_layers(version: Version) -> list[str]:
    """Layers that have something to draw, ground truth first."""
    layers = [name for name in version.layers() if layer_kind(name) in _DRAWN_KINDS]
    return sorted(layers, key=lambda name: (name != TRUTH, name))


def score_layers(version: Version) -> list[str]:
    """Layers by which images can be sorted: those of mining first, then those of evaluations."""
    layers = [name for name in version.layers() if layer_kind(name) == "scores"]
    return sorted(layers, key=lambda name: (name.startswith(MISTAKES), name))


def score_layer(version: Version) -> str | None:
    """The layer that says why images were picked, if the version has one."""
    return next((name for name in score_layers(version) if not name.startswith(MISTAKES)), None)


def evaluated(version: Version, layer: str) -> str | None:
    """The layer with what an evaluation found of these predictions."""
    name = scores_layer(layer)
    return name if version.table(name).all else None


def matching_places(indexes: Indexes, version: Version, selection: Selection) -> Ints:
    """Places of the images that pass the filters, in the order of the selection; kept."""
    chosen = selection.filters
    tables = tuple(
        segment.id for _, table in sorted(version.manifest.tables.items()) for segment in table.all
    )
    return indexes.memory.get(
        ("matching", tables, chosen), lambda: _match(indexes, version, chosen)
    )


def _match(indexes: Indexes, version: Version, selection: Selection) -> Ints:
    kept = np.ones(len(indexes.assets(version)), np.bool_)
    if selection.split is not None:
        kept &= _in_split(indexes, version, selection.split)
    for attribute in selection.attributes:
        kept &= _flags(indexes.attributes(version).having(attribute), len(kept))
    if _asks_boxes(selection):
        kept &= _with_boxes(indexes, version, selection)
    if selection.picked or selection.arm or selection.reason:
        kept &= _picked(indexes, version, selection, len(kept))
    if selection.score_from is not None or selection.score_to is not None:
        kept &= _scored(indexes, version, selection, len(kept))
    return _ordered(indexes, version, selection, kept)


def _in_split(indexes: Indexes, version: Version, split: str) -> Flags:
    splits = indexes.assets(version).splits
    if split == UNASSIGNED:
        return np.asarray(splits.is_null().to_numpy(zero_copy_only=False), np.bool_)
    code = pc.index(splits.dictionary, pa.scalar(split, pa.string())).as_py()
    found: Flags = splits.indices.fill_null(-2).to_numpy() == code
    return found if code >= 0 else np.zeros(len(splits), np.bool_)


def _flags(places: npt.NDArray[np.int64] | Ints, size: int) -> Flags:
    flags = np.zeros(size, np.bool_)
    flags[places] = True
    return flags


def _asks_boxes(selection: Selection) -> bool:
    bounds = (selection.confidence_to, selection.side_from, selection.side_to)
    return (
        selection.class_id is not None
        or bool(selection.tags or selection.mark)
        or any(bound is not None for bound in bounds)
    )


def _with_boxes(indexes: Indexes, version: Version, selection: Selection) -> Flags:
    """Images with a box that passes all filters of boxes, in any of the layers."""
    found = np.zeros(len(indexes.assets(version)), np.bool_)
    for layer in selection.layers or ():
        hits = passing(indexes, version, layer, selection)
        found[indexes.layer(version, layer).owners(np.flatnonzero(hits))] = True
    return found


def passing(indexes: Indexes, version: Version, layer: str, selection: Selection) -> Flags:
    """For each row of a layer: whether it passes the filters of boxes."""
    held = indexes.layer(version, layer)
    hits = bounded(held.confidence, held.box, selection)
    if selection.class_id is not None:
        hits &= held.classes == selection.class_id
    for tag in selection.tags:
        hits &= _flags(indexes.tags(version, layer).having(tag), len(hits))
    if selection.mark is not None:
        hits &= _marked(indexes, version, layer, selection)
    return hits


def bounded(
    confidence: npt.NDArray[np.float32] | None, box: npt.NDArray[np.float32], selection: Selection
) -> Flags:
    hits = np.ones(box.shape[1], np.bool_)
    if confidence is not None:
        hits &= confidence >= np.float32(selection.confidence)
    if selection.confidence_to is not None:
        top = np.float32(selection.confidence_to)
        hits &= False if confidence is None else confidence <= top
    if selection.side_from is not None or selection.side_to is not None:
        area = box[2] * box[3]
        hits &= area >= (selection.side_from or 0.0) ** 2
        hits &= True if selection.side_to is None else area <= selection.side_to**2
    return hits


def _marked(indexes: Indexes, version: Version, layer: str, selection: Selection) -> Flags:
    """Predictions that are right or wrong, or ground truth that a shown model missed."""
    size = len(indexes.layer(version, layer).classes)
    none = np.zeros(size, np.bool_)
    if layer != TRUTH:
        if selection.mark == "fn" or evaluated(version, layer) is None:
            return none
        return _flags(indexes.tags(version, layer).having(f"{MARK}={selection.mark}"), size)
    if selection.mark != "fn":
        return none
    for name in evaluations(version, selection):
        none |= indexes.missed(version, name)
    return none


def evaluations(version: Version, selection: Selection) -> list[str]:
    """What evaluations found of the models that are shown, or of all where none is."""
    shown = [layer for layer in selection.layers or () if layer != TRUTH]
    models = shown or [layer for layer in drawable_layers(version) if layer != TRUTH]
    return [name for layer in models if (name := evaluated(version, layer)) is not None]


def _picked(indexes: Indexes, version: Version, selection: Selection, size: int) -> Flags:
    layer = score_layer(version)
    if layer is None:
        return np.zeros(size, np.bool_)
    scores = indexes.scores(version, layer)
    hits = np.ones(len(scores.ranked), np.bool_)
    if selection.arm is not None:
        hits &= scores.arms == selection.arm
    if selection.reason is not None:
        said = pc.match_substring(scores.reasons, selection.reason, ignore_case=True)
        hits &= np.asarray(pc.fill_null(said, False).to_numpy(zero_copy_only=False), np.bool_)
    return _flags(scores.place[scores.ranked[hits]], size)


def _scored(indexes: Indexes, version: Version, selection: Selection, size: int) -> Flags:
    scores = _sorted_by(indexes, version, selection)
    if scores is None:
        return np.zeros(size, np.bool_)
    hits = np.ones(len(scores.score), np.bool_)
    if selection.score_from is not None:
        hits &= scores.score >= selection.score_from
    if selection.score_to is not None:
        hits &= scores.score <= selection.score_to
    return _flags(scores.place[hits], size)


def _sorted_by(indexes: Indexes, version: Version, selection: Selection) -> ScoreIndex | None:
    """The scores that the selection sorts by; without, those of mining."""
    layer = selection.sort or score_layer(version)
    return indexes.scores(version, layer) if layer in score_layers(version) else None


def _ordered(indexes: Indexes, version: Version, selection: Selection, kept: Flags) -> Ints:
    """By score, or what mining picked first; then the others by their ids."""
    scores = _sorted_by(indexes, version, selection)
    if scores is None:
        return np.flatnonzero(kept).astype(np.int32)
    if selection.sort is None:
        first = scores.place[scores.ranked]
    else:
        order = scores.score if selection.rising else -scores.score
        first = scores.place[np.argsort(order, kind="stable")]
    first = first[kept[first]]
    rest = kept.copy()
    rest[first] = False
    return np.concatenate([first, np.flatnonzero(rest)]).astype(np.int32)
