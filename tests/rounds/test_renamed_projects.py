"""A project may be renamed in the middle of a round: no version, branch or operation moves."""

from __future__ import annotations

from pathlib import Path

import pytest
from round_data import TASKS, House, Run

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.rounds.record import read_record


def test_round_goes_on_under_another_name(tmp_path: Path) -> None:
    house = House(tmp_path)
    run = Run(house, "run-1")
    middle = TASKS.index("mine")
    before = run.all(TASKS[:middle])
    branches = {branch.name for branch in run.ws.store.branches()}

    for name in ("letters", "numbers"):
        run.ws.catalog.projects.rename("digits", name)

    assert run.all(TASKS[:middle]) == before
    assert run.jobs == ["train", "evaluate"]
    run.all(TASKS[middle:])
    commits = [branch.tip() for branch in run.ws.store.branches()]
    assert branches <= {branch.name for branch in run.ws.store.branches()}
    assert {commit.project for commit in commits} == {"digits"}
    (closed,) = run.ws.catalog.rounds.list("numbers")
    assert (closed.state, closed.project, closed.project_key) == ("closed", "numbers", "digits")
    assert read_record(run.ws, closed.record or "")["project"] == "numbers"


def test_run_whose_project_has_a_third_name_finds_its_round(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.ws.catalog.projects.rename("digits", "letters")
    run = Run(house, "run-1", conf={"project": "letters"}, project="letters")
    opened = run.task("open_round")
    house.ws.catalog.projects.rename("letters", "numbers")

    assert run.task("open_round") == opened
    with pytest.raises(NotFoundError, match="No project named `letters`"):
        Run(house, "run-2", project="letters").task("open_round")


def test_run_may_name_its_project_by_either_name_and_no_other(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.ws.catalog.projects.rename("digits", "letters")

    Run(house, "run-1", conf={"project": "letters"}, project="digits").task("open_round")

    with pytest.raises(InvalidInputError, match="The run names project `cats`, the task `digits`"):
        Run(house, "run-2", conf={"project": "cats"}, project="digits").task("open_round")
