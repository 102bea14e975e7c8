"""How a round begins: by training, with a model that is given, or by a draw without either."""

from __future__ import annotations

from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.rounds.ledger import Entry, new_entry, once
from mir_ops.rounds.place import Place
from mir_ops.rounds.targets import Labelled
from mir_ops.store import Version
from mir_ops.workspace import Workspace

VALIDATION_EVERY: Final = 5  # of drawn images one is for validation, where nothing else is

Start = Literal["train", "given", "draw"]


def check_start(ws: Workspace, place: Place, round_id: int) -> dict[str, Any]:
    """Decide it, now that it is known what came in.

    Without labels and without a model there is nothing to train from: images are drawn, and the
    round trains at its end, on their labels. `validation` says that every fifth of them is kept
    for validation, because no labelled image is.
    """
    commit = ws.catalog.steps.result(round_id, "merge_training")["commit"]
    given = ws.catalog.rounds.get(round_id).spec.model
    inputs = {"training": commit, "model": given}

    def work(_entry: Entry) -> dict[str, Any]:
        version = ws.store.read(commit) if commit else None
        images = Labelled.of(version).images if version else 0
        measured = version is not None and _has_validation(version)
        if given and not measured:
            raise InvalidInputError(
                f"There is nothing to measure model `{given[:12]}` on",
                code="empty-validation-set",
                hint="Name a validation source with annotations in the project",
            )
        start, reason = _decided(given, images)
        return {"start": start, "reason": reason, "validation": start == "draw" and not measured}

    return once(new_entry(ws, place, round_id, "check_start", inputs), work)


def is_draw(ws: Workspace, round_id: int) -> bool:
    """Whether no model looks at images in this round."""
    found = ws.catalog.steps.find(round_id, "check_start")
    return bool(found and found.result and found.result["start"] == "draw")


def splits_of(ws: Workspace, round_id: int, assets: pa.Table) -> pa.Table:
    """What people label is for training, but for the share that a draw keeps for validation."""
    found = ws.catalog.steps.result(round_id, "check_start")
    mined = ws.catalog.steps.result(round_id, "mine")
    split = pa.repeat("train", assets.num_rows)
    if found["validation"]:
        scores = ws.store.read(mined["commit"]).layer(mined["scores"])
        kept = scores.filter(_every_fifth(scores["rank"]))["asset_id"]
        split = pc.if_else(pc.is_in(assets["asset_id"], value_set=kept), "val", "train")
    place = assets.schema.get_field_index("split")
    return assets.set_column(place, assets.schema.field(place), split)


def _decided(given: str | None, images: int) -> tuple[Start, str]:
    if given:
        return "given", f"Model {given} is given: none is trained"
    if images == 0:
        return "draw", "There are neither labels nor a model: images are drawn for people to label"
    return "train", f"{images} labelled images to train on"


def _every_fifth(rank: pa.ChunkedArray) -> pa.ChunkedArray:
    whole = pc.multiply(pc.divide(rank, VALIDATION_EVERY), VALIDATION_EVERY)
    return pc.fill_null(pc.equal(rank, whole), False)


def _has_validation(version: Version) -> bool:
    assets = version.assets(columns=["asset_id", "split"])
    held = assets.filter(pc.fill_null(pc.equal(assets["split"], "val"), False))["asset_id"]
    labelled = version.layer_assets("ground_truth")
    return bool(pc.any(pc.is_in(held, value_set=labelled)).as_py())
