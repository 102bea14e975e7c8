"""Annotations parsed by other processes are those that this process would have parsed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from dataset_sources import OPERATIONS, box, folder_of, image, voc, zip_of

from mir_ops.dataset import import_dataset, parsing
from mir_ops.dataset.parsing import Parsing
from mir_ops.errors import InvalidInputError, MirError
from mir_ops.formats.archive import open_tree
from mir_ops.store import Store

FILES = {
    **{f"images/{n}.jpg": image(n) for n in range(9)},
    **{f"annotations/{n}.xml": voc(box("cat", n, n, 9, 9)) for n in range(9)},
    "annotations/7.xml": b"<annotation>&x;</annotation>",
    "annotations/8.xml": b"<!DOCTYPE a><annotation/>",
}


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "_FROM_FILES", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


@pytest.mark.parametrize("packed", [True, False])
def test_the_same_columns_and_findings_come_back(tmp_path: Path, packed: bool) -> None:
    path = zip_of(tmp_path / "a.zip", FILES) if packed else folder_of(tmp_path / "a", FILES)
    with open_tree(path) as tree:
        names = [name for name in tree.names if name.endswith(".xml")]
        started = Parsing("voc", names, tree, boxes_only=True)
        here = started._here()
        found = started.result()

    assert started.is_parallel
    assert started.is_done
    assert found.images.equals(here.images)
    assert found.objects.equals(here.objects)
    assert found.findings == here.findings
    assert len(found.findings) == 2
    assert found.boxes_only


def test_an_import_is_the_same_with_processes(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_of(tmp_path / "a", FILES)
    first = import_dataset(store, source, "b", op_id=OPERATIONS[0])
    monkeypatch.setattr(parsing, "_FROM_FILES", 10**9)
    second = import_dataset(store, source, "c", op_id=OPERATIONS[0])

    assert first.report.to_dict() == second.report.to_dict()
    assert store.read("b").layer("ground_truth").equals(store.read("c").layer("ground_truth"))


def test_unknown_classes_stop_an_import_with_processes(tmp_path: Path, store: Store) -> None:
    source = folder_of(tmp_path / "a", FILES | {"annotations/0.xml": voc(box("cow", 0, 0, 1, 1))})

    with pytest.raises(InvalidInputError, match="Nobody declared these classes: `cow`"):
        import_dataset(store, source, "b", op_id=OPERATIONS[0])
    assert not store.branch("b").exists


def test_a_file_that_went_away_is_counted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", FILES)
    with open_tree(folder) as tree:
        (folder / "annotations/3.xml").unlink()
        found = Parsing("voc", ["annotations/3.xml"], tree, boxes_only=False).result()

    assert [finding.code for finding in found.findings] == ["entry-damaged"]


def test_what_a_process_cannot_say_is_said_here(tmp_path: Path) -> None:
    """Labels of YOLO without class names: the error is the one of this process."""
    with open_tree(folder_of(tmp_path / "a", {"labels/a.txt": b"0 .5 .5 .1 .1"})) as tree:
        started = Parsing("yolo", tree.names, tree, boxes_only=False)
        with pytest.raises(MirError) as here:
            started._here()
        with pytest.raises(MirError) as caught:
            started.result()
    assert str(caught.value) == str(here.value)


def test_a_process_that_was_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "_COMMAND", "import os; os.kill(os.getpid(), 9)")
    with (
        open_tree(folder_of(tmp_path / "a", FILES)) as tree,
        pytest.raises(InvalidInputError) as caught,
    ):
        Parsing("voc", ["annotations/0.xml"], tree, boxes_only=False).result()
    assert caught.value.code == "parser-ended"


def test_processes_end_when_the_import_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "_COMMAND", "import time; time.sleep(60)")
    with open_tree(folder_of(tmp_path / "a", FILES)) as tree:
        started = Parsing("voc", ["annotations/0.xml"], tree, boxes_only=False)
        assert not started.is_done
        started.stop()
        (child,) = started._children
        assert child._process.returncode == -signal.SIGKILL


def test_without_an_interpreter_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with open_tree(folder_of(tmp_path / "a", FILES)) as tree:
        started = Parsing("voc", ["annotations/0.xml"], tree, boxes_only=False)
        assert not started.is_parallel
        assert started.result().objects.num_rows == 1
