"""Damaged and hostile sources: each fault is counted, listed and hinted, or nothing gets in."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest
from dataset_sources import OPERATIONS, box, folder_of, image, voc, zip_of

from mir_ops.dataset import ImportResult, import_dataset
from mir_ops.errors import InvalidInputError
from mir_ops.formats.archive import open_tree
from mir_ops.formats.trees import ArchiveLimits
from mir_ops.store import Store

CAT = voc(box("cat", 0, 0, 9, 9))


def take(store: Store, source: Path) -> ImportResult:
    return import_dataset(store, source, "b", op_id=OPERATIONS[0])


def issues(result: ImportResult) -> dict[str, tuple[str, ...]]:
    for issue in result.report.issues:
        assert issue.count >= len(issue.examples) > 0
        assert issue.hint
    return {issue.code: issue.examples for issue in result.report.issues}


def test_names_that_leave_the_archive_are_skipped(tmp_path: Path, store: Store) -> None:
    bad = ["../evil.jpg", "images/../../evil.jpg", "/abs.jpg", "C:/w.jpg", "images\\w.jpg"]
    files = {"images/a.jpg": image(1)} | {name: image(2) for name in bad}
    (tmp_path / "in").mkdir()
    source = zip_of(tmp_path / "in/a.zip", files)

    result = take(store, source)

    assert set(issues(result)["unsafe-name"]) == set(bad)
    assert result.report.taken["images"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "store"]


def test_links_in_an_archive_are_skipped(tmp_path: Path, store: Store) -> None:
    path = zip_of(tmp_path / "a.zip", {"images/a.jpg": image(1)})
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("images/link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")

    assert issues(take(store, path)) == {"unsafe-name": ("images/link.jpg",)}


def test_links_out_of_a_folder_are_skipped(tmp_path: Path, store: Store) -> None:
    secret = folder_of(tmp_path / "secret", {"s.jpg": image(9), "more/t.jpg": image(8)})
    source = folder_of(tmp_path / "a", {"images/a.jpg": image(1)})
    (source / "images/link.jpg").symlink_to(secret / "s.jpg")
    (source / "images/folder").symlink_to(secret / "more")

    result = take(store, source)

    assert set(issues(result)["unsafe-name"]) == {"images/link.jpg", "images/folder"}
    assert result.report.taken["images"] == 1


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ArchiveLimits(entries=3), "4 entries, at most 3 are read"),
        (ArchiveLimits(total_bytes=1000), "bytes unpacked, at most 1000 are read"),
        (ArchiveLimits(directory_bytes=10), "its list of entries takes"),
    ],
)
def test_an_archive_beyond_the_limits_is_refused(
    tmp_path: Path, limits: ArchiveLimits, reason: str
) -> None:
    path = zip_of(tmp_path / "a.zip", {f"{n}.bin": bytes(1000) for n in range(4)})

    with pytest.raises(InvalidInputError, match=reason) as caught, open_tree(path, limits):
        pass
    assert caught.value.code == "archive-too-large"


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"images/a.bmp": bytes(2**20)})
    with open_tree(path) as tree:
        assert tree.names == ["images/a.bmp"]

    limits = ArchiveLimits(ratio_from_bytes=1000)
    with (
        pytest.raises(InvalidInputError, match=r"it unpacks to \d+ times its size"),
        open_tree(path, limits),
    ):
        pass


def test_an_entry_that_lies_about_its_size_is_counted(tmp_path: Path, store: Store) -> None:
    data = image(1)
    path = zip_of(tmp_path / "a.zip", {"images/a.jpg": data, "images/b.jpg": image(2)})
    body = path.read_bytes()
    assert body.count(struct.pack("<L", len(data))) == 2
    path.write_bytes(body.replace(struct.pack("<L", len(data)), struct.pack("<L", 10)))

    assert issues(take(store, path)) == {"entry-damaged": ("images/a.jpg",)}


def test_a_damaged_entry_is_counted(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/a.jpg", image(1))
        archive.writestr("images/b.jpg", image(2))
    body = bytearray(path.read_bytes())
    body[500] ^= 0xFF
    path.write_bytes(body)

    assert issues(take(store, path)) == {"entry-damaged": ("images/a.jpg",)}


@pytest.mark.parametrize("body", [b"", b"not a zip at all", b"PK\x05\x06" + bytes(17)])
def test_what_is_no_archive_is_refused(tmp_path: Path, store: Store, body: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(body)

    with pytest.raises(InvalidInputError) as caught:
        take(store, path)
    assert caught.value.code in ("not-an-archive", "no-images")
    assert not store.branch("b").exists


def test_damaged_and_foreign_images_are_counted(tmp_path: Path, store: Store) -> None:
    jpeg = image(1, size=(200, 200))
    files = {
        "images/good.jpg": image(2),
        "images/short.jpg": jpeg[: len(jpeg) // 2],
        "images/short.png": image(3, kind="PNG")[:-60],
        "images/animated.gif": image(4, kind="GIF"),
        "images/text.jpg": b"hello",
        "images/empty.png": b"",
        "images/really.png": image(5),
        "notes.txt": b"?",
        "__MACOSX/images/._good.jpg": b"clutter",
        "images/.DS_Store": b"clutter",
    }

    result = take(store, folder_of(tmp_path / "a", files))

    found = issues(result)
    assert [e.split(":")[0] for e in found["image-unreadable"]] == [
        "images/short.jpg",
        "images/short.png",
    ]
    assert set(found["image-format"]) == {
        "images/animated.gif",
        "images/text.jpg",
        "images/empty.png: it is empty",
    }
    assert found["image-extension"] == ("images/really.png: image/jpeg",)
    assert found["file-ignored"] == ("notes.txt",)
    assert result.report.taken["images"] == 2


def test_an_image_with_too_many_pixels_is_counted_without_decoding(
    tmp_path: Path, store: Store
) -> None:
    header = struct.pack(
        "<2sIHHIIiiHHIIIIII", b"BM", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0
    )
    files = {"images/a.jpg": image(1), "images/giant.bmp": header}

    assert issues(take(store, folder_of(tmp_path / "a", files))) == {
        "image-too-large": ("images/giant.bmp: 60000 x 60000",)
    }


def test_entities_are_refused_in_every_encoding(tmp_path: Path, store: Store) -> None:
    evil = (
        '<?xml version="1.0"{}?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation/>'
    )
    files = {
        "images/a.jpg": image(1),
        "images/b.jpg": image(2),
        "images/c.jpg": image(3),
        "gt/a.xml": evil.format("").encode(),
        "gt/b.xml": evil.format(' encoding="UTF-16"').encode("utf-16"),
        "gt/c.xml": b"<annotation><!-- no <!DOCTYPE here --></annotation>",
    }

    result = take(store, folder_of(tmp_path / "a", files))

    assert issues(result) == {"annotation-doctype": ("gt/a.xml", "gt/b.xml")}
    assert result.report.taken["labelled_images"] == 1


def test_files_that_are_no_annotation_are_counted(tmp_path: Path, store: Store) -> None:
    files = {
        "images/a.jpg": image(1),
        "gt/a.xml": b"<annotation><object></annotation>",
        "gt/b.xml": b"<html/>",
        "gt/c.xml": b"<annotation>&unknown;</annotation>",
        "gt/d.xml": b"<a>" * 50_000,
    }
    result = take(store, folder_of(tmp_path / "a", files))

    assert len(issues(result)["annotation-unreadable"]) == 4


def test_images_of_one_name_in_two_folders_are_both_kept(tmp_path: Path, store: Store) -> None:
    files = {
        "images/day/x.jpg": image(1),
        "images/night/x.jpg": image(2),
        "annotations/day/x.xml": voc(box("cat", 0, 0, 9, 9)),
        "annotations/night/x.xml": voc(box("dog", 0, 0, 9, 9)),
    }
    result = take(store, zip_of(tmp_path / "a.zip", files))

    assert result.report.taken == {"images": 2, "labelled_images": 2, "labelled_boxes": 2}
    assert result.report.issues == ()


def test_a_file_that_fits_two_images_is_not_used(tmp_path: Path, store: Store) -> None:
    files = {"images/day/x.jpg": image(1), "images/night/x.jpg": image(2), "annotations/x.xml": CAT}

    result = take(store, zip_of(tmp_path / "a.zip", files))

    assert issues(result) == {
        "annotation-ambiguous": ("annotations/x.xml: images/day/x.jpg, images/night/x.jpg",)
    }
    assert result.report.taken["images"] == 2
    assert result.report.taken["labelled_images"] == 0


def test_a_flat_file_finds_its_image_in_a_sub_folder(tmp_path: Path, store: Store) -> None:
    files = {"images/day/x.jpg": image(1), "images/night/y.jpg": image(2), "annotations/x.xml": CAT}

    assert take(store, zip_of(tmp_path / "a.zip", files)).report.taken["labelled_images"] == 1


def test_the_file_itself_tells_images_apart_that_differ_in_suffix(
    tmp_path: Path, store: Store
) -> None:
    files = {
        "images/x.jpg": image(1),
        "images/x.png": image(2, kind="PNG"),
        "gt/x.xml": voc(box("cat", 0, 0, 9, 9), filename="x.png"),
    }
    take(store, folder_of(tmp_path / "a", files))

    version = store.read("b")
    assert version.assets(ids=version.layer_assets("ground_truth"))["media_type"].to_pylist() == [
        "image/png"
    ]


def test_an_annotation_without_image_is_counted(tmp_path: Path, store: Store) -> None:
    files = {"images/a.jpg": image(1), "annotations/b.xml": CAT}

    assert issues(take(store, folder_of(tmp_path / "a", files))) == {
        "annotation-without-image": ("annotations/b.xml",)
    }


def test_equal_bytes_are_one_image_with_both_names(tmp_path: Path, store: Store) -> None:
    files = {
        "images/a.jpg": image(1),
        "images/b.jpg": image(1),
        "images/c.jpg": image(1),
        "gt/b.xml": CAT,
        "gt/c.xml": voc(box("dog", 1, 1, 5, 5)),
    }
    result = take(store, folder_of(tmp_path / "a", files))

    assert issues(result) == {
        "image-twice": ("images/b.jpg = images/a.jpg", "images/c.jpg = images/a.jpg"),
        "annotation-differs": ("gt/c.xml: images/c.jpg = images/b.jpg",),
    }
    (row,) = store.read("b").assets().to_pylist()
    assert row["source_names"] == ["images/a.jpg", "images/b.jpg", "images/c.jpg"]
    assert result.report.taken == {"images": 1, "labelled_images": 1, "labelled_boxes": 1}


def test_unusable_boxes_are_counted_each_by_its_reason(tmp_path: Path, store: Store) -> None:
    objects = [
        box("cat", 0, 0, 63, 47),
        box("cat", 0, 0, 63, 47),
        box("cat", "nan", 0, 9, 9),
        box("cat", "inf", 0, 9, 9),
        box("cat", "", 0, 9, 9),
        box("cat", 9, 9, 5, 12),
        box("cat", 100, 100, 110, 110),
        box("cat", -20, -20, -10, -10),
        box("dog", -3, 40, 5, 50),
        "<object><name>cat</name></object>",
        "<object><bndbox><xmin>0</xmin></bndbox></object>",
    ]
    files = {"images/a.jpg": image(1), "gt/a.xml": voc(*objects)}

    result = take(store, folder_of(tmp_path / "a", files))

    assert {i.code: i.count for i in result.report.issues} == {
        "object-without-class": 1,
        "object-without-box": 1,
        "box-not-a-number": 3,
        "box-empty": 1,
        "box-outside": 2,
        "box-clipped": 1,
        "box-twice": 1,
    }
    rows = store.read("b").layer("ground_truth").to_pylist()
    assert sorted((r["x"], r["y"], r["w"], r["h"]) for r in rows) == [(0, 0, 64, 48), (0, 40, 6, 8)]


def test_a_file_that_states_another_size_is_counted(tmp_path: Path, store: Store) -> None:
    files = {"images/a.jpg": image(1), "gt/a.xml": voc(box("cat", 0, 0, 9, 9), size=(640, 480))}

    assert issues(take(store, folder_of(tmp_path / "a", files))) == {
        "size-differs": ("gt/a.xml: 640 x 480, the image has 64 x 48",)
    }


def test_a_source_without_any_usable_image_commits_nothing(tmp_path: Path, store: Store) -> None:
    with pytest.raises(InvalidInputError) as caught:
        take(store, folder_of(tmp_path / "a", {"images/a.jpg": b"hello"}))

    assert caught.value.code == "no-images"
    said = (
        "images are not JPEG, PNG or BMP and were skipped: 1 [image-format], such as images/a.jpg"
    )
    assert said in str(caught.value)
    assert not store.branch("b").exists


def test_a_name_cannot_write_on_the_terminal(tmp_path: Path, store: Store) -> None:
    files = {"images/a.jpg": image(1), "images/\x1b[31mred.jpg": b"hello"}

    result = take(store, folder_of(tmp_path / "a", files))

    assert "\x1b" not in "\n".join(result.report.lines())
