"""The gates: data checks that can stop a round."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from mir_ops.rounds.executing import class_ids
from mir_ops.rounds.importing import to_merge
from mir_ops.rounds.ledger import Entry, new_entry, once
from mir_ops.rounds.opening import opened
from mir_ops.rounds.place import Place
from mir_ops.workspace import Workspace

Stage = Literal["data", "labels"]

_STEPS: Final[Mapping[Stage, str]] = {"data": "gate_data", "labels": "gate_labels"}


def check_gate(ws: Workspace, place: Place, round_id: int, *, stage: Stage) -> dict[str, Any]:
    """Check what came in against the project's rules; `GateFailedError` stops the round.

    The report is kept either way: `catalog.gates` names its blobs.
    """
    from mir_ops.quality import read_rules

    versions = _versions(ws, round_id, stage)
    gates = ws.catalog.rounds.get(round_id).spec.gates
    inputs = {
        "versions": versions,
        "parameters": dict(gates.parameters),
        "rules": read_rules(_rules_dir(gates.rules)).digest,
    }
    entry = new_entry(ws, place, round_id, _STEPS[stage], inputs)
    return once(entry, lambda entry: _check(entry, stage, versions))


def _versions(ws: Workspace, round_id: int, stage: Stage) -> dict[str, str | None]:
    """What is checked: what the round starts from, and what wants to join it.

    Without labels there is nothing to check, and `training` is None.
    """
    if stage == "labels":
        training = ws.catalog.steps.result(round_id, "merge_training")["commit"]
        labels = ws.catalog.steps.result(round_id, "import_labels")["commit"]
        return {
            "training": (training or labels) if labels else None,
            "validation": None,
            "incoming": labels if training else None,
        }
    data, base = ws.catalog.steps.result(round_id, "import_data"), opened(ws, round_id)["training"]
    _, guests = to_merge(ws, round_id)
    fresh = [commit for commit in (data["new_data"], data["training"]) if f"tr:{commit}" in guests]
    return {
        "training": base or data["training"],
        "validation": data["validation"],
        "incoming": next((commit for commit in fresh if base or commit != data["training"]), None),
    }


def _check(entry: Entry, stage: Stage, versions: Mapping[str, str | None]) -> dict[str, Any]:
    from mir_ops.quality import GateFailedError, check

    store, gates = entry.ws.store, entry.round.spec.gates
    if versions["training"] is None:
        return {"blocked": False, "message": "Nothing is labelled", "report": None, "html": None}
    read = {role: store.read(commit) if commit else None for role, commit in versions.items()}
    assert read["training"] is not None
    report = check(
        training=read["training"],
        validation=read["validation"],
        incoming=read["incoming"],
        rules_dir=Path(gates.rules) if gates.rules else None,
        parameters=gates.parameters,
        classes={id_: name for name, id_ in class_ids(entry).items()},
        own_splits=stage == "labels",
    )
    blobs = store.put_blobs([report.to_json().encode(), report.to_html().encode()])
    entry.ws.catalog.gates.add(
        round_id=entry.round.id,
        stage=stage,
        op_id=entry.op_id,
        blocked=report.blocked,
        message=report.message(),
        json_blob=blobs[0],
        html_blob=blobs[1],
    )
    if report.blocked:
        raise GateFailedError(
            report.message(),
            code="gate-failed",
            hint="Correct the data or the rules, then clear this task; the full report is kept",
        )
    return {
        "blocked": False,
        "message": report.message(),
        "report": blobs[0],
        "html": blobs[1],
    }


def _rules_dir(rules: str | None) -> Path:
    from mir_ops.quality import default_rules_dir

    return Path(rules) if rules else default_rules_dir()
