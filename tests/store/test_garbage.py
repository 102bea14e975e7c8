"""A dry run of garbage collection: what is dead, why, and what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import commit_pictures
from sample_tables import OPERATION, asset_ids, asset_rows, commit_assets

from mir_ops.errors import StoreError
from mir_ops.store import Store, keys
from mir_ops.store.garbage import DAY, Dead, Garbage, find_garbage
from mir_ops.store.local import LocalObjects


def collected(store: Store, **settings: object) -> tuple[Garbage, list[Dead]]:
    dead: list[Dead] = []
    found = find_garbage(store, on_dead=dead.append, **settings)  # type: ignore[arg-type]
    return found, dead


def counts(found: Garbage) -> dict[str, int]:
    return {name: kind.count for name, kind in found.kinds.items()}


def test_nothing_of_a_used_store_is_dead(store: Store) -> None:
    commit_pictures(store, "a", range(3))
    first = store.resolve("a")
    store.create_tag("a@one", first.id)
    commit_pictures(store, "a", range(3, 5))
    store.branch("a").delete()

    found, dead = collected(store, keep=())

    assert dead == []
    assert found.notes == []


def test_deleted_branch_is_dead_once_its_reflog_expired(store: Store) -> None:
    kept = commit_pictures(store, "kept", range(2))
    gone = commit_pictures(store, "gone", range(1, 4))
    store.branch("gone").delete()

    found, dead = collected(store, keep=(), reflog_kept=-1)

    why = {one.key: one.why for one in dead}
    assert why[keys.stored_object(gone.id)].startswith("only an expired entry of the reflog")
    assert "reflog of `heads/gone`" in why[keys.stored_object(gone.id)]
    assert keys.stored_object(kept.id) not in why
    assert counts(found)["commit"] == counts(found)["manifest"] == 1
    assert counts(found)["segment"] == 2
    assert counts(found)["blob"] == 2  # the picture that both branches have is alive
    assert counts(found)["operation record"] == 1
    assert not any(one.ripe for one in dead)
    assert sum(kind.byte_size for kind in found.kinds.values()) > 0


def test_what_is_older_than_the_grace_period_is_ripe(store: Store) -> None:
    commit_pictures(store, "gone", range(3))
    store.branch("gone").delete()

    found, dead = collected(store, keep=(), reflog_kept=-1, grace=0)

    assert {one.kind for one in dead if one.ripe} >= {"commit", "manifest", "segment", "blob"}
    assert found.kinds["commit"].ripe_count == 1
    assert found.kinds["blob"].ripe_bytes == found.kinds["blob"].byte_size


def test_blobs_of_the_catalog_are_kept(store: Store) -> None:
    package, other = store.put_blobs([b"package", b"other"])

    _, dead = collected(store, keep={package})

    assert [(one.kind, one.key) for one in dead] == [("blob", keys.blob(other))]


def test_without_a_catalog_no_blob_is_called_dead(store: Store) -> None:
    store.put_blob(b"perhaps a model")

    found, dead = collected(store)

    assert dead == []
    assert found.notes == ["Blobs are not judged: only the catalog knows which others it names"]


def test_shared_media_are_never_called_dead_by_one_store(tmp_path: Path) -> None:
    media = Store.open((tmp_path / "media").as_uri(), create=True)
    other = Store.open((tmp_path / "other").as_uri(), create=True, assets=media.url)
    other.put_blob(b"unnamed")

    for store, note in ((other, "in the shared root"), (media, "keep theirs here")):
        found, dead = collected(store, keep=(), grace=0)
        assert dead == []
        assert any(note in text for text in found.notes)


def test_running_operation_keeps_its_base(store: Store) -> None:
    base = commit_assets(store, "a", asset_ids(2))
    with store.edit("b", op_id="long", operation=OPERATION, message="m", base=base) as edit:
        store.branch("a").delete()
        _, dead = collected(store, reflog_kept=-1)
        edit.put_assets(asset_rows(asset_ids(1, seed=9)))

    assert keys.stored_object(base.id) not in {one.key for one in dead}


def test_rests_of_killed_writers_are_dead_with_their_reason(tmp_path: Path) -> None:
    store = Store.on(LocalObjects(tmp_path), create=True)
    commit_assets(store, "a", asset_ids(2))
    store.objects.create(keys.segment("ab" * 32), b"rows of nobody")
    (tmp_path / "seg" / ".tmp-1").write_bytes(b"half")

    _, dead = collected(store)

    why = {one.key: (one.kind, one.why) for one in dead}
    assert why == {
        keys.segment("ab" * 32): (
            "segment",
            "nothing leads to it: its writer died before it committed",
        ),
        "seg/.tmp-1": ("temporary file", "its writer was killed"),
    }


def test_commit_whose_ref_never_moved_explains_its_parts(tmp_path: Path) -> None:
    store = Store.on(LocalObjects(tmp_path), create=True)
    lost = commit_assets(store, "a", asset_ids(2))
    (tmp_path / keys.head("a")).unlink()
    for key in (*store.objects.list("reflog/"), *store.objects.list("ops/")):
        store.objects.delete(key)

    _, dead = collected(Store.on(LocalObjects(tmp_path)))

    why = {one.key: one.why for one in dead}
    assert why[keys.stored_object(lost.manifest)] == (
        f"only a commit that no ref points to leads to it: commit {lost.id[:12]}"
    )


def test_damaged_store_is_not_judged(local_store: Store, tmp_path: Path) -> None:
    commit = commit_assets(local_store, "a", asset_ids(2))
    (tmp_path / "store" / keys.stored_object(commit.manifest)).unlink()

    with pytest.raises(StoreError) as caught:
        find_garbage(Store.open(local_store.url))

    assert caught.value.code == "damaged-store"
    assert f"commit {commit.id[:12]} refers to it" in str(caught.value)


def test_dry_run_deletes_nothing(store: Store) -> None:
    commit_pictures(store, "gone", range(3))
    store.branch("gone").delete()
    before = sorted(entry.key for entry in store.objects.entries(""))

    collected(store, keep=(), reflog_kept=-DAY, grace=0)

    assert sorted(entry.key for entry in store.objects.entries("")) == before
