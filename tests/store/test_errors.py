"""What can go wrong outside says so by code, with what to do about it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from sample_tables import asset_ids, commit_assets

from mir_ops.errors import InvalidInputError, MirError, NotFoundError, StoreError
from mir_ops.store import Store, keys, wire
from mir_ops.store.s3 import S3Objects


def read_boxes(store: Store) -> object:
    return store.read("b").layer("ground_truth")


@pytest.mark.parametrize(
    ("number", "code", "hint"),
    [
        (errno.ENOSPC, "disk-full", "Free some space and run the same command again"),
        (errno.EROFS, "read-only", "Mount the file system for writing, or copy the store"),
        (errno.EACCES, "permission-denied", "Give this user access to the store's directory"),
        (errno.EIO, "input-output-error", "Check the disk"),
    ],
)
def test_trouble_with_the_disk_is_named_and_commits_nothing(
    local_store: Store, monkeypatch: pytest.MonkeyPatch, number: int, code: str, hint: str
) -> None:
    def fail(_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError) as caught:
        commit_assets(local_store, "b", asset_ids(1))
    monkeypatch.undo()

    assert (caught.value.code, caught.value.hint) == (code, hint)
    assert "Cannot access `" in str(caught.value)
    assert not local_store.branch("b").exists
    assert list(local_store.objects.leftovers()) == []


def test_directory_on_a_read_only_disk_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(StoreError) as caught:
        Store.open((tmp_path / "store").as_uri(), create=True)

    assert caught.value.code == "read-only"
    assert str(tmp_path / "store") in str(caught.value)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_network_file_system_is_refused_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda *_, **__: f"/dev/x / ext4 rw 0 0\nhost:/x {tmp_path} {kind} rw 0 0",
    )

    with pytest.raises(InvalidInputError) as caught:
        Store.open((tmp_path / "store").as_uri(), create=True)

    assert caught.value.code == "network-file-system"
    assert kind in str(caught.value)
    assert caught.value.hint is not None
    assert "?network=allow" in caught.value.hint
    assert Store.open(f"{(tmp_path / 'store').as_uri()}?network=allow", create=True).id


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (403, "RequestTimeTooSkewed", "clock-skew"),
        (403, "InvalidAccessKeyId", "wrong-credentials"),
        (403, "AccessDenied", "access-denied"),
        (404, "NoSuchBucket", "no-such-bucket"),
        (507, "InsufficientStorage", "disk-full"),
        (400, "XMinioStorageFull", "disk-full"),
    ],
)
def test_refusal_of_a_server_is_named(s3_url: str, status: int, answer: str, code: str) -> None:
    objects = S3Objects.open(s3_url, access_key="test", secret_key="test")

    def refuse(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
        parsed["Error"] = {"Code": answer, "Message": "no"}
        parsed["ResponseMetadata"]["HTTPStatusCode"] = status
        http_response.status_code = status

    objects.client.meta.events.register("after-call.s3.PutObject", refuse)

    with pytest.raises(MirError) as caught:
        objects.create("blobs/x", b"body")

    assert caught.value.code == code
    assert caught.value.hint


def test_missing_object_says_what_refers_to_it(local_store: Store, tmp_path: Path) -> None:
    commit = commit_assets(local_store, "b", asset_ids(2), boxes=1)
    root, short = tmp_path / "store", commit.id[:12]
    segment = local_store.read("b").segments()["ground_truth"][0]
    manifest, tip = keys.stored_object(commit.manifest), keys.stored_object(commit.id)
    places: list[tuple[str, Callable[[Store], object], str]] = [
        (segment.key, read_boxes, f"table `ground_truth` of commit {short}"),
        (manifest, lambda store: store.read("b").assets(), f"commit {short}"),
        (tip, lambda store: store.branch("b").tip(), "branch `b`"),
        (tip, lambda store: store.resolve("b"), "`b`"),
    ]
    for key, read, referrer in places:
        body = (root / key).read_bytes()
        (root / key).unlink()
        again = Store.open(local_store.url)
        with pytest.raises(NotFoundError) as caught:
            read(again)
        (root / key).write_bytes(body)
        assert caught.value.code == "missing-object"
        assert str(caught.value) == (
            f"Object `{key}` is missing from `{again.url}`; {referrer} refers to it"
        )


def test_corrupt_object_says_what_refers_to_it(local_store: Store, tmp_path: Path) -> None:
    commit = commit_assets(local_store, "b", asset_ids(2), boxes=1)
    segment = local_store.read("b").segments()["assets"][0]
    path = tmp_path / "store" / segment.key
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(StoreError) as caught:
        Store.open(local_store.url).read("b").assets()

    assert caught.value.code == "corrupt-object"
    assert f"Object `{segment.key}`" in str(caught.value)
    assert str(caught.value).endswith(f"; table `assets` of commit {commit.id[:12]} refers to it")


def test_object_of_a_later_format_is_not_called_corrupt(local_store: Store) -> None:
    header, body = wire.MAGIC + bytes((wire.COMMIT, wire.VERSION + 1)), b"anything"
    object_id = hashlib.sha256(header + body).hexdigest()
    local_store.objects.create(keys.stored_object(object_id), header + zstandard.compress(body))

    with pytest.raises(StoreError) as caught:
        local_store.commit(object_id)

    assert caught.value.code == "store-too-new"
    assert caught.value.hint == "Upgrade mir-ops"


def test_store_with_an_unknown_feature_is_refused(local_store: Store) -> None:
    seen = local_store.objects.find_versioned(keys.FEATURES)
    assert seen is not None
    local_store.objects.swap(keys.FEATURES, seen.body + b"\x1a\x05later", seen)

    with pytest.raises(StoreError) as caught:
        Store.open(local_store.url)

    assert caught.value.code == "store-too-new"


@pytest.mark.parametrize("rev", ["mian", "main@V9", "main@t", "0123456789abcdef"])
def test_unknown_revision_says_close_names_or_where_to_look(store: Store, rev: str) -> None:
    commit_assets(store, "main", asset_ids(1))

    with pytest.raises(NotFoundError) as caught:
        store.resolve(rev)

    assert caught.value.code in ("unknown-revision", "no-such-version")
    assert caught.value.hint
    if rev == "mian":
        assert caught.value.hint == "Did you mean `main`?"
