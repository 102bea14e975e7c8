"""VOC files are read as they are and written back the same."""

from __future__ import annotations

import math
from xml.etree import ElementTree as Tree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops.formats.parsed import RefusedError
from mir_ops.formats.voc import (
    VocFile,
    VocObject,
    _full_row,
    _plain_row,
    read_voc,
    write_voc,
)

TEXT = st.text(max_size=20).map(lambda text: "".join(c for c in text if c.isprintable()).strip())
FLAG = st.none() | st.booleans()
SHARE = st.none() | st.floats(0, 1)
OBJECTS = st.builds(
    VocObject,
    name=TEXT,
    box=st.tuples(*[st.floats(0, 1e5, width=32)] * 4),
    confidence=SHARE,
    quality=SHARE,
    difficult=st.booleans(),
    truncated=FLAG,
    occluded=st.booleans(),
    tags=st.dictionaries(st.from_regex(r"\A[a-z_][a-z0-9_]{0,9}\Z"), TEXT, max_size=3),
)


@settings(max_examples=40)
@given(
    st.builds(
        VocFile,
        filename=TEXT,
        size=st.tuples(*[st.integers(1, 10**6)] * 2),
        objects=st.lists(OBJECTS, max_size=4).map(tuple),
        attributes=st.dictionaries(st.from_regex(r"\A[a-z_]{1,9}\Z"), TEXT, max_size=3),
    )
)
def test_what_is_written_reads_the_same(file: VocFile) -> None:
    read = read_voc(write_voc(file))

    assert read.filename == file.filename
    assert (read.size, read.attributes) == (file.size, file.attributes)
    for one, other in zip(read.objects, file.objects, strict=True):
        assert (one.name, one.tags) == (other.name, other.tags)
        assert (one.confidence, one.quality) == (other.confidence, other.quality)
        assert (one.difficult, one.truncated, one.occluded) == (
            *(other.difficult, other.truncated, other.occluded),
        )
        assert one.box is not None
        assert other.box is not None
        assert one.box == pytest.approx(other.box, abs=1 / 256)


@settings(max_examples=60)
@given(st.binary(max_size=300) | st.text(alphabet="<>/!&;[]annotationbjec \"'", max_size=200))
def test_garbage_is_refused_and_nothing_else_happens(data: bytes | str) -> None:
    with pytest.raises(RefusedError):
        read_voc(data if isinstance(data, bytes) else data.encode())


def test_whole_numbers_stay_whole_and_corners_are_inclusive() -> None:
    written = write_voc(VocFile(objects=(VocObject(name="cat", box=(1.0, 2.0, 10.0, 0.5)),)))

    assert b"<xmin>1</xmin>" in written
    assert b"<xmax>10</xmax>" in written
    assert b"<ymax>1.5</ymax>" in written


def test_a_coordinate_that_is_no_number_is_nan() -> None:
    file = read_voc(
        b"<annotation><object><name>a</name><bndbox><xmin>x</xmin><ymin>1</ymin>"
        b"<xmax>2</xmax></bndbox></object></annotation>"
    )

    assert file.objects[0].box is not None
    assert [math.isnan(value) for value in file.objects[0].box] == [True, False, True, True]


def test_what_xml_cannot_hold_is_replaced() -> None:
    file = VocFile(filename="a\x00\ud800b", attributes={"bad key": "x", "good": "y"})

    read = read_voc(write_voc(file))

    assert read.filename == "a\ufffd\ufffdb"
    assert read.attributes == {"good": "y"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                (
                    *("name", "pose", "truncated", "occluded", "difficult"),
                    *("xmin", "ymin", "xmax", "ymax", "rotate_angle", "confidence", "tags"),
                )
            ),
            st.sampled_from(("", "0", "1", " 1 ", "true", "1.5", "nan", "x", "unknown", "Left")),
        ),
        max_size=12,
    )
)
def test_plain_objects_are_read_as_all_objects_are(parts: list[tuple[str, str]]) -> None:
    corners = ("xmin", "ymin", "xmax", "ymax", "rotate_angle")
    inside = [f"<{tag}>{text}</{tag}>" for tag, text in parts if tag in corners]
    beside = [f"<{tag}>{text}</{tag}>" for tag, text in parts if tag not in corners]
    box = "".join(["<bndbox>", *inside, "</bndbox>"])
    element = Tree.fromstring(f"<object>{''.join(beside)}{box}</object>")

    plain = _plain_row(element, 3)

    assert plain is None or repr(plain) == repr(_full_row(element, 3))
