"""What a version's images and annotations look like: histograms, class balance, suggestions.

The buckets are those of YMIR's analysis page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.conditions import places_of
from mir_ops.dataset.suggestions import Suggestion, suggestions
from mir_ops.store import rows, schema

if TYPE_CHECKING:
    from mir_ops.store import Version
    from mir_ops.taxonomy import Taxonomy

Floats = npt.NDArray[np.float64]

_SHARES: Final = tuple(step / 10 for step in range(10))
_MEGABYTES: Final = tuple(step / 2 for step in range(11))
_PIXELS: Final = (0, 1e5, 5e5, 1e6, 2e6, 4e6, 6e6, 8e6)
_HEIGHT_TO_WIDTH: Final = tuple(step / 10 for step in range(16))
_AREAS: Final = (0, 1, 50, 500, 2500, 5000, 1e4, 5e4, 1e5, 2e5)
_COUNTS: Final = (0, 1, 2, 3, 4, 5, 10, 15, 20, 30, 40, 50, 100)
_DENSITIES: Final = (1, 4, 10)

_QUALITY: Final = "image_quality"
_MOST_VALUES: Final = 20
_OTHERS: Final = "…"
_ENTRIES: Final = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
_KINDS: Final = ("ground_truth", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts by bucket: bucket i is from `bounds[i]` to below the next one, the last one open.

    `unknown` counts what has no value; what is below the first bound is in no bucket. `whole`
    values are counts.
    """

    name: str
    unit: str
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    unknown: int = 0
    whole: bool = False

    @property
    def labels(self) -> list[str]:
        """How people name the buckets."""
        pairs = zip(self.bounds, self.bounds[1:], strict=False)
        if self.whole:
            ends = [f"{a:,.9g}" if b - a == 1 else f"{a:,.9g}–{b - 1:,.9g}" for a, b in pairs]
        else:
            ends = [f"{a:,.9g}–{b:,.9g}" for a, b in pairs]
        return [*ends, f"{self.bounds[-1]:,.9g}+"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """Annotations of a class, images that have one, and pixels of its masks together."""

    name: str
    boxes: int
    images: int
    mask_area: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAnalysis:
    """One layer of annotations. `positive` images have one at least, `negative` are empty."""

    name: str
    boxes: int
    positive: int
    negative: int
    classes: tuple[ClassCount, ...]
    tags: dict[str, int]
    histograms: tuple[Histogram, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What `analyse` found in a version."""

    commit: str
    images: int
    splits: dict[str, int]
    attributes: dict[str, dict[str, int]]
    histograms: tuple[Histogram, ...]
    layers: tuple[LayerAnalysis, ...]
    suggestions: tuple[Suggestion, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def analyse(version: Version) -> Analysis:
    """Histograms of images and of every layer of annotations, and what is out of balance."""
    columns = ["asset_id", "width", "height", "byte_size", "attributes"]
    table = version.assets(columns=columns)
    pixels = _floats(table["width"]) * _floats(table["height"])
    layers = tuple(
        _layer(version, name, table["asset_id"], pixels)
        for name in version.layers()
        if schema.layer_kind(name) in _KINDS
    )
    found = Analysis(
        commit=version.id,
        images=table.num_rows,
        splits={name or "none": count for name, count in version.stats.splits.items()},
        attributes=_value_counts(table["attributes"]),
        histograms=_image_histograms(table, pixels),
        layers=layers,
        suggestions=(),
    )
    return replace(found, suggestions=tuple(suggestions(version, found)))


def _image_histograms(table: pa.Table, pixels: Floats) -> tuple[Histogram, ...]:
    quality = pc.map_lookup(rows.one_array(table["attributes"]), _QUALITY, "first")
    return (
        _histogram("file size", "MB", _MEGABYTES, _floats(table["byte_size"]) / 1e6),
        _histogram("image area", "pixels", _PIXELS, pixels),
        _histogram(
            "height / width", "", _HEIGHT_TO_WIDTH, _floats(table["height"]) / table["width"]
        ),
        _histogram("image quality", "", _SHARES, _numbers(quality)),
    )


def _layer(
    version: Version, name: str, asset_ids: pa.ChunkedArray, pixels: Floats
) -> LayerAnalysis:
    columns = ["asset_id", "class_id", "kind", "w", "h", "area", "quality", "tags"]
    table = version.layer(name, columns=columns)
    ids = rows.one_array(table["asset_id"])
    starts = rows.run_starts(ids)
    each = np.diff(np.append(starts, len(ids)))
    place = places_of(ids.take(pa.array(starts)), rows.one_array(asset_ids))
    of_image = np.repeat(pixels[place], each)
    area = _floats(table["w"]) * _floats(table["h"])
    is_mask = pc.is_in(table["kind"], value_set=pa.array(["polygon", "mask"])).to_numpy()
    masked = _floats(table["area"])[is_mask]
    stats = version.stats.layers[name]
    positive = len(starts)
    per_image = np.concatenate([each, np.zeros(stats.assets - positive, np.int64)])
    ordinals = np.repeat(np.arange(positive), each)
    kinds = _kinds_per_image(ordinals, table["class_id"].to_numpy())
    per_kind = np.concatenate([kinds, np.zeros(stats.assets - positive, np.int64)])
    return LayerAnalysis(
        name=name,
        boxes=len(ids),
        positive=positive,
        negative=stats.assets - positive,
        classes=_class_counts(version, name, table["class_id"].to_numpy()[is_mask], masked),
        tags={key: sum(values.values()) for key, values in _value_counts(table["tags"]).items()},
        histograms=(
            _histogram("annotation quality", "", _SHARES, _floats(table["quality"])),
            _histogram("box area", "pixels", _AREAS, area),
            _histogram("mask area", "pixels", _AREAS, masked),
            _histogram("box area / image area", "", _SHARES, area / of_image),
            _histogram("annotations of an image", "", _COUNTS, per_image),
            _histogram("classes of an image", "", _COUNTS, per_kind),
            _histogram("crowdedness", "annotations", _DENSITIES, each),
        ),
    )


def _kinds_per_image(
    ordinals: npt.NDArray[np.int64], classes: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """How many different classes each image has."""
    if len(ordinals) == 0:
        return np.zeros(0, np.int64)
    low = int(classes.min())
    width = int(classes.max()) - low + 1
    pairs = np.sort(ordinals * width + (classes - low))
    first = np.append(True, pairs[1:] != pairs[:-1])
    return np.bincount(pairs[first] // width)


def _class_counts(
    version: Version, layer: str, masked: npt.NDArray[np.int32], area: Floats
) -> tuple[ClassCount, ...]:
    """Every class that the version knows, those of which there is nothing as well."""
    stats, taxonomy = version.stats.layers[layer], version.taxonomy
    found, inverse = np.unique(masked, return_inverse=True)
    sums = np.bincount(inverse, np.nan_to_num(area), minlength=len(found))
    areas = dict(zip(found.tolist(), sums.tolist(), strict=True))
    return tuple(
        ClassCount(
            name=_name(taxonomy, class_id),
            boxes=stats.classes.get(class_id, 0),
            images=stats.class_assets.get(class_id, 0),
            mask_area=round(areas.get(class_id, 0)),
        )
        for class_id in sorted({*taxonomy.ids, *stats.classes})
    )


def _name(taxonomy: Taxonomy, class_id: int) -> str:
    return taxonomy.name_of(class_id) if class_id in taxonomy.ids else f"#{class_id}"


def _histogram(
    name: str, unit: str, bounds: Sequence[float], values: npt.NDArray[Any]
) -> Histogram:
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    bucket = np.searchsorted(np.array(bounds, float), known, "right")
    counts = np.bincount(bucket, minlength=len(bounds) + 1)[1:]
    return Histogram(
        name=name,
        unit=unit,
        bounds=tuple(bounds),
        counts=tuple(counts.tolist()),
        unknown=len(values) - len(known),
        whole=values.dtype.kind == "i",
    )


def _value_counts(maps: pa.ChunkedArray) -> dict[str, dict[str, int]]:
    """Per key of a map column: how often each value occurs, the most frequent first."""
    if maps.null_count == len(maps):
        return {}
    entries = rows.one_array(maps).cast(_ENTRIES).flatten()
    pairs = pa.table(entries.flatten(), names=["key", "value"])
    counted = pairs.group_by(["key", "value"]).aggregate([([], "count_all")])
    counted = counted.sort_by([("key", "ascending"), ("count_all", "descending")])
    found: dict[str, dict[str, int]] = {}
    for row in counted.to_pylist():
        values = found.setdefault(row["key"], {})
        value = (row["value"] or "") if len(values) < _MOST_VALUES else _OTHERS
        values[value] = values.get(value, 0) + row["count_all"]
    return found


def _numbers(texts: pa.Array) -> Floats:
    """Numbers as texts; NaN for what is none."""
    pattern = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
    clean = pc.if_else(pc.match_substring_regex(texts, pattern), texts, None)
    return _floats(clean.cast(pa.float64()))


def _floats(column: pa.Array | pa.ChunkedArray) -> Floats:
    """NaN for null."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
