"""Polygons and masks: turned with their image, measured, and refused when they are none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dataset_sources import OPERATIONS, box, folder_of, image, voc
from PIL import Image

from mir_ops.dataset import import_dataset
from mir_ops.dataset.annotations import ImageFrames, annotation_table
from mir_ops.dataset.report import Tally
from mir_ops.formats.parsed import Collected, ObjectRow
from mir_ops.formats.rle import from_bitmap, read_runs, runs_of, to_bitmap, write_runs
from mir_ops.store import Store

# How Pillow shows an image with this EXIF orientation.
TURNS: Mapping[int, Image.Transpose] = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def table_of(*rows: ObjectRow, size: tuple[int, int] = (12, 9), turn: int = 1) -> tuple[Any, Tally]:
    collected, tally = Collected(), Tally()
    collected.add_objects(rows)
    frames = ImageFrames(
        asset_ids=[bytes(32)],
        widths=[size[0]],
        heights=[size[1]],
        turns=[turn],
        sources=["a.json"],
    )
    found = collected.parsed().objects
    table = annotation_table(found, np.ones(len(rows), np.int32), frames, tally)
    return table, tally


def mask(bitmap: np.ndarray, **more: Any) -> ObjectRow:
    text = write_runs(runs_of([from_bitmap(bitmap)]))[0].as_py()
    height, width = bitmap.shape
    nowhere = (None, None, None, None)
    return ObjectRow(
        0, "m", "cat", "mask", *nowhere, rle=text, rle_width=width, rle_height=height, **more
    )


def polygon(*rings: list[float], **more: Any) -> ObjectRow:
    return ObjectRow(0, "p", "cat", "polygon", None, None, None, None, polygon=list(rings), **more)


def codes(tally: Tally) -> dict[str, int]:
    return {issue.code: issue.count for issue in tally.report({}).issues}


@pytest.mark.parametrize("turn", TURNS)
def test_a_mask_turns_with_its_image(turn: int) -> None:
    before = np.random.default_rng(turn).random((12, 9)) < 0.4  # 9 wide, displayed 12 wide
    shown = np.asarray(Image.fromarray(before).transpose(TURNS[turn]))

    table, tally = table_of(mask(before), turn=turn)

    runs, good = read_runs(table["rle"].combine_chunks())
    assert good.all()
    assert (to_bitmap(runs.of(0), 12, 9) == shown).all()
    assert table["area"].to_pylist() == [before.sum()]
    assert codes(tally) == {}


@pytest.mark.parametrize("turn", TURNS)
def test_a_polygon_turns_as_a_box_does(turn: int) -> None:
    corners = [1.0, 2.0, 4.0, 2.0, 4.0, 7.0, 1.0, 7.0]  # of the box x 1, y 2, w 3, h 5

    table, _ = table_of(
        polygon(corners), ObjectRow(0, "b", "cat", "box", 1.0, 2.0, 3.0, 5.0), turn=turn
    )

    places = table.select(["x", "y", "w", "h"]).to_pylist()
    assert places[0] == places[1]


def test_what_a_shape_measures_is_known_where_nobody_says() -> None:
    bitmap = np.zeros((9, 12), np.bool_)
    bitmap[2:5, 3:11] = True

    table, _ = table_of(mask(bitmap), polygon([0, 0, 4, 0, 4, 3, 0, 3], [5, 5, 7, 5, 7, 7]))

    rows = {row["kind"]: row for row in table.to_pylist()}
    assert [rows["mask"][side] for side in "xywh"] == [3, 2, 8, 3]
    assert rows["mask"]["area"] == 24
    assert [rows["polygon"][side] for side in "xywh"] == [0, 0, 7, 7]
    assert rows["polygon"]["area"] == 14


def test_two_objects_with_one_box_and_different_masks_stay_two() -> None:
    first, second = np.zeros((9, 12), np.bool_), np.zeros((9, 12), np.bool_)
    first[0:4, 0:4] = second[0:4, 0:4] = True
    second[1, 1] = False

    table, tally = table_of(mask(first), mask(second), mask(first))

    assert len(table) == 2
    assert len(set(table["annotation_id"].to_pylist())) == 2
    assert codes(tally) == {"box-twice": 1}


@pytest.mark.parametrize(
    "row",
    [
        polygon([0, 0, 1, 1]),
        polygon([0, 0, 1, 1, 2]),
        polygon([0, 0, 1, 1, float("nan"), 3]),
        polygon([], [0, 0, 4, 0, 4, 3]),
        mask(np.zeros((9, 12), np.bool_)),
        mask(np.ones((9, 11), np.bool_)),
    ],
)
def test_a_shape_that_is_none_leaves_the_box(row: ObjectRow) -> None:
    boxed = row._replace(x=1.0, y=1.0, w=2.0, h=2.0)

    alone, without = table_of(row)
    table, tally = table_of(boxed)

    assert len(alone) == 0
    assert codes(without)["shape-unreadable"] == 1
    assert table["kind"].to_pylist() == ["box"]
    assert codes(tally) == {"shape-unreadable": 1}


def test_points_far_outside_are_moved_to_the_edge_and_counted() -> None:
    table, tally = table_of(polygon([-3, 1, 5, 1, 5, 20]))

    assert table["polygon"].to_pylist() == [[[0, 1, 5, 1, 5, 9]]]
    assert codes(tally)["shape-clipped"] == 1


def test_masks_of_voc_are_imported_from_their_folders(tmp_path: Path, store: Store) -> None:
    pixels = np.zeros((48, 64), np.uint8)
    pixels[10:20, 5:30] = 1
    folder_of(
        tmp_path / "in",
        {
            "JPEGImages/a.jpg": image(1),
            "Annotations/a.xml": voc(box("dog", 5, 10, 29, 19)),
            "ImageSets/Main/val.txt": b"a\n",
        },
    )
    (tmp_path / "in/SegmentationObject").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in/SegmentationObject/a.png")

    result = import_dataset(store, tmp_path / "in", "a", op_id=OPERATIONS[0], image_sets=True)

    (row,) = store.read("a").layer("ground_truth").to_pylist()
    assert (row["kind"], row["area"]) == ("mask", 250)
    assert [row[side] for side in "xywh"] == [5, 10, 25, 10]
    runs, _ = read_runs(pa.array([row["rle"]], pa.binary()))
    assert (to_bitmap(runs.of(0), 64, 48) == pixels).all()
    assert store.read("a").assets(["split"])["split"].to_pylist() == ["val"]
    assert result.report.issues == ()
