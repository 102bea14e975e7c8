"""Rows of a table in memory: checked, keyed by asset, merged newest first.

Every part of a table carries, for each asset that it names, all of the asset's rows. The column
`row_state` says what a row is: a row, a marker (the asset is covered and has no rows), or a
tombstone (the asset is no longer covered).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.store import schema

ASSETS: Final = "assets"
KEYS: Final = ("asset_id", "annotation_id")
STATE: Final = "row_state"
ROW: Final = 0
MARKER: Final = 1
TOMBSTONE: Final = 2

_SCHEMAS: Final = {
    ASSETS: schema.ASSETS,
    "ground_truth": schema.GROUND_TRUTH,
    "predictions": schema.PREDICTIONS,
    "scores": schema.SCORES,
}
_PIECE: Final = 65_536
_LAYER_KINDS: Final = ("ground_truth", "predictions", "scores", "embeddings")


def as_ids(values: pa.Array | pa.ChunkedArray | Sequence[bytes]) -> pa.Array:
    """Asset ids as one array of 32-byte values."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not isinstance(values, pa.Array):
        values = pa.array(values)
    if pa.types.is_null(values.type) and len(values) == 0:
        return pa.array([], schema.ASSET_ID)
    try:
        ids = values if values.type == schema.ASSET_ID else values.cast(schema.ASSET_ID)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidInputError(
            f"Asset ids are not 32 bytes each: {error}",
            code="invalid-asset-id",
            hint="Pass SHA-256 digests as bytes; `bytes.fromhex` reads the text form",
        ) from None
    if ids.null_count:
        raise InvalidInputError("An asset id is null", code="invalid-asset-id")
    return ids


def schema_of(name: str, like: pa.Schema | None = None) -> pa.Schema:
    """The columns of a table. Embeddings have as many dimensions as the rows put first."""
    kind = name if name == ASSETS else schema.layer_kind(name)
    if kind == "embeddings":
        vector = like.field("vector").type if like and "vector" in like.names else pa.null()
        known = pa.types.is_fixed_size_list(vector)
        return schema.embeddings(vector.list_size if known else 0)
    if kind not in _SCHEMAS:
        raise _bad_layer(name)
    return _SCHEMAS[kind]


def check_layer(name: str) -> None:
    """Refuse a layer whose kind nobody knows."""
    kind, _, rest = name.partition(":")
    if kind not in _LAYER_KINDS or (":" in name and not rest):
        raise _bad_layer(name)


def conform(table: pa.Table, name: str) -> pa.Table:
    """The table with exactly the columns of `name`, sorted by key; nothing silently dropped."""
    wanted = schema_of(name, table.schema)
    if wanted.names[-1] == "vector" and wanted.field("vector").type.list_size == 0:
        raise InvalidInputError(
            f"Layer `{name}` needs a column `vector` of fixed size lists", code="invalid-columns"
        )
    unknown = [column for column in table.column_names if column not in wanted.names]
    if unknown:
        raise InvalidInputError(
            f"Table `{name}` has no column `{unknown[0]}`",
            code="invalid-columns",
            hint=f"Columns are {', '.join(wanted.names)}",
        )
    columns = [_column(table, name, field) for field in wanted]
    conformed = sort(pa.Table.from_arrays(columns, schema=wanted))
    _check_unique(conformed, name)
    return conformed


def with_state(table: pa.Table, state: int) -> pa.Table:
    """The rows of a part, all in one state. Only keys are required: markers have nothing else."""
    column = pa.array(np.full(table.num_rows, state, np.int8))
    fields = [field.with_nullable(field.name != "asset_id") for field in table.schema]
    fields.append(pa.field(STATE, pa.int8(), nullable=False))
    return pa.Table.from_arrays([*table.columns, column], schema=pa.schema(fields))


def markers(ids: pa.Array, wanted: pa.Schema, state: int) -> pa.Table:
    """Rows that have an asset id and a state and nothing else."""
    columns = [
        ids if field.name == "asset_id" else pa.nulls(len(ids), field.type) for field in wanted
    ]
    nullable = pa.schema([field.with_nullable(field.name != "asset_id") for field in wanted])
    return with_state(pa.Table.from_arrays(columns, schema=nullable), state)


