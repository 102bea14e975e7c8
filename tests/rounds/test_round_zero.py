"""A project that has neither labels nor a model starts with a draw from its pool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from round_data import LAST, TASKS, House, Run

from mir_ops.catalog import read_project
from mir_ops.errors import InvalidInputError
from mir_ops.rounds.comparing import compare_rounds
from mir_ops.rounds.continuing import continues
from mir_ops.rounds.record import read_record
from mir_ops.rounds.rerun import rerun_round
from mir_ops.rounds.verifying import verify_rerun

UNTRAINED = ("train", "evaluate", "check_targets")
DRAWN = (*(task for task in TASKS[:-1] if task not in UNTRAINED), *LAST, "close_round")
QUICK = tuple(task for task in TASKS if task != "gate_data")


@dataclass(kw_only=True)
class Bare(House):
    """A house whose project has a pool and classes, no labels."""

    validation: bool = False

    def project(self) -> dict[str, Any]:
        project = super().project()
        sources = project["sources"]
        del sources["training"]
        if not self.validation:
            del sources["validation"]
        return project


def test_round_0_draws_gets_labels_and_trains_and_round_1_goes_on(tmp_path: Path) -> None:
    schedule = {"schedule": {"continuous": True}, "mining": {"strategy": "entropy", "budget": 7}}
    house = Bare(tmp_path, schedule, pool=13)
    first = Run(house, "run-0")
    results = first.all(DRAWN)

    assert results["open_round"]["number"] == 0
    assert results["merge_training"] == {"commit": None, "merged": []}
    assert results["check_start"]["start"] == "draw"
    assert (results["mine"]["picked"], results["mine"]["model_id"]) == (7, None)
    assert first.jobs == ["train_last", "evaluate_last"]
    assert house.ws.store.branch("digits/training").read().stats.splits == {"train": 5, "val": 2}
    assert results["check_end"]["code"] == "first-labels"
    assert results["evaluate_last"]["metrics"]["images"] == 2
    assert continues(house.ws, first.round_id)[0]
    record = read_record(house.ws, results["close_round"]["record"])
    assert record["start"]["reason"].startswith("There are neither labels nor a model")
    assert all(chosen["reason"].startswith("random draw") for chosen in record["chosen"])
    assert results["close_round"]["tag"] == "digits/training@r0"
    assert all(check.same for check in verify_rerun(rerun_round(house.ws, "digits", 0)))

    second = Run(house, "run-1")
    again = second.all(QUICK)
    assert again["open_round"]["number"] == 1
    assert again["train"]["from"] == "round 0"
    assert second.jobs == ["evaluate", "mine"]
    assert again["mine"]["candidates"] == 6
    assert house.ws.store.branch("digits/training").read().stats.splits == {"train": 11, "val": 2}
    assert compare_rounds(house.ws, "digits", 0, 1).data["labelled images"] == (7, 13)

    drawn = Bare(tmp_path / "again", schedule, pool=13)
    other = Run(drawn, "another-run")
    other.all(DRAWN[: DRAWN.index("create_label_task")])
    drawn_again = drawn.ws.store.branch("digits/mined").read().asset_ids()
    assert drawn_again.equals(house.ws.store.read(results["mine"]["commit"]).asset_ids())


def test_with_validation_images_all_drawn_ones_are_for_training(tmp_path: Path) -> None:
    house = Bare(tmp_path, validation=True)
    results = Run(house, "run-0").all(DRAWN[: DRAWN.index("check_end")])

    assert results["open_round"]["number"] == 0
    assert results["check_start"]["validation"] is False
    assert house.ws.store.branch("digits/training").read().stats.splits == {"train": 4, "val": 4}


def test_a_draw_that_nobody_labels_closes_and_is_drawn_again(tmp_path: Path) -> None:
    house = Bare(tmp_path)
    quick = tuple(task for task in DRAWN if task not in ("gate_data", *LAST))
    results = Run(house, "run-0", {"label": False}).all(quick)

    assert results["check_end"]["reason"] == "Nothing is labelled"
    assert (results["close_round"]["training"], results["close_round"]["tag"]) == (None, None)
    again = Run(house, "run-1", {"mine": False}).all(quick)
    assert again["open_round"]["number"] == 1
    assert again["check_start"]["start"] == "draw"
    assert (again["mine"]["strategy"], again["mine"]["picked"]) == ("all", 12)
    assert again["import_labels"]["done"] == 12


def test_training_images_need_something_to_measure_on() -> None:
    sources = {"training": "t", "pool": "p"}
    with pytest.raises(InvalidInputError) as caught:
        read_project({"name": "p", "classes": ["a"], "sources": sources,
                      "executor": {"name": "sample"}})  # fmt: skip
    assert "need `validation` images to measure a model on" in str(caught.value)
