"""A dataset that people label at a real Label Studio, outside any round."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from round_worlds import RoundWorld
from studio_people import People, box
from trials import Trials, Tried

from mir_ops.dataset import import_dataset
from mir_ops.demo.label_studio import LocalLabelStudio
from mir_ops.labeling.studio_client import StudioClient

pytestmark = [pytest.mark.airflow, pytest.mark.label_studio, pytest.mark.timeout(600)]

SECONDS = 200.0


def test_what_people_label_there_is_committed_to_the_branch(
    trials: Trials, tried_world: RoundWorld, studio: LocalLabelStudio
) -> None:
    store = tried_world.workspace.store
    tried_world.apply("lot")
    images = tried_world.root / "data" / "validation"
    import_dataset(store, images, "lot/images", op_id="1" * 64, unknown_classes="add")
    mir = trials.connections["mir_default"]
    shown = {"console_url": "http://127.0.0.1:9/mir", "image_secret": "s" * 32}
    connections = {
        **trials.connections,
        "mir_default": {**mir, "extra": {**mir["extra"], **shown}},
        "mir_labels": {
            "conn_type": "mir_labels",
            "password": studio.login["token"],
            "extra": {"url": studio.url},
        },
    }
    asked = {"dataset": "lot/images", "branch": "lot/labelled", "classes": ["dog", "cat"],
             "prelabels": "ground_truth", "guide": "Only dogs", "poll_seconds": 1}  # fmt: skip

    with (
        StudioClient(studio.url, studio.login["token"]) as client,
        ThreadPoolExecutor(1) as waiting,
    ):
        people = People(studio=studio, client=client)
        run = waiting.submit(
            trials.run, "dataset_label.py", "dataset_label", conf=asked, connections=connections
        )
        task_id = f"{_project(people, run)}-"
        first, second, third, fourth = sorted(people.tasks(task_id))
        people.submit(task_id, first, box("dog", 0, 0, 50, 50, original_width=32))
        people.submit(task_id, second)
        people.skip(task_id, third)
        people.submit(task_id, fourth, box("dog", 0, 0, 25, 25, original_width=32))
        tried = run.result(timeout=SECONDS)
        shown_first = [len(task["predictions"]) for task in people.tasks(task_id).values()]

    assert tried.state == "success"
    assert set(tried.tasks.values()) == {"success"}
    assert shown_first == [1] * 4
    version = store.branch("lot/labelled").read()
    assert version.commit.operation.parameters == {"backend": "label-studio", "labelled": 3}
    assert version.commit.project == "lot"
    assert [name.hex() for name in version.asset_ids().to_pylist()] == [first, second, fourth]
    truth = version.layer("ground_truth")
    named = [version.taxonomy.name_of(row) for row in truth["class_id"].to_pylist()]
    assert (named, truth["w"].to_pylist()) == (["dog", "dog"], [16.0, 8.0])
    assert set(truth["annotator"].to_pylist()) == {"labels@example.org"}


def _project(people: People, run: Future[Tried]) -> int:
    """The project of the request, once all of its images are there."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert not run.done(), run.result()
        found = people.client.get("/api/projects/", include="id,title,task_number")["results"]
        for each in found:
            if each["title"].startswith("lot/labelled ") and each["task_number"] == 4:
                return int(each["id"])
        time.sleep(0.3)
    pytest.fail("There is no project at Label Studio")
