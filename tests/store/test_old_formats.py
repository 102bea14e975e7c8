"""Stores written by earlier versions of the format stay readable, and can be written on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import format_1
import pytest
from pictures import commit_pictures
from sample_tables import recount

from mir_ops.store import Store
from mir_ops.store.audits import audit
from mir_ops.store.outcomes import find_outcome

DATA = Path(__file__).parents[1] / "data" / "format-1"


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "content.json").read_text())
    return found


@pytest.fixture
def old_store() -> Store:
    return Store.open((DATA / "store").as_uri())


def test_everything_that_was_written_is_read(old_store: Store, content: dict[str, Any]) -> None:
    assert format_1.describe(old_store) == content
    assert tuple(content["branches"]) == format_1.BRANCHES


def test_old_store_is_clean(old_store: Store) -> None:
    report = audit(old_store, "deep")

    assert report.problems == []
    assert report.seen["blobs"] == 9
    assert report.seen["sidecars"] > 0
    for branch in old_store.branches():
        recount(branch.read())


def test_old_names_numbers_and_operations_resolve(
    old_store: Store, content: dict[str, Any]
) -> None:
    newest, *_, first = content["branches"]["p/training"]
    assert old_store.resolve("p/training@first").id == first["id"]
    assert old_store.resolve("p/training@V3").id == newest["id"]
    assert old_store.resolve(newest["id"][:10]).id == newest["id"]
    outcome = find_outcome(old_store, "label")
    assert (outcome.branch, outcome.number) == ("p/training", 2)
    assert not old_store.branch("p/gone").exists


def test_old_store_can_be_written_on(tmp_path: Path, content: dict[str, Any]) -> None:
    shutil.copytree(DATA / "store", tmp_path / "store")
    store = Store.open((tmp_path / "store").as_uri())

    commit_pictures(store, "p/training", range(20, 22))
    merged = store.merge(
        "p/merged",
        store.read("p/merged"),
        [store.read("p/training")],
        op_id="again",
        operation=store.resolve("p/merged").operation,
        message="Merge again",
        strategy="host",
    )

    assert store.register_classes(["bird", "dog"]) == {"bird": 2, "dog": 1}
    assert merged.stats.assets == content_assets(content, "p/merged") + 2
    for branch in store.branches():
        recount(branch.read())
    assert audit(store, "deep").clean


def content_assets(content: dict[str, Any], branch: str) -> int:
    return len(content["branches"][branch][0]["assets"])


def test_reading_writes_nothing(old_store: Store) -> None:
    before = sorted(path for path in DATA.rglob("*"))

    format_1.describe(old_store)
    audit(old_store, "deep")

    assert sorted(path for path in DATA.rglob("*")) == before
