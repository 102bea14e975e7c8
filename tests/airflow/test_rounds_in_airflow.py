"""Rounds on a real scheduler, with a real triggerer, an API server and the sample executor."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import processes_below, task_processes
from round_worlds import RoundWorld, write_images

from mir_ops.catalog import Round
from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.errors import InvalidInputError
from mir_ops.formats.voc import VocFile, VocObject, write_voc
from mir_ops.rounds.airflow_api import DagRun
from mir_ops.rounds.record import read_record
from mir_ops.rounds.steps import STEPS

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

DAG = "active_learning_round"
PEOPLE = "people_round"
SECONDS = 240.0  # a round takes 20 on a quiet machine of two cores


@pytest.fixture(scope="module")
def finished(airflow: LocalAirflow, world: RoundWorld) -> DagRun:
    """A round that ran through."""
    world.apply("good")
    return _run(airflow, {"project": "good", "budget": 4, "control": 0.5})


@pytest.fixture(scope="module")
def failed(airflow: LocalAirflow, world: RoundWorld) -> dict[str, DagRun]:
    """Rounds of executors that misbehave, all at once."""
    world.apply("crash", config={"crash_code": 3})
    world.apply("garbage", config={"write_garbage": True})
    world.apply("nan", config={"write_nan": True})
    world.apply("hang", config={"hang": True}, time_seconds=2)
    names = ("crash", "garbage", "nan", "hang")
    runs = {name: airflow.client.trigger(DAG, conf={"project": name}) for name in names}
    return {name: _wait(airflow, run) for name, run in runs.items()}


def test_a_round_runs_from_import_to_merged_labels(
    airflow: LocalAirflow, world: RoundWorld, finished: DagRun
) -> None:
    states = airflow.client.task_states(DAG, finished.run_id)

    assert states == unsharded(dict.fromkeys(STEPS, "success"))
    (round_,) = world.workspace.catalog.rounds.list("good")
    assert (round_.state, round_.number, round_.run_id) == ("closed", 1, finished.run_id)
    tip = world.workspace.store.branch("good/training").tip()
    assert tip.stats.splits == {"train": 10, "val": 4}
    assert world.workspace.store.tags()["good/training@r1"] == tip.id


def test_a_rounds_record_says_which_images_only_chance_chose(
    world: RoundWorld, finished: DagRun
) -> None:
    (round_,) = world.workspace.catalog.rounds.list("good")
    record = read_record(world.workspace, round_.record)

    arms = [chosen["arm"] for chosen in record["chosen"]]
    control = record["control"]
    assert len(arms) == 4
    assert arms.count("random") + arms.count("both") == control["random"]["drawn"] == 2
    assert control["random"]["also_mined"] == arms.count("both")
    assert (control["mined"]["labelled"], control["random"]["labelled"]) == (
        4 - arms.count("random"),
        2,
    )
    assert control["notes"][0].endswith("of fewer than 5 nothing is said")


def test_a_large_pool_is_mined_in_shards(
    airflow: LocalAirflow, world: RoundWorld, finished: DagRun
) -> None:
    mining = {"strategy": "entropy", "budget": 4, "control": 0.5, "shard_size": 4}
    world.apply("shards", mining=mining)

    run = _run(airflow, {"project": "shards"})

    tasks = airflow.client.tasks(DAG, run.run_id)
    shards = [task.state for task in tasks if task.task_id == "mine_shard"]
    assert run.state == "success"
    assert shards == ["success"] * 4
    store = world.workspace.store
    plain, sharded = (store.branch(f"{name}/mining").read() for name in ("good", "shards"))
    assert sharded.layer("scores:r1").equals(plain.layer("scores:r1"))
    assert len(list(store.branch("shards/mining").log())) == len(
        list(store.branch("good/mining").log())
    )


def test_tasks_link_to_what_they_made(
    airflow: LocalAirflow, world: RoundWorld, finished: DagRun
) -> None:
    links = airflow.client.links(DAG, finished.run_id, "merge_labels")
    gate_links = airflow.client.links(DAG, finished.run_id, "gate_labels")

    tip = world.workspace.store.branch("good/training").tip()
    address = f"{airflow.url}/mir/projects/good/versions/{tip.id}"
    report = f"{airflow.url}/mir/projects/good/rounds/1/gates/labels"
    assert links == {"Dataset version": address}
    assert gate_links == {"Gate report": report}
    login = {"username": "admin", "password": airflow.passwords["admin"]}
    with httpx.Client(trust_env=False) as http:
        token = http.post(f"{airflow.url}/auth/token", json=login).json()["access_token"]
        page = http.get(address, headers={"Authorization": f"Bearer {token}"})
        assert (page.status_code, tip.id[:8] in page.text) == (200, True)
        page = http.get(report, headers={"Authorization": f"Bearer {token}"})
        assert (page.status_code, "inside-left" in page.text) == (200, True)
        assert [http.get(each).status_code for each in (address, report)] == [401, 401]


def test_the_gates_log_is_what_the_gate_found(airflow: LocalAirflow, finished: DagRun) -> None:
    log = airflow.client.log(DAG, finished.run_id, "gate_data")

    assert "'blocked': False" in log
    assert len(log.splitlines()) < 30


def test_clearing_what_succeeded_makes_nothing_new(
    airflow: LocalAirflow, world: RoundWorld, finished: DagRun
) -> None:
    before = _everything(world, "good")

    cleared = airflow.client.clear(DAG, finished.run_id, ["train", "mine"])
    again = _wait(airflow, finished)

    assert sorted(cleared) == ["mine", "train"]
    assert again.state == "success"
    tries = _tries(airflow, finished)
    assert (tries["train"], tries["mine"], tries["evaluate"]) == (2, 2, 1)
    assert _everything(world, "good") == before


def test_clearing_after_the_inputs_changed_trains_anew(
    airflow: LocalAirflow, world: RoundWorld
) -> None:
    own = {role: str(world.root / "changing" / role) for role in ("training", "validation", "pool")}
    for number, folder in enumerate(own.values()):
        write_images(Path(folder), 4, seed=600 + 20 * number)
    world.apply("changing", backend="folder", sources=own)
    run = airflow.client.trigger(PEOPLE, conf={"project": "changing"})
    _until(lambda: _state(airflow, run, "wait_for_labels") == "deferred")
    airflow.client.clear(PEOPLE, run.run_id, ["train"])
    _until(
        lambda: _tries(airflow, run)["train"] == 2 and _state(airflow, run, "train") == "success"
    )
    (first,) = world.workspace.catalog.models.list("changing")

    write_images(world.root / "more-training", 2, seed=690)
    for kind in ("images", "annotations"):
        for path in (world.root / "more-training" / kind).iterdir():
            path.rename(Path(own["training"]) / kind / path.name)
    again = ["import_data", "gate_data", "merge_training", "check_start", "train"]
    airflow.client.clear(PEOPLE, run.run_id, again)
    _until(
        lambda: _tries(airflow, run)["train"] == 3 and _state(airflow, run, "train") == "success"
    )

    before, second = world.workspace.catalog.models.list("changing")
    assert before == first
    assert second.model_id != first.model_id
    assert second.op_id != first.op_id
    trained = world.workspace.store.read(second.training)
    assert trained.commit.stats.splits == {"train": 6, "val": 4}
    assert "'op_id': '" + second.op_id in airflow.client.log(
        PEOPLE, run.run_id, "train", try_number=3
    )
    airflow.client.cancel(PEOPLE, run.run_id)


def test_a_value_out_of_range_never_starts(airflow: LocalAirflow) -> None:
    with pytest.raises(InvalidInputError) as caught:
        airflow.client.trigger(DAG, conf={"project": "good", "budget": 0})

    assert str(caught.value) == (
        "Airflow refused: Invalid input for param budget: 0 is less than the minimum of 1"
    )


def test_an_unknown_parameter_is_refused_by_name(airflow: LocalAirflow, world: RoundWorld) -> None:
    world.apply("typo")

    run = _run(airflow, {"project": "typo", "budgt": 4})

    log = airflow.client.log(DAG, run.run_id, "open_round")
    assert run.state == "failed"
    assert "Unknown run parameter: `budgt`" in log
    assert "hint: Did you mean `budget`?" in log
    assert world.workspace.catalog.rounds.list("typo") == []


@pytest.mark.parametrize(
    ("project", "task", "said"),
    [
        ("crash", "train", "Executor `sample` exited with 3, code 3: crashed as asked"),
        ("crash", "train", "crashing with 3"),
        ("garbage", "train", "result.yaml"),
        ("nan", "train", "nan"),
        ("hang", "train", "Executor `sample` reached its time limit and was ended"),
    ],
)
def test_a_bad_executor_fails_with_what_a_person_needs(
    airflow: LocalAirflow, failed: dict[str, DagRun], project: str, task: str, said: str
) -> None:
    run = failed[project]

    tasks = {each.task_id: each for each in airflow.client.tasks(DAG, run.run_id)}

    assert run.state == "failed"
    assert (tasks[task].state, tasks[task].try_number) == ("failed", 1)
    assert said.lower() in airflow.client.log(DAG, run.run_id, task).lower()


def test_a_failed_round_says_why_and_holds_nothing(
    world: RoundWorld, failed: dict[str, DagRun]
) -> None:
    rounds = {name: world.workspace.catalog.rounds.list(name)[0] for name in failed}

    assert {round_.state for round_ in rounds.values()} == {"failed"}
    assert rounds["crash"].reason is not None
    assert rounds["crash"].reason.startswith(
        "Task `train` failed: Executor `sample` exited with 3, code 3: crashed as asked"
    )
    assert processes_below(world.workspace.jobs_dir) == {}


def test_a_cancelled_run_ends_its_executor_and_its_round(
    airflow: LocalAirflow, world: RoundWorld
) -> None:
    world.apply("stuck", config={"hang": True})
    run = airflow.client.trigger(DAG, conf={"project": "stuck"})
    _until(lambda: bool(processes_below(world.workspace.jobs_dir)))

    airflow.client.cancel(DAG, run.run_id)

    _until(lambda: not processes_below(world.workspace.jobs_dir))
    _until(lambda: _round(world, "stuck").state == "failed")
    assert _round(world, "stuck").reason == "The run was ended from outside"


def test_the_round_of_a_run_that_is_over_does_not_hold_the_project(
    airflow: LocalAirflow, world: RoundWorld
) -> None:
    world.apply("left", stop={"labelled_images": 1})
    nothing = {"path": "/nowhere", "branch": "nothing"}
    over = _wait(airflow, airflow.client.trigger("dataset_import", conf=nothing))
    catalog = world.workspace.catalog
    left = catalog.rounds.open(
        "left",
        deployment=world.workspace.deployment,
        dag_id=over.dag_id,
        run_id=over.run_id,
        spec=catalog.projects.get("left").spec,
        conf={},
    )

    run = _run(airflow, {"project": "left"})

    assert run.state == "success"
    given_up = catalog.rounds.get(left.id)
    assert (given_up.state, given_up.reason) == (
        "failed",
        "The run ended before the round was closed",
    )


def test_an_import_lists_what_it_did_not_take(airflow: LocalAirflow, world: RoundWorld) -> None:
    more = world.root / "sharing" / "more"
    write_images(more, 3, seed=900)
    (more / "annotations" / "0901.xml").write_text("no annotation")
    conf = {"path": "more", "branch": "loose", "unknown_classes": "add"}

    run = airflow.client.trigger("dataset_import", conf=conf)
    done = airflow.client.wait_for_run("dataset_import", run.run_id, timeout=SECONDS)

    log = airflow.client.log("dataset_import", run.run_id, "import_dataset")
    tip = world.workspace.store.branch("loose").tip()
    assert done.state == "success", log
    assert tip.stats.assets == 3
    assert f"Imported into loose: commit {tip.id}" in log
    assert "0901.xml" in log


def test_people_label_while_nothing_waits_on_a_worker(
    airflow: LocalAirflow, world: RoundWorld
) -> None:
    world.apply("people", backend="folder", stop={"rounds": 1})
    run = airflow.client.trigger(PEOPLE, conf={"project": "people"})
    _until(lambda: _state(airflow, run, "wait_for_labels") == "deferred")

    second = _wait(airflow, airflow.client.trigger(PEOPLE, conf={"project": "people"}))
    _label(world.people, "people")
    first = _wait(airflow, run)

    assert (first.state, second.state) == ("success", "failed")
    log = airflow.client.log(PEOPLE, second.run_id, "open_round")
    assert f"Round 1 of `people` is open: run `{run.run_id}` of `{PEOPLE}`" in log
    assert world.workspace.store.branch("people/labels").tip().stats.assets == 5
    # No other round follows: a last model has seen what they labelled.
    newest = world.workspace.catalog.models.list("people")[-1]
    assert newest.training == world.workspace.store.branch("people/training").tip().id
    assert airflow.client.task_states(PEOPLE, run.run_id)["evaluate_last"] == "success"
    waited = airflow.client.log(PEOPLE, run.run_id, "wait_for_labels")
    assert "0 of 5 images labelled" in waited


def test_a_killed_worker_trains_once(airflow: LocalAirflow, world: RoundWorld) -> None:
    world.apply("killed", config={"idle_seconds": 4})
    run = airflow.client.trigger(PEOPLE, conf={"project": "killed"})
    _until(lambda: _state(airflow, run, "train") == "running")
    _until(lambda: bool(processes_below(world.workspace.jobs_dir)))

    for pid in task_processes(world.root):
        os.kill(pid, signal.SIGKILL)

    _until(lambda: _state(airflow, run, "train") == "success")
    assert _tries(airflow, run)["train"] == 2
    assert len(world.workspace.catalog.models.list("killed")) == 1
    airflow.client.cancel(PEOPLE, run.run_id)


def unsharded(states: dict[str, str]) -> dict[str, str]:
    """The states of a run whose pool was small enough for one container, and others may follow."""
    skipped = dict.fromkeys(
        ("mine_shard", "train_last", "evaluate_last", "promote_model"), "skipped"
    )
    return {**states, "plan_shards": "success", "approve_model": "success", **skipped}


def _run(airflow: LocalAirflow, conf: dict[str, Any]) -> DagRun:
    return _wait(airflow, airflow.client.trigger(DAG, conf=conf))


def _wait(airflow: LocalAirflow, run: DagRun) -> DagRun:
    return airflow.client.wait_for_run(run.dag_id, run.run_id, timeout=SECONDS)


def _state(airflow: LocalAirflow, run: DagRun, task: str) -> str:
    states = airflow.client.task_states(run.dag_id, run.run_id)
    for name in (name for name, state in states.items() if state == "failed"):
        pytest.fail(airflow.client.log(run.dag_id, run.run_id, name))
    return states[task]


def _tries(airflow: LocalAirflow, run: DagRun) -> dict[str, int]:
    return {each.task_id: each.try_number for each in airflow.client.tasks(run.dag_id, run.run_id)}


def _tried(airflow: LocalAirflow, run: DagRun, task: str) -> tuple[str, int]:
    return _state(airflow, run, task), _tries(airflow, run)[task]


def _round(world: RoundWorld, project: str) -> Round:
    return world.workspace.catalog.rounds.list(project)[0]


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _everything(world: RoundWorld, project: str) -> dict[str, Any]:
    """All that a round leaves: commits, tags, models, its steps and their results."""
    workspace = world.workspace
    branches = workspace.store.branches()
    return {
        "commits": {each.name: [commit.id for commit in each.log()] for each in branches},
        "tags": workspace.store.tags(),
        "models": workspace.catalog.models.list(project),
        "steps": workspace.catalog.steps.list(_round(world, project).id),
        "rounds": workspace.catalog.rounds.list(project),
    }


def _label(folder: Path, project: str) -> None:
    """What a person does: one box on each image."""
    (task,) = folder.glob(f"{project}-*")
    (task / "done").mkdir(exist_ok=True)
    for image in (task / "images").iterdir():
        box = VocObject(name="cat", box=(2.0, 2.0, 10.0, 10.0))
        file = VocFile(filename=image.name, size=(32, 32), objects=(box,))
        (task / "done" / f"{image.stem}.xml").write_bytes(write_voc(file))
