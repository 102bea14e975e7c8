"""Executor images in the console: what a caller who is not the shell's user may do."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from console_data import HOSTILE

from mir_ops.catalog import Catalog, read_project
from mir_ops.console.access import Action
from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources
from mir_ops.store import Store

IMAGE = "registry.example/team/mine:1"


class Engine:
    """The calls of a Docker engine that has one image, of which nothing is ever run."""

    def __init__(self) -> None:
        self.template = f"epochs: 3\nnote: '{HOSTILE}'\n"

    def inspect_image(self, image: str) -> dict[str, str]:
        from docker.errors import ImageNotFound

        if image != IMAGE:
            raise ImageNotFound("no such image")
        return {"Id": "sha256:" + "a" * 64}

    def create_container(self, **_: object) -> dict[str, str]:
        return {"Id": "c"}

    def get_archive(self, _container: str, _path: str) -> tuple[Iterator[bytes], dict[str, Any]]:
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w") as archive:
            for name in ("training-template.yaml", "infer-template.yaml"):
                member = tarfile.TarInfo(f"img-man/{name}")
                member.size = len(self.template)
                archive.addfile(member, io.BytesIO(self.template.encode()))
        return iter([written.getvalue()]), {}

    def remove_container(self, _container: str, **_: object) -> None:
        pass


class Console:
    """The app with a catalog of its own; `rights` are what its caller may."""

    def __init__(self, folder: Path, url: str) -> None:
        self.rights: set[Action] = {"read", "edit", "operate", "publish", "delete"}
        self.catalog = Catalog.open(url)
        sources = Sources(Store.open((folder / "store").as_uri(), create=True), self.catalog)
        self.engine = Engine()
        sources.workspace = replace(sources.workspace, engine=self.engine)
        self.app = create_app(
            lambda: sources, may=lambda _request, action, _project: action in self.rights
        )

    def ask(self, method: str, path: str, sent: object = None, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                return await client.request(method, path, json=sent, **more)

        return asyncio.run(send())

    def add(self, **fields: object) -> httpx.Response:
        return self.ask("POST", "/api/v1/executors", {"image": IMAGE, **fields})


@pytest.fixture
def console(tmp_path: Path, empty_catalog: str) -> Iterator[Console]:
    made = Console(tmp_path, empty_catalog)
    yield made
    made.catalog.close()


def test_image_is_added_seen_and_removed(console: Console) -> None:
    answer = console.add()

    assert answer.status_code == 201
    assert answer.json()["name"] == "mine:1"
    assert answer.json()["does"] == ["train", "infer"]
    assert answer.json()["conformance"] == "unchecked"
    settings = {"epochs": 3, "note": HOSTILE}
    assert answer.json()["templates"] == {"2": {"train": settings, "infer": settings}}
    listed = console.ask("GET", "/api/v1/executors").json()["executors"]
    assert [each["name"] for each in listed] == ["mine:1", "detector", "torchvision", "sample"]
    assert "mine:1" in console.ask("GET", "/executors").text

    assert console.ask("DELETE", "/api/v1/executors/mine:1").status_code == 204
    assert console.ask("GET", "/executors/mine:1").status_code == 404


def test_added_again_it_is_read_anew_and_its_check_is_stale(console: Console) -> None:
    console.add(name="mine")
    clauses = {"train-exit": ("passed", ""), "mine-result": ("failed", HOSTILE)}
    console.catalog.executors.keep_check("mine", digest="sha256:" + "a" * 64, clauses=clauses)
    page = console.ask("GET", "/executors/mine").text
    assert "1 clause failed" in page
    assert HOSTILE not in page

    console.catalog.executors.keep_check("mine", digest="sha256:" + "b" * 64, clauses=clauses)

    assert console.add(name="mine").json()["conformance"] == "stale"
    assert "mir executor check mine" in console.ask("GET", "/executors/mine").text


def test_name_stays_with_its_image(console: Console) -> None:
    console.catalog.executors.add(
        name="other", image="other:1", folder=None, digest=None, network=False,
        run_as_root=False, protocol="1.1.0", templates={},
    )  # fmt: skip

    for name in ("other", "detector"):
        answer = console.add(name=name)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "executor-name-taken")


@pytest.mark.parametrize(
    "image", ["../mine", "/etc", "./mine", "mine/", "-rm", "a b", "UPPER:1", "x:", HOSTILE, ""]
)
def test_image_is_never_a_path(console: Console, image: str) -> None:
    answer = console.add(image=image)

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "not-an-image")


def test_image_that_the_engine_lacks_says_so(console: Console) -> None:
    answer = console.add(image="nobody/mine:1")

    assert answer.status_code == 404
    assert "docker pull" in answer.json()["error"]["hint"]


@pytest.mark.parametrize("more", [{"network": True}, {"run_as_root": True}])
def test_more_than_the_contract_gives_is_an_admins(console: Console, more: Any) -> None:
    console.rights = {"read", "edit", "operate"}
    assert console.add(**more).status_code == 403
    assert console.catalog.executors.list() == []

    console.rights |= {"publish"}
    assert console.add(**more).status_code == 201


def test_viewer_sees_no_way_to_change_them(console: Console) -> None:
    console.add(name="mine")
    console.rights = {"read"}

    assert "data-send" not in console.ask("GET", "/executors").text
    assert "data-send" not in console.ask("GET", "/executors/mine").text
    assert console.add().status_code == 403
    assert console.ask("DELETE", "/api/v1/executors/mine").status_code == 403


def test_executor_of_a_project_stays_and_names_it(console: Console) -> None:
    console.add(name="mine")
    console.catalog.projects.apply(
        read_project(
            {
                "name": "digits",
                "classes": ["one"],
                "sources": {"training": "/t", "validation": "/v", "pool": "/p"},
                "executor": {"name": "mine"},
            }
        )
    )

    answer = console.ask("DELETE", "/api/v1/executors/mine")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "executor-used")
    assert ">digits</a>" in console.ask("GET", "/executors/mine").text


def test_public_image_fills_the_form(console: Console) -> None:
    image = "youdaoyzbx/ymir-executor:ymir2.0.0-yolov5-cu111-tmi"
    assert image in console.ask("GET", "/executors").text

    page = console.ask("GET", "/executors", params={"image": HOSTILE, "protocol": "0.0.0"}).text

    assert HOSTILE not in page
    assert '<option value="0.0.0" selected>' in page
