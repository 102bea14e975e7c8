"""Regions and masks as people's tools send them: hostile, and the same after a way and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_requests import FIRST, SECOND, small_request

from mir_ops.labeling.brush import BrushError, read_brush, write_brush
from mir_ops.labeling.studio_answers import read_answers, settled
from mir_ops.labeling.studio_projects import instruction
from mir_ops.labeling.studio_regions import Frame, RegionError, read_regions

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "value", "x", "y", "width", "height", "rotation", "rectanglelabels",
                 "polygonlabels", "brushlabels", "points", "rle", "format", "id", "result",
                 "was_cancelled", "completed_by", "updated_at", "lead_time", "original_width"]
            ),
            inner | st.sampled_from(["rectanglelabels", "polygonlabels", "brushlabels", ["one"]]),
            max_size=8,
        )
    ),
    max_leaves=24,
)  # fmt: skip


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_a_mask_is_the_same_after_a_way_and_back(width: int, height: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    mask = dice.random((height, width)) < dice.random()

    assert (read_brush(write_brush(mask), width, height) == mask).all()


def test_a_mask_of_a_large_image_is_read_quickly() -> None:
    mask = np.zeros((3000, 4000), np.bool_)
    mask[500:2500, 1000:3000] = True

    encoded = write_brush(mask)

    assert len(encoded) < 50_000
    assert (read_brush(encoded, 4000, 3000) == mask).all()


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.binary(min_size=1, max_size=8))),
    st.lists(st.integers(4, 16), min_size=4, max_size=4),
)
def test_every_kind_of_block_is_read(
    blocks: list[tuple[bool, int, bytes]], sizes: list[int]
) -> None:
    blocks = [*blocks, (True, 0, b"\xff"), (False, 1, b"\x7f\x80\x00\xff")]
    words = b"".join(word[:1] * 5 if run else word for run, _, word in blocks)
    blocks.append((False, 3, b"\0" * (4 - len(words) % 4)))
    words += blocks[-1][2]
    bits = f"{len(words):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    for run, size, word in blocks:
        held, count = (word[:1], 5) if run else (word, len(word))
        bits += f"{run:b}{size:02b}{count - 1:0{sizes[size]}b}"
        bits += "".join(f"{value:08b}" for value in held)
    encoded = np.packbits(np.frombuffer(bits.encode(), np.uint8) - ord("0")).tolist()

    assert read_brush(encoded, len(words) // 4, 1).tolist() == [[x >= 128 for x in words[3::4]]]
    with pytest.raises(BrushError):
        read_brush(encoded[:-1], len(words) // 4, 1)


@given(st.lists(st.integers(0, 255), max_size=60))
def test_bytes_that_are_no_mask_are_refused(encoded: list[int]) -> None:
    with pytest.raises(BrushError):
        read_brush(encoded, 640, 480)


@pytest.mark.parametrize("encoded", [[256], [-1], ["a"], [1.5], [None], [[1]], [True], [2**70]])
def test_a_list_of_something_else_is_no_mask(encoded: list[Any]) -> None:
    with pytest.raises(BrushError):
        read_brush(encoded, 1, 1)


@given(st.lists(JSON, max_size=5), JSON)
def test_an_answer_may_be_anything_and_is_taken_whole_or_not(result: Any, more: Any) -> None:
    request = small_request()
    annotation = {"was_cancelled": False, "completed_by": 1, "result": result, "lead_time": 1.0}
    tasks = [
        {"id": 1, "data": data(FIRST), "annotations": [annotation]},
        {"id": 2, "data": data(SECOND), "annotations": more},
        {"id": 3, "data": more, "annotations": [annotation]},
    ]

    answers = settled(tasks, f"1-{request.key[:12]}")
    found = read_answers(answers, request, {1: "a@b.co"}, page="p")

    taken, refused = len(found.done) + len(found.skipped), len(found.refused)
    assert taken + refused == sum(answer.state != "open" for answer in answers.values())
    assert set(found.annotations["class_id"].to_pylist()) <= set(request.classes)


def test_more_masks_than_can_be_read_are_refused_before_one_is() -> None:
    frame = Frame(row=0, width=10_000, height=10_000)
    region = {"type": "brushlabels", "value": {"rle": [], "brushlabels": ["one"]}}
    long = {"type": "brushlabels", "value": {"rle": [0] * (4 << 20), "brushlabels": ["one"]}}

    for result in ([region] * 43, [long] * 5):
        with pytest.raises(RegionError, match="more than can be read"):
            list(read_regions(result, frame))


def data(name: str) -> dict[str, Any]:
    return {"asset_id": name, "request": small_request().key[:12], "image": "i"}


def test_a_guide_at_an_address_is_a_link_that_carries_no_code() -> None:
    request = replace(small_request(), guide='https://example.org/guide?a="><script>')

    said = instruction(request)

    link = "https://example.org/guide?a=&quot;&gt;&lt;script&gt;"
    assert f'<a href="{link}" target="_blank" rel="noopener">Label guide</a>' in said
