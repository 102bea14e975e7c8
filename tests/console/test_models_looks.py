"""A model looks at pictures that are sent, each bounded and decoded first."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from model_data import write_package
from PIL import Image

from mir_ops.console.app import create_app
from mir_ops.console.models import looks
from mir_ops.console.models.looks import FOLDER, LooksHere
from mir_ops.console.sources import NO_PROJECT, Sources
from mir_ops.workspace import Workspace


def picture(kind: str = "PNG", size: tuple[int, int] = (80, 60)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (90, 120, 30)).save(file, kind)
    return file.getvalue()


class World:
    """`mir view`'s console over a workspace with one imported model."""

    def __init__(self, folder: Path) -> None:
        from mir_ops.store import Store

        Store.open((folder / "store").as_uri(), create=True)
        self.ws = Workspace(
            store_url=(folder / "store").as_uri(),
            catalog_url=f"sqlite:///{folder}/catalog.db",
            work_dir=folder / "work",
        )
        self.model = write_package(folder, self.ws).model_id
        self.looks = LooksHere(workspace=self.ws)
        sources = Sources(self.ws.store, self.ws.catalog, every_version=True, looks=self.looks)
        self.app = create_app(lambda: sources, may=lambda _request, _action, _project: True)
        self.folder = self.ws.work_dir / FOLDER
        self.path = f"/api/v1/projects/{NO_PROJECT}/models/{self.model}/looks"

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())

    def send(self, content: bytes, **query: str) -> httpx.Response:
        headers = {"Content-Type": "application/octet-stream"}
        params = {"executor": "sample", **query}
        return self.ask("POST", self.path, content=content, params=params, headers=headers)

    def wait(self, look: str) -> Mapping[str, Any]:
        deadline = time.monotonic() + 300
        while (said := self.ask("GET", f"{self.path}/{look}").json())["state"] == "waiting":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert isinstance(said, dict)
        return said


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("looks"))


def test_a_picture_that_is_sent_is_looked_at_and_shown(world: World) -> None:
    content = picture("JPEG")

    sent = world.send(content)

    assert sent.status_code == 202, sent.text
    look = sent.json()["look"]
    said = world.wait(look)
    assert (said["state"], said["message"]) == ("done", None)
    assert len(said["boxes"]) == 2  # what the sample invents
    for box in said["boxes"]:
        assert box["class_name"] in ("cat", "<b>dog")
        assert set(box["box"]) == set("xywh")
        assert 0 <= box["score"] <= 1
    shown = world.ask("GET", f"{world.path}/{look}/picture")
    assert shown.content == content
    assert shown.headers["content-type"] == "image/jpeg"
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in shown.headers["content-security-policy"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="svg"),
        pytest.param(picture("GIF"), id="gif"),
        pytest.param(picture()[:60], id="cut off"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\0" * 40, id="garbage"),
    ],
)
def test_what_is_no_picture_is_refused_and_not_kept(world: World, content: bytes) -> None:
    before = set(world.folder.glob("*")) | set(world.folder.glob(".*"))

    answer = world.send(content)

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "not-a-picture")
    assert set(world.folder.glob("*")) | set(world.folder.glob(".*")) == before


def test_a_picture_has_a_bound_in_bytes_and_in_pixels(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "LONGEST", 1000)
    answer = world.send(b"x" * 1001)
    assert answer.json()["error"]["code"] == "picture-too-large"
    monkeypatch.undo()

    monkeypatch.setattr(looks, "_MOST_PIXELS", 80 * 60 - 1)
    assert "too many pixels" in world.send(picture()).json()["error"]["message"]


@pytest.mark.parametrize("name", ["0" * 32, "%2e%2e%2fcatalog", "model.tar.gz", "x" * 32])
def test_nothing_else_can_be_named(world: World, name: str) -> None:
    for path in (name, f"{name}/picture"):
        assert world.ask("GET", f"{world.path}/{path}").status_code == 404


def test_what_is_asked_for_must_be_known(world: World) -> None:
    assert world.send(picture(), executor="/tmp/mine").json()["error"]["code"] == "no-such-executor"
    assert world.send(picture(), stage="two").json()["error"]["code"] == "no-such-stage"


def test_a_look_that_fails_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(world.ws.store), "fetch_blob", _not_there)

    said = world.wait(world.send(picture()).json()["look"])

    assert (said["state"], said["message"]) == ("failed", "The store does not answer")


def _not_there(*_arguments: object) -> None:
    from mir_ops.errors import StoreError

    raise StoreError("The store does not answer")


def test_pictures_of_yesterday_are_gone(world: World) -> None:
    sent = world.send(picture()).json()["look"]
    world.wait(sent)
    (path,) = world.folder.glob(f"{sent}.*")
    os.utime(path, (time.time() - 25 * 3600,) * 2)

    world.wait(world.send(picture()).json()["look"])

    assert not path.exists()
    assert world.ask("GET", f"{world.path}/{sent}").status_code == 404
