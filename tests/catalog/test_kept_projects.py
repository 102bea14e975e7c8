"""The projects in one question, and the last answer while nobody answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mir_ops.catalog import Catalog, apply_project
from mir_ops.catalog.kept import list_projects
from mir_ops.catalog.projects import read_project

PROJECT: dict[str, Any] = {
    "name": "street",
    "classes": ["car"],
    "sources": {"training": "/t", "validation": "/v", "pool": "/p"},
    "executor": {"name": "sample"},
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'catalog.db'}"


def test_live_projects_are_listed_by_their_keys(url: str, tmp_path: Path) -> None:
    catalog = Catalog.open(url)
    for name in ("street", "night", "gone"):
        apply_project(catalog, {**PROJECT, "name": name})
    catalog.projects.rename("street", "avenue")
    catalog.projects.delete("gone")

    found = list_projects(url, tmp_path / "home" / "kept.json")

    assert found.problem is None
    assert {key: read_project(file).name for key, file in found.files.items()} == {
        "street": "avenue",
        "night": "night",
    }


def test_a_catalog_that_nobody_made_has_no_projects_and_stays_so(url: str, tmp_path: Path) -> None:
    assert list_projects(url, tmp_path / "kept.json").files == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["gone", "garbage"])
def test_while_nobody_answers_the_last_answer_holds(url: str, tmp_path: Path, how: str) -> None:
    apply_project(Catalog.open(url), PROJECT)
    kept, database = tmp_path / "kept.json", tmp_path / "catalog.db"
    before = list_projects(url, kept)
    database.unlink() if how == "gone" else database.write_bytes(b"garbage" * 999)

    found = list_projects(url, kept)

    assert found.files == before.files != {}
    assert found.problem is not None
    assert found.problem.startswith("The catalog")


def test_an_answer_that_cannot_be_kept_is_an_answer(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    apply_project(Catalog.open(url), PROJECT)
    (tmp_path / "file").touch()

    found = list_projects(url, tmp_path / "file" / "kept.json")

    assert (list(found.files), found.problem) == (["street"], None)
    assert "Could not keep" in caplog.text


def test_a_server_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    found = list_projects("postgresql+psycopg2://mir@127.0.0.1:9/mir", tmp_path / "kept.json")

    assert found.files == {}
    assert found.problem is not None
    assert "does not work" in found.problem
