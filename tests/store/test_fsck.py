"""An audit of a store names what is missing, corrupt, dangling or an orphan."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from pictures import commit_pictures, picture
from sample_tables import commit_assets

from mir_ops.store import Commit, Store, keys
from mir_ops.store.audits import AuditReport, Depth, audit
from mir_ops.store.local import LocalObjects
from mir_ops.store.manifests import read_manifest
from mir_ops.store.objects import ObjectStore
from mir_ops.store.reachability import starts_of_reflog
from mir_ops.taxonomy import ClassName, Taxonomy

DEPTHS: list[Depth] = ["quick", "meta", "deep"]


def filled(objects: ObjectStore) -> tuple[Store, Commit]:
    """Three commits, a merge, a tag, a taxonomy and a deleted branch."""
    store = Store.on(objects, create=True)
    commit_pictures(store, "a", range(4))
    commit_pictures(store, "a", range(4, 6))
    commit_pictures(store, "gone", range(20, 22))
    store.branch("gone").delete()
    other = commit_pictures(store, "b", range(5, 8))
    with store.edit("b", op_id="classes", operation=other.operation, message="m") as edit:
        edit.put_taxonomy(Taxonomy(classes=(ClassName(id=0, name="cat", aliases=()),)))
    store.create_tag("b@first", other.id)
    merged = store.merge(
        "merged",
        store.read("a"),
        [store.read("b")],
        op_id="merge",
        operation=other.operation,
        message="Merge",
    )
    return store, merged


@pytest.fixture
def local(tmp_path: Path) -> tuple[Store, Commit, Path]:
    root = tmp_path / "store"
    root.mkdir()
    store, merged = filled(LocalObjects(root))
    return store, merged, root


def only_problem(report: AuditReport) -> tuple[str, str, str]:
    assert len(report.problems) == 1, report.problems
    problem = report.problems[0]
    return problem.kind, problem.key, problem.referrer


@pytest.mark.parametrize("depth", DEPTHS)
def test_healthy_store_is_clean_at_every_depth(objects: ObjectStore, depth: Depth) -> None:
    store, _ = filled(objects)

    report = audit(store, depth)

    assert report.problems == []
    assert report.clean
    assert report.exit_code == 0
    assert report.seen["refs"] == 5
    assert report.seen["commits"] == (5 if depth == "quick" else 6)  # the deleted branch's too
    assert report.seen["blobs"] == (10 if depth == "deep" else 0)


def test_missing_commit_is_named_with_its_ref(local: tuple[Store, Commit, Path]) -> None:
    store, merged, root = local
    (root / keys.stored_object(merged.id)).unlink()

    report = audit(Store.open(store.url))

    expected = ("missing", keys.stored_object(merged.id), "ref `heads/merged`")
    assert only_problem(report) == expected
    assert report.exit_code == 4


def test_missing_parent_is_named_with_its_child(local: tuple[Store, Commit, Path]) -> None:
    store, _, root = local
    second = store.resolve("a")
    (root / keys.stored_object(second.parents[0])).unlink()

    report = audit(Store.open(store.url))

    expected = ("missing", keys.stored_object(second.parents[0]), f"commit {second.id[:12]}")
    assert only_problem(report) == expected


def test_flipped_manifest_is_corrupt(local: tuple[Store, Commit, Path]) -> None:
    store, merged, root = local
    path = root / keys.stored_object(merged.manifest)
    body = bytearray(path.read_bytes())
    body[-5] ^= 1
    path.write_bytes(bytes(body))

    report = audit(Store.open(store.url))

    kind, key, referrer = only_problem(report)
    assert (kind, key) == ("corrupt", keys.stored_object(merged.manifest))
    assert referrer == f"commit {merged.id[:12]}"
    assert report.exit_code == 8


@pytest.mark.parametrize("damage", ["missing", "flipped", "truncated", "other rows"])
def test_damaged_segment_is_named_by_meta_and_not_by_quick(
    local: tuple[Store, Commit, Path], damage: str
) -> None:
    store, merged, root = local
    manifest = read_manifest(store.objects, merged.manifest)
    segment = manifest.tables["ground_truth"].all[0]
    path = root / segment.key
    body = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        body[len(body) // 2] ^= 1
        path.write_bytes(bytes(body))
    elif damage == "truncated":
        path.write_bytes(bytes(body[:-10]))
    else:
        path.write_bytes((root / manifest.tables["assets"].all[0].key).read_bytes())

    assert audit(Store.open(store.url), "quick").clean
    report = audit(Store.open(store.url), "meta")

    kind, key, referrer = only_problem(report)
    assert (kind, key) == ("missing" if damage == "missing" else "corrupt", segment.key)
    assert referrer.startswith("table `ground_truth` of manifest ")


def test_missing_sidecar_is_named(local: tuple[Store, Commit, Path]) -> None:
    store, merged, root = local
    sidecar = read_manifest(store.objects, merged.manifest).tables["assets"].base[0].sidecar
    assert sidecar is not None
    (root / keys.sidecar(sidecar)).unlink()

    report = audit(Store.open(store.url), "meta")

    assert only_problem(report)[:2] == ("missing", keys.sidecar(sidecar))


def test_damaged_sidecar_is_named(local: tuple[Store, Commit, Path]) -> None:
    store, merged, root = local
    segment = read_manifest(store.objects, merged.manifest).tables["assets"].base[0]
    assert segment.sidecar is not None
    (root / keys.sidecar(segment.sidecar)).write_bytes(b"MIRK")

    report = audit(Store.open(store.url), "meta")

    assert only_problem(report)[:2] == ("corrupt", segment.key)
    assert "its sidecar" in report.problems[0].reason


def test_missing_and_damaged_blobs_are_named_by_deep(local: tuple[Store, Commit, Path]) -> None:
    store, _, root = local
    digests = [hashlib.sha256(picture(number)).hexdigest() for number in (1, 2)]
    (root / keys.blob(digests[0])).unlink()
    (root / keys.blob(digests[1])).write_bytes(b"not an image")

    assert audit(Store.open(store.url), "meta").clean
    report = audit(Store.open(store.url), "deep")

    found = {problem.kind: problem for problem in report.problems}
    assert found["missing"].key == keys.blob(digests[0])
    assert found["corrupt"].key.startswith(keys.blob(digests[1]))
    assert "of table `assets` of manifest" in found["missing"].referrer
    assert report.exit_code == 4 | 8


def test_image_that_cannot_be_decoded_is_corrupt(local: tuple[Store, Commit, Path]) -> None:
    store, _, _ = local
    digest = store.put_blob(picture(7)[:40])
    commit_assets(store, "c", pa.array([bytes.fromhex(digest)], pa.binary(32)))

    report = audit(store, "deep")

    assert only_problem(report)[0] == "corrupt"
    assert "cannot be decoded" in report.problems[0].reason


def test_erased_blob_is_no_damage(local: tuple[Store, Commit, Path]) -> None:
    store, _, root = local
    digest = hashlib.sha256(picture(1)).hexdigest()
    (root / keys.blob(digest)).unlink()
    store.objects.create(keys.purged(digest), b"asked for by its owner")

    report = audit(Store.open(store.url), "deep")

    assert report.clean
    assert report.seen["purged blobs"] == 1


def test_records_of_commits_that_are_gone_dangle(local: tuple[Store, Commit, Path]) -> None:
    store, _, root = local
    record = next(key for key in store.objects.list("ops/") if "pictures-gone" in key)
    moves = starts_of_reflog(store.objects, [])
    commit = next(start.commit for start in moves if "gone" in start.referrer)
    (root / keys.stored_object(commit)).unlink()

    report = audit(Store.open(store.url), "meta")

    assert {problem.kind for problem in report.problems} == {"dangling", "orphan"}
    assert record in {problem.key for problem in report.problems}
    assert report.exit_code == 16


def test_rest_of_a_killed_writer_is_an_orphan_and_no_damage(
    local: tuple[Store, Commit, Path],
) -> None:
    store, _, root = local
    store.objects.create(keys.stored_object("ab" * 32), b"never committed")
    (root / "obj" / ".tmp-0123").write_bytes(b"half")

    report = audit(Store.open(store.url), "meta")

    assert report.found == {"orphan": 2}
    assert report.seen["orphan bytes"] == 19
    assert report.clean


def test_damaged_ref_is_named(local: tuple[Store, Commit, Path]) -> None:
    store, _, root = local
    (root / keys.head("a")).write_bytes(b"\xff\xff")

    report = audit(Store.open(store.url))

    assert only_problem(report)[:2] == ("corrupt", keys.head("a"))


def test_blobs_are_found_in_any_root(tmp_path: Path) -> None:
    media = (tmp_path / "media").as_uri()
    one = Store.open((tmp_path / "one").as_uri(), create=True, assets=media)
    two = Store.open((tmp_path / "two").as_uri(), create=True, assets=media)
    commit_pictures(one, "a", range(3))
    commit_pictures(two, "a", range(2, 5))
    commit_pictures(Store.open((tmp_path / "two").as_uri()), "b", range(1))

    report = audit(two, "deep")

    assert report.problems == []
    assert report.seen["blobs"] == 4
    assert report.seen["blobs that no version names"] == 0
