"""Projects by the JSON API: created, edited, renamed, deleted and restored, each checked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from mir_ops.catalog import Catalog
from mir_ops.console.access import Action
from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources
from mir_ops.store import Store

SOURCES = {"training": "t.zip", "validation": "v.zip", "pool": "p.zip"}
MAPPING = {
    "name": "birds",
    "classes": ["one", "two"],
    "sources": SOURCES,
    "executor": {"name": "sample"},
}


class Api:
    """The app with a catalog of its own; `rights` are what its caller may."""

    def __init__(self, folder: Path) -> None:
        self.rights: set[Action] = {"read", "edit", "delete"}
        self.shared = folder / "shared"
        self.shared.mkdir()
        for name in ("t.zip", "v.zip", "p.zip", "guide.md", "list.tsv"):
            (self.shared / name).touch()
        self.catalog = Catalog.open(f"sqlite:///{folder / 'catalog.db'}")
        self.store = Store.open((folder / "store").as_uri(), create=True)
        sources = Sources(self.store, self.catalog, sharing_dir=self.shared)
        self.app = create_app(
            lambda: sources, may=lambda _request, action, _project: action in self.rights
        )

    def ask(self, method: str, path: str, sent: object = None, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                if sent is not None:
                    more["json"] = sent
                return await client.request(method, f"/api/v1{path}", **more)

        return asyncio.run(send())


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path)


def problem(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


def test_project_lives_through_the_api(api: Api) -> None:
    made = api.ask("POST", "/projects", MAPPING)
    assert made.status_code == 201
    assert made.json()["spec"]["sources"]["pool"] == str(api.shared / "p.zip")
    assert (made.json()["key"], made.json()["dag_id"]) == ("birds", "round__birds")
    assert api.store.branch("birds/training").tip().stats.assets == 0

    changes = {"mining": {"budget": 7}, "stop": {"target": 0.9}}
    assert api.ask("PATCH", "/projects/birds", changes).json()["spec"]["mining"]["budget"] == 7
    after = api.ask("PATCH", "/projects/birds", {"stop": {"target": None}}).json()["spec"]
    assert (after["mining"]["budget"], after["stop"]["target"]) == (7, None)

    assert api.ask("POST", "/projects/birds/rename", {"name": "owls"}).json()["name"] == "owls"
    assert api.ask("GET", "/projects/owls").json() == api.ask("GET", "/projects/birds").json()

    assert api.ask("DELETE", "/projects/owls").json()["deleted_at"]
    assert api.ask("DELETE", "/projects/owls").status_code == 200
    assert api.ask("GET", "/projects").json() == {"projects": []}
    gone = api.ask("GET", "/projects?deleted=true").json()["projects"]
    assert [one["name"] for one in gone] == ["owls"]
    assert problem(api.ask("GET", "/projects/owls"))[:2] == (404, "project-deleted")

    assert api.ask("POST", "/projects/owls/restore").json()["deleted_at"] is None
    assert [one["key"] for one in api.ask("GET", "/projects").json()["projects"]] == ["birds"]


def test_pages_of_a_renamed_project_go_by_its_key(api: Api) -> None:
    api.ask("POST", "/projects", MAPPING)
    api.catalog.projects.rename("birds", "owls")

    async def get(path: str) -> str:
        transport = httpx.ASGITransport(app=api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return (await client.get(path)).text

    assert 'href="./projects/birds"><h2>owls</h2>' in asyncio.run(get("/"))
    assert "<h1>owls</h1>" in asyncio.run(get("/projects/birds"))


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"clases": []}, 422, "unknown-parameter"),
        ({"mining": {"strategy": "entropi"}}, 422, "unknown-strategy"),
        ({"mining": {"budget": "7"}}, 422, "invalid-project"),
        ({"name": "../x"}, 422, "invalid-project"),
        ({"sources": {**SOURCES, "pool": "/etc/passwd"}}, 422, "outside-sharing-folder"),
        ({"sources": {**SOURCES, "pool": "../catalog.db"}}, 422, "outside-sharing-folder"),
        ({"sources": {**SOURCES, "pool": "list.tsv"}}, 422, "index-by-shell"),
        ({"labels": {"guide": "/etc/hostname"}}, 422, "outside-sharing-folder"),
        ({"executor": {"name": "sample", "image": "evil:1"}}, 422, "executor-by-name"),
        ({"executor": {"name": "sample", "folder": "."}}, 422, "executor-by-name"),
        ({"executor": {"name": "sample", "run_as_root": True}}, 422, "executor-by-name"),
        ({"gates": {"rules": "."}}, 422, "rules-by-shell"),
    ],
)  # fmt: skip
def test_project_that_may_not_be_is_refused(
    api: Api, changes: dict[str, Any], status: int, code: str
) -> None:
    answer = api.ask("POST", "/projects", {**MAPPING, **changes})

    assert problem(answer)[:2] == (status, code)
    assert api.catalog.projects.list() == []
    if "name" not in changes:
        api.ask("POST", "/projects", MAPPING)
        before = api.catalog.projects.get("birds")
        assert problem(api.ask("PATCH", "/projects/birds", changes))[:2] == (status, code)
        assert api.catalog.projects.get("birds") == before


def test_guide_in_the_sharing_folder_or_on_a_page_may_be_named(api: Api) -> None:
    for number, guide in enumerate(("guide.md", "https://example.org/guide")):
        answer = api.ask(
            "POST", "/projects", {**MAPPING, "name": f"n{number}", "labels": {"guide": guide}}
        )
        assert answer.status_code == 201


def test_what_the_shell_said_may_stay(api: Api, tmp_path: Path) -> None:
    from mir_ops.catalog import create_project

    executor = {"name": "mine", "image": "mine:1", "network": True}
    gates = {"rules": "/srv/rules"}
    create_project(
        api.catalog,
        {**MAPPING, "executor": executor, "gates": gates, "promote": "production"},
        folder=tmp_path,
    )
    api.rights -= {"delete"}

    assert api.ask("PATCH", "/projects/birds", {"seed": 3}).json()["spec"]["seed"] == 3
    other = {"executor": {"name": "other"}}
    assert problem(api.ask("PATCH", "/projects/birds", other))[1] == "executor-by-name"
    assert problem(api.ask("PATCH", "/projects/birds", {"promote": "x"}))[0] == 403


@pytest.mark.parametrize(
    ("rights", "allowed"),
    [
        (set(), set()),
        ({"read"}, {"list", "show"}),
        ({"read", "edit"}, {"list", "show", "create", "edit", "rename"}),
        (
            {"read", "edit", "delete"},
            {"list", "show", "create", "edit", "rename", "delete", "restore"},
        ),
    ],
)
def test_each_route_asks_for_its_right(api: Api, rights: set[Action], allowed: set[str]) -> None:
    api.ask("POST", "/projects", MAPPING)
    api.rights = rights
    calls: dict[str, Callable[[], httpx.Response]] = {
        "list": lambda: api.ask("GET", "/projects"),
        "show": lambda: api.ask("GET", "/projects/birds"),
        "create": lambda: api.ask("POST", "/projects", {**MAPPING, "name": "owls"}),
        "edit": lambda: api.ask("PATCH", "/projects/birds", {"seed": 1}),
        "rename": lambda: api.ask("POST", "/projects/birds/rename", {"name": "birds"}),
        "delete": lambda: api.ask("DELETE", "/projects/birds"),
        "restore": lambda: api.ask("POST", "/projects/birds/restore"),
    }

    found = {name: call() for name, call in calls.items()}

    assert not rights or found["list"].json()["projects"]
    for name, answer in found.items():
        assert answer.is_success == (name in allowed), name
        assert answer.is_success or problem(answer)[:2] == (403, "http-403")


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"seed": NaN}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b" " * (300 << 10), "application/json", 413),
        (json.dumps(MAPPING).encode(), "text/plain", 415),
        (b"", "application/x-www-form-urlencoded", 415),
    ],
)
def test_body_that_is_no_project_is_refused(
    api: Api, content: bytes, kind: str, status: int
) -> None:
    answer = api.ask("POST", "/projects", content=content, headers={"Content-Type": kind})

    assert problem(answer)[0] == status
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_does_not_exist_is_said_as_json(api: Api) -> None:
    assert problem(api.ask("GET", "/nothing")) == (404, "http-404", "There is no such route")
    assert problem(api.ask("GET", "/projects/none"))[:2] == (404, "no-such-project")
    assert problem(api.ask("PUT", "/projects/none"))[:2] == (405, "http-405")
    assert problem(api.ask("GET", "/projects?deleted=maybe"))[:2] == (422, "invalid-parameter")


def test_conflicts_are_409(api: Api) -> None:
    api.ask("POST", "/projects", MAPPING)
    project = api.catalog.projects.get("birds")
    assert problem(api.ask("POST", "/projects", MAPPING))[:2] == (409, "project-exists")
    api.catalog.rounds.open(
        "birds", deployment="d", dag_id="dag", run_id="run", spec=project.spec, conf={}
    )
    assert problem(api.ask("DELETE", "/projects/birds"))[:2] == (409, "round-open")
    assert problem(api.ask("POST", "/projects/birds/rename", {"to": "x"}))[:2] == (
        422, "invalid-name",
    )  # fmt: skip


def test_openapi_describes_every_route_and_the_project(api: Api) -> None:
    said = api.ask("GET", "/openapi.json").json()

    routes = {(path, method) for path, found in said["paths"].items() for method in found}
    assert routes >= {
        ("/projects", "get"), ("/projects", "post"), ("/projects/{project}", "get"),
        ("/projects/{project}", "patch"), ("/projects/{project}", "delete"),
        ("/projects/{project}/rename", "post"), ("/projects/{project}/restore", "post"),
    }  # fmt: skip
    assert "budget" in said["components"]["schemas"]["MiningSpec"]["properties"]
    body = said["paths"]["/projects"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["$ref"].rpartition("/")[2] in said["components"]["schemas"]
