"""Label Studio, the real server: what is asked arrives once, and what people did comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cutting_proxy import cutting_proxy
from label_requests import FIRST, HEIGHT, SECOND, THIRD, WIDTH, assets_of, small_request
from studio_people import People, addresses, box, dumped, new_request, rows

from mir_ops.demo.label_studio import LocalLabelStudio
from mir_ops.errors import InvalidInputError, NotFoundError, StoreError
from mir_ops.formats import rle
from mir_ops.labeling import LabelRequest
from mir_ops.labeling.studio_client import StudioClient
from mir_ops.labeling.studio_projects import describe_project
from mir_ops.labeling.studio_tasks import describe_tasks
from mir_ops.store.schema import GROUND_TRUTH, PREDICTIONS

pytestmark = pytest.mark.label_studio


@pytest.fixture(scope="module")
def people(studio: LocalLabelStudio) -> Iterator[People]:
    with StudioClient(studio.url, studio.login["token"]) as client:
        yield People(studio=studio, client=client)


@pytest.fixture
def asked(people: People) -> tuple[LabelRequest, str]:
    request = new_request(small_request(), model_id="m1")
    return request, people.backend.create(request)


def test_a_project_holds_the_classes_in_order_and_what_the_model_sees(people: People) -> None:
    names = ("zebra", 'a "quoted" <name>', "árbol", "one")
    request = new_request(
        small_request(),
        classes={7: names[3], 3: names[0], 5: names[1], 4: names[2]},
        model_id="m1",
        guide="Boxes touch the object.\n<script>alert(1)</script>",
    )

    task_id = people.backend.create(request)

    project, tasks = people.project(task_id), people.tasks(task_id)
    control = project["parsed_label_config"]["rectanglelabels"]
    assert control["labels"] == [names[3], names[0], names[1], names[2]]
    assert "&lt;script&gt;" in project["expert_instruction"]
    assert "<script>" not in project["expert_instruction"]
    assert project["model_version"] == "m1"
    assert tasks.keys() == {FIRST, SECOND, THIRD}
    ((prediction,), data) = tasks[FIRST]["predictions"], tasks[FIRST]["data"]
    assert data["image"] == f"http://127.0.0.1:9/{FIRST}"
    assert (prediction["model_version"], prediction["score"]) == ("m1", 0.5)
    (region,) = prediction["result"]
    assert (region["score"], region["value"]["x"], region["value"]["width"]) == (0.5, 2.5, 25)
    assert region["value"]["rectanglelabels"] == [names[0]]


def test_the_same_request_is_asked_once(people: People) -> None:
    request = new_request(small_request())
    made = people.client.post("/api/projects/", describe_project(request))["id"]
    half = describe_tasks(request, [SECOND], addresses([SECOND]))
    people.client.post(f"/api/projects/{made}/import", half)  # as a killed try leaves it

    first, again = people.backend.create(request), people.backend.create(request)

    assert first == again == f"{made}-{request.key[:12]}"
    assert people.project(first)["task_number"] == 3
    assert people.tasks(first).keys() == {FIRST, SECOND, THIRD}


def test_an_image_that_was_imported_twice_counts_once(
    people: People, asked: tuple[LabelRequest, str]
) -> None:
    request, task_id = asked
    project = task_id.split("-")[0]
    people.submit(task_id, FIRST, box("one", 10, 10, 20, 20))
    twice = describe_tasks(request, [FIRST, SECOND], addresses([FIRST, SECOND]))
    strange = [{"data": {"image": "http://127.0.0.1:9/x", "asset_id": "../x", "request": "y"}}]
    people.client.post(f"/api/projects/{project}/import", twice + strange)

    progress, result = people.backend.progress(task_id), people.backend.fetch(task_id, request)

    assert (progress.total, progress.done) == (3, 1)
    assert result.annotations.num_rows == 1


def test_empty_skipped_and_open_are_told_apart(
    people: People, asked: tuple[LabelRequest, str]
) -> None:
    request, task_id = asked
    people.submit(task_id, FIRST, lead_time=3)
    people.skip(task_id, SECOND)

    progress, result = people.backend.progress(task_id), people.backend.fetch(task_id, request)

    assert (progress.total, progress.done, progress.skipped) == (3, 1, 1)
    assert progress.by == {"labels@example.org": 2}
    assert progress.last_activity is not None
    assert not progress.complete
    assert [found.hex() for found in result.done.to_pylist()] == [FIRST]
    assert [found.hex() for found in result.skipped.to_pylist()] == [SECOND]
    assert result.annotations.num_rows == 0
    assert result.seconds == 7.5


def test_labels_that_change_are_taken_anew_and_nothing_twice(
    people: People, asked: tuple[LabelRequest, str]
) -> None:
    request, task_id = asked
    made = people.submit(task_id, FIRST, box("one", 10, 10, 20, 20), box("two", 50, 10, 20, 20))
    before = people.backend.fetch(task_id, request)

    same = people.backend.fetch(task_id, request)
    people.client.patch(f"/api/annotations/{made}/", {"result": [box("two", 10, 10, 20, 20)]})
    after = people.backend.fetch(task_id, request)
    people.client.delete(f"/api/annotations/{made}/")
    none = people.backend.fetch(task_id, request)

    assert same.annotations.equals(before.annotations)
    found = rows(before.annotations, "class_id", "x", "y", "w", "h", "annotator", "lead_time")
    who = "labels@example.org"
    assert sorted(found) == [(3, 20, 3, 8, 6, who, 2.25), (7, 4, 3, 8, 6, who, 2.25)]
    assert rows(after.annotations, "class_id", "x") == [(3, 4)]
    assert len(none.done) == 0


def test_of_several_answers_the_starred_one_counts(
    people: People, asked: tuple[LabelRequest, str]
) -> None:
    request, task_id = asked
    people.submit(task_id, FIRST, box("one", 10, 10, 20, 20), ground_truth=True)
    people.submit(task_id, FIRST, box("two", 10, 10, 20, 20))
    people.skip(task_id, FIRST)

    result = people.backend.fetch(task_id, request)

    assert rows(result.annotations, "class_id") == [(7,)]
    assert len(result.skipped) == 0


def shapes_of(name: str, schema: pa.Schema) -> pa.Table:
    """One of each kind of annotation that the store has."""
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[3:20, 5:9] = mask[10, 5:30] = True
    text = rle.write_runs(rle.runs_of([rle.from_bitmap(mask)]))[0].as_py()
    ring = [4.25, 5.0, 30.0, 7.5, 12.125, 25.0]
    kinds: list[dict[str, Any]] = [
        {"kind": "box", "x": 1, "y": 2, "w": 10.5, "h": 8},
        {"kind": "rotated_box", "x": 10, "y": 8, "w": 12, "h": 6, "angle": 30.0},
        {"kind": "polygon", "x": 4.25, "y": 5, "w": 25.75, "h": 20, "polygon": [ring]},
        {"kind": "mask", "x": 5, "y": 3, "w": 25, "h": 17, "rle": text},
    ]
    shared = {"asset_id": bytes.fromhex(name), "class_id": 3, "confidence": 0.5}
    found = [{**shared, "annotation_id": at, **kind} for at, kind in enumerate(kinds)]
    return pa.Table.from_pylist(found, schema=schema)


def test_every_shape_survives_the_way_there_and_back(people: People) -> None:
    shapes = shapes_of(FIRST, PREDICTIONS)
    request = new_request(
        small_request(), predictions=shapes, model_id="m1",
        shapes=("box", "rotated_box", "polygon", "mask"),
    )  # fmt: skip
    task_id = people.backend.create(request)
    (seen,) = people.tasks(task_id)[FIRST]["predictions"]

    people.submit(task_id, FIRST, *seen["result"])  # as somebody who finds nothing to change
    result = people.backend.fetch(task_id, request)

    assert result.issues == {}
    assert result.annotations.schema.equals(GROUND_TRUTH)
    kept = {row["kind"]: row for row in result.annotations.to_pylist()}
    for row in shapes.to_pylist():
        found = kept[row["kind"]]
        for name in ("x", "y", "w", "h", "angle"):
            assert found[name] == pytest.approx(row[name], abs=1e-5), (row["kind"], name)
        assert (found["rle"], found["polygon"]) == (row["rle"], row["polygon"])


def test_a_box_that_a_browser_drew_on_an_unturned_image_is_turned(people: People) -> None:
    request = new_request(small_request(), assets=assets_of(FIRST, orientation=6))
    task_id = people.backend.create(request)
    value = {"x": 0, "y": 0, "width": 100 * 4 / HEIGHT, "height": 25, "rotation": 0}
    region = box("one", 0, 0, 0, 0, original_width=HEIGHT, original_height=WIDTH)
    people.submit(task_id, FIRST, {**region, "value": {**region["value"], **value}})

    result = people.backend.fetch(task_id, request)

    assert rows(result.annotations, "x", "y", "w", "h") == [(WIDTH - 10, 0, 10, 4)]


def test_an_unknown_annotator_is_told_where_to_sign_up(people: People) -> None:
    request = new_request(small_request(), annotators=("new@example.org",))
    with pytest.raises(InvalidInputError) as caught:
        people.backend.create(request)
    assert caught.value.code == "unknown-annotator"
    assert str(caught.value) == "Label Studio knows no `new@example.org`"
    link = str(caught.value.hint).split()[4].rstrip(";")
    assert link.startswith(f"{people.studio.url}/user/signup/?token=")

    people.sign_up(link, "new@example.org")

    task_id = people.backend.create(request)
    said = people.project(task_id)["expert_instruction"]
    assert "For new@example.org. Every member of this server can open the project." in said


def test_personal_access_tokens_work_until_they_are_revoked(
    people: People, asked: tuple[LabelRequest, str]
) -> None:
    _, task_id = asked
    both = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}
    people.client.post("/api/jwt/settings", both)
    token = people.client.post("/api/token/", {})["token"]
    backend = people.backend_with(token)

    assert backend.progress(task_id).total == 3
    with StudioClient(people.studio.url, token) as client:
        client.get("/api/current-user/whoami")
        client._access = "an.access.token-that-ended"
        assert client.get("/api/current-user/whoami")["email"] == "labels@example.org"
    people.client.post("/api/token/blacklist/", {"refresh": token})

    for refused in (backend, people.backend_with("f" * 40)):
        with pytest.raises(InvalidInputError) as caught:
            refused.progress(task_id)
        assert caught.value.code == "label-token-refused"
        assert caught.value.hint == (
            "Put a token that works into the connection, then clear the failed task"
        )


def test_a_deleted_project_is_an_error_that_says_so(
    people: People, asked: tuple[LabelRequest, str]
) -> None:
    request, task_id = asked
    people.client.delete(f"/api/projects/{task_id.split('-')[0]}/")

    calls = (
        people.backend.progress,
        people.backend.close,
        lambda task: people.backend.fetch(task, request),
        lambda task: people.backend.renew_addresses(task, addresses),
    )
    for call in calls:
        with pytest.raises(NotFoundError) as caught:
            call(task_id)
        assert caught.value.code == "no-such-label-task"
        assert "has no label project" in str(caught.value)


def test_a_project_of_another_request_is_not_taken_for_ours(
    people: People, asked: tuple[LabelRequest, str]
) -> None:
    _, task_id = asked
    for strange in (f"{task_id.split('-')[0]}-{'0' * 12}", "../../x", "1", ""):
        with pytest.raises(NotFoundError):
            people.backend.progress(strange)


def test_a_changed_label_config_loses_no_labels(
    people: People, asked: tuple[LabelRequest, str], caplog: pytest.LogCaptureFixture
) -> None:
    request, task_id = asked
    project = f"/api/projects/{task_id.split('-')[0]}/"
    people.submit(task_id, FIRST, box("one", 10, 10, 20, 20))
    config = people.project(task_id)["label_config"]
    renamed = config.replace('value="one"', 'value="uno"')
    people.client.patch(project, {"label_config": renamed})
    assert people.project(task_id)["label_config"] == renamed
    assert rows(people.backend.fetch(task_id, request).annotations, "class_id") == [(7,)]
    assert caplog.messages == []

    gone = "\n".join(line for line in config.splitlines() if 'value="one"' not in line)
    people.client.patch(project, {"label_config": gone})

    assert rows(people.backend.fetch(task_id, request).annotations, "class_id") == [(7,)]
    assert caplog.messages == [
        f"The labels `one` were removed from {people.studio.url}/projects/{project[14:-1]}/data"
    ]


def test_an_answer_with_a_strange_label_is_not_taken_and_is_named(
    people: People, asked: tuple[LabelRequest, str]
) -> None:
    request, task_id = asked
    made = people.submit(task_id, FIRST, box("one", 1, 1, 9, 9), box("three", 10, 10, 20, 20))
    people.submit(task_id, SECOND, box("two", 1, 1, 9, 9))

    result = people.backend.fetch(task_id, request)
    people.client.patch(f"/api/annotations/{made}/", {"result": [box("one", 1, 1, 9, 9)]})
    corrected = people.backend.fetch(task_id, request)

    number = people.tasks(task_id)[FIRST]["id"]
    page = f"{people.studio.url}/projects/{task_id.split('-')[0]}/data?task={number}"
    assert result.refused == {FIRST: f"`three` is no class of this request: {page}"}
    assert result.issues == {"class-unknown": 1}
    assert [found.hex() for found in result.done.to_pylist()] == [SECOND]
    assert len(corrected.done) == 2


@pytest.mark.parametrize(
    ("region", "code"),
    [
        ({"foo": 1}, "region-unsupported"),
        ({**box("one", 1, 1, 2, 2), "value": {"rectanglelabels": ["one"]}}, "region-unreadable"),
        (box("one", 1, 1, 2, 2, image_rotation=90), "image-rotated"),
        ({**box("one", 1, 1, 2, 2), "type": "ellipselabels"}, "region-unsupported"),
    ],
)
def test_a_region_that_is_none_is_refused(
    people: People, asked: tuple[LabelRequest, str], region: Any, code: str
) -> None:
    request, task_id = asked
    people.submit(task_id, FIRST, region)

    result = people.backend.fetch(task_id, request)

    assert (len(result.done), result.issues) == (0, {code: 1})


def test_addresses_that_end_soon_are_replaced(
    people: People, asked: tuple[LabelRequest, str]
) -> None:
    _, task_id = asked
    people.submit(task_id, FIRST, box("one", 1, 1, 9, 9))

    def later(names: Any) -> Any:
        found = addresses(names)
        fresh = {name: f"{url}?fresh" for name, url in found.urls.items()}
        return replace(found, urls=fresh)

    for task in people.tasks(task_id).values():
        old = {**task["data"], "image_until": 1}
        people.client.patch(f"/api/tasks/{task['id']}/", {"data": old})

    assert people.backend.renew_addresses(task_id, later) == 3
    assert people.backend.renew_addresses(task_id, later) == 0
    shown = {task["data"]["image"] for task in people.tasks(task_id).values()}
    assert shown == {f"http://127.0.0.1:9/{name}?fresh" for name in (FIRST, SECOND, THIRD)}
    assert people.backend.progress(task_id).done == 1


def test_a_closed_task_calls_nobody_and_keeps_its_labels(people: People) -> None:
    request = new_request(small_request(), wake_url="http://127.0.0.1:9/hook")
    task_id = people.backend.create(request)
    people.submit(task_id, FIRST, box("one", 1, 1, 9, 9))
    project = int(task_id.split("-")[0])
    assert len(people.client.get("/api/webhooks/", project=project)) == 1

    people.backend.close(task_id)
    people.backend.close(task_id)

    assert people.client.get("/api/webhooks/", project=project) == []
    told = people.project(task_id)
    assert told["title"] == f"✓ {describe_project(request)['title']}"
    assert told["description"] == f"mir-ops request {request.key} (closed)"
    assert told["expert_instruction"].count("This round is over.") == 1
    assert people.backend.create(request) == task_id
    assert len(people.backend.fetch(task_id, request).done) == 1


def test_answers_that_were_cut_off_are_asked_for_again_or_refused(
    people: People, asked: tuple[LabelRequest, str]
) -> None:
    request, task_id = asked
    people.submit(task_id, FIRST, box("one", 1, 1, 9, 9))
    whole = people.backend.fetch(task_id, request)
    with cutting_proxy(people.studio.port) as proxy:
        backend = people.backend_with(people.studio.login["token"], proxy.url)
        proxy.cut_after, proxy.cuts = 900, 1
        assert backend.fetch(task_id, request).annotations.equals(whole.annotations)
        assert proxy.cuts == 0
        proxy.cuts = 10
        with pytest.raises(StoreError) as caught:
            backend.fetch(task_id, request)
    assert caught.value.code == "label-tool-away"


def test_a_server_that_is_down_is_an_error_to_try_again(people: People) -> None:
    backend = people.backend_with("f" * 40, "http://127.0.0.1:9")
    with pytest.raises(StoreError) as caught:
        backend.progress("1-" + "0" * 12)
    assert caught.value.code == "label-tool-away"
    assert "f" * 40 not in str(caught.value) + repr(backend) + dumped(str(caught.value.hint))
