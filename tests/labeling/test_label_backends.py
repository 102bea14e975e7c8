"""The label tools: a task is asked once, answers are read as hostile, and come by class name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from label_requests import (
    FIRST,
    HEIGHT,
    IMAGES,
    SECOND,
    THIRD,
    WIDTH,
    assets_of,
    boxes,
    small_request,
)

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.formats.voc import VocFile, VocObject, read_voc, write_voc
from mir_ops.labeling import LabelBackend, LabelProgress, LabelRequest, open_backend
from mir_ops.store import Operation, Store
from mir_ops.store.schema import GROUND_TRUTH
from mir_ops.taxonomy import Taxonomy


@pytest.fixture
def request_() -> LabelRequest:
    return small_request()


@pytest.fixture
def folder(tmp_path: Path) -> LabelBackend:
    return open_backend("folder", options={"path": str(tmp_path / "labels")})


def answer(folder_: LabelBackend, task: str, name: str, *objects: VocObject, **size: Any) -> None:
    file = VocFile(size=size.get("size", (WIDTH, HEIGHT)), objects=objects)
    place(folder_, task, f"done/{name}.xml").write_bytes(write_voc(file))


def place(folder_: LabelBackend, task: str, name: str) -> Path:
    path: Path = folder_.path / task / name  # type: ignore[attr-defined]
    return path


def test_folder_holds_images_and_what_the_model_sees(
    folder: LabelBackend, request_: LabelRequest
) -> None:
    task = folder.create(request_)

    assert task == "digits-round-1-abababababab"
    assert {path.name for path in place(folder, task, "images").iterdir()} == {
        f"{name}.png" for name in IMAGES
    }
    (start,) = read_voc(place(folder, task, f"annotations/{FIRST}.xml").read_bytes()).objects
    assert (start.name, start.box, start.confidence) == ("two", (1, 2, 10, 8), 0.5)
    assert place(folder, task, "classes.txt").read_text() == "one\ntwo\n"
    assert folder.progress(task) == LabelProgress(total=3, done=0)


def test_same_request_is_the_same_folder(folder: LabelBackend, request_: LabelRequest) -> None:
    task = folder.create(request_)
    answer(folder, task, FIRST)

    assert folder.create(request_) == task
    assert folder.progress(task).done == 1
    assert len(list(place(folder, task, "..").resolve().iterdir())) == 1


def test_partial_answers_can_be_fetched(folder: LabelBackend, request_: LabelRequest) -> None:
    task = folder.create(request_)
    answer(folder, task, FIRST, VocObject(name=" TWO ", box=(5.0, 5.0, 10.0, 10.0)))
    answer(folder, task, SECOND)
    place(folder, task, f"skipped/{THIRD}.png").touch()

    progress, result = folder.progress(task), folder.fetch(task, request_)

    assert (progress.total, progress.done, progress.skipped) == (3, 2, 1)
    assert progress.complete
    assert progress.last_activity is not None
    assert [found.hex() for found in result.done.to_pylist()] == [FIRST, SECOND]
    assert [found.hex() for found in result.skipped.to_pylist()] == [THIRD]
    assert result.annotations.schema.equals(GROUND_TRUTH)
    (row,) = result.annotations.to_pylist()
    assert (row["asset_id"].hex(), row["class_id"], row["x"], row["w"]) == (FIRST, 3, 5.0, 10.0)
    assert row["annotator"] == "folder"
    assert folder.fetch(task, request_).annotations.equals(result.annotations)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<annotation><obj", "annotation-unreadable"),
        (
            b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
            "annotation-doctype",
        ),
        (b"\x00" * 100, "annotation-unreadable"),
        (b"", "annotation-unreadable"),
    ],
)
def test_unreadable_answer_is_not_done_and_is_named(
    folder: LabelBackend, request_: LabelRequest, data: bytes, code: str
) -> None:
    task = folder.create(request_)
    place(folder, task, f"done/{FIRST}.xml").write_bytes(data)

    progress, result = folder.progress(task), folder.fetch(task, request_)

    assert progress.done == 0
    assert progress.message == f"1 files in `done` cannot be read: {FIRST}.xml ({code})"
    assert len(result.done) == 0
    assert result.issues == {code: 1}


def test_links_and_pipes_are_not_read(
    folder: LabelBackend, request_: LabelRequest, tmp_path: Path
) -> None:
    task = folder.create(request_)
    secret = tmp_path / "secret.xml"
    secret.write_bytes(write_voc(VocFile()))
    place(folder, task, f"done/{FIRST}.xml").symlink_to(secret)
    os.mkfifo(place(folder, task, f"done/{SECOND}.xml"))
    place(folder, task, f"done/{THIRD}.xml").mkdir()

    assert folder.progress(task).done == 0
    assert len(folder.fetch(task, request_).done) == 0


def test_what_cannot_be_taken_is_counted(folder: LabelBackend, request_: LabelRequest) -> None:
    task = folder.create(request_)
    answer(
        folder, task, FIRST,
        VocObject(name="cat", box=(1.0, 1.0, 5.0, 5.0)),
        VocObject(name="one", box=None),
        VocObject(name="one", box=(500.0, 1.0, 5.0, 5.0)),
        VocObject(name="one", box=(35.0, 1.0, 50.0, 5.0)),
    )  # fmt: skip

    result = folder.fetch(task, request_)

    assert result.issues == {
        "class-unknown": 1,
        "box-empty": 1,  # an object without a box is written with an empty one
        "box-outside": 1,
        "box-clipped": 1,
    }
    assert result.annotations["w"].to_pylist() == [5.0]


def test_boxes_of_a_tool_that_ignores_exif_are_turned(
    folder: LabelBackend, request_: LabelRequest
) -> None:
    turned = replace(request_, assets=assets_of(FIRST, orientation=6))
    task = folder.create(turned)
    box = VocObject(name="one", box=(0.0, 0.0, 4.0, 10.0))
    answer(folder, task, FIRST, box, size=(HEIGHT, WIDTH))

    (row,) = folder.fetch(task, turned).annotations.to_pylist()

    assert (row["x"], row["y"], row["w"], row["h"]) == (WIDTH - 10.0, 0.0, 10.0, 4.0)


def test_files_that_nobody_asked_for_are_left_alone(
    folder: LabelBackend, request_: LabelRequest
) -> None:
    task = folder.create(request_)
    answer(folder, task, "ff" * 32)

    assert folder.progress(task).done == 0


@pytest.mark.parametrize("task", ["../labels", "", ".", "a/../b", "never-asked", "x" * 300])
def test_unknown_task_is_an_error(folder: LabelBackend, request_: LabelRequest, task: str) -> None:
    calls = (folder.progress, lambda task: folder.fetch(task, request_), folder.close)
    for call in calls:
        with pytest.raises(NotFoundError) as caught:
            call(task)
        assert caught.value.code == "no-such-label-task"


def test_closing_twice_is_closing_once(folder: LabelBackend, request_: LabelRequest) -> None:
    task = folder.create(request_)
    folder.close(task)
    folder.close(task)
    assert place(folder, task, "closed").is_file()


@pytest.fixture
def oracle(tmp_path: Path) -> LabelBackend:
    """It knows the first two images, numbers classes its own way, and has one nobody asked for."""
    url = (tmp_path / "oracle").as_uri()
    store = Store.open(url, create=True)
    ids = store.register_classes(["zebra", "two", "one"])
    with store.edit(
        "truth", op_id="0" * 64, operation=Operation(kind="import", parameters={}), message="m"
    ) as edit:
        edit.put_taxonomy(Taxonomy.from_names(ids))
        edit.put_assets(assets_of(FIRST, SECOND))
        truth = boxes(
            GROUND_TRUTH,
            (FIRST, ids["one"], 1, 1, 5, 5),
            (FIRST, ids["zebra"], 2, 2, 5, 5),
        )
        known = pa.array([bytes.fromhex(FIRST), bytes.fromhex(SECOND)], pa.binary(32))
        edit.put_layer("ground_truth", truth, assets=known)
    return open_backend("oracle", options={"store_url": url, "rev": "truth"})


def test_oracle_answers_with_the_ids_of_the_request(
    oracle: LabelBackend, request_: LabelRequest
) -> None:
    task = oracle.create(request_)
    result = oracle.fetch(task, request_)

    assert oracle.create(request_) == task
    assert oracle.progress(task) == LabelProgress(total=3, done=2, skipped=1)
    assert [found.hex() for found in result.done.to_pylist()] == [FIRST, SECOND]
    assert [found.hex() for found in result.skipped.to_pylist()] == [THIRD]
    (row,) = result.annotations.to_pylist()
    assert (row["class_id"], row["annotator"]) == (7, "oracle")
    assert result.issues == {"unknown-class": 1}


def test_oracle_knows_only_its_own_tasks(oracle: LabelBackend) -> None:
    for task in ("oracle-" + "0" * 64, "nothing", "oracle-../../x"):
        with pytest.raises(NotFoundError):
            oracle.progress(task)


def test_oracle_does_not_show_where_it_is(oracle: LabelBackend) -> None:
    assert repr(oracle) == "OracleBackend()"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("oracle", {"store_url": "file:///x"}),
        ("oracle", {"store_url": "file:///x", "rev": "a", "key": "b"}),
        ("folder", {}),
        ("folder", {"path": "relative"}),
        ("folder", {"path": "/tmp/x", "user": "y"}),
        ("label-studio", {}),
        ("label-studio", {"url": "http://127.0.0.1:1"}),
        ("label-studio", {"url": "ftp://127.0.0.1", "secret_key": "a"}),
        ("label-studio", {"url": "http://me:pw@127.0.0.1", "secret_key": "a"}),
        ("label-studio", {"url": "http://127.0.0.1", "secret_key": "a\nHost: b"}),
        ("cvat", {}),
    ],
)
def test_options_are_checked_by_name(kind: str, options: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        open_backend(kind, options=options)


def test_task_without_images_is_lost_not_complete() -> None:
    assert not LabelProgress(total=0, done=0).complete
