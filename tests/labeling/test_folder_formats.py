"""Files of other tools in the folder backend: YOLO, COCO and CVAT, in and out."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as Tree

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_requests import FIRST, HEIGHT, SECOND, THIRD, WIDTH, small_request
from studio_people import rows

from mir_ops.formats import rle
from mir_ops.formats.cvat import parse_cvat, write_cvat
from mir_ops.formats.parsed import ImageRow, ObjectRow
from mir_ops.labeling import LabelRequest, open_backend
from mir_ops.labeling.folder import FolderBackend
from mir_ops.store.schema import PREDICTIONS

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>t</name></task></meta>
  <image id="0" name="{first}.png" width="40" height="30">
    <box label="One" source="manual" occluded="1" xtl="4.0" ytl="3.0" xbr="12.0" ybr="9.0"/>
    <box label="two" occluded="0" xtl="10" ytl="8" xbr="22" ybr="14" rotation="30.00"/>
    <polygon label="two" occluded="0" points="4.25,5.00;30.00,7.50;12.00,25.00"/>
    <mask label="one" occluded="0" rle="1, 2, 3" left="5" top="6" width="3" height="2"/>
    <polyline label="one" points="1,1;2,2"/>
  </image>
  <image id="1" name="some/folder/{second}.png" width="40" height="30"></image>
</annotations>"""


@pytest.fixture
def asked(tmp_path: Path) -> tuple[FolderBackend, LabelRequest, Path]:
    backend = open_backend("folder", options={"path": str(tmp_path / "labels")})
    request = small_request()
    assert isinstance(backend, FolderBackend)
    task_id = backend.create(request)
    return backend, request, backend.path / task_id


def test_yolo_files_answer_by_the_numbers_of_the_classes(
    asked: tuple[FolderBackend, LabelRequest, Path],
) -> None:
    backend, request, task = asked
    (task / "done" / f"{FIRST}.txt").write_text("1 0.5 0.5 0.25 0.2\n0 0.1 0.1 0.5 0.1 0.3 0.6\n")
    (task / "done" / f"{SECOND}.txt").write_text("")
    (task / "done" / "notes.txt").write_text("lunch")

    progress, result = backend.progress(task.name), backend.fetch(task.name, request)

    assert (progress.done, progress.message) == (2, "")
    found = rows(result.annotations, "class_id", "kind", "x", "y", "w", "h")
    assert found == [(3, "box", 15, 12, 10, 6), (7, "polygon", 4, 3, 16, 15)]
    assert len(result.done) == 2


def test_classes_beside_yolo_files_say_what_numbers_mean(
    asked: tuple[FolderBackend, LabelRequest, Path],
) -> None:
    backend, request, task = asked
    (task / "done" / "classes.txt").write_text("cat\ntwo\none\n")
    (task / "done" / f"{FIRST}.txt").write_text("2 0.5 0.5 0.25 0.2\n0 0.5 0.5 0.25 0.2\n")

    result = backend.fetch(task.name, request)

    assert rows(result.annotations, "class_id") == [(7,)]
    assert result.issues == {"class-unknown": 1}


def test_one_cvat_file_answers_every_image_that_it_lists(
    asked: tuple[FolderBackend, LabelRequest, Path],
) -> None:
    backend, request, task = asked
    (task / "done" / "annotations.xml").write_text(CVAT.format(first=FIRST, second=SECOND))

    progress, result = backend.progress(task.name), backend.fetch(task.name, request)

    assert (progress.total, progress.done) == (3, 2)
    assert sorted(found.hex() for found in result.done.to_pylist()) == [FIRST, SECOND]
    kept = {row["kind"]: row for row in result.annotations.to_pylist()}
    assert (kept["box"]["x"], kept["box"]["w"], kept["box"]["occluded"]) == (4, 8, True)
    assert kept["rotated_box"]["angle"] == 30
    assert kept["polygon"]["polygon"] == [[4.25, 5, 30, 7.5, 12, 25]]
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[6, 6:8] = True  # of the six pixels in two rows: one is out, two in, three out
    assert kept["mask"]["rle"] == rle.write_runs(rle.runs_of([rle.from_bitmap(mask)]))[0].as_py()
    assert result.issues == {"shape-unsupported": 1}


