"""The pages and the API of models: what they show, whom they show it to, what they change."""

from __future__ import annotations

import asyncio
import html
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from console_data import HOSTILE, _png
from model_data import CLASSES, IMPORTED, NEWER, OLDER, SECRET, Shelf, write_shelf

from mir_ops.catalog import ProjectSpec
from mir_ops.console.access import Action
from mir_ops.console.app import create_app
from mir_ops.evaluation.materials import read_material
from mir_ops.evaluation.versions import Settings, evaluate_material

MODELS = "/projects/digits/models"


class Console:
    """The app for a caller with these rights."""

    def __init__(self, shelf: Shelf) -> None:
        self.rights: set[Action] = {"read", "edit", "publish", "delete"}
        sources = shelf.sources
        self.app = create_app(
            lambda: sources, may=lambda _request, action, _project: action in self.rights
        )

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **more)

    def api(self, method: str, path: str, sent: object = None) -> httpx.Response:
        return self.ask(method, f"/api/v1{path}", json=sent)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """What a test changes, it changes back."""
    return write_shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def console(shelf: Shelf) -> Iterator[Console]:
    return Console(shelf)


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return html.unescape(re.sub(r"<[^>]+>", " ", answer.text))


def test_the_list_has_the_projects_models_newest_first(console: Console) -> None:
    answer = console.get(MODELS)

    ids = re.findall(rf'href="[^"]*{MODELS[1:]}/([0-9a-f]{{64}})"', answer.text)
    assert ids == [IMPORTED, NEWER, OLDER]
    told = text_of(answer)
    assert "round 2" in told
    assert "imported" in told
    listed = console.api("GET", MODELS).json()["models"]
    assert [each["model"] for each in listed] == ids
    assert listed[1]["metrics"]["map50"] > listed[2]["metrics"]["map50"]


def test_a_model_of_another_project_is_not_there(console: Console) -> None:
    for path in (f"{MODELS}/{SECRET}", f"{MODELS}/{SECRET}/verify"):
        assert console.get(path).status_code == 404
    for method, path in (("GET", ""), ("GET", "/package"), ("DELETE", ""), ("GET", "/evaluations")):
        assert console.api(method, f"{MODELS}/{SECRET}{path}").status_code == 404
    assert console.get(f"{MODELS}/compare?model={SECRET}&model={NEWER}").status_code == 404


def test_an_imported_model_is_in_the_projects_that_know_a_class_of_it(
    console: Console, shelf: Shelf
) -> None:
    sources = {"training": "t.zip", "validation": "v.zip", "pool": "p.zip"}
    for name, classes in (("pets", ["dog", "fish"]), ("ships", ["ferry", "tug"])):
        shelf.catalog.projects.create(
            ProjectSpec.model_validate(
                {"name": name, "classes": classes, "sources": sources}
                | {"executor": {"name": "sample"}}
            )
        )

    listed = {
        name: console.api("GET", f"/projects/{name}/models").json()["models"]
        for name in ("pets", "ships")
    }

    assert [each["model"] for each in listed["pets"]] == [IMPORTED]
    assert listed["ships"] == []
    assert console.api("GET", f"/projects/ships/models/{IMPORTED}").status_code == 404


def test_a_model_page_tells_what_the_evaluation_measured(console: Console, shelf: Shelf) -> None:
    commit = shelf.evaluations[NEWER]
    material = read_material(shelf.store.read(commit), layer=f"predictions:{NEWER}")
    report = evaluate_material(material, Settings()).report

    answer = console.get(f"{MODELS}/{NEWER}")

    told = text_of(answer)
    assert f"{report['metrics']['map50']:.3f}" in told
    for name, each in report["metrics"]["per_class"].items():
        assert name in told
        assert f"{each['ap50']:.3f}" in told
    assert HOSTILE not in answer.text
    assert "loss" in told


def test_a_round_without_a_kept_report_is_measured_again(console: Console, shelf: Shelf) -> None:
    kept = console.api("GET", f"{MODELS}/{NEWER}/evaluations/r2").json()
    before = shelf.catalog.models.get("train-2")
    assert before.metrics is not None
    assert before.predictions is not None
    older = {key: value for key, value in before.metrics.items() if key != "report"}
    shelf.catalog.models.set_evaluation("train-2", metrics=older, predictions=before.predictions)

    again = console.api("GET", f"{MODELS}/{NEWER}/evaluations/r2").json()

    shelf.catalog.models.set_evaluation(
        "train-2", metrics=before.metrics, predictions=before.predictions
    )
    again.pop("origin")
    assert again == kept


