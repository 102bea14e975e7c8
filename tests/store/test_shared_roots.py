from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from sample_tables import asset_ids, commit_assets

from mir_ops.errors import NotFoundError
from mir_ops.store import Store, keys
from mir_ops.store.features import read_features
from mir_ops.store.roots import sharing_stores

DIGEST = hashlib.sha256(b"pixels").hexdigest()


def two_stores(tmp_path: Path) -> tuple[Store, Store, Path]:
    media = tmp_path / "media"
    one, two = (
        Store.open((tmp_path / name).as_uri(), create=True, assets=media.as_uri())
        for name in ("one", "two")
    )
    return one, two, media


def blob_files(root: Path) -> list[str]:
    return [path.name for path in (root / "blobs").rglob("*") if path.is_file()]


def test_stores_with_one_root_share_their_blobs(tmp_path: Path) -> None:
    one, two, media = two_stores(tmp_path)

    one.put_blob(b"pixels")

    assert two.get_blob(DIGEST) == b"pixels"
    assert two.has_blobs([DIGEST, "0" * 64]) == {DIGEST}
    assert two.put_blob(b"pixels") == DIGEST
    assert blob_files(media) == [DIGEST]
    assert not (tmp_path / "one" / "blobs").exists()


def test_root_is_found_again_and_knows_its_stores(tmp_path: Path) -> None:
    one, two, media = two_stores(tmp_path)
    one.put_blob(b"pixels")

    again = Store.open(one.url)

    assert again.get_blob(DIGEST) == b"pixels"
    assert read_features(again.objects).blob_roots == [media.as_uri()]
    shared = again.blobs.roots[0]
    assert sharing_stores(shared) == {one.id: one.url, two.id: two.url}


def test_adding_a_root_keeps_the_blobs_of_before(tmp_path: Path) -> None:
    store = Store.open((tmp_path / "one").as_uri(), create=True)
    store.put_blob(b"pixels")

    with_root = Store.open(store.url, create=True, assets=str(tmp_path / "media"))
    later = with_root.put_blob(b"later")

    assert with_root.get_blob(DIGEST) == b"pixels"
    assert blob_files(tmp_path / "media") == [later]
    with_root.fetch_blob(DIGEST, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"pixels"


def test_damaged_copy_in_one_root_gives_way_to_a_good_one_in_another(tmp_path: Path) -> None:
    one, two, media = two_stores(tmp_path)
    two.objects.create(keys.blob(DIGEST), b"pixels")
    one.put_blob(b"pixels")
    next((media / "blobs").rglob(DIGEST)).write_bytes(b"pixelz")

    assert two.get_blob(DIGEST) == b"pixels"
    two.fetch_blob(DIGEST, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"pixels"


def test_missing_root_is_named_and_rows_are_readable_without_it(tmp_path: Path) -> None:
    one, _, media = two_stores(tmp_path)
    commit_assets(one, "b", asset_ids(2))
    shutil.rmtree(media)

    again = Store.open(one.url)

    assert again.read("b").assets().num_rows == 2
    with pytest.raises(NotFoundError) as caught:
        again.get_blob(DIGEST)
    assert caught.value.code == "no-such-asset-root"
    assert media.as_uri() in str(caught.value)
    assert caught.value.hint == "Mount the disk, or copy the directory back to this place"
    assert not media.exists()


def test_stores_in_a_bucket_share_a_prefix(s3_url: str) -> None:
    assets = s3_url.replace("?", "/media?")
    one, two = (
        Store.open(
            s3_url.replace("?", f"/{name}?"),
            create=True,
            access_key="test",
            secret_key="test",
            assets=assets,
        )
        for name in ("one", "two")
    )

    one.put_blob(b"pixels")

    assert two.get_blob(DIGEST) == b"pixels"
    assert list(one.objects.list("blobs/")) == []
    again = Store.open(two.url, access_key="test", secret_key="test")
    assert again.has_blobs([DIGEST]) == {DIGEST}