def test_coco_files_answer_too_and_the_newer_file_counts(
    asked: tuple[FolderBackend, LabelRequest, Path],
) -> None:
    backend, request, task = asked
    coco = {
        "images": [{"id": 1, "file_name": f"{FIRST}.png", "width": 40, "height": 30}],
        "categories": [{"id": 9, "name": "two"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]}],
    }
    old, new = task / "done" / f"{FIRST}.txt", task / "done" / "export.json"
    old.write_text("0 0.5 0.5 0.25 0.2\n")
    new.write_text(json.dumps(coco))
    os.utime(old, ns=(1, 1))

    result = backend.fetch(task.name, request)

    assert rows(result.annotations, "class_id", "x", "y", "w", "h") == [(3, 1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("a.xml", "<annotations><image", "annotation-unreadable"),
        ("a.xml", "<!DOCTYPE a><annotations/>", "annotation-doctype"),
        ("a.xml", "<annotations/>", "annotation-without-images"),
        ("a.json", "{", "annotation-unreadable"),
        ("a.json", "[" * 100_000, "annotation-unreadable"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    asked: tuple[FolderBackend, LabelRequest, Path], name: str, text: str, code: str
) -> None:
    backend, request, task = asked
    (task / "done" / name).write_text(text)

    progress, result = backend.progress(task.name), backend.fetch(task.name, request)

    assert progress.done == 0
    assert progress.message == f"1 files in `done` cannot be read: {name} ({code})"
    assert result.issues == {code: 1}


@pytest.mark.parametrize(
    "shape",
    [
        '<mask label="one" rle="999999999" left="0" top="0" width="3" height="2"/>',
        '<mask label="one" rle="-1,7" left="0" top="0" width="3" height="2"/>',
        '<mask label="one" rle="6" left="39" top="0" width="3" height="2"/>',
        '<mask label="one"/>',
        '<polygon label="one" points="1,1;2"/>',
        '<polygon label="one" points=""/>',
        '<box label="one" xtl="nan" ytl="1" xbr="2" ybr="2"/>',
        '<box label="one"/>',
    ],
)
def test_shapes_that_are_none_are_counted(
    asked: tuple[FolderBackend, LabelRequest, Path], shape: str
) -> None:
    backend, request, task = asked
    image = f'<image name="{THIRD}.png" width="40" height="30">{shape}</image>'
    (task / "done" / "a.xml").write_text(f"<annotations>{image}</annotations>")

    result = backend.fetch(task.name, request)

    assert result.annotations.num_rows == 0
    assert result.issues


def test_what_the_model_sees_is_there_for_cvat(
    asked: tuple[FolderBackend, LabelRequest, Path],
) -> None:
    _, _, task = asked
    data = (task / "annotations.xml").read_bytes()

    names = [image.get("name") for image in Tree.fromstring(data).iter("image")]
    parsed = parse_cvat([("annotations.xml", data)])

    assert names == [path.name for path in sorted((task / "images").iterdir())]
    (row,) = parsed.objects.to_pylist()
    assert (row["class_name"], row["x"], row["y"], row["w"], row["h"]) == ("two", 1, 2, 10, 8)


def test_polygons_that_the_model_sees_are_polygons_for_cvat(tmp_path: Path) -> None:
    ring = [4.25, 5.0, 30.0, 7.5, 12.0, 25.0]
    seen = {
        "asset_id": bytes.fromhex(FIRST), "annotation_id": 1, "class_id": 3, "kind": "polygon",
        "x": 4.25, "y": 5.0, "w": 25.75, "h": 20.0, "polygon": [ring], "confidence": 0.5,
    }  # fmt: skip
    predictions = pa.Table.from_pylist([seen], schema=PREDICTIONS)
    kinds = {}
    for shape in ("polygon", "box"):
        request = replace(small_request(), predictions=predictions, shapes=(shape,))
        backend = open_backend("folder", options={"path": str(tmp_path / shape)})
        task = backend.create(request)
        data = (tmp_path / shape / task / "annotations.xml").read_bytes()
        (row,) = parse_cvat([("annotations.xml", data)]).objects.to_pylist()
        kinds[shape] = (row["kind"], row["polygon"])

    assert kinds == {"polygon": ("polygon", [ring]), "box": ("box", None)}


def test_masks_that_the_model_sees_are_masks_for_cvat(tmp_path: Path) -> None:
    bitmap = np.zeros((HEIGHT, WIDTH), np.bool_)
    bitmap[5:9, 4:12] = bitmap[8:, 30] = True
    text = rle.write_runs(rle.runs_of([rle.from_bitmap(bitmap)]))[0].as_py()
    seen = {
        "asset_id": bytes.fromhex(FIRST), "annotation_id": 1, "class_id": 3, "kind": "mask",
        "x": 4, "y": 5, "w": 27, "h": 25, "rle": text, "rle_width": WIDTH, "rle_height": HEIGHT,
        "confidence": 0.5,
    }  # fmt: skip
    predictions = pa.Table.from_pylist([seen], schema=PREDICTIONS)
    kinds = {}
    for shape in ("mask", "box"):
        request = replace(small_request(), predictions=predictions, shapes=(shape,))
        backend = open_backend("folder", options={"path": str(tmp_path / shape)})
        task = backend.create(request)
        data = (tmp_path / shape / task / "annotations.xml").read_bytes()
        (row,) = parse_cvat([("annotations.xml", data)]).objects.to_pylist()
        kinds[shape] = (row["kind"], row["rle"])

    assert kinds == {"mask": ("mask", text), "box": ("box", None)}


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_a_mask_comes_back_from_a_cvat_file_as_it_was(bitmap: npt.NDArray[np.bool_]) -> None:
    height, width = bitmap.shape
    text = rle.write_runs(rle.runs_of([rle.from_bitmap(bitmap)]))[0].as_py()
    image = ImageRow(source="", file_name="a.png", width=width, height=height)
    row = ObjectRow(
        0, "", "one", "mask", None, None, None, None, rle=text, rle_width=width, rle_height=height
    )

    (read,) = parse_cvat([("a.xml", write_cvat([(image, [row])]))]).objects.to_pylist()

    assert read["rle"] == text
