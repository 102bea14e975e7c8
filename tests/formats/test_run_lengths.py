"""COCO's run lengths, compared with its own tools where these are sure to be given good ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from faster_coco_eval.core import mask as tools
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops.formats.rle import (
    bounding_boxes,
    from_bitmap,
    read_runs,
    runs_of,
    to_bitmap,
    write_runs,
)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30), st.floats(0, 1)), max_size=5))
def test_many_masks_at_once_are_coded_as_coco_s_tools_code_each(
    drawn: list[tuple[int, int, float]],
) -> None:
    dice = np.random.default_rng(len(drawn))
    bitmaps = [dice.random((height, width)) < share for height, width, share in drawn]

    texts = write_runs(runs_of([from_bitmap(bitmap) for bitmap in bitmaps]))
    runs, good = read_runs(texts)

    assert good.all()
    boxes = bounding_boxes(runs, np.array([len(bitmap) for bitmap in bitmaps], np.int64))
    for number, bitmap in enumerate(bitmaps):
        theirs = tools.encode(np.asfortranarray(bitmap.astype(np.uint8)))
        assert texts[number].as_py() == _bytes(theirs["counts"])
        assert (to_bitmap(runs.of(number), *bitmap.shape[::-1]) == bitmap).all()
        assert runs.areas[number] == bitmap.sum()
        if bitmap.any():
            assert boxes[number].tolist() == list(tools.toBbox(theirs))


@pytest.mark.parametrize("text", [b"", b"\xff", b"ooooooooo0", b"P", b"O", b" 1", None])
def test_a_text_that_is_no_run_lengths_does_not_spoil_the_others(text: bytes | None) -> None:
    runs, good = read_runs(pa.array([b"523", text, b"523"], pa.binary()))

    assert good.tolist() == [True, False, True]
    assert runs.of(0).tolist() == runs.of(2).tolist() == [5, 2, 3]
    assert len(runs.of(1)) == 0


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
