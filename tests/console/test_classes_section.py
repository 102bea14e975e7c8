"""Classes in the console: one id for the store, names and aliases for each project's datasets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from console_data import HOSTILE, write_version

from mir_ops.catalog import Catalog, read_project
from mir_ops.cli.repository import create_repository, find_repository
from mir_ops.console.access import Action
from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources
from mir_ops.store import Store


class Console:
    """Two branches of `digits`, one of `secret`; `hidden` projects may not be read."""

    def __init__(self, folder: Path, catalog_url: str) -> None:
        self.hidden: set[str] = set()
        self.rights: set[Action] = {"read", "edit"}
        self.store = Store.open((folder / "store").as_uri(), create=True)
        write_version(self.store, "digits/training", "digits", [b"one", b"two"])
        write_version(self.store, "digits/pool", "digits", [b"three"])
        write_version(self.store, "secret/training", "secret", [b"four"])
        self.catalog = Catalog.open(catalog_url)
        self.sources = Sources(self.store, self.catalog)
        self.app = create_app(
            lambda: self.sources,
            may=lambda _request, action, project: (
                action in self.rights and project not in self.hidden
            ),
        )

    def ask(self, method: str, path: str, sent: object = None, **more: Any) -> httpx.Response:
        async def as_ada(scope: Any, receive: Any, answer: Any) -> None:
            scope.setdefault("state", {})["mir_author"] = "ada"
            await self.app(scope, receive, answer)

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=as_ada)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                return await client.request(method, path, json=sent, **more)

        return asyncio.run(send())

    def id_of(self, name: str) -> int:
        return self.store.classes()[name]

    def change(self, which: str, /, project: str = "digits", **words: object) -> httpx.Response:
        return self.ask(
            "PATCH", f"/api/v1/projects/{project}/classes/{self.id_of(which)}", {**words}
        )

    def words(self, branch: str, name: str) -> tuple[str, tuple[str, ...]]:
        taxonomy = self.store.read(self.store.branch(branch).tip()).taxonomy
        (found,) = (each for each in taxonomy.classes if each.id == self.id_of(name))
        return found.name, found.aliases


@pytest.fixture
def console(tmp_path: Path, empty_catalog: str) -> Iterator[Console]:
    made = Console(tmp_path, empty_catalog)
    yield made
    made.catalog.close()


def test_renamed_class_keeps_its_id_and_its_old_name(console: Console) -> None:
    before = console.store.branch("digits/pool").tip()

    answer = console.change("cat", name="Kitten", aliases=["pussy", "moggy"])

    assert answer.status_code == 200
    assert answer.json()["id"] == console.id_of("cat")
    for branch in ("digits/training", "digits/pool"):
        assert console.words(branch, "cat") == ("kitten", ("pussy", "moggy", "cat"))
    assert console.words("secret/training", "cat") == ("cat", ())
    tip = console.store.branch("digits/pool").tip()
    assert tip.message == "Class `cat` is `kitten`"
    assert (tip.parents, tip.project, tip.stats) == ((before.id,), "digits", before.stats)
    assert tip.author == "ada"


def test_the_same_change_again_commits_nothing(console: Console) -> None:
    console.change("cat", name="kitten")
    tip = console.store.branch("digits/training").tip()

    assert console.change("cat", name="kitten", aliases=["cat"]).status_code == 200

    assert console.store.branch("digits/training").tip() == tip


@pytest.mark.parametrize("words", [{"name": "dog"}, {"name": "cat", "aliases": ["dog"]}])
def test_word_of_another_class_is_refused_before_anything_changes(
    console: Console, words: dict[str, Any]
) -> None:
    before = [tip.id for _, tip in console.sources.tips()]

    answer = console.change("cat", **words)

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "class-name-twice")
    assert [tip.id for _, tip in console.sources.tips()] == before


def test_word_that_another_project_s_class_was_registered_as_is_refused(console: Console) -> None:
    console.ask("POST", "/api/v1/classes", {"name": "Lion"})

    answer = console.change("cat", name="lion")

    assert answer.json()["error"]["message"] == (
        "`lion` is the name of another class in this store"
    )


@pytest.mark.parametrize("name", ["", "  ", "a,b", "a;b", "a\nb", "x" * 201])
def test_what_can_be_no_name_is_refused(console: Console, name: str) -> None:
    assert console.change("cat", name=name).status_code == 422
    assert console.ask("POST", "/api/v1/classes", {"name": name}).status_code == 422
    assert console.words("digits/training", "cat") == ("cat", ())


def test_class_is_added_once(console: Console) -> None:
    made = [console.ask("POST", "/api/v1/classes", {"name": " Lion "}) for _ in range(2)]

    assert [answer.status_code for answer in made] == [201, 201]
    assert {answer.json()["id"] for answer in made} == {console.id_of("lion")}
    assert ">lion</a>" in console.ask("GET", "/classes", params={"q": "LIO"}).text
    assert ">cat</a>" not in console.ask("GET", "/classes", params={"q": "lio"}).text


def test_datasets_that_may_not_be_read_stay_unsaid(console: Console) -> None:
    console.hidden = {"secret"}
    one = f"/classes/{console.id_of('cat')}"

    for path in ("/classes", one, "/api/v1/classes"):
        assert "secret" not in console.ask("GET", path).text
        assert "digits" in console.ask("GET", path).text
    assert console.change("cat", project="secret", name="kitten").status_code == 403


def test_viewer_changes_nothing(console: Console) -> None:
    console.rights = {"read"}

    assert console.change("cat", name="kitten").status_code == 403
    assert console.ask("POST", "/api/v1/classes", {"name": "lion"}).status_code == 403
    for path in ("/classes", f"/classes/{console.id_of('cat')}"):
        assert "data-send" not in console.ask("GET", path).text


def test_class_stays_while_a_round_reads_it(console: Console) -> None:
    project = console.catalog.projects.apply(
        read_project(
            {
                "name": "digits",
                "classes": ["cat"],
                "sources": {"training": "/t", "validation": "/v", "pool": "/p"},
                "executor": {"name": "sample"},
            }
        )
    )
    console.catalog.rounds.open(
        project.name,
        deployment="local",
        dag_id="round__digits",
        run_id="one",
        spec=project.spec,
        conf={},
    )

    answer = console.change("cat", name="kitten")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "round-open")
    assert console.words("digits/training", "cat") == ("cat", ())


def test_hostile_names_are_text(console: Console) -> None:
    for path in ("/classes", f"/classes/{console.id_of(HOSTILE)}"):
        assert HOSTILE not in console.ask("GET", path).text


def test_label_file_does_not_undo_what_was_renamed(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    create_repository(root, store_url=None)
    repository = find_repository(root)
    write_version(repository.store, "digits/training", "digits", [b"one"])
    repository.label_files.declare(["cat"])
    sources = Sources(
        repository.store, None, every_version=True, label_files=repository.label_files
    )
    app = create_app(lambda: sources, may=lambda _request, _action, _project: True)
    cat = repository.store.classes()["cat"]

    async def rename() -> int:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            path = f"/api/v1/projects/digits/classes/{cat}"
            return (await client.patch(path, json={"name": "kitten"})).status_code

    assert asyncio.run(rename()) == 200
    taxonomy = repository.store.read(repository.store.branch("digits/training").tip()).taxonomy
    assert taxonomy.name_of(cat) == "kitten"
    (label,) = (each for each in repository.label_files.read() or [] if each.name == "kitten")
    assert label.aliases == ("cat",)
