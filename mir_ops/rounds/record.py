"""The record of a round: everything that it took, did, cost and left, in one JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pyarrow.compute as pc

from mir_ops import __version__
from mir_ops.catalog import RoundStep
from mir_ops.errors import NotFoundError
from mir_ops.rounds.control import assess_control
from mir_ops.rounds.cost import cost_of
from mir_ops.rounds.executing import image_record
from mir_ops.rounds.labels import read_answers
from mir_ops.rounds.ledger import Entry
from mir_ops.rounds.sticky import next_round
from mir_ops.workspace import Workspace

FORMAT: Final = 2


def write_record(entry: Entry, training: str | None) -> dict[str, Any]:
    """What `mir round show` prints, and what a later run can be checked against."""
    ws, round_ = entry.ws, entry.round
    done = {each.step: each for each in ws.catalog.steps.list(round_.id) if each.state == "done"}
    results = {step: dict(each.result or {}) for step, each in done.items()}
    return {
        "format": FORMAT,
        "code_version": __version__,
        "project": round_.project,
        "round": round_.number,
        "run": {
            "deployment": round_.deployment,
            "dag": round_.dag_id,
            "run": round_.run_id,
            "conf": dict(round_.conf),
        },
        "spec": round_.spec.to_mapping(),
        "seed": round_.spec.seed,
        "image": {**_image(entry, results), "runner": ws.runner},
        "steps": results,
        "seconds": {step: _seconds(each) for step, each in done.items()},
        "training": training,
        "commits": _commits(results, training),
        "start": results.get("check_start"),
        "model": results.get("train"),
        "metrics": results.get("evaluate", {}).get("metrics"),
        "stop": results.get("check_targets"),
        "end": results.get("check_end"),
        "last": _last(results),
        "chosen": chosen_images(ws, results),
        "label_tasks": [
            {"backend": task.backend, "task": task.external_id, "requested": task.requested}
            for task in ws.catalog.label_tasks.list(round_.id)
        ],
        "gates": [
            {"stage": gate.stage, "blocked": gate.blocked, "report": gate.json_blob}
            for gate in ws.catalog.gates.list(round_.id)
        ],
        "control": assess_control(entry),
        "cost": cost_of(entry, results),
        "next": next_round(ws, round_.project),
    }


def read_record(ws: Workspace, record: str | None) -> dict[str, Any]:
    """The record of a closed round, by its blob."""
    if record is None:
        raise NotFoundError(
            "The round has no record yet", code="no-record", hint="It gets one when it closes"
        )
    read: dict[str, Any] = json.loads(ws.store.get_blob(record))
    return read


def _commits(
    results: Mapping[str, Mapping[str, Any]], training: str | None
) -> dict[str, str | None]:
    imported, mined = results.get("import_data", {}), results.get("mine", {})
    return {
        "base": results.get("open_round", {}).get("training"),
        "import/training": imported.get("training"),
        "import/validation": imported.get("validation"),
        "import/pool": imported.get("pool"),
        "import/new_data": imported.get("new_data"),
        "trained_on": results.get("merge_training", {}).get("commit"),
        "evaluation": results.get("evaluate", {}).get("commit"),
        "pool": results.get("prepare_pool", {}).get("commit"),
        "mining": mined.get("mining"),
        "mined": mined.get("commit"),
        "labels": results.get("import_labels", {}).get("commit"),
        "training": training,
    }


def _last(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The model that has seen the round's own labels, if one was trained."""
    if not results.get("check_end", {}).get("last") or "evaluate_last" not in results:
        return None
    return {
        "model": results["train_last"],
        "evaluation": results["evaluate_last"]["commit"],
        "metrics": results["evaluate_last"]["metrics"],
    }


def _image(entry: Entry, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The executor, with the build that trained."""
    trained = results.get("train", results.get("train_last", {})).get("op_id")
    model = entry.ws.catalog.models.find(trained) if trained else None
    return dict(model.image) if model else image_record(entry.round.spec)


def chosen_images(ws: Workspace, results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The picked images in the order of their rank: score, why, and what people did with them."""
    from mir_ops.mining.arms import arm_of

    mined, labelled = results.get("mine", {}), results.get("import_labels", {})
    if not mined.get("commit"):
        return []
    answers = {
        one: name
        for name, ids in read_answers(ws, labelled.get("answers")).items()
        for one in ids.to_pylist()
    }
    scores = ws.store.read(mined["commit"]).layer(mined["scores"])
    picked = scores.filter(pc.is_valid(scores["rank"])).sort_by("rank")
    return [
        {
            "asset": row["asset_id"].hex(),
            "rank": row["rank"],
            "score": row["score"],
            "reason": row["reason"],
            "components": dict(row["components"] or ()),
            "arm": arm_of(dict(row["components"] or ())),
            "nearest": row["nearest"].hex() if row["nearest"] else None,
            "answer": answers.get(row["asset_id"]),
        }
        for row in picked.to_pylist()
    ]


def _seconds(step: RoundStep) -> float | None:
    if step.finished_at is None:
        return None
    return round((step.finished_at - step.started_at).total_seconds(), 3)
