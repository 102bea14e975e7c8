"""Collecting embeddings: `/out/embeddings.parquet`, a vector for each candidate, hostile as all."""

from __future__ import annotations

from typing import Final, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mir_ops.executor.failures import ExecutorOutputError
from mir_ops.executor.files import printable, read_bounded
from mir_ops.executor.jobs import Job
from mir_ops.store import schema

_FILE: Final = "embeddings.parquet"
_LARGEST: Final = 4 << 30
_SPARE: Final = 1 << 20
_LONGEST: Final = 16_384


def collect_embeddings(job: Job) -> pa.Table | None:
    """`asset_id` and `vector` of float32, sorted by id; None where the executor wrote none.

    The file's columns are `asset`, the candidate's name, and `vector`, a list of numbers that is
    as long in each row.
    """
    candidates = pq.read_table(job.candidates_path, columns=["asset_id", "name"])
    limit = min(_LARGEST, _SPARE + candidates.num_rows * _LONGEST * 8)
    raw = read_bounded(job.outputs / _FILE, limit=limit, root=job.outputs)
    if raw is None:
        return None
    table = _read(raw, candidates.num_rows, limit)
    vectors = table["vector"].combine_chunks()
    sizes = np.diff(np.asarray(vectors.offsets))
    if len(sizes) == 0 or vectors.null_count or not (sizes == sizes[0]).all() or not sizes[0]:
        _refuse("has vectors of different lengths, or none")
    if sizes[0] > _LONGEST:
        _refuse(f"has vectors of {sizes[0]} numbers, the bound is {_LONGEST}")
    flat = vectors.flatten()
    if flat.null_count or not np.isfinite(flat.to_numpy()).all():
        _refuse("has a number that is not finite")
    return _by_asset(table["asset"].to_pylist(), flat, int(sizes[0]), candidates)


def _read(raw: bytes, most: int, limit: int) -> pa.Table:
    """The two columns, once the file's own account of itself keeps the bounds."""
    try:
        file = pq.ParquetFile(pa.BufferReader(raw))
        rows = file.metadata.num_rows
        size = sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups))
        if rows > most or size > limit:
            _refuse(f"has {rows} rows of {size} bytes for {most} candidates")
        table = file.read(columns=["asset", "vector"])
        return table.cast(pa.schema([("asset", pa.string()), ("vector", pa.list_(pa.float32()))]))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        _refuse(f"cannot be read: {printable(str(error))}")


def _by_asset(names: list[str], flat: pa.Array, size: int, candidates: pa.Table) -> pa.Table:
    numbers = {name: number for number, name in enumerate(candidates["name"].to_pylist())}
    owners = [numbers.get(name) for name in names]
    for name, owner in zip(names, owners, strict=True):
        if owner is None:
            _refuse(f"`{printable(str(name))}` was not a candidate")
    if len(set(owners)) != len(owners):
        _refuse("names a candidate twice")
    vectors = pa.FixedSizeListArray.from_arrays(flat, size)
    ids = candidates["asset_id"].combine_chunks().take(pa.array(owners, pa.int64()))
    table = pa.table([ids, vectors], schema=schema.embeddings(size))
    return table.sort_by("asset_id")


def _refuse(rule: str) -> NoReturn:
    raise ExecutorOutputError(
        f"Output `{_FILE}` {rule}",
        hint="The executor breaks the contract: report it to the author of its image",
    )
