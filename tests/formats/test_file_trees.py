"""Archives, folders and index files as trees: what is in them, and what is left out."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops.errors import InvalidInputError, MirError
from mir_ops.formats.archive import open_tree
from mir_ops.formats.indexes import open_index
from mir_ops.formats.trees import ArchiveLimits, FileTree

FILES = {"images/a.jpg": b"pixels", "images/day/b.jpg": b"more", "annotations/a.xml": b"<x/>"}


def tar_of(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(path.parent, "./images", recursive=False)
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return path


def content(tree: FileTree) -> dict[str, bytes]:
    return {name: tree.read(name) for name in tree.names}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_a_tar_archive_is_read_whatever_packed_it(
    tmp_path: Path, mode: str, style: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarfile.TarFile, "format", style)
    long_name = "images/" + "x" * (60 if style == tarfile.USTAR_FORMAT else 180) + ".jpg"
    files = FILES | {long_name: b"long"}

    with open_tree(tar_of(tmp_path / "a.data", files, mode)) as tree:
        assert content(tree) == files
        assert tree.left_out == ()


def test_a_tar_archive_packed_with_zstandard_is_read(tmp_path: Path) -> None:
    import zstandard

    plain = tar_of(tmp_path / "a.tar", FILES).read_bytes()
    (tmp_path / "a.tar.zst").write_bytes(zstandard.compress(plain))

    with open_tree(tmp_path / "a.tar.zst") as tree:
        assert content(tree) == FILES


def test_what_is_no_plain_file_in_a_tar_archive_is_left_out(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", FILES | {"../up.jpg": b"", "/abs.jpg": b""})
    with tarfile.open(path, "a") as archive:
        for name, kind in (
            ("link", tarfile.SYMTYPE),
            ("hard", tarfile.LNKTYPE),
            ("pipe", tarfile.FIFOTYPE),
            ("disk", tarfile.BLKTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        archive.addfile(tarfile.TarInfo("images/a.jpg"))

    with open_tree(path) as tree:
        assert content(tree) == FILES
        assert set(tree.left_out) == {
            *(("unsafe-name", n) for n in ("../up.jpg", "/abs.jpg", "link", "hard", "pipe")),
            ("unsafe-name", "disk"),
            ("entry-repeated", "images/a.jpg"),
        }


def test_a_compressed_bomb_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar.gz", {"images/a.bmp": bytes(2**22)}, "w:gz")
    limits = ArchiveLimits(ratio_from_bytes=2**20)

    with pytest.raises(InvalidInputError, match="times its size"), open_tree(path, limits):
        pass


def test_a_tar_archive_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar.gz", {"images/a.jpg": os.urandom(9000)}, "w:gz")
    path.write_bytes(path.read_bytes()[:5000])

    with pytest.raises(InvalidInputError, match="cannot be unpacked") as caught, open_tree(path):
        pass
    assert caught.value.code == "not-an-archive"


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"Rar!\x1a\x07\x01\x00", "it is a RAR archive"), (b"7z\xbc\xaf\x27\x1c", "it is a 7z arch")],
)
def test_another_kind_of_archive_is_named_and_the_expected_tree_shown(
    tmp_path: Path, head: bytes, kind: str
) -> None:
    (tmp_path / "a.rar").write_bytes(head + bytes(900))

    with pytest.raises(InvalidInputError, match=kind) as caught, open_tree(tmp_path / "a.rar"):
        pass
    assert "images/" in (caught.value.hint or "")
    assert "annotations/" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "name", ["tab\there.jpg", "new\nline.jpg", "ü 中.jpg", "a;b.jpg", " x.jpg"]
)
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / name).write_bytes(b"pixels")

    with open_tree(tmp_path / "f") as tree:
        assert content(tree) == {name: b"pixels"}
        assert tree.file(name) == str(tmp_path / "f" / name)
    with open_tree(tar_of(tmp_path / "a.tar", {name: b"pixels"})) as tree:
        assert content(tree) == {name: b"pixels"}


def test_names_that_are_not_utf_8_become_text_and_can_be_read(tmp_path: Path) -> None:
    raw = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / raw).write_bytes(b"pixels")
    (tmp_path / "index.tsv").write_bytes(b"f/caf\xe9.jpg\n")

    with open_tree(tmp_path / "f") as tree:
        assert content(tree) == {"café.jpg": b"pixels"}
    with open_tree(tar_of(tmp_path / "a.tar", {raw: b"pixels"})) as tree:
        assert content(tree) == {"café.jpg": b"pixels"}
    assert content(open_index(tmp_path / "index.tsv")) == {"café.jpg": b"pixels"}


def test_links_in_a_circle_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"pixels")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "self").symlink_to(".")

    with open_tree(tmp_path) as tree:
        assert tree.names == ["a.jpg"]
        assert {name for _, name in tree.left_out} == {"loop", "self"}


def test_an_index_may_list_folders_and_itself_as_find_does(tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    (assets / "1f").mkdir(parents=True)
    (assets / "1f/a.jpg").write_bytes(b"pixels")
    (assets / "index.tsv").write_text("")
    index = assets / "all.tsv"
    index.write_text("\n".join(map(str, [assets, *sorted(assets.rglob("*")), index])) + "\n")

    tree = open_index(index)

    assert content(tree) == {"a.jpg": b"pixels"}
    assert [code for code, _ in tree.left_out] == ["index-not-an-image"] * 4
    assert {Path(name).name for _, name in tree.left_out} == {
        "assets",
        "1f",
        "index.tsv",
        "all.tsv",
    }


def test_an_index_is_read_as_windows_and_spreadsheets_write_it(tmp_path: Path) -> None:
    for name in ("a.jpg", "b\tc.jpg", " d.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    index = tmp_path / "i.tsv"
    index.write_bytes(
        b"\xef\xbb\xbfa.jpg\t7\tday\r\n\r\nb\tc.jpg\n d.jpg\na.jpg\n./a.jpg\ngone.jpg"
    )

    tree = open_index(index)

    assert tree.names == [" d.jpg", "a.jpg", "b\tc.jpg"]
    assert tree.left_out == (("file-missing", str(tmp_path / "gone.jpg")),)


def test_an_index_names_no_file_outside_of_what_it_may(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(b"pixels")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "in/link.jpg").symlink_to(tmp_path / "secret.jpg")
    index = tmp_path / "in/i.tsv"
    index.write_text(f"a.jpg\n../secret.jpg\n{tmp_path}/secret.jpg\nlink.jpg\n/etc/passwd\n")

    tree = open_index(index, inside=tmp_path / "in")

    assert content(tree) == {"a.jpg": b"pixels"}
    assert {code for code, _ in tree.left_out} == {"unsafe-name"}


@pytest.mark.parametrize("body", [b"a\0b", "a.jpg\n".encode("utf-16")])
def test_what_is_no_index_file_is_refused(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "i.tsv").write_bytes(body)

    with pytest.raises(InvalidInputError) as caught:
        open_index(tmp_path / "i.tsv")
    assert caught.value.code == "bad-index"


def packed(kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        if kind != "zip":
            return tar_of(path, FILES, kind).read_bytes()
        with zipfile.ZipFile(path, "w") as archive:
            for name, body in FILES.items():
                archive.writestr(name, body)
        return path.read_bytes()


ARCHIVES = {kind: packed(kind) for kind in ("zip", "w", "w:gz", "w:xz", "w:bz2")}
HOSTILE = st.one_of(
    st.binary(max_size=600),
    st.builds(
        lambda kind, at, removed, put: (
            ARCHIVES[kind][: at % len(ARCHIVES[kind])]
            + put
            + ARCHIVES[kind][at % len(ARCHIVES[kind]) + removed :]
        ),
        st.sampled_from(sorted(ARCHIVES)),
        st.integers(0, 20_000),
        st.integers(0, 40),
        st.binary(max_size=40),
    ),
)


def check_archive(body: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zip"
        path.write_bytes(body)
        with suppress(MirError), open_tree(path, ArchiveLimits(total_bytes=2**24)) as tree:
            for name in tree.names:
                with suppress(MirError):
                    tree.read(name)
        assert sorted(os.listdir(folder)) == ["a.zip"]


def check_index(body: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tsv"
        path.write_bytes(body)
        with suppress(MirError):
            tree = open_index(path, inside=Path(folder))
            assert tree.names == []


LINES = st.lists(
    st.one_of(st.binary(max_size=30), st.sampled_from([b"..", b"/", b"/dev/zero", b".", b"a.tsv"])),
    max_size=9,
).map(b"\n".join)


@given(HOSTILE)
def test_any_bytes_are_an_archive_or_refused(body: bytes) -> None:
    check_archive(body)


@given(LINES)
def test_any_bytes_are_an_index_or_refused(body: bytes) -> None:
    check_index(body)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@given(HOSTILE)
def test_ten_thousand_files_are_archives_or_refused(body: bytes) -> None:
    check_archive(body)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@given(LINES)
def test_ten_thousand_files_are_indexes_or_refused(body: bytes) -> None:
    check_index(body)
