"""What an image file is: format, displayed size, EXIF orientation, and whether it decodes."""

from __future__ import annotations

import hashlib
import io
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAX_PIXELS: Final = 2**27
EXTENSIONS: Final = {"image/jpeg": ".jpg", "image/png": ".png", "image/bmp": ".bmp"}
_SUFFIXES: Final[dict[str, tuple[str, ...]]] = {
    "image/jpeg": (".jpg", ".jpeg"),
    "image/png": (".png",),
    "image/bmp": (".bmp",),
}
TURNED: Final = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_ORIENTATION_TAG: Final = 0x0112
_MAGIC: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"BM", "image/bmp"),
)
_FRAMES: Final = frozenset((0xC0, 0xC1))  # of a sequential JPEG
_TABLES: Final = frozenset((0xC4, 0xDB, 0xE0, 0xEE))  # how it decodes; APP0 and APP14 say colours
_EXIF: Final = 0xE1
_PASSED: Final = frozenset((*range(_EXIF, 0xEE), 0xEF, 0xFE))  # applications' data, comments
_SCAN: Final = 0xDA
_SCAN_MARKER: Final = b"\xff\xda"
_END: Final = b"\xff\xd9"
_MARKER: Final = re.compile(rb"\xff[^\0]")  # in a scan: 0xFF of a pixel is written as FF 00
_SHORT_HEADER: Final = 4096  # bytes of a header that is remembered whole
_HEADERS_KEPT: Final = 4096


class ImageFacts(NamedTuple):
    """One image that decodes. Width and height are as it is displayed."""

    media_type: str
    width: int
    height: int
    channels: int
    byte_size: int
    orientation: int
    ymir_sha1: bytes


class ImageRefusedError(Exception):
    """The bytes are no image that we take; `code` is the issue to count."""

    def __init__(self, code: str, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code


def inspect_image(data: bytes) -> ImageFacts:
    """Find out what a JPEG, PNG or BMP image is; raises `ImageRefusedError` if it does not decode.

    A sequential JPEG with the header of one that decoded, and one scan that ends as it should, is
    not decoded again: whatever bits are in such a scan are pixels.
    """
    media_type = _media_type(data)
    if media_type is None:
        raise ImageRefusedError("image-format", "" if data else "it is empty")
    header = _read_header(data) if media_type == "image/jpeg" else None
    try:
        if header is not None and (known := _decoded.get(header.tables)) is not None:
            turn = _orientation(open_image(data, media_type)) if header.has_exif else 1
            return _facts(data, media_type, known, turn)
        return _decode(data, media_type, header)
    except ImageRefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything on hostile bytes
        raise ImageRefusedError("image-unreadable", str(error)) from None


def _media_type(data: bytes) -> str | None:
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    return None


def extension_agrees(name: str, media_type: str) -> bool:
    return name.lower().endswith(_SUFFIXES[media_type])


@dataclass(frozen=True, slots=True)
class _Header:
    """What decides whether and how the one scan of a sequential JPEG decodes."""

    tables: bytes
    has_exif: bool


@dataclass(frozen=True, slots=True)
class _Size:
    width: int
    height: int
    channels: int


_Known = TypeVar("_Known")


class _Newest(Generic[_Known]):
    """What is known of headers; of the newest few thousand."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self.get = self._known.get

    def add(self, header: bytes, known: _Known) -> None:
        self._known[header] = known
        if len(self._known) > _HEADERS_KEPT:
            self._known.popitem(last=False)


_headers: Final = _Newest[_Header]()  # by their bytes
_decoded: Final = _Newest[_Size]()  # of images that decoded, by the tables of their header


def _read_header(data: bytes) -> _Header | None:
    """None where only decoding can tell: several scans, restarts, arithmetic coding, damage."""
    at = data.find(_SCAN_MARKER)
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    header = _headers.get(data[:end])
    if header is None:
        walked = _walk_header(data)
        if walked is None:
            return None
        header, end = walked
        if end <= _SHORT_HEADER:
            _headers.add(data[:end], header)
    marker = _MARKER.search(data, end)
    return header if marker and marker.end() == len(data) and marker[0] == _END else None


def _walk_header(data: bytes) -> tuple[_Header, int] | None:
    """The header of a sequential JPEG, and where it ends and its scan begins."""
    at, parts, frames, has_exif = 2, [], 0, False
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, end = data[at + 1], at + 2 + (data[at + 2] << 8 | data[at + 3])
        if marker == _EXIF:
            has_exif = True
        elif marker in _TABLES or marker in _FRAMES or marker == _SCAN:
            parts.append(data[at:end])
            frames += marker in _FRAMES
        elif marker not in _PASSED:
            return None
        at = end
        if marker == _SCAN:
            return (_Header(b"".join(parts), has_exif), end) if frames == 1 else None
    return None


def _decode(data: bytes, media_type: str, header: _Header | None) -> ImageFacts:
    image = open_image(data, media_type)
    width, height = image.size
    if width * height == 0:
        raise ImageRefusedError("image-unreadable", "it has no pixels")
    if width * height > MAX_PIXELS:
        raise ImageRefusedError("image-too-large", f"{width} x {height}")
    size = _Size(width, height, len(image.getbands()))
    orientation = _orientation(image)
    if media_type == "image/jpeg":
        # Reads every coefficient, so that a truncated file shows, at 1/8 of the arithmetic.
        image.draft(None, (1, 1))
    image.load()
    if header is not None:
        _decoded.add(header.tables, size)
    return _facts(data, media_type, size, orientation)


def _facts(data: bytes, media_type: str, size: _Size, orientation: int) -> ImageFacts:
    width, height = size.width, size.height
    if orientation in TURNED:
        width, height = height, width
    sha1 = hashlib.sha1(data, usedforsecurity=False).digest()
    return ImageFacts(media_type, width, height, size.channels, len(data), orientation, sha1)


def open_image(data: bytes, media_type: str) -> ImageFile:
    """The image, not decoded yet; like decoding it, this raises anything on hostile bytes."""
    # `Image.open` would try formats by their magic, and warn about sizes that we bound ourselves.
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    kinds: dict[str, type[ImageFile]] = {
        "image/jpeg": JpegImageFile,
        "image/png": PngImageFile,
        "image/bmp": BmpImageFile,
    }
    return kinds[media_type](io.BytesIO(data))


def _orientation(image: ImageFile) -> int:
    if "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - a broken EXIF block does not make an image unreadable
        return 1
    return value if value in range(1, 9) else 1
