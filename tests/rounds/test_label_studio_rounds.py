"""A round whose labels come from people at a real Label Studio, without Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from round_data import BEFORE_LABELS, TASKS, House, Run
from studio_people import People, box, rows

from mir_ops.demo.label_studio import LocalLabelStudio
from mir_ops.labeling.addresses import read_image_token
from mir_ops.labeling.studio_client import StudioClient
from mir_ops.workspace import Workspace

SECRET = "signs-addresses-of-images"

pytestmark = pytest.mark.label_studio


class StudioHouse(House):
    """Its annotators' browsers find the console at an address."""

    def workspace(self) -> Workspace:
        return replace(
            super().workspace(), console_url="http://127.0.0.1:9/mir", image_secret=SECRET
        )


@pytest.fixture
def people(studio: LocalLabelStudio) -> Iterator[People]:
    with StudioClient(studio.url, studio.login["token"]) as client:
        yield People(studio=studio, client=client)


@pytest.fixture
def run(tmp_path: Path, people: People) -> Run:
    (tmp_path / "guide.txt").write_text("Boxes touch the digit")
    labels = {
        "backend": "label-studio",
        "classes": ["three", "one"],
        "guide": str(tmp_path / "guide.txt"),
        "annotators": ["labels@example.org"],
    }
    made = Run(StudioHouse(tmp_path, {"labels": labels}), "run-1")
    made.backend = people.backend
    made.all(BEFORE_LABELS)
    return made


def test_what_people_did_until_a_deadline_is_a_commit_and_the_rest_another(
    run: Run, people: People
) -> None:
    task_id = run.task("create_label_task")["task"]
    project, tasks = people.project(task_id), people.tasks(task_id)
    control = project["parsed_label_config"]["rectanglelabels"]
    assert control["labels"] == ["one", "three"]  # the project's order
    assert "Boxes touch the digit" in project["expert_instruction"]
    first, second, third, fourth = sorted(tasks)
    shown = read_image_token(SECRET, tasks[first]["data"]["image"].rpartition("/")[2])
    mined = run.ws.catalog.steps.result(run.round_id, "mine")["commit"]
    assert (shown.project, shown.commit, shown.asset) == ("digits", mined, first)

    people.submit(task_id, first, box("one", 25, 25, 50, 50, original_width=48))
    people.submit(task_id, second)
    people.skip(task_id, third)
    assert run.task("wait_for_labels") == {"complete": False}
    (task,) = run.ws.catalog.label_tasks.list(run.round_id)
    assert (task.done, task.skipped, task.state) == (2, 1, "open")
    step = run.ws.catalog.steps.find(run.round_id, "wait_for_labels")
    assert step is not None
    said = "2 of 4 images labelled, 1 skipped, by labels@example.org (3), last at 20"
    assert str(step.message).startswith(said)

    some = run.task("import_labels")
    assert (some["done"], some["skipped"], some["boxes"], some["seconds"]) == (2, 1, 1, 13.5)
    assert run.task("import_labels")["commit"] == some["commit"]

    people.submit(task_id, fourth, box("three", 0, 0, 50, 50))
    assert run.task("wait_for_labels") == {"complete": True}
    rest = run.task("import_labels")

    assert (rest["done"], rest["boxes"]) == (3, 2)
    version = run.ws.store.read(rest["commit"])
    assert version.commit.operation.parameters["backend"] == "label-studio"
    truth = version.layer("ground_truth")
    names = [version.taxonomy.name_of(row) for row in truth["class_id"].to_pylist()]
    assert sorted(names) == ["one", "three"]
    assert set(rows(truth, "annotator", "lead_time")) == {("labels@example.org", 4.5)}
    assert version.layer_assets("ground_truth").to_pylist() == [
        bytes.fromhex(name) for name in sorted((first, second, fourth))
    ]


@pytest.mark.parametrize("deleted", [False, True])
def test_a_round_that_closes_says_so_there_and_does_not_need_the_answer(
    run: Run, people: People, deleted: bool
) -> None:
    task_id = run.task("create_label_task")["task"]
    first, *_ = sorted(people.tasks(task_id))
    people.submit(task_id, first, box("one", 25, 25, 50, 50))
    run.all(TASKS[TASKS.index("import_labels") : -1])
    if deleted:
        people.client.delete(f"/api/projects/{task_id.split('-')[0]}/")

    closed = [run.task("close_round") for _ in range(2)]

    assert closed[0] == closed[1]
    assert closed[0]["cost"]["images"] == 1
    (task,) = run.ws.catalog.label_tasks.list(run.round_id)
    assert (task.state, task.message == "lost") == ("closed", deleted)
    assert run.ws.catalog.rounds.get(run.round_id).state == "closed"
    if not deleted:
        told = people.project(task_id)
        assert told["title"].startswith("✓ digits round 1 ")
        assert told["expert_instruction"].count("This round is over.") == 1
        assert len(people.tasks(task_id)[first]["annotations"]) == 1


def test_an_answer_that_cannot_be_taken_is_waited_for(run: Run, people: People) -> None:
    task_id = run.task("create_label_task")["task"]
    names = sorted(people.tasks(task_id))
    for name in names[1:]:
        people.submit(task_id, name)
    wrong = people.submit(task_id, names[0], box("two", 25, 25, 50, 50))  # not asked for

    assert run.task("wait_for_labels") == {"complete": False}
    (task,) = run.ws.catalog.label_tasks.list(run.round_id)
    said = "1 answer cannot be taken: `two` is no class of this request: http://127.0.0.1:"
    assert task.done == 3
    assert str(task.message).startswith(said)

    people.client.patch(f"/api/annotations/{wrong}/", {"result": [box("one", 25, 25, 50, 50)]})
    assert run.task("wait_for_labels") == {"complete": True}
