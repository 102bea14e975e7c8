"""`make try` on folders as people have them."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from mir_ops.demo.scenes import write_dataset
from mir_ops.demo.try_folder import main


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("voc")
    paths = write_dataset(root / "zips", training=30, validation=4, pool=6)
    with zipfile.ZipFile(paths.training) as archive:
        archive.extractall(root / "folder")
    return root / "folder"


def try_it(work: Path, source: object, *options: str) -> int:
    return main(["--folder", str(work), *options, "--", str(source)])


def test_a_voc_folder_is_counted_judged_and_shown(
    tmp_path: Path, voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = try_it(tmp_path / "work", voc)

    said = capsys.readouterr().out
    assert code == 0
    assert "images: 30" in said
    assert "zero" in said
    assert "The gate would let this pass" in said
    page = (tmp_path / "work" / "index.html").read_text()
    assert page.count("data:image/jpeg") == 30
    assert "<script" not in page


def test_images_alone_are_shown_and_told_apart_from_bad_labels(
    tmp_path: Path, voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = try_it(tmp_path / "work", voc / "images")

    said = capsys.readouterr().out
    assert code == 0
    assert "No labels yet, so there is nothing to train on" in said
    assert "[critical]" not in said


def test_what_was_not_taken_is_listed_with_a_hint(
    tmp_path: Path, voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(voc, tmp_path / "source")
    broken = next((tmp_path / "source" / "images").iterdir())
    broken.write_bytes(broken.read_bytes()[:100])

    code = try_it(tmp_path / "work", tmp_path / "source")

    said = capsys.readouterr().out
    assert code == 0
    assert "images are damaged and were skipped: 1 [image-unreadable]" in said
    assert broken.name in said


def test_chosen_classes_leave_the_others_out(
    tmp_path: Path, voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = try_it(tmp_path / "work", voc, "--classes", "zero, one")

    said = capsys.readouterr().out
    assert code == 0
    assert "[class-unknown]" in said
    assert "\ntwo " not in said


@pytest.mark.parametrize(
    ("source", "message"),
    [("", "error: No folder named"), ("/no/such/place", "error: `/no/such/place` does not exist")],
)
def test_a_wrong_folder_is_said_plainly(
    tmp_path: Path, source: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = try_it(tmp_path / "work", source)

    said = capsys.readouterr().out
    assert code == 1
    assert message in said
    assert "make try DIR=path/to/your/images" in said


def test_the_folder_that_is_tried_is_not_changed(tmp_path: Path, voc: Path) -> None:
    before = sorted((p.name, p.stat().st_mtime_ns) for p in voc.rglob("*"))

    try_it(tmp_path / "work", voc)

    assert sorted((p.name, p.stat().st_mtime_ns) for p in voc.rglob("*")) == before