def typed(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Rows as read, with the types and the nullability that the schema promises.

    A column that no segment has, because it had no value or came later, is null.
    """
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else _nulls(table.num_rows, field.type)
        for field in wanted
    ]
    return pa.Table.from_arrays(columns, schema=wanted)


def _nulls(count: int, kind: pa.DataType) -> pa.ChunkedArray:
    """So many nulls, in pieces that share their memory."""
    piece = pa.nulls(min(count, _PIECE), kind)
    pieces = [piece] * (count // max(1, len(piece)))
    left = count - sum(map(len, pieces))
    return pa.chunked_array([*pieces, piece.slice(0, left)], kind)


def check_columns(name: str, wanted: pa.Schema, columns: Sequence[str]) -> None:
    """Refuse to read a column that the table does not have."""
    for column in columns:
        if column not in wanted.names:
            raise InvalidInputError(
                f"Table `{name}` has no column `{column}`",
                code="invalid-columns",
                hint=f"Columns are {', '.join(wanted.names)}",
            )


def rows_only(table: pa.Table) -> pa.Table:
    """Drop markers and tombstones."""
    return _filtered(table, pc.equal(table[STATE], ROW))


def covered_only(table: pa.Table) -> pa.Table:
    """Drop tombstones."""
    return _filtered(table, pc.not_equal(table[STATE], TOMBSTONE))


def _filtered(table: pa.Table, kept: pa.ChunkedArray) -> pa.Table:
    """Most tables have nothing to drop: then nothing is copied."""
    return table if pc.all(kept, min_count=0).as_py() else table.filter(kept)


def sort(table: pa.Table) -> pa.Table:
    """By asset id, then annotation id."""
    by = [("asset_id", "ascending")]
    if "annotation_id" in table.column_names:
        by.append(("annotation_id", "ascending"))
    return table if is_sorted(table) else table.sort_by(by)


def is_sorted(table: pa.Table) -> bool:
    """Whether the rows are in the order of their keys already."""
    if table.num_rows < 2:
        return True
    ids = one_array(table["asset_id"])
    first = prefixes(ids)
    if (first[1:] < first[:-1]).any():
        return False
    same = same_as_before(ids)
    tied = np.flatnonzero((first[1:] == first[:-1]) & ~same)
    values = to_numpy(ids)
    if (values[tied + 1] < values[tied]).any():
        return False
    if "annotation_id" not in table.column_names:
        return True
    numbers = one_array(table["annotation_id"]).to_numpy(zero_copy_only=False)
    return not (same & (numbers[1:] < numbers[:-1])).any()


def distinct(table: pa.Table) -> pa.Array:
    """The asset ids of rows sorted by asset id, each once."""
    ids = one_array(table["asset_id"])
    starts = run_starts(ids)
    return ids if len(starts) == len(ids) else ids.take(pa.array(starts))


def run_starts(ids: pa.Array) -> npt.NDArray[np.int64]:
    """Where each run of equal asset ids starts."""
    if len(ids) == 0:
        return np.zeros(0, np.int64)
    changed = np.flatnonzero(~same_as_before(ids)) + 1
    return np.concatenate([np.zeros(1, np.int64), changed])


def same_as_before(ids: pa.Array) -> npt.NDArray[np.bool_]:
    """For each id but the first: whether it equals the one before it."""
    words = _words(ids, "<u8")
    equal: npt.NDArray[np.bool_] = words[1:, 0] == words[:-1, 0]
    for column in range(1, 4):
        equal &= words[1:, column] == words[:-1, column]
    return equal


def prefixes(ids: pa.Array, word: int = 0) -> npt.NDArray[np.uint64]:
    """The first 8 bytes of each id as numbers that sort like the ids, or the 8 bytes at `word`."""
    return _words(ids, ">u8")[:, word].astype(np.uint64)


def _words(ids: pa.Array, kind: str) -> npt.NDArray[np.uint64]:
    return to_numpy(ids).view(kind).reshape(-1, 4)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, copied only where it is in pieces."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def to_numpy(ids: pa.Array) -> npt.NDArray[np.bytes_]:
    """The 32-byte ids as numpy values that compare and sort like the ids."""
    width = ids.type.byte_width
    if len(ids) == 0:
        return np.zeros(0, f"S{width}")
    data = ids.buffers()[1]
    return np.frombuffer(data, f"S{width}", len(ids), ids.offset * width)


def key_of(asset_id: bytes) -> int:
    """The first 8 bytes of an asset id, as a number that sorts like the ids."""
    return int.from_bytes(asset_id[:8], "big")


def is_in(ids: pa.Array, others: pa.Array) -> npt.NDArray[np.bool_]:
    """For each id: whether it is among the others, which are found faster when they ascend."""
    if len(ids) == 0 or len(others) == 0:
        return np.zeros(len(ids), bool)
    if not _ascending(others):
        return np.asarray(pc.is_in(ids, value_set=others).to_numpy(zero_copy_only=False), bool)
    places = np.searchsorted(prefixes(others), prefixes(ids))
    places = np.minimum(places, len(others) - 1)
    found, wanted = _words(others, "<u8"), _words(ids, "<u8")
    equal: npt.NDArray[np.bool_] = found[places, 0] == wanted[:, 0]
    for column in range(1, 4):
        equal &= found[places, column] == wanted[:, column]
    return equal


def only(table: pa.Table, ids: pa.Array) -> pa.Table:
    """The rows of these assets."""
    return table.filter(pa.array(is_in(one_array(table["asset_id"]), ids)))


def without(ids: pa.Array, others: pa.Array) -> pa.Array:
    """The asset ids that are not among the others."""
    return ids.filter(pa.array(~is_in(ids, others))) if len(others) else ids


def common(ids: pa.Array, others: pa.Array) -> pa.Array:
    """The asset ids that are among the others."""
    return ids.filter(pa.array(is_in(ids, others)))


def sorted_unique(parts: Sequence[pa.Array]) -> pa.Array:
    """Asset ids of several arrays, each once, ascending."""
    if not parts:
        return pa.array([], schema.ASSET_ID)
    ids = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
    if _ascending(ids):
        return ids
    ids = pc.unique(ids)
    return ids.take(pc.sort_indices(ids))


def _ascending(ids: pa.Array) -> bool:
    """Whether ids are sorted and each is there once, as far as their first 8 bytes tell."""
    first = prefixes(ids)
    return bool((first[1:] > first[:-1]).all())


def class_counts(table: pa.Table) -> Mapping[int, tuple[int, int]]:
    """Per class id: rows, and assets that have at least one. The table is sorted by asset id."""
    if "class_id" not in table.column_names or table.num_rows == 0:
        return {}
    starts = run_starts(one_array(table["asset_id"]))
    ordinals = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, table.num_rows)))
    encoded = one_array(table["class_id"]).dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    return count_codes(ordinals, codes, encoded.dictionary.to_numpy(zero_copy_only=False))


def count_codes(
    ordinals: npt.NDArray[np.int64], codes: npt.NDArray[Any], classes: npt.NDArray[Any]
) -> Mapping[int, tuple[int, int]]:
    """Per class id: rows, and distinct ordinals; rows have the class at `codes` in `classes`."""
    amount = len(classes)
    rows = np.bincount(codes, minlength=amount)
    pairs = np.sort(ordinals * amount + codes)
    first = np.ones(len(pairs), bool)
    first[1:] = pairs[1:] != pairs[:-1]
    assets = np.bincount(pairs[first] % amount, minlength=amount)
    return {
        int(classes[index]): (int(rows[index]), int(assets[index]))
        for index in np.flatnonzero(rows).tolist()
    }


def split_counts(table: pa.Table) -> Mapping[str, int]:
    """Per split, `""` for none: assets."""
    counted = pc.value_counts(table["split"].combine_chunks())
    return {entry["values"] or "": entry["counts"] for entry in counted.to_pylist()}


def _bad_layer(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"No layer can be called `{name}`",
        code="invalid-layer",
        hint=f"A layer's name starts with one of {', '.join(_LAYER_KINDS)}",
    )


def _column(table: pa.Table, name: str, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        if not field.nullable:
            raise InvalidInputError(
                f"Table `{name}` lacks the column `{field.name}`", code="invalid-columns"
            )
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    column = table[field.name]
    if not field.nullable and column.null_count:
        raise InvalidInputError(
            f"Column `{field.name}` of table `{name}` has {column.null_count} nulls",
            code="invalid-columns",
        )
    try:
        return column if column.type == field.type else column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidInputError(
            f"Column `{field.name}` of table `{name}` is not {field.type}: {error}",
            code="invalid-columns",
        ) from None


def _check_unique(table: pa.Table, name: str) -> None:
    if table.num_rows < 2:
        return
    repeated = same_as_before(one_array(table["asset_id"]))
    if "annotation_id" in table.column_names:
        numbers = table["annotation_id"].to_numpy()
        repeated &= numbers[1:] == numbers[:-1]
    if repeated.any():
        first = table["asset_id"][int(np.argmax(repeated))].as_py().hex()
        raise InvalidInputError(
            f"Table `{name}` has {int(repeated.sum())} repeated keys, the first for asset {first}",
            code="repeated-key",
            hint="One row per asset, or per asset and annotation id",
        )