def test_a_frozen_test_set_of_a_round_is_told_beside_the_validation(
    console: Console, shelf: Shelf
) -> None:
    before = shelf.catalog.models.get("train-1")
    assert before.metrics is not None
    assert before.predictions is not None
    told = {**before.metrics, "commit": before.predictions}
    told.pop("report")  # as rounds of before left it
    metrics = {**before.metrics, "tests": {"golden": told}}
    shelf.catalog.models.set_evaluation("train-1", metrics=metrics, predictions=before.predictions)

    found = console.api("GET", f"{MODELS}/{OLDER}/evaluations").json()["evaluations"]
    page = console.get(f"{MODELS}/{OLDER}?on=r1-1")
    report = console.api("GET", f"{MODELS}/{OLDER}/evaluations/r1-1").json()

    shelf.catalog.models.set_evaluation(
        "train-1", metrics=before.metrics, predictions=before.predictions
    )
    assert [(each["key"], each["name"]) for each in found[:2]] == [
        ("r1", "validation"),
        ("r1-1", "golden"),
    ]
    assert "golden" in text_of(page)
    assert report["metrics"]["map50"] == before.metrics["map50"]
    assert console.get(f"{MODELS}/{OLDER}?on=r1-1").status_code == 404


@pytest.mark.parametrize("model", [OLDER, NEWER])
def test_every_cell_and_kind_of_mistake_leads_to_its_images(
    console: Console, shelf: Shelf, model: str
) -> None:
    commit = shelf.evaluations[model]
    page = console.get(f"{MODELS}/{model}").text
    found = re.findall(rf'href="[^"]*/versions/{commit.id}/images\?([^"]+)"[^>]*>([^<]*)<', page)
    images = f"/api/v1/projects/digits/versions/{commit.id}/images"

    totals = {
        query: console.get(f"{images}?{html.unescape(query)}").json()["total"] for query, _ in found
    }

    assert len(totals) > 8
    for query, text in found:
        boxes = int(text) if text.isdecimal() else None
        # No image has two boxes of a class here: as many images as boxes that were there. An image
        # may see a class where nothing is twice; what is missed may be taken for another class.
        assert totals[query] >= 1, query
        if boxes is not None and "mark=fn" in query:
            assert totals[query] >= boxes, query
        elif boxes is not None and "none" in query:
            assert totals[query] <= boxes, query
        elif boxes is not None:
            assert totals[query] == boxes, query


def test_evaluations_on_branches_are_found_by_their_model(console: Console, shelf: Shelf) -> None:
    store, truth = shelf.store, shelf.store.read(shelf.evaluations[OLDER])
    from mir_ops.evaluation.versions import commit_marks

    material = read_material(truth, layer=f"predictions:{OLDER}")
    evaluation = evaluate_material(material, Settings(confidence=0.5))
    commit = commit_marks(
        store, truth, material, evaluation, branch="digits/asked", op_id="asked",
        message="Asked", project="digits",
    )  # fmt: skip

    found = console.api("GET", f"{MODELS}/{OLDER}/evaluations").json()["evaluations"]

    assert [each["name"] for each in found] == ["validation", "digits/asked"]
    assert found[1]["key"] == commit.id[:16]
    told = console.api("GET", f"{MODELS}/{OLDER}/evaluations/{commit.id[:16]}").json()
    assert told["confidence"] == 0.5
    assert told["marks"] == evaluation.report["marks"]
    assert "digits/asked" in text_of(console.get(f"{MODELS}/{OLDER}?on={commit.id[:16]}"))


def test_two_models_are_compared_with_an_interval(console: Console) -> None:
    found = console.api("GET", f"{MODELS}/{OLDER}/compare/{NEWER}").json()

    assert found["verdict"] == "better"
    assert 0 < found["low"] <= found["difference"] <= found["high"]
    told = text_of(console.get(f"{MODELS}/compare?model={NEWER}&model={OLDER}"))
    assert "B is better" in told
    assert f"{found['difference']:+.3f}" in told
    backwards = console.api("GET", f"{MODELS}/{NEWER}/compare/{OLDER}").json()
    assert backwards["verdict"] == "worse"


