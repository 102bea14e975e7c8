"""Datasets and versions by the API: made, described, renamed, deleted, sent, imported."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from project_story import PROJECT
from version_story import API, HOME, KEY, Asking, Story, write_story

from mir_ops.catalog import apply_project
from mir_ops.console.versions import making, uploads
from mir_ops.dataset.publishing import publish


@dataclass
class NotedRuns:
    """Airflow as far as an import needs it: what was started is noted."""

    started: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def start(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        self.started.append((dag_id, conf))
        return "run-1"

    def run_address(self, dag_id: str, run_id: str) -> str:
        return f"/dags/{dag_id}/runs/{run_id}"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """What a test makes has a name of its own."""
    return write_story(tmp_path_factory.mktemp("story"))


@pytest.fixture
def client(story: Story) -> Asking:
    return story.ask()


def test_filter_commits_what_the_preview_foretold(client: Asking, story: Story) -> None:
    recipe = {"sources": "training", "include_classes": ["dog"], "splits": "tr"}
    foretold = client.send("POST", f"{API}/versions/preview", {"recipe": recipe}).json()

    made = client.send(
        "POST", f"{API}/versions", {"recipe": recipe, "to": "dogs", "message": "Dogs"}
    )

    assert made.status_code == 201
    commit = story.shown.store.resolve("digits/dogs")
    assert made.json() == {"commit": commit.id, "dataset": "digits/dogs", "images": 7}
    assert (foretold["operation"], foretold["images"]) == ("filter", 7)
    assert (commit.operation.kind, commit.project, commit.message) == ("filter", KEY, "Dogs")
    assert foretold["layers"]["ground_truth"]["rows"] == commit.stats.layers["ground_truth"].rows


@pytest.mark.parametrize(
    ("kind", "recipe"),
    [
        ("sample", {"sources": "training", "count": 5, "seed": 2}),
        ("merge", {"sources": ["tr:training", "va:night/drawn"], "strategy": "host"}),
        ("fuse", {"sources": "training", "boxes": "2:", "rate": 0.5}),
    ],
)
def test_each_operation_is_recorded_as_what_it_is(
    client: Asking, story: Story, kind: str, recipe: dict[str, Any]
) -> None:
    asked = {"recipe": recipe, "to": f"made/{kind}"}

    first = client.send("POST", f"{API}/versions", asked).json()
    again = client.send("POST", f"{API}/versions", asked).json()

    commit = story.shown.store.resolve(f"digits/made/{kind}")
    assert commit.operation.kind == kind
    assert first["commit"] == again["commit"] == commit.id
    assert story.shown.store.branch(f"digits/made/{kind}").seq == 1


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"recipe": {"sources": "secret/training"}, "to": "x"}, 404, "secret/training"),
        ({"recipe": {"sources": "training"}, "to": "../x"}, 422, "cannot name a branch"),
        ({"recipe": {"sources": "training"}, "to": "public/x"}, 422, "cannot be the name"),
        ({"recipe": {"sources": "training"}}, 422, "A version needs a dataset"),
        ({"recipe": {}, "to": "x"}, 422, "No version to start from is named"),
        ({"recipe": {"sources": "training", "shell": "rm"}, "to": "x"}, 422, "`shell`"),
        ({"recipe": {"sources": {"a": 1}}, "to": "x"}, 422, "`sources` is no text"),
        ({"recipe": {"sources": "training"}, "to": "x", "op": 1}, 422, "`op`"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_nothing(
    client: Asking, story: Story, asked: dict[str, Any], status: int, message: str
) -> None:
    before = story.shown.store.heads()

    response = client.send("POST", f"{API}/versions", asked)

    assert response.status_code == status
    assert message in response.json()["error"]["message"]
    assert response.json()["error"]["hint"]
    assert story.shown.store.heads() == before


def test_conflict_of_a_merge_names_what_differs(client: Asking) -> None:
    asked = {"recipe": {"sources": "training;training@V1"}, "to": "x"}
    assert client.send("POST", f"{API}/versions/preview", asked["recipe"]).status_code == 200
    recipe = {"sources": "training@V1;secret/training"}

    response = client.send("POST", f"{API}/versions/preview", recipe)

    assert response.status_code == 404


def test_published_data_may_be_taken_by_every_project(client: Asking, story: Story) -> None:
    publish(story.shown.store, story.shown.other, "pets")
    recipe = {"sources": "training;public/pets", "strategy": "host"}

    foretold = client.send("POST", f"{API}/versions/preview", recipe).json()

    assert foretold["images"] == 60
    assert not any(name.startswith("#") for name in foretold["layers"]["ground_truth"]["classes"])


def test_what_was_foretold_is_not_counted_again(
    client: Asking, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"sources": "training", "count": 4}
    first = client.send("POST", f"{API}/versions/preview", recipe).json()
    monkeypatch.setattr(making, "foretell_recipe", pytest.fail)

    again = client.send("POST", f"{API}/versions/preview", recipe).json()
    page = client.get(f"{HOME}/new", params=recipe)

    assert (again, again["images"]) == (first, 4)
    assert page.status_code == 200


def test_dataset_is_described_renamed_deleted_and_restored(client: Asking, story: Story) -> None:
    store = story.shown.store
    recipe = {"sources": "training", "count": 3}
    client.send("POST", f"{API}/versions", {"recipe": recipe, "to": "life/a"})

    said = {"message": "Three of them", "keywords": "rain; night"}
    described = client.send("PATCH", f"{API}/datasets/digits/life/a", said).json()
    assert store.resolve("digits/life/a").id == described["commit"]
    assert store.resolve("digits/life/a").keywords == ("rain", "night")

    renamed = client.send("PATCH", f"{API}/datasets/digits/life/a", {"name": "life/b"}).json()
    assert renamed["dataset"] == "digits/life/b"
    assert store.resolve("digits/life/b").message == "Three of them"

    assert client.send("DELETE", f"{API}/datasets/digits/life/b").status_code == 200
    assert not store.branch("digits/life/b").exists
    listed = client.get(f"{API}/datasets", params={"deleted": "true"}).json()["datasets"]
    assert {"digits/life/a", "digits/life/b"} <= {each["name"] for each in listed}

    restored = client.send("POST", f"{API}/datasets/digits/life/b/restore")
    assert restored.status_code == 200
    assert store.resolve("digits/life/b").project == KEY
    again = client.send("POST", f"{API}/datasets/digits/life/b/restore")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "branch-exists")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "datasets/secret/training", {"message": "Mine"}),
        ("DELETE", "datasets/secret/training", None),
        ("POST", "datasets/secret/training/restore", {}),
        ("PATCH", "datasets/digits/none", {"name": "x"}),
    ],
)
def test_datasets_of_others_are_not_there(
    client: Asking, story: Story, method: str, path: str, body: dict[str, Any] | None
) -> None:
    before = story.shown.store.heads()

    assert client.send(method, f"{API}/{path}", body).status_code == 404
    assert story.shown.store.heads() == before


@pytest.mark.parametrize("sent", [{}, {"message": " "}, {"name": "a", "message": "b"}, {"x": 1}])
def test_change_that_says_nothing_sensible_is_refused(client: Asking, sent: dict[str, Any]) -> None:
    before = client.get(f"{API}/datasets").json()

    response = client.send("PATCH", f"{API}/datasets/digits/all", sent)

    assert (response.status_code == 200) == (not sent)
    if sent:
        assert client.get(f"{API}/datasets").json() == before


def test_training_data_of_a_living_project_stays(story: Story) -> None:
    apply_project(story.catalog, PROJECT)
    client = story.ask()

    for method, body in (("DELETE", None), ("PATCH", {"name": "elsewhere"})):
        response = client.send(method, f"{API}/datasets/digits/training", body)

        assert (response.status_code, response.json()["error"]["code"]) == (422, "branch-in-use")
    assert story.shown.store.branch("digits/training").exists


def test_tag_is_a_name_of_the_dataset(client: Asking, story: Story) -> None:
    path = f"{API}/versions/{story.second.id}/tags"

    made = client.send("POST", path, {"name": "release-1"})

    assert (made.status_code, made.json()["dataset"]) == (201, "digits/training@release-1")
    assert story.shown.store.resolve("digits/training@release-1").id == story.second.id
    assert client.send("POST", path, {"name": "V7"}).status_code == 422
    moved = client.send("POST", f"{API}/versions/{story.first.id}/tags", {"name": "release-1"})
    assert (moved.status_code, moved.json()["error"]["code"]) == (409, "tag-exists")


def test_log_search_lineage_and_differences_as_json(client: Asking, story: Story) -> None:
    log = client.get(f"{API}/versions", params={"branch": "digits/training"}).json()
    assert [each["commit"] for each in log["versions"]] == [story.second.id, story.first.id]
    assert log["versions"][1]["tags"] == ["digits/training@first"]
    found = client.get(f"{API}/versions", params={"q": "twenty"}).json()["versions"]
    assert found[0]["names"] == ["digits/night/drawn@V1"]
    assert client.get(f"{API}/versions", params={"offset": "1", "limit": "1"}).json()["total"] >= 4
    shown = client.get(f"{API}/versions/{story.second.id}").json()
    assert (shown["images"], shown["kind"]) == (59, "relabel")

    lineage = client.get(f"{API}/versions/{story.second.id}/lineage").json()
    assert [each["commit"] for each in lineage["made_from"]] == [story.first.id]
    assert {story.drawn.id, story.merged.id} <= {each["commit"] for each in lineage["versions"]}

    asked = {"from": story.first.id, "to": "digits/training"}
    counts = client.get(f"{API}/versions/compare", params=asked).json()
    assert (counts["images_removed"], counts["split_moved"]) == (1, 1)
    images = client.get(f"{API}/versions/compare/images", params=asked).json()
    assert images["kinds"] == {"removed": 1, "labels": 2, "splits": 1}
    assert {each["asset_id"] for each in images["images"]} == {
        story.shown.hex(index) for index in range(4)
    }
    analysis = client.get(f"{API}/versions/{story.second.id}/analysis").json()
    assert analysis["images"] == 59
    assert "unlabelled-images" in {each["code"] for each in analysis["suggestions"]}


def test_archive_is_a_zip_that_is_named_after_its_version(client: Asking, story: Story) -> None:
    response = client.get(f"{API}/versions/{story.drawn.id}/archive", params={"format": "coco"})

    assert response.headers["content-type"] == "application/zip"
    name = 'attachment; filename="digits-night-drawn@V1.zip"'
    assert response.headers["content-disposition"] == name
    with zipfile.ZipFile(io.BytesIO(response.content)) as file:
        assert file.testzip() is None
        assert sum(name.startswith("images/") for name in file.namelist()) == 20
        assert all(".." not in name for name in file.namelist())


def test_uploaded_archive_lies_whole_in_the_sharing_folder(client: Asking, story: Story) -> None:
    response = client.send("POST", f"{API}/uploads?name=../../etc/My set.zip", b"x" * 5_000_000)

    path = response.json()["path"]
    assert path.startswith("uploads/digits/My_set-")
    assert (story.shared / path).read_bytes() == b"x" * 5_000_000
    assert not list(story.shared.rglob("*.part"))


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("a.exe", b"x", "not-an-archive"),
        ("a.zip", b"", "empty-upload"),
        ("a.zip", b"xxx", "too-large"),
    ],
)
def test_upload_that_is_not_taken_leaves_nothing(
    client: Asking,
    story: Story,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    body: bytes,
    code: str,
) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 2)
    before = sorted(story.shared.rglob("*"))

    response = client.send("POST", f"{API}/uploads?name={name}", body)

    assert (response.status_code, response.json()["error"]["code"]) == (422, code)
    assert [path for path in sorted(story.shared.rglob("*")) if path.is_file()] == [
        path for path in before if path.is_file()
    ]


def test_import_starts_a_run_with_what_was_asked(story: Story) -> None:
    (story.shared / "set.zip").write_bytes(b"zip")
    runs = NotedRuns()
    asked = {"path": "set.zip", "to": "new/rain", "unknown_classes": "add", "split": "val"}

    started = story.ask(runs=runs).send("POST", f"{API}/imports", asked)

    assert started.json()["address"] == "/dags/dataset_import/runs/run-1"
    assert runs.started == [
        (
            "dataset_import",
            {
                "path": "set.zip",
                "branch": "digits/new/rain",
                "annotations": "auto",
                "unknown_classes": "add",
                "split": "val",
            },
        )
    ]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"path": "/etc/passwd", "to": "x"}, "outside-sharing-folder"),
        ({"path": "none.zip", "to": "x"}, "no-such-source"),
        ({"path": "public:none", "to": "x"}, "no-such-public-dataset"),
        ({"path": "https://example.org/a.zip", "to": "x", "split": "dev"}, "bad-field"),
        ({"path": "https://example.org/a.zip", "to": "-", "extra": 1}, "unknown-field"),
        ({"to": "x"}, "bad-field"),
    ],
)
def test_import_of_what_callers_may_not_name_starts_nothing(
    story: Story, asked: dict[str, Any], code: str
) -> None:
    runs = NotedRuns()

    response = story.ask(runs=runs).send("POST", f"{API}/imports", asked)

    assert response.json()["error"]["code"] == code
    assert runs.started == []


def test_import_without_airflow_names_the_command(client: Asking) -> None:
    asked = {"path": "https://example.org/a.zip", "to": "x"}

    response = client.send("POST", f"{API}/imports", asked)

    assert response.status_code == 503
    assert "mir import https://example.org/a.zip --to digits/x" in response.json()["error"]["hint"]


def test_who_makes_a_version_is_its_author(story: Story) -> None:
    from mir_ops.console.app import create_app

    sources = story.sources()
    app = create_app(lambda: sources, may=lambda *_: True)

    async def as_ada(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["mir_author"] = "ada"
        await app(scope, receive, send)

    recipe = {"sources": "training", "count": 2}
    Asking(as_ada).send("POST", f"{API}/versions", {"recipe": recipe, "to": "by/ada"})

    assert story.shown.store.resolve("digits/by/ada").author == "ada"
