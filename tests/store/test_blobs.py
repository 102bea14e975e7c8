from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mir_ops.errors import InvalidInputError, NotFoundError, StoreError
from mir_ops.store import Store, keys


def test_blob_is_named_by_its_content(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "image.png"
    source.write_bytes(b"pixels")

    digests = store.put_blobs([source, b"other", b"pixels"])

    assert digests[0] == digests[2] == hashlib.sha256(b"pixels").hexdigest()
    assert store.get_blob(digests[0]) == b"pixels"
    store.fetch_blob(digests[1], tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"other"
    assert store.has_blobs([*digests, "0" * 64]) == set(digests)
    assert store.put_blob(b"") == hashlib.sha256(b"").hexdigest()


def test_missing_blob_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        store.fetch_blob("0" * 64, tmp_path / "copy")

    assert caught.value.code == "missing-blob"
    assert list(tmp_path.glob("*copy*")) == []
    with pytest.raises(InvalidInputError, match="is not a SHA-256"):
        store.get_blob("../../etc/passwd")


def test_corrupt_blob_is_named_and_not_handed_out(local_store: Store, tmp_path: Path) -> None:
    digest = local_store.put_blob(b"pixels")
    path = local_store.objects.local_path(keys.blob(digest))
    assert path is not None
    path.write_bytes(b"pixelz")

    with pytest.raises(StoreError) as caught:
        local_store.fetch_blob(digest, tmp_path / "copy")

    assert caught.value.code == "corrupt-object"
    assert keys.blob(digest) in str(caught.value)
    assert not (tmp_path / "copy").exists()


def test_truncated_blob_is_not_taken_for_the_same(local_store: Store) -> None:
    digest = local_store.put_blob(b"pixels")
    path = local_store.objects.local_path(keys.blob(digest))
    assert path is not None
    path.write_bytes(b"pix")

    with pytest.raises(StoreError, match="it has 3 bytes, expected 6"):
        local_store.put_blob(b"pixels")


def test_source_that_is_gone_is_named(local_store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Cannot read"):
        local_store.put_blob(tmp_path / "gone")


def test_files_become_blobs_without_a_copy_where_that_is_allowed(
    local_store: Store, tmp_path: Path
) -> None:
    source = tmp_path / "picture"
    source.write_bytes(b"pixels")
    digest = hashlib.sha256(b"pixels").hexdigest()

    with local_store.blobs.writer(link=True) as writer:
        writer.put([(digest, str(source)), (digest, b"pixels")])

    path = local_store.objects.local_path(keys.blob(digest))
    assert path is not None
    assert path.samefile(source)
    assert local_store.get_blob(digest) == b"pixels"
