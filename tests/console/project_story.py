"""A project with a past: closed rounds with all that they leave, and one that waits for people."""

from __future__ import annotations

import json
from typing import Any

from console_data import HOSTILE, Shown

from mir_ops.catalog import Catalog, Project, Round, apply_project
from mir_ops.store import operation_id

PROJECT: dict[str, Any] = {
    "name": "digits",
    "description": HOSTILE,
    "classes": ["cat", "dog", "bird"],
    "sources": {"training": "/t.zip", "validation": "/v.zip", "pool": "/p.zip"},
    "executor": {"name": "sample"},
    "mining": {"strategy": "random", "budget": 5},
    "stop": {"target": 0.9, "rounds": 5, "labelled_images": 200},
    "labels": {"annotators": ["ann@example.org"]},
    "promote": "production",
    "approve_model": True,
}
MODEL = "0123456789abcdef"
DIFFERENCE = {"mined": 1.5, "random": 0.5, "difference": 1.0, "low": 0.2, "high": 1.8}


def tell_story(
    catalog: Catalog, shown: Shown, *, words: str = HOSTILE, who: str = HOSTILE
) -> Project:
    """Two closed rounds, the second better, and a third that waits for labels."""
    project = apply_project(catalog, {**PROJECT, "description": words})
    for number, map50 in ((1, 0.25), (2, 0.5)):
        turn = open_round(catalog, project, number)
        leave(catalog, turn, **_closed_round(shown, number, map50))
        blob = shown.store.put_blob(json.dumps(_record(shown, turn, map50)).encode())
        catalog.rounds.close(turn.id, record=blob)
    turn = open_round(catalog, project, 3)
    left = _closed_round(shown, 3, 0.6)
    for step in ("train", "evaluate", "check_targets", "mine", "create_label_task"):
        leave(catalog, turn, **{step: left[step]})
    ask_for_labels(catalog, turn, who)
    return project


def open_round(catalog: Catalog, project: Project, number: int) -> Round:
    return catalog.rounds.open(
        project.key,
        deployment="local",
        dag_id=project.dag_id,
        run_id=f"run-{number}",
        spec=project.spec,
        conf={"budget": 4} if number == 2 else {},
    )


def leave(catalog: Catalog, turn: Round, **results: dict[str, Any]) -> None:
    """Steps that are done, with their results."""
    for step, result in results.items():
        op_id = operation_id(step, {"round": turn.id})
        catalog.steps.start(turn.id, step, op_id)
        catalog.steps.finish(turn.id, step, op_id, result)


def ask_for_labels(catalog: Catalog, turn: Round, who: str = HOSTILE) -> str:
    op_id = operation_id("create_label_task", {"round": turn.id})
    catalog.label_tasks.add(
        round_id=turn.id, op_id=op_id, backend="label-studio", external_id="17", requested=5
    )
    catalog.label_tasks.update(
        op_id, done=2, skipped=1, by={who: 3}, page="https://labels.example.org/projects/17"
    )
    catalog.steps.start(turn.id, "wait_for_labels", op_id)
    return op_id


def _closed_round(shown: Shown, number: int, map50: float) -> dict[str, dict[str, Any]]:
    commit = shown.commit.id
    return {
        "open_round": {"training": commit, "said": {}},
        "merge_training": {"commit": commit},
        "train": {"op_id": "t", "model_id": MODEL},
        "evaluate": {"commit": commit, "model_id": MODEL, "metrics": _metrics(map50)},
        "check_targets": {
            "stop": False,
            "reason": f"map50 {map50}, more to mine",
            "labelled": {"images": 40 + number, "boxes": 49 + 10 * number},
        },
        "mine": {"commit": commit, "picked": 5, "scores": "scores:entropy", "mining": commit},
        "create_label_task": {"task": "17", "op_id": "x", "requested": 5},
        "import_labels": {"commit": commit, "done": 4, "answers": _answers(shown)},
        "merge_labels": {"commit": commit},
        "check_end": {
            "last": False,
            "code": None,
            "reason": "Another round may follow",
            "labelled": {"images": 44 + number, "boxes": 60 + 10 * number},
        },
        "close_round": {
            "record": "0" * 64, "control": _control(), "cost": _cost(), "next": _next(),
        },
    }  # fmt: skip


def _metrics(map50: float) -> dict[str, Any]:
    return {
        "map50": map50,
        "map50_95": map50 / 2,
        "confidence": 0.31,
        "mistakes": {
            "counts": {"localisation": 7, "background": 3, "duplicate": 0, "missed": 9},
            "gains": {"localisation": 0.02, "background": 0.01, "duplicate": 0.0, "missed": 0.1},
        },
        "gain": {
            "images": 40, "difference": 0.25, "low": -0.01, "high": 0.5, "level": 0.95,
            "verdict": "cannot tell",
        },
    }  # fmt: skip


def _answers(shown: Shown) -> str:
    said = {"done": [shown.hex(0)], "skipped": [shown.hex(1)]}
    return shown.store.put_blob(json.dumps(said).encode())


def _control() -> dict[str, Any]:
    return {
        "candidates": 900,
        "mined": {"picked": 4, "labelled": 4},
        "random": {"drawn": 1, "also_mined": 0, "labelled": 1},
        "confidence": 0.3,
        "rare_classes": ["bird"],
        "pool": {"precision": {"value": 0.5, "low": 0.4, "high": 0.6}},
        "yields": {
            "misses": {**DIFFERENCE, "verdict": "more"},
            "boxes": {**DIFFERENCE, "low": -0.2, "verdict": "cannot tell yet"},
        },
        "notes": [f"of {HOSTILE} nothing is said"],
    }


def _cost() -> dict[str, Any]:
    used = {"seconds": 1800.0, "cpu_seconds": 3000.0, "gpu_seconds": 900.0}
    return {
        "images": 4,
        "boxes": 9,
        "annotator_seconds": 720.0,
        "executors": {"training": used, "evaluation": used, "mining": used},
        "wall_seconds": 9000.0,
        "stored_bytes": {"rows": 4000, "images": 5_000_000, "models": 60_000_000},
    }


def _next() -> dict[str, Any]:
    said = {"budget": 4, "strategy": "random", "control": 0.1, "pretrained": None}
    rest = {"train_after_merge": False, "seed": 0}
    parameters = {name: {"value": value, "round": None} for name, value in {**said, **rest}.items()}
    return {"parameters": parameters, "training": None, "model": None}


def _record(shown: Shown, turn: Round, map50: float) -> dict[str, Any]:
    return {
        "format": 2,
        "code_version": "1",
        "project": turn.project,
        "round": turn.number,
        "run": {"conf": dict(turn.conf)},
        "spec": turn.spec.to_mapping(),
        "image": {"image": "sample"},
        "training": shown.commit.id,
        "metrics": _metrics(map50),
        "last": None,
        "cost": _cost(),
    }
