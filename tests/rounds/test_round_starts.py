"""What a round starts with: a model that is given or known, what runs said before, fewer steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from round_data import LAST, TASKS, House, Run

from mir_ops.catalog import apply_project
from mir_ops.errors import NotFoundError, StoreError
from mir_ops.labeling import LabelBackend, LabelProgress, LabelRequest, LabelResult
from mir_ops.rounds.record import read_record
from mir_ops.rounds.sticky import next_round

QUICK = tuple(task for task in TASKS if task != "gate_data")


@dataclass
class Closing:
    """The oracle, and who was told that nobody has to label any more."""

    oracle: LabelBackend
    fails: list[Exception] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    kind: str = "oracle"

    def create(self, request: LabelRequest) -> str:
        return self.oracle.create(request)

    def progress(self, task_id: str) -> LabelProgress:
        return self.oracle.progress(task_id)

    def fetch(self, task_id: str, request: LabelRequest) -> LabelResult:
        return self.oracle.fetch(task_id, request)

    def close(self, task_id: str) -> None:
        if self.fails:
            raise self.fails.pop()
        self.oracle.close(task_id)
        self.closed.append(task_id)


def test_a_last_model_is_not_trained_again_and_label_tasks_are_closed(tmp_path: Path) -> None:
    """The round after a last training starts with that model: nothing has changed since."""
    house = House(tmp_path, {"train_after_merge": True})
    first = Run(house, "run-1")
    first.backend = Closing(house.oracle(), [StoreError("It is away", code="away")])
    tasks = (*QUICK[: QUICK.index("close_round")], *LAST, "close_round")
    results = first.all(tasks)
    (asked,) = house.ws.catalog.label_tasks.list(first.round_id)
    assert (asked.state, asked.message) == ("done", "Not closed: It is away")

    second = Run(house, "run-2")
    told = second.backend = Closing(house.oracle())
    again = second.all(tasks)

    assert again["train"]["model_id"] == results["train_last"]["model_id"]
    assert again["train"]["from"] == "round 1"
    assert (first.jobs, second.jobs[:2]) == (
        ["train", "evaluate", "mine", "train_last", "evaluate_last"],
        ["evaluate", "mine"],
    )
    assert again["evaluate"]["metrics"]["map50"] == results["evaluate_last"]["metrics"]["map50"]
    # What the tool could not be told with the first round's end, it is told with the second's.
    assert told.closed == [asked.external_id, again["create_label_task"]["task"]]
    assert {each.state for number in (1, 2) for each in house.ws.catalog.label_tasks.list(number)} \
        == {"closed"}  # fmt: skip
    Run(house, "run-2", {}).task("open_round")
    second.task("close_round")
    assert len(told.closed) == 2

    changed = Run(house, "run-3", {"seed": 6})
    changed.all(QUICK[: QUICK.index("train") + 1])
    assert changed.jobs == ["train"]


def test_a_given_model_is_measured_and_mines_in_the_first_round_only(tmp_path: Path) -> None:
    house = House(tmp_path)
    trained = Run(house, "run-1").all(QUICK[: QUICK.index("evaluate")])["train"]
    name = f"{trained['model_id']}@{trained['stage']}"
    other = House(tmp_path / "other", {"model": name[:20]})
    packages = house.ws.catalog.packages
    package = packages.find(trained["model_id"])
    assert package is not None
    other.ws.store.put_blob(house.ws.store.get_blob(package.package))
    other.ws.catalog.packages.add(
        model_id=package.model_id, package=package.package, classes=package.classes,
        object_type=package.object_type, stages=package.stages, best_stage=package.best_stage,
        origin=package.origin,
    )  # fmt: skip
    run = Run(other, "run-1")
    results = run.all(QUICK)

    assert run.jobs == ["evaluate", "mine"]
    assert results["train"]["from"] == "given"
    assert results["mine"]["model_id"] == trained["model_id"]
    record = read_record(other.ws, results["close_round"]["record"])
    assert record["spec"]["model"] == name
    assert record["metrics"] == results["evaluate"]["metrics"]

    second = Run(other, "run-2")
    second.all(QUICK[: QUICK.index("evaluate")])
    assert second.jobs == ["train"]
    with pytest.raises(NotFoundError):
        Run(house, "run-9", {"model": "nobody-has-it"}).task("open_round")


def test_what_a_run_says_holds_until_a_run_or_the_project_says_otherwise(tmp_path: Path) -> None:
    house = House(tmp_path)

    def opened(run_id: str, **conf: Any) -> Any:
        run = Run(house, run_id, conf)
        run.task("open_round")
        spec = run.ws.catalog.rounds.get(run.round_id).spec
        run.ws.catalog.rounds.fail(run.round_id, reason="only opened")
        return spec

    assert opened("1", budget=2, strategy="random").mining.budget == 2
    second = opened("2", seed=8)
    assert (second.mining.budget, second.mining.strategy, second.seed) == (2, "random", 8)
    following = next_round(house.ws, "digits")["parameters"]
    assert following["budget"] == {"value": 2, "round": 1}
    assert following["seed"] == {"value": 8, "round": 2}
    assert following["control"] == {"value": 0.1, "round": None}

    assert opened("3", budget=4).seed == 8  # the project's own: takes the word back
    assert next_round(house.ws, "digits")["parameters"]["budget"] == {"value": 4, "round": None}
    apply_project(house.ws.catalog, {**house.project(), "seed": 77})
    fourth = opened("4")
    assert (fourth.seed, fourth.mining.strategy) == (77, "random")
    assert opened("5", as_project=True).mining.strategy == "entropy"
    assert opened("6").mining.strategy == "entropy"


def test_a_run_may_leave_the_labelling_out(tmp_path: Path) -> None:
    house = House(tmp_path)
    run = Run(house, "run-1", {"label": False})
    results = run.all(QUICK)

    assert results["mine"]["picked"] == 4
    assert results["create_label_task"]["task"] is None
    assert house.ws.catalog.label_tasks.list(run.round_id) == []
    assert results["merge_labels"]["commit"] == results["merge_training"]["commit"]
    record = read_record(house.ws, results["close_round"]["record"])
    assert [chosen["answer"] for chosen in record["chosen"]] == [None] * 4
