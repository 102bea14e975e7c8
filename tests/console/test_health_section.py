"""Whether the deployment works: a dead part is named, with what to do, and takes no page down."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from console_data import Client, write_version
from fastapi import Request

from mir_ops.catalog import read_project
from mir_ops.console.access import Action
from mir_ops.console.app import create_app
from mir_ops.console.health.examining import examine_workspace
from mir_ops.console.sources import Sources
from mir_ops.errors import StoreError
from mir_ops.store import Store
from mir_ops.workspace import Workspace


class Deployment:
    """A workspace on files, and the console as a server has it: opened once, asked for long."""

    def __init__(self, folder: Path, catalog_url: str) -> None:
        self.folder = folder
        store = Store.open((folder / "store").as_uri(), create=True)
        self.commit, _ = write_version(store, "digits/training", "digits", [b"one", b"two"])
        self.fields = {
            "store_url": store.url,
            "catalog_url": catalog_url,
            "work_dir": folder / "work",
        }
        self.sources = Sources(store, self.workspace().catalog)
        self.sources.workspace.catalog.projects.apply(
            read_project(
                {
                    "name": "digits",
                    "classes": ["cat"],
                    "sources": {"training": "/t", "validation": "/v", "pool": "/p"},
                    "executor": {"name": "sample"},
                }
            )
        )
        self.client = Client(create_app(lambda: self.sources, may=_anything, examine=self.examine))

    def workspace(self) -> Workspace:
        return Workspace(**self.fields)  # type: ignore[arg-type]

    def examine(self) -> list[object]:
        return list(examine_workspace(self.workspace, label_tool=None))

    def health(self) -> dict[str, tuple[str, str, str]]:
        answer = self.client.get("/api/v1/health").json()
        assert answer["healthy"] == all(one["health"] != "failed" for one in answer["findings"])
        return {
            one["part"]: (one["health"], one["found"], one["advice"]) for one in answer["findings"]
        }


def _anything(_request: Request, _action: Action, _project: str | None) -> bool:
    return True


@pytest.fixture
def deployment(tmp_path: Path, empty_catalog: str) -> Deployment:
    return Deployment(tmp_path, empty_catalog)


def test_living_parts_are_said_to_work(deployment: Deployment) -> None:
    found = deployment.health()

    assert found["catalog"] == ("ok", "1 projects, 0 executors added", "")
    assert found["store"][0] == "ok"
    assert found["store"][1].endswith("1 branches")
    assert found["store's promises"][0] == "ok"
    assert "Everything works" in deployment.client.get("/health").text


def test_dead_store_is_named(deployment: Deployment) -> None:
    shutil.rmtree(deployment.folder / "store")

    state, said, advice = deployment.health()["store"]

    assert state == "failed"
    assert str(deployment.folder / "store") in said
    assert advice
    page = deployment.client.get("/health")
    assert page.status_code == 200
    assert "1 part does not work" in page.text


@pytest.mark.parametrize("kind", ["store", "catalog"])
def test_pages_say_which_part_is_dead(deployment: Deployment, kind: str) -> None:
    if kind == "store":
        shutil.rmtree(deployment.folder / "store")
    else:
        (deployment.folder / "catalog.db").write_bytes(b"no database")
    version = f"/projects/digits/versions/{deployment.commit.id}"

    for path in ("/", "/projects/digits", version, "/executors", "/api/v1/projects"):
        answer = deployment.client.get(path)

        assert answer.status_code in (200, 404, 503), (path, answer.status_code)
        if answer.status_code == 503 and "api" not in path:
            assert 'href="' in answer.text
            assert "/health" in answer.text
    assert deployment.client.get("/health").status_code == 200
    assert deployment.health()[kind][0] == "failed"


def test_deployment_without_a_workspace_says_so() -> None:
    def closed() -> Sources:
        raise StoreError("No connection `mir_default`", code="no-connection", hint="Make one")

    def examine() -> list[object]:
        return list(examine_workspace(closed, label_tool=None))  # type: ignore[arg-type]

    client = Client(create_app(closed, may=_anything, examine=examine))  # type: ignore[arg-type]

    for path in ("/", "/projects/digits"):
        page = client.get(path)
        assert page.status_code == 503
        assert "No connection <code>mir_default</code>" in page.text
        assert "Make one" in page.text
    assert "No connection <code>mir_default</code>" in client.get("/health").text
