"""Conditions on images: which of them have these classes, attributes, sizes and boxes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.store import rows, schema
from mir_ops.store.lookups import find_classes
from mir_ops.taxonomy import Taxonomy, normalise

if TYPE_CHECKING:
    from mir_ops.store import Version

AnnotationSource = Literal["any", "gt", "pred"]
ClassMatch = Literal["any", "all"]
NO_SPLIT = "none"

Mask = npt.NDArray[np.bool_]

_KINDS = {"ground_truth": "gt", "predictions": "pred"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """From `low` to `high`, both included; None: no limit on that side."""

    low: int | None = None
    high: int | None = None

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise _bad_condition(f"The lower bound {self.low} is above the upper one {self.high}")

    def contain(self, values: npt.NDArray[Any]) -> Mask:
        """For each value: whether it is inside."""
        inside = np.ones(len(values), bool)
        if self.low is not None:
            inside &= values >= self.low
        if self.high is not None:
            inside &= values <= self.high
        return inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What an image must fulfil to be kept: all of these; what is empty or None asks nothing.

    An image needs any (or, with `match` "all", every) one of `include_classes` and none of
    `exclude_classes`, looked up in the ground truth, in the predictions of every model, or in both.
    `boxes` counts the annotations there. An attribute is `key`, or `key=value`. A split is one of
    train, val, test and none. `width` and `height` are pixels of the displayed image.
    """

    include_classes: tuple[str, ...] = ()
    exclude_classes: tuple[str, ...] = ()
    match: ClassMatch = "any"
    annotation_source: AnnotationSource = "any"
    attributes: tuple[str, ...] = ()
    exclude_attributes: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    width: Bounds | None = None
    height: Bounds | None = None
    byte_size: Bounds | None = None
    boxes: Bounds | None = None

    def __post_init__(self) -> None:
        for split in self.splits:
            if split not in (*schema.SPLITS, NO_SPLIT):
                raise _bad_condition(f"No split is called `{split}`")
        for attribute in (*self.attributes, *self.exclude_attributes):
            if not attribute.split("=", 1)[0]:
                raise _bad_condition(f"The attribute `{attribute}` has no name")

    def to_parameters(self) -> dict[str, Any]:
        """What a commit's operation records of them."""
        return asdict(self) | {
            name: list(value) for name, value in asdict(self).items() if isinstance(value, tuple)
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Conditions:
        """The conditions that a commit's operation recorded, also an older one with fewer."""
        known: dict[str, Any] = {}
        for name in cls.__slots__:
            value = parameters.get(name)
            if isinstance(value, list):
                known[name] = tuple(value)
            elif isinstance(value, Mapping):
                known[name] = Bounds(low=value["low"], high=value["high"])
            elif value is not None:
                known[name] = value
        return cls(**known)


def matching_assets(
    version: Version, conditions: Conditions, taxonomy: Taxonomy | None = None
) -> pa.Array:
    """Ids of the images that fulfil the conditions, ascending.

    Classes are named as in the version, or in `taxonomy`: without case, by name or alias. Raises
    InvalidInputError for a class that nobody knows.
    """
    known = version.taxonomy.joined(taxonomy) if taxonomy else version.taxonomy
    ids = version.asset_ids()
    kept = _fitting(version, conditions, len(ids))
    kept &= _with_classes(version, ids, conditions, known)
    if conditions.boxes is not None:
        kept &= conditions.boxes.contain(_box_counts(version, ids, conditions.annotation_source))
    return ids if kept.all() else ids.filter(pa.array(kept))


def class_ids_of(taxonomy: Taxonomy, names: Sequence[str]) -> list[int]:
    """The ids of classes by name or alias; names nobody knows are an error."""
    unknown = [name for name in names if taxonomy.id_of(name) is None]
    if unknown:
        raise _no_such_class(unknown, taxonomy)
    return [found for name in names if (found := taxonomy.id_of(name)) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRows:
    """Rows of a layer by asset: `place` is each asset's among the ids, `starts` its first row."""

    place: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int32]


def layer_rows(version: Version, layer: str, ids: pa.Array) -> LayerRows:
    """The class of every row of a layer, by asset; `ids` are all of the version's."""
    if (found := _from_sidecars(version, layer, ids)) is not None:
        return found
    table = version.layer(layer, columns=["asset_id", "class_id"])
    column = rows.one_array(table["asset_id"])
    starts = rows.run_starts(column)
    return LayerRows(
        place=places_of(column.take(pa.array(starts)), ids),
        starts=starts,
        classes=rows.one_array(table["class_id"]).to_numpy(),
    )


def _from_sidecars(version: Version, layer: str, ids: pa.Array) -> LayerRows | None:
    """The same without reading a row, where every segment has a sidecar."""
    found = find_classes(version.objects, version.table(layer))
    if found is None:
        return None
    keys = rows.prefixes(ids)
    place = np.searchsorted(keys, found.keys)
    inside = np.minimum(place, max(0, len(ids) - 1))
    if (keys[inside] != found.keys).any() or (rows.prefixes(ids, 1)[inside] != found.checks).any():
        return None  # ids that agree in 8 bytes
    return LayerRows(place=inside, starts=found.starts[:-1], classes=found.classes)


def places_of(asset_ids: pa.Array, ids: pa.Array) -> npt.NDArray[np.int64]:
    """Where each asset is among the ids, which hold all of them; often both are the same."""
    if asset_ids.equals(ids):
        return np.arange(len(ids))
    found = pc.index_in(asset_ids, value_set=ids)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)


