"""COCO as it is found: ids that are not dense, rings, run lengths, lists of results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mir_ops.formats.coco import parse_coco
from mir_ops.formats.parsed import Parsed
from mir_ops.formats.rle import read_runs

IMAGES = [{"id": 900, "file_name": "a.jpg", "width": 10, "height": 8}]
CLASSES = [{"id": 90, "name": "cat"}, {"id": 7, "name": "dog"}]


def read(*annotations: Any, like: Parsed | None = None, **more: Any) -> Parsed:
    document = {"images": IMAGES, "annotations": list(annotations), "categories": CLASSES} | more
    return parse_coco([("c.json", json.dumps(document).encode())], like=like)


def entry(**more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 900, "category_id": 90, "bbox": [1, 2, 3, 4], **more}


def codes(parsed: Parsed) -> list[tuple[str, str]]:
    return [(finding.code, finding.example) for finding in parsed.findings]


def test_ids_are_names_not_places_and_sections_come_in_any_order() -> None:
    text = json.dumps({"annotations": [entry()], "categories": CLASSES, "images": IMAGES})

    (row,) = parse_coco([("c.json", text.encode())]).objects.to_pylist()

    assert (row["class_name"], row["kind"], row["x"], row["h"]) == ("cat", "box", 1, 4)


def test_polygons_have_any_number_of_rings_and_an_empty_one_is_none() -> None:
    rings = [[1, 1, 4, 1, 4, 4], [2, 2, 3, 2, 3, 3]]

    rows = read(
        entry(segmentation=rings), entry(id=2, segmentation=[]), entry(id=3, segmentation={})
    ).objects.to_pylist()

    assert [row["kind"] for row in rows] == ["polygon", "box", "box"]
    assert rows[0]["polygon"] == rings


def test_run_lengths_are_read_compressed_or_not() -> None:
    plain = {"counts": [10, 20, 50], "size": [8, 10]}
    (first,) = read(entry(segmentation=plain)).objects["rle"].to_pylist()
    packed = {"counts": first.decode(), "size": [8, 10]}

    parsed = read(entry(segmentation=packed, iscrowd=1))

    runs, good = read_runs(parsed.objects["rle"].combine_chunks())
    assert good.all()
    assert runs.of(0).tolist() == [10, 20, 50]
    row = parsed.objects.to_pylist()[0]
    assert (row["kind"], row["iscrowd"], row["rle_width"], row["rle_height"]) == (
        *("mask", True),
        *(10, 8),
    )


def test_ids_that_are_given_twice_are_counted() -> None:
    parsed = read(
        entry(),
        entry(bbox=[0, 0, 1, 1]),
        images=[*IMAGES, {"id": 900, "file_name": "b.jpg"}],
        categories=[*CLASSES, {"id": 90, "name": "cow"}],
    )

    assert parsed.objects["class_name"].to_pylist() == ["cat", "cat"]
    assert parsed.images["file_name"].to_pylist() == ["a.jpg"]
    assert sorted(codes(parsed)) == [
        ("id-twice", "c.json: annotation 1"),
        ("id-twice", "c.json: category 90"),
        ("id-twice", "c.json: image 900"),
    ]


def test_objects_of_images_and_classes_that_nobody_lists_are_counted() -> None:
    parsed = read(entry(id=5, image_id=1), entry(id=6, category_id=1), entry(id=8))

    assert parsed.objects.num_rows == 1
    assert codes(parsed) == [
        ("image-unknown", "c.json: annotation 5"),
        ("category-unknown", "c.json: annotation 6"),
    ]


def test_what_cvat_and_ymir_add_is_kept() -> None:
    attributes = {"occluded": True, "rotation": 30.0, "colour": "red", "count": 2, "deep": {}}

    (row,) = read(
        entry(attributes=attributes, confidence=0.5, box_quality=-1, tags={"a": "b"}, area=3)
    ).objects.to_pylist()

    assert (row["occluded"], row["angle"], row["confidence"], row["quality"]) == (
        *(True, 30.0, 0.5),
        None,
    )
    assert row["tags"] == [("colour", "red"), ("count", "2"), ("a", "b")]


def test_a_list_of_results_takes_its_ids_from_the_ground_truth() -> None:
    truth = read(entry())
    results = [
        {"image_id": 900, "category_id": 7, "bbox": [1, 1, 2, 2], "score": 0.25},
        {"image_id": 901, "category_id": 7, "bbox": [1, 1, 2, 2], "score": 0.5},
    ]

    found = parse_coco([("results.json", json.dumps(results).encode())], like=truth)
    alone = parse_coco([("results.json", json.dumps(results).encode())])

    (row,) = found.objects.to_pylist()
    assert (row["class_name"], row["confidence"]) == ("dog", 0.25)
    assert found.images["file_name"].to_pylist() == ["a.jpg"]
    assert [code for code, _ in codes(found)] == ["image-unknown"]
    assert alone.objects.num_rows == 0
    assert [code for code, _ in codes(alone)] == ["image-unknown", "image-unknown"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_other_encodings_of_unicode_are_read(encoding: str) -> None:
    names = [{"id": 90, "name": "kočka"}]
    text = json.dumps({"images": IMAGES, "annotations": [entry()], "categories": names})

    parsed = parse_coco([("c.json", text.encode(encoding))])

    assert parsed.objects["class_name"].to_pylist() == ["kočka"]