def test_models_without_common_images_are_not_compared(console: Console) -> None:
    page = console.get(f"{MODELS}/compare?model={IMPORTED}&model={NEWER}")
    assert "never measured on the same images" in text_of(page)
    answer = console.api("GET", f"{MODELS}/{IMPORTED}/compare/{NEWER}")
    assert answer.json()["error"]["code"] == "not-measured"
    assert console.get(f"{MODELS}/compare?model={NEWER}&model={NEWER}").status_code == 400


def test_a_model_is_described_promoted_and_deleted(console: Console) -> None:
    model = f"{MODELS}/{IMPORTED}"

    described = console.api("PATCH", model, {"title": HOSTILE, "description": "From others"}).json()
    assert (described["title"], described["best_stage"]) == (HOSTILE, "best")
    assert HOSTILE not in console.get(MODELS).text
    promoted = console.api("POST", f"{model}/promote", {"name": "production", "stage": "first"})
    assert [(each["name"], each["stage"]) for each in promoted.json()["names"]] == [
        ("production", "first")
    ]
    refused = console.api("DELETE", model)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model-is-promoted")
    console.api("POST", f"{MODELS}/{NEWER}/promote", {"name": "production"})
    assert console.api("DELETE", model).json()["deleted_at"]
    assert IMPORTED not in console.get(MODELS).text
    assert IMPORTED in console.get(f"{MODELS}?deleted=true").text
    assert console.api("POST", f"{model}/restore").json()["deleted_at"] is None
    assert console.api("PATCH", model, {"title": None, "description": None}).json()["title"] == ""


@pytest.mark.parametrize(
    ("action", "method", "path", "sent"),
    [
        ("edit", "PATCH", "", {"title": "x"}),
        ("publish", "POST", "/promote", {"name": "production"}),
        ("delete", "DELETE", "", None),
        ("delete", "POST", "/restore", None),
        ("edit", "POST", "/looks", {}),
    ],
)
def test_who_may_not_is_refused(
    console: Console, action: Action, method: str, path: str, sent: object
) -> None:
    console.rights -= {action}

    assert console.api(method, f"{MODELS}/{IMPORTED}{path}", sent).status_code == 403


def test_the_package_is_downloaded_whole(console: Console) -> None:
    answer = console.get(f"/api/v1{MODELS}/{NEWER}/package")

    assert answer.content == b"bb"
    assert answer.headers["content-type"] == "application/gzip"
    assert f'filename="{NEWER[:12]}.tar.gz"' in answer.headers["content-disposition"]


def test_training_curves_are_numbers_too(console: Console) -> None:
    (curve,) = console.api("GET", f"{MODELS}/{NEWER}/curves").json()["curves"]

    assert curve["name"] == "loss"
    assert curve["values"][:2] == [1.0, 0.5]
    assert console.api("GET", f"{MODELS}/{OLDER}/curves").json() == {"curves": []}


def test_without_a_place_for_pictures_the_command_is_shown(console: Console) -> None:
    page = console.get(f"{MODELS}/{NEWER}/verify")

    assert f"mir models verify {NEWER[:12]}@best PICTURE --executor" in text_of(page)
    answer = console.ask(
        "POST",
        f"/api/v1{MODELS}/{NEWER}/looks",
        content=_png(1),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.json()["error"]["code"] == "no-sharing-folder"


def test_nothing_of_a_page_is_script_or_style_in_the_page(console: Console) -> None:
    for path in ("", f"/{NEWER}", f"/{NEWER}/verify", f"/compare?model={NEWER}&model={OLDER}"):
        page = console.get(MODELS + path).text
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))


def test_answers_are_json_that_any_reader_takes(console: Console) -> None:
    answer = console.get(f"/api/v1{MODELS}/{NEWER}/evaluations/r2")

    assert answer.status_code == 200
    report = json.load(io.BytesIO(answer.content), parse_constant=pytest.fail)
    assert {"metrics", "counts", "confusion"} <= report.keys()
    assert set(report["metrics"]["per_class"]) == set(CLASSES)