def _fitting(version: Version, conditions: Conditions, amount: int) -> Mask:
    """Which images have the attributes, the split and the size."""
    bounds = {"width": conditions.width, "height": conditions.height}
    bounds["byte_size"] = conditions.byte_size
    columns = [name for name, bound in bounds.items() if bound is not None]
    columns += ["split"] if conditions.splits else []
    columns += ["attributes"] if conditions.attributes or conditions.exclude_attributes else []
    kept = np.ones(amount, bool)
    if not columns:
        return kept
    table = version.assets(columns=columns)
    for name, bound in bounds.items():
        if bound is not None:
            kept &= bound.contain(table[name].to_numpy())
    if conditions.splits:
        split = table["split"].fill_null(NO_SPLIT)
        kept &= _to_mask(pc.is_in(split, value_set=pa.array(conditions.splits)))
    for attribute in conditions.attributes:
        kept &= _has(table["attributes"], attribute)
    for attribute in conditions.exclude_attributes:
        kept &= ~_has(table["attributes"], attribute)
    return kept


def _has(attributes: pa.ChunkedArray, wanted: str) -> Mask:
    key, equals, value = wanted.partition("=")
    found = pc.map_lookup(rows.one_array(attributes), key, "first")
    held = pc.equal(found, value) if equals else pc.is_valid(found)
    return _to_mask(held.fill_null(False))


def _with_classes(version: Version, ids: pa.Array, conditions: Conditions, known: Taxonomy) -> Mask:
    include = sorted(set(class_ids_of(known, conditions.include_classes)))
    exclude = class_ids_of(known, conditions.exclude_classes)
    kept = np.ones(len(ids), bool)
    if not include and not exclude:
        return kept
    layers = list(_layers(version, ids, conditions.annotation_source))
    if exclude:
        kept &= ~_having(layers, exclude, len(ids))
    if include and conditions.match == "any":
        kept &= _having(layers, include, len(ids))
    elif include:
        for class_id in include:
            kept &= _having(layers, [class_id], len(ids))
    return kept


def _having(layers: Sequence[LayerRows], class_ids: Sequence[int], amount: int) -> Mask:
    """Which images have an annotation of any of these classes in any of the layers."""
    found = np.zeros(amount, bool)
    for layer in layers:
        hit = np.isin(layer.classes, class_ids)
        found[layer.place[np.logical_or.reduceat(hit, layer.starts)]] = True
    return found


def _box_counts(version: Version, ids: pa.Array, source: AnnotationSource) -> npt.NDArray[np.int64]:
    counts = np.zeros(len(ids), np.int64)
    for layer in _layers(version, ids, source):
        counts[layer.place] += np.diff(np.append(layer.starts, len(layer.classes)))
    return counts


def _layers(version: Version, ids: pa.Array, source: AnnotationSource) -> Iterator[LayerRows]:
    for name in version.layers():
        kind = _KINDS.get(schema.layer_kind(name))
        if kind is not None and source in ("any", kind):
            found = layer_rows(version, name, ids)
            if len(found.starts):
                yield found


def _to_mask(values: pa.Array | pa.ChunkedArray) -> Mask:
    return np.asarray(values.to_numpy(zero_copy_only=False), bool)


def _no_such_class(unknown: list[str], taxonomy: Taxonomy) -> InvalidInputError:
    close = difflib.get_close_matches(normalise(unknown[0]), taxonomy.names, n=1)
    known = ", ".join(taxonomy.names[:20]) or "none"
    return InvalidInputError(
        f"No class is called {', '.join(f'`{name}`' for name in unknown)}",
        code="unknown-classes",
        hint=f"Did you mean `{close[0]}`?" if close else f"The classes are: {known}",
    )


def _bad_condition(reason: str) -> InvalidInputError:
    return InvalidInputError(
        reason,
        code="bad-condition",
        hint="Bounds are `MIN:MAX`, attributes `key` or `key=value`, splits train, val, test, none",
    )
