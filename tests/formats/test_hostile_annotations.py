"""Annotation files from anywhere: no traceback, no hang, and rows as the store promises them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.compute as pc
import pytest
from annotation_fuzz import coco_files, usual_voc_files, voc_files, yolo_files, yolo_names
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mir_ops.dataset.annotations import ImageFrames, annotation_table
from mir_ops.dataset.report import ISSUES, Tally
from mir_ops.errors import MirError
from mir_ops.formats import FormatName, voc
from mir_ops.formats.parsed import IMAGES, OBJECTS, Parsed
from mir_ops.formats.reading import read_annotations
from mir_ops.formats.voc import parse_voc

WIDTH, HEIGHT = 64, 48
FEW, MANY = 150, 10_000
HELD = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def read(format_name: FormatName, files: dict[str, bytes]) -> Parsed | None:
    try:
        return read_annotations(format_name, list(files), files.__getitem__)
    except MirError as error:
        said = error.hint
    assert said
    return None


def check(parsed: Parsed | None) -> None:
    """What was read has the columns that it promises, and its usable objects lie in their image."""
    if parsed is None:
        return
    assert parsed.images.schema == IMAGES
    assert parsed.objects.schema == OBJECTS
    parsed.objects.validate(full=True)
    assert all(finding.code in ISSUES for finding in parsed.findings)
    images = parsed.images.num_rows
    owners = parsed.objects["image"].to_numpy()
    assert ((owners >= 0) & (owners < images)).all()
    frames = ImageFrames(
        asset_ids=[number.to_bytes(32, "big") for number in range(images)],
        widths=[WIDTH] * images,
        heights=[HEIGHT] * images,
        turns=[1 if number % 2 else 6 for number in range(images)],
        sources=parsed.images["source"].to_pylist(),
    )
    tally = Tally()
    class_ids = np.ones(parsed.objects.num_rows, np.int32)
    table = annotation_table(
        parsed.objects, class_ids, frames, tally, relative=parsed.relative, predictions=True
    )
    table.validate(full=True)
    upright = table.filter(pc.not_equal(table["kind"], "rotated_box"))
    for start, extent, limit in (("x", "w", WIDTH), ("y", "h", HEIGHT)):
        first, size = (upright[name].to_numpy().astype(np.float64) for name in (start, extent))
        assert (first >= 0).all()
        assert (size > 0).all()
        assert (first + size <= limit + 1).all()
    assert len(pc.unique(table["annotation_id"])) == len(table) or images > 1
    tally.report({}).lines()


def thorough_and_quick(strategy: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """The same test with few inputs in every run, and with many in the long one."""

    def both(test: Callable[[Any], None]) -> Any:
        def run(examples: int) -> None:
            within = settings(max_examples=examples, suppress_health_check=HELD, database=None)
            within(given(strategy)(test))()

        name = test.__name__
        cases = [FEW, pytest.param(MANY, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
        wrapped = pytest.mark.parametrize("examples", cases)(run)
        wrapped.__name__ = name
        return wrapped

    return both


@thorough_and_quick(st.tuples(voc_files(), voc_files()))
def test_voc_files(data: tuple[bytes, bytes]) -> None:
    check(read("voc", {"a.xml": data[0], "b.xml": data[1]}))


@thorough_and_quick(st.lists(usual_voc_files() | voc_files(), max_size=3))
def test_usual_voc_files_say_what_a_parser_reads(data: list[bytes]) -> None:
    files = [(f"{number}.xml", body) for number, body in enumerate(data)]

    found = parse_voc(files)
    with mock.patch.object(voc, "read_plain", return_value=None):
        parsed = parse_voc(files)

    assert found.images.equals(parsed.images)
    assert found.findings == parsed.findings
    assert rows_of(found) == rows_of(parsed)


def rows_of(parsed: Parsed) -> list[str]:
    return sorted(repr(row) for row in parsed.objects.to_pylist())


def test_usual_voc_files_need_no_parser() -> None:
    object_ = (
        "<object><name>cat</name><pose>Unspecified</pose><truncated>0</truncated>"
        "<difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3.5</xmax>"
        "<ymax>4</ymax></bndbox></object>\n"
    )
    text = (
        "<annotation>\n<folder>f</folder><filename>a.jpg</filename><path>/a</path>"
        "<source><database>Unknown</database></source><size><width>9</width><height>8</height>"
        f"<depth>3</depth></size><segmented>0</segmented>{object_ * 2}</annotation>\n"
    )

    with mock.patch.object(voc, "root_of", side_effect=AssertionError("it was parsed")):
        parsed = parse_voc([("a.xml", text.encode())])

    assert parsed.images.to_pylist()[0]["width"] == 9
    assert [row["w"] for row in parsed.objects.to_pylist()] == [3.5, 3.5]


@thorough_and_quick(st.tuples(coco_files(), coco_files()))
def test_coco_files(data: tuple[bytes, bytes]) -> None:
    check(read("coco", {"a.json": data[0], "b.json": data[1]}))


@thorough_and_quick(st.tuples(yolo_files(), yolo_names()))
def test_yolo_files(data: tuple[bytes, tuple[str, bytes]]) -> None:
    labels, (name, names) = data
    check(read("yolo", {"labels/train/a.txt": labels, name: names}))


@thorough_and_quick(st.binary(max_size=64))
def test_bytes_of_any_kind(data: bytes) -> None:
    check(read("voc", {"a.xml": data, "SegmentationObject/a.png": b"\x89PNG\r\n\x1a\n" + data}))
    check(read("coco", {"a.json": data}))
    check(read("yolo", {"a.txt": data, "classes.txt": data}))


def test_twenty_thousand_classes_are_read() -> None:
    names = "\n".join(f"class {number}" for number in range(20_000))
    lines = "\n".join(f"{number} 0.5 0.5 0.1 0.1" for number in range(20_000))
    listed = "names:\n" + "".join(f"  {n}: class {n}\n" for n in range(20_000))

    for class_file, text in (("classes.txt", names), ("data.yaml", listed)):
        parsed = read("yolo", {"a.txt": lines.encode(), class_file: text.encode()})
        assert parsed is not None
        assert len(parsed.objects["class_name"].unique()) == 20_000


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[" * 200_000, "annotation-unreadable"),
        (b'{"annotations": [' + b'{"a":' * 100_000, "annotation-unreadable"),
        (b'{"images": [' + b"9" * 5000 + b"]}", "annotation-unreadable"),
        (b'{"images": []} {"images": []}', "annotation-unreadable"),
        (b"\xff\xfe{\x00", "annotation-unreadable"),
    ],
)
def test_a_coco_file_that_is_no_json_is_refused_as_a_whole(data: bytes, code: str) -> None:
    parsed = read("coco", {"a.json": data})

    assert parsed is not None
    assert parsed.objects.num_rows == 0
    assert [finding.code for finding in parsed.findings] == [code]
