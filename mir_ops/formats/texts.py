"""Text of many rows at once: columns in, one text for each row or image out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Part: TypeAlias = "str | pa.Array"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedImages:
    """Images on their way out, and the objects on them, ordered by image.

    `assets` are rows of the table of assets, `objects` of a layer, those of image i from
    `starts[i]` on. `file_names` are relative to the folder of images.
    """

    assets: pa.Table
    file_names: pa.Array
    objects: pa.Table
    starts: Ints
    class_names: pa.Array  # of each object

    @property
    def owners(self) -> Ints:
        """For each object the image that it is on."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def joined_texts(*parts: Part) -> pa.Array:
    """The parts of each row, one after the other; texts that are not columns are for all rows."""
    return pc.binary_join_element_wise(*parts, "")


def by_image(texts: pa.Array, starts: Ints, between: str = "") -> pa.Array:
    """The texts of each image's objects, joined."""
    lists = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), texts)
    return pc.binary_join(lists, between)


def decimals(values: Any) -> pa.Array:
    """Numbers as the shortest text that reads as the same; whole ones without a point."""
    return pc.cast(pa.array(np.asarray(values, np.float64) + 0.0), pa.string())


def shortest(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Numbers of a column as the shortest text that reads as the same float32; 0 for null."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pc.cast(pc.fill_null(values, 0), pa.string())


def polygon_texts(column: pa.ChunkedArray) -> pa.Array:
    """Polygons as JSON; `[]` for null."""
    polygons = column.combine_chunks()
    rings = polygons.flatten()
    points = by_image(shortest(rings.flatten()), _starts(rings), ", ")
    return joined_texts("[", by_image(joined_texts("[", points, "]"), _starts(polygons), ", "), "]")


def _starts(lists: pa.Array) -> Ints:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]).astype(np.int64)


def whole(values: Any) -> pa.Array:
    column = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else pa.array(values)
    return pc.cast(column, pa.string())


def where(chosen: pa.Array, text: Part, otherwise: Part = "") -> pa.Array:
    return pc.if_else(chosen, text, otherwise)


def of_stated(column: pa.ChunkedArray, before: str, texts: Callable[[], Part], after: str) -> Part:
    """`before`, text, `after` in the rows that state a value, nothing in the others."""
    if column.null_count == len(column):
        return ""
    stated = column.combine_chunks().is_valid()
    return where(stated, joined_texts(before, pc.fill_null(texts(), ""), after))


def of_unique(column: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """Each text changed, distinct ones once."""
    encoded = column.dictionary_encode()
    changed = pa.array([change(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return changed.take(encoded.indices)


def of_maps(column: pa.ChunkedArray, write: Callable[[list[tuple[str, str]]], str]) -> Part:
    """Text of the maps of the rows that have one."""
    if column.null_count == len(column):
        return ""
    return pa.array([write(pairs) if pairs else "" for pairs in column.to_pylist()], pa.string())


def floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """A column of numbers with 0 for null."""
    return np.asarray(pc.fill_null(column, 0).to_numpy(), np.float64)
