"""Small pools: assets named by anything, predictions as rows, picks as a mapping."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mir_ops import mining
from mir_ops.store import schema

Row = tuple[bytes, int, float, dict[int, float] | None]

CLASSES = {0: "cat", 1: "dog"}


def asset(name: object) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def assets(count: int) -> list[bytes]:
    """Sorted, as candidates are."""
    return sorted(asset(number) for number in range(count))


def table_of(ids: Sequence[bytes]) -> pa.Table:
    return pa.table({"asset_id": pa.array(list(ids), schema.ASSET_ID)})


def predicted(rows: Sequence[Row]) -> pa.Table:
    return pa.table(
        {
            "asset_id": pa.array([row[0] for row in rows], schema.ASSET_ID),
            "annotation_id": pa.array(range(len(rows)), pa.uint64()),
            "class_id": pa.array([row[1] for row in rows], pa.int32()),
            "confidence": pa.array([row[2] for row in rows], pa.float32()),
            "class_probs": pa.array(
                [None if row[3] is None else list(row[3].items()) for row in rows],
                schema.PREDICTIONS.field("class_probs").type,
            ),
        }
    )


def embedded(ids: Sequence[bytes], vectors: Any) -> pa.Table:
    matrix = np.asarray(vectors, dtype=np.float32)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
    columns = [pa.array(list(ids), schema.ASSET_ID), flat]
    return pa.table(columns, schema=schema.embeddings(matrix.shape[1]))


def select(
    strategy: str,
    ids: Sequence[bytes],
    rows: Sequence[Row] = (),
    *,
    budget: int = 1,
    seed: int = 7,
    classes: Mapping[int, str] = CLASSES,
    **more: Any,
) -> mining.Selection:
    selection = mining.select(
        strategy,
        assets=more.pop("assets", table_of(ids)),
        predictions=predicted(rows),
        classes=classes,
        budget=budget,
        seed=seed,
        **more,
    )
    assert selection.scores.schema == schema.SCORES
    selection.scores.validate(full=True)
    return selection


def pick(*args: Any, **more: Any) -> dict[bytes, dict[str, Any]]:
    """Every candidate's row, components as a mapping."""
    rows = select(*args, **more).scores.to_pylist()
    return {row["asset_id"]: {**row, "components": dict(row["components"])} for row in rows}


def picked(*args: Any, **more: Any) -> list[bytes]:
    """The picks in the order of their rank."""
    rows = pick(*args, **more)
    chosen = [each for each in rows if rows[each]["rank"] is not None]
    return sorted(chosen, key=lambda each: rows[each]["rank"])
