"""YOLO label files, with the files that explain their class numbers."""

from __future__ import annotations

import pytest

from mir_ops.errors import InvalidInputError
from mir_ops.formats.yolo import parse_yolo

NAMES = [("classes.txt", b"cat\ndog\n")]


def test_boxes_polygons_and_confidences_are_told_apart_by_their_length() -> None:
    lines = b"0 .5 .5 .2 .4\n1 .5 .5 .2 .4 .75\n1 .1 .1 .2 .1 .2 .2\n0 .1 .1 .2 .1 .2 .2 .9\n"

    rows = parse_yolo([("labels/a.txt", lines)], NAMES).objects.to_pylist()

    assert [row["kind"] for row in rows] == ["box", "box", "polygon", "polygon"]
    assert [row["class_name"] for row in rows] == ["cat", "dog", "dog", "cat"]
    assert [row["confidence"] for row in rows] == [None, 0.75, None, 0.9]
    assert [rows[0][side] for side in "xywh"] == [0.4, 0.3, 0.2, 0.4]
    assert rows[3]["polygon"] == [[0.1, 0.1, 0.2, 0.1, 0.2, 0.2]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "no\nyes\n"),
        ("data.yaml", "names: [no, yes]"),
        ("data.yaml", "nc: 2\nnames:\n  1: yes\n  0: no\n"),
    ],
)
def test_names_come_from_a_list_or_a_mapping_and_are_texts(name: str, text: str) -> None:
    parsed = parse_yolo([("a.txt", b"0 0 0 1 1\n1 0 0 1 1\n")], [(name, text.encode())])

    assert parsed.objects["class_name"].to_pylist() == ["no", "yes"]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("labels/train/a.txt", "train"),
        ("data/valid/labels/a.txt", "val"),
        ("test/labels/x/a.txt", "test"),
        ("labels/a.txt", None),
        ("labels/train.txt", None),
    ],
)
def test_folders_say_what_an_image_is_for(path: str, split: str | None) -> None:
    assert parse_yolo([(path, b"")], NAMES).images["split"].to_pylist() == [split]


def test_lines_that_are_no_objects_are_counted_with_their_number() -> None:
    parsed = parse_yolo([("a.txt", b"0 0 0 1 1\n\nimages/a.jpg\n0 1\n9 0 0 1 1\n")], NAMES)

    assert parsed.objects.num_rows == 1
    assert [(finding.code, finding.example) for finding in parsed.findings] == [
        ("object-malformed", "a.txt: line 3"),
        ("object-malformed", "a.txt: line 4"),
        ("category-unknown", "a.txt: line 5: 9"),
    ]


def test_numbers_without_names_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no file says what their class numbers mean"):
        parse_yolo([("a.txt", b"0 0 0 1 1\n")], [])

    assert parse_yolo([("a.txt", b"")], []).images.num_rows == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("names: " + "[" * 10_000, "nested too deep"),
        ("names: &a [*a]", "has aliases"),
        ("names: {5000000: x}", "a class has the number 5000000"),
        ("names: [a: b: c", "mapping values|expected"),
    ],
)
def test_hostile_yaml_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        parse_yolo([("a.txt", b"0 0 0 1 1\n")], [("data.yaml", text.encode())])
