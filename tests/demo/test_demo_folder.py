"""The demo's folder is emptied only where it is ours, and held by one run at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from mir_ops.demo.folder import claim, require_space
from mir_ops.errors import ConflictError, InvalidInputError, StoreError


def test_a_second_run_starts_from_an_empty_folder(tmp_path: Path) -> None:
    with claim(tmp_path / "demo") as folder:
        (folder.root / "airflow").mkdir()
        (folder.root / "airflow" / "airflow.db").touch()
        (folder.root / "report.html").touch()

    with claim(tmp_path / "demo") as folder:
        assert len(list(folder.root.iterdir())) == 1


def test_a_folder_with_somebody_elses_files_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")

    with pytest.raises(InvalidInputError) as caught, claim(tmp_path):
        pass

    assert str(caught.value) == f"`{tmp_path}` holds files that are not ours: thesis.tex"
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_link_inside_is_removed_and_what_it_points_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    with claim(tmp_path / "demo") as folder:
        (folder.root / "link").symlink_to(tmp_path / "precious")

    with claim(tmp_path / "demo"):
        pass

    assert (tmp_path / "precious" / "file").exists()


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with (
        claim(tmp_path / "demo") as folder,
        pytest.raises(ConflictError) as caught,
        claim(tmp_path / "demo"),
    ):
        pass

    assert str(caught.value) == f"Another run is using `{folder.root}`"
    with claim(tmp_path / "demo"):
        pass


def test_a_full_disk_is_said_before_anything_fails(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        require_space(tmp_path, 1 << 62)

    assert caught.value.code == "disk-full"
    assert str(tmp_path) in str(caught.value)
