"""Columns of a version in memory, so that a page of a million images is found in milliseconds.

An image goes by its place among the version's asset ids, which ascend; rows of a layer are in the
order of their images. Columns are read once for each (segments of a table, purpose), so that
versions which share a table share what is kept of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.console.images.memory import Memory
from mir_ops.evaluation.marks import MISSED
from mir_ops.mining.arms import MINED, RANDOM
from mir_ops.store import Version, rows, segments
from mir_ops.store.schema import ASSET_ID, KINDS

T = TypeVar("T")
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
_BOX: Final = ("x", "y", "w", "h")
_PAIRS: Final = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
_TOO_MANY: Final = ("eval_match", "eval_iou")  # tags with a value of their own on each row


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetIndex:
    """What a tile says of each image."""

    ids: pa.Array
    names: pa.ChunkedArray  # the first name that it came with, or null
    media_types: pa.DictionaryArray
    splits: pa.DictionaryArray
    width: Ints
    height: Ints
    byte_size: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, asset_id: str) -> int | None:
        """The image's place; None where the version does not have it."""
        try:
            wanted = np.bytes_(bytes.fromhex(asset_id))
        except ValueError:
            return None
        held = rows.to_numpy(self.ids)
        place = int(np.searchsorted(held, wanted))
        found = place < len(held) and self.ids[place].as_py().hex() == asset_id
        return place if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerIndex:
    """The rows of a layer: those of the image at place p from `starts[p]` to `starts[p + 1]`.

    `box` has x, y, w, h in pixels, a column a row; `confidence` is None of ground truth.
    """

    starts: Ints
    covered: Flags  # of each image, those without rows included
    classes: Ints
    kinds: npt.NDArray[np.int8]  # positions in `KINDS`
    box: Floats
    angle: Floats | None
    confidence: Floats | None

    def owners(self, hits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The places of the images that these rows are on."""
        return np.searchsorted(self.starts, hits, "right") - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """Keys and values of a column of maps; `owner` is the image or the row that each is of."""

    owner: Ints
    keys: pa.DictionaryArray
    values: pa.DictionaryArray

    def having(self, wanted: str) -> Ints:
        """Owners of `key`, or of `key=value`."""
        key, equals, value = wanted.partition("=")
        hit = self.coded(self.keys, key)
        return self.owner[hit & self.coded(self.values, value) if equals else hit]

    def of(self, key: str) -> tuple[Ints, pa.Array]:
        """Who has the key, and the values there."""
        hit = np.flatnonzero(self.coded(self.keys, key))
        return self.owner[hit], self.values.take(pa.array(hit))

    @staticmethod
    def coded(column: pa.DictionaryArray, text: str) -> Flags:
        code = pc.index(column.dictionary, pa.scalar(text, pa.string())).as_py()
        found: Flags = column.indices.to_numpy() == code
        return found if code >= 0 else np.zeros(len(column), np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreIndex:
    """One layer of scores. `rank` is -1 where an image was scored and not picked."""

    place: Ints
    score: npt.NDArray[np.float64]
    rank: npt.NDArray[np.int64]
    ranked: Ints  # positions of the picked, the first first
    reasons: pa.Array  # of `ranked`
    arms: npt.NDArray[np.str_]  # of `ranked`: mined, random, both, or empty


class Indexes:
    """The columns of versions, kept in a bounded memory."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    def assets(self, version: Version) -> AssetIndex:
        """The version's images, in the order of their ids."""
        return self.kept(version, "assets", "assets", lambda: _assets(version))

    def attributes(self, version: Version) -> Entries:
        """The images' attributes."""
        return self.kept(
            version, "assets", "attributes", lambda: _entries(version, "assets", "attributes")
        )

    def layer(self, version: Version, layer: str) -> LayerIndex:
        """Ground truth, or the predictions of a model."""
        return self.kept(
            version, layer, "boxes", lambda: _layer(version, layer, self._ids(version))
        )

    def tags(self, version: Version, layer: str) -> Entries:
        """The tags of a layer's rows, without those that have another value on each."""
        return self.kept(version, layer, "tags", lambda: _entries(version, layer, "tags"))

    def scores(self, version: Version, layer: str) -> ScoreIndex:
        """One layer of scores."""
        return self.kept(
            version, layer, "scores", lambda: _scores(version, layer, self._ids(version))
        )

    def missed(self, version: Version, scores: str) -> Flags:
        """For each row of ground truth: whether an evaluation found it missed."""
        truth = version.table("ground_truth")
        return self.kept(
            version,
            scores,
            ("missed", *(segment.id for segment in truth.all)),
            lambda: _missed(
                version, scores, self._ids(version), self.layer(version, "ground_truth")
            ),
        )

    def kept(self, version: Version, table: str, what: object, make: Callable[[], T]) -> T:
        """What was made of a table of this version, or of another that has the same rows."""
        names = dict.fromkeys(("assets", table))
        parts = tuple(segment.id for name in names for segment in version.table(name).all)
        return self.memory.get((what, table, parts), make)

    def _ids(self, version: Version) -> pa.Array:
        return self.assets(version).ids


def _partitions(version: Version, table: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Rows of a table in the order of their images, some ten thousand at a time."""
    needed = [*columns, "asset_id", "annotation_id", rows.STATE]
    for part in segments.read_partitions(version.objects, version.table(table), needed):
        yield part.rows


def _assets(version: Version) -> AssetIndex:
    columns = ["source_names", "media_type", "split", "width", "height", "byte_size"]
    parts = [
        {
            **{name: rows.one_array(one[name]) for name in one.column_names},
            "name": _first_names(one),
        }
        for one in map(rows.rows_only, _partitions(version, "assets", columns))
    ]

    def joined(name: str, kind: pa.DataType) -> pa.ChunkedArray:
        return pa.chunked_array([part[name].cast(kind) for part in parts], kind)

    def coded(name: str) -> pa.DictionaryArray:
        return joined(name, pa.string()).combine_chunks().dictionary_encode()

    return AssetIndex(
        ids=joined("asset_id", ASSET_ID).combine_chunks(),
        names=joined("name", pa.string()),
        media_types=coded("media_type"),
        splits=coded("split"),
        width=joined("width", pa.int32()).to_numpy(),
        height=joined("height", pa.int32()).to_numpy(),
        byte_size=joined("byte_size", pa.int64()).to_numpy(),
    )


def _first_names(part: pa.Table) -> pa.Array:
    names = rows.one_array(part["source_names"])
    some = pc.greater(pc.fill_null(pc.list_value_length(names), 0), 0)
    firsts = pc.list_element(names.filter(some), 0)
    return pc.replace_with_mask(pa.nulls(len(names), pa.string()), some, firsts)


def _layer(version: Version, layer: str, ids: pa.Array) -> LayerIndex:
    named, counts, parts = [], [], []
    for part in _partitions(version, layer, ["class_id", "kind", *_BOX, "angle", "confidence"]):
        column = rows.one_array(part["asset_id"])
        starts = rows.run_starts(column)
        row = rows.one_array(part[rows.STATE]).to_numpy() == rows.ROW
        named.append(column.take(pa.array(starts)))
        counts.append(np.add.reduceat(row, starts) if len(starts) else np.zeros(0, np.int64))
        parts.append(_boxes(rows.rows_only(part)))
    places = _places(pa.chunked_array(named, ASSET_ID).combine_chunks(), ids)
    amounts, covered = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.bool_)
    amounts[places] = np.concatenate([np.zeros(0, np.int64), *counts])
    covered[places] = True

    def joined(name: str, kind: Any, *shape: int) -> npt.NDArray[Any]:
        return np.concatenate([np.zeros((*shape, 0), kind), *(one[name] for one in parts)], axis=-1)

    turned = any(one["angle"].any() for one in parts)
    predicted = layer.startswith("predictions")
    return LayerIndex(
        starts=np.concatenate([[0], np.cumsum(amounts)]).astype(np.int32),
        covered=covered,
        classes=joined("class_id", np.int32),
        kinds=joined("kind", np.int8),
        box=joined("box", np.float32, 4),
        angle=joined("angle", np.float32) if turned else None,
        confidence=joined("confidence", np.float32) if predicted else None,
    )


def _boxes(part: pa.Table) -> dict[str, npt.NDArray[Any]]:
    def numbers(name: str) -> npt.NDArray[Any]:
        if name not in part.column_names:
            return np.zeros(part.num_rows, np.float32)
        return np.asarray(rows.one_array(part[name]).fill_null(0))

    kinds = pc.index_in(rows.one_array(part["kind"]), value_set=pa.array(KINDS))
    return {
        "class_id": numbers("class_id"),
        "kind": kinds.fill_null(0).cast(pa.int8()).to_numpy(),
        "box": np.stack([numbers(name) for name in _BOX]).astype(np.float32),
        "angle": numbers("angle"),
        "confidence": numbers("confidence"),
    }


def _places(named: pa.Array, ids: pa.Array) -> npt.NDArray[np.int64]:
    """Where each of these is among all ids."""
    if named.equals(ids):
        return np.arange(len(ids))
    found = pc.index_in(named, value_set=ids)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)


def _entries(version: Version, table: str, column: str) -> Entries:
    owners, keys, values, first = [], [], [], 0
    for part in map(rows.rows_only, _partitions(version, table, [column])):
        if column in part.column_names:
            lists = rows.one_array(part[column]).cast(_PAIRS)
            pairs = lists.flatten()
            key, value = (pc.struct_field(pairs, name) for name in ("key", "value"))
            kept = pc.invert(pc.is_in(key, value_set=pa.array(_TOO_MANY)))
            owner = np.asarray(pc.list_parent_indices(lists).filter(kept)) + first
            owners.append(owner.astype(np.int32))
            keys.append(key.filter(kept).dictionary_encode())
            values.append(value.filter(kept).dictionary_encode())
        first += part.num_rows
    return Entries(
        owner=np.concatenate([np.zeros(0, np.int32), *owners]),
        keys=_coded(keys),
        values=_coded(values),
    )


def _coded(parts: Sequence[pa.DictionaryArray]) -> pa.DictionaryArray:
    kind = pa.dictionary(pa.int32(), pa.string())
    return pa.chunked_array(parts, kind).unify_dictionaries().combine_chunks()


def _scores(version: Version, layer: str, ids: pa.Array) -> ScoreIndex:
    picks = not layer.startswith("scores:evaluation:")
    columns = ["asset_id", "score", "rank", *(["reason", "components"] if picks else [])]
    table = version.layer(layer, columns=columns)
    rank = rows.one_array(table["rank"]).fill_null(-1).to_numpy()
    ranked = np.flatnonzero(rank >= 0)
    ranked = ranked[np.argsort(rank[ranked], kind="stable")]
    chosen = table.take(pa.array(ranked))
    reasons = chosen["reason"] if picks else pa.chunked_array([pa.nulls(len(ranked), pa.string())])
    return ScoreIndex(
        place=_places(rows.one_array(table["asset_id"]), ids).astype(np.int32),
        score=rows.one_array(table["score"]).to_numpy(),
        rank=rank,
        ranked=ranked.astype(np.int32),
        reasons=rows.one_array(reasons),
        arms=_arms(chosen) if picks else np.full(len(ranked), ""),
    )


def _arms(chosen: pa.Table) -> npt.NDArray[np.str_]:
    """Which arms chose each, by the components of its score."""
    components = rows.one_array(chosen["components"])
    mined, drawn = (
        np.asarray(pc.fill_null(pc.map_lookup(components, name, "first"), 0).to_numpy()) > 0
        for name in (MINED, RANDOM)
    )
    return np.select([mined & drawn, mined, drawn], ["both", "mined", "random"], "")


def _missed(version: Version, scores: str, ids: pa.Array, truth: LayerIndex) -> Flags:
    table = version.layer(scores, columns=["asset_id", "components"])
    place = _places(rows.one_array(table["asset_id"]), ids)
    pairs = pa.list_(pa.struct([("key", pa.string()), ("value", pa.float64())]))
    lists = rows.one_array(table["components"]).cast(pairs)
    keys = pc.struct_field(lists.flatten(), "key")
    hit = pc.starts_with(keys, MISSED)
    owner = place[np.asarray(pc.list_parent_indices(lists).filter(hit))]
    missed = pc.utf8_slice_codeunits(keys.filter(hit), len(MISSED)).cast(pa.uint64()).to_numpy()
    numbers = rows.one_array(
        version.layer("ground_truth", columns=["annotation_id"])["annotation_id"]
    )
    images = np.unique(owner)
    amounts = truth.starts[images + 1] - truth.starts[images]
    row = np.repeat(truth.starts[images] - np.cumsum(amounts) + amounts, amounts) + np.arange(
        amounts.sum()
    )
    flags = np.zeros(len(truth.classes), np.bool_)
    flags[row[_among(np.repeat(images, amounts), numbers.to_numpy()[row], owner, missed)]] = True
    return flags


def _among(
    image: npt.NDArray[np.int64],
    number: npt.NDArray[np.uint64],
    images: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.uint64],
) -> Flags:
    """For each (image, number): whether it is among the others."""
    both = np.concatenate([image, images]), np.concatenate([number, numbers])
    order = np.lexsort((np.arange(len(both[0])), both[1], both[0]))
    first, second = order[:-1], order[1:]
    same = (both[0][first] == both[0][second]) & (both[1][first] == both[1][second])
    found = np.zeros(len(image), np.bool_)
    found[first[same & (first < len(image))]] = True
    return found
