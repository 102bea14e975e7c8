"""The page of a deployment in the store, written over whatever lies there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mir_ops.catalog import Catalog, apply_project
from mir_ops.catalog.pages import REGISTRY, keep_registry
from mir_ops.store import Store, keys
from mir_ops.store.pages import write_page

PROJECT = {
    "name": "street",
    "classes": ["car"],
    "sources": {"training": "/t", "validation": "/v", "pool": "/p"},
    "executor": {"name": "sample"},
}


@pytest.mark.parametrize(
    "damaged",
    [b"", b"\xff", b"[" * 100_000, b"[1]", b"null", b'{"projects": 1}', b'{"projects": [1, {}]}'],
)
def test_a_damaged_page_stops_nothing_and_is_replaced(tmp_path: Path, damaged: bytes) -> None:
    store = Store.open((tmp_path / "store").as_uri(), create=True)
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    apply_project(catalog, PROJECT)
    write_page(store.objects, ("here", REGISTRY), lambda _: damaged)

    assert keep_registry(catalog, store, "here")

    page = json.loads(store.objects.find(keys.page("here", REGISTRY)) or b"")
    assert [row["key"] for row in page["projects"]] == ["street"]
    assert not keep_registry(catalog, store, "here")


def test_projects_that_another_catalog_told_of_stay(tmp_path: Path) -> None:
    store = Store.open((tmp_path / "store").as_uri(), create=True)
    for name in ("street", "night"):
        catalog = Catalog.open(f"sqlite:///{tmp_path / name}.db")
        apply_project(catalog, {**PROJECT, "name": name})
        keep_registry(catalog, store, "here")

    page = json.loads(store.objects.find(keys.page("here", REGISTRY)) or b"")
    assert {row["key"] for row in page["projects"]} == {"street", "night"}
