"""Strategies for annotation files that are wrong in every way that we could think of."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

NUMBERS: st.SearchStrategy[Any] = st.one_of(
    st.integers(-100, 100),
    st.floats(-100, 100),
    st.sampled_from([0, -1, 1e308, -1e308, 1e-320, 2**31, 2**63, 2**64, 10**30, float("nan")]),
    st.sampled_from([float("inf"), float("-inf")]),
)
ODD: st.SearchStrategy[Any] = st.one_of(
    NUMBERS,
    st.none(),
    st.booleans(),
    st.text(max_size=6),
    st.sampled_from(["", "NaN", "1e999", "0x10", "1_0", "\ud800", "\u0000", "١", "cat"]),
    st.lists(st.integers(-2, 2), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(-2, 2), max_size=2),
)


def _or_odd(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(strategy, strategy, strategy, ODD)


IDS = _or_odd(st.integers(0, 3))
RLE_TEXT = st.one_of(
    st.text("0123456789:;<=>?@ABCPQRno`", max_size=12), st.text(max_size=8), st.just("o" * 40)
)
SEGMENTATIONS = st.one_of(
    st.lists(_or_odd(st.lists(_or_odd(NUMBERS), max_size=9)), max_size=3),
    st.fixed_dictionaries(
        {
            "counts": _or_odd(st.one_of(RLE_TEXT, st.lists(NUMBERS, max_size=6))),
            "size": _or_odd(st.lists(st.integers(0, 70), min_size=2, max_size=2)),
        }
    ),
    ODD,
)
ANNOTATIONS = st.fixed_dictionaries(
    {"image_id": IDS, "category_id": IDS},
    optional={
        "id": IDS,
        "bbox": _or_odd(st.lists(_or_odd(NUMBERS), min_size=3, max_size=5)),
        "segmentation": SEGMENTATIONS,
        "area": ODD,
        "iscrowd": ODD,
        "score": ODD,
        "confidence": ODD,
        "box_quality": ODD,
        "tags": ODD,
        "attributes": st.one_of(
            ODD, st.dictionaries(st.sampled_from(["occluded", "rotation", "x"]), ODD)
        ),
    },
)
IMAGES = st.fixed_dictionaries(
    {"id": IDS, "file_name": _or_odd(st.sampled_from(["a.jpg", "images/a.jpg", "../b", ""]))},
    optional={"width": ODD, "height": ODD, "split": ODD, "attributes": ODD},
)
CATEGORIES = st.fixed_dictionaries(
    {"id": IDS, "name": _or_odd(st.sampled_from(["cat", "dog", "", " ", "x" * 300]))}
)
DOCUMENTS = st.one_of(
    st.fixed_dictionaries(
        {
            "images": _or_odd(st.lists(_or_odd(IMAGES), max_size=4)),
            "annotations": _or_odd(st.lists(_or_odd(ANNOTATIONS), max_size=4)),
            "categories": _or_odd(st.lists(_or_odd(CATEGORIES), max_size=3)),
        },
        optional={"info": ODD},
    ),
    st.lists(_or_odd(ANNOTATIONS), max_size=3),
    ODD,
)


def _damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The same bytes, in half of the cases cut, repeated, flipped or in another encoding."""
    kind = draw(st.sampled_from(["", "", "", "", "cut", "flip", "twice", "utf-16", "latin"]))
    place = draw(st.integers(0, max(0, len(data) - 1)))
    if kind == "cut":
        return data[:place]
    if kind == "flip" and data:
        return data[:place] + bytes([data[place] ^ draw(st.integers(1, 255))]) + data[place + 1 :]
    if kind == "twice":
        return data + data
    if kind == "utf-16":
        return data.decode("utf-8", "replace").encode("utf-16", "replace")
    return data + b"\xff\xfe" if kind == "latin" else data


