"""Masks of Pascal VOC join the objects whose boxes they fill."""

from __future__ import annotations

import io
from random import Random

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from test_hostile_annotations import check, thorough_and_quick

from mir_ops.formats.parsed import Parsed
from mir_ops.formats.reading import read_annotations
from mir_ops.formats.rle import read_runs, to_bitmap


def png(pixels: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(written, "PNG")
    return written.getvalue()


def xml(*boxes: tuple[str, int, int, int, int]) -> bytes:
    places = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{p}>{v}</{p}>" for p, v in zip(places, corners, strict=True))
        + "</bndbox></object>"
        for name, *corners in boxes
    )
    return f"<annotation>{objects}</annotation>".encode()


def read(**files: bytes) -> Parsed:
    named = {name.replace("__", "/").replace("_png", ".png"): data for name, data in files.items()}
    named = {n.replace("_xml", ".xml").replace("_txt", ".txt"): d for n, d in named.items()}
    return read_annotations("voc", sorted(named), named.__getitem__)


def masks_of(parsed: Parsed) -> dict[str, np.ndarray]:
    rows = parsed.objects.to_pylist()
    runs, good = read_runs(parsed.objects["rle"].combine_chunks())
    return {
        row["class_name"]: to_bitmap(runs.of(number), row["rle_width"], row["rle_height"])
        for number, row in enumerate(rows)
        if good[number]
    }


INSTANCES = np.zeros((8, 10))
INSTANCES[1:4, 1:5] = 1
INSTANCES[5:8, 6:10] = 2
INSTANCES[0, 0] = 255


def test_the_mask_with_a_number_is_the_object_with_that_number() -> None:
    parsed = read(
        a_xml=xml(("dog", 1, 1, 4, 3), ("cat", 6, 5, 9, 7)),
        SegmentationObject__a_png=png(INSTANCES),
    )

    assert parsed.objects["kind"].to_pylist() == ["mask", "mask"]
    masks = masks_of(parsed)
    assert (masks["dog"] == (INSTANCES == 1)).all()
    assert (masks["cat"] == (INSTANCES == 2)).all()
    assert parsed.findings == ()


def test_a_mask_goes_to_the_box_that_it_fills_when_the_order_differs() -> None:
    parsed = read(
        a_xml=xml(("cat", 6, 5, 9, 7), ("dog", 1, 1, 4, 3)),
        SegmentationObject__a_png=png(INSTANCES),
    )

    assert (masks_of(parsed)["dog"] == (INSTANCES == 1)).all()


def test_a_mask_without_an_object_has_the_class_of_its_colour() -> None:
    colours = np.zeros((8, 10, 3))
    colours[INSTANCES == 1] = (10, 20, 30)
    parsed = read(
        SegmentationClass__a_png=png(colours),
        SegmentationObject__a_png=png(INSTANCES),
        labelmap_txt=b"# label:color_rgb:parts:actions\nbus:10,20,30::\nbackground:0,0,0::\n",
    )

    assert parsed.objects["class_name"].to_pylist() == ["bus"]
    assert parsed.images["source"].to_pylist() == ["SegmentationObject/a.png"]
    assert [finding.code for finding in parsed.findings] == ["mask-without-class"]


def test_without_a_label_map_the_numbers_are_those_of_voc() -> None:
    parsed = read(SegmentationClass__a_png=png(np.where(INSTANCES == 255, 255, INSTANCES * 7)))

    assert parsed.objects["class_name"].to_pylist() == ["car", "motorbike"]
    assert set(parsed.objects["kind"].to_pylist()) == {"mask"}


def test_bytes_that_are_no_mask_are_counted() -> None:
    parsed = read(a_xml=xml(("dog", 1, 1, 4, 3)), SegmentationObject__a_png=b"\x89PNG\r\n\x1a\nno")

    assert parsed.objects["kind"].to_pylist() == ["box"]
    assert [finding.code for finding in parsed.findings] == ["annotation-unreadable"]


