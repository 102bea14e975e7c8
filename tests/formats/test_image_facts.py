"""What images are, as they come: turned, in other colours, damaged, and hostile."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from mir_ops.formats import images
from mir_ops.formats.images import ImageFacts, ImageRefusedError, inspect_image


def picture(
    kind: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (64, 48), **options: object
) -> bytes:
    written = io.BytesIO()
    gradient = Image.linear_gradient("L").resize(size)
    gradient.convert(mode).save(written, kind, **options)  # type: ignore[arg-type]
    return written.getvalue()


JPEG = picture()


def refused(data: bytes) -> str:
    with pytest.raises(ImageRefusedError) as caught:
        inspect_image(data)
    return caught.value.code


def pixels_of(data: bytes) -> bytes | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return JpegImageFile(io.BytesIO(data)).tobytes()
    except Exception:  # noqa: BLE001 - decoders raise anything on hostile bytes
        return None


def turned(orientation: int, number: int = 0) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x0131] = f"camera {number}"
    return picture(exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_width_and_height_are_as_displayed(orientation: int) -> None:
    # The second one is known by its header: its EXIF block is read all the same.
    for number in (1, 2):
        facts = inspect_image(turned(orientation, number))

        assert facts.orientation == orientation
        assert (facts.width, facts.height) == ((48, 64) if orientation > 4 else (64, 48))


@pytest.mark.parametrize(
    ("data", "media_type", "channels"),
    [
        (picture("JPEG", "CMYK"), "image/jpeg", 4),
        (picture("JPEG", "L"), "image/jpeg", 1),
        (picture("JPEG", "RGB", progressive=True), "image/jpeg", 3),
        (picture("PNG", "I;16"), "image/png", 1),
        (picture("PNG", "RGBA"), "image/png", 4),
        (picture("PNG", "P"), "image/png", 1),
        (picture("PNG", save_all=True, append_images=[Image.new("RGB", (64, 48))]), "image/png", 3),
        (picture("BMP"), "image/bmp", 3),
    ],
    ids=["cmyk", "grey", "progressive", "16 bit", "alpha", "palette", "animated", "bmp"],
)
def test_unusual_images_are_taken(data: bytes, media_type: str, channels: int) -> None:
    facts = inspect_image(data)

    assert (facts.media_type, facts.channels) == (media_type, channels)
    assert (facts.width, facts.height, facts.byte_size) == (64, 48, len(data))


def test_what_is_no_image_that_we_take_is_refused() -> None:
    assert refused(b"") == "image-format"
    assert refused(picture("GIF", "P")) == "image-format"
    assert refused(picture("TIFF")) == "image-format"
    assert refused(b"<html>") == "image-format"


def test_giant_images_are_refused_before_they_are_decoded() -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", zlib.crc32(chunk[4:]))
    at = JPEG.index(b"\xff\xc0") + 5
    jpeg = JPEG[:at] + struct.pack(">HH", 60000, 60000) + JPEG[at + 4 :]

    assert refused(png + bytes(4) + b"IDAT" + bytes(4)) == "image-too-large"
    assert refused(jpeg) == "image-too-large"


@pytest.mark.parametrize("kept", [3, 20, 300, len(JPEG) // 2, len(JPEG) - 2])
def test_a_jpeg_that_was_cut_short_is_refused_though_its_header_is_known(kept: int) -> None:
    inspect_image(JPEG)

    assert refused(JPEG[:kept]) == "image-unreadable"


def test_a_known_header_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = inspect_image(JPEG)
    monkeypatch.setattr(images, "_decode", None)

    assert inspect_image(JPEG) == first


SCAN = JPEG.index(b"\xff\xda")
CHANGES = st.lists(
    st.tuples(st.integers(0, len(JPEG) - 1), st.integers(0, 200), st.binary(max_size=60)),
    min_size=1,
    max_size=6,
)


def changed(changes: list[tuple[int, int, bytes]]) -> bytes:
    body = bytearray(JPEG)
    for at, removed, put in changes:
        body[at : at + removed] = put
    return bytes(body)


def check_that_what_is_taken_decodes(changes: list[tuple[int, int, bytes]]) -> None:
    inspect_image(JPEG)
    data = changed(changes)
    try:
        facts: ImageFacts | None = inspect_image(data)
    except ImageRefusedError:
        facts = None

    if facts is not None and facts.media_type == "image/jpeg":
        assert pixels_of(data) is not None


@given(CHANGES)
def test_a_changed_jpeg_is_taken_only_if_it_decodes(changes: list[tuple[int, int, bytes]]) -> None:
    check_that_what_is_taken_decodes(changes)


@given(st.lists(st.tuples(st.integers(SCAN, len(JPEG) - 3), st.just(1), st.binary(max_size=3))))
def test_any_bits_in_the_scan_are_pixels(changes: list[tuple[int, int, bytes]]) -> None:
    check_that_what_is_taken_decodes(changes)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@given(CHANGES)
def test_ten_thousand_changed_jpegs_are_taken_only_if_they_decode(
    changes: list[tuple[int, int, bytes]],
) -> None:
    check_that_what_is_taken_decodes(changes)


@given(st.sampled_from((b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM")), st.binary())
def test_any_bytes_are_an_image_or_refused(start: bytes, rest: bytes) -> None:
    with suppress(ImageRefusedError):
        inspect_image(start + rest)
