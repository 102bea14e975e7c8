"""Which images of the pool a round may pick from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.evaluation.frozen import frozen_images
from mir_ops.rounds.opening import earlier_rounds, frozen_at_opening, opened
from mir_ops.store import Version
from mir_ops.workspace import Workspace


def candidate_ids(ws: Workspace, round_id: int) -> pa.Array:
    """The pool without what the project's rule excludes, sorted: as it was when the round opened.

    `dedup`: neither what is in the training version nor what was labelled. `chunk`: also nothing
    that an earlier round scored. `none`: only validation images are kept out. No rule lets an
    image of a frozen test set in: labelled, it would be for a training that must not read it.
    """
    data, store = ws.catalog.steps.result(round_id, "import_data"), ws.store
    training = ws.catalog.steps.result(round_id, "merge_training")["commit"]
    rule = ws.catalog.rounds.get(round_id).spec.mining.exclude
    excluded = [frozen_images(store, frozen_at_opening(ws, round_id).values())]
    if data["validation"]:
        excluded.append(store.read(data["validation"]).asset_ids())
    if training and rule == "none":
        excluded.append(_validation(store.read(training)))
    if training and rule != "none":
        excluded.append(store.read(training).asset_ids())
        if (labels := opened(ws, round_id)["labels"]) is not None:
            excluded.append(store.read(labels).asset_ids())
    if rule == "chunk":
        excluded += _scored_before(ws, round_id)
    pool = without(store.read(data["pool"]).asset_ids(), excluded)
    return pool.take(pc.sort_indices(pool))


def _validation(version: Version) -> pa.Array:
    assets = version.assets(columns=["asset_id", "split"])
    held = pc.fill_null(pc.equal(assets["split"], "val"), False)
    return assets.filter(held)["asset_id"].combine_chunks()


def _scored_before(ws: Workspace, round_id: int) -> list[pa.Array]:
    found = []
    for earlier in earlier_rounds(ws, ws.catalog.rounds.get(round_id)):
        step = ws.catalog.steps.find(earlier.id, "mine")
        if step is not None and step.result is not None and step.result["mining"] is not None:
            version = ws.store.read(step.result["mining"])
            found.append(version.layer_assets(step.result["scores"]))
    return found


def without(ids: pa.Array, excluded: Sequence[pa.Array]) -> pa.Array:
    """The ids that none of the others has."""
    for others in excluded:
        ids = ids.filter(pc.invert(pc.is_in(ids, value_set=others)))
    return ids


def content(ids: pa.Array) -> bytes:
    """These ids, one after the other."""
    width = ids.type.byte_width
    return bytes(memoryview(ids.buffers()[1])[ids.offset * width : (ids.offset + len(ids)) * width])


def digest(ids: pa.Array) -> str:
    """Of these ids in this order."""
    return hashlib.sha256(content(ids)).hexdigest()
