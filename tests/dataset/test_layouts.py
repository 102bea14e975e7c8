"""Which files of a source are images, annotations and lists, whatever they are called."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops.dataset.layout import Layout, find_layout, guess_format, read_split_names
from mir_ops.dataset.matching import match_files, match_names, match_rows
from mir_ops.dataset.pace import Pace
from mir_ops.dataset.report import Tally
from mir_ops.errors import InvalidInputError
from mir_ops.formats import FORMATS


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["images/a.jpg", "annotations/a.xml"], "voc"),
        (["a.jpg", "a.xml"], "voc"),
        (["images/a.jpg", "annotations/coco-annotations.json"], "coco"),
        (["train2017/a.jpg", "annotations/instances_train2017.json"], "coco"),
        (["train/images/a.jpg", "train/labels/a.txt", "data.yaml"], "yolo"),
        (["images/train/a.jpg", "labels/train/a.txt", "data.yaml"], "yolo"),
        (["images/a.jpg", "annotations/2017/a.json"], "coco"),
        (["images/a.jpg", "README.txt", "package.json"], "none"),
        (["images/a.jpg"], "none"),
        ([], "none"),
    ],
)
def test_the_format_shows_in_the_names(names: Sequence[str], kind: str) -> None:
    assert guess_format(names, in_folder=False) == kind


def test_files_of_a_folder_of_annotations_need_no_telling_name() -> None:
    assert guess_format(["a.json"], in_folder=True) == "coco"
    assert guess_format(["a.txt"], in_folder=True) == "yolo"


def test_a_yolo_source_is_taken_apart() -> None:
    names = ["train/images/a.jpg", "train/labels/a.txt", "data.yaml", "train/labels/classes.txt"]

    layout = find_layout(names, FORMATS["yolo"])

    assert layout.images == {"train/images/a.jpg": "train//a"}
    assert layout.annotations == {"train/labels/a.txt": "train//a"}
    assert layout.companions == ("data.yaml", "train/labels/classes.txt")


def test_of_coco_files_those_with_objects_are_read() -> None:
    names = ["train2017/a.jpg", "annotations/instances_val.json", "annotations/captions_val.json"]

    layout = find_layout(names, FORMATS["coco"])

    assert list(layout.images) == ["train2017/a.jpg"]
    assert list(layout.annotations) == ["annotations/instances_val.json"]
    assert layout.ignored == ("annotations/captions_val.json",)


def test_rows_find_their_image_by_the_end_of_the_path() -> None:
    tally = Tally()
    images = ["images/day/a.jpg", "images/night/a.jpg", "images/b.jpg"]
    stated = ["night/a.jpg", "./b.jpg", "a.jpg", "c.jpg", "data\\day\\a.jpg"]

    rows = match_rows(images, ["f.json"] * 5, stated, tally)

    assert rows == {"images/night/a.jpg": 0, "images/b.jpg": 1, "images/day/a.jpg": 4}
    codes = {issue.code: issue.examples for issue in tally.report({}).issues}
    assert codes == {
        "annotation-ambiguous": ("f.json: a.jpg",),
        "annotation-without-image": ("f.json: c.jpg",),
    }


def test_a_list_names_images_with_or_without_suffix() -> None:
    split, names = read_split_names("ImageSets/Main/Train.txt", "a\nb.jpg  1\n\n gone\n")

    assert (split, names) == ("train", ["a", "b.jpg", "gone"])
    assert match_names(["x/a.jpg", "x/b.jpg"], names) == {
        "a": ["x/a.jpg"],
        "b.jpg": ["x/b.jpg"],
        "gone": [],
    }


def test_a_pace_tells_rate_and_time_left() -> None:
    now = 0.0
    pace = Pace("images", 1000, clock=lambda: now)
    assert str(pace) == "images 0/1000"

    now = 4.0
    pace.add(200)
    assert (pace.share, str(pace)) == (0.2, "images 200/1000, 50/s, 16 s left")
    now = 4000.0
    assert str(pace) == "images 200/1000, 0/s, 4 h 26 min left"


PARTS = st.one_of(
    st.sampled_from(["images", "JPEGImages", "annotations", "GT", "labels", "a", "b", "__MACOSX"]),
    st.sampled_from(
        ["a.jpg", "a.xml", "a.txt", "a.json", "classes.txt", ".x", "a.", "..jpg", "x."]
    ),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1),
)
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=6).map("/".join), max_size=12, unique=True)
KINDS = st.sampled_from(sorted(FORMATS))


def check_layout(names: list[str], kind: str) -> None:
    guess_format(names, in_folder=False)
    layout = Layout(images={}, annotations={})
    with suppress(InvalidInputError):
        layout = find_layout(names, FORMATS[kind])
    placed = [*layout.images, *layout.annotations, *layout.companions, *layout.sets]
    assert len(set(placed)) == len(placed)
    assert set(placed) | set(layout.ignored) <= set(names)
    match_files(layout, dict.fromkeys(layout.annotations, ""), Tally())
    match_rows(layout.images, names, names, Tally())


@given(NAMES, KINDS)
def test_any_names_are_a_layout_or_refused(names: list[str], kind: str) -> None:
    check_layout(names, kind)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@given(NAMES, KINDS)
def test_ten_thousand_lists_of_names_are_layouts_or_refused(names: list[str], kind: str) -> None:
    check_layout(names, kind)
