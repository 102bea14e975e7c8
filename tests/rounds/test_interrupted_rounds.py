"""Workers die, executors crash, people clear tasks: the round goes on, and does nothing twice."""

from __future__ import annotations

from typing import Any

import pytest
from round_data import BEFORE_LABELS, TASKS, House, Run, write_voc_zip

from mir_ops.catalog.steps import Steps
from mir_ops.errors import ConflictError, NotFoundError
from mir_ops.executor import ExecutorFailedError, Job
from mir_ops.rounds import steps

QUICK = tuple(task for task in TASKS if not task.startswith("gate_"))


class WorkerKilledError(BaseException):
    """Nothing catches this one."""


def test_worker_killed_before_it_could_say_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step dies once, after its commit, before the catalog knows."""
    finish, died = Steps.finish, set()

    def dies_once(self: Steps, round_id: int, step: str, op_id: str, result: Any) -> Any:
        if step not in died:
            died.add(step)
            raise WorkerKilledError
        return finish(self, round_id, step, op_id, result)

    monkeypatch.setattr(Steps, "finish", dies_once)
    run, results = Run(house, "run-1"), {}
    for task in QUICK:
        with pytest.raises(WorkerKilledError):
            run.task(task)
        results[task] = Run.task(run, task)

    assert died == {*QUICK}
    assert run.jobs == ["train", "evaluate", "mine"] or run.jobs == []
    store = house.ws.store
    assert {branch.name: branch.seq for branch in store.branches()} == {
        "digits/import/training": 1,
        "digits/import/validation": 1,
        "digits/import/pool": 1,
        "digits/training": 3,
        "digits/evaluation": 1,
        "digits/mining": 1,
        "digits/mined": 1,
        "digits/labels": 1,
    }
    assert len(house.ws.catalog.models.list("digits")) == 1
    assert store.tags() == {"digits/training@r1": results["merge_labels"]["commit"]}


def test_crashed_executor_fails_its_step_and_runs_again(house: House) -> None:
    def crashes(job: Job, **_: object) -> None:
        raise ExecutorFailedError("exit code 3: out of memory", code="executor-failed")

    run = Run(house, "run-1", run_executor=crashes)
    run.all(("open_round", "import_data", "merge_training"))
    with pytest.raises(ExecutorFailedError):
        run.task("train")
    run.step("train").fail("exit code 3: out of memory")

    found = house.ws.catalog.steps.find(run.round_id, "train")
    assert found is not None
    assert (found.state, found.message) == ("failed", "exit code 3: out of memory")

    again = Run(house, "run-1")
    again.task("open_round")
    assert again.task("train")["stage"] == "best"


def test_progress_of_a_job_is_in_the_catalog(house: House) -> None:
    run = Run(house, "run-1")
    run.all(("open_round", "import_data", "merge_training"))
    step = run.step("train")
    step.prepare()

    step.progress(40.0, "step 2 of 5")

    found = house.ws.catalog.steps.find(run.round_id, "train")
    assert found is not None
    assert (found.state, found.percent, found.message) == ("running", 40.0, "step 2 of 5")


def test_next_round_opens_after_a_failed_one(house: House) -> None:
    first = Run(house, "run-1")
    first.all(("open_round", "import_data", "merge_training"))
    failed = steps.fail_round(house.ws, "run-1", "worker lost")
    assert failed == {
        "round_id": 1,
        "number": 1,
        "project": "digits",
        "state": "failed",
        "given_up": True,
    }

    second = Run(house, "run-2")
    opened = second.task("open_round")
    second.task("import_data")

    assert opened["number"] == 2
    assert second.task("merge_training")["merged"] == []


def test_run_without_a_round_has_nothing_to_fail(house: House) -> None:
    never = {"round_id": None, "state": None, "given_up": False}
    assert steps.fail_round(house.ws, "never", "x") == never


def test_clearing_one_task_of_a_failed_round_goes_on(house: House) -> None:
    run = Run(house, "run-1")
    run.all(("open_round", "import_data"))
    steps.fail_round(house.ws, "run-1", "worker lost")

    run.task("merge_training")

    assert house.ws.catalog.rounds.get(run.round_id).state == "open"


def test_closed_round_cannot_change(house: House) -> None:
    run = Run(house, "run-1")
    results = run.all(QUICK)
    write_voc_zip(house.root / "data" / "training.zip", count=7, seed=9)

    with pytest.raises(ConflictError) as caught:
        run.task("import_data")
    assert caught.value.code == "round-closed"
    assert house.ws.store.branch("digits/training").tip().id == results["merge_labels"]["commit"]


def test_changed_source_is_another_operation(house: House) -> None:
    run = Run(house, "run-1")
    before = run.all(("open_round", "import_data", "merge_training", "train"))
    write_voc_zip(house.root / "data" / "training.zip", count=7, seed=9)

    after = run.all(("import_data", "merge_training", "train"))

    assert after["import_data"]["validation"] == before["import_data"]["validation"]
    assert after["merge_training"]["commit"] != before["merge_training"]["commit"]
    assert run.jobs == ["train", "train"]
    current = house.ws.catalog.steps.result(run.round_id, "train")
    assert current["op_id"] == after["train"]["op_id"]


def test_step_out_of_order_says_what_to_run_first(house: House) -> None:
    run = Run(house, "run-1")
    run.task("open_round")

    with pytest.raises(NotFoundError) as caught:
        run.task("merge_training")
    assert str(caught.value) == "Step `import_data` of this round is not done"
    assert caught.value.hint == "Run `import_data` first"


def test_labels_of_a_round_that_died_are_merged_by_the_next(house: House) -> None:
    first = Run(house, "run-1")
    first.all(TASKS[: TASKS.index("merge_labels")])
    steps.fail_round(house.ws, "run-1", "worker lost")

    second = Run(house, "run-2")
    results = second.all(tuple(task for task in BEFORE_LABELS if not task.startswith("gate_")))

    assert house.ws.store.read(results["merge_training"]["commit"]).stats.splits["train"] == 10
    assert results["mine"]["candidates"] == 8
