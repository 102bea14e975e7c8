"""A project does not end with labels that no model has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from round_data import LAST, TASKS, House, Run

from mir_ops.catalog import read_project
from mir_ops.console.rounds.views import find_project
from mir_ops.rounds.record import read_record
from mir_ops.rounds.targets import Labelled, decide_end

SPEC = {
    "name": "p",
    "classes": ["a"],
    "sources": {"training": "t", "validation": "v", "pool": "p"},
    "executor": {"name": "sample"},
}
BEFORE_END = tuple(task for task in TASKS[: TASKS.index("check_end")] if "gate" not in task)


def played(root: Path, settings: dict[str, Any], conf: dict[str, Any] | None = None) -> Run:
    run = Run(House(root, settings), "run-1", conf or {})
    run.all(BEFORE_END)
    return run


def test_the_last_round_ends_with_a_model_of_its_own_labels(tmp_path: Path) -> None:
    run = played(tmp_path, {"stop": {"rounds": 1}})
    end = run.task("check_end")
    trained, evaluated = (run.task(task) for task in LAST)
    closed = run.task("close_round")

    assert end == {
        "last": True, "code": "rounds", "reason": "All 1 rounds are done",
        "labelled": {"images": 10, "boxes": 20},
    }  # fmt: skip
    models = run.ws.catalog.models.list("digits")
    assert [model.op_id for model in models][1] == trained["op_id"]
    assert models[1].training == closed["training"]
    assert run.ws.store.read(models[1].training).stats.splits == {"train": 10, "val": 4}
    assert evaluated["metrics"]["gain"]["before"] == models[0].model_id
    assert closed["metrics"] == evaluated["metrics"]
    record = read_record(run.ws, closed["record"])
    assert record["last"]["model"]["model_id"] == models[1].model_id
    assert record["model"]["model_id"] == models[0].model_id
    view = find_project(run.ws.catalog, run.ws.store, "digits")
    assert view is not None
    assert view.rounds[0].model == models[0].model_id
    assert view.notes[-1].startswith("With the labels of this round, a last model")
    assert view.rounds[0].cost_lines[0] == "People: 4 images, 8 boxes, 0 seconds."

    again = Run(run.house, "run-1")
    again.round_id = run.round_id
    assert again.all(("check_end", *LAST)) == {
        "check_end": end,
        "train_last": trained,
        "evaluate_last": evaluated,
    }
    assert again.jobs == []


@pytest.mark.parametrize(
    ("settings", "candidates", "code"),
    [
        ({}, 5, None),
        ({}, 0, "empty-pool"),
        ({"stop": {"rounds": 3}}, 5, "rounds"),
        ({"stop": {"rounds": 4}}, 5, None),
        ({"stop": {"labelled_images": 50}}, 5, "labelled-images"),
        ({"stop": {"labelled_boxes": 120}}, 5, "labelled-boxes"),
        ({"stop": {"labelled_boxes": 121}}, 5, None),
        ({"stop": {"target": 0.1}}, 5, None),
        ({"train_after_merge": True}, 5, "train-after-merge"),
    ],
)
def test_a_last_model_is_trained_where_no_round_follows_or_one_is_asked_for(
    settings: dict[str, Any], candidates: int, code: str | None
) -> None:
    labelled = Labelled(images=50, boxes=120)
    spec = read_project({**SPEC, **settings})
    found, reason = decide_end(spec, number=3, labelled=labelled, candidates=candidates)

    assert found == code
    assert reason


def test_a_run_may_ask_for_it(tmp_path: Path) -> None:
    mining = {"strategy": "random", "budget": 4, "exclude": "none"}
    run = played(tmp_path, {"mining": mining}, {"train_after_merge": True})

    assert run.task("check_end")["code"] == "train-after-merge"


def test_without_new_labels_there_is_nothing_to_learn(tmp_path: Path) -> None:
    house = House(tmp_path, {"mining": {"budget": 4, "exclude": "chunk"}, "stop": {"rounds": 1}})
    run = Run(house, "run-1")
    run.all(BEFORE_END[: BEFORE_END.index("create_label_task")])
    labels = {"commit": None, "done": 0, "skipped": 0, "boxes": 0, "seconds": 0.0, "issues": {}}
    run.ws.catalog.steps.start(run.round_id, "import_labels", "0" * 64)
    run.ws.catalog.steps.finish(run.round_id, "import_labels", "0" * 64, labels)

    assert run.all(("merge_labels", "check_end"))["check_end"] == {
        "last": False,
        "code": None,
        "reason": "The model has seen all labels",
    }