def test_a_mask_that_an_object_names_is_its_own_wherever_its_box_is() -> None:
    named = xml(("cat", 1, 1, 4, 3), ("dog", 50, 50, 60, 60)).replace(
        b"</name>", b"</name><mask>2</mask>", 1
    )
    parsed = read(a_xml=named, SegmentationObject__a_png=png(np.where(INSTANCES == 2, 2, 0)))

    assert (masks_of(parsed)["cat"] == (INSTANCES == 2)).all()
    assert parsed.findings == ()


def test_a_mask_that_is_named_and_not_there_is_counted() -> None:
    named = xml(("cat", 1, 1, 4, 3)).replace(b"</name>", b"</name><mask>7</mask>")

    for files in ({}, {"SegmentationObject__a_png": png(np.zeros((8, 10)))}):
        parsed = read(a_xml=named, **files)
        found = [(finding.code, finding.example) for finding in parsed.findings]
        assert ("mask-missing", "a.xml: mask 7") in found
        assert parsed.objects["x"].to_pylist()[0] == 1


def test_masks_of_thousands_of_objects_take_a_moment() -> None:
    numbers = np.arange(2**20).reshape(1024, 1024).T // 117 + 1
    colours = np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], axis=-1)

    parsed = read(SegmentationObject__a_png=png(colours))

    assert len(parsed.findings) > 8000
    assert {finding.code for finding in parsed.findings} == {"mask-without-class"}


def test_a_picture_of_too_many_pieces_is_refused() -> None:
    parsed = read(SegmentationObject__a_png=png(np.indices((2100, 2100)).sum(axis=0) % 2 + 1))

    assert [finding.code for finding in parsed.findings] == ["annotation-unreadable"]


def any_masks(random: Random) -> dict[str, bytes]:
    """An image's file, with objects that name masks, and pictures of masks of any kind."""
    objects = "".join(
        f"<object><name>{random.choice(['cat', 'dog', ''])}</name>"
        f"<mask>{random.choice([1, 2, 3, 7, 254, 255, 999, 'x', ''])}</mask>"
        + random.choice(
            ["", "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>7</ymax></bndbox>"]
        )
        + random.choice(["", "", "<rle width='64' height='48'>PPYo1</rle>"])
        + "</object>"
        for _ in range(random.randrange(4))
    )
    files = {"a.xml": f"<annotation>{objects}</annotation>".encode()}
    for folder in random.sample(["SegmentationObject", "SegmentationClass"], random.randrange(3)):
        files[f"{folder}/{random.choice('ab')}.png"] = any_picture(random)
    if random.randrange(4) == 0:
        files["labelmap.txt"] = random.choice(
            [b"cat:128,0,0::", b"#\ncat:1,2\n:0,0,0\ndog:999,-1,1e9::\n", b"\xff\xfe", b""]
        )
    return files


def any_picture(random: Random) -> bytes:
    size = random.choice([(64, 48), (64, 48), (48, 64), (1, 1)])
    seeded = np.random.default_rng(random.getrandbits(32))
    most = random.choice([2, 4, 256])
    mode = random.choice(["P", "L", "1", "RGB", "RGBA", "LA", "I;16"])
    pixels = seeded.integers(0, most, (size[1], size[0], 4), dtype=np.uint8)
    image = Image.fromarray(pixels[..., 0]).convert("P") if mode == "P" else None
    if image is None and mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    image = image or Image.fromarray(pixels).convert(mode)
    written = io.BytesIO()
    image.save(written, "PNG")
    data = bytearray(written.getvalue())
    if random.randrange(4) == 0:
        data[random.randrange(len(data))] ^= random.randrange(1, 256)
    return bytes(data[: random.randrange(len(data))] if random.randrange(8) == 0 else data)


@thorough_and_quick(st.randoms(use_true_random=True).map(any_masks))
def test_any_masks_are_read_or_counted(files: dict[str, bytes]) -> None:
    check(read_annotations("voc", sorted(files), files.__getitem__))
