"""The end of a round: its record is kept, and the training version gets its tag."""

from __future__ import annotations

import json
from typing import Any

from mir_ops.catalog.pages import keep_registry, keep_round
from mir_ops.errors import ConflictError
from mir_ops.labeling import LabelBackend
from mir_ops.rounds.labels import close_label_tasks
from mir_ops.rounds.ledger import Entry, new_entry, once
from mir_ops.rounds.place import Place
from mir_ops.rounds.record import write_record
from mir_ops.workspace import Workspace


def close_round(
    ws: Workspace, place: Place, round_id: int, backend: LabelBackend | None = None
) -> dict[str, Any]:
    """Write the round's record, tag its training version, let the next round open.

    The label tool is told that nobody has to label for this round any more, nor for earlier ones.
    """
    training = grown_training(ws, round_id)
    inputs = {"training": training, "steps": _operations(ws, round_id)}

    def work(entry: Entry) -> dict[str, Any]:
        tag = f"{entry.branches.training}@r{entry.round.number}" if training else None
        if tag is not None and training is not None:
            _tag(ws, tag, training)
        record = write_record(entry, training)
        blob = ws.store.put_blob(json.dumps(record, sort_keys=True, allow_nan=False).encode())
        return {
            "round_id": round_id,
            "number": entry.round.number,
            "project": entry.round.project,
            "training": training,
            "tag": tag,
            "record": blob,
            "metrics": record["last"]["metrics"] if record["last"] else record["metrics"],
            "stop": record["stop"],
            "control": record["control"],
            "cost": record["cost"],
            "next": record["next"],
        }

    told = close_label_tasks(ws, round_id, backend) if backend is not None else []
    result = once(new_entry(ws, place, round_id, "close_round", inputs), work)
    ws.catalog.rounds.close(round_id, record=result["record"])
    for changed in (*told, round_id):
        keep_round(ws.catalog, ws.store, changed)
    keep_registry(ws.catalog, ws.store, ws.deployment)
    return result


def grown_training(ws: Workspace, round_id: int) -> str | None:
    """What the next round starts from: with this one's labels, if it came to mining.

    None as long as nothing is labelled.
    """
    checked = ws.catalog.steps.find(round_id, "check_targets")
    stopped = checked is not None and bool((checked.result or {}).get("stop"))
    step = "merge_training" if stopped else "merge_labels"
    commit: str | None = ws.catalog.steps.result(round_id, step)["commit"]
    return commit


def _operations(ws: Workspace, round_id: int) -> dict[str, str]:
    return {
        each.step: each.op_id
        for each in ws.catalog.steps.list(round_id)
        if each.state == "done" and each.step != "close_round"
    }


def _tag(ws: Workspace, tag: str, commit: str) -> None:
    known = ws.store.tags().get(tag)
    if known is None:
        ws.store.create_tag(tag, commit)
    elif known != commit:
        raise ConflictError(
            f"Tag `{tag}` names {known[:12]}, not {commit[:12]}",
            code="tag-taken",
            hint="The round was closed before with other data: trigger a new run",
        )
