"""A scratch store reads the store below it, and never writes to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_tables import asset_ids, asset_rows

from mir_ops.errors import NotFoundError
from mir_ops.store import Operation, Store


def commit(store: Store, op_id: str, seed: int) -> str:
    with store.edit("main", op_id=op_id, operation=Operation(kind="test"), message="m") as edit:
        edit.put_assets(asset_rows(asset_ids(3, seed)))
    return edit.commit.id


def test_what_is_below_is_read_and_stays_as_it_is(tmp_path: Path) -> None:
    below = Store.open((tmp_path / "store").as_uri(), create=True)
    first, image = commit(below, "a" * 64, seed=1), below.put_blob(b"an image")
    ids = below.register_classes(["cat"])
    before = sorted(below.objects.list(""))

    scratch = below.scratch(tmp_path / "scratch")
    assert scratch.branches() == []
    assert scratch.find_operation("main", "a" * 64) is None
    again = commit(scratch, "a" * 64, seed=1)
    commit(scratch, "b" * 64, seed=2)
    log = scratch.put_blob(b"a log")

    assert scratch.read_commit_version(first).asset_ids().equals(asset_ids(3, 1))
    assert scratch.commit(again).manifest == below.commit(first).manifest
    assert scratch.branch("main").read().stats.assets == 6
    assert scratch.get_blob(image) == b"an image"
    assert scratch.register_classes(["cat", "dog"])["cat"] == ids["cat"]
    assert sorted(below.objects.list("")) == before
    assert below.classes() == ids
    with pytest.raises(NotFoundError):
        below.get_blob(log)


def test_blobs_of_a_shared_root_are_read_and_new_ones_stay_out_of_it(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    below = Store.open((tmp_path / "store").as_uri(), create=True, assets=shared.as_uri())
    image = below.put_blob(b"an image")
    before = sorted(shared.rglob("*"))

    scratch = below.scratch(tmp_path / "scratch")

    assert scratch.get_blob(image) == b"an image"
    assert scratch.get_blob(scratch.put_blob(b"a log")) == b"a log"
    assert sorted(shared.rglob("*")) == before
