"""Strategies for annotation files that are wrong in every way that we could think of."""

from __future__ import annotations

import json
from random import Random
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


_DAMAGES = ("", "", "", "", "cut", "flip", "twice", "utf-16", "latin")


def _damaged(draw: st.DrawFn, data: bytes) -> bytes:
    place = draw(st.integers(0, max(0, len(data) - 1)))
    return _damage(data, draw(st.sampled_from(_DAMAGES)), place, draw(st.integers(1, 255)))


def _damage(data: bytes, kind: str, place: int, bits: int) -> bytes:
    """The same bytes, in half of the cases cut, repeated, flipped or in another encoding."""
    if kind == "cut":
        return data[:place]
    if kind == "flip" and data:
        return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]
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


_SAID = ("", "&amp;", "&lol;", "<b/>", "]]>", "<![CDATA[1]]>", "1e999", "٣", "-0", "nan", "1e308")
_OBJECT_PARTS = [
    *("name", "pose", "truncated", "occluded", "difficult", "confidence", "score", "box_quality"),
    *("area", "iscrowd", "unstated", "rle", "mask"),
]
_CORNERS = [
    *("xmin", "ymin", "xmax", "ymax", "rotate_angle", "cx", "cy", "w", "h", "angle"),
    *("x1", "y1", "x2", "y2", "x3", "y3"),
]
_OTHERS = ["filename", "size", "width", "height", "cks", "image_quality", "part", "object"]


def voc_files() -> st.SearchStrategy[bytes]:
    """Hypothesis takes a hundred times as long to draw the parts as to draw a seed for them."""
    return st.randoms(use_true_random=True).map(_voc_file)


def _voc_file(random: Random) -> bytes:
    parts = [_voc_object(random) for _ in range(random.randrange(4))]
    parts += [_element(random, _OTHERS) for _ in range(random.randrange(5))]
    if random.randrange(20) == 0:
        depth = random.choice([10, 2000, 20_000])
        parts.append("<a>" * depth + "</a>" * depth)
    root = random.choice(["annotation", "annotation", "annotation", "x"])
    doctype = '<!DOCTYPE a [<!ENTITY lol "lol">]>' if random.randrange(10) == 0 else ""
    data = f"{doctype}<{root}>{''.join(parts)}</{root}>".encode("utf-8", "replace")
    return _damage(
        data, random.choice(_DAMAGES), random.randrange(max(1, len(data))), random.randrange(1, 256)
    )


def _voc_object(random: Random) -> str:
    inner = [_element(random, _OBJECT_PARTS) for _ in range(random.randrange(7))]
    for _ in range(random.randrange(3)):
        place = random.choice(["bndbox", "robndbox", "polygon"])
        corners = (_element(random, _CORNERS, 2) for _ in range(random.randrange(7)))
        inner.append(f"<{place}>{''.join(corners)}</{place}>")
    inner.append(random.choice(["", "<name>cat</name>", "<tags><a>1</a></tags>"]))
    return f"<object>{''.join(inner)}</object>"


def _element(random: Random, names: list[str], depth: int = 0) -> str:
    name = random.choice(names)
    if depth < 2 and random.randrange(4) == 0:
        inner = "".join(_element(random, names, depth + 1) for _ in range(random.randrange(5)))
    else:
        inner = _said(random)
    return f"<{name}>{inner}</{name}>"


def _said(random: Random) -> str:
    kind = random.randrange(4)
    if kind == 0:
        return str(random.choice([random.randint(-100, 100), random.uniform(-100, 100), 2**64]))
    if kind == 1:
        return random.choice(_SAID)
    highest = random.choice([0x7F, 0xFF, 0xFFFF, 0x10FFFF])
    drawn = (chr(random.randint(0x20, highest)) for _ in range(random.randrange(7)))
    return "".join(char for char in drawn if not "\ud800" <= char <= "\udfff")


def usual_voc_files() -> st.SearchStrategy[bytes]:
    """Files as tools write them, some with one thing that is not usual."""
    return st.randoms(use_true_random=True).map(_usual_voc_file)


_UNUSUAL = (
    *("<!-- a -->", "<![CDATA[cat]]>", "&amp;", "&#65;", "<?x y?>", "<part/>", "<x>1</x>", "\n"),
    *("<name>dog</name>", "<bndbox/>", "</object><object>", "<object/>", "<xmin>5</xmin>", "é"),
    *(" a='1'", "<size/>", "<width>7</width>", "1e3", "-0", "\t", "\ufeff", "<", ">", "&", "nan"),
)


def _usual_voc_file(random: Random) -> bytes:
    def number() -> str:
        return random.choice([str(random.randrange(60)), f"{random.uniform(0, 60):.3f}", "1"])

    def flag() -> str:
        return random.choice("01")

    def usual_object() -> str:
        corners = "".join(f"<{side}>{number()}</{side}>" for side in _CORNERS[:4])
        pose = random.choice(["", "<pose>Unspecified</pose>", "<pose>Left</pose>"])
        occluded = random.choice(["", f"<occluded>{flag()}</occluded>"])
        return (
            f"<object>{end}<name>{random.choice(['cat', ' dog', 'é', ''])}</name>{end}{pose}"
            f"<truncated>{flag()}</truncated>{occluded}<difficult>{flag()}</difficult>{end}"
            f"<bndbox>{end}{corners}</bndbox>{end}</object>{end}"
        )

    end = random.choice(["", "\n", "\r\n", "\n\t", "  "])
    text = (
        f"<annotation>{end}<folder>f</folder>{end}<filename>a.jpg</filename>{end}"
        f"<source><database>Unknown</database></source>{end}<size><width>{number()}</width>"
        f"<height>{number()}</height><depth>3</depth></size>{end}<segmented>0</segmented>{end}"
        + "".join(usual_object() for _ in range(random.randrange(4)))
        + f"</annotation>{end}"
    )
    if random.randrange(2):
        at = random.choice([random.randrange(len(text)), text.find("</", random.randrange(40))])
        text = text[:at] + random.choice(_UNUSUAL) + text[at:]
    if random.randrange(4) == 0:
        text = '<?xml version="1.0" encoding="utf-8"?>' + end + text
    data = text.encode()
    kind = random.choice((*_DAMAGES, *[""] * 20))
    return _damage(data, kind, random.randrange(len(data)), random.randrange(1, 256))


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