@st.composite
def coco_files(draw: st.DrawFn) -> bytes:
    document = draw(DOCUMENTS)
    ascii_ = draw(st.booleans())
    text = json.dumps(document, ensure_ascii=ascii_)
    if draw(st.integers(0, 19)) == 0:
        text = text.replace("[", "[" * draw(st.sampled_from([2, 500, 5000])), 1)
    return _damaged(draw, text.encode("utf-8", "surrogatepass"))


_TEXTS = st.one_of(
    NUMBERS.map(str),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=6),
    st.sampled_from(["", "&amp;", "&lol;", "<b/>", "]]>", "<![CDATA[1]]>", "1e999", "٣", "-0"]),
)


@st.composite
def _elements(draw: st.DrawFn, names: list[str], depth: int = 0) -> str:
    name = draw(st.sampled_from(names))
    if depth < 2 and draw(st.integers(0, 3)) == 0:
        inner = "".join(draw(st.lists(_elements(names, depth + 1), max_size=4)))
    else:
        inner = str(draw(_TEXTS))
    return f"<{name}>{inner}</{name}>"


_OBJECT_PARTS = (
    "name pose truncated occluded difficult confidence score box_quality area iscrowd unstated rle"
)
_CORNERS = "xmin ymin xmax ymax rotate_angle cx cy w h angle x1 y1 x2 y2 x3 y3"


@st.composite
def voc_files(draw: st.DrawFn) -> bytes:
    parts: list[str] = []
    for _ in range(draw(st.integers(0, 3))):
        inner = draw(st.lists(_elements(_OBJECT_PARTS.split()), max_size=6))
        for place in draw(st.lists(st.sampled_from(["bndbox", "robndbox", "polygon"]), max_size=2)):
            corners = "".join(draw(st.lists(_elements(_CORNERS.split(), 2), max_size=6)))
            inner.append(f"<{place}>{corners}</{place}>")
        inner.append(draw(st.sampled_from(["", "<name>cat</name>", "<tags><a>1</a></tags>"])))
        parts.append(f"<object>{''.join(inner)}</object>")
    others = ["filename", "size", "width", "height", "cks", "image_quality", "part", "object"]
    parts += draw(st.lists(_elements(others), max_size=4))
    if draw(st.integers(0, 19)) == 0:
        depth = draw(st.sampled_from([10, 2000, 20_000]))
        parts.append("<a>" * depth + "</a>" * depth)
    root = draw(st.sampled_from(["annotation", "annotation", "annotation", "x"]))
    doctype = '<!DOCTYPE a [<!ENTITY lol "lol">]>' if draw(st.integers(0, 9)) == 0 else ""
    return _damaged(draw, f"{doctype}<{root}>{''.join(parts)}</{root}>".encode())


_FIELDS = st.one_of(
    st.integers(0, 3).map(str),
    st.floats(0, 1).map(str),
    NUMBERS.map(str),
    st.sampled_from(["nan", "-inf", "1e999", "cat", "0.5,0.5", "٣", "--1", "0x1"]),
)


@st.composite
def yolo_files(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.lists(_FIELDS, max_size=12), max_size=5))
    between = draw(st.sampled_from([" ", "\t", ",", "  "]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r", "\x0b"]))
    return _damaged(draw, end.join(between.join(fields) for fields in lines).encode())


@st.composite
def yolo_names(draw: st.DrawFn) -> tuple[str, bytes]:
    if draw(st.booleans()):
        lines = draw(st.lists(st.text(max_size=6), max_size=5))
        return "classes.txt", _damaged(draw, "\n".join(lines).encode("utf-8", "replace"))
    names = draw(
        st.one_of(
            st.just("[cat, dog]"),
            st.just("{0: cat, 1: dog}"),
            st.just("&a [*a, *a]"),
            st.just("{99999999: cat}"),
            st.just("[" * 3000),
            st.text(max_size=12),
            ODD.map(lambda value: json.dumps(value)),
        )
    )
    return "data.yaml", _damaged(draw, f"names: {names}\nnc: 2".encode("utf-8", "replace"))
